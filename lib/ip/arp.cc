// ARP (RFC 826, RFC 1122 2.3.2, RFC 5227) and the life of a neighbour.
#include <utility>

#include "pollux/ip/ip.h"

namespace pollux {
namespace {

constexpr Duration defend_interval = Duration::from_s(10);  // RFC 5227 1.1
constexpr std::size_t frame_size = EthernetFields::size + ArpFields::size;

}  // namespace

DropReason Ip::arp_input(InterfaceId id, ByteView bytes, TimePoint now) noexcept {
  const auto arp = ArpView::parse(bytes);
  if (!arp) return arp.error();
  Interface& port = *interfaces_[id];
  const MacAddress sender_mac = arp->sender_mac();
  const IpAddress sender_ip = arp->sender_ip();
  const bool is_request = arp->operation() == ArpOperation::request;
  const bool for_us = arp->target_ip().v4_value() == port.address;

  if (sender_mac.is_zero() || sender_mac.is_group() || sender_mac == port.config.mac)
    return DropReason::arp_bad_sender;
  if (is_local(sender_ip)) {
    // RFC 5227 2.4 (b): somebody else claims our address; answer with an announcement, at a limited rate.
    if (!port.config.primary) return DropReason::none;
    counters_.add(Counter::arp_conflicts);
    if (sender_ip.v4_value() == port.address && now >= port.defend_after) {
      port.defend_after = now + defend_interval;
      announce(port);
    }
    return DropReason::arp_bad_sender;
  }
  if (is_group(sender_ip) || sender_ip.is_loopback()) return DropReason::arp_bad_sender;

  // RFC 826, "Merge_flag": what the sender says of itself updates an entry that exists. A new entry is made
  // only for a sender that asks for us and lies in our subnet, so that nobody fills the table with replies.
  bool updated = false;
  const bool on_link =
      !sender_ip.is_unspecified() && ((sender_ip.v4_value() ^ port.address) & port.mask) == 0;
  if (on_link) {
    std::uint32_t index = neighbors_.find(id, sender_ip);
    updated = index != NeighborTable::nil;
    if (!updated && is_request && for_us) index = neighbors_.add(id, sender_ip, port.config.mac);
    if (index != NeighborTable::nil) {
      Neighbor& neighbor = neighbors_[index];
      const bool asked = (neighbor.state == NeighborState::incomplete && neighbor.attempts != 0) ||
                         neighbor.state == NeighborState::probe;
      learn(neighbor, sender_mac, asked && !is_request, now);
    }
  }
  if (!port.config.primary) return DropReason::none;  // the primary core answers, and counts
  if (is_request && for_us) {  // an RFC 5227 probe (sender 0.0.0.0) is answered too
    counters_.add(Counter::arp_requests_in);
    counters_.add(Counter::arp_replies_out);
    send_arp(port, sender_mac,
             {.operation = ArpOperation::reply,
              .sender_mac = port.config.mac,
              .sender_ip = port.config.address.address,
              .target_mac = sender_mac,
              .target_ip = sender_ip});
    return DropReason::none;
  }
  if (!updated) return DropReason::arp_not_for_us;
  if (!is_request) counters_.add(Counter::arp_replies_in);
  return DropReason::none;
}

void Ip::learn(Neighbor& neighbor, const MacAddress& mac, bool solicited, TimePoint now) noexcept {
  if (solicited) {
    neighbor.set_mac(mac);
    set_reachable(neighbor, now);
  } else if (neighbor.mac() != mac) {  // an unresolved entry's is zero
    // RFC 4861 7.2.5's rule, for ARP as well: news that nobody asked for are believed, but verified on use.
    neighbor.set_mac(mac);
    neighbors_.enter(neighbor, NeighborState::stale, now + options_.neighbor_stale_max);
  }
  send_queue(neighbor, now);
}

void Ip::send_queue(Neighbor& neighbor, TimePoint now) noexcept {
  if (neighbor.queued != 0 && neighbor.state == NeighborState::stale) start_probe(neighbor, now);
  while (Packet packet = neighbors_.dequeue(neighbor)) {
    std::memcpy(packet.data(), neighbor.header.data(), neighbor.header.size());
    (void)transmit(*interfaces_[neighbor.interface], std::move(packet));  // counts what it drops
  }
}

void Ip::send_arp(Interface& port, const MacAddress& frame_destination, const ArpFields& arp) noexcept {
  Packet packet = pool_.alloc();
  std::uint8_t* const out = packet ? packet.push_back(frame_size) : nullptr;
  if (out == nullptr) {
    drop(DropReason::no_mbuf);
    return;
  }
  EthernetFields{.destination = frame_destination, .source = port.config.mac, .type = EtherType::arp}.emit(
      out);
  arp.emit(out + EthernetFields::size);
  (void)transmit(port, std::move(packet));  // counts what it drops
}

void Ip::announce(Interface& port) noexcept {
  if (!port.config.primary) return;
  counters_.add(Counter::arp_requests_out);
  send_arp(port, MacAddress::broadcast(),
           {.operation = ArpOperation::request,
            .sender_mac = port.config.mac,
            .sender_ip = port.config.address.address,
            .target_mac = {},
            .target_ip = port.config.address.address});
}

// One more request, to everybody while the MAC is unknown and to the neighbour alone to verify it (RFC 1122
// 2.3.2.1 (2)); at most one per neighbour and arp_retry.
void Ip::query(Neighbor& neighbor, TimePoint now) noexcept {
  Interface& port = *interfaces_[neighbor.interface];
  const bool unicast = neighbor.state == NeighborState::probe;
  ++neighbor.attempts;
  neighbors_.arm(neighbor, now + options_.arp_retry);
  counters_.add(Counter::arp_requests_out);
  send_arp(port, unicast ? neighbor.mac() : MacAddress::broadcast(),
           {.operation = ArpOperation::request,
            .sender_mac = port.config.mac,
            .sender_ip = port.config.address.address,
            .target_mac = unicast ? neighbor.mac() : MacAddress{},
            .target_ip = neighbor.address});
}

void Ip::start_probe(Neighbor& neighbor, TimePoint now) noexcept {
  if (neighbor.mac().is_group()) {  // nobody answers for a group, and its MAC follows from its address
    set_reachable(neighbor, now);
    return;
  }
  neighbors_.enter(neighbor, NeighborState::probe, now + options_.arp_retry);
  query(neighbor, now);
}

void Ip::set_reachable(Neighbor& neighbor, TimePoint now) noexcept {
  neighbor.reachable_until = now + options_.neighbor_reachable;
  neighbors_.enter(neighbor, NeighborState::reachable, neighbor.reachable_until);
}

void Ip::neighbor_expired(Neighbor& neighbor, TimePoint now) noexcept {
  switch (neighbor.state) {
    case NeighborState::incomplete:
      if (neighbor.attempts == 0) {  // resolved for a flow that never sent
        neighbors_.remove(neighbor, DropReason::neighbor_unreachable);
      } else if (neighbor.attempts < options_.arp_attempts_max) {
        query(neighbor, now);
      } else {
        neighbors_.drop_queue(neighbor, DropReason::neighbor_unreachable);
        neighbors_.enter(neighbor, NeighborState::failed, now + options_.arp_retry);
      }
      return;
    case NeighborState::reachable:
      if (neighbor.reachable_until > now)
        neighbors_.arm(neighbor, neighbor.reachable_until);
      else
        neighbors_.enter(neighbor, NeighborState::stale, now + options_.neighbor_stale_max);
      return;
    case NeighborState::probe:
      if (neighbor.attempts < options_.arp_attempts_max) {
        query(neighbor, now);
        return;
      }
      // RFC 1122 2.3.2.1 (2): the entry goes; the next packet asks everybody, in case the address has moved.
      [[fallthrough]];
    case NeighborState::stale:
    case NeighborState::failed:
      neighbors_.remove(neighbor, DropReason::neighbor_unreachable);
      return;
  }
}

}  // namespace pollux
