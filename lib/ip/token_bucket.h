// A rate limit as one number: the generic cell rate algorithm, a token bucket that stores when it will be
// full.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

class TokenBucket {
 public:
  /// `per_second` events on average (0: none ever), up to `burst` (at least 1) at once.
  TokenBucket(std::uint32_t per_second, std::uint32_t burst) noexcept
      : interval_(per_second == 0 ? Duration() : Duration::from_s(1) / per_second),
        slack_(interval_ * (std::max(burst, 1u) - 1)) {}

  /// True when one more event is allowed at `now`, and takes its token.
  bool take(TimePoint now) noexcept {
    if (interval_ == Duration()) return false;
    const TimePoint base = std::max(full_at_, now);
    if (base - now > slack_) return false;
    full_at_ = base + interval_;
    return true;
  }

 private:
  Duration interval_;
  Duration slack_;
  TimePoint full_at_;
};

}  // namespace pollux
