// CUBIC (RFC 9438) with fast convergence and the Reno-friendly region; slow start by HyStart++ (RFC 9406).
#pragma once

#include <cstdint>

#include "pollux/tcp/cc/events.h"
#include "pollux/tcp/cc/hystart.h"

namespace pollux {

class Cubic {
 public:
  /// As NewReno's.
  Cubic(std::uint32_t mss, std::uint32_t initial_window) noexcept
      : cwnd_(initial_window), mss_(mss) {}

  std::uint32_t cwnd() const noexcept { return cwnd_; }
  std::uint32_t ssthresh() const noexcept { return ssthresh_; }

  void on_ack(const CcAck& ack) noexcept;
  void on_congestion(const CcLoss& loss) noexcept;
  void set_cwnd(std::uint32_t octets) noexcept { cwnd_ = octets; }
  void on_timeout(const CcLoss& loss, bool first) noexcept;
  void undo() noexcept;
  void on_idle_restart(std::uint32_t initial_window) noexcept;
  void set_mss(std::uint32_t mss) noexcept { mss_ = mss; }

 private:
  void avoid_congestion(const CcAck& ack) noexcept;
  void start_epoch(std::uint32_t now_ms) noexcept;
  /// RFC 9438 figure 1, in octets, `seconds` into the epoch.
  double w_cubic(double seconds) const noexcept;

  std::uint32_t cwnd_ = 0;
  std::uint32_t ssthresh_ = no_ssthresh;
  std::uint32_t mss_ = 0;
  std::uint32_t w_max_ = 0;        // window before the last reduction, octets
  std::uint32_t cwnd_prior_ = 0;   // the same, without fast convergence
  std::uint32_t ssthresh_prior_ = 0;  // before the last reduction
  float w_est_ = 0;                // what Reno would have, octets
  float growth_ = 0;               // fractions of an octet not added to cwnd yet
  float k_s_ = 0;                  // seconds until the cubic curve is back at w_max
  bool epoch_open_ = false;
  bool limited_ = true;            // the last ACK saw the window in use
  bool after_timeout_ = false;
  std::uint32_t epoch_start_ms_ = 0;       // both wrap after 49 days, far beyond an epoch
  std::uint32_t unlimited_since_ms_ = 0;
  HyStart slow_start_;
};

}  // namespace pollux
