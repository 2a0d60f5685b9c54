// What leaves, and when. Events only mark a connection dirty; flush() visits each dirty one once a turn, so ACKs,
// window updates and data coalesce (RFC 9293 MUST-58, MUST-59).
#include <algorithm>

#include "pollux/packet/checksum.h"
#include "pollux/tcp/tcp.h"
#include "pollux/wire/ipv4.h"

namespace pollux {

void Tcp::mark_dirty(Tcb& tcb) noexcept {
  if (tcb.is.dirty) return;
  tcb.is.dirty = true;
  tcb.next_dirty = Slab<Tcb>::nil;
  const std::uint32_t index = tcbs_.index_of(tcb);
  if (dirty_tail_ != Slab<Tcb>::nil) {
    tcbs_[dirty_tail_].next_dirty = index;
  } else {
    dirty_head_ = index;
  }
  dirty_tail_ = index;
  ++dirty_count_;
}

void Tcp::flush(TimePoint now) noexcept {
  set_now(now);
  check_pool();
  if (now < blocked_until_) return;
  for (std::uint32_t turns = dirty_count_; turns > 0; --turns) {  // who is marked again waits for the next flush
    const std::uint32_t index = dirty_head_;
    Tcb& tcb = tcbs_[index];
    dirty_head_ = tcb.next_dirty;
    if (dirty_head_ == Slab<Tcb>::nil) dirty_tail_ = Slab<Tcb>::nil;
    --dirty_count_;
    tcb.is.dirty = false;
    if (tcb.is.defunct) {
      release(tcb);
      --defunct_count_;
      continue;
    }
    const Output result = output(tcb);
    POLLUX_DCHECK(tcb.board.empty() || !tcb.rto_deadline.is_never());  // what is outstanding is watched
    POLLUX_DCHECK(tcb.rto_deadline.is_never() || tcb.is_armed());
    if (result == Output::done) continue;
    mark_dirty(tcb);
    if (result == Output::no_mbuf) {
      // Others would fare no better. What is established lives on and sends when mbufs come back.
      constexpr Duration retry_after = Duration::from_ms(1);
      counters_.add(Counter::tcp_pool_pressure);
      blocked_until_ = now + retry_after;
      return;
    }
  }
}

void Tcp::check_pool() noexcept {
  constexpr Duration period = Duration::from_ms(1);  // summing the pool's caches is not for every turn
  if (!pool_low_ && now_ < pool_checked_at_ + period) return;
  pool_checked_at_ = now_;
  const std::uint32_t available = pool_.available();
  pool_low_ = available < pool_.size() / 8;
  pool_starved_ = available < pool_.size() / 32;
  clones_low_ = pool_.clones_available() < pool_.clones_size() / 4;
}

// RFC 9293 3.10.7.4: the peer processes a segment only if it begins in its window. What we sent beyond (a probe, a FIN, or data
// before the window shrank) must not push our ACKs out of it: two ends that have done so would answer each other for ever.
static SeqNum ack_sequence(const Tcb& tcb) noexcept { return seq_min(tcb.snd.max, tcb.snd.una + tcb.snd.wnd); }

IpSend Tcp::ip_send_v6(const Tcb& tcb, std::uint8_t tos) const noexcept {
  const StoredKey::V6Addresses& addresses = v6_addresses_[tcb.key.v6_index()];
  return {.source = addresses.local, .destination = addresses.remote,
          .protocol = static_cast<std::uint8_t>(IpProtocol::tcp), .ttl = tcb.options->ttl, .tos = tos};
}

[[gnu::always_inline]] inline Tcp::Output Tcp::hand_over(Tcb& tcb, Packet packet, const TcpFields& fields) noexcept {
  if (tcb.route.generation != ip_.route_generation() && !ip_.resolve(key_of(tcb).remote, tcb.route, now_)) {
    counters_.drop(DropReason::ip_no_route);
    return Output::done;  // the retransmission timer tries again, and gives up in the end
  }
  finish_segment(std::move(packet), fields, ip_send(tcb, tcb.tos), tcb.route);
  return Output::done;
}

// DCTCP's ACKs of what came before a change of marks (RFC 8257 3.2).
Tcp::Output Tcp::send_owed_acks(Tcb& tcb) noexcept {
  OwedAcks& owed = extras_of(tcb).owed_acks;
  for (; owed.count != 0; owed.pop()) {
    if (ip_.tx(tcb.route.interface).room() == 0) return Output::batch_full;
    Packet packet = pool_.alloc();
    if (!packet) return Output::no_mbuf;
    TcpFields fields;
    fields.sequence = tcb.snd.max;
    fields.acknowledgment = owed.ack[0];
    fields.flags.bits = static_cast<std::uint8_t>(TcpFlags::ack | ((owed.echoes & 1) != 0 ? TcpFlags::ece : 0));
    // The right edge stays where it is.
    const auto window = static_cast<std::uint32_t>(tcb.rcv.edge - owed.ack[0]);
    fields.window = static_cast<std::uint16_t>(std::min(0xffffu, (window + (1u << tcb.recv_scale) - 1) >> tcb.recv_scale));
    stamp(tcb, fields);
    counters_.add(Counter::tcp_out_segs);
    hand_over(tcb, std::move(packet), fields);
  }
  return Output::done;
}

// What few connections have to say in front of everything else.
Tcp::Output Tcp::output_first(Tcb& tcb) noexcept {
  if (tcb.is.syn_ack_due) {
    if (const Output sent = send_syn(tcb); sent != Output::done) return sent;
    tcb.is.syn_ack_due = false;
  }
  return tcb.is.dctcp ? send_owed_acks(tcb) : Output::done;
}

Tcp::Output Tcp::output(Tcb& tcb) noexcept {
  if (tcb.state == TcpState::syn_sent || tcb.state == TcpState::syn_received) {
    if (tcb.snd.nxt == tcb.snd.una) return send_syn(tcb);
    if (tcb.is.ack_now && tcb.state == TcpState::syn_received) return send_empty(tcb, tcb.snd.max);
    return Output::done;
  }
  if (tcb.is.syn_ack_due || tcb.is.dctcp) [[unlikely]] {
    if (const Output sent = output_first(tcb); sent != Output::done) return sent;
  }
  Output result = output_repair(tcb);
  if (result == Output::done) result = output_data(tcb);
  const bool all_sent = static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una) >= tcb.queue.size();
  if (!all_sent || tcb.is.want_writable || tcb.disturbance->limits.current() != SenderLimit::none) [[unlikely]] note_limit(tcb);
  if (result == Output::batch_full || result == Output::no_mbuf) return result;
  // Duplicate ACKs go one by one: the peer counts them. Everything else is one ACK a turn, if no data carried it.
  for (; tcb.dup_acks_due > 0; --tcb.dup_acks_due)
    if (const Output sent = send_empty(tcb, ack_sequence(tcb)); sent != Output::done) return sent;
  if (tcb.is.ack_now) {
    if (const Output sent = send_empty(tcb, ack_sequence(tcb)); sent != Output::done) return sent;
  } else if (tcb.is.ack_pending && tcb.ack_deadline.is_never()) {
    set_deadline(tcb, tcb.ack_deadline, now_ + options_.delayed_ack_max);
  }
  return result;
}

