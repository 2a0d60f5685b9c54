// HyStart++ (RFC 9406): leaves slow start when round trips grow, before the queue overflows.
#pragma once

#include <cstdint>

#include "pollux/tcp/cc/events.h"

namespace pollux {

class HyStart {
 public:
  /// An ACK in slow start: octets by which cwnd may grow, of `acked`. Sets finished() once conservative slow start has
  /// lasted its rounds: then cwnd is the new ssthresh.
  std::uint32_t on_ack(const CcAck& ack, std::uint32_t mss) noexcept;
  bool finished() const noexcept { return rounds_in_css_ >= css_rounds; }
  /// A new slow start (after a timeout or an idle time).
  void restart() noexcept { *this = HyStart(); }

 private:
  // RFC 9406 4.3
  static constexpr std::uint32_t min_rtt_threshold_us = 4'000;
  static constexpr std::uint32_t max_rtt_threshold_us = 16'000;
  static constexpr std::uint32_t min_rtt_divisor = 8;
  static constexpr std::uint8_t samples_per_round = 8;
  static constexpr std::uint32_t css_growth_divisor = 4;
  static constexpr std::uint8_t css_rounds = 5;
  static constexpr std::uint32_t growth_limit_segments = 8;  // L, without pacing
  static constexpr std::uint32_t no_rtt = 0xffffffffu;

  std::uint32_t last_round_min_us_ = no_rtt;
  std::uint32_t this_round_min_us_ = no_rtt;
  std::uint32_t css_baseline_us_ = no_rtt;
  SeqNum round_end_;
  std::uint8_t samples_ = 0;
  std::uint8_t rounds_in_css_ = 0;
  bool in_css_ = false;
  bool round_open_ = false;
};

}  // namespace pollux
