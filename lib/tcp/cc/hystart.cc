#include "pollux/tcp/cc/hystart.h"

#include <algorithm>

namespace pollux {

std::uint32_t HyStart::on_ack(const CcAck& ack, std::uint32_t mss) noexcept {
  // RFC 9406 4.2: a round ends when what was SND.NXT at its start is acknowledged.
  if (!round_open_ || !ack.una.before(round_end_)) {
    if (round_open_ && in_css_) ++rounds_in_css_;
    round_open_ = true;
    round_end_ = ack.nxt;
    last_round_min_us_ = this_round_min_us_;
    this_round_min_us_ = no_rtt;
    samples_ = 0;
  }
  if (ack.rtt > Duration{}) {
    this_round_min_us_ = std::min(this_round_min_us_, static_cast<std::uint32_t>(std::min<std::int64_t>(ack.rtt.us(), no_rtt - 1)));
    if (samples_ < samples_per_round) ++samples_;
  }
  if (samples_ >= samples_per_round && this_round_min_us_ != no_rtt && last_round_min_us_ != no_rtt) {
    if (!in_css_) {
      const std::uint32_t threshold =
          std::clamp(last_round_min_us_ / min_rtt_divisor, min_rtt_threshold_us, max_rtt_threshold_us);
      if (this_round_min_us_ >= last_round_min_us_ + threshold) {
        in_css_ = true;
        css_baseline_us_ = this_round_min_us_;
        rounds_in_css_ = 0;
      }
    } else if (this_round_min_us_ < css_baseline_us_) {
      in_css_ = false;  // the growth was jitter: back to ordinary slow start
      css_baseline_us_ = no_rtt;
      rounds_in_css_ = 0;
    }
  }
  // RFC 9406 4.2: no limit for who paces.
  const std::uint32_t growth = ack.paced ? ack.acked : std::min(ack.acked, growth_limit_segments * mss);
  return in_css_ ? growth / css_growth_divisor : growth;
}

}  // namespace pollux