// For who asks what holds this sender back: Linux's rwnd_limited and sndbuf_limited.
void Tcp::note_limit(Tcb& tcb) noexcept {
  const auto position = static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una);
  SenderLimit limit = SenderLimit::none;
  if (position < tcb.queue.size()) {
    const std::uint32_t wanted = std::min(tcb.queue.size() - position, std::uint32_t{tcb.mss});
    const std::uint32_t offered = tcb.snd.wnd > position ? tcb.snd.wnd - position : 0;
    const std::uint32_t pipe = tcb.in_flight();
    if (offered < wanted && (tcb.snd.wnd == 0 || tcb.cwnd() > pipe + offered)) limit = SenderLimit::receive_window;
  } else if (tcb.is.want_writable) {
    limit = SenderLimit::send_buffer;
  }
  if (limit != tcb.disturbance->limits.current()) disturb(tcb).limits.set(limit, now_ms());
}

// What is due whatever the windows say: the lost segment, a probe of a closed window, a keepalive.
Tcp::Output Tcp::output_repair(Tcb& tcb) noexcept {
  if (tcb.is.keepalive_due) {
    // RFC 9293 3.8.4, SHLD-12: no data, and a sequence number the peer has acknowledged already, so that it answers.
    if (const Output sent = send_empty(tcb, tcb.snd.una - 1); sent != Output::done) return sent;
    tcb.is.keepalive_due = false;
    counters_.add(Counter::tcp_keepalives);
  }
  if (tcb.is.probe_due) {
    // RFC 9293 3.8.6.1: one octet into the closed window; or, when sender SWS avoidance has waited long enough, what
    // fits (3.8.6.2.1, the override).
    if (tcb.queue.size() != 0) {
      const bool closed = tcb.snd.wnd == 0;
      const Output sent = closed ? send_segment(tcb, tcb.snd.una, 1, false)
                                 : send_measured(tcb, std::min({tcb.queue.size(), tcb.snd.wnd, std::uint32_t{tcb.mss}}), false);
      if (sent != Output::done) return sent;
      if (closed) counters_.add(Counter::tcp_zero_window_probes);
    }
    tcb.is.probe_due = false;
  }
  return tcb.is.tail_probe_due ? send_tail_probe(tcb) : Output::done;
}

