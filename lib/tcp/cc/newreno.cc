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

void NewReno::on_congestion(const CcLoss& loss) noexcept {
  cwnd_prior_ = cwnd_;
  ssthresh_prior_ = ssthresh_;
  // RFC 5681 3.2 step 2, equation 4; what limited transmit sent beyond the window MUST NOT count.
  // RFC 8257 3.3: cwnd * (1 - alpha / 2).
  const double window = static_cast<double>(std::min(loss.in_flight, cwnd_));
  ssthresh_ = std::max(static_cast<std::uint32_t>(window - window * static_cast<double>(loss.share) / 2), 2 * mss_);
  acked_in_avoidance_ = 0;
}

void NewReno::on_timeout(const CcLoss& loss, bool first) noexcept {
  // RFC 5681 3.1 equation 4; ssthresh is held when the same segment times out again.
  if (first) {
    cwnd_prior_ = cwnd_;
    ssthresh_prior_ = ssthresh_;
    ssthresh_ = std::max(loss.in_flight / 2, 2 * mss_);
  }
  cwnd_ = mss_;  // the loss window
  after_timeout_ = true;
  acked_in_avoidance_ = 0;
}

void NewReno::on_idle_restart(std::uint32_t initial_window) noexcept { cwnd_ = std::min(cwnd_, initial_window); }  // RFC 5681 4.1

}  // namespace pollux
