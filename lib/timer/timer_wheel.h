// A hierarchical timer wheel (Varghese and Lauck): O(1) arm and cancel, intrusive nodes, bounded work per
// advance, and an exact-enough next deadline from occupancy bitmaps. Ticks of 2^16 ns (65.5 us), four levels
// of 256 slots: deadlines up to 78 hours ahead; later ones are parked in the last level and re-sorted.
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

/// Not thread-safe; one per owner (TCP has one per core).
class TimerWheel {
 public:
  static constexpr Duration tick = Duration::from_ns(1 << 16);

  explicit TimerWheel(TimePoint start) noexcept;
  TimerWheel(const TimerWheel&) = delete;
  TimerWheel& operator=(const TimerWheel&) = delete;

  /// (Re-)arms `node` for `deadline`. It fires in the first advance() with now >= deadline rounded up to a
  /// tick: never early, at most one tick late. A deadline in the past fires in the next advance().
  void arm(TimerNode& node, TimePoint deadline) noexcept;
  void cancel(TimerNode& node) noexcept;  ///< Harmless when not armed.

  /// Calls on_expired(TimerNode&) for nodes that are due, each unlinked first; the callback may arm or cancel
  /// any node, itself included. At most `budget` nodes are processed (expired or moved down a level); returns
  /// false when due work is left for the next call. `now` never goes back.
  template <typename OnExpired>
  bool advance(TimePoint now, std::uint32_t budget, OnExpired&& on_expired) noexcept {
    while (TimerNode* node = next_due(now, budget)) on_expired(*node);
    return budget != 0;
  }

  /// No node fires before this; never() when none is armed. Exact to the slot of its level: an early value
  /// only costs an advance() that re-sorts.
  TimePoint next_deadline() const noexcept;
  std::uint32_t armed() const noexcept { return armed_; }

 private:
  static constexpr int tick_shift = 16;
  static constexpr int slot_bits = 8;
  static constexpr int slots = 1 << slot_bits;
  static constexpr int levels = 4;

  struct Level {
    std::array<TimerNode, slots> heads;            // circular list heads
    std::array<std::uint64_t, slots / 64> occupied{};  // bit per slot; may be stale-set, never stale-clear
  };

  /// The next node due at `now`, unlinked, or nullptr when none is due or the budget is used up.
  TimerNode* next_due(TimePoint now, std::uint32_t& budget) noexcept;
  void insert(TimerNode& node) noexcept;

  std::uint64_t current_tick_;  // every tick before this one has been processed
  std::uint32_t armed_ = 0;
  std::array<Level, levels> levels_;
};

}  // namespace pollux
