// Neighbour discovery (RFC 4861 7.2) and duplicate address detection (RFC 4862 5.4).
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint8_t nd_hop_limit = 255;  // RFC 4861 7.1: no router can have made such a packet
constexpr auto protocol_icmpv6 = static_cast<std::uint8_t>(IpProtocol::icmpv6);

MacAddress frame_source(const RxPacket& packet) noexcept {
  const std::uint8_t* const frame =
      packet.packet.data() - packet.ip_header_length - EthernetView::header_size;
  MacAddress mac;
  std::memcpy(mac.octets.data(), frame + 6, mac.octets.size());
  return mac;
}

}  // namespace

DropReason Ip::nd_input(const RxPacket& packet, TimePoint now) noexcept {
  if (packet.ttl != nd_hop_limit) return DropReason::nd_hop_limit;
  const ByteView bytes = packet.packet.front();
  if (bytes.size() != packet.packet.size()) return DropReason::header_split;
  const auto message = NeighborMessage::parse(bytes);
  if (!message) return message.error();
  if (message->link_address && (message->link_address->is_group() || message->link_address->is_zero()))
    return DropReason::nd_bad_sender;
  return message->is_solicitation ? solicitation_input(packet, *message, now)
                                  : advertisement_input(packet, *message, now);
}

// A frame of our own that the link sent back says nothing about other stations.
bool Ip::is_looped(const Interface& port, const RxPacket& packet) const noexcept {
  return frame_source(packet) == port.config.mac;
}

DropReason Ip::solicitation_input(const RxPacket& packet, const NeighborMessage& message,
                                  TimePoint now) noexcept {
  Interface& port = *interfaces_[packet.interface];
  const bool is_detection = packet.source.is_unspecified();
  // RFC 4861 7.1.1: who looks for duplicates has no address to be reached at, and asks the group.
  if (is_detection && (message.link_address || packet.destination != message.target.solicited_node()))
    return DropReason::nd_malformed;
  V6Address* const ours = port.find_v6(message.target);
  if (ours == nullptr || ours->state == V6AddressState::duplicate) return DropReason::nd_not_for_us;
  if (is_looped(port, packet)) return DropReason::nd_bad_sender;
  if (ours->state == V6AddressState::tentative) {
    // RFC 4862 5.4.3: another station is about to take the same address; one that asks from an address of its
    // own is not answered yet.
    if (is_detection) give_up(port, *ours);
    return DropReason::nd_not_for_us;
  }
  // RFC 4861 7.2.3: what the sender says of itself makes or updates its entry, to be verified on use.
  if (message.link_address) {
    std::uint32_t index = neighbors_.find(port.id, packet.source);
    if (index == NeighborTable::nil) index = neighbors_.add(port.id, packet.source, port.config.mac);
    if (index != NeighborTable::nil) learn(neighbors_[index], *message.link_address, false, now);
  }
  if (!port.config.primary) return DropReason::none;  // the primary core answers, and counts
  counters_.add(Counter::nd_solicitations_in);
  const NeighborMessage answer{.target = message.target,
                               .link_address = port.config.mac,
                               .solicited = !is_detection,
                               .override_entry = true};
  if (is_detection) {
    send_nd(port, group_mac(v6_all_nodes), message.target, v6_all_nodes, answer);
    return DropReason::none;
  }
  // A unicast solicitation may leave its sender's MAC out: the frame has it.
  send_nd(port, message.link_address.value_or(frame_source(packet)), message.target, packet.source, answer);
  return DropReason::none;
}

DropReason Ip::advertisement_input(const RxPacket& packet, const NeighborMessage& message,
                                   TimePoint now) noexcept {
  Interface& port = *interfaces_[packet.interface];
  // RFC 4861 7.1.2: what answers a question is not sent to a group.
  if (packet.to_group && message.solicited) return DropReason::nd_malformed;
  if (is_looped(port, packet)) return DropReason::nd_bad_sender;
  if (V6Address* const ours = port.find_v6(message.target)) {
    // RFC 4862 5.4.4: another station has the address.
    if (ours->state == V6AddressState::tentative) {
      give_up(port, *ours);
    } else if (ours->is_assigned() && port.config.primary) {
      counters_.add(Counter::nd_conflicts);
    }
    return DropReason::nd_bad_sender;
  }
  const std::uint32_t index = neighbors_.find(port.id, message.target);
  if (index == NeighborTable::nil) return DropReason::nd_not_for_us;  // RFC 4861 7.2.5: no entry is made
  Neighbor& neighbor = neighbors_[index];
  if (neighbor.state == NeighborState::incomplete && !message.link_address) return DropReason::nd_malformed;
  counters_.add(Counter::nd_advertisements_in);
  apply_advertisement(neighbor, message, now);
  return DropReason::none;
}