// RFC 8985 7.3: one new segment if there is any, else the last one again; cwnd does not hold it back.
Tcp::Output Tcp::send_tail_probe(Tcb& tcb) noexcept {
  if (tcb.board.empty()) {
    tcb.is.tail_probe_due = false;
    return Output::done;
  }
  bool fin = false;
  const std::uint32_t length = sendable(tcb, tcb.mss, fin);
  const bool new_data = length != 0 || fin;
  const Output result = new_data ? send_measured(tcb, length, fin) : retransmit(tcb, tcb.board.last());
  if (result != Output::done) return result;
  counters_.add(Counter::tcp_loss_probes);
  note(tcb, FlightEvent::tail_probe, 0, static_cast<std::uint32_t>(tcb.snd.nxt - tcb.iss));
  disturb(tcb).loss.begin_probe(tcb.snd.nxt, !new_data);
  tcb.is.tail_probe_due = false;
  return Output::done;
}

// Lost segments first, then new data, as far as the congestion window and the peer's allow.
Tcp::Output Tcp::output_data(Tcb& tcb) noexcept {
  // RFC 5681 4.1: after an idle time the old window says nothing about the path any more.
  if (tcb.board.empty() && tcb.queue.size() != 0) {
    const Duration idle = Duration::from_ms(now_ms() - tcb.last_sent_ms);
    Disturbance* const own = disturbance_of(tcb);  // who has none never had a larger window
    if (own != nullptr && idle >= options_.rto_min && idle > current_rto(tcb)) own->cc.on_idle_restart(initial_window(tcb));
  }
  for (std::uint32_t sent = 0; sent < segments_per_turn; ++sent) {
    const std::uint32_t pipe = tcb.in_flight();
    const std::uint32_t window = tcb.cwnd();
    const std::uint32_t budget = window > pipe ? window - pipe : 0;
    const bool new_data_only = tcb.loss().timeout_check == TimeoutCheck::second_ack;  // RFC 5682 2.1 step 2b
    if (const std::uint32_t lost = next_lost(tcb); lost != Scoreboard::nil && !new_data_only) {
      tcb.is.cwnd_limited = true;
      if (budget < std::min(sent_[lost].length(), std::uint32_t{tcb.mss})) return Output::done;
      if (tcb.is.paced && pacing_holds(tcb, sent_[lost].length())) [[unlikely]] return Output::done;
      if (const Output result = retransmit(tcb, lost); result != Output::done) return result;
      continue;
    }
    if (tcb.extras != Slab<ConnExtras>::nil) [[unlikely]] {
      bool probed = false;
      if (const Output result = send_mtu_probe(tcb, budget, probed); result != Output::done) return result;
      if (probed) continue;
    }
    bool fin = false;
    const std::uint32_t length = sendable(tcb, budget, fin);
    if (length == 0 && !fin) {
      // Something to send, nothing on its way, and the window forbids it: probe, or override, after an RTO (SHLD-29).
      if (tcb.board.empty() && tcb.queue.size() != 0 && tcb.rto_deadline.is_never()) {
        tcb.progress = now_;  // the user timeout counts from here
        restart_rto(tcb);
      }
      return Output::done;
    }
    if (tcb.is.paced) [[unlikely]] {
      if (pacing_holds(tcb, length)) return Output::done;
    } else if (length == tcb.mss && !fin) {
      if (const std::uint32_t run = run_length(tcb, budget, segments_per_turn - sent); run >= run_min) {
        if (const std::uint32_t left = send_run(tcb, run); left != 0) {
          sent += left - 1;
          continue;
        }
      }
    }
    const Output result = tcb.is.paced ? send_measured(tcb, length, fin) : send_new(tcb, length, fin);
    if (result != Output::done) return result;
    if (static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una) >= tcb.queue.size()) {  // all that was queued, the FIN too
      tcb.is.cwnd_limited = false;
      return Output::done;
    }
  }
  return Output::more;
}

