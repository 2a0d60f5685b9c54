// Timers: retransmission (RFC 6298), persist and probes (RFC 9293 3.8.6.1), delayed ACK, keepalive (3.8.4), user
// timeout (3.9.1), FIN-WAIT-2, TIME-WAIT. Each connection has one node in the wheel, armed at or before its earliest
// deadline: a deadline that moves later costs nothing until the node fires.
#include <algorithm>
#include <utility>

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

// RFC 6298 5.1, 5.3: when what has been outstanding since `since` has timed out.
TimePoint Tcp::rto_expiry(const Tcb& tcb, TimePoint since) const noexcept {
  const TimePoint when = since + current_rto(tcb);
  // The user timeout ends the connection on time, not at the retransmission after it.
  const Duration limit = tcb.options->user_timeout;
  return limit == Duration{} ? when : std::min(when, tcb.progress + limit);
}

void Tcp::restart_rto(Tcb& tcb) noexcept {
  tcb.timer_kind = TimerKind::retransmission;
  set_deadline(tcb, tcb.rto_deadline, std::max(rto_expiry(tcb, now_), now_ + TimerWheel::tick));
}

// RFC 6298 5.1 and 5.3, RFC 8985 7.2, mostly at the price of a comparison: which is due when, probe or timeout, is worked
// out when the timer fires, and it fires no later than either could be due.
void Tcp::watch_flight(Tcb& tcb) noexcept {
  tcb.timer_kind = TimerKind::flight;
  if (tcb.is_armed() && tcb.deadline <= now_ + answer_min()) [[likely]] {
    tcb.rto_deadline = tcb.deadline;
    return;
  }
  const TimePoint rto_at = rto_expiry(tcb, tcb.progress);
  set_deadline(tcb, tcb.rto_deadline, wants_tail_probe(tcb) ? std::min(rto_at, now_ + answer_max(tcb)) : rto_at);
}

// A tail loss probe comes before the timeout when an undisturbed flight's last ACKs stay away.
bool Tcp::wants_tail_probe(const Tcb& tcb) noexcept {
  return tcb.is.sack && tcb.synchronized() && tcb.loss().mode == RecoveryMode::open && !tcb.loss().probe_sent &&
         tcb.disorder().sacked() == 0 && tcb.backoff == 0 && tcb.snd.wnd != 0;
}

// Two round trips; not sooner than a host that was busy elsewhere for a moment: 10 ms with the usual minimum RTO. A second
// where no round trip is known, after a handshake that had to repeat itself (RFC 8985 7.2).
Duration Tcp::answer_max(const Tcb& tcb) const noexcept {
  return tcb.rtt.has_sample() ? std::max(tcb.rtt.srtt() * 2, answer_min()) : Duration::from_s(1);
}

// RFC 8985 7.2
TimePoint Tcp::tail_probe_time(const Tcb& tcb) const noexcept {
  constexpr Duration peer_delayed_ack_max = Duration::from_ms(200);  // TLP.max_ack_delay
  const TimePoint when = std::max(sent_[tcb.board.last()].sent_at, tcb.progress) + answer_max(tcb);
  // Less than two full segments may wait for the peer's delayed ACK.
  return tcb.board.outstanding() < 2u * tcb.mss ? when + peer_delayed_ack_max : when;
}

// `due`: when the timer was to fire. After a standstill the probe that came first is not skipped.
void Tcp::on_flight_timer(Tcb& tcb, TimePoint due) noexcept {
  POLLUX_DCHECK(!tcb.board.empty());
  const TimePoint rto_at = rto_expiry(tcb, tcb.progress);
  if (rto_at <= due) {
    on_retransmission_timeout(tcb);
    return;
  }
  TimePoint probe_at = wants_tail_probe(tcb) ? tail_probe_time(tcb) : TimePoint::never();
  if (probe_at <= now_ && path_is_slow(tcb)) probe_at = now_ + answer_max(tcb);
  if (probe_at <= now_) {
    tcb.is.tail_probe_due = true;
    restart_rto(tcb);  // RFC 8985 7.3: the probe is given its own time
    mark_dirty(tcb);
    return;
  }
  set_deadline(tcb, tcb.rto_deadline, std::min(probe_at, rto_at));
}

// A queue that many connections fill at once grows faster than any of them can learn from its own round trips. Their
// deliveries together tell: while what comes in answers segments that were sent before this connection's last one, that
// one may be in the queue still, and a probe would repeat it for nothing.
bool Tcp::path_is_slow(const Tcb& tcb) const noexcept {
  constexpr Duration peer_held_ack_max = Duration::from_ms(50);  // Linux holds ACKs for 40 ms while nobody reads
  const NewestDelivery& newest = newest_delivery_[tcb.route.interface];
  const bool alive = now_ - newest.acked_at < answer_max(tcb) / 2;
  return alive && newest.sent_at < sent_[tcb.board.last()].sent_at + peer_held_ack_max;
}

