// Segment arrival in SYN-RECEIVED and the synchronized states: RFC 9293 3.10.7.4, in its order. Each step passes
// the segment on, or names why it stops here.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

// Header prediction: the next in-order segment of an undisturbed connection.
bool Tcp::is_predicted(const Tcb& tcb, const Segment& seg) noexcept {
  constexpr std::uint8_t relevant = TcpFlags::fin | TcpFlags::syn | TcpFlags::rst | TcpFlags::ack | TcpFlags::urg |
                                    TcpFlags::ece | TcpFlags::cwr;
  return (seg.flags.bits & relevant) == TcpFlags::ack && seg.seq == tcb.rcv.nxt &&
         seg.length <= tcb.rcv.window() && seg.has_timestamp == tcb.is.timestamps &&
         (!tcb.is.timestamps || static_cast<std::int32_t>(seg.ts_value - tcb.ts_recent) >= 0) &&
         seg.ack.after_eq(tcb.snd.una) && seg.ack.before_eq(tcb.snd.max) &&
         (seg.length != 0 || seg.ack != tcb.snd.una) &&  // not what could be a duplicate ACK
         seg.options == nullptr &&                       // nor one that brings SACK blocks with its data
         seg.ecn != EcnCodepoint::ce && tcb.out_of_order().empty() && tcb.retries == 0 && !tcb.is.app_closed && !tcb.is.peer_fin_known &&
         !tcb.is.urgent_in && !tcb.is.fast_open_pending && !tcb.is.ece_due;
}

DropReason Tcp::fast_path(Tcb& tcb, Segment& seg) noexcept {
  counters_.add(Counter::tcp_fast_path);
  note_received(tcb);
  // RFC 7323 4.3: SEG.SEQ <= Last.ACK.sent, so that the oldest unacknowledged segment is echoed.
  if (tcb.rcv.unacked == 0) tcb.ts_recent = seg.ts_value;
  if (seg.ack != tcb.snd.una) {
    process_ack(tcb, seg);
    if (tcb.state == TcpState::closed) return DropReason::none;
  }
  update_window(tcb, seg);
  if (tcb.is.app_closed) [[unlikely]] return seg.length != 0 ? process_text(tcb, seg) : DropReason::none;
  if (seg.length == 0) return DropReason::none;
  if (must_refuse_text(tcb)) [[unlikely]] return DropReason::tcp_queue_limit;
  note_segment_size(tcb, seg);
  deliver(tcb, std::move(seg.payload));
  return DropReason::none;
}

DropReason Tcp::established_input(Tcb& tcb, Segment& seg) noexcept {
  if (auto drop = check_sequence(tcb, seg); drop != DropReason::none) return drop;  // first, and RFC 7323 5.3
  if (auto drop = check_reset(tcb, seg); drop != DropReason::none) return drop;     // second, RFC 5961 3
  if (auto drop = check_syn(tcb, seg); drop != DropReason::none) return drop;       // fourth, RFC 5961 4
  if (auto drop = check_ack(tcb, seg); drop != DropReason::none) return drop;       // fifth, RFC 5961 5
  if (tcb.state == TcpState::closed) return DropReason::none;
  if (seg.flags.has(TcpFlags::urg)) {  // sixth
    take_urgent(tcb, seg);
    if (tcb.state == TcpState::closed) return DropReason::none;
  }
  const bool may_be_marked = seg.length != 0 || seg.flags.has(TcpFlags::fin);  // a FIN by ECN++
  if (tcb.is.ecn && may_be_marked) take_congestion_mark(tcb, seg);
  const bool fin = seg.flags.has(TcpFlags::fin);
  const SeqNum fin_seq = seg.seq + seg.length;
  if (seg.length != 0) {
    if (auto drop = process_text(tcb, seg); drop != DropReason::none) return drop;  // seventh
    if (tcb.state == TcpState::closed) return DropReason::none;
  }
  // Eighth, FIN: in order now, or remembered until the data before it is here.
  if (fin && !tcb.is.peer_fin_known && fin_seq.after_eq(tcb.rcv.nxt) && fin_seq.before_eq(tcb.rcv.edge)) {
    if (fin_seq == tcb.rcv.nxt) return process_fin(tcb);
    tcb.is.peer_fin_known = true;
    disturb(tcb).peer_fin = fin_seq;
  }
  if (tcb.is.peer_fin_known && tcb.rcv.nxt == tcb.disturbance->peer_fin) return process_fin(tcb);
  if (fin && seg.length == 0) {  // a FIN ahead of a gap: tell the peer what is missing
    tcb.is.ack_now = true;
    mark_dirty(tcb);
  }
  return DropReason::none;
}

