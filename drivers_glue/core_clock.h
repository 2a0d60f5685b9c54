// The clock of one core loop: nanoseconds of CLOCK_MONOTONIC at the price of reading the time stamp counter.
#pragma once

#include <rte_cycles.h>

#include <algorithm>
#include <cstdint>
#include <ctime>

#include "pollux/base/time.h"

namespace pollux {

/// Extrapolates from the last CLOCK_MONOTONIC reading by the TSC for at most about a millisecond, so neither
/// a rough TSC frequency (EAL rounds it to 10 MHz) nor a stopped counter adds up. Never goes back. One per
/// core.
class CoreClock {
 public:
  /// `tsc_hz`: rte_get_tsc_hz(), after EAL has started.
  explicit CoreClock(std::uint64_t tsc_hz) noexcept
      : ns_per_cycle_q32_((std::uint64_t{1'000'000'000} << 32) / tsc_hz), resync_cycles_(tsc_hz / 1024) {
    resync(rte_rdtsc());
  }

  TimePoint now() noexcept {
    const std::uint64_t tsc = rte_rdtsc();
    const std::uint64_t elapsed = tsc - anchor_tsc_;  // a counter that jumped back looks huge: resync
    if (elapsed > resync_cycles_) [[unlikely]] {
      resync(tsc);
    } else {
      const auto ns = static_cast<std::int64_t>((elapsed * ns_per_cycle_q32_) >> 32);
      last_ns_ = std::max(last_ns_, anchor_ns_ + ns);
    }
    return TimePoint::from_ns(last_ns_);
  }

 private:
  void resync(std::uint64_t tsc) noexcept {
    timespec ts{};
    clock_gettime(CLOCK_MONOTONIC, &ts);
    anchor_tsc_ = tsc;
    anchor_ns_ = std::int64_t{ts.tv_sec} * 1'000'000'000 + ts.tv_nsec;
    last_ns_ = std::max(last_ns_, anchor_ns_);
  }

  std::uint64_t ns_per_cycle_q32_;  // nanoseconds per cycle, times 2^32
  std::uint64_t resync_cycles_;
  std::uint64_t anchor_tsc_ = 0;
  std::int64_t anchor_ns_ = 0;
  std::int64_t last_ns_ = 0;
};

}  // namespace pollux
