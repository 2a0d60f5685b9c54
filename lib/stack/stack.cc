#include "pollux/stack/stack.h"

#include <algorithm>
#include <bit>

#include "pollux/wire/ipv4.h"

namespace pollux {

Result<std::unique_ptr<Stack>> Stack::create(const StackOptions& options, PacketPool pool, TimePoint now) {
  if (auto ok = check_options(options.tcp); !ok) return tl::unexpected(ok.error());
  // Headers go in front of a payload in one mbuf: Ethernet with a VLAN's tag, IP and TCP with every option.
  constexpr std::uint32_t headers_max = 18 + 40 + 60;
  static_assert(RTE_PKTMBUF_HEADROOM >= headers_max);
  if (options.flight_records != 0 && !std::has_single_bit(options.flight_records))
    return failure(ErrorCode::invalid_argument, "flight_records: expected 0 or a power of two, found " +
                                                    std::to_string(options.flight_records));
  constexpr std::uint32_t room_min = 256;  // SendQueue::copy_max
  if (pool.room() < room_min)
    return failure(ErrorCode::invalid_argument, "packet pool: mbufs hold " + std::to_string(pool.room()) +
                                                    " octets; expected at least " + std::to_string(room_min));
  return std::unique_ptr<Stack>(new Stack(options, pool, now));
}

Stack::Stack(const StackOptions& options, PacketPool pool, TimePoint now)
    : now_(now),
      work_(now),
      pool_(pool),
      rng_(options.seed),
      flight_(options.flight_records),
      ip_(options.ip, pool, rng_),
      udp_(options.udp, ip_, pool, ip_.counters(), rng_, options.udp_ports),
      raw_(ip_, pool, ip_.counters()),
      tcp_(options.tcp, options.secrets, ip_, pool, rng_, flight_, now, options.local_ports) {}

Counters Stack::counters() const noexcept {
  Counters sum = ip_.counters();
  sum += tcp_.counters();
  return sum;
}

Stack::~Stack() {
  parts_.clear();
  for (InterfaceId i = 0; i < ip_.interface_count(); ++i) tx(i).clear();  // they may refer to memory of the application's
}

[[gnu::always_inline]] inline void Stack::dispatch(RxPacket& packet, TimePoint now) noexcept {
  switch (static_cast<IpProtocol>(packet.protocol)) {
    case IpProtocol::tcp:
      tcp_.input(std::move(packet), now);
      break;
    case IpProtocol::udp:
      udp_.input(std::move(packet), now);
      break;
    case IpProtocol::icmp:
    case IpProtocol::icmpv6:
      if (const DropReason reason = icmp_error(packet, now); reason != DropReason::none) ip_.counters().drop(reason);
      break;
    default:
      raw_.input(std::move(packet), now);
      break;
  }
}

inline void Stack::enter(TimePoint now) noexcept {
#if POLLUX_DCHECK_ON
  if (!ip_.owner().is_taken()) take_core();  // by whoever drives it
  POLLUX_DCHECK(ip_.owner().is_here());
#endif
  now_ = now;
}

void Stack::input(InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept {
  enter(now);
  if (ip_.has_exceptions()) [[unlikely]]
    return input_beside_kernel(interface, burst, now);
  constexpr std::size_t prefetch_ahead = 3;
  for (std::size_t i = 0; i < burst.size(); ++i) {
    if (i + prefetch_ahead < burst.size())
      __builtin_prefetch(rte_pktmbuf_mtod(burst[i + prefetch_ahead], const void*));
    ip_.counters().add(Counter::rx_packets);
    ip_.counters().add(Counter::rx_bytes, rte_pktmbuf_pkt_len(burst[i]));
    RxPacket packet;
    if (!ip_.input(interface, Packet(burst[i]), now, packet)) continue;
    dispatch(packet, now);
  }
  tcp_.process_burst();
  udp_.deliver();
}

/// The same where exception ports are: each packet is asked whose it is before anybody answers it.
void Stack::input_beside_kernel(InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept {
  for (rte_mbuf* const m : burst) {
    Packet frame(m);
    if (ip_.is_exception(interface)) {
      ip_.send_from_kernel(interface, std::move(frame), now);
      continue;
    }
    ip_.counters().add(Counter::rx_packets);
    ip_.counters().add(Counter::rx_bytes, frame.size());
    ip_.copy_to_kernel(interface, frame);
    RxPacket packet;
    if (ip_.input(interface, std::move(frame), now, packet) && !is_kernels(packet, now)) dispatch(packet, now);
  }
  tcp_.process_burst();
  udp_.deliver();
}

/// True: it is nobody's here, and the kernel has it now (or it was an ICMP error, and has been handled).
bool Stack::is_kernels(RxPacket& packet, TimePoint now) noexcept {
  switch (static_cast<IpProtocol>(packet.protocol)) {
    case IpProtocol::tcp:
      return !tcp_.owns(packet) && ip_.give_to_kernel(packet);
    case IpProtocol::udp:
      return !udp_.owns(packet) && ip_.give_to_kernel(packet);
    case IpProtocol::icmp:
    case IpProtocol::icmpv6: {
      const DropReason reason = icmp_error(packet, now);
      if (reason == DropReason::none || (reason == DropReason::icmp_no_match && ip_.give_to_kernel(packet))) return true;
      ip_.counters().drop(reason);
      return true;
    }
    default:
      return false;
  }
}

namespace {

Parsed<IcmpError> icmp_error_of(const RxPacket& packet) noexcept {
  const ByteView message = packet.packet.front();
  if (packet.source.is_v4()) {
    const auto icmp = Icmpv4View::parse(message);
    if (!icmp) return reject(icmp.error());
    const auto quoted = QuotedPacket::parse(icmp->quoted());
    if (!quoted) return reject(quoted.error());
    return IcmpError{.problem = icmp->problem(), .mtu = icmp->next_hop_mtu(), .quoted = *quoted};
  }
  const auto icmp = Icmpv6View::parse(message);
  if (!icmp) return reject(icmp.error());
  const auto quoted = QuotedPacket::parse_v6(icmp->body());
  if (!quoted) return reject(quoted.error());
  return IcmpError{.problem = icmp->problem(), .mtu = icmp->rest(), .quoted = *quoted};
}

}  // namespace

// RFC 1122 3.2.2: an error goes to the transport whose packet it quotes.
DropReason Stack::icmp_error(const RxPacket& packet, TimePoint now) noexcept {
  const auto error = icmp_error_of(packet);
  if (!error) return error.error();
  switch (static_cast<IpProtocol>(error->quoted.protocol)) {
    case IpProtocol::tcp:
      return tcp_.icmp_error(*error, now);
    case IpProtocol::udp:
      return udp_.icmp_error(*error);
    default:
      return raw_.icmp_error(*error);
  }
}

void Stack::advance(TimePoint now) noexcept {
  enter(now);
  ip_.advance(now);
  udp_.advance(now);
  tcp_.advance(now);
  work_.advance(now);
}

void Stack::flush(TimePoint now) noexcept {
  enter(now);
  if (has_external_sends()) [[unlikely]] tcp_.external().poll();
  work_.flush();
  tcp_.flush(now);
}

TimePoint Stack::next_deadline() const noexcept {
  return std::min({ip_.next_deadline(), udp_.next_deadline(), tcp_.next_deadline(), work_.next_deadline(now_)});
}

}  // namespace pollux
