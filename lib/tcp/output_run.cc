// Bulk: full segments of new data that leave together and differ only in their sequence numbers. Their headers are made
// once, and so is what the connection remembers of them but the record of each. A port that can (TSO) gets many of them as
// one packet and cuts it.
#include <algorithm>
#include <cstring>

#include "pollux/packet/checksum.h"
#include "pollux/tcp/tcp.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint32_t checksum_offset = 16;  // in TCP's header
// Payload of a packet that the port cuts: with headers, what an IPv4 packet can be.
constexpr std::uint32_t cut_octets_max = 65535 - 20 - TcpView::header_size_max;

}  // namespace

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
  if (tcb.is.urgent_out || tcb.is.ece_due || tcb.is.cwr_due || snd.nxt != snd.max) return 0;
  const auto position = static_cast<std::uint32_t>(snd.nxt - snd.una);
  const std::uint32_t room = ip_.tx(tcb.route.interface).room();
  const std::uint32_t octets = std::min({tcb.queue.size() - position - 1, snd.wnd - position, budget});
  return std::min({octets / tcb.mss, limit, room, sent_.capacity() - sent_.size()});
}

// Sends up to `count` of them and says how many; 0: not this way.
std::uint32_t Tcp::send_run(Tcb& tcb, std::uint32_t count) noexcept {
  const IpSend send = ip_send(tcb, data_tos(tcb));
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
  const TxOffloads& offloads = ip_.offloads(ip.interface);
  const std::uint32_t at_once = offloads.tcp_segmentation ? std::max(1u, cut_octets_max / tcb.mss) : 1;
  while (sent < count) {
    const std::uint32_t segments = std::min(at_once, count - sent);
    const std::uint32_t mbufs = segments == 1 ? SendQueue::pieces_max : offloads.mbufs_max - 1u;
    Packet packet = tcb.queue.segment(pool_, static_cast<std::uint32_t>(snd.nxt - snd.una), segments * tcb.mss, mbufs);
    if (!packet) break;  // the ordinary way meets the same shortage, and says so
    put_header(packet, header, snd.nxt);
    if (segments > 1) {
      ask_for_cutting(packet, header, send, tcb.mss);
      counters_.add(Counter::tcp_tso_packets);
    }
    ip_.send_prepared(std::move(packet), ip);
    for (const std::uint32_t end = sent + segments; sent < end; ++sent, snd.nxt += tcb.mss)
      POLLUX_CHECK(tcb.board.sent(sent_, disorder_of(tcb), snd.nxt, snd.nxt + tcb.mss, now_), "record of a sent segment");
  }
  if (sent == 0) return 0;
  const std::uint32_t octets = sent * tcb.mss;
  snd.max = snd.nxt;
  tcb.last_sent_ms = now_ms();
  counters_.add(Counter::tcp_out_segs, sent);
  counters_.add(Counter::tcp_out_bytes, octets);
  note_new_data(tcb, octets);
  note_ack_sent(tcb);
  if (first) tcb.progress = now_;
  if (tcb.rto_deadline.is_never()) watch_flight(tcb);  // RFC 6298 5.1
  return sent;
}

// The port counts the length of each segment in by itself, so the pseudo-header's sum is without it; what IP's header says of
// the length is the whole packet's.
void Tcp::ask_for_cutting(Packet& packet, const RunHeader& header, const IpSend& send, std::uint16_t mss) noexcept {
  constexpr std::uint32_t v4_length_offset = 2, v6_length_offset = 4;
  std::uint8_t* const ip = packet.data() + EthernetFields::size;
  std::uint8_t* const tcp = ip + header.ip.ip_size;
  const auto ip_packet = static_cast<std::uint16_t>(packet.size() - EthernetFields::size);
  if (send.destination.is_v4())
    store_be16(ip + v4_length_offset, ip_packet);
  else
    store_be16(ip + v6_length_offset, static_cast<std::uint16_t>(ip_packet - header.ip.ip_size));
  ChecksumSum pseudo;
  pseudo.add_pseudo_header(send.source, send.destination, send.protocol, 0);
  store_be16(tcp + checksum_offset, pseudo.folded());
  rte_mbuf* const m = packet.mbuf();
  m->ol_flags |= RTE_MBUF_F_TX_TCP_SEG;
  m->tso_segsz = mss;
}

void Tcp::put_header(Packet& packet, const RunHeader& header, SeqNum sequence) noexcept {
  constexpr std::uint32_t sequence_offset = 4;
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
