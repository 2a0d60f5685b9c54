// What an acceptable ACK changes: the send window, the queue, round trips, congestion, our FIN's fate.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

// RFC 9293 3.10.7.4 fifth: SND.WL1 and SND.WL2 keep an old segment from changing the window. A segment that
// acknowledges more is newer, whatever it retransmits: were its window left aside, SND.UNA + SND.WND would move beyond
// what the peer offers.
void Tcp::update_window(Tcb& tcb, const Segment& seg) noexcept {
  SendSpace& snd = tcb.snd;
  if (seg.ack.before(snd.una)) return;
  if (!(snd.wl2.before(seg.ack) || (snd.wl2 == seg.ack && snd.wl1.before_eq(seg.seq)))) return;
  const std::uint32_t window = seg.window << tcb.send_scale;
  snd.wl1 = seg.seq;
  snd.wl2 = seg.ack;
  if (window == snd.wnd) return;
  const bool opened = window > snd.wnd;
  if (snd.wnd == 0 && opened) {
    // The probes are over: what the timer waits for now is an ordinary retransmission.
    tcb.backoff = tcb.retries = 0;
    tcb.rto_deadline = snd.max == snd.una ? TimePoint::never() : tcb.rto_deadline;
    if (snd.max != snd.una) restart_rto(tcb);
  }
  snd.wnd = window;
  snd.wnd_max = std::max(snd.wnd_max, window);
  if (opened && tcb.queue.size() != 0) mark_dirty(tcb);
}

void Tcp::acknowledged(Tcb& tcb, const Segment& seg) noexcept {
  SendSpace& snd = tcb.snd;
  const auto acked = static_cast<std::uint32_t>(seg.ack - snd.una);
  const std::uint32_t data = std::min(acked, tcb.queue.size());
  const bool fin_acked = acked > data;
  const bool held_window = tcb.queue.size() > tcb.options->send_buffer;

  sample_rtt(tcb, seg);
  tcb.queue.acknowledge(data);
  snd.una = seg.ack;
  snd.nxt = seq_max(snd.nxt, snd.una);  // the peer had what we were about to send again
  tcb.retries = 0;
  tcb.is.soft_error_told = false;
  tcb.progress = now_;
  update_recovery(tcb, acked);
  if (snd.una == snd.max) {
    tcb.rto_deadline = TimePoint::never();  // RFC 6298 5.2
    tcb.backoff = 0;
  } else {
    restart_rto(tcb);  // RFC 6298 5.3
  }
  ip_.confirm(tcb.route, now_);
  if (tcb.queue.size() != 0 || (tcb.is.fin_queued && !fin_acked)) mark_dirty(tcb);
  if (held_window) consider_window_update(tcb);
  if (fin_acked) our_fin_acknowledged(tcb);
  if (tcb.is.want_writable && send_space(tcb) >= tcb.options->send_buffer / 3) {
    tcb.is.want_writable = false;
    tcb.handler->on_writable(handle_of(tcb));
  }
}

void Tcp::sample_rtt(Tcb& tcb, const Segment& seg) noexcept {
  if (tcb.is.rtt_timing) {
    if (seg.ack.before(tcb.rtt_seq)) return;
    tcb.is.rtt_timing = false;
    tcb.rtt.sample(now_ - tcb.rtt_start);
    tcb.backoff = 0;
  } else if (tcb.backoff != 0 && tcb.is.timestamps && seg.has_timestamp && seg.ts_echo != 0) {
    // RFC 7323 4: the echo tells which transmission was answered, so Karn's ambiguity is gone.
    const std::uint32_t elapsed_ms = now_ms() + tcb.ts_offset - seg.ts_echo;
    constexpr std::uint32_t plausible_ms_max = 10 * 60 * 1000;
    if (elapsed_ms > plausible_ms_max) return;
    tcb.rtt.sample(Duration::from_ms(elapsed_ms));
    tcb.backoff = 0;
  }
}

void Tcp::update_recovery(Tcb& tcb, std::uint32_t acked) noexcept {
  const SendSpace& snd = tcb.snd;
  const CcAck ack{.acked = acked, .in_flight = static_cast<std::uint32_t>(snd.max - snd.una),
                  .window_limited = tcb.is.cwnd_limited, .now = now_};
  tcb.dup_acks = 0;
  if (tcb.is.in_recovery) {
    if (snd.una.after_eq(tcb.recover)) {
      tcb.is.in_recovery = false;
      tcb.cc.on_recovery_exit({.in_flight = ack.in_flight, .now = now_});
    } else {
      // RFC 6582 3.2 step 3: a partial ACK means that the next segment is lost too.
      tcb.cc.on_recovery_partial_ack(ack);
      tcb.is.retransmit_due = true;
    }
  } else {
    tcb.cc.on_ack(ack);
  }
  if (tcb.is.recover_valid && !tcb.is.in_recovery && snd.una.after(tcb.recover + 1)) tcb.is.recover_valid = false;
}

void Tcp::duplicate_ack(Tcb& tcb) noexcept {
  constexpr std::uint8_t threshold = 3;  // RFC 5681 3.2
  counters_.add(Counter::tcp_dup_acks_in);
  if (tcb.dup_acks != 0xff) ++tcb.dup_acks;
  mark_dirty(tcb);  // limited transmit (RFC 3042) or the inflated window may let new data go
  if (tcb.is.in_recovery) {
    tcb.cc.on_recovery_dup_ack();
    return;
  }
  // RFC 6582 3.2 step 1: not again for losses of the window that was already repaired.
  if (tcb.dup_acks != threshold || tcb.is.recover_valid) return;
  counters_.add(Counter::tcp_fast_retrans);
  tcb.cc.on_recovery_enter({.in_flight = static_cast<std::uint32_t>(tcb.snd.max - tcb.snd.una), .now = now_});
  tcb.is.in_recovery = true;
  tcb.is.recover_valid = true;
  tcb.recover = tcb.snd.max;
  tcb.is.retransmit_due = true;
  tcb.is.rtt_timing = false;  // Karn
}

void Tcp::our_fin_acknowledged(Tcb& tcb) noexcept {
  switch (tcb.state) {
    case TcpState::fin_wait_1:
      tcb.state = TcpState::fin_wait_2;
      // RFC 9293 lets FIN-WAIT-2 last for ever; once the application has let go, nobody would end it.
      if (tcb.is.app_closed) set_deadline(tcb, tcb.idle_deadline, now_ + options_.fin_wait_2_max);
      break;
    case TcpState::closing:
      enter_time_wait(tcb);
      break;
    case TcpState::last_ack:
      finish(tcb, CloseReason::normal);
      break;
    default:
      break;
  }
}

}  // namespace pollux
