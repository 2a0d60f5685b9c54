// BBR version 3 (draft-ietf-ccwg-bbr): a model of the path, how fast it delivers and how short its round trip is, says how fast
// to send and how much may be in flight. Functions and variables have the draft's names.
#pragma once

#include <array>
#include <bit>
#include <cstdint>

#include "pollux/base/time.h"
#include "pollux/tcp/cc/delivery_rate.h"
#include "pollux/tcp/cc/events.h"

namespace pollux {

/// Draft 3.2, 3.3.
enum class BbrState : std::uint8_t { startup, drain, probe_bw_down, probe_bw_cruise, probe_bw_refill, probe_bw_up, probe_rtt };
const char* bbr_state_name(BbrState state) noexcept;

class Bbr {
 public:
  static constexpr std::uint32_t no_limit = 0xffffffffu;

  /// `srtt`: zero when there is no sample yet. `seed`: of the random part of probing times.
  Bbr(std::uint32_t mss, std::uint32_t initial_window, Duration srtt, std::uint32_t seed, TimePoint now) noexcept;

  BbrState state() const noexcept { return state_; }
  /// Octets that may be outstanding.
  std::uint32_t cwnd() const noexcept { return cwnd_; }
  /// Octets a second, at least 1.
  std::uint64_t pacing_rate() const noexcept { return pacing_rate_ < 1 ? 1 : static_cast<std::uint64_t>(pacing_rate_); }
  /// The path's, octets a second; 0 before the first sample.
  double bandwidth() const noexcept { return bw_; }
  double max_bw() const noexcept { return max_bw_[0] > max_bw_[1] ? max_bw_[0] : max_bw_[1]; }
  /// Zero before the first sample.
  Duration min_rtt() const noexcept { return min_rtt_ == Duration::max() ? Duration{} : min_rtt_; }
  /// What the path was seen to hold without much loss, and what it seems to hold for the moment; no_limit: not known.
  std::uint32_t inflight_longterm() const noexcept { return inflight_longterm_; }
  std::uint32_t inflight_shortterm() const noexcept { return inflight_shortterm_; }
  /// To come back to, after PROBE_RTT or recovery.
  std::uint32_t prior_cwnd() const noexcept { return prior_cwnd_; }
  bool full_bw_reached() const noexcept { return full_bw_reached_; }

  /// 5.2.3 BBRUpdateOnACK. True when what is in flight from now on must count as limited by the application (PROBE_RTT).
  bool on_ack(const RateSample& rs) noexcept;
  /// BBRHandleLostPacket, of the segment sent last among those an ACK shows lost. `lost_since`: octets lost since `segment`
  /// was sent, with its own `octets`. `delivered`: in all.
  void on_lost(const SentRate& segment, std::uint32_t octets, std::uint32_t lost_since, std::uint64_t delivered, TimePoint now) noexcept;
  /// The peer echoes a congestion mark, once a round trip. The draft has no answer of its own to marks and asks for one: it is
  /// that to a loss beyond what is tolerated.
  void on_mark(std::uint32_t in_flight, std::uint64_t delivered, TimePoint now) noexcept;
  /// Data is sent while nothing was in flight and the application had paused (5.4.1 BBRHandleRestartFromIdle).
  void on_idle_restart(TimePoint now, std::uint64_t delivered) noexcept;
  /// 5.6.4.4: everything in flight is held for lost.
  void on_timeout() noexcept;
  /// Fast recovery begins.
  void on_recovery() noexcept;
  /// It is over, or a timeout is repaired: the window comes back.
  void on_recovered() noexcept;
  /// What was held for lost was not (5.5.10.4 BBRHandleSpuriousLossDetection): the bounds come back too.
  void undo() noexcept;
  void set_cwnd(std::uint32_t octets) noexcept { cwnd_ = octets; }
  void set_mss(std::uint32_t mss) noexcept { mss_ = mss; }

 private:
  /// Which samples the coming ACKs bring (5.3.3.6).
  enum class AckPhase : std::uint8_t { none, probe_starting, probe_feedback, probe_stopping, refilling };

  bool in_probe_bw() const noexcept { return state_ >= BbrState::probe_bw_down && state_ <= BbrState::probe_bw_up; }
  bool is_probing_bw() const noexcept {
    return state_ == BbrState::startup || state_ == BbrState::probe_bw_refill || state_ == BbrState::probe_bw_up;
  }
  void enter(BbrState state) noexcept;
  void enter_probe_bw_down(TimePoint now, std::uint64_t delivered) noexcept;
  void enter_refill(std::uint64_t delivered) noexcept;
  void enter_up(const RateSample& rs) noexcept;
  void start_round(std::uint64_t delivered) noexcept { next_round_delivered_ = delivered; }

  void update_latest_delivery_signals(const RateSample& rs) noexcept;
  void update_max_bw(const RateSample& rs) noexcept;
  void update_round(const RateSample& rs) noexcept;
  void update_congestion_signals(const RateSample& rs) noexcept;
  void adapt_lower_bounds() noexcept;
  void update_ack_aggregation(const RateSample& rs) noexcept;
  void check_full_bw_reached(const RateSample& rs) noexcept;
  void check_startup_done(const RateSample& rs) noexcept;
  void check_drain_done(const RateSample& rs) noexcept;
  void update_probe_bw_phase(const RateSample& rs) noexcept;
  void adapt_long_term_model(const RateSample& rs) noexcept;
  void probe_inflight_upward(const RateSample& rs) noexcept;
  void raise_inflight_slope() noexcept;
  bool is_time_to_probe_bw(TimePoint now) const noexcept;
  bool is_time_to_cruise(const RateSample& rs) const noexcept;
  bool is_time_to_go_down(const RateSample& rs) noexcept;
  static bool is_inflight_too_high(double lost, double in_flight) noexcept;
  void handle_inflight_too_high(std::uint32_t in_flight, bool app_limited, std::uint64_t delivered, TimePoint now) noexcept;
  void startup_queue_too_high() noexcept;
  bool update_min_rtt(const RateSample& rs) noexcept;
  bool check_probe_rtt(const RateSample& rs, bool expired) noexcept;
  void check_probe_rtt_done(TimePoint now, std::uint64_t delivered) noexcept;

