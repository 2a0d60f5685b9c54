// What an acceptable ACK changes: the send window, the queue, round trips, our FIN's fate.
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
    tcb.rto_deadline = TimePoint::never();
    if (!tcb.board.empty()) restart_rto(tcb);
  }
  snd.wnd = window;
  tcb.wnd_max = std::max(tcb.wnd_max, window);
  if (opened && tcb.queue.size() != 0) mark_dirty(tcb);
}

// The ACK is within SND.UNA - 1 .. SND.MAX.
void Tcp::process_ack(Tcb& tcb, const Segment& seg) noexcept {
  SendSpace& snd = tcb.snd;
  AckEvent event;
  event.acked = static_cast<std::uint32_t>(seg.ack - snd.una);
  // RFC 5681 2: a duplicate carries nothing and changes nothing while something is outstanding. Answers to probes of a
  // closed window tell of no loss.
  event.duplicate = event.acked == 0 && seg.length == 0 && !seg.flags.has(TcpFlags::fin) && !tcb.board.empty() &&
                    snd.wnd != 0 && seg.window << tcb.send_scale == snd.wnd;
  if (event.duplicate) counters_.add(Counter::tcp_dup_acks_in);
  if (seg.options != nullptr && tcb.is.sack) take_sacks(tcb, seg, event);
  // RFC 3168 6.1.2: an echoed mark tells of the flight; there is none when all was acknowledged before.
  if (seg.flags.has(TcpFlags::ece)) [[unlikely]] event.ece = tcb.is.ecn && !tcb.board.empty();
  if (event.acked == 0 && !event.duplicate && !event.dsack && event.delivery.octets == 0 && !event.ece) return;

  const std::uint32_t data = std::min(event.acked, tcb.queue.size());
  const bool fin_acked = event.acked > data;
  const bool held_window = overdraft(tcb) != 0;
  if (event.acked != 0) {
    tcb.queue.acknowledge(data);
    if (held_window) {
      std::uint32_t& left = extras_[tcb.extras].overdraft;
      left -= std::min(left, data);
    }
    snd.una = seg.ack;
    snd.nxt = seq_max(snd.nxt, snd.una);  // the peer took a probe's octet
    tcb.board.acknowledge(sent_, disorder_of(tcb), snd.una, event.delivery);
    tcb.retries = 0;
    tcb.is.soft_error_told = false;
    note_busy(tcb);
    tcb.progress = now_;
  }
  sample_rtt(tcb, seg, event.delivery, event.dsack);
  if (event.delivery.has_last) {
    NewestDelivery& newest = newest_delivery_[tcb.route.interface];
    if (event.delivery.last_sent >= newest.sent_at) newest = {event.delivery.last_sent, now_};
  }
  if (tcb.is.dctcp && event.acked != 0) extras_of(tcb).marks.on_ack(event.acked, event.ece, snd.una, snd.nxt);
  // Without timestamps a long repair of retransmissions gives no sample (Karn), and the backed-off timer would be paid for
  // each further loss. Progress takes the back-off down step by step; a path that became slower raises it again.
  if (event.acked != 0 && tcb.backoff != 0 && tcb.loss().mode == RecoveryMode::loss) --tcb.backoff;
  update_recovery(tcb, event);
  if (event.acked != 0) {
    if (tcb.extras != Slab<ConnExtras>::nil && extras_[tcb.extras].probe_mss != 0) [[unlikely]] consider_mtu_probe(tcb);
    if (Disturbance* const own = disturbance_of(tcb)) own->rate.on_ack(snd.una, snd.nxt, now_);
    if (tcb.board.empty()) {
      tcb.rto_deadline = TimePoint::never();  // RFC 6298 5.2
      tcb.backoff = 0;
    } else if (tcb.timer_kind == TimerKind::retransmission) {
      watch_flight(tcb);  // RFC 6298 5.3; one that is watched already is judged by its last progress
    }
    ip_.confirm(tcb.route, now_);
  }
  if (tcb.queue.size() != 0 || (tcb.is.fin_queued && !fin_acked)) mark_dirty(tcb);
  if (held_window) consider_window_update(tcb);
  if (fin_acked) our_fin_acknowledged(tcb);
  if (tcb.is.want_writable && tcb.state != TcpState::closed && is_writable(tcb)) {
    tcb.is.want_writable = false;
    note_limit(tcb);
    tcb.handler->on_writable(handle_of(tcb));
  }
}

