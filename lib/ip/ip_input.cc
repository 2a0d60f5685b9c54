// From a received frame to a transport's packet.
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/tcp.h"

namespace pollux {
namespace {

// What is brought into the first segment: Ethernet, IP and the longest thing behind it that is read in place,
// a TCP header or an ICMP error with the headers it quotes.
constexpr std::uint32_t parsed_octets_max =
    EthernetView::header_size + Ipv6Chain::length_max +
    std::max(TcpView::header_size_max, Icmpv6View::header_size + Ipv6View::header_size + 8);

}  // namespace

bool Ip::input(InterfaceId interface, Packet frame, TimePoint now, RxPacket& out) noexcept {
  POLLUX_DCHECK(interface < interface_count_);
  now_ = now;
  out.packet.reset();
  const DropReason reason = link_input(interface, frame, now, out);
  if (reason == DropReason::none) return static_cast<bool>(out.packet);
  if (has_exceptions_ && dropped_to_kernel(reason, interface, frame, out)) return false;
  out.packet.reset();
  counters_.drop(reason);
  return false;
}

DropReason Ip::link_input(InterfaceId id, Packet& frame, TimePoint now, RxPacket& out) noexcept {
  if (frame.segment_count() > 1 && !gather_headers(frame)) [[unlikely]]
    return DropReason::header_split;
  const auto ethernet = EthernetView::parse(frame.front());
  if (!ethernet) return ethernet.error();
  const MacAddress destination = ethernet->destination();
  const bool group_frame = destination.is_group();
  if (!group_frame && destination != interfaces_[id]->config.mac) return DropReason::eth_not_for_us;
  if ((frame.mbuf()->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0) [[unlikely]]
    if (const DropReason reason = enter_vlan(*interfaces_[id], frame, id); reason != DropReason::none) return reason;
  switch (ethernet->type()) {
    case EtherType::ipv4:
      if (!interfaces_[id]->speaks_v4()) break;
      frame.pull_front(EthernetView::header_size);
      counters_.add(Counter::ip_in_receives);
      return ipv4_input(id, frame, group_frame, now, out);
    case EtherType::arp:
      if (!interfaces_[id]->speaks_v4()) break;
      return arp_input(id, frame.front().subspan(EthernetView::header_size), now);
    case EtherType::vlan:
    case EtherType::qinq:
      return tagged_input(id, frame, now, out);
    case EtherType::ipv6:
      if (!interfaces_[id]->speaks_v6()) break;
      frame.pull_front(EthernetView::header_size);
      counters_.add(Counter::ip6_in_receives);
      return ipv6_input(id, frame, group_frame, now, out);
    case EtherType::between_cores:
      return core_message_input(frame);
  }
  return DropReason::eth_unknown_type;
}

DropReason Ip::ipv4_input(InterfaceId id, Packet& frame, bool group_frame, TimePoint now,
                          RxPacket& out) noexcept {
  const auto ip = Ipv4View::parse(frame.front(), frame.size(), rx_ip_checksum_good(frame.mbuf()));
  if (!ip) return ip.error();
  if (frame.size() > ip->total_length())
    frame.trim_to(static_cast<std::uint32_t>(ip->total_length()));  // Ethernet padding

  const IpAddress source = ip->source();
  const IpAddress destination = ip->destination();
  out.interface = id;
  const Target target = classify(*interfaces_[id], destination.v4_value());
  if (target == Target::other) return DropReason::ip_not_local;
  // RFC 3376 4.2.13, RFC 4541 2.1.1: switches and hosts without an address speak IGMP from 0.0.0.0.
  const bool is_nobodys_igmp =
      source.is_unspecified() && ip->protocol() == static_cast<std::uint8_t>(IpProtocol::igmp);
  if (is_bad_source(source.v4_value()) && !is_nobodys_igmp && !core_behind(frame.mbuf())) return DropReason::ip_bad_source;
  // RFC 1122 3.3.6: a unicast packet does not come in a group frame.
  if (group_frame && target == Target::local) return DropReason::ip_in_group_frame;

  out.source = source;
  out.destination = destination;
  out.protocol = ip->protocol();
  out.ttl = ip->ttl();
  out.tos = ip->tos();
  out.ip_header_length = static_cast<std::uint8_t>(ip->header_length());
  out.to_group = target == Target::group;
  if (ip->is_fragment()) [[unlikely]]
    return ipv4_fragment(id, frame, out, group_frame, now, out);
  frame.pull_front(out.ip_header_length);
  out.packet = std::move(frame);
  switch (static_cast<IpProtocol>(out.protocol)) {
    case IpProtocol::tcp:
    case IpProtocol::udp:
      counters_.add(Counter::ip_in_delivers);
      return DropReason::none;
    case IpProtocol::icmp:
      counters_.add(Counter::ip_in_delivers);
      return icmp_input(out, now);
    case IpProtocol::igmp: {
      counters_.add(Counter::ip_in_delivers);
      const DropReason reason = igmp_input(out, now);
      out.packet.reset();  // nothing for a transport
      return reason;
    }
    default:
      if (accepted_[out.protocol]) {
        counters_.add(Counter::ip_in_delivers);
        return DropReason::none;
      }
      if (has_exceptions_ && give_to_kernel(out)) return DropReason::none;
      // RFC 1122 3.2.2.1: protocol unreachable.
      send_unreachable(out, UnreachableCode::protocol, now);
      return DropReason::ip_unknown_protocol;
  }
}

Ip::Target Ip::classify(const Interface& port, std::uint32_t destination) const noexcept {
  if (destination == port.ipv4[0].address) [[likely]]
    return Target::local;
  if (destination == 0xffffffffu) return Target::group;
  for (const V4Address& ours : port.v4_addresses())
    if (destination == ours.broadcast) return Target::group;
  if (destination >> 28 == 0xe) {
    const IpAddress group = IpAddress::v4(destination);
    return is_permanent_group(group) || port.v4_groups.is_member(group) ? Target::group : Target::other;
  }
  // RFC 1122 3.3.4.2: the weak model; another interface's address is ours too.
  return is_local(destination) ? Target::local : Target::other;
}

// RFC 1122 3.2.1.3: a source must name one host, and not us.
bool Ip::is_bad_source(std::uint32_t source) const noexcept {
  const std::uint32_t first_octet = source >> 24;
  return first_octet == 0 || first_octet == 127 || first_octet >= 224 || is_local(source) ||
         is_broadcast(source);
}

// Copies the octets that will be parsed into one fresh segment in front of the rest.
bool Ip::gather_headers(Packet& frame) noexcept {
  const std::uint32_t wanted = std::min({frame.size(), parsed_octets_max, std::uint32_t{pool_.room()}});
  if (frame.front().size() >= wanted) return true;
  Packet head = pool_.alloc();
  std::uint8_t* const to = head ? head.push_back(wanted) : nullptr;
  if (to == nullptr) return false;
  frame.copy_out(0, {to, wanted});
  head.mbuf()->ol_flags |= frame.mbuf()->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
  head.mbuf()->vlan_tci = frame.mbuf()->vlan_tci;
  frame.pull_front(wanted);
  if (frame.size() != 0 && !head.chain(frame)) return false;
  frame = std::move(head);
  return true;
}

}  // namespace pollux