DropReason Tcp::check_sequence(Tcb& tcb, Segment& seg) noexcept {
  const bool rst = seg.flags.has(TcpFlags::rst);
  // A retransmitted SYN of a half-open connection lies before the window; its sender still waits for our SYN-ACK.
  if (tcb.state == TcpState::syn_received && seg.flags.has(TcpFlags::syn) && !seg.flags.has(TcpFlags::ack) &&
      seg.seq == tcb.rcv.nxt - 1) {
    tcb.is.ecn = tcb.is.ecn && asks_for_ecn(*tcb.options, seg);
    set_ecn_octet(tcb);
    tcb.snd.nxt = tcb.snd.una;
    mark_dirty(tcb);
    return DropReason::tcp_duplicate_syn;
  }
  // RFC 9293 figure 8: the peer's SYN-ACK in a simultaneous open repeats the SYN that we know. What follows it counts.
  if (tcb.state == TcpState::syn_received && tcb.is.active_open && seg.seq == tcb.rcv.nxt - 1 &&
      (seg.flags.bits & (TcpFlags::syn | TcpFlags::ack)) == (TcpFlags::syn | TcpFlags::ack)) {
    seg.seq += 1;
    seg.flags.bits &= static_cast<std::uint8_t>(~TcpFlags::syn);
    seg.window >>= tcb.send_scale;  // RFC 7323 2.2: a SYN's window is not scaled
  }
  if (tcb.is.fast_open_pending && seg.flags.has(TcpFlags::syn) && !seg.flags.has(TcpFlags::ack) && seg.seq.before(tcb.rcv.nxt)) {
    tcb.is.syn_ack_due = true;
    mark_dirty(tcb);
    return DropReason::tcp_duplicate_syn;
  }
  if (tcb.is.timestamps && !rst) {
    // RFC 7323 3.2: once negotiated, every segment but a RST carries it.
    if (!seg.has_timestamp) return DropReason::tcp_missing_timestamp;
    constexpr std::uint32_t outdated_ms = 24u * 24 * 3600 * 1000;  // RFC 7323 5.5: then any timestamp is newer
    const bool older =
        static_cast<std::int32_t>(seg.ts_value - tcb.ts_recent) < 0 && now_ms() - tcb.last_received_ms < outdated_ms;
    if (older) {  // RFC 7323 5.3 R1
      tcb.is.ack_now = true;
      mark_dirty(tcb);
      return DropReason::tcp_paws;
    }
  }
  const std::uint32_t window = tcb.rcv.window();
  const std::uint32_t length = seg.sequence_length();
  // RFC 9293 table 6. An empty segment at the right edge is let pass too: its sender has used up the window. Not a
  // RST, which must lie inside (RFC 5961 3.2).
  bool acceptable;
  if (length == 0) {
    acceptable = seg.seq.in_window(tcb.rcv.nxt, rst ? std::max(window, 1u) : window + 1);
  } else if (window == 0) {
    // MUST-66 and the table's note: ACK and RST are processed though the text is not accepted.
    acceptable = seg.seq == tcb.rcv.nxt;
  } else {
    acceptable = seg.seq.in_window(tcb.rcv.nxt, window) || (seg.end() - 1).in_window(tcb.rcv.nxt, window);
  }
  if (!acceptable) {
    if (rst) return DropReason::tcp_out_of_window;
    tcb.is.ack_now = true;
    mark_dirty(tcb);
    if (length == 0 || seg.end().after(tcb.rcv.nxt)) return DropReason::tcp_out_of_window;
    note_duplicate(tcb, seg);
    return DropReason::tcp_duplicate_data;
  }
  note_received(tcb);
  // RFC 7323 4.3: remember the timestamp of the segment that spans the last ACK sent.
  if (tcb.is.timestamps && seg.has_timestamp && !rst && seg.seq.before_eq(tcb.rcv.nxt - tcb.rcv.unacked)) {
    tcb.ts_recent = seg.ts_value;
  }
  return DropReason::none;
}

