// Loss detection and recovery: RACK (RFC 8985) with SACK, duplicate ACKs (RFC 5681, RFC 6582) without, PRR (RFC 9937) in
// both, tail loss probes (RFC 8985 7).
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

[[gnu::cold, gnu::noinline]] Disturbance& Tcp::make_disturbance(Tcb& tcb) noexcept {
  const std::uint32_t index = disturbances_.emplace();
  POLLUX_CHECK(index != Slab<Disturbance>::nil, "as many disturbances as connections");
  Disturbance& own = disturbances_[index];
  own.cc = new_controller(tcb);
  tcb.disturbance = &own;
  return own;
}

// BBR's is start_model()'s: its state lies elsewhere.
CongestionControl Tcp::new_controller(const Tcb& tcb) noexcept {
  return tcb.options->congestion == TcpCongestion::cubic ? CongestionControl(Cubic(tcb.mss, tcb.first_cwnd))
                                                         : CongestionControl(NewReno(tcb.mss, tcb.first_cwnd));
}

// An ACK of new data in a flight without gaps leaves nothing behind that could be lost.
void Tcp::update_recovery(Tcb& tcb, AckEvent& event) noexcept {
  const bool plain = event.acked != 0 && !event.dsack && !event.ece;
  if (tcb.is_undisturbed() && plain) [[likely]] {
    if (event.delivery.has_last) tcb.rtt.note_min(now_ - event.delivery.last_sent);
    if (tcb.is.cwnd_limited) tell_congestion_control(tcb, event, event.acked);
    return;
  }
  Disturbance& own = disturb(tcb);
  const LossRecovery& loss = own.loss;
  const bool settled = loss.mode == RecoveryMode::open && tcb.is.sack && own.disorder.sacked() == 0 && !loss.recover_valid &&
                       !loss.probe_sent && !loss.in_cwr && !loss.by_model;
  if (settled && plain) [[likely]] {
    own.loss.rack.on_delivery(event.delivery, now_, tcb.rtt);
    tell_congestion_control(tcb, event, event.acked);
    return;
  }
  update_disturbed(tcb, event);
}

void Tcp::update_disturbed(Tcb& tcb, AckEvent& event) noexcept {
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  if (undo_if_needless(tcb, event)) {
    if (event.dsack) loss.rack.on_dsack(tcb.snd.una, tcb.snd.nxt);
    loss.rack.on_delivery(event.delivery, now_, tcb.rtt);
    if (loss.by_model) tell_model(tcb, event);
    return;
  }
  const RecoveryMode mode_before = loss.mode;
  const std::uint32_t to_repair = own.disorder.to_repair();
  const bool more_lost = detect_loss(tcb, event) && !take_lost_mtu_probe(tcb);
  if (loss.by_model) note_losses(tcb, to_repair);
  check_tail_probe(tcb, event);
  if (loss.mode != RecoveryMode::open && tcb.snd.una.after_eq(loss.recover)) {
    if (loss.by_model) {
      model_of(tcb).bbr.on_recovered();
    } else if (loss.mode == RecoveryMode::recovery) {
      own.cc.set_cwnd(std::max(own.cc.ssthresh(), std::uint32_t{tcb.mss}));  // RFC 9937 6: what the reduction was for
    }
    if (loss.mode == RecoveryMode::recovery) loss.rack.on_recovery_exit();
    loss.mode = RecoveryMode::open;
    loss.dup_acks = 0;
    note(tcb, FlightEvent::recovered);
  }
  if (loss.recover_valid && loss.mode == RecoveryMode::open && tcb.snd.una.after(loss.recover + 1))
    loss.recover_valid = false;

  if (loss.mode == RecoveryMode::open && more_lost) enter_recovery(tcb, event);
  // Marks of the window that was reduced are echoed until the peer has seen our CWR, which lies beyond it.
  if (loss.in_cwr && tcb.snd.una.after(loss.cwr_end)) loss.in_cwr = false;
  const bool undiminished = mode_before == RecoveryMode::open && loss.mode == RecoveryMode::open && !loss.in_cwr;
  if (event.ece && undiminished) enter_cwr(tcb, event);
  if (loss.by_model) {
    tell_model(tcb, event);
  } else if (loss.in_cwr && tcb.snd.una == loss.cwr_end) {
    own.cc.set_cwnd(std::max(own.cc.ssthresh(), std::uint32_t{tcb.mss}));
    mark_dirty(tcb);
  } else if (loss.mode == RecoveryMode::recovery || loss.in_cwr) {
    const bool safe = event.acked != 0 && !more_lost;
    own.cc.set_cwnd(loss.prr.window(event.delivery.octets, tcb.in_flight(), own.cc.ssthresh(), tcb.mss, safe));
    mark_dirty(tcb);
  } else if (event.acked != 0 && mode_before != RecoveryMode::recovery) {
    // RFC 3465 2.3: while a timeout is repaired an ACK counts for one segment at most: what it covers may have arrived
    // long before.
    tell_congestion_control(tcb, event, mode_before == RecoveryMode::loss ? std::min(event.acked, std::uint32_t{tcb.mss}) : event.acked);
  } else {
    mark_dirty(tcb);  // RFC 3042 limited transmit: what arrived out of order left the network
  }
}