void Tcp::arm_keepalive(Tcb& tcb) noexcept {
  if (tcb.is.app_closed) return;  // then the deadline is that of close()
  if (!tcb.is.keepalive || !tcb.synchronized()) {
    tcb.idle_deadline = TimePoint::never();
    return;
  }
  set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_idle);
}

inline bool Tcp::has_expired_time_wait() const noexcept {
  return time_wait_.oldest() != TimeWaitTable::nil && time_wait_[time_wait_.oldest()].expiry <= now_;
}

void Tcp::advance(TimePoint now) noexcept {
  set_now(now);
  timers_pending_ = false;
  if (has_expired_time_wait()) expire_time_wait();
  if (!timers_.advance(now, timers_per_advance, [this](TimerNode& node) { on_timer(static_cast<Tcb&>(node)); }))
    timers_pending_ = true;
  if (timers_pending_) [[unlikely]] counters_.add(Counter::timers_behind);
}

void Tcp::expire_time_wait() noexcept {
  for (std::uint32_t budget = timers_per_advance; budget > 0 && has_expired_time_wait(); --budget) {
    const std::uint32_t index = time_wait_.oldest();
    remove_flow(time_wait_[index].key, time_wait_[index].hash, index | time_wait_tag);
    time_wait_.remove(index);
  }
  timers_pending_ = has_expired_time_wait();
}

TimePoint Tcp::next_deadline() const noexcept {
  if (timers_pending_) return now_;
  TimePoint next = timers_.next_deadline();
  // What a device holds of the application's memory it gives back without a packet that would wake a loop.
  constexpr Duration look_for_completion = Duration::from_ms(1);
  if (external_.pending() != 0) next = std::min(next, now_ + look_for_completion);
  if (dirty_count_ != 0) next = std::min(next, std::max(blocked_until_, now_));
  if (time_wait_.oldest() != TimeWaitTable::nil) next = std::min(next, time_wait_[time_wait_.oldest()].expiry);
  return next;
}

void Tcp::on_timer(Tcb& tcb) noexcept {
  if (tcb.extras != Slab<ConnExtras>::nil) consider_full_mtu(tcb);
  if (tcb.ack_deadline <= now_) {
    tcb.ack_deadline = TimePoint::never();
    if (tcb.is.ack_pending) {
      counters_.add(Counter::tcp_delayed_acks);
      tcb.is.ack_now = true;
      mark_dirty(tcb);
    }
  }
  if (tcb.rto_deadline <= now_) {
    const TimePoint due = std::exchange(tcb.rto_deadline, TimePoint::never());
    on_retransmission_timer(tcb, due);
    if (tcb.state == TcpState::closed) return;
  }
  if (tcb.idle_deadline <= now_) {
    tcb.idle_deadline = TimePoint::never();
    on_idle_timeout(tcb);
    if (tcb.state == TcpState::closed) return;
  }
  TimePoint next = std::min({tcb.ack_deadline, tcb.rto_deadline, tcb.idle_deadline});
  if (tcb.is.paced) {
    on_pacing_timer(tcb);
    next = std::min(next, extras_of(tcb).pacer.resume_at());
  }
  if (!next.is_never()) timers_.arm(tcb, next);
}

void Tcp::on_retransmission_timer(Tcb& tcb, TimePoint due) noexcept {
  switch (tcb.timer_kind) {
    case TimerKind::flight:
      on_flight_timer(tcb, due);
      return;
    case TimerKind::reordering:
      on_reordering_timeout(tcb);
      return;
    case TimerKind::retransmission:
      on_retransmission_timeout(tcb);
      return;
  }
}

