// Where a segment enters: validation, demultiplexing, and segments that belong to no live connection.
#include <algorithm>

#include "pollux/packet/checksum.h"
#include "pollux/tcp/tcp.h"

namespace pollux {

void Tcp::input(RxPacket packet, TimePoint now) noexcept {
  set_now(now);
  counters_.add(Counter::tcp_in_segs);
  SegmentBurst::Entry& entry = burst_.next();
  entry.seg = Segment{};
  if (const DropReason reason = parse(packet, entry.key, entry.seg, entry.options); reason != DropReason::none)
    return counters_.drop(reason);
  entry.hash = hash_of(entry.key);
  if (burst_.add()) return counters_.add(Counter::tcp_merged_in);
  flows_.prefetch(entry.hash);
  if (burst_.full()) process_burst();
}

bool Tcp::owns(const RxPacket& packet) noexcept {
  const ByteView header = packet.packet.front();
  if (header.size() < 4 || packet.to_group) return true;  // input() says what is wrong with it
  const FlowKey key{packet.destination, packet.source, load_be16(&header[2]), load_be16(&header[0])};
  return find_flow(key, hash_of(key)) != HashIndex::not_found ||
         find_listener(key.local, key.local_port) != nullptr;
}

void Tcp::process_burst() noexcept {
  for (std::uint32_t i = 0; i < burst_.size(); ++i) process(burst_[i]);
  burst_.clear();
}

void Tcp::process(SegmentBurst::Entry& entry) noexcept {
  static constexpr TcpOptionValues none;
  const TcpOptionValues& options = entry.seg.options != nullptr ? entry.options : none;
  DropReason reason;
  const std::uint32_t ref = find_flow(entry.key, entry.hash);
  if (ref == HashIndex::not_found) {
    Listener* listener = find_listener(entry.key.local, entry.key.local_port);
    reason = listener != nullptr ? input_listen(*listener, entry.key, entry.hash, entry.seg, options)
                                 : input_no_connection(entry.key, entry.seg);
  } else if ((ref & time_wait_tag) != 0) {
    reason = input_time_wait(ref & ~time_wait_tag, entry.seg, options);
  } else {
    reason = input_connection(tcbs_[ref], entry.seg, options);
  }
  if (reason != DropReason::none) counters_.drop(reason);
  entry.seg.payload.reset();
}

DropReason Tcp::parse(RxPacket& packet, FlowKey& key, Segment& seg, TcpOptionValues& options) noexcept {
  // RFC 9293 MUST-57, MUST-63: nothing from or to a broadcast or multicast address, silently.
  if (packet.to_group || ip_.is_group(packet.source)) return DropReason::tcp_invalid_peer;
  const auto view = TcpView::parse(packet.packet.front());
  if (!view) return view.error();
  const rte_mbuf* m = packet.packet.mbuf();
  if (!rx_l4_checksum_good(m)) {
    // RFC 9293 MUST-3
    ChecksumSum sum = sum_chain(m, 0, packet.packet.size());
    sum.add_pseudo_header(packet.source, packet.destination, packet.protocol, packet.packet.size());
    if (sum.folded() != 0xffff) return DropReason::tcp_bad_checksum;
  }
  seg.flags = view->flags();
  seg.ecn = EcnCodepoint{static_cast<std::uint8_t>(packet.tos & 3)};
  // No sender makes these; RFC 9293 gives SYN+FIN and SYN+RST no meaning in any state.
  if (seg.flags.has(TcpFlags::syn) && (seg.flags.bits & (TcpFlags::fin | TcpFlags::rst)) != 0)
    return DropReason::tcp_bad_flags;
  if (seg.flags.has(TcpFlags::urg)) [[unlikely]] seg.urgent_pointer = view->urgent_pointer();
  key = {packet.destination, packet.source, view->destination_port(), view->source_port()};
  seg.seq = view->sequence();
  seg.ack = view->acknowledgment();
  seg.window = view->window();
  if (view->has_only_timestamp()) [[likely]] {
    seg.has_timestamp = true;
    seg.ts_value = view->fast_ts_value();
    seg.ts_echo = view->fast_ts_echo();
  } else if (!view->options().empty()) {
    // RFC 9293 MUST-5, MUST-6, MUST-7
    const auto parsed = TcpOptionValues::parse(view->options());
    if (!parsed) return parsed.error();
    options = *parsed;
    seg.has_timestamp = options.has_timestamp;
    seg.ts_value = options.ts_value;
    seg.ts_echo = options.ts_echo;
    seg.options = &options;
  }
  packet.packet.pull_front(static_cast<std::uint32_t>(view->header_length()));
  seg.length = packet.packet.size();
  if (seg.length != 0) seg.payload = std::move(packet.packet);
  return DropReason::none;
}

DropReason Tcp::input_connection(Tcb& tcb, Segment& seg, const TcpOptionValues& options) noexcept {
  if (tcb.state == TcpState::established && is_predicted(tcb, seg)) [[likely]] return fast_path(tcb, seg);
  if (tcb.state == TcpState::syn_sent) return input_syn_sent(tcb, seg, options);
  return established_input(tcb, seg);
}

// RFC 9293 3.10.7.1, CLOSED: a RST is dropped, everything else is answered by one.
DropReason Tcp::input_no_connection(const FlowKey& key, const Segment& seg) noexcept {
  if (seg.flags.has(TcpFlags::rst)) return DropReason::tcp_no_connection;
  BareSegment reset{.key = key};
  if (seg.flags.has(TcpFlags::ack)) {
    reset.seq = seg.ack;
    reset.flags = {TcpFlags::rst};
  } else {
    reset.ack = seg.end();
    reset.flags = {TcpFlags::rst | TcpFlags::ack};
  }
  RouteCache route;
  counters_.add(Counter::tcp_out_rsts);
  send_bare(reset, route);
  return DropReason::tcp_no_connection;
}

// RFC 6191 2: does a SYN come after everything of the connection in TIME-WAIT? Timestamps tell if both have them or only
// the new one does; else sequence numbers do.
static bool is_newer(const Segment& syn, const TimeWait& old, const TcpConnOptions& options) noexcept {
  if (syn.has_timestamp && options.timestamps) {
    if (!old.timestamps) return true;
    const auto later = static_cast<std::int32_t>(syn.ts_value - old.ts_recent);
    if (later != 0) return later > 0;
  }
  return syn.seq.after(old.rcv_nxt);
}

DropReason Tcp::input_time_wait(std::uint32_t index, Segment& seg, const TcpOptionValues& options) noexcept {
  TimeWait& entry = time_wait_[index];
  if (seg.flags.has(TcpFlags::rst)) {
    // RFC 5961 3: only an exact RST ends it; RFC 1337 3 (F1): none at all.
    if (seg.seq != entry.rcv_nxt || options_.rfc1337) return DropReason::tcp_time_wait;
    remove_flow(entry.key, entry.hash, index | time_wait_tag);
    time_wait_.remove(index);
    return DropReason::tcp_rst_accepted;
  }
  if (seg.flags.has(TcpFlags::syn) && !seg.flags.has(TcpFlags::ack)) {
    // RFC 9293 MAY-2: a SYN that is newer than the old incarnation may reopen the connection.
    Listener* listener = find_listener(entry.key.local, entry.key.local_port);
    if (listener != nullptr && is_newer(seg, entry, *listener->conn)) {
      return reopen(*listener, index, seg, options);
    }
  }
  // Nothing to acknowledge, and answering a bare ACK could go on for ever between two ends in TIME-WAIT.
  if (seg.sequence_length() == 0) return DropReason::tcp_time_wait;
  // RFC 9293 3.10.7.4 eighth: a retransmitted FIN is acknowledged and restarts the 2 MSL.
  if (seg.flags.has(TcpFlags::fin) && seg.end() == entry.rcv_nxt)
    time_wait_.restart(index, now_ + options_.msl * 2);
  if (entry.timestamps && seg.has_timestamp && static_cast<std::int32_t>(seg.ts_value - entry.ts_recent) > 0)
    entry.ts_recent = seg.ts_value;
  BareSegment ack{.key = entry.key, .seq = entry.snd_nxt, .ack = entry.rcv_nxt, .flags = {TcpFlags::ack},
                        .window = entry.window, .ttl = entry.ttl, .tos = entry.tos};
  if (entry.timestamps) ack.options = timestamp_option(now_ms() + entry.ts_offset, entry.ts_recent);
  send_bare(ack, entry.route);
  return DropReason::tcp_time_wait;
}

// RFC 9293 3.10.7.4, MAY-2: a new connection takes the place of one in TIME-WAIT. That the old one was there shows that
// the SYN's source is genuine, so it needs no place in the backlog and no cookie.
DropReason Tcp::reopen(Listener& listener, std::uint32_t index, const Segment& syn, const TcpOptionValues& options) noexcept {
  if (draining_) return DropReason::tcp_draining;
  const TimeWait& old = time_wait_[index];
  RouteCache route;
  if (!ip_.resolve(old.key.remote, route, now_)) return DropReason::ip_no_route;
  Tcb* tcb = accept(listener, old.key, old.hash, route);
  if (tcb == nullptr) return DropReason::tcp_connections_full;
  replace_time_wait(*tcb, index);
  take_syn(*tcb, syn, options);
  mark_dirty(*tcb);
  return DropReason::none;
}

// RFC 5927 4: an ICMP error counts only if it quotes a segment that is outstanding now.
DropReason Tcp::icmp_error(const IcmpError& error, TimePoint now) noexcept {
  set_now(now);
  const QuotedPacket& quoted = error.quoted;
  const FlowKey key{quoted.source, quoted.destination, quoted.source_port, quoted.destination_port};
  const std::uint32_t ref = find_flow(key, hash_of(key));
  if (ref == HashIndex::not_found || (ref & time_wait_tag) != 0) return DropReason::icmp_no_match;
  Tcb& tcb = tcbs_[ref];
  const SeqNum seq(quoted.tcp_sequence);
  if (seq.before(tcb.snd.una) || seq.after_eq(tcb.snd.max)) return DropReason::icmp_out_of_window;

  if (error.problem == IcmpProblem::packet_too_big) return packet_too_big(tcb, seq, error.mtu);
  const bool hard =
      error.problem == IcmpProblem::protocol_unreachable || error.problem == IcmpProblem::port_unreachable;
  // RFC 9293 SHLD-26 with RFC 5927 5.2: a hard error ends only an attempt to connect; to a synchronized connection
  // it is as soft as MUST-56's.
  if (hard && tcb.state == TcpState::syn_sent) {
    finish(tcb, CloseReason::unreachable);
    return DropReason::none;
  }
  if (tcb.is.active_open || tcb.is.connected) tcb.handler->on_soft_error(handle_of(tcb));
  return DropReason::none;
}

}  // namespace pollux
