#include "pollux/tcp/cc/newreno.h"

#include <algorithm>

namespace pollux {

void NewReno::on_ack(const CcAck& ack) noexcept {
  // RFC 7661 (and RFC 5681's intent): an application that does not fill the window has not tested it.
  if (!ack.window_limited) return;
  if (cwnd_ < ssthresh_) {
    // RFC 5681 3.1 slow start, byte counted with L = 2 (RFC 3465 2.2): a delayed ACK of two segments counts both.
    // After a timeout L = 1: what the ACK covers may have arrived long before (RFC 3465 2.3).
    cwnd_ += std::min(ack.acked, after_timeout_ ? mss_ : 2 * mss_);
    return;
  }
  after_timeout_ = false;
  // RFC 5681 3.1 congestion avoidance: one SMSS per window's worth of acknowledged octets.
  acked_in_avoidance_ += ack.acked;
  if (acked_in_avoidance_ >= cwnd_) {
    acked_in_avoidance_ -= cwnd_;
    cwnd_ += mss_;
  }
}

void NewReno::on_recovery_enter(const CcLoss& loss) noexcept {
  // RFC 5681 3.2 steps 2 and 3.
  ssthresh_ = std::max(loss.in_flight / 2, 2 * mss_);
  cwnd_ = ssthresh_ + 3 * mss_;
  acked_in_avoidance_ = 0;
}

void NewReno::on_recovery_partial_ack(const CcAck& ack) noexcept {
  // RFC 6582 3.2 step 3, partial acknowledgments: deflate by what was acknowledged, add back one SMSS.
  cwnd_ = cwnd_ > ack.acked ? cwnd_ - ack.acked : mss_;
  if (ack.acked >= mss_) cwnd_ += mss_;
  cwnd_ = std::max(cwnd_, mss_);
}

void NewReno::on_recovery_exit(const CcLoss& loss) noexcept {
  // RFC 6582 3.2 step 3, full acknowledgment, option (1): no burst when little is outstanding.
  cwnd_ = std::min(ssthresh_, std::max(loss.in_flight, mss_) + mss_);
}

void NewReno::on_timeout(const CcLoss& loss, bool first) noexcept {
  // RFC 5681 3.1 equation 4; ssthresh is held when the same segment times out again.
  if (first) ssthresh_ = std::max(loss.in_flight / 2, 2 * mss_);
  cwnd_ = mss_;  // the loss window
  after_timeout_ = true;
  acked_in_avoidance_ = 0;
}

void NewReno::on_idle_restart() noexcept { cwnd_ = std::min(cwnd_, initial_window_); }  // RFC 5681 4.1

}  // namespace pollux
