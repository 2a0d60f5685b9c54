// Bulk: full segments of new data that leave together and differ only in their sequence numbers. Their headers are made
// once, and so is what the connection remembers of them but the record of each.
#include <algorithm>
#include <cstring>

#include "pollux/packet/checksum.h"
#include "pollux/tcp/tcp.h"
#include "pollux/wire/ipv4.h"

namespace pollux {

// What the segments of a run share.
struct Tcp::RunHeader {
  const HeaderTemplate& ip;
  std::uint32_t tcp_size;
  bool by_nic;  // the port makes TCP's checksum
  std::array<std::uint8_t, TcpView::header_size_max> tcp;
  ChecksumSum sum;       // of the TCP header, with sequence number and checksum 0, and the pseudo-header
  ChecksumSum pseudo;    // of the latter alone
};

// How many: as sendable() has it, and not the last one of the queue, which says PSH or FIN.
std::uint32_t Tcp::run_length(const Tcb& tcb, std::uint32_t budget, std::uint32_t limit) noexcept {
  const SendSpace& snd = tcb.snd;
  if (tcb.is.urgent_out || tcb.is.ece_due || tcb.is.cwr_due || tcb.is.paced || snd.nxt != snd.max) return 0;
  const auto position = static_cast<std::uint32_t>(snd.nxt - snd.una);
  const std::uint32_t room = ip_.tx(tcb.route.interface).room();
  const std::uint32_t octets = std::min({tcb.queue.size() - position - 1, snd.wnd - position, budget});
  return std::min({octets / tcb.mss, limit, room, sent_.capacity() - sent_.size()});
}

// Sends up to `count` of them and says how many; 0: not this way.
std::uint32_t Tcp::send_run(Tcb& tcb, std::uint32_t count) noexcept {
  const IpSend send{.source = tcb.key.local, .destination = tcb.key.remote,
                    .protocol = static_cast<std::uint8_t>(IpProtocol::tcp), .ttl = tcb.options->ttl, .tos = data_tos(tcb)};
  TcpFields fields;
  fields.flags.bits = TcpFlags::ack;
  stamp(tcb, fields);
  const auto tcp_size = static_cast<std::uint32_t>(fields.header_length());
  HeaderTemplate ip;
  if (!ip_.prepare(send, tcb.route, tcp_size + tcb.mss, ip)) return 0;
  fields.acknowledgment = tcb.rcv.nxt;
  fields.window = advertise(tcb);
  RunHeader header{.ip = ip, .tcp_size = tcp_size, .by_nic = ip_.offloads(ip.interface).tcp_checksum};
  fields.emit(header.tcp.data());  // sequence number and checksum are each segment's own
  header.pseudo.add_pseudo_header(send.source, send.destination, send.protocol, tcp_size + tcb.mss);
  header.sum = header.pseudo;
  header.sum.add({header.tcp.data(), tcp_size});

  SendSpace& snd = tcb.snd;
  const bool first = tcb.board.empty();
  std::uint32_t sent = 0;
  for (; sent < count; ++sent) {
    Packet packet = tcb.queue.segment(pool_, static_cast<std::uint32_t>(snd.nxt - snd.una), tcb.mss);
    if (!packet) break;  // the ordinary way meets the same shortage, and says so
    put_header(packet, header, snd.nxt);
    ip_.send_prepared(std::move(packet), ip);
    POLLUX_CHECK(tcb.board.sent(sent_, snd.nxt, snd.nxt + tcb.mss, now_), "record of a sent segment");
    snd.nxt += tcb.mss;
  }
  if (sent == 0) return 0;
  const std::uint32_t octets = sent * tcb.mss;
  snd.max = snd.nxt;
  tcb.last_sent_ms = now_ms();
  counters_.add(Counter::tcp_out_segs, sent);
  counters_.add(Counter::tcp_out_bytes, octets);
  tcb.loss.prr.on_sent(octets);
  note_ack_sent(tcb);
  if (first) tcb.progress = now_;
  if (tcb.rto_deadline.is_never()) watch_flight(tcb);  // RFC 6298 5.1
  return sent;
}

void Tcp::put_header(Packet& packet, const RunHeader& header, SeqNum sequence) noexcept {
  constexpr std::uint32_t sequence_offset = 4;
  constexpr std::uint32_t checksum_offset = 16;
  const std::uint32_t size = header.ip.size() + header.tcp_size;
  const std::uint32_t length = packet.size();
  std::uint8_t* const at = packet.push_front(size);
  POLLUX_DCHECK(at != nullptr);
  std::memcpy(at, header.ip.octets.data(), header.ip.size());
  std::uint8_t* const tcp = at + header.ip.size();
  std::memcpy(tcp, header.tcp.data(), header.tcp_size);
  store_be32(tcp + sequence_offset, sequence.value());
  rte_mbuf* const m = packet.mbuf();
  if (header.by_nic) {
    store_be16(tcp + checksum_offset, header.pseudo.folded());
    m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
    m->l4_len = header.tcp_size & 0xff;
  } else {
    ChecksumSum sum = header.sum;
    sum.add_u32(sequence.value());
    sum.add(sum_chain(m, size, length));
    store_be16(tcp + checksum_offset, sum.finish());
  }
}

}  // namespace pollux