DropReason Tcp::check_reset(Tcb& tcb, const Segment& seg) noexcept {
  if (!seg.flags.has(TcpFlags::rst)) return DropReason::none;
  // RFC 5961 3.2: exactly at RCV.NXT it resets; elsewhere in the window it is challenged.
  if (seg.seq != tcb.rcv.nxt) {
    challenge(tcb);
    return DropReason::tcp_rst_challenged;
  }
  if (tcb.state == TcpState::syn_received) {
    // Passive: back to LISTEN, the application never saw it. Active: refused.
    finish(tcb, CloseReason::refused);
    return DropReason::tcp_rst_accepted;
  }
  counters_.add(Counter::tcp_estab_resets);
  // In CLOSING and LAST-ACK both sides had finished sending.
  const bool finished = tcb.state == TcpState::closing || tcb.state == TcpState::last_ack;
  finish(tcb, finished && tcb.queue.size() == 0 ? CloseReason::normal : CloseReason::reset_by_peer);
  return DropReason::tcp_rst_accepted;
}

DropReason Tcp::check_syn(Tcb& tcb, Segment& seg) noexcept {
  if (!seg.flags.has(TcpFlags::syn)) return DropReason::none;
  // RFC 9293 3.10.7.4 fourth: a passive open returns to LISTEN.
  if (tcb.state == TcpState::syn_received && !tcb.is.active_open) {
    finish(tcb, CloseReason::refused);
    return DropReason::tcp_syn_challenged;
  }
  challenge(tcb);  // RFC 5961 4.2
  return DropReason::tcp_syn_challenged;
}

DropReason Tcp::check_ack(Tcb& tcb, const Segment& seg) noexcept {
  if (!seg.flags.has(TcpFlags::ack)) return DropReason::tcp_no_ack_flag;
  if (tcb.state == TcpState::syn_received) {
    if (!seg.ack.after(tcb.snd.una) || seg.ack.after(tcb.snd.max)) {
      input_no_connection(key_of(tcb), seg);  // <SEQ=SEG.ACK><CTL=RST>
      return DropReason::tcp_unacceptable_ack;
    }
    sample_handshake_rtt(tcb);
    take_handshake_ack(tcb, seg.ack);
    tcb.snd.wnd = tcb.wnd_max = seg.window << tcb.send_scale;
    tcb.snd.wl1 = seg.seq;
    tcb.snd.wl2 = seg.ack;
    tcb.rto_deadline = TimePoint::never();
    tcb.progress = now_;
    established(tcb);
    const bool marked = seg.flags.has(TcpFlags::ece) && tcb.is.ecn && tcb.options->ecn_plus_plus && !tcb.is.active_open;
    if (marked && tcb.state != TcpState::closed) take_handshake_mark(tcb);
    return DropReason::none;
  }
  if (seg.ack.after(tcb.snd.max)) {
    tcb.is.ack_now = true;
    mark_dirty(tcb);
    return DropReason::tcp_ack_of_unsent;
  }
  if (tcb.is.fast_open_pending && seg.ack.after_eq(tcb.snd.una)) confirm_fast_open(tcb);
  // RFC 5961 5.2: SND.UNA - MAX.SND.WND <= SEG.ACK
  if (seg.ack.before(tcb.snd.una - tcb.wnd_max)) {
    challenge(tcb);
    return DropReason::tcp_ack_too_old;
  }
  if (tcb.snd.wnd == 0 && tcb.retries != 0) {
    tcb.retries = 0;  // RFC 9293 MUST-37: a peer that answers probes may keep its window shut for ever
    tcb.progress = now_;
  }
  if (seg.ack.after_eq(tcb.snd.una)) {
    process_ack(tcb, seg);
    if (tcb.state == TcpState::closed) return DropReason::none;
  }
  update_window(tcb, seg);
  return DropReason::none;
}

