// From a transport's packet to the port's batch.
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"

namespace pollux {
namespace {

constexpr std::uint32_t ethernet_size = EthernetFields::size;
constexpr std::uint32_t headers_size = ethernet_size + Ipv4Fields::size;

}  // namespace

bool Ip::resolve(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept {
  return find_next_hop(destination, cache, now) == DropReason::none;
}

DropReason Ip::find_next_hop(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept {
  if (!destination.is_v4()) return find_next_hop_v6(destination, nullptr, cache, now);
  const Route* route = nullptr;
  const Interface* const port = output_interface(destination, &route);
  // Nothing loops back inside the stack: our own addresses are not reachable through a port.
  if (port == nullptr || is_local(destination)) return DropReason::ip_no_route;
  const bool to_group = is_group(destination);
  const bool on_link = to_group || route->is_connected();
  const IpAddress& next_hop = on_link ? destination : route->gateway;
  if (!find_neighbor(*port, next_hop, to_group, now, cache)) return DropReason::neighbor_table_full;
  return DropReason::none;
}

bool Ip::find_neighbor(const Interface& port, const IpAddress& next_hop, bool to_group, TimePoint now,
                       RouteCache& cache) noexcept {
  std::uint32_t index = neighbors_.find(port.id, next_hop);
  if (index == NeighborTable::nil) {
    index = neighbors_.add(port.id, next_hop, port.config.mac);
    if (index == NeighborTable::nil) return false;
    Neighbor& neighbor = neighbors_[index];
    if (to_group) {
      neighbor.set_mac(next_hop.is_multicast() ? group_mac(next_hop) : MacAddress::broadcast());
      set_reachable(neighbor, now);
    } else {
      neighbors_.arm(neighbor,
                     now + options_.neighbor_stale_max);  // forgotten when nothing is ever sent to it
    }
  }
  // The generation is read last: making room for the entry may have bumped it.
  cache = {.generation = route_generation_, .neighbor = index, .interface = port.id};
  return true;
}

DropReason Ip::send_v4(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept {
  counters_.add(Counter::ip_out_requests);
  if (cache.generation != route_generation_) [[unlikely]] {
    if (const DropReason reason = find_next_hop(send.destination, cache, now); reason != DropReason::none)
      return drop(reason);
  }
  Interface& port = *interfaces_[cache.interface];
  Neighbor& neighbor = neighbors_[cache.neighbor];
  const std::uint32_t length = packet.size() + Ipv4Fields::size;
  if (length > port.config.mtu) [[unlikely]]
    return send_oversized(std::move(packet), send, cache, now);
  std::uint8_t* const headers = prepend_header(pool_, packet, headers_size);
  if (headers == nullptr) [[unlikely]]
    return drop(DropReason::no_mbuf);

  const bool checksum_by_nic = port.config.offloads.ipv4_checksum;
  // RFC 6864 4.1: an atomic datagram (DF set, never fragmented) may carry any identification.
  Ipv4Fields{.tos = send.tos,
             .total_length = static_cast<std::uint16_t>(length),
             .ttl = send.ttl,
             .protocol = send.protocol,
             .source = send.source,
             .destination = send.destination}
      .emit(headers + ethernet_size, checksum_by_nic);
  rte_mbuf* const m = packet.mbuf();
  // What is left of reception goes: the buffer may be one that the NIC filled.
  m->ol_flags &= RTE_MBUF_F_TX_OFFLOAD_MASK | RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  if (checksum_by_nic) m->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  if ((m->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) != 0) {
    m->ol_flags |= RTE_MBUF_F_TX_IPV4;
    m->l2_len = ethernet_size;
    m->l3_len = Ipv4Fields::size;
  }
  if (neighbor.state != NeighborState::reachable) [[unlikely]]
    return send_unconfirmed(neighbor, std::move(packet), now);
  std::memcpy(headers, neighbor.header.data(), ethernet_size);
  return hand_to_batch(port, packet);
}

DropReason Ip::send_unconfirmed(Neighbor& neighbor, Packet packet, TimePoint now) noexcept {
  switch (neighbor.state) {
    case NeighborState::failed:
      return drop(DropReason::neighbor_unreachable);
    case NeighborState::incomplete:
      neighbors_.enqueue(neighbor, std::move(packet));
      if (neighbor.attempts == 0) query(neighbor, now);
      return DropReason::none;
    case NeighborState::stale:
      start_delay(neighbor, now);
      break;
    case NeighborState::delay:
    case NeighborState::probe:
    case NeighborState::reachable:
      break;
  }
  std::memcpy(packet.data(), neighbor.header.data(), ethernet_size);
  return transmit_whole_or_cut(*interfaces_[neighbor.interface], std::move(packet));
}

bool Ip::prepare(const IpSend& send, const RouteCache& cache, std::uint32_t payload_length,
                 HeaderTemplate& out) const noexcept {
  if (cache.generation != route_generation_) return false;
  const InterfaceConfig& port = interfaces_[cache.interface]->config;
  const Neighbor& neighbor = neighbors_[cache.neighbor];
  const bool v4 = send.destination.is_v4();
  out.ip_size = v4 ? Ipv4Fields::size : Ipv6Fields::size;
  if (neighbor.state != NeighborState::reachable || payload_length + out.ip_size > mtu(cache.interface, v4))
    return false;
  out.interface = cache.interface;
  std::memcpy(out.octets.data(), neighbor.header.data(), ethernet_size);
  if (v4) {
    out.offload_flags = RTE_MBUF_F_TX_IPV4 | (port.offloads.ipv4_checksum ? RTE_MBUF_F_TX_IP_CKSUM : 0);
    Ipv4Fields{.tos = send.tos,
               .total_length = static_cast<std::uint16_t>(payload_length + Ipv4Fields::size),
               .ttl = send.ttl,
               .protocol = send.protocol,
               .source = send.source,
               .destination = send.destination}
        .emit(&out.octets[ethernet_size], port.offloads.ipv4_checksum);
  } else {
    out.offload_flags = RTE_MBUF_F_TX_IPV6;
    Ipv6Fields{.traffic_class = send.tos,
               .payload_length = static_cast<std::uint16_t>(payload_length),
               .next_header = send.protocol,
               .hop_limit = send.ttl,
               .source = send.source,
               .destination = send.destination}
        .emit(&out.octets[ethernet_size]);
  }
  return true;
}

void Ip::send_prepared(Packet frame, const HeaderTemplate& headers) noexcept {
  rte_mbuf* const m = frame.mbuf();
  m->ol_flags |= headers.offload_flags;
  m->l2_len = ethernet_size;
  m->l3_len = headers.ip_size;
  counters_.add((headers.offload_flags & RTE_MBUF_F_TX_IPV4) != 0 ? Counter::ip_out_requests : Counter::ip6_out_requests);
  hand_to_batch(*interfaces_[headers.interface], frame);
}

DropReason Ip::transmit(Interface& port, Packet packet) noexcept { return hand_to_batch(port, packet); }

inline DropReason Ip::hand_to_batch(Interface& port, Packet& packet) noexcept {
  if (!port.plain) [[unlikely]]
    if (const DropReason reason = finish_frame(port, packet); reason != DropReason::none) return drop(reason);
  const std::uint32_t size = packet.size();
  if (!port.tx.push(packet)) [[unlikely]]
    return drop(DropReason::tx_batch_full);
  counters_.add(Counter::tx_packets);
  counters_.add(Counter::tx_bytes, size);
  return DropReason::none;
}

bool Ip::linearise(Packet& packet) noexcept {
  // Into a fresh mbuf: the head's tailroom may belong to a buffer that others read. add_interface() made sure
  // that a frame fits.
  Packet flat = pool_.alloc();
  if (!flat) return false;
  std::uint8_t* const to = flat.push_back(packet.size());
  if (to == nullptr) return false;
  packet.copy_out(0, {to, packet.size()});
  flat.mbuf()->ol_flags |= packet.mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK;
  flat.mbuf()->tx_offload = packet.mbuf()->tx_offload;
  packet = std::move(flat);
  return true;
}

}  // namespace pollux
