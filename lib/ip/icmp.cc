// ICMPv4 (RFC 792, RFC 1122 3.2.2).
#include <algorithm>
#include <array>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/icmpv4.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

// RFC 1812 4.3.2.3: an error quotes as much as fits in a datagram that every host accepts.
constexpr std::uint32_t error_datagram_max = 576;
constexpr std::uint32_t quote_max = error_datagram_max - Ipv4Fields::size - Icmpv4Fields::size;

}  // namespace

DropReason Ip::icmp_input(RxPacket& message, TimePoint now) noexcept {
  counters_.add(Counter::icmp_in_msgs);
  const Packet& packet = message.packet;
  const auto icmp = Icmpv4View::parse(packet.front());
  if (!icmp) return icmp.error();
  if (sum_chain(packet.mbuf(), 0, packet.size()).folded() != 0xffff) return DropReason::icmp_bad_checksum;
  switch (icmp->type()) {
    case Icmpv4Type::echo_request:
      counters_.add(Counter::icmp_in_echos);
      // RFC 1122 3.2.2.6: may be discarded, and is, since answers from a whole subnet are an attack.
      if (message.to_group) return DropReason::icmp_broadcast_echo;
      return echo_reply(message, static_cast<std::uint8_t>(Icmpv4Type::echo_reply),
                        Counter::icmp_out_echo_reps, now);
    case Icmpv4Type::destination_unreachable:
      counters_.add(Counter::icmp_in_dest_unreachs);
      [[fallthrough]];
    case Icmpv4Type::time_exceeded:
    case Icmpv4Type::parameter_problem:
      // Errors are about something one of our addresses sent.
      return message.to_group ? DropReason::icmp_no_match : DropReason::none;
    case Icmpv4Type::source_quench:  // RFC 6633 3
    case Icmpv4Type::redirect:
    case Icmpv4Type::echo_reply:
      break;
  }
  return DropReason::icmp_ignored_type;
}

// Turns the request into its reply in place: type and checksum change, id, sequence and data stay.
// An IPv6 message's pseudo-header stays too, as source and destination only change places.
DropReason Ip::echo_reply(RxPacket& request, std::uint8_t reply_type, Counter counter,
                          TimePoint now) noexcept {
  Packet packet = std::move(request.packet);
  std::array<std::uint8_t, Icmpv4View::header_size> header;
  std::memcpy(header.data(), packet.data(), header.size());
  ChecksumSum sum;  // RFC 1624 3: HC' = ~(~HC + ~m + m')
  sum.add_u16(static_cast<std::uint16_t>(~load_be16(&header[2])));
  sum.add_u16(static_cast<std::uint16_t>(~load_be16(&header[0])));
  header[0] = reply_type;
  sum.add_u16(load_be16(&header[0]));
  // Of 0 and 0xffff, which are equal in one's complement, only 0xffff is right for a message of zeros.
  store_be16(&header[2], sum.finish() == 0 ? 0xffff : sum.finish());

  packet.mbuf()->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  packet.pull_front(header.size());
  std::uint8_t* const out = prepend_header(pool_, packet, header.size());
  if (out == nullptr) return DropReason::no_mbuf;
  std::memcpy(out, header.data(), header.size());
  RouteCache cache;
  // RFC 1122 3.2.2.6: the source is the request's destination. RFC 1122 3.2.1.6: and its TOS is the
  // request's.
  const IpSend send{.source = request.destination,
                    .destination = request.source,
                    .protocol = request.protocol,
                    .ttl = options_.ttl,
                    .tos = request.tos,
                    .may_fragment = true};
  if (!request.source.is_v4() &&
      find_next_hop_v6(request.source,
                       request.source.is_link_local() ? interfaces_[request.interface].get() : nullptr, cache,
                       now) != DropReason::none)
    return DropReason::ip_no_route;
  if (this->send(std::move(packet), send, cache, now) == DropReason::none) counters_.add(counter);
  return DropReason::none;  // send() has counted a drop
}

// Eight octets for an ICMP header and up to `quoted_max` of the offender from its IP header on; null without
// an mbuf.
Packet Ip::quote(const RxPacket& offender, std::uint32_t quoted_max) noexcept {
  static_assert(Icmpv4Fields::size == Icmpv6Fields::size);
  const std::uint32_t header_length = offender.ip_header_length;
  const std::uint32_t room = std::min(quoted_max, pool_.room() - std::uint32_t{Icmpv4Fields::size});
  const std::uint32_t quoted_payload = std::min(offender.packet.size(), room - header_length);
  Packet packet = pool_.alloc();
  std::uint8_t* const out =
      packet ? packet.push_back(Icmpv4Fields::size + header_length + quoted_payload) : nullptr;
  if (out == nullptr) return Packet();
  std::uint8_t* const quoted = out + Icmpv4Fields::size;
  std::memcpy(quoted, offender.packet.data() - header_length, header_length);
  offender.packet.copy_out(0, {quoted + header_length, quoted_payload});
  return packet;
}

void Ip::send_unreachable(const RxPacket& offender, UnreachableCode code, TimePoint now) noexcept {
  // RFC 1122 3.2.2: no error about an ICMP error (all ICMP that reaches a transport is one) or about a group;
  // fragments and sources that are not one host have been dropped before.
  if (offender.protocol == static_cast<std::uint8_t>(IpProtocol::icmp) || offender.to_group) return;
  if (!offender.source.is_v4()) {
    send_icmpv6_unreachable(offender, code, now);
    return;
  }
  send_icmp_error(offender,
                  {.type = Icmpv4Type::destination_unreachable, .code = static_cast<std::uint8_t>(code)},
                  Counter::icmp_out_dest_unreachs, now);
}

void Ip::send_icmp_error(const RxPacket& offender, const Icmpv4Fields& fields, Counter counter,
                         TimePoint now) noexcept {
  // RFC 1122 3.2.2: no error about an ICMP error.
  if (offender.protocol == static_cast<std::uint8_t>(IpProtocol::icmp) &&
      (offender.packet.size() == 0 ||
       offender.packet.data()[0] != static_cast<std::uint8_t>(Icmpv4Type::echo_request)))
    return;
  if (!icmp_errors_.take(now)) {
    drop(DropReason::icmp_rate_limited);
    return;
  }
  Packet packet = quote(offender, quote_max);
  if (!packet) {
    drop(DropReason::no_mbuf);
    return;
  }
  std::uint8_t* const out = packet.data();
  fields.emit(out);
  ChecksumSum sum;
  sum.add({out, packet.size()});
  store_be16(out + 2, sum.finish());
  RouteCache cache;
  const IpSend send{.source = offender.destination,
                    .destination = offender.source,
                    .protocol = static_cast<std::uint8_t>(IpProtocol::icmp),
                    .ttl = options_.ttl};
  if (this->send(std::move(packet), send, cache, now) == DropReason::none)
    counters_.add(counter);
}

}  // namespace pollux