void Tcp::on_retransmission_timeout(Tcb& tcb) noexcept {
  const bool nothing_outstanding = tcb.board.empty();
  // A closed window is probed (RFC 9293 3.8.6.1), with data outstanding or not; a stalled window is overridden.
  const bool persist = tcb.synchronized() && tcb.queue.size() != 0 && (nothing_outstanding || tcb.snd.wnd == 0);
  const std::uint8_t retries_max = tcb.state == TcpState::syn_sent       ? tcb.options->syn_retries_max
                                   : tcb.state == TcpState::syn_received || tcb.is.fast_open_pending ? tcb.options->syn_ack_retries_max
                                                                         : tcb.options->retries_max;
  // RFC 9293 3.8.3 MUST-20: R2 closes the connection. A user timeout is R2 in time, longer or shorter; it can only shorten
  // the handshake.
  const Duration limit = tcb.options->user_timeout;
  const bool too_long = limit != Duration{} && now_ - tcb.progress >= limit;
  const bool too_often = tcb.retries >= retries_max && (limit == Duration{} || !tcb.synchronized());
  if (too_often || too_long) {
    counters_.add(Counter::tcp_abort_timeout);
    finish(tcb, CloseReason::timed_out);
    return;
  }
  if (tcb.retries != 0xff) ++tcb.retries;
  constexpr std::uint8_t r1 = 3;  // SHLD-10
  if (tcb.retries == r1 && !tcb.is.soft_error_told) {
    tcb.is.soft_error_told = true;
    tcb.route.generation = 0;  // negative advice: look the route up again
    if (tcb.is.active_open || tcb.is.connected) tcb.handler->on_soft_error(handle_of(tcb));
    if (tcb.state == TcpState::closed) return;
  }
  tcb.is.syn_ack_due = tcb.is.fast_open_pending;
  if (persist) {
    tcb.is.probe_due = true;
  } else if (tcb.is.fast_open_pending && nothing_outstanding) {
    counters_.add(Counter::tcp_timeouts);
  } else {
    counters_.add(Counter::tcp_timeouts);
    note(tcb, FlightEvent::timeout, tcb.retries);
    if (tcb.synchronized()) {
      Disturbance& own = disturb(tcb);
      LossRecovery& loss = own.loss;
      const bool fresh = loss.mode == RecoveryMode::open && tcb.retries == 1;
      consider_lower_mtu(tcb);
      // RFC 3168 6.1.2: ssthresh is lowered once for a window, by marks or by loss.
      own.cc.on_timeout({.in_flight = tcb.board.outstanding(), .now = now_}, tcb.retries == 1 && !loss.in_cwr);
      tcb.is.cwr_due = tcb.is.ecn;
      // RFC 2018 8: a peer whose first missing octet is one it had SACKed has thrown data away.
      const bool reneged = !tcb.board.empty() && sent_[tcb.board.first()].sacked;
      const std::uint32_t to_repair = own.disorder.to_repair();
      tcb.board.mark_all_lost(sent_, own.disorder, reneged);
      newest_lost_ = tcb.board.first();
      if (loss.by_model) note_losses(tcb, to_repair);
      loss.recover = tcb.snd.max;  // RFC 6582 4: no fast retransmit for what this repairs
      loss.recover_valid = true;
      loss.mode = RecoveryMode::loss;
      loss.dup_acks = 0;
      if (fresh) loss.begin_episode(tcb.snd.una);
      if (loss.in_cwr) loss.may_undo = false;
      loss.in_cwr = false;
      take_lost_mtu_probe(tcb);
      // RFC 5682 2.1 step 1: not while an earlier loss is repaired
      loss.timeout_check = loss.may_undo && fresh && !reneged ? TimeoutCheck::first_ack : TimeoutCheck::none;
      loss.probe_sent = false;
      tcb.is.tail_probe_due = false;
    } else {
      tcb.snd.nxt = tcb.snd.una;
    }
  }
  constexpr std::uint8_t backoff_max = 20;  // rto_max caps it long before
  tcb.backoff = std::min<std::uint8_t>(static_cast<std::uint8_t>(tcb.backoff + 1), backoff_max);
  restart_rto(tcb);
  mark_dirty(tcb);
}

void Tcp::on_idle_timeout(Tcb& tcb) noexcept {
  if (tcb.is.app_closed) {
    // Nobody waits for the peer's FIN any more; or what close() left to send has had its time.
    const bool lingered = tcb.state != TcpState::fin_wait_2 && tcb.options->linger != Duration{};
    if (lingered) {
      counters_.add(Counter::tcp_abort_linger);
      send_reset(tcb);
    }
    if (lingered || tcb.state == TcpState::fin_wait_2) {
      finish(tcb, CloseReason::timed_out);
      return;
    }
  }
  if (!tcb.is.keepalive) return;
  // RFC 9293 MUST-26: only when nothing is outstanding and nothing arrived within the interval.
  const TimePoint due = now_ - Duration::from_ms(now_ms() - tcb.last_received_ms) + tcb.options->keepalive_idle;
  if (tcb.keepalives_sent == 0 && due > now_) {
    set_deadline(tcb, tcb.idle_deadline, due);
    return;
  }
  if (!tcb.board.empty() || tcb.queue.size() != 0) {
    set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_idle);
    return;
  }
  // RFC 5482 4.2's aim, as Linux has it: a user timeout takes the place of the count.
  const Duration limit = tcb.options->user_timeout;
  const bool dead = limit == Duration{} ? tcb.keepalives_sent >= tcb.options->keepalive_count
                                        : tcb.keepalives_sent != 0 && Duration::from_ms(now_ms() - tcb.last_received_ms) >= limit;
  if (dead) {
    counters_.add(Counter::tcp_abort_timeout);
    send_reset(tcb);
    finish(tcb, CloseReason::timed_out);
    return;
  }
  if (tcb.keepalives_sent != 0xff) ++tcb.keepalives_sent;
  tcb.is.keepalive_due = true;
  mark_dirty(tcb);
  set_deadline(tcb, tcb.idle_deadline, now_ + tcb.options->keepalive_interval);
}

}  // namespace pollux
