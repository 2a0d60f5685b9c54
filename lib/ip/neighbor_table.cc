#include "pollux/ip/neighbor_table.h"

#include <utility>

namespace pollux {

const char* neighbor_state_name(NeighborState state) noexcept {
  static constexpr const char* names[] = {"incomplete", "reachable", "stale", "delay", "probe", "failed"};
  static_assert(std::size(names) == neighbor_states);
  return names[static_cast<std::size_t>(state)];
}

NeighborTable::NeighborTable(std::uint32_t capacity, std::uint32_t queue_max, std::uint32_t hash_seed,
                             Counters& counters, std::uint32_t& generation)
    : queue_max_(queue_max),
      hash_seed_(hash_seed),
      counters_(counters),
      generation_(generation),
      index_(capacity),
      entries_(capacity) {
  POLLUX_CHECK(queue_max > 0, "a neighbour's queue holds at least one packet");
}

NeighborTable::~NeighborTable() {
  entries_.for_each(
      [this](std::uint32_t, Neighbor& neighbor) { remove(neighbor, DropReason::neighbor_unreachable); });
}

std::uint32_t NeighborTable::hash(InterfaceId interface, const IpAddress& address) const noexcept {
  // Both halves of the address are multiplied with an odd constant, then Murmur3's finaliser: every input bit
  // reaches the low bits that the index uses.
  std::uint64_t high;
  std::uint64_t low;
  std::memcpy(&high, address.octets().data(), sizeof high);
  std::memcpy(&low, address.octets().data() + sizeof high, sizeof low);
  std::uint64_t h = (high ^ hash_seed_) * 0x9e3779b97f4a7c15u;
  h = ((h ^ (h >> 32)) + low + interface) * 0xff51afd7ed558ccdu;
  h = (h ^ (h >> 33)) * 0xc4ceb9fe1a85ec53u;
  return static_cast<std::uint32_t>(h ^ (h >> 33));
}

std::uint32_t NeighborTable::find(InterfaceId interface, const IpAddress& address) const noexcept {
  static_assert(HashIndex::not_found == nil);
  return index_.find(hash(interface, address), [&](std::uint32_t i) {
    return entries_[i].interface == interface && entries_[i].address == address;
  });
}

Neighbor* NeighborTable::victim() noexcept {
  using enum NeighborState;
  const bool too_many_incomplete = incomplete_count_ > entries_.capacity() / 2;
  for (const NeighborState state : {failed, too_many_incomplete ? incomplete : stale, stale, incomplete})
    if (!list_of(state).empty()) return &list_of(state).front();
  return nullptr;
}

std::uint32_t NeighborTable::add(InterfaceId interface, const IpAddress& address,
                                 const MacAddress& source) noexcept {
  if (entries_.full()) {
    Neighbor* const oldest = victim();
    if (oldest == nullptr) return nil;
    remove(*oldest, DropReason::neighbor_table_full);
  }
  const std::uint32_t index = entries_.emplace();
  Neighbor& neighbor = entries_[index];
  neighbor.interface = interface;
  neighbor.address = address;
  EthernetFields{.source = source, .type = address.is_v4() ? EtherType::ipv4 : EtherType::ipv6}.emit(
      neighbor.header.data());
  list_of(neighbor.state).push_back(neighbor);
  ++incomplete_count_;
  const bool inserted = index_.insert(hash(interface, address), index);
  POLLUX_CHECK(inserted, "neighbour index smaller than its table");
  return index;
}

void NeighborTable::remove(Neighbor& neighbor, DropReason reason) noexcept {
  drop_queue(neighbor, reason);
  timers_->cancel(neighbor);
  neighbor.age.unlink();
  if (neighbor.state == NeighborState::incomplete) --incomplete_count_;
  const std::uint32_t index = entries_.index_of(neighbor);
  index_.erase(hash(neighbor.interface, neighbor.address), index);
  entries_.erase(index);
  bump_generation(generation_);
}

void NeighborTable::enter(Neighbor& neighbor, NeighborState state, TimePoint deadline) noexcept {
  POLLUX_DCHECK(state != NeighborState::incomplete);  // add() alone makes those
  if (neighbor.state == NeighborState::incomplete) --incomplete_count_;
  neighbor.state = state;
  neighbor.attempts = 0;
  neighbor.age.unlink();
  list_of(state).push_back(neighbor);
  timers_->arm(neighbor, deadline);
}

void NeighborTable::enqueue(Neighbor& neighbor, Packet packet) noexcept {
  // RFC 1122 2.3.2.2: at least the latest packet is kept, so the oldest gives way.
  if (neighbor.queued == queue_max_ || (queued_.full() && neighbor.queued != 0)) {
    dequeue(neighbor).reset();
    counters_.drop(DropReason::neighbor_queue_full);
  }
  const std::uint32_t index = queued_.emplace();
  if (index == Slab<QueuedPacket>::nil) {
    counters_.drop(DropReason::neighbor_queue_full);
    return;
  }
  queued_[index].packet = std::move(packet);
  neighbor.queue.push_back(queued_[index]);
  ++neighbor.queued;
}

Packet NeighborTable::dequeue(Neighbor& neighbor) noexcept {
  if (neighbor.queue.empty()) return Packet();
  QueuedPacket& oldest = neighbor.queue.pop_front();
  Packet packet = std::move(oldest.packet);
  queued_.erase(queued_.index_of(oldest));
  --neighbor.queued;
  return packet;
}

void NeighborTable::drop_queue(Neighbor& neighbor, DropReason reason) noexcept {
  while (dequeue(neighbor)) counters_.drop(reason);
}

}  // namespace pollux
