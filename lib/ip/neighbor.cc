// The life of a neighbour, behind ARP and neighbour discovery alike (RFC 4861 7.3, RFC 1122 2.3.2).
#include <utility>

#include "pollux/ip/ip.h"

namespace pollux {

void Ip::learn(Neighbor& neighbor, const MacAddress& mac, bool solicited, TimePoint now) noexcept {
  if (neighbor.is_static) return;  // nothing waits for it, and nobody is believed
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
  if (neighbor.queued != 0 && neighbor.state == NeighborState::stale) start_delay(neighbor, now);
  while (Packet packet = neighbors_.dequeue(neighbor)) {
    std::memcpy(packet.data(), neighbor.header.data(), neighbor.header.size());
    (void)transmit_whole_or_cut(*interfaces_[neighbor.interface], std::move(packet));  // counts what it drops
  }
}

// One more request, to everybody (or the solicited-node group) while the MAC is unknown and to the neighbour
// alone to verify it (RFC 4861 7.2.2, RFC 1122 2.3.2.1 (2)); at most one per neighbour and arp_retry.
void Ip::query(Neighbor& neighbor, TimePoint now) noexcept {
  Interface& port = *interfaces_[neighbor.interface];
  ++neighbor.attempts;
  neighbors_.arm(neighbor, now + options_.arp_retry);
  if (neighbor.address.is_v4())
    request(port, neighbor);
  else
    solicit(port, neighbor);
}

// RFC 4861 7.3.3: a stale entry in use has a while to be confirmed by what it carries.
void Ip::start_delay(Neighbor& neighbor, TimePoint now) noexcept {
  if (neighbor.mac().is_group())  // nobody answers for a group, and its MAC follows from its address
    set_reachable(neighbor, now);
  else
    neighbors_.enter(neighbor, NeighborState::delay, now + options_.neighbor_delay);
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
        leave_router(neighbor.interface, neighbor.address);
      }
      return;
    case NeighborState::reachable:
      if (neighbor.is_static)
        set_reachable(neighbor, now);
      else if (neighbor.reachable_until > now)
        neighbors_.arm(neighbor, neighbor.reachable_until);
      else
        neighbors_.enter(neighbor, NeighborState::stale, now + options_.neighbor_stale_max);
      return;
    case NeighborState::delay:
      neighbors_.enter(neighbor, NeighborState::probe, now + options_.arp_retry);
      query(neighbor, now);
      return;
    case NeighborState::probe:
      if (neighbor.attempts < options_.arp_attempts_max) {
        query(neighbor, now);
        return;
      }
      // RFC 4861 7.3.3, RFC 1122 2.3.2.1 (2): the entry goes; the next packet asks everybody, in case the
      // address has moved.
      leave_router(neighbor.interface, neighbor.address);
      [[fallthrough]];
    case NeighborState::stale:
    case NeighborState::failed:
      neighbors_.remove(neighbor, DropReason::neighbor_unreachable);
      return;
  }
}

}  // namespace pollux
