// Round-trip time and retransmission timeout, RFC 6298. Times are kept in microseconds (71 minutes at most).
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

struct RttLimits {
  Duration rto_initial;
  Duration rto_min;
  Duration rto_max;
};

class RttEstimator {
 public:
  /// RFC 6298 2.2 and 2.3, with alpha = 1/8, beta = 1/4. The caller observes Karn's rule: never a sample of a
  /// retransmitted octet (unless timestamps tell which transmission was answered).
  void sample(Duration rtt) noexcept {
    const auto us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt.us(), 1, 0x7fffffff));
    if (srtt_us_ == 0) {
      srtt_us_ = us;
      rttvar_us_ = us / 2;
    } else {
      const std::uint32_t delta = srtt_us_ > us ? srtt_us_ - us : us - srtt_us_;
      rttvar_us_ = rttvar_us_ - rttvar_us_ / 4 + delta / 4;
      srtt_us_ = std::max<std::uint32_t>(srtt_us_ - srtt_us_ / 8 + us / 8, 1);
    }
  }

  /// The timeout without back-off. RFC 6298 2: SRTT + max(G, 4 * RTTVAR), bounded below and above.
  Duration rto(const RttLimits& limits) const noexcept {
    if (srtt_us_ == 0) {
      // RFC 6298 5.7: when the SYN had to be repeated and gave no sample, data starts from 3 s.
      return syn_was_lost_ ? std::clamp(Duration::from_s(3), limits.rto_initial, limits.rto_max) : limits.rto_initial;
    }
    // After a long time without change the variance is next to nothing, and a queue that fills within a round trip, by a probe
    // for bandwidth say, would be taken for a loss: a quarter of the round trip is always allowed for (Linux allows for 200 ms).
    const auto variance_us = std::max({clock_granularity_us, 4 * std::int64_t{rttvar_us_}, std::int64_t{srtt_us_ / 4}});
    return std::clamp(Duration::from_us(std::int64_t{srtt_us_} + variance_us), limits.rto_min, limits.rto_max);
  }

  /// A round trip of a segment that was sent once, which need not count as a sample for the timeout.
  void note_min(Duration rtt) noexcept {
    const auto us = static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt.us(), 1, 0x7fffffff));
    if (min_us_ == 0 || us < min_us_) min_us_ = us;
  }
  /// The shortest round trip ever; zero: none yet.
  Duration min_rtt() const noexcept { return Duration::from_us(min_us_); }

  void note_lost_syn() noexcept { syn_was_lost_ = 1; }
  bool syn_was_lost() const noexcept { return syn_was_lost_ != 0; }
  bool has_sample() const noexcept { return srtt_us_ != 0; }
  Duration srtt() const noexcept { return Duration::from_us(srtt_us_); }
  Duration rttvar() const noexcept { return Duration::from_us(rttvar_us_); }

 private:
  static constexpr std::int64_t clock_granularity_us = 66;  // one tick of the timer wheel
  std::uint32_t srtt_us_ = 0;  // 0: no sample yet
  std::uint32_t rttvar_us_ : 31 = 0;
  std::uint32_t syn_was_lost_ : 1 = 0;
  std::uint32_t min_us_ = 0;
};

}  // namespace pollux