// How much may go in the segment at SND.NXT: the windows, Nagle (RFC 9293 3.7.4) and sender silly-window avoidance
// (3.8.6.2.1). `budget`: what congestion control leaves. `fin`: this segment is the last one.
std::uint32_t Tcp::sendable(Tcb& tcb, std::uint32_t budget, bool& fin) const noexcept {
  const SendSpace& snd = tcb.snd;
  const auto position = static_cast<std::uint32_t>(snd.nxt - snd.una);
  if (position > tcb.queue.size()) return 0;  // behind our FIN
  const std::uint32_t available = tcb.queue.size() - position;
  const std::uint32_t window = snd.wnd > position ? snd.wnd - position : 0;
  const std::uint32_t length = std::min({available, window, budget, std::uint32_t{tcb.mss}});
  tcb.is.cwnd_limited = length == budget && available > length && budget <= window && length < tcb.mss;
  fin = tcb.fin_outstanding() && length == available;
  if (length == 0 || fin) return length;
  if (length == tcb.mss) return length;                        // (1) a full segment
  if (tcb.is.cork) return 0;
  // (2) all there is; urgent data is not held back
  if (length == available && (!tcb.is.nagle || snd.nxt == snd.una || tcb.is.urgent_out)) return length;
  if (length >= tcb.wnd_max / 2) return length;                // (3) half the largest window ever offered
  return 0;
}

Tcp::Output Tcp::send_new(Tcb& tcb, std::uint32_t length, bool fin) noexcept {
  const SeqNum start = tcb.snd.nxt;
  const SeqNum end = start + length + (fin ? 1u : 0u);
  if (sent_.full()) return Output::no_mbuf;  // as scarce as they are, and coming back as they do
  const bool first = tcb.board.empty();
  if (const Output result = send_segment(tcb, start, length, fin); result != Output::done) return result;
  POLLUX_CHECK(tcb.board.sent(sent_, disorder_of(tcb), start, end, now_), "record of a sent segment");
  tcb.snd.nxt = end;
  note_new_data(tcb, static_cast<std::uint32_t>(end - start));
  if (first) tcb.progress = now_;
  if (tcb.rto_deadline.is_never()) watch_flight(tcb);  // RFC 6298 5.1
  return Output::done;
}