/// True when the ACK shows that the last reduction was a mistake, which is then taken back.
bool Tcp::undo_if_needless(Tcb& tcb, const AckEvent& event) noexcept {
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  // RFC 3708 3: the peer has got everything twice that was sent again in this episode.
  if (loss.may_undo && loss.unproven != 0 && event.needless != 0) {
    loss.unproven = static_cast<std::uint16_t>(loss.unproven - std::min<std::uint32_t>(loss.unproven, event.needless));
    if (loss.unproven == 0) {
      counters_.add(Counter::tcp_dsack_undo);
      undo(tcb);
      return true;
    }
  }
  switch (loss.timeout_check) {
    case TimeoutCheck::none:
      return false;
    case TimeoutCheck::first_ack: {
      // RFC 5682 2.1 step 2: only an ACK of a part asks the question; new data brings the answer.
      const bool more = static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una) < std::min(tcb.queue.size(), tcb.snd.wnd);
      const bool part = event.acked != 0 && tcb.snd.una.before(loss.recover);
      loss.timeout_check = part && more ? TimeoutCheck::second_ack : TimeoutCheck::none;
      return false;
    }
    case TimeoutCheck::second_ack:
      loss.timeout_check = TimeoutCheck::none;
      if (event.acked != 0 && event.delivery.has_sample) {
        // Step 3b: what was sent once, before the timeout, arrived.
        counters_.add(Counter::tcp_spurious_rtos);
        undo(tcb);
        return true;
      }
      own.cc.set_cwnd(std::min(own.cc.cwnd(), 3u * tcb.mss));  // step 3a
      return false;
  }
  return false;
}

void Tcp::undo(Tcb& tcb) noexcept {
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  loss.mode = RecoveryMode::open;
  loss.timeout_check = TimeoutCheck::none;
  note(tcb, FlightEvent::recovered);
  loss.may_undo = loss.recover_valid = false;
  tcb.is.cwr_due = false;
  loss.dup_acks = 0;
  tcb.board.unmark_all_lost(sent_, own.disorder);
  own.cc.undo();
  mark_dirty(tcb);
}

void Tcp::tell_congestion_control(Tcb& tcb, const AckEvent& event, std::uint32_t acked) noexcept {
  const Delivery& delivery = event.delivery;
  disturb(tcb).cc.on_ack({.acked = acked, .window_limited = tcb.is.cwnd_limited, .paced = tcb.is.paced,
                 .rtt = delivery.has_last && !delivery.last_retransmitted ? now_ - delivery.last_sent : Duration{},
                 .srtt = tcb.rtt.srtt(), .una = tcb.snd.una, .nxt = tcb.snd.nxt, .now = now_});
}

/// True when something was newly found lost.
bool Tcp::detect_loss(Tcb& tcb, AckEvent& event) noexcept {
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  if (!tcb.is.sack) return detect_loss_by_duplicates(tcb, event);
  if (event.dsack) loss.rack.on_dsack(tcb.snd.una, tcb.snd.nxt);
  loss.rack.on_delivery(event.delivery, now_, tcb.rtt);
  // Cumulative ACKs of an undisturbed flight leave nothing behind that RACK could find lost.
  if (own.disorder.sacked() == 0 && loss.mode == RecoveryMode::open) return false;
  const std::uint32_t before = own.disorder.lost();
  const Duration wait =
      loss.rack.detect(tcb.board, own.disorder, sent_, now_, tcb.rtt, loss.mode != RecoveryMode::open, tcb.mss, newest_lost_);
  if (wait > Duration{}) {
    tcb.timer_kind = TimerKind::reordering;
    set_deadline(tcb, tcb.rto_deadline, now_ + wait);
  } else if (tcb.timer_kind == TimerKind::reordering) {
    tcb.timer_kind = TimerKind::retransmission;
    if (!tcb.board.empty()) restart_rto(tcb);
  }
  return own.disorder.lost() > before;
}