// RFC 4861 7.2.5, in its order; `solicited` counts only where a question is open, so that a forged flag makes
// no stale entry reachable.
void Ip::apply_advertisement(Neighbor& neighbor, const NeighborMessage& message, TimePoint now) noexcept {
  if (neighbor.is_static) return;
  const bool asked = (neighbor.state == NeighborState::incomplete && neighbor.attempts != 0) ||
                     neighbor.state == NeighborState::probe;
  const bool solicited = message.solicited && asked;
  const MacAddress mac = message.link_address.value_or(neighbor.mac());
  const bool differs = mac != neighbor.mac();
  const bool known = neighbor.state != NeighborState::incomplete && neighbor.state != NeighborState::failed;
  if (known && differs && !message.override_entry) {
    // I: a reachable entry is doubted, any other stays as it is.
    if (neighbor.state == NeighborState::reachable)
      neighbors_.enter(neighbor, NeighborState::stale, now + options_.neighbor_stale_max);
    return;
  }
  learn(neighbor, mac, solicited, now);  // II; an incomplete entry is filled either way
}

void Ip::send_nd(Interface& port, const MacAddress& frame_destination, const IpAddress& source,
                 const IpAddress& destination, const NeighborMessage& message) noexcept {
  constexpr std::uint32_t headers = EthernetFields::size + Ipv6Fields::size;
  Packet packet = pool_.alloc();
  std::uint8_t* const out = packet ? packet.push_back(headers + NeighborMessage::size_max) : nullptr;
  if (out == nullptr) {
    drop(DropReason::no_mbuf);
    return;
  }
  const auto length = static_cast<std::uint16_t>(message.emit(out + headers));
  packet.trim_to(headers + length);
  EthernetFields{.destination = frame_destination, .source = port.config.mac, .type = EtherType::ipv6}.emit(
      out);
  Ipv6Fields{.payload_length = length,
             .next_header = protocol_icmpv6,
             .hop_limit = nd_hop_limit,
             .source = source,
             .destination = destination}
      .emit(out + EthernetFields::size);
  ChecksumSum sum;
  sum.add({out + headers, length});
  sum.add_pseudo_header(source, destination, protocol_icmpv6, length);
  store_be16(out + headers + 2, sum.finish());
  counters_.add(message.is_solicitation ? Counter::nd_solicitations_out : Counter::nd_advertisements_out);
  (void)transmit(port, std::move(packet));  // counts what it drops
}

// RFC 4861 7.2.2. While no address of ours is assigned there is nobody to answer to: the timer asks again.
void Ip::solicit(Interface& port, Neighbor& neighbor) noexcept {
  const V6Address* const source = source_on(port, neighbor.address);
  if (source == nullptr) return;
  const bool unicast = neighbor.state == NeighborState::probe;
  const IpAddress destination = unicast ? neighbor.address : neighbor.address.solicited_node();
  send_nd(port, unicast ? neighbor.mac() : group_mac(destination), source->address(), destination,
          {.is_solicitation = true, .target = neighbor.address, .link_address = port.config.mac});
}

// RFC 4862 5.4.2: ask for the address from nobody's; silence for a retransmission time makes it ours.
void Ip::detect_duplicates(Interface& port, V6Address& address, TimePoint now) noexcept {
  if (address.solicitations == options_.dad_solicitations) {
    assign(port, address);
    return;
  }
  ++address.solicitations;
  address.next_at = now + options_.arp_retry;
  if (!port.config.primary) return;  // answers to the primary core reach every core
  const IpAddress group = address.address().solicited_node();
  send_nd(port, group_mac(group), v6_unspecified, group,
          {.is_solicitation = true, .target = address.address()});
}

void Ip::assign(Interface& port, V6Address& address) noexcept {
  address.state = V6AddressState::assigned;
  address.next_at = TimePoint::never();
  bump_generation(route_generation_);  // flows may have a better source now
  if (&address == port.v6.data()) start_router_discovery(port);
  if (!port.config.primary) return;
  // RFC 4861 7.2.6: who still has the station that had this address before us hears of the change.
  send_nd(port, group_mac(v6_all_nodes), address.address(), v6_all_nodes,
          {.target = address.address(), .link_address = port.config.mac, .override_entry = true});
}

void Ip::give_up(const Interface& port, V6Address& address) noexcept {
  address.state = V6AddressState::duplicate;
  address.next_at = TimePoint::never();
  if (port.config.primary) counters_.add(Counter::nd_duplicates);
}

}  // namespace pollux
