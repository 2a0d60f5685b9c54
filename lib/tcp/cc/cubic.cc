#include "pollux/tcp/cc/cubic.h"

#include <algorithm>
#include <cmath>

namespace pollux {
namespace {

constexpr double c = 0.4;             // RFC 9438 4.1, segments per second cubed
constexpr double beta = 0.7;          // 4.6
constexpr double alpha_reno = 3.0 * (1.0 - beta) / (1.0 + beta);  // 4.3

}  // namespace

void Cubic::on_ack(const CcAck& ack) noexcept {
  if (!ack.window_limited) {
    // RFC 9438 4.2.1: time in which the application, not the window, held data back does not count.
    if (limited_) unlimited_since_ms_ = static_cast<std::uint32_t>(ack.now.ms());
    limited_ = false;
    return;
  }
  if (!limited_ && epoch_open_) epoch_start_ms_ += static_cast<std::uint32_t>(ack.now.ms()) - unlimited_since_ms_;
  limited_ = true;
  if (cwnd_ < ssthresh_) {
    cwnd_ += slow_start_.on_ack(ack, mss_);
    if (slow_start_.finished()) ssthresh_ = cwnd_;  // RFC 9406 4.2
    return;
  }
  avoid_congestion(ack);
}

void Cubic::start_epoch(std::uint32_t now_ms) noexcept {
  epoch_open_ = true;
  epoch_start_ms_ = now_ms;
  w_est_ = static_cast<float>(cwnd_);
  growth_ = 0;
  if (after_timeout_ || cwnd_ >= w_max_) {  // 4.8, and nothing to come back to
    k_s_ = 0;
    w_max_ = cwnd_;
  } else {
    k_s_ = static_cast<float>(std::cbrt(static_cast<double>(w_max_ - cwnd_) / mss_ / c));  // figure 2
  }
  after_timeout_ = false;
}

double Cubic::w_cubic(double seconds) const noexcept {
  const double t = seconds - static_cast<double>(k_s_);
  return c * t * t * t * mss_ + w_max_;
}

void Cubic::avoid_congestion(const CcAck& ack) noexcept {
  const auto now_ms = static_cast<std::uint32_t>(ack.now.ms());
  if (!epoch_open_) start_epoch(now_ms);
  const double t = (now_ms - epoch_start_ms_) * 1e-3;
  const double window = cwnd_;
  // 4.3: the window Reno would have; once past the old maximum it grows like Reno's.
  const double alpha = static_cast<double>(w_est_) < cwnd_prior_ ? alpha_reno : 1.0;
  w_est_ += static_cast<float>(alpha * ack.acked * mss_ / window);
  double next;
  if (w_cubic(t) < static_cast<double>(w_est_)) {
    next = std::max(window, static_cast<double>(w_est_));
  } else {
    // 4.4, 4.5: towards where the curve will be in a round trip, at most half as much again.
    const double target = std::clamp(w_cubic(t + ack.srtt.seconds()), window, 1.5 * window);
    next = window + (target - window) * std::min<double>(ack.acked, window) / window;
  }
  growth_ += static_cast<float>(next - window);
  if (growth_ >= 1.0f) {
    const auto whole = static_cast<std::uint32_t>(growth_);
    cwnd_ += whole;
    growth_ -= static_cast<float>(whole);
  }
}

void Cubic::on_congestion(const CcLoss& loss) noexcept {
  // 4.7 fast convergence: a flow that could not come back to its old maximum gives the rest up to others.
  cwnd_prior_ = cwnd_;
  ssthresh_prior_ = ssthresh_;
  w_max_ = cwnd_ < w_max_ ? static_cast<std::uint32_t>(cwnd_ * (1.0 + beta) / 2.0) : cwnd_;
  // 4.6; what is in flight bounds it when the application did not fill the window.
  ssthresh_ = std::max(static_cast<std::uint32_t>(std::min(loss.in_flight, cwnd_) * beta), 2 * mss_);
  epoch_open_ = false;
}

void Cubic::on_timeout(const CcLoss& loss, bool first) noexcept {
  if (first) on_congestion(loss);
  cwnd_ = mss_;
  epoch_open_ = false;
  after_timeout_ = true;  // 4.8
  slow_start_.restart();
}

// RFC 9438 4.9: the curve starts from where the window was.
void Cubic::undo() noexcept {
  cwnd_ = std::max(cwnd_, cwnd_prior_);
  ssthresh_ = std::max(ssthresh_, ssthresh_prior_);
  w_max_ = std::max(w_max_, cwnd_prior_);
  epoch_open_ = after_timeout_ = false;
}

void Cubic::on_idle_restart(std::uint32_t initial_window) noexcept {
  cwnd_ = std::min(cwnd_, initial_window);  // RFC 5681 4.1
  epoch_open_ = false;
  slow_start_.restart();
}

}  // namespace pollux