DropReason Tcp::process_text(Tcb& tcb, Segment& seg) noexcept {
  if (tcb.state != TcpState::established && tcb.state != TcpState::fin_wait_1 && tcb.state != TcpState::fin_wait_2)
    return DropReason::tcp_data_after_fin;
  if (tcb.is.app_closed) {
    // RFC 9293 SHLD-3: data that nobody will read is answered by RST, so that the sender knows it was lost.
    counters_.add(Counter::tcp_abort_close);
    send_reset(tcb);
    finish(tcb, CloseReason::aborted);
    return DropReason::tcp_data_after_close;
  }
  note_segment_size(tcb, seg);
  // Cut the segment to the window and to what is not there yet.
  if (seg.seq.before(tcb.rcv.nxt)) {
    const auto known = static_cast<std::uint32_t>(tcb.rcv.nxt - seg.seq);
    if (known >= seg.length) {
      tcb.is.ack_now = true;
      mark_dirty(tcb);
      note_duplicate(tcb, seg);
      counters_.drop(DropReason::tcp_duplicate_data);
      return DropReason::none;  // its FIN may still be new
    }
    seg.payload.pull_front(known);
    seg.seq += known;
    seg.length -= known;
  }
  const SeqNum limit = tcb.is.peer_fin_known ? seq_min(tcb.rcv.edge, tcb.disturbance->peer_fin) : tcb.rcv.edge;
  const auto room = static_cast<std::uint32_t>(std::max(limit - seg.seq, 0));
  if (seg.length > room) {
    if (room == 0) {
      tcb.is.ack_now = true;
      mark_dirty(tcb);
      return tcb.is.peer_fin_known ? DropReason::tcp_data_after_fin : DropReason::tcp_out_of_window;
    }
    seg.payload.trim_to(room);
    seg.length = room;
  }
  if (seg.seq != tcb.rcv.nxt) return queue_out_of_order(tcb, seg);
  if (must_refuse_text(tcb)) return DropReason::tcp_queue_limit;
  if (!tcb.out_of_order().empty()) tcb.is.ack_now = true;  // RFC 5681 4.2: it fills a gap, or a part of it
  if (!deliver_up_to_mark(tcb, std::move(seg.payload))) return DropReason::tcp_queue_limit;
  while (tcb.state != TcpState::closed && !tcb.out_of_order().empty()) {
    Packet next = disturb(tcb).out_of_order.take(out_of_order_, tcb.rcv.nxt);
    if (!next) break;
    if (!tcb.is.app_closed && !deliver_up_to_mark(tcb, std::move(next))) break;  // the peer sends it again
  }
  return DropReason::none;
}

DropReason Tcp::process_fin(Tcb& tcb) noexcept {
  tcb.rcv.nxt += 1;
  tcb.rcv.edge = seq_max(tcb.rcv.edge, tcb.rcv.nxt);
  tcb.rcv.unacked += 1;
  tcb.is.peer_fin_known = false;
  tcb.is.ack_now = true;
  mark_dirty(tcb);
  switch (tcb.state) {  // RFC 9293 3.10.7.4 eighth
    case TcpState::established:
      enter(tcb, TcpState::close_wait);
      break;
    case TcpState::fin_wait_1:
      enter(tcb, TcpState::closing);
      break;
    case TcpState::fin_wait_2:
      enter(tcb, TcpState::time_wait);
      break;
    default:
      return DropReason::none;
  }
  const bool last = tcb.state == TcpState::time_wait;
  if (!tcb.is.app_closed) tcb.handler->on_peer_closed(handle_of(tcb));
  if (last && tcb.state != TcpState::closed) enter_time_wait(tcb);
  return DropReason::none;
}

void Tcp::challenge(Tcb& tcb) noexcept {
  // RFC 5961 7: at most so many a second over all connections.
  const std::int64_t second = now_.ns() / 1'000'000'000;
  if (second != challenge_second_) {
    challenge_second_ = second;
    challenges_this_second_ = 0;
  }
  if (challenges_this_second_ >= options_.challenge_acks_per_second) {
    counters_.add(Counter::tcp_challenge_limited);
    return;
  }
  ++challenges_this_second_;
  counters_.add(Counter::tcp_challenge_acks);
  tcb.is.ack_now = true;
  mark_dirty(tcb);
}

}  // namespace pollux
