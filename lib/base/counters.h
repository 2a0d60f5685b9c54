// The counters of one stack: plain 64-bit values written by the owning core only. Other threads see a copy
// that the owner made (a snapshot message), never these.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pollux/base/drop_reason.h"

namespace pollux {

enum class Counter : std::uint8_t {
#define POLLUX_COUNTER(name, label, text) name,
#include "pollux/base/counter.def"
#undef POLLUX_COUNTER
  count_
};

inline constexpr std::size_t counter_count = static_cast<std::size_t>(Counter::count_);

/// The public label (Linux's name where one exists) and the meaning of a counter.
const char* counter_label(Counter counter) noexcept;
const char* counter_text(Counter counter) noexcept;

/// Copyable: a copy is a snapshot.
class Counters {
 public:
  void add(Counter counter, std::uint64_t n = 1) noexcept { values_[static_cast<std::size_t>(counter)] += n; }
  void drop(DropReason reason, std::uint64_t n = 1) noexcept { drops_[static_cast<std::size_t>(reason)] += n; }

  std::uint64_t operator[](Counter counter) const noexcept { return values_[static_cast<std::size_t>(counter)]; }
  std::uint64_t operator[](DropReason reason) const noexcept { return drops_[static_cast<std::size_t>(reason)]; }
  /// Sum over all reasons.
  std::uint64_t drops() const noexcept;
  /// Adds another stack's counters to these (for a total over cores).
  Counters& operator+=(const Counters& other) noexcept;

 private:
  std::array<std::uint64_t, counter_count> values_{};
  std::array<std::uint64_t, drop_reason_count> drops_{};  // [none] stays 0
};

}  // namespace pollux
