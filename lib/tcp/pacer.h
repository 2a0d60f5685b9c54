// Spaces what is sent: bursts of about a millisecond in place of a window at once.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

class Pacer {
 public:
  /// A burst lasts this long at the pacing rate, or two segments. Far above the timer wheel's tick, so that its granularity
  /// changes the rate by a few per cent for a moment and not at all in the long run.
  static constexpr Duration burst_min = Duration::from_ms(1);

  /// A segment of `octets` is to be sent at `rate` octets a second (not 0), in bursts of `burst`. False: not before resume_at().
  bool take(std::uint32_t octets, std::uint64_t rate, Duration burst, TimePoint now) noexcept {
    if (!resume_at_.is_never()) {
      if (now < resume_at_) return false;
      resume();
    }
    // A timer that fires late is made up for, an idle time is not.
    const TimePoint begin = std::max(free_at_, was_held_ ? now - burst_min : now);
    const Duration takes = time_of(octets, rate);
    if (begin + takes / 2 >= now + burst) {
      resume_at_ = free_at_;
      return false;
    }
    was_held_ = false;
    free_at_ = begin + takes;
    return true;
  }
  /// never() while nothing waits.
  TimePoint resume_at() const noexcept { return resume_at_; }
  /// The wait is over.
  void resume() noexcept {
    resume_at_ = TimePoint::never();
    was_held_ = true;
  }

  static Duration time_of(std::uint32_t octets, std::uint64_t rate) noexcept {
    return Duration::from_ns(static_cast<std::int64_t>(octets * std::uint64_t{1'000'000'000} / rate));
  }

 private:
  TimePoint free_at_;  // when what was sent has had its time
  TimePoint resume_at_ = TimePoint::never();
  bool was_held_ = false;  // and nothing has left since
};

}  // namespace pollux
