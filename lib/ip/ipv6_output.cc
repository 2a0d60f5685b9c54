// IPv6 from a transport's packet to the port's batch: next hop, source address, header.
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/ethernet.h"

namespace pollux {
namespace {

constexpr std::uint32_t ethernet_size = EthernetFields::size;
constexpr std::uint32_t headers_size = ethernet_size + Ipv6Fields::size;

// RFC 4291 2.7 and RFC 6724 3.1: 2 is the link, 14 the world; unicast scopes are named alike.
int scope_of(const IpAddress& address) noexcept {
  if (address.is_multicast()) return address.octets()[1] & 0x0f;
  return address.is_link_local() ? 2 : 14;
}

}  // namespace

// RFC 6724 5: rule 1 (the same address), rule 2 (the smallest scope that reaches the destination), rule 3 (not a
// deprecated one), rule 8 (the longest matching prefix, at most that of the subnet). The others need temporary or
// home addresses.
const V6Address* Ip::source_on(const Interface& port, const IpAddress& destination) const noexcept {
  const int wanted = scope_of(destination);
  const V6Address* best = nullptr;
  int best_scope = 0;
  int best_prefix = -1;
  for (std::size_t i = 0; i < port.v6_count; ++i) {
    const V6Address& candidate = port.v6[i];
    if (!candidate.is_assigned()) continue;
    if (candidate.address() == destination) return &candidate;
    const int scope = scope_of(candidate.address());
    const int prefix =
        std::min<int>(candidate.address().common_prefix_length(destination), candidate.prefix.length);
    bool better = best == nullptr;
    if (!better && scope != best_scope)
      better = scope < best_scope ? scope >= wanted : best_scope < wanted;
    else if (!better && candidate.deprecated != best->deprecated)
      better = best->deprecated;
    else if (!better)
      better = prefix > best_prefix;
    if (!better) continue;
    best = &candidate;
    best_scope = scope;
    best_prefix = prefix;
  }
  return best;
}

// A link-local address names a host only together with a link: the one on which it is known, else the first.
const Ip::Interface* Ip::link_of(const IpAddress& link_local) const noexcept {
  const Interface* first = nullptr;
  for (std::size_t i = 0; i < interface_count_; ++i) {
    if (!interfaces_[i]->speaks_v6()) continue;
    if (neighbors_.find(interfaces_[i]->id, link_local) != NeighborTable::nil) return interfaces_[i].get();
    if (first == nullptr) first = interfaces_[i].get();
  }
  return first;
}

const Ip::Interface* Ip::output_interface_v6(const IpAddress& destination,
                                             const Route** route) const noexcept {
  *route = nullptr;
  if (destination.is_unspecified() || destination.is_loopback()) return nullptr;
  if (destination.is_link_local()) return link_of(destination);
  if (const Route* const found = routes_.lookup_v6(destination)) {
    *route = found;
    return interfaces_[found->interface].get();
  }
  // Groups without a route of their own leave through the first port with IPv6.
  return destination.is_multicast() ? link_of(destination) : nullptr;
}

// `port`: the link that the destination is known to be on; nullptr: the routes tell.
DropReason Ip::find_next_hop_v6(const IpAddress& destination, const Interface* port, RouteCache& cache,
                                TimePoint now) noexcept {
  const Route* route = nullptr;
  if (port == nullptr) port = output_interface_v6(destination, &route);
  // Nothing loops back inside the stack: our own addresses are not reachable through a port.
  if (port == nullptr || is_local_v6(destination)) return DropReason::ip_no_route;
  const bool to_group = destination.is_multicast();
  const bool on_link = to_group || route == nullptr || route->is_connected();
  const IpAddress& next_hop = on_link ? destination : route->gateway;
  if (!find_neighbor(*port, next_hop, to_group, now, cache)) return DropReason::neighbor_table_full;
  return DropReason::none;
}

DropReason Ip::send_v6(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept {
  counters_.add(Counter::ip6_out_requests);
  if (cache.generation != route_generation_) [[unlikely]] {
    if (const DropReason reason = find_next_hop_v6(send.destination, nullptr, cache, now);
        reason != DropReason::none)
      return drop(reason);
  }
  Interface& port = *interfaces_[cache.interface];
  Neighbor& neighbor = neighbors_[cache.neighbor];
  const std::uint32_t payload_length = packet.size();
  // RFC 8200 5: routers do not fragment, so what exceeds the link is cut here or not sent.
  if (payload_length + Ipv6Fields::size > port.v6_mtu) [[unlikely]]
    return send_oversized(std::move(packet), send, cache, now);
  std::uint8_t* const headers = prepend_header(pool_, packet, headers_size);
  if (headers == nullptr) [[unlikely]]
    return drop(DropReason::no_mbuf);
  Ipv6Fields{.traffic_class = send.tos,
             .payload_length = static_cast<std::uint16_t>(payload_length),
             .next_header = send.protocol,
             .hop_limit = send.ttl,
             .source = send.source,
             .destination = send.destination}
      .emit(headers + ethernet_size);
  rte_mbuf* const m = packet.mbuf();
  // What is left of reception goes: the buffer may be one that the NIC filled.
  m->ol_flags &= RTE_MBUF_F_TX_OFFLOAD_MASK | RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  if ((m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) != 0) {
    m->ol_flags |= RTE_MBUF_F_TX_IPV6;
    m->l2_len = ethernet_size;
    m->l3_len = Ipv6Fields::size;
  }
  if (neighbor.state != NeighborState::reachable) [[unlikely]]
    return send_unconfirmed(neighbor, std::move(packet), now);
  std::memcpy(headers, neighbor.header.data(), ethernet_size);
  return transmit(port, std::move(packet));
}

}  // namespace pollux
