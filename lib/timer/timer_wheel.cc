#include "pollux/timer/timer_wheel.h"

#include <algorithm>
#include <bit>

namespace pollux {
namespace {

constexpr std::uint64_t last_tick = (std::uint64_t{1} << 48) - 1;

void make_empty(TimerNode& list) noexcept {
  list.prev = list.next = &list;
}

void push_back(TimerNode& list, TimerNode& node) noexcept {
  node.prev = list.prev;
  node.next = &list;
  list.prev->next = &node;
  list.prev = &node;
}

// Moves all nodes of `from`, which is not empty, behind those of `to`.
void splice_back(TimerNode& to, TimerNode& from) noexcept {
  from.next->prev = to.prev;
  to.prev->next = from.next;
  from.prev->next = &to;
  to.prev = from.prev;
  make_empty(from);
}

}  // namespace

TimerWheel::TimerWheel(TimePoint start) noexcept : current_tick_(tick_at_or_before(start)) {
  make_empty(reached_);
  make_empty(overdue_);
  for (TimerNode& head : heads_) make_empty(head);
}

std::uint64_t TimerWheel::tick_at_or_after(TimePoint time) noexcept {
  const bool between_ticks = (time.ns() & ((1 << tick_shift) - 1)) != 0;
  return std::min(tick_at_or_before(time) + (between_ticks ? 1 : 0), last_tick);
}

TimePoint TimerWheel::time_of(std::uint64_t tick_number) noexcept {
  return TimePoint::from_ns((static_cast<std::int64_t>(tick_number) - tick_bias) * (1 << tick_shift));
}

void TimerWheel::arm(TimerNode& node, TimePoint deadline) noexcept {
  if (deadline.is_never()) return cancel(node);
  if (node.is_armed()) {
    const bool is_later = deadline >= node.deadline;
    node.deadline = deadline;
    if (is_later) return;  // it is moved on when the tick of its slot is reached
    unlink(node);
  } else {
    node.deadline = deadline;
    ++armed_;
  }
  insert(node);
}

void TimerWheel::cancel(TimerNode& node) noexcept {
  if (!node.is_armed()) return;
  unlink(node);
  --armed_;
}

void TimerWheel::insert(TimerNode& node) noexcept {
  const std::uint64_t expiry = tick_at_or_after(node.deadline);
  if (expiry <= current_tick_) return push_back(overdue_, node);
  const auto level = static_cast<std::uint32_t>(std::bit_width(expiry ^ current_tick_) - 1) / slot_bits;
  const std::uint32_t slot = level * slots + ((expiry >> (level * slot_bits)) & (slots - 1));
  push_back(heads_[slot], node);
  occupied_[slot / 64] |= std::uint64_t{1} << (slot % 64);
  occupied_levels_ |= 1u << level;
}

void TimerWheel::unlink(TimerNode& node) noexcept {
  TimerNode* const prev = node.prev;
  const bool was_only_node = prev == node.next;  // then both neighbours are the list head
  prev->next = node.next;
  node.next->prev = prev;
  node.prev = node.next = nullptr;
  if (was_only_node && prev != &reached_ && prev != &overdue_) {
    clear_occupied(static_cast<std::uint32_t>(prev - heads_.data()));
  }
}

void TimerWheel::clear_occupied(std::uint32_t slot) noexcept {
  const std::uint32_t level = slot / slots;
  occupied_[slot / 64] &= ~(std::uint64_t{1} << (slot % 64));
  std::uint64_t any = 0;
  for (std::uint32_t word = 0; word < words; ++word) any |= occupied_[level * words + word];
  if (any == 0) occupied_levels_ &= ~(1u << level);
}

bool TimerWheel::earliest_slot(std::uint64_t& first_tick, std::uint32_t& slot) const noexcept {
  if (occupied_levels_ == 0) return false;
  const auto level = static_cast<std::uint32_t>(std::countr_zero(occupied_levels_));
  std::uint32_t word = level * words;
  while (occupied_[word] == 0) ++word;
  slot = word * 64 + static_cast<std::uint32_t>(std::countr_zero(occupied_[word]));
  const std::uint32_t shift = level * slot_bits;
  const std::uint64_t higher_digits = current_tick_ >> (shift + slot_bits) << (shift + slot_bits);
  first_tick = higher_digits | static_cast<std::uint64_t>(slot % slots) << shift;
  return true;
}

std::uint64_t TimerWheel::begin_advance(TimePoint now) noexcept {
  if (!is_empty(overdue_)) splice_back(reached_, overdue_);
  return std::max(tick_at_or_before(now), current_tick_);
}

TimerNode* TimerWheel::next_due(std::uint64_t target, std::uint32_t& budget) noexcept {
  for (;;) {
    while (!is_empty(reached_)) {
      if (budget == 0) return nullptr;
      --budget;
      TimerNode& node = *reached_.next;
      unlink(node);
      if (tick_at_or_after(node.deadline) <= current_tick_) {
        --armed_;
        return &node;
      }
      insert(node);
    }
    // Straight to the next occupied slot, however far: empty time costs nothing.
    std::uint64_t first_tick;
    std::uint32_t slot;
    if (!earliest_slot(first_tick, slot) || first_tick > target) {
      current_tick_ = target;
      return nullptr;
    }
    current_tick_ = first_tick;
    splice_back(reached_, heads_[slot]);
    clear_occupied(slot);
  }
}

TimePoint TimerWheel::next_deadline() const noexcept {
  if (!is_empty(reached_) || !is_empty(overdue_)) return time_of(current_tick_);
  std::uint64_t first_tick;
  std::uint32_t slot;
  return earliest_slot(first_tick, slot) ? time_of(first_tick) : TimePoint::never();
}

}  // namespace pollux