Tcp::Output Tcp::retransmit(Tcb& tcb, std::uint32_t index) noexcept {
  // The path may take less than when it was first sent (RFC 1191).
  const bool whole_fin = tcb.fin_outstanding() && sent_[index].end.after(tcb.snd.una + tcb.queue.size());
  if (sent_[index].length() > tcb.mss + (whole_fin ? 1u : 0u)) {
    if (!tcb.board.split(sent_, disturb(tcb).disorder, index, tcb.mss)) return Output::no_mbuf;
    if (tcb.loss().by_model) sent_rates_[sent_[index].next] = sent_rates_[index];
  }
  if (tcb.extras != Slab<ConnExtras>::nil) [[unlikely]] forget_mtu_probe(tcb, sent_[index].start);
  const SeqNum start = sent_[index].start;
  const SeqNum data_end = seq_min(sent_[index].end, tcb.snd.una + tcb.queue.size());
  const bool fin = sent_[index].end.after(data_end);
  const auto length = static_cast<std::uint32_t>(data_end - start);
  if (const Output result = send_segment(tcb, start, length, fin); result != Output::done) return result;
  Disturbance& own = disturb(tcb);
  tcb.board.sent_again(sent_, own.disorder, index, now_);
  if (own.loss.by_model) note_sent(tcb, index);
  if (own.loss.unproven < 0xffff) ++own.loss.unproven;
  ++own.retransmits;
  own.loss.prr.on_sent(sent_[index].length());
  // RFC 6298 5: no segment goes again within an RTO of its last transmission by the timer's doing, and what the timer would
  // send is the oldest one.
  const bool oldest = index == tcb.board.first() && tcb.timer_kind != TimerKind::reordering;
  if (oldest || tcb.rto_deadline.is_never()) restart_rto(tcb);
  return Output::done;
}

Tcp::Output Tcp::send_segment(Tcb& tcb, SeqNum seq, std::uint32_t length, bool fin) noexcept {
  if (ip_.tx(tcb.route.interface).room() == 0) return Output::batch_full;
  const auto position = static_cast<std::uint32_t>(seq - tcb.snd.una);
  Packet packet = length != 0 ? tcb.queue.segment(pool_, position, length) : pool_.alloc();
  if (!packet) return Output::no_mbuf;
  TcpFields fields;
  fields.sequence = seq;
  fields.flags.bits = TcpFlags::ack;
  // RFC 9293 MUST-61: PSH on the last segment of what is queued.
  if (length != 0 && position + length == tcb.queue.size()) fields.flags.bits |= TcpFlags::psh;
  if (fin) fields.flags.bits |= TcpFlags::fin;
  const SeqNum end = seq + length + (fin ? 1u : 0u);
  const bool again = seq.before(tcb.snd.max);
  if (again) {
    counters_.add(Counter::tcp_retrans_segs);
    note(tcb, FlightEvent::retransmission, 0, static_cast<std::uint32_t>(seq - tcb.iss));
  } else {
    counters_.add(Counter::tcp_out_segs);
    counters_.add(Counter::tcp_out_bytes, length);
  }
  tcb.snd.max = seq_max(tcb.snd.max, end);
  tcb.last_sent_ms = now_ms();
  if (tcb.is.ecn) [[unlikely]] {
    const bool first_data = !again && length != 0;
    if (first_data || tcb.options->ecn_plus_plus) return transmit_capable(tcb, std::move(packet), fields, first_data);
  }
  return transmit(tcb, std::move(packet), fields);
}

Tcp::Output Tcp::send_empty(Tcb& tcb, SeqNum seq) noexcept {
  if (ip_.tx(tcb.route.interface).room() == 0) return Output::batch_full;
  Packet packet = pool_.alloc();
  if (!packet) return Output::no_mbuf;
  TcpFields fields;
  fields.sequence = seq;
  fields.flags.bits = TcpFlags::ack;
  if (tcb.is.sack) add_sacks(tcb, fields);
  if (tcb.options->receive_buffer < tcb.options->receive_buffer_max) tune_receive_buffer(tcb);
  counters_.add(Counter::tcp_out_segs);
  return transmit(tcb, std::move(packet), fields);
}