bool Tcp::detect_loss_by_duplicates(Tcb& tcb, AckEvent& event) noexcept {
  constexpr std::uint8_t threshold = 3;  // RFC 5681 3.2
  constexpr std::uint8_t dup_acks_max = 250;
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  loss.rack.on_delivery(event.delivery, now_, tcb.rtt);
  if (event.duplicate) {
    if (loss.dup_acks < dup_acks_max) ++loss.dup_acks;
    event.delivery.octets = tcb.mss;  // RFC 9937 6: a duplicate says that one segment arrived
    // RFC 6582 3.2 step 1: not again for losses of the window that was already repaired.
    if (loss.dup_acks != threshold || loss.mode != RecoveryMode::open || loss.recover_valid) return false;
  } else if (event.acked != 0) {
    // What the duplicates stood for is acknowledged now, and was counted as delivered then.
    const std::uint32_t segments = event.acked / tcb.mss;
    const std::uint32_t counted = std::min<std::uint32_t>(loss.dup_acks, segments > 0 ? segments - 1 : 0);
    loss.dup_acks = static_cast<std::uint8_t>(loss.dup_acks - counted);
    event.delivery.octets -= std::min(event.delivery.octets, counted * tcb.mss);
    if (loss.mode == RecoveryMode::open) loss.dup_acks = 0;
    // RFC 6582 3.2 step 3: a partial ACK means that the next segment is lost too.
    if (loss.mode != RecoveryMode::recovery || tcb.snd.una.after_eq(loss.recover)) return false;
  } else {
    return false;
  }
  const std::uint32_t first = tcb.board.first();
  if (first == Scoreboard::nil || (sent_[first].lost && !sent_[first].in_flight_again)) return false;
  if (event.acked != 0 && sent_[first].in_flight_again) return false;
  tcb.board.mark_lost(sent_, own.disorder, first);
  newest_lost_ = first;
  return true;
}

void Tcp::enter_recovery(Tcb& tcb, const AckEvent& event) noexcept {
  LossRecovery& loss = disturbance_of(tcb)->loss;
  counters_.add(Counter::tcp_fast_retrans);
  note(tcb, FlightEvent::fast_recovery, 0, tcb.disorder().lost());
  loss.begin_episode(tcb.snd.una);
  loss.mode = RecoveryMode::recovery;
  loss.recover = tcb.snd.max;
  loss.recover_valid = true;
  // RFC 3168 6.1.2: not again for the window that congestion marks have reduced already. What marks speak of was no mistake.
  if (loss.in_cwr || event.ece) loss.may_undo = false;
  if (!loss.in_cwr) reduce_window(tcb, event);
  loss.in_cwr = false;
  mark_dirty(tcb);
}

// RFC 9937 6: the reduction is spread over a round trip.
void Tcp::reduce_window(Tcb& tcb, const AckEvent& event) noexcept {
  tcb.is.cwr_due = tcb.is.ecn;
  Disturbance& own = *disturbance_of(tcb);
  if (own.loss.by_model) {
    PathModel& model = model_of(tcb);
    if (own.loss.in_cwr) {
      model.bbr.on_mark(tcb.in_flight(), model.rate.delivered(), now_);
    } else {
      model.bbr.on_recovery();
    }
    return;
  }
  const std::uint32_t flight = tcb.board.outstanding() - own.disorder.sacked() + event.delivery.octets;
  CcLoss loss{.in_flight = tcb.board.outstanding() + event.acked, .now = now_};
  // RFC 8257 3.3: marks take as much of the window as they are many; 3.5: losses what they always take.
  if (tcb.is.dctcp && own.loss.in_cwr) loss = {.in_flight = own.cc.cwnd(), .share = extras_of(tcb).marks.alpha(), .now = now_};
  own.cc.on_congestion(loss);
  own.loss.prr.start(flight);
}

// RFC 8985 7.4.2: did the probe repair a loss that nobody noticed?
void Tcp::check_tail_probe(Tcb& tcb, const AckEvent& event) noexcept {
  Disturbance& own = *disturbance_of(tcb);
  LossRecovery& loss = own.loss;
  if (!loss.probe_sent || tcb.snd.una.before(loss.mark)) return;
  if (loss.probe_was_retransmission && !event.dsack) {
    if (event.acked != 0 && tcb.snd.una == loss.mark) return;  // a D-SACK may yet say that the original arrived
    if (tcb.snd.una.after(loss.mark) && !loss.in_cwr) {
      // New data was acknowledged and no D-SACK came: the probe replaced a lost segment, which asks for a response.
      own.cc.on_congestion({.in_flight = tcb.board.outstanding() + event.acked, .now = now_});
      if (!loss.by_model) own.cc.set_cwnd(own.cc.ssthresh());
      tcb.is.cwr_due = tcb.is.ecn;
    }
  }
  loss.probe_sent = false;
}

// RFC 8985 6.3: the wait for reordered segments is over.
void Tcp::on_reordering_timeout(Tcb& tcb) noexcept {
  AckEvent nothing;
  Disturbance& own = *disturbance_of(tcb);  // it has one since the timer was started
  tcb.timer_kind = TimerKind::retransmission;
  const std::uint32_t to_repair = own.disorder.to_repair();
  const bool more_lost = detect_loss(tcb, nothing) && !take_lost_mtu_probe(tcb);
  if (own.loss.by_model) note_losses(tcb, to_repair);
  if (more_lost && own.loss.mode == RecoveryMode::open) enter_recovery(tcb, nothing);
  if (own.loss.mode == RecoveryMode::recovery && !own.loss.by_model)
    own.cc.set_cwnd(own.loss.prr.window(0, tcb.in_flight(), own.cc.ssthresh(), tcb.mss, false));
  if (tcb.timer_kind == TimerKind::retransmission && !tcb.board.empty()) restart_rto(tcb);
  mark_dirty(tcb);
}

}  // namespace pollux
