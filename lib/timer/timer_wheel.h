// A hierarchical timer wheel (Varghese and Lauck): O(1) arm and cancel, intrusive nodes, bounded work per
// advance, and an exact-enough next deadline from occupancy bitmaps. Ticks of 2^16 ns (65.5 us); six levels
// of 256 slots cover every TimePoint, so there is no overflow list and no horizon.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/base/check.h"
#include "pollux/base/time.h"

namespace pollux {

/// Embed (or inherit) one per timer. Must be cancelled before it is destroyed; must not move while armed.
struct TimerNode {
  TimerNode* prev = nullptr;
  TimerNode* next = nullptr;
  TimePoint deadline;

  bool is_armed() const noexcept { return next != nullptr; }
};
static_assert(sizeof(TimerNode) == 24, "paid by every idle connection");

/// Not thread-safe; one per owner (TCP has one per core). About 37 KiB. Must outlive its armed nodes.
class TimerWheel {
 public:
  static constexpr Duration tick = Duration::from_ns(1 << 16);

  explicit TimerWheel(TimePoint start) noexcept;
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  /// (Re-)arms `node` for `deadline`. It fires in the first advance() with now >= deadline rounded up to a
  /// tick: never early, at most one tick late. A deadline at or before the tick that is being processed fires
  /// in the next advance(), never in the one that is running. never() cancels. Re-arming for a later time, as
  /// a retransmission timer does with every acknowledgment, is one store.
  void arm(TimerNode& node, TimePoint deadline) noexcept;
  void cancel(TimerNode& node) noexcept;  ///< Harmless when not armed.

  /// Calls on_expired(TimerNode&) for nodes that are due, each unlinked first; the callback may arm or cancel
  /// any node, itself included. Nodes fire in the order of their deadlines, those of one tick in any order.
  /// At most `budget` nodes are processed (expired or moved down a level); returns false when it ran out with
  /// work left, which the next call goes on with. A `now` that goes back counts as one that stands.
  template <typename OnExpired>
  bool advance(TimePoint now, std::uint32_t budget, OnExpired&& on_expired) noexcept {
    // Most turns of a core loop fall into the tick of the turn before.
    if (tick_at_or_before(now) <= current_tick_ && is_empty(overdue_) && is_empty(reached_)) [[likely]]
      return true;
    const std::uint64_t target = begin_advance(now);
    while (TimerNode* node = next_due(target, budget)) on_expired(*node);
    return is_empty(reached_);
  }

  /// No node fires before this; never() when none is armed; in the past when due work is left. Exact to the
  /// slot of its level, and the old time for a node that was re-armed for later: an early value costs one
  /// advance(), which then moves the node on.
  TimePoint next_deadline() const noexcept;
  std::uint32_t armed() const noexcept { return armed_; }

 private:
  static constexpr int tick_shift = 16;
  static constexpr int slot_bits = 8;
  static constexpr std::uint32_t slots = 1 << slot_bits;
  static constexpr std::uint32_t levels = 6;  // 48 bits of ticks, as many as 64 bits of nanoseconds have
  static constexpr std::uint32_t words = slots / 64;

  // Tick numbers are shifted by this so that times before the epoch keep their order as unsigned numbers.
  static constexpr std::int64_t tick_bias = std::int64_t{1} << 47;

  // A tick is a number of 6 digits, base 256. A node waits in the level of the highest digit in which its
  // tick differs from current_tick_, in the slot of that digit. So every occupied slot of a level is ahead of
  // the current tick's digit, all of a level fires before any of the level above, and the earliest slot is
  // the first occupied one of the lowest occupied level.
  static std::uint64_t tick_at_or_before(TimePoint time) noexcept {
    return static_cast<std::uint64_t>((time.ns() >> tick_shift) + tick_bias);
  }
  static std::uint64_t tick_at_or_after(TimePoint time) noexcept;
  static TimePoint time_of(std::uint64_t tick_number) noexcept;
  static bool is_empty(const TimerNode& list) noexcept { return list.next == &list; }

  /// The first tick number of the earliest occupied slot, and that slot's index in heads_; false when all are
  /// empty.
  bool earliest_slot(std::uint64_t& first_tick, std::uint32_t& slot) const noexcept;
  std::uint64_t begin_advance(TimePoint now) noexcept;
  /// The next node due at tick `target`, unlinked, or nullptr when none is due or the budget is used up.
  TimerNode* next_due(std::uint64_t target, std::uint32_t& budget) noexcept;
  void insert(TimerNode& node) noexcept;
  void unlink(TimerNode& node) noexcept;
  void clear_occupied(std::uint32_t slot) noexcept;

  std::uint64_t current_tick_;
  std::uint32_t armed_ = 0;
  std::uint32_t occupied_levels_ = 0;                     // bit per level
  std::array<std::uint64_t, levels * words> occupied_{};  // bit per slot, exact
  TimerNode
      reached_;  // list head: nodes of slots that current_tick_ has entered, to be expired or moved down
  TimerNode overdue_;  // list head: armed for a tick already processed, they wait for the next advance()
  std::array<TimerNode, levels * slots> heads_;  // circular list heads
};

}  // namespace pollux
