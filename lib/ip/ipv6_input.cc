// From an IPv6 frame to a transport's packet (RFC 8200).
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ipv4.h"

namespace pollux {

DropReason Ip::ipv6_input(InterfaceId id, Packet& frame, bool group_frame, TimePoint now,
                          RxPacket& out) noexcept {
  const auto ip = Ipv6View::parse(frame.front(), frame.size());
  if (!ip) return ip.error();
  const auto length = static_cast<std::uint32_t>(Ipv6View::header_size + ip->payload_length());
  if (frame.size() > length) frame.trim_to(length);  // Ethernet padding

  out.interface = id;
  out.source = ip->source();
  out.destination = ip->destination();
  const Target target = classify_v6(*interfaces_[id], out.destination);
  if (target == Target::other) return DropReason::ip_not_local;
  // RFC 4291 2.5.3, 2.7; the unspecified address only where duplicates are looked for (RFC 4862 5.4).
  if (out.source.is_multicast() || out.source.is_loopback() ||
      (is_local_v6(out.source) && !core_behind(frame.mbuf())))
    return DropReason::ip_bad_source;
  if (group_frame && target == Target::local) return DropReason::ip_in_group_frame;

  const Ipv6Chain chain = Ipv6Chain::walk(frame.front(), frame.size(), *ip);
  out.protocol = chain.protocol;
  out.ttl = ip->hop_limit();
  out.tos = ip->traffic_class();
  out.to_group = target == Target::group;
  const bool from_nobody = out.source.is_unspecified();
  if (chain.reason != DropReason::none) {
    if (chain.problem && !from_nobody && (!out.to_group || chain.problem->to_group_too)) {
      out.ip_header_length = 0;
      out.packet = std::move(frame);
      send_icmpv6_error(out,
                        {.type = Icmpv6Type::parameter_problem,
                         .code = chain.problem->code,
                         .rest = chain.problem->pointer},
                        Counter::icmp6_out_parm_problems, now);
    }
    return chain.reason;
  }
  if (chain.fragment && !chain.fragment->is_atomic()) [[unlikely]]
    return ipv6_fragment(id, frame, chain, out, group_frame, now);

  out.ip_header_length = chain.header_length;
  frame.pull_front(chain.header_length);
  out.packet = std::move(frame);
  switch (static_cast<IpProtocol>(out.protocol)) {
    case IpProtocol::tcp:
    case IpProtocol::udp:
      if (from_nobody) return DropReason::ip_bad_source;
      counters_.add(Counter::ip6_in_delivers);
      return DropReason::none;
    case IpProtocol::icmpv6:
      counters_.add(Counter::ip6_in_delivers);
      return icmpv6_input(out, now);
    default:
      if (accepted_[out.protocol] && !from_nobody) {
        counters_.add(Counter::ip6_in_delivers);
        return DropReason::none;
      }
      if (has_exceptions_ && give_to_kernel(out)) return DropReason::none;
      // RFC 8200 4: an unknown next header is a parameter problem.
      if (!from_nobody && !out.to_group)
        send_icmpv6_error(out,
                          {.type = Icmpv6Type::parameter_problem,
                           .code = icmpv6_unknown_next_header,
                           .rest = chain.protocol_at},
                          Counter::icmp6_out_parm_problems, now);
      return DropReason::ip_unknown_protocol;
  }
}

bool Ip::is_local_v6(const IpAddress& address) const noexcept {
  for (std::size_t i = 0; i < interface_count_; ++i)
    if (const V6Address* const ours = interfaces_[i]->find_v6(address); ours != nullptr && ours->is_assigned()) return true;
  return false;
}

Ip::Target Ip::classify_v6(const Interface& port, const IpAddress& destination) const noexcept {
  if (!destination.is_multicast()) {
    // RFC 8504 does not say; the weak model as for IPv4, except that a link-local address means one link.
    if (destination.is_link_local()) {
      const V6Address* const ours = port.find_v6(destination);
      return ours != nullptr && ours->is_assigned() ? Target::local : Target::other;
    }
    return is_local_v6(destination) ? Target::local : Target::other;
  }
  if (destination == v6_all_nodes || port.v6_groups.is_member(destination)) return Target::group;
  for (std::size_t i = 0; i < port.v6_count; ++i) {
    const V6Address& ours = port.v6[i];
    if (ours.state != V6AddressState::duplicate && ours.address().solicited_node() == destination)
      return Target::group;
  }
  return Target::other;
}

}  // namespace pollux
