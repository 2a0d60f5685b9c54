// Timers: retransmission (RFC 6298), persist and probes (RFC 9293 3.8.6.1), delayed ACK, keepalive (3.8.4), user
// timeout (3.9.1), FIN-WAIT-2, TIME-WAIT. Each connection has one node in the wheel, armed at or before its earliest
// deadline: a deadline that moves later costs nothing until the node fires.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

void Tcp::set_deadline(Tcb& tcb, TimePoint& deadline, TimePoint when) noexcept {
  deadline = when;
  if (!tcb.is_armed() || when < tcb.deadline) timers_.arm(tcb, when);
}

Duration Tcp::current_rto(const Tcb& tcb) const noexcept {
  const Duration rto = tcb.rtt.rto(rtt_limits());
  // RFC 6298 5.5: doubled for each expiry, up to the maximum.
  return std::min(rto * (std::int64_t{1} << tcb.backoff), options_.rto_max);
}

void Tcp::restart_rto(Tcb& tcb) noexcept {
  TimePoint when = now_ + current_rto(tcb);
  // The user timeout ends the connection on time, not at the retransmission after it.
  if (tcb.user_timeout_ms != 0)
    when = std::min(when, std::max(tcb.progress + Duration::from_ms(tcb.user_timeout_ms), now_ + TimerWheel::tick));
  set_deadline(tcb, tcb.rto_deadline, when);
}

void Tcp::arm_keepalive(Tcb& tcb) noexcept {
  if (!tcb.is.keepalive || !tcb.synchronized()) {
    if (!tcb.is.app_closed) tcb.idle_deadline = TimePoint::never();
    return;
  }
  set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_idle);
}

void Tcp::advance(TimePoint now) noexcept {
  now_ = now;
  std::uint32_t budget = timers_per_advance;
  while (budget > 0 && time_wait_.oldest() != TimeWaitTable::nil && time_wait_[time_wait_.oldest()].expiry <= now) {
    const std::uint32_t index = time_wait_.oldest();
    flows_.erase(time_wait_[index].hash, index | time_wait_tag);
    time_wait_.remove(index);
    --budget;
  }
  const bool all_timers =
      timers_.advance(now, timers_per_advance, [this](TimerNode& node) { on_timer(static_cast<Tcb&>(node)); });
  timers_pending_ = !all_timers || budget == 0;
}

TimePoint Tcp::next_deadline() const noexcept {
  if (timers_pending_) return now_;
  TimePoint next = timers_.next_deadline();
  if (dirty_count_ != 0) next = std::min(next, std::max(blocked_until_, now_));
  if (time_wait_.oldest() != TimeWaitTable::nil) next = std::min(next, time_wait_[time_wait_.oldest()].expiry);
  return next;
}

void Tcp::on_timer(Tcb& tcb) noexcept {
  if (tcb.ack_deadline <= now_) {
    tcb.ack_deadline = TimePoint::never();
    if (tcb.is.ack_pending) {
      counters_.add(Counter::tcp_delayed_acks);
      tcb.is.ack_now = true;
      mark_dirty(tcb);
    }
  }
  if (tcb.rto_deadline <= now_) {
    tcb.rto_deadline = TimePoint::never();
    on_retransmission_timeout(tcb);
    if (tcb.state == TcpState::closed) return;
  }
  if (tcb.idle_deadline <= now_) {
    tcb.idle_deadline = TimePoint::never();
    on_idle_timeout(tcb);
    if (tcb.state == TcpState::closed) return;
  }
  const TimePoint next = std::min({tcb.ack_deadline, tcb.rto_deadline, tcb.idle_deadline});
  if (!next.is_never()) timers_.arm(tcb, next);
}

void Tcp::on_retransmission_timeout(Tcb& tcb) noexcept {
  const bool nothing_outstanding = tcb.snd.max == tcb.snd.una;
  // A closed window is probed (RFC 9293 3.8.6.1), with data outstanding or not; a stalled window is overridden.
  const bool persist = tcb.synchronized() && tcb.queue.size() != 0 && (nothing_outstanding || tcb.snd.wnd == 0);
  const std::uint8_t retries_max = tcb.state == TcpState::syn_sent       ? options_.syn_retries_max
                                   : tcb.state == TcpState::syn_received ? options_.syn_ack_retries_max
                                                                         : tcb.options->retries_max;
  const bool user_timeout =
      tcb.user_timeout_ms != 0 && now_ - tcb.progress >= Duration::from_ms(tcb.user_timeout_ms);
  // RFC 9293 3.8.3 MUST-20: R2 closes the connection.
  if (tcb.retries >= retries_max || user_timeout) {
    counters_.add(Counter::tcp_abort_timeout);
    finish(tcb, CloseReason::timed_out);
    return;
  }
  ++tcb.retries;
  constexpr std::uint8_t r1 = 3;  // SHLD-10
  if (tcb.retries == r1 && !tcb.is.soft_error_told) {
    tcb.is.soft_error_told = true;
    tcb.route.generation = 0;  // negative advice: look the route up again
    if (tcb.is.active_open || tcb.is.connected) tcb.handler->on_soft_error(handle_of(tcb));
    if (tcb.state == TcpState::closed) return;
  }
  if (persist) {
    tcb.is.probe_due = true;
  } else {
    counters_.add(Counter::tcp_timeouts);
    if (tcb.synchronized()) {
      const auto in_flight = static_cast<std::uint32_t>(tcb.snd.max - tcb.snd.una);
      tcb.cc.on_timeout({.in_flight = in_flight, .now = now_}, tcb.retries == 1);
      tcb.recover = tcb.snd.max;  // RFC 6582 4: no fast retransmit for what this repairs
      tcb.is.recover_valid = true;
      tcb.is.in_recovery = false;
      tcb.is.retransmit_due = false;
      tcb.dup_acks = 0;
    }
    tcb.is.rtt_timing = false;     // Karn (MUST-18)
    tcb.snd.nxt = tcb.snd.una;
  }
  constexpr std::uint8_t backoff_max = 20;  // rto_max caps it long before
  tcb.backoff = std::min<std::uint8_t>(static_cast<std::uint8_t>(tcb.backoff + 1), backoff_max);
  restart_rto(tcb);
  mark_dirty(tcb);
}

void Tcp::on_idle_timeout(Tcb& tcb) noexcept {
  if (tcb.is.app_closed && tcb.state == TcpState::fin_wait_2) {
    // Nobody waits for the peer's FIN any more.
    finish(tcb, CloseReason::timed_out);
    return;
  }
  if (!tcb.is.keepalive) return;
  // RFC 9293 MUST-26: only when nothing is outstanding and nothing arrived within the interval.
  const TimePoint due = tcb.last_received + tcb.options->keepalive_idle;
  if (tcb.keepalives_sent == 0 && due > now_) {
    set_deadline(tcb, tcb.idle_deadline, due);
    return;
  }
  if (tcb.snd.max != tcb.snd.una || tcb.queue.size() != 0) {
    set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_idle);
    return;
  }
  if (tcb.keepalives_sent >= tcb.options->keepalive_count) {
    counters_.add(Counter::tcp_abort_timeout);
    send_reset(tcb);
    finish(tcb, CloseReason::timed_out);
    return;
  }
  ++tcb.keepalives_sent;
  tcb.is.keepalive_due = true;
  mark_dirty(tcb);
  set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_interval);
}

}  // namespace pollux
