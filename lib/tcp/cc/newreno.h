// NewReno congestion control: RFC 5681 with byte counting (RFC 3465, L = 2); and DCTCP's (RFC 8257), which differs in how much
// a mark takes of the window.
#pragma once

#include <cstdint>

#include "pollux/tcp/cc/events.h"

namespace pollux {

class NewReno {
 public:
  NewReno() noexcept = default;
  /// `mss` is the effective send MSS in octets; `initial_window` the octets allowed before the first ACK.
  NewReno(std::uint32_t mss, std::uint32_t initial_window) noexcept
      : cwnd_(initial_window), mss_(mss) {}

  std::uint32_t cwnd() const noexcept { return cwnd_; }
  std::uint32_t ssthresh() const noexcept { return ssthresh_; }

  void on_ack(const CcAck& ack) noexcept;
  void on_congestion(const CcLoss& loss) noexcept;
  void set_cwnd(std::uint32_t octets) noexcept { cwnd_ = octets; }
  void on_timeout(const CcLoss& loss, bool first) noexcept;
  void undo() noexcept {
    cwnd_ = cwnd_ > cwnd_prior_ ? cwnd_ : cwnd_prior_;
    ssthresh_ = ssthresh_prior_;
  }
  void on_idle_restart(std::uint32_t initial_window) noexcept;
  void set_mss(std::uint32_t mss) noexcept { mss_ = mss; }

 private:
  std::uint32_t cwnd_ = 0;
  std::uint32_t ssthresh_ = no_ssthresh;
  std::uint32_t acked_in_avoidance_ = 0;
  std::uint32_t cwnd_prior_ = 0;      // before the last reduction ...
  std::uint32_t ssthresh_prior_ = 0;  // ... as this
  std::uint32_t mss_ = 0;
  bool after_timeout_ = false;  ///< in the slow start that follows a timeout
};

}  // namespace pollux