// RFC 2018 4, RFC 2883 4: the duplicate if there was one, then the stretches above the gap, the latest arrival first.
void Tcp::add_sacks(Tcb& tcb, TcpFields& fields) noexcept {
  TcpOptionValues& options = fields.options;
  const std::size_t room = tcb.is.timestamps ? 3 : 4;
  const SackBlock dsack = tcb.disturbance->dsack;
  const bool duplicate_above = tcb.is.dsack_due && dsack.right.after(tcb.rcv.nxt);
  if (tcb.is.dsack_due) {
    options.sacks[options.sack_count++] = dsack;
    tcb.is.dsack_due = false;
  }
  if (!tcb.out_of_order().empty())
    options.sack_count = static_cast<std::uint8_t>(
        options.sack_count +
        tcb.out_of_order().latest(out_of_order_, std::span(options.sacks).subspan(options.sack_count, room - options.sack_count)));
  if (!duplicate_above) return;
  // RFC 2883 4: the block that the duplicate lies in comes second, or the duplicate would be taken for news.
  auto* const first = options.sacks.data() + 1;
  auto* const last = options.sacks.data() + options.sack_count;
  auto* const holder = std::find_if(first, last, [&](const SackBlock& b) {
    return b.left.before_eq(dsack.left) && dsack.right.before_eq(b.right);
  });
  if (holder != last) {
    std::rotate(first, holder, holder + 1);
  } else {  // there is no room for it
    std::copy(first, last, first - 1);
    --options.sack_count;
  }
}

Tcp::Output Tcp::send_syn(Tcb& tcb) noexcept {
  if (ip_.tx(tcb.route.interface).room() == 0) return Output::batch_full;
  const bool answer = tcb.state != TcpState::syn_sent;
  TcpFields fields;
  fields.sequence = tcb.iss;
  fields.flags.bits = answer ? TcpFlags::syn | TcpFlags::ack : TcpFlags::syn;
  fields.options.has_mss = true;  // RFC 9293 MUST-14, SHLD-5, SHLD-6
  fields.options.mss = local_mss(tcb.key.is_v4(), tcb.route, *tcb.options);
  fields.options.has_window_scale = tcb.is.window_scaling;
  fields.options.window_scale = receive_scale(*tcb.options);
  fields.options.sack_permitted = tcb.is.sack;
  fields.acknowledgment = answer ? tcb.rcv.nxt : SeqNum();
  const std::uint8_t tos = tcb.tos;
  if (tcb.is.ecn) offer_ecn(tcb, fields);
  stamp(tcb, fields);
  std::uint32_t length = 0;
  if (tcb.options->fast_open && !answer) length = offer_fast_open(tcb, fields);
  if (tcb.is.fast_open_cookie_due) {
    const FastOpenCookies::Cookie cookie = fast_open_cookies_.make(key_of(tcb).local, key_of(tcb).remote, now_);
    fields.options.has_fast_open = true;
    fields.options.fast_open_size = FastOpenCookies::size;
    std::copy(cookie.begin(), cookie.end(), fields.options.fast_open_cookie.begin());
  }
  Packet packet = length != 0 ? tcb.queue.segment(pool_, 0, length) : pool_.alloc();
  if (!packet) return Output::no_mbuf;
  // RFC 7323 2.2: the window of a SYN is not scaled.
  const std::uint32_t window = std::min(free_receive_space(tcb), 0xffffu);
  tcb.rcv.edge = seq_max(tcb.rcv.edge, tcb.rcv.nxt + window);
  fields.window = static_cast<std::uint16_t>(window);
  const bool first = tcb.snd.max == tcb.iss || (tcb.is.fast_open_pending && tcb.retries == 0);
  counters_.add(first ? Counter::tcp_out_segs : Counter::tcp_retrans_segs);
  if (first) tcb.progress = now_;
  if (!tcb.is.fast_open_pending) {
    tcb.snd.nxt = tcb.iss + 1 + length;
    tcb.snd.max = seq_max(tcb.snd.max, tcb.snd.nxt);
  }
  if (length != 0) counters_.add(Counter::tcp_fast_open_active);
  if (tcb.rto_deadline.is_never()) restart_rto(tcb);
  note_ack_sent(tcb);
  // ECN++: a SYN-ACK that is repeated may have been dropped for being capable (RFC 5562 3.2).
  if (answer && tcb.is.ecn && tcb.options->ecn_plus_plus && tcb.retries == 0) tcb.tos = capable(tcb.tos);
  const Output result = hand_over(tcb, std::move(packet), fields);
  tcb.tos = tos;
  return result;
}

