// What DCTCP knows of congestion: not whether, but how much of what was sent was marked (RFC 8257 3.3).
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"

namespace pollux {

class MarkedShare {
 public:
  MarkedShare() noexcept = default;
  explicit MarkedShare(SeqNum una) noexcept : window_end_(una) {}

  /// An ACK of `acked` new octets, with ECE or without. `una`: SND.UNA after it; `nxt`: SND.NXT.
  void on_ack(std::uint32_t acked, bool echo, SeqNum una, SeqNum nxt) noexcept {
    acked_ += acked;
    if (echo) marked_ += acked;
    if (una.before_eq(window_end_) || acked_ == 0) return;
    // Once a window: alpha = alpha * (1 - g) + g * M.
    constexpr float g = 1.0f / 16;
    alpha_ += g * (static_cast<float>(marked_) / static_cast<float>(acked_) - alpha_);
    window_end_ = nxt;
    acked_ = marked_ = 0;
  }
  /// DCTCP.Alpha, 0..1: the window shrinks by half of it.
  float alpha() const noexcept { return alpha_; }

 private:
  float alpha_ = 1;  // 4.2: the first mark counts as it does elsewhere
  SeqNum window_end_;
  std::uint32_t acked_ = 0;   // octets of the window so far ...
  std::uint32_t marked_ = 0;  // ... and how many of them with ECE
};

}  // namespace pollux
