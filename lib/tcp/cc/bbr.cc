#include "pollux/tcp/cc/bbr.h"

#include <algorithm>
#include <limits>

namespace pollux {
namespace {

constexpr double unbounded = std::numeric_limits<double>::infinity();
// draft-ietf-ccwg-bbr 2.4 to 2.11
constexpr double startup_pacing_gain = 2.773;  // 4 ln 2: the rate doubles each round
constexpr double cwnd_gain = 2.0;
constexpr double drain_pacing_gain = 0.5;
constexpr double pacing_margin = 0.99;         // a little below the bandwidth, so that queues drain
constexpr double loss_threshold = 0.02;
constexpr double beta = 0.7;
constexpr double headroom = 0.15;
constexpr double probe_rtt_gain = 0.5;
constexpr std::uint32_t startup_loss_events = 6;
constexpr std::uint32_t full_bw_rounds = 3;
constexpr std::uint32_t reno_rounds_max = 63;
constexpr std::uint32_t extra_acked_rounds = 10;
constexpr std::uint32_t up_rounds_max = 30;
constexpr Duration min_rtt_filter_length = Duration::from_s(10);
constexpr Duration probe_rtt_interval = Duration::from_s(5);
constexpr Duration probe_rtt_duration = Duration::from_ms(200);
constexpr Duration probe_wait_min = Duration::from_s(2);
constexpr std::uint32_t probe_wait_random_ms = 1000;

std::uint32_t to_octets(double octets) noexcept {
  return octets >= Bbr::no_limit ? Bbr::no_limit : static_cast<std::uint32_t>(std::max(octets, 0.0));
}

}  // namespace

const char* bbr_state_name(BbrState state) noexcept {
  static constexpr std::array names = {"startup", "drain", "probe_bw_down", "probe_bw_cruise", "probe_bw_refill", "probe_bw_up", "probe_rtt"};
  return names[static_cast<std::size_t>(state)];
}

Bbr::Bbr(std::uint32_t mss, std::uint32_t initial_window, Duration srtt, std::uint32_t seed, TimePoint now) noexcept
    : mss_(mss),
      cwnd_(initial_window),
      initial_cwnd_(initial_window),
      bw_shortterm_(unbounded),
      min_rtt_(srtt > Duration{} ? srtt : Duration::max()),
      min_rtt_stamp_(now),
      undo_bw_shortterm_(unbounded),
      cycle_stamp_(now),
      probe_rtt_min_delay_(min_rtt_),
      probe_rtt_min_stamp_(now),
      extra_acked_start_(now),
      random_(seed | 1) {
  enter(BbrState::startup);
  // 5.6.2: before the first sample, a window a round trip, or a millisecond.
  const Duration rtt = srtt > Duration{} ? srtt : Duration::from_ms(1);
  pacing_rate_ = startup_pacing_gain * initial_window / rtt.seconds();
}

void Bbr::enter(BbrState state) noexcept {
  struct Gains {
    double pacing, cwnd;
  };
  static constexpr std::array<Gains, 7> gains = {{{startup_pacing_gain, cwnd_gain}, {drain_pacing_gain, cwnd_gain}, {0.9, cwnd_gain},
                                                  {1, cwnd_gain}, {1, cwnd_gain}, {1.25, 2.25}, {1, probe_rtt_gain}}};  // 5.6.1
  state_ = state;
  pacing_gain_ = gains[static_cast<std::size_t>(state)].pacing;
  cwnd_gain_ = gains[static_cast<std::size_t>(state)].cwnd;
}

// 5.2.3
bool Bbr::on_ack(const RateSample& rs) noexcept {
  update_latest_delivery_signals(rs);
  update_congestion_signals(rs);
  update_ack_aggregation(rs);
  check_full_bw_reached(rs);
  check_startup_done(rs);
  check_drain_done(rs);
  update_probe_bw_phase(rs);
  const bool expired = update_min_rtt(rs);
  const bool mark_limited = check_probe_rtt(rs, expired);
  if (loss_round_start_) {
    bw_latest_ = rs.rate;
    inflight_latest_ = rs.delivered;
  }
  bw_ = std::min(max_bw(), bw_shortterm_);
  set_pacing_rate(pacing_gain_);
  set_cwnd(rs);
  return mark_limited;
}

// --- The model ----------------------------------------------------------------------------------------------

// 5.5.10.3: a round of the loss response is over when what was sent after the last one began is delivered.
void Bbr::update_latest_delivery_signals(const RateSample& rs) noexcept {
  loss_round_start_ = false;
  if (!rs.has_segment) return;
  bw_latest_ = std::max(bw_latest_, rs.rate);
  inflight_latest_ = std::max(inflight_latest_, rs.delivered);
  if (rs.prior_delivered < loss_round_delivered_) return;
  loss_round_delivered_ = rs.total_delivered;
  loss_round_start_ = true;
}

void Bbr::update_congestion_signals(const RateSample& rs) noexcept {
  update_max_bw(rs);
  if (!loss_round_start_) return;
  adapt_lower_bounds();
  loss_in_round_ = false;
}

// 5.5.1: a packet-timed round trip.
void Bbr::update_round(const RateSample& rs) noexcept {
  round_start_ = rs.has_segment && rs.prior_delivered >= next_round_delivered_;
  if (!round_start_) return;
  start_round(rs.total_delivered);
  ++round_count_;
  ++rounds_since_bw_probe_;
}

// 5.5.5, 5.5.6: what the application held back can only show that there is more.
void Bbr::update_max_bw(const RateSample& rs) noexcept {
  update_round(rs);
  if (rs.rate > 0 && (rs.rate >= max_bw() || !rs.app_limited)) max_bw_[1] = std::max(max_bw_[1], rs.rate);
}

// 5.5.10.3: once a round with losses; not while more bandwidth is looked for.
void Bbr::adapt_lower_bounds() noexcept {
  if (is_probing_bw() || !loss_in_round_) return;
  if (bw_shortterm_ == unbounded) bw_shortterm_ = max_bw();
  if (inflight_shortterm_ == no_limit) inflight_shortterm_ = cwnd_;
  bw_shortterm_ = std::max(bw_latest_, beta * bw_shortterm_);
  inflight_shortterm_ = std::max(inflight_latest_, to_octets(beta * inflight_shortterm_));
}

// 5.5.9: ACKs that come in bunches; what they exceed the bandwidth by is allowed on top.
void Bbr::update_ack_aggregation(const RateSample& rs) noexcept {
  if (round_start_ && ++extra_acked_rounds_ >= (full_bw_reached_ ? extra_acked_rounds : 1)) {
    extra_acked_rounds_ = 0;
    extra_acked_ = {extra_acked_[1], 0};
  }
  double expected = bw_ * (rs.now - extra_acked_start_).seconds();
  if (extra_acked_delivered_ <= expected) {
    extra_acked_delivered_ = expected = 0;
    extra_acked_start_ = rs.now;
  }
  extra_acked_delivered_ += rs.newly_acked;
  const double extra = std::min(extra_acked_delivered_ - expected, static_cast<double>(cwnd_));
  extra_acked_[1] = std::max(extra_acked_[1], to_octets(extra));
}

// 5.5.7, 5.3.4.3: the shortest round trip of ten seconds, with a probe when five have shown none as short. True when that is due.
bool Bbr::update_min_rtt(const RateSample& rs) noexcept {
  const bool expired = rs.now > probe_rtt_min_stamp_ + probe_rtt_interval;
  if (rs.rtt > Duration{} && (rs.rtt < probe_rtt_min_delay_ || expired)) {
    probe_rtt_min_delay_ = rs.rtt;
    probe_rtt_min_stamp_ = rs.now;
  }
  if (probe_rtt_min_delay_ < min_rtt_ || rs.now > min_rtt_stamp_ + min_rtt_filter_length) {
    min_rtt_ = probe_rtt_min_delay_;
    min_rtt_stamp_ = probe_rtt_min_stamp_;
  }
  return expired;
}

// --- STARTUP and DRAIN ----------------------------------------------------------------------------------------

void Bbr::reset_full_bw() noexcept {
  full_bw_ = 0;
  full_bw_count_ = 0;
  full_bw_now_ = false;
}

// 5.3.1.2: three rounds that bring less than a quarter more.
void Bbr::check_full_bw_reached(const RateSample& rs) noexcept {
  if (full_bw_now_ || rs.app_limited || !rs.has_segment) return;
  if (rs.rate >= full_bw_ * 1.25) {
    reset_full_bw();
    full_bw_ = rs.rate;
    return;
  }
  if (!round_start_) return;
  full_bw_now_ = ++full_bw_count_ >= full_bw_rounds;
  full_bw_reached_ = full_bw_reached_ || full_bw_now_;
}

// 5.3.1.3: many losses in a round of recovery tell that the pipe is full as well.
void Bbr::check_startup_done(const RateSample& rs) noexcept {
  if (state_ == BbrState::startup && loss_round_start_ && rs.in_recovery && loss_events_in_round_ >= startup_loss_events &&
      is_inflight_too_high(rs.lost, rs.in_flight_then))
    startup_queue_too_high();
  if (loss_round_start_) loss_events_in_round_ = 0;
  if (state_ != BbrState::startup || !full_bw_reached_) return;
  enter(BbrState::drain);
  drain_start_round_ = round_count_;
}

void Bbr::startup_queue_too_high() noexcept {
  full_bw_reached_ = true;
  inflight_longterm_ = std::max(to_octets(inflight(max_bw(), 1)), inflight_latest_);
}

// 5.3.2; a queue of others may never drain.
void Bbr::check_drain_done(const RateSample& rs) noexcept {
  if (state_ != BbrState::drain) return;
  if (rs.in_flight <= inflight(max_bw(), 1) || round_count_ > drain_start_round_ + 3) enter_probe_bw_down(rs.now, rs.total_delivered);
}

// --- PROBE_BW -------------------------------------------------------------------------------------------------

void Bbr::enter_probe_bw_down(TimePoint now, std::uint64_t delivered) noexcept {
  reset_congestion_signals();
  probe_up_cnt_ = no_limit;
  // 5.3.3.5.3: not all flows at once, and often enough that new bandwidth is found.
  rounds_since_bw_probe_ = random_below(2);
  bw_probe_wait_ = probe_wait_min + Duration::from_ms(random_below(probe_wait_random_ms + 1));
  cycle_stamp_ = now;
  ack_phase_ = AckPhase::probe_stopping;
  start_round(delivered);
  enter(BbrState::probe_bw_down);
}

void Bbr::enter_refill(std::uint64_t delivered) noexcept {
  reset_short_term_model();
  bw_probe_up_rounds_ = 0;
  bw_probe_up_acks_ = 0;
  ack_phase_ = AckPhase::refilling;
  start_round(delivered);
  enter(BbrState::probe_bw_refill);
}

void Bbr::enter_up(const RateSample& rs) noexcept {
  ack_phase_ = AckPhase::probe_starting;
  start_round(rs.total_delivered);
  reset_full_bw();
  full_bw_ = rs.rate;
  enter(BbrState::probe_bw_up);
  raise_inflight_slope();
}

// 5.3.3.6
void Bbr::update_probe_bw_phase(const RateSample& rs) noexcept {
  if (!full_bw_reached_) return;
  adapt_long_term_model(rs);
  switch (state_) {
    case BbrState::probe_bw_down:
      if (is_time_to_probe_bw(rs.now)) {
        enter_refill(rs.total_delivered);
      } else if (is_time_to_cruise(rs)) {
        enter(BbrState::probe_bw_cruise);
      }
      break;
    case BbrState::probe_bw_cruise:
      if (is_time_to_probe_bw(rs.now)) enter_refill(rs.total_delivered);
      break;
    case BbrState::probe_bw_refill:
      if (round_start_) {
        bw_probe_samples_ = true;
        enter_up(rs);
      }
      break;
    case BbrState::probe_bw_up:
      if (is_time_to_go_down(rs)) enter_probe_bw_down(rs.now, rs.total_delivered);
      break;
    default:
      break;
  }
}

// 5.3.3.5: a few seconds, or as many rounds as Reno would need to win back what it gave up.
bool Bbr::is_time_to_probe_bw(TimePoint now) const noexcept {
  if (now > cycle_stamp_ + bw_probe_wait_) return true;
  const double target = std::min(bdp(bw_, 1), static_cast<double>(cwnd_));
  return rounds_since_bw_probe_ >= std::min(to_octets(target / mss_), reno_rounds_max);
}

bool Bbr::is_time_to_cruise(const RateSample& rs) const noexcept {
  return rs.in_flight <= inflight_with_headroom() && rs.in_flight <= inflight(max_bw(), 1);
}

bool Bbr::is_time_to_go_down(const RateSample& rs) noexcept {
  if (rs.window_limited && cwnd_ >= inflight_longterm_) {
    reset_full_bw();  // it is our own bound that keeps the rate from growing
    full_bw_ = rs.rate;
    return false;
  }
  return full_bw_now_;
}

bool Bbr::is_inflight_too_high(double lost, double in_flight) noexcept { return lost > in_flight * loss_threshold; }

void Bbr::adapt_long_term_model(const RateSample& rs) noexcept {
  if (ack_phase_ == AckPhase::probe_starting && round_start_) ack_phase_ = AckPhase::probe_feedback;
  if (ack_phase_ == AckPhase::probe_stopping && round_start_) {
    // What the probe sent has all been answered.
    bw_probe_samples_ = false;
    ack_phase_ = AckPhase::none;
    if (in_probe_bw() && !rs.app_limited && max_bw_[1] > 0) max_bw_ = {max_bw_[1], 0};
  }
  if (!rs.has_segment) return;
  if (is_inflight_too_high(rs.lost, rs.in_flight_then)) {
    if (bw_probe_samples_) handle_inflight_too_high(rs.in_flight_then, rs.app_limited, rs.total_delivered, rs.now);
    return;
  }
  if (inflight_longterm_ == no_limit) return;
  inflight_longterm_ = std::max(inflight_longterm_, rs.in_flight_then);
  if (state_ == BbrState::probe_bw_up) probe_inflight_upward(rs);
}

// The bound grows by 1, 2, 4, ... segments a round.
void Bbr::probe_inflight_upward(const RateSample& rs) noexcept {
  if (!rs.window_limited || cwnd_ < inflight_longterm_) return;
  bw_probe_up_acks_ += rs.newly_acked;
  if (bw_probe_up_acks_ >= probe_up_cnt_) {
    const std::uint32_t segments = bw_probe_up_acks_ / probe_up_cnt_;
    bw_probe_up_acks_ -= segments * probe_up_cnt_;
    inflight_longterm_ += segments * mss_;
  }
  if (round_start_) raise_inflight_slope();
}

void Bbr::raise_inflight_slope() noexcept {
  const std::uint32_t segments = 1u << std::min(bw_probe_up_rounds_, up_rounds_max);
  bw_probe_up_rounds_ = std::min(bw_probe_up_rounds_ + 1, up_rounds_max);
  probe_up_cnt_ = std::max(cwnd_ / segments, mss_);
}

void Bbr::handle_inflight_too_high(std::uint32_t in_flight, bool app_limited, std::uint64_t delivered, TimePoint now) noexcept {
  bw_probe_samples_ = false;  // once a probe
  const double target = std::min(bdp(bw_, 1), static_cast<double>(cwnd_));
  if (!app_limited) inflight_longterm_ = std::max({in_flight, to_octets(target * beta), min_pipe_cwnd()});
  if (state_ == BbrState::probe_bw_up) enter_probe_bw_down(now, delivered);
}

// --- PROBE_RTT ------------------------------------------------------------------------------------------------

// 5.3.4: with little in flight for a while the queue is empty, if all do it, and the round trip is the path's own.
bool Bbr::check_probe_rtt(const RateSample& rs, bool expired) noexcept {
  if (state_ != BbrState::probe_rtt && expired && !idle_restart_) {
    save_cwnd();
    enter(BbrState::probe_rtt);
    probe_rtt_done_stamp_ = TimePoint::never();
    ack_phase_ = AckPhase::probe_stopping;
    start_round(rs.total_delivered);
  }
  const bool probing = state_ == BbrState::probe_rtt;
  if (probing) {
    if (probe_rtt_done_stamp_.is_never()) {
      if (rs.in_flight <= probe_rtt_cwnd()) {
        probe_rtt_done_stamp_ = rs.now + probe_rtt_duration;
        probe_rtt_round_done_ = false;
        start_round(rs.total_delivered);
      }
    } else {
      probe_rtt_round_done_ = probe_rtt_round_done_ || round_start_;
      if (probe_rtt_round_done_) check_probe_rtt_done(rs.now, rs.total_delivered);
    }
  }
  if (rs.newly_acked != 0) idle_restart_ = false;
  return probing;
}

void Bbr::check_probe_rtt_done(TimePoint now, std::uint64_t delivered) noexcept {
  if (probe_rtt_done_stamp_.is_never() || now <= probe_rtt_done_stamp_) return;
  probe_rtt_min_stamp_ = now;  // the next one is due an interval from now
  cwnd_ = std::max(cwnd_, prior_cwnd_);
  reset_short_term_model();
  if (!full_bw_reached_) {
    enter(BbrState::startup);
    return;
  }
  enter_probe_bw_down(now, delivered);
  enter(BbrState::probe_bw_cruise);
}

// --- Losses, marks, idle times ----------------------------------------------------------------------------------

void Bbr::on_lost(const SentRate& segment, std::uint32_t octets, std::uint32_t lost_since, std::uint64_t delivered, TimePoint now) noexcept {
  if (!loss_in_round_) loss_round_delivered_ = delivered;  // 5.5.10.2 BBRNoteLoss
  loss_in_round_ = true;
  ++loss_events_in_round_;
  if (!bw_probe_samples_ || !is_inflight_too_high(lost_since, segment.in_flight)) return;
  // BBRInflightAtLoss: how much was in flight when losses became too many, the segment taken as a prefix and the rest.
  const double in_flight_before = segment.in_flight - std::min(static_cast<double>(octets), static_cast<double>(segment.in_flight));
  const double lost_before = lost_since - std::min(octets, lost_since);
  const double prefix = (loss_threshold * in_flight_before - lost_before) / (1 - loss_threshold);
  handle_inflight_too_high(to_octets(in_flight_before + prefix), segment.app_limited, delivered, now);
}

void Bbr::on_mark(std::uint32_t in_flight, std::uint64_t delivered, TimePoint now) noexcept {
  if (!loss_in_round_) loss_round_delivered_ = delivered;
  loss_in_round_ = true;
  if (state_ == BbrState::startup) startup_queue_too_high();
  if (bw_probe_samples_) handle_inflight_too_high(to_octets(in_flight * beta), false, delivered, now);
}

void Bbr::on_idle_restart(TimePoint now, std::uint64_t delivered) noexcept {
  idle_restart_ = true;
  extra_acked_start_ = now;
  if (in_probe_bw()) set_pacing_rate(1);
  if (state_ == BbrState::probe_rtt) check_probe_rtt_done(now, delivered);
}

void Bbr::on_recovery() noexcept {
  save_cwnd();
  save_for_undo();
  in_recovery_ = true;
}

// 5.6.4.4: a segment goes, and ACKs bring the window back.
void Bbr::on_timeout() noexcept {
  save_cwnd();
  if (!in_recovery_) save_for_undo();
  in_recovery_ = true;
  cwnd_ = mss_;
}

void Bbr::on_recovered() noexcept {
  in_recovery_ = false;
  cwnd_ = std::max(cwnd_, prior_cwnd_);
}

void Bbr::save_cwnd() noexcept {
  prior_cwnd_ = in_recovery_ || state_ == BbrState::probe_rtt ? std::max(prior_cwnd_, cwnd_) : cwnd_;
}

void Bbr::save_for_undo() noexcept {
  undo_state_ = state_;
  undo_bw_shortterm_ = bw_shortterm_;
  undo_inflight_shortterm_ = inflight_shortterm_;
  undo_inflight_longterm_ = inflight_longterm_;
}

void Bbr::undo() noexcept {
  on_recovered();
  loss_in_round_ = false;
  reset_full_bw();
  bw_shortterm_ = std::max(bw_shortterm_, undo_bw_shortterm_);
  inflight_shortterm_ = std::max(inflight_shortterm_, undo_inflight_shortterm_);
  inflight_longterm_ = std::max(inflight_longterm_, undo_inflight_longterm_);
  if (state_ == BbrState::drain && undo_state_ == BbrState::startup) {
    full_bw_reached_ = false;
    enter(BbrState::startup);
  }
}

void Bbr::reset_congestion_signals() noexcept {
  loss_in_round_ = false;
  bw_latest_ = 0;
  inflight_latest_ = 0;
}

void Bbr::reset_short_term_model() noexcept {
  bw_shortterm_ = unbounded;
  inflight_shortterm_ = no_limit;
}

// --- What follows from the model --------------------------------------------------------------------------------

double Bbr::bdp(double bw, double gain) const noexcept {
  if (min_rtt_ == Duration::max() || bw <= 0) return initial_cwnd_;
  return gain * bw * min_rtt_.seconds();
}

// 5.6.4.2: room for the bursts in which segments leave, and for a peer that acknowledges every other one.
double Bbr::quantized(double in_flight) const noexcept {
  constexpr double quantum_max = 65536;
  const double quantum = std::min(std::max(pacing_rate_ * 1e-3, 2.0 * mss_), quantum_max);  // 5.6.3
  return std::max({in_flight, 3 * quantum, static_cast<double>(min_pipe_cwnd())}) + (state_ == BbrState::probe_bw_up ? 2.0 * mss_ : 0.0);
}

std::uint32_t Bbr::inflight_with_headroom() const noexcept {
  if (inflight_longterm_ == no_limit) return no_limit;
  const std::uint32_t free = std::max(mss_, to_octets(headroom * inflight_longterm_));
  return std::max(inflight_longterm_ - std::min(free, inflight_longterm_), min_pipe_cwnd());
}

std::uint32_t Bbr::probe_rtt_cwnd() const noexcept { return std::max(to_octets(bdp(bw_, probe_rtt_gain)), min_pipe_cwnd()); }

void Bbr::set_pacing_rate(double gain) noexcept {
  if (bw_ <= 0) return;
  const double rate = gain * bw_ * pacing_margin;
  if (full_bw_reached_ || rate > pacing_rate_) pacing_rate_ = rate;
}

// 5.6.4.6
void Bbr::set_cwnd(const RateSample& rs) noexcept {
  const double max_inflight = quantized(bdp(bw_, cwnd_gain_) + std::max(extra_acked_[0], extra_acked_[1]));
  const double grown = static_cast<double>(cwnd_) + rs.newly_acked;
  double cwnd = cwnd_;
  if (full_bw_reached_) {
    cwnd = std::min(grown, max_inflight);
  } else if (cwnd < max_inflight || rs.total_delivered < initial_cwnd_) {
    cwnd = grown;
  }
  cwnd_ = bound_cwnd(std::max(cwnd, static_cast<double>(min_pipe_cwnd())));
}

// 5.6.4.5, 5.6.4.7
std::uint32_t Bbr::bound_cwnd(double cwnd) const noexcept {
  constexpr std::uint32_t cwnd_max = 1u << 30;
  std::uint32_t cap = no_limit;
  if (state_ == BbrState::probe_rtt || state_ == BbrState::probe_bw_cruise) {
    cap = inflight_with_headroom();
  } else if (in_probe_bw()) {
    cap = inflight_longterm_;
  }
  cap = std::max(std::min(cap, inflight_shortterm_), min_pipe_cwnd());
  if (state_ == BbrState::probe_rtt) cap = std::min(cap, probe_rtt_cwnd());
  return std::min({to_octets(cwnd), cap, cwnd_max});
}

std::uint32_t Bbr::random_below(std::uint32_t limit) noexcept {
  random_ ^= random_ << 13;  // xorshift32: it only has to differ between flows
  random_ ^= random_ >> 17;
  random_ ^= random_ << 5;
  return random_ % limit;
}

}  // namespace pollux
