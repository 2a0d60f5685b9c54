// ICMPv6 (RFC 4443): echo, errors received and sent. Neighbour discovery is nd.cc's.
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr auto protocol_icmpv6 = static_cast<std::uint8_t>(IpProtocol::icmpv6);
// RFC 4443 2.4 (c): as much of the offender as fits the minimum IPv6 MTU.
constexpr std::uint32_t quote_max = v6_mtu_min - Ipv6Fields::size - Icmpv6Fields::size;

}  // namespace

DropReason Ip::icmpv6_input(RxPacket& message, TimePoint now) noexcept {
  counters_.add(Counter::icmp6_in_msgs);
  const Packet& packet = message.packet;
  if (packet.size() == 0) return DropReason::icmp_truncated;
  const auto icmp = Icmpv6View::parse(packet.front());
  if (!icmp) return icmp.error();
  ChecksumSum sum = sum_chain(packet.mbuf(), 0, packet.size());
  sum.add_pseudo_header(message.source, message.destination, protocol_icmpv6, packet.size());
  if (sum.folded() != 0xffff) return DropReason::icmp_bad_checksum;
  const Icmpv6Type type = icmp->type();
  if (message.source.is_unspecified() && type != Icmpv6Type::neighbor_solicitation)
    return DropReason::ip_bad_source;
  switch (type) {
    case Icmpv6Type::echo_request:
      counters_.add(Counter::icmp6_in_echos);
      // RFC 4443 4.2 lets a host answer a group; as for IPv4, one packet does not get a whole link to answer.
      if (message.to_group) return DropReason::icmp_broadcast_echo;
      return echo_reply(message, static_cast<std::uint8_t>(Icmpv6Type::echo_reply),
                        Counter::icmp6_out_echo_reps, now);
    case Icmpv6Type::destination_unreachable:
      counters_.add(Counter::icmp6_in_dest_unreachs);
      break;
    case Icmpv6Type::packet_too_big:
      counters_.add(Counter::icmp6_in_too_bigs);
      break;
    case Icmpv6Type::time_exceeded:
    case Icmpv6Type::parameter_problem:
      break;
    case Icmpv6Type::neighbor_solicitation:
    case Icmpv6Type::neighbor_advertisement: {
      const DropReason reason = nd_input(message, now);
      message.packet.reset();  // nothing for a transport
      return reason;
    }
    case Icmpv6Type::listener_query:
    case Icmpv6Type::listener_report_v2: {
      const DropReason reason = mld_input(message, now);
      message.packet.reset();  // nothing for a transport
      return reason;
    }
    case Icmpv6Type::router_advertisement: {
      const DropReason reason = router_advertisement_input(message, now);
      message.packet.reset();
      return reason;
    }
    default:
      // RFC 4861 8.1 lets a host ignore redirects; so does this one. Of the rest nothing concerns a host.
      return DropReason::icmp_ignored_type;
  }
  // Errors are about something one of our addresses sent; they go up to the transport.
  return message.to_group ? DropReason::icmp_no_match : DropReason::none;
}

void Ip::send_icmpv6_unreachable(const RxPacket& offender, UnreachableCode code, TimePoint now) noexcept {
  if (code == UnreachableCode::protocol) {
    // RFC 4443 3.4 code 1; the octet that names the transport lies in the last header in front of it, which
    // is the fixed one where there are no extension headers.
    constexpr std::uint32_t next_header_at = 6;
    send_icmpv6_error(
        offender,
        {.type = Icmpv6Type::parameter_problem, .code = icmpv6_unknown_next_header, .rest = next_header_at},
        Counter::icmp6_out_parm_problems, now);
    return;
  }
  // RFC 4443 3.1: no route 0, address unreachable 3, port unreachable 4.
  constexpr std::uint8_t no_route = 0;
  constexpr std::uint8_t address_unreachable = 3;
  const std::uint8_t v6_code = code == UnreachableCode::port   ? icmpv6_port_unreachable
                               : code == UnreachableCode::host ? address_unreachable
                                                               : no_route;
  send_icmpv6_error(offender, {.type = Icmpv6Type::destination_unreachable, .code = v6_code},
                    Counter::icmp6_out_dest_unreachs, now);
}

// The caller has made sure that the offender came from one host, and to a group only where RFC 4443 2.4 (e)
// allows.
void Ip::send_icmpv6_error(const RxPacket& offender, Icmpv6Fields fields, Counter counter,
                           TimePoint now) noexcept {
  // RFC 4443 2.4 (e.1): not about an ICMPv6 error. What arrived as ICMPv6 without a type is malformed anyway.
  if (offender.protocol == protocol_icmpv6 && offender.ip_header_length != 0 &&
      (offender.packet.size() == 0 || offender.packet.data()[0] < 128))
    return;
  if (!icmp_errors_.take(now)) {
    drop(DropReason::icmp_rate_limited);
    return;
  }
  const Interface& port = *interfaces_[offender.interface];
  IpAddress source = offender.destination;
  if (offender.to_group) {
    const V6Address* const ours = source_on(port, offender.source);
    if (ours == nullptr) return;
    source = ours->address();
  }
  RouteCache cache;
  if (const DropReason reason =
          find_next_hop_v6(offender.source, offender.source.is_link_local() ? &port : nullptr, cache, now);
      reason != DropReason::none) {
    drop(reason);
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
  sum.add_pseudo_header(source, offender.source, protocol_icmpv6, packet.size());
  store_be16(out + 2, sum.finish());
  const IpSend send{
      .source = source, .destination = offender.source, .protocol = protocol_icmpv6, .ttl = options_.ttl};
  if (send_v6(std::move(packet), send, cache, now) == DropReason::none) counters_.add(counter);
}

}  // namespace pollux