  double bdp(double bw, double gain) const noexcept;
  double quantized(double in_flight) const noexcept;
  double inflight(double bw, double gain) const noexcept { return quantized(bdp(bw, gain)); }
  std::uint32_t inflight_with_headroom() const noexcept;
  std::uint32_t min_pipe_cwnd() const noexcept { return 4 * mss_; }
  std::uint32_t probe_rtt_cwnd() const noexcept;
  void set_pacing_rate(double gain) noexcept;
  void set_cwnd(const RateSample& rs) noexcept;
  std::uint32_t bound_cwnd(double cwnd) const noexcept;
  void reset_full_bw() noexcept;
  void reset_congestion_signals() noexcept;
  void reset_short_term_model() noexcept;
  void save_cwnd() noexcept;
  void save_for_undo() noexcept;
  std::uint32_t random_below(std::uint32_t limit) noexcept;

  // What it says
  std::uint32_t mss_;
  std::uint32_t cwnd_;
  std::uint32_t initial_cwnd_;
  std::uint32_t prior_cwnd_ = 0;
  double pacing_rate_ = 0;
  double pacing_gain_ = 0;
  double cwnd_gain_ = 0;
  // The model
  double bw_ = 0;
  std::array<double, 2> max_bw_{};          // of the last cycle of PROBE_BW and of this one
  double bw_shortterm_;
  std::uint32_t inflight_shortterm_ = no_limit;
  std::uint32_t inflight_longterm_ = no_limit;
  Duration min_rtt_;                         // Duration::max(): none yet
  TimePoint min_rtt_stamp_;
  // Rounds
  std::uint64_t next_round_delivered_ = 0;
  std::uint32_t round_count_ = 0;
  // Congestion of the loss round
  std::uint64_t loss_round_delivered_ = 0;
  double bw_latest_ = 0;
  std::uint32_t inflight_latest_ = 0;
  std::uint32_t loss_events_in_round_ = 0;
  double undo_bw_shortterm_;
  std::uint32_t undo_inflight_shortterm_ = no_limit;
  std::uint32_t undo_inflight_longterm_ = no_limit;
  // STARTUP, and whether an UP finds more
  double full_bw_ = 0;
  std::uint32_t full_bw_count_ = 0;
  std::uint32_t drain_start_round_ = 0;
  // PROBE_BW
  TimePoint cycle_stamp_;
  Duration bw_probe_wait_;
  std::uint32_t rounds_since_bw_probe_ = 0;
  std::uint32_t bw_probe_up_rounds_ = 0;
  std::uint32_t bw_probe_up_acks_ = 0;
  std::uint32_t probe_up_cnt_ = no_limit;
  // PROBE_RTT
  Duration probe_rtt_min_delay_;
  TimePoint probe_rtt_min_stamp_;
  TimePoint probe_rtt_done_stamp_ = TimePoint::never();
  // ACK aggregation (5.5.9)
  TimePoint extra_acked_start_;
  double extra_acked_delivered_ = 0;
  std::array<std::uint32_t, 2> extra_acked_{};  // of the last stretch of rounds and of this one
  std::uint32_t extra_acked_rounds_ = 0;
  std::uint32_t random_;
  BbrState state_ = BbrState::startup;
  AckPhase ack_phase_ = AckPhase::none;
  bool round_start_ = false;
  bool loss_round_start_ = false;
  bool loss_in_round_ = false;
  bool full_bw_now_ = false;
  bool full_bw_reached_ = false;
  bool bw_probe_samples_ = false;  // losses tell about a probe that is under way
  bool probe_rtt_round_done_ = false;
  bool idle_restart_ = false;
  bool in_recovery_ = false;
  BbrState undo_state_ = BbrState::startup;
};

/// The window of a connection with BBR, as CongestionControl sees it. The model lies elsewhere and is told of samples, which
/// say more than CcAck does.
class BbrWindow {
 public:
  explicit BbrWindow(Bbr& bbr) noexcept : bbr_(std::bit_cast<Halves>(&bbr)) {}
  std::uint32_t cwnd() const noexcept { return bbr().cwnd(); }
  std::uint32_t ssthresh() const noexcept { return no_ssthresh; }
  void on_ack(const CcAck&) noexcept {}
  void on_congestion(const CcLoss&) noexcept {}
  void set_cwnd(std::uint32_t octets) noexcept { bbr().set_cwnd(octets); }
  void on_timeout(const CcLoss&, bool) noexcept { bbr().on_timeout(); }
  void on_idle_restart(std::uint32_t) noexcept {}
  void undo() noexcept { bbr().undo(); }
  void set_mss(std::uint32_t mss) noexcept { bbr().set_mss(mss); }

 private:
  // A pointer would align all controllers to 8, and every connection would be 8 octets larger.
  using Halves = std::array<std::uint32_t, sizeof(Bbr*) / sizeof(std::uint32_t)>;
  Bbr& bbr() const noexcept { return *std::bit_cast<Bbr*>(bbr_); }
  Halves bbr_;
};

}  // namespace pollux