// Something has been outstanding since the last progress.
void Tcp::note_busy(Tcb& tcb) const noexcept {
  const std::int64_t ticks = (now_.ns() >> Tcb::busy_tick_shift) - (tcb.progress.ns() >> Tcb::busy_tick_shift);
  if (ticks > 0) [[unlikely]] tcb.busy_ticks += static_cast<std::uint32_t>(ticks);
}

// RFC 2018 4; RFC 2883 4: the first block may report a duplicate arrival.
void Tcp::take_sacks(Tcb& tcb, const Segment& seg, AckEvent& event) noexcept {
  const TcpOptionValues& options = *seg.options;
  for (std::uint8_t i = 0; i < options.sack_count; ++i) {
    const SackBlock& block = options.sacks[i];
    if (!block.left.before(block.right) || block.right.after(tcb.snd.max)) continue;  // a lie, or long ago
    if (i == 0) {
      const bool below = block.right.before_eq(seg.ack);
      const bool inside = options.sack_count > 1 && block.left.after_eq(options.sacks[1].left) &&
                          block.right.before_eq(options.sacks[1].right);
      event.dsack = below || inside;
      if (event.dsack) {
        const auto octets = static_cast<std::uint32_t>(block.right - block.left);
        if (tcb.loss().may_undo && block.left.after_eq(tcb.loss().mark)) event.needless = (octets + tcb.mss - 1) / tcb.mss;
        continue;
      }
    }
    if (block.right.after(seg.ack)) tcb.board.sack(sent_, disturb(tcb).disorder, block.left, block.right, event.delivery);
  }
}

void Tcp::sample_handshake_rtt(Tcb& tcb) noexcept {
  // Karn: only of a SYN that was sent once; and not of a SYN cookie, whose time is not known.
  if (tcb.retries != 0 || tcb.progress.is_never()) return;
  tcb.rtt.sample(now_ - tcb.progress);
  tcb.rtt.note_min(now_ - tcb.progress);
}

void Tcp::sample_rtt(Tcb& tcb, const Segment& seg, const Delivery& delivery, bool dsack) noexcept {
  // RFC 6298 3 (Karn), and what follows from it: an ACK that a retransmission has brought about comes late for all that it
  // covers. Taken for their round trips, lost ACKs would feed the back-off they cause.
  if (delivery.has_sample && !delivery.retransmitted) {
    tcb.rtt.sample(now_ - delivery.first_sent);
    tcb.backoff = 0;
  } else if (delivery.octets != 0 && tcb.backoff != 0 && !dsack && tcb.is.timestamps && seg.has_timestamp &&
             seg.ts_echo != 0) {
    // RFC 7323 4: the echo tells which transmission was answered, so Karn's ambiguity is gone. Not when a duplicate is
    // answered: its timestamp is not taken (RFC 7323 5.3), and the echo is as old as the ACK that was lost.
    const std::uint32_t elapsed_ms = now_ms() + tcb.ts_offset - seg.ts_echo;
    constexpr std::uint32_t plausible_ms_max = 10 * 60 * 1000;
    if (elapsed_ms > plausible_ms_max) return;
    tcb.rtt.sample(Duration::from_ms(elapsed_ms));
    tcb.backoff = 0;
  }
}

void Tcp::our_fin_acknowledged(Tcb& tcb) noexcept {
  switch (tcb.state) {
    case TcpState::fin_wait_1:
      enter(tcb, TcpState::fin_wait_2);
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