void Tcp::stamp(const Tcb& tcb, TcpFields& fields) const noexcept {
  fields.source_port = tcb.key.local_port;
  fields.destination_port = tcb.key.remote_port;
  fields.options.has_timestamp = tcb.is.timestamps;
  fields.options.ts_value = now_ms() + tcb.ts_offset;
  // RFC 7323 3.2: TSecr is valid, and not zero, only with ACK.
  fields.options.ts_echo = fields.flags.has(TcpFlags::ack) ? tcb.ts_recent : 0;
}

Tcp::Output Tcp::transmit(Tcb& tcb, Packet packet, TcpFields& fields) noexcept {
  fields.acknowledgment = tcb.rcv.nxt;
  fields.window = advertise(tcb);
  if (tcb.is.urgent_out || tcb.is.ece_due) [[unlikely]] {
    if (tcb.is.urgent_out) stamp_urgent(tcb, fields);
    if (tcb.is.ece_due) fields.flags.bits |= TcpFlags::ece;  // RFC 3168 6.1.3
  }
  stamp(tcb, fields);
  note_ack_sent(tcb);
  return hand_over(tcb, std::move(packet), fields);
}

// Header and checksum (RFC 9293 MUST-2), by the NIC where it can.
void Tcp::finish_segment(Packet packet, const TcpFields& fields, const IpSend& send, RouteCache& route) noexcept {
  constexpr std::size_t checksum_offset = 16;
  const auto header_length = static_cast<std::uint32_t>(fields.header_length());
  std::uint8_t* header = packet.push_front(header_length);
  POLLUX_DCHECK(header != nullptr);
  fields.emit(header);
  rte_mbuf* m = packet.mbuf();
  if (ip_.offloads(route.interface).tcp_checksum) {
    ChecksumSum pseudo;
    pseudo.add_pseudo_header(send.source, send.destination, send.protocol, packet.size());
    store_be16(header + checksum_offset, pseudo.folded());
    m->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;  // IP says of which family
    m->l4_len = header_length & 0xff;
  } else {
    ChecksumSum sum = sum_chain(m, 0, packet.size());
    sum.add_pseudo_header(send.source, send.destination, send.protocol, packet.size());
    store_be16(header + checksum_offset, sum.finish());
  }
  ip_.send(std::move(packet), send, route, now_);  // a drop is counted there, and repaired by the timer
}

void Tcp::send_bare(const BareSegment& segment, RouteCache& route) noexcept {
  if (route.generation != ip_.route_generation() && !ip_.resolve(segment.key.remote, route, now_)) {
    counters_.drop(DropReason::ip_no_route);
    return;
  }
  Packet packet = pool_.alloc();
  if (!packet) {
    counters_.drop(DropReason::no_mbuf);
    return;
  }
  TcpFields fields;
  fields.source_port = segment.key.local_port;
  fields.destination_port = segment.key.remote_port;
  fields.sequence = segment.seq;
  fields.acknowledgment = segment.ack;
  fields.flags = segment.flags;
  fields.window = segment.window;
  fields.options = segment.options;
  const IpSend send{.source = segment.key.local, .destination = segment.key.remote,
                    .protocol = static_cast<std::uint8_t>(IpProtocol::tcp), .ttl = segment.ttl, .tos = segment.tos};
  counters_.add(Counter::tcp_out_segs);
  finish_segment(std::move(packet), fields, send, route);
}

// RFC 9293 3.10.5: the states in which the peer may still believe in the connection.
void Tcp::send_reset(Tcb& tcb) noexcept {
  switch (tcb.state) {
    case TcpState::syn_received:
    case TcpState::established:
    case TcpState::fin_wait_1:
    case TcpState::fin_wait_2:
    case TcpState::close_wait:
      break;
    default:
      return;
  }
  counters_.add(Counter::tcp_out_rsts);
  note(tcb, FlightEvent::reset_sent);
  send_bare({.key = key_of(tcb), .seq = tcb.snd.max, .ack = tcb.rcv.nxt, .flags = {TcpFlags::rst | TcpFlags::ack},
             .ttl = tcb.options->ttl,
             .tos = tcb.is.ecn && tcb.options->ecn_plus_plus ? data_tos(tcb) : tcb.tos},
            tcb.route);
}

}  // namespace pollux
