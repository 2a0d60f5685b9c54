// Who sits behind an IP address on a link: one entry per next hop, with the Ethernet header that reaches it
// ready to copy, its reachability (the states of RFC 4861 7.3.2, for ARP as well), and the packets that wait
// for an answer. The table keeps entries, ages and queues; lib/ip/neighbor.cc decides and transmits.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <optional>

#include "pollux/base/counters.h"
#include "pollux/base/hash_index.h"
#include "pollux/base/intrusive_list.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/interface.h"
#include "pollux/packet/packet.h"
#include "pollux/timer/timer_wheel.h"
#include "pollux/wire/ethernet.h"

namespace pollux {

enum class NeighborState : std::uint8_t {
  incomplete,  ///< no MAC yet; packets wait
  reachable,   ///< confirmed less than IpOptions::neighbor_reachable ago
  stale,       ///< has a MAC that nobody confirmed lately; usable
  delay,       ///< a stale one in use: traffic may confirm it before a probe has to
  probe,       ///< in use while unicast requests verify the MAC
  failed,      ///< did not answer; packets are refused until the entry is forgotten
};
inline constexpr std::size_t neighbor_states = 6;
const char* neighbor_state_name(NeighborState state) noexcept;

/// A packet that waits: its IP header is in place and its first 14 octets are room for the Ethernet header.
struct QueuedPacket {
  Packet packet;
  ListNode link;
};

/// One entry. The timer (base) means: next request in `incomplete` and `probe`; re-check of reachable_until
/// in `reachable`; the first probe in `delay`; forgetting in `stale` and `failed`.
struct Neighbor : TimerNode {
  std::array<std::uint8_t, EthernetView::header_size> header{};  ///< destination MAC zero until known
  NeighborState state = NeighborState::incomplete;
  InterfaceId interface = 0;
  bool is_static = false;  ///< configured: always reachable, at the MAC it was given
  TimePoint reachable_until;  ///< confirmations move only this; the timer looks at it when it fires
  IpAddress address;
  std::uint32_t attempts = 0;  ///< requests sent in this `incomplete` or `probe`
  std::uint32_t queued = 0;    ///< packets in `queue`
  ListNode age;                ///< in the table's list of its state, oldest first
  IntrusiveList<QueuedPacket, &QueuedPacket::link> queue;

  MacAddress mac() const noexcept {
    MacAddress mac;
    std::memcpy(mac.octets.data(), header.data(), mac.octets.size());
    return mac;
  }
  void set_mac(const MacAddress& mac) noexcept {
    std::memcpy(header.data(), mac.octets.data(), mac.octets.size());
  }
};

/// Not thread-safe; one per core. Memory is taken at construction.
class NeighborTable {
 public:
  static constexpr std::uint32_t nil = Slab<Neighbor>::nil;
  /// Packets that may wait in all entries together, so that unanswered requests cannot hold the packet pool.
  static constexpr std::uint32_t queued_total_max = 512;

  /// `generation` is bumped when an entry goes: whoever remembers entries by index compares it.
  NeighborTable(std::uint32_t capacity, std::uint32_t queue_max, std::uint32_t hash_seed, Counters& counters,
                std::uint32_t& generation);
  ~NeighborTable();

  /// Timers run from here; call once before the first add().
  void start(TimePoint now) { timers_.emplace(now); }

  Neighbor& operator[](std::uint32_t index) noexcept { return entries_[index]; }
  const Neighbor& operator[](std::uint32_t index) const noexcept { return entries_[index]; }
  std::uint32_t size() const noexcept { return entries_.size(); }
  std::uint32_t capacity() const noexcept { return entries_.capacity(); }
  /// Calls f(neighbor) for every entry. Off the data path.
  template <typename F>
  void for_each(F&& f) {
    entries_.for_each([&](std::uint32_t, Neighbor& neighbor) { f(neighbor); });
  }
  std::uint32_t find(InterfaceId interface, const IpAddress& address) const noexcept;
  /// A new entry in `incomplete` with `source` as its Ethernet source and no timer; the caller made sure
  /// there is none for that address. A full table forgets its oldest failed, else oldest stale, else oldest
  /// incomplete entry, so traffic to addresses that do not exist never displaces a neighbour that answers;
  /// and incomplete entries may displace stale ones only up to half the table. `nil` when all are reachable
  /// or being probed.
  std::uint32_t add(InterfaceId interface, const IpAddress& address, const MacAddress& source) noexcept;
  /// Forgets the entry; packets that wait are dropped for `reason`.
  void remove(Neighbor& neighbor, DropReason reason) noexcept;

  /// Enters `state`, any but `incomplete`, as its youngest, and fires at `deadline`.
  void enter(Neighbor& neighbor, NeighborState state, TimePoint deadline) noexcept;
  void arm(Neighbor& neighbor, TimePoint deadline) noexcept { timers_->arm(neighbor, deadline); }

  /// Keeps `packet` for later. Beyond the entry's limit its oldest packet is dropped, and beyond the total
  /// limit this one, each counted neighbor_queue_full.
  void enqueue(Neighbor& neighbor, Packet packet) noexcept;
  /// The oldest waiting packet; null when none waits.
  Packet dequeue(Neighbor& neighbor) noexcept;
  void drop_queue(Neighbor& neighbor, DropReason reason) noexcept;

  /// Calls on_expired(Neighbor&) for due timers, at most `budget` a call.
  template <typename OnExpired>
  void advance(TimePoint now, std::uint32_t budget, OnExpired&& on_expired) noexcept {
    if (timers_)
      timers_->advance(now, budget, [&](TimerNode& node) { on_expired(static_cast<Neighbor&>(node)); });
  }
  TimePoint next_deadline() const noexcept { return timers_ ? timers_->next_deadline() : TimePoint::never(); }

 private:
  using AgeList = IntrusiveList<Neighbor, &Neighbor::age>;

  AgeList& list_of(NeighborState state) noexcept { return ages_[static_cast<std::size_t>(state)]; }
  Neighbor* victim() noexcept;
  std::uint32_t hash(InterfaceId interface, const IpAddress& address) const noexcept;

  std::uint32_t queue_max_;
  std::uint32_t hash_seed_;
  Counters& counters_;
  std::uint32_t& generation_;
  std::uint32_t incomplete_count_ = 0;
  std::array<AgeList, neighbor_states> ages_;
  Slab<QueuedPacket> queued_{queued_total_max};
  std::optional<TimerWheel> timers_;
  HashIndex index_;
  Slab<Neighbor> entries_;
};

/// The next generation; 0 stays the mark of a cache that was never filled.
inline void bump_generation(std::uint32_t& generation) noexcept {
  if (++generation == 0) generation = 1;
}

}  // namespace pollux
