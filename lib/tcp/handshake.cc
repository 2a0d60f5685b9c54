// LISTEN and SYN-SENT: how a connection begins (RFC 9293 3.10.7.2, 3.10.7.3; RFC 7323 2, 3.2).
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {
namespace {

constexpr std::uint16_t default_mss_v4 = 536;   // RFC 9293 MUST-15
constexpr std::uint16_t default_mss_v6 = 1220;
constexpr std::uint16_t peer_mss_min = 64;      // a smaller offer would make a segment mostly header
constexpr std::uint32_t ip_tcp_headers_v4 = 40;
constexpr std::uint32_t ip_tcp_headers_v6 = 60;

}  // namespace

// RFC 7323 2.3: the smallest shift that lets 16 bits express the largest receive buffer.
std::uint8_t Tcp::receive_scale(const TcpConnOptions& options) noexcept {
  const std::uint32_t largest = std::max(options.receive_buffer, options.receive_buffer_max);
  std::uint8_t scale = 0;
  while (scale < 14 && (largest >> scale) > 0xffff) ++scale;
  return scale;
}

std::uint16_t Tcp::local_mss(bool v4, const RouteCache& route, const TcpConnOptions& options) const noexcept {
  const std::uint32_t headers = v4 ? ip_tcp_headers_v4 : ip_tcp_headers_v6;
  const auto by_mtu = static_cast<std::uint16_t>(ip_.mtu(route.interface, v4) - headers);
  return options.mss_max != 0 ? std::min(by_mtu, options.mss_max) : by_mtu;
}

std::uint16_t Tcp::default_mss(bool v4) noexcept {
  return v4 ? default_mss_v4 : default_mss_v6;
}

// What an ACK in the handshake covers: our SYN, and data that went with it (RFC 7413).
void Tcp::take_handshake_ack(Tcb& tcb, SeqNum ack) noexcept {
  tcb.queue.acknowledge(static_cast<std::uint32_t>(ack - tcb.iss) - 1);
  tcb.snd.una = tcb.snd.nxt = ack;
}

// RFC 7323 2.2: the window of a SYN is not scaled.
std::uint16_t Tcp::syn_window(const TcpConnOptions& options) noexcept {
  return static_cast<std::uint16_t>(std::min(options.receive_buffer, 0xffffu));
}

TcpOptionValues Tcp::timestamp_option(std::uint32_t value, std::uint32_t echo) noexcept {
  TcpOptionValues options;
  options.has_timestamp = true;
  options.ts_value = value;
  options.ts_echo = echo;
  return options;
}

void Tcp::apply_syn_options(Tcb& tcb, const Segment& seg, const TcpOptionValues& options) noexcept {
  tcb.is.timestamps = tcb.is.timestamps && seg.has_timestamp;
  tcb.is.window_scaling = tcb.is.window_scaling && options.has_window_scale;
  tcb.is.sack = tcb.is.sack && options.sack_permitted;
  tcb.is.ecn = tcb.is.ecn && (seg.flags.has(TcpFlags::ack) ? agrees_to_ecn(seg) : asks_for_ecn(*tcb.options, seg));
  set_ecn_octet(tcb);
  tcb.send_scale = tcb.is.window_scaling ? options.window_scale : 0;
  tcb.recv_scale = tcb.is.window_scaling ? receive_scale(*tcb.options) : 0;
  if (tcb.is.timestamps) tcb.ts_recent = seg.ts_value;
  const std::uint16_t fallback = default_mss(tcb.key.is_v4());
  const std::uint16_t peer_mss = options.has_mss ? std::max(options.mss, peer_mss_min) : fallback;
  // RFC 9293 MUST-16: what the peer takes and our link carries, less the options that every segment has.
  const std::uint32_t options_size = tcb.is.timestamps ? TcpView::timestamp_option_size : 0;
  tcb.mss = static_cast<std::uint16_t>(std::min(peer_mss, local_mss(tcb.key.is_v4(), tcb.route, *tcb.options)) - options_size);
  tcb.advertised_mss = static_cast<std::uint16_t>(local_mss(tcb.key.is_v4(), tcb.route, *tcb.options) - options_size);
  tcb.recv_mss = std::min<std::uint16_t>(tcb.advertised_mss, static_cast<std::uint16_t>(fallback - options_size));
  tcb.snd.wnd = tcb.wnd_max = seg.window;  // RFC 7323 2.2: the window of a SYN is never scaled
  tcb.snd.wl1 = seg.seq;
  tcb.snd.wl2 = seg.ack;
}

// A connection in SYN-RECEIVED, of which its listener knows. Null when the table is full.
Tcb* Tcp::accept(Listener& listener, const FlowKey& key, std::uint32_t hash, const RouteCache& route) noexcept {
  Tcb* tcb = create(key, hash, *listener.handler, *listener.conn);
  if (tcb == nullptr) return nullptr;
  ++listener.half_open;
  tcb->listener = listeners_.handle(listeners_.index_of(listener));
  tcb->route = route;
  enter(*tcb, TcpState::syn_received);
  counters_.add(Counter::tcp_passive_opens);
  return tcb;
}

void Tcp::take_syn(Tcb& tcb, const Segment& syn, const TcpOptionValues& options) noexcept {
  tcb.rcv.nxt = syn.seq + 1;
  tcb.rcv.edge = tcb.rcv.nxt;
  tcb.is.timestamps = tcb.options->timestamps;
  tcb.is.window_scaling = tcb.options->window_scaling;
  tcb.is.sack = tcb.options->sack;
  tcb.is.ecn = takes_ecn(*tcb.options);
  apply_syn_options(tcb, syn, options);
}

// RFC 9293 3.10.7.2
DropReason Tcp::input_listen(Listener& listener, const FlowKey& key, std::uint32_t hash, Segment& seg,
                             const TcpOptionValues& options) noexcept {
  // First: a RST is ignored. Second: an ACK is answered by RST, unless it completes a handshake that only the peer
  // remembers. Third: a SYN is what we wait for.
  if (seg.flags.has(TcpFlags::rst)) return DropReason::tcp_listen_bad_segment;
  if (seg.flags.has(TcpFlags::ack)) return input_syn_cookie(listener, key, hash, seg);
  if (!seg.flags.has(TcpFlags::syn)) return DropReason::tcp_listen_bad_segment;
  if (draining_) return DropReason::tcp_draining;
  const bool pressed = listener.half_open >= listener.backlog;
  if (pressed && options_.syn_cookies == TcpSynCookies::off) return DropReason::tcp_backlog_full;
  RouteCache route;
  if (!ip_.resolve(key.remote, route, now_)) return DropReason::ip_no_route;
  if (pressed || options_.syn_cookies == TcpSynCookies::on) {
    if (tcbs_.full()) return DropReason::tcp_connections_full;  // the ACK would find no place
    send_syn_cookie(listener, key, route, seg, options);
    return DropReason::none;
  }
  Tcb* tcb = accept(listener, key, hash, route);
  if (tcb == nullptr) return DropReason::tcp_connections_full;
  take_syn(*tcb, seg, options);
  mark_dirty(*tcb);
  return tcb->options->fast_open && options.has_fast_open ? input_fast_open(*tcb, seg, options) : DropReason::none;
}

// RFC 4987 3.6: the SYN-ACK says all that is remembered, so it is sent at once and never again.
void Tcp::send_syn_cookie(Listener& listener, const FlowKey& key, RouteCache& route, const Segment& syn,
                          const TcpOptionValues& options) noexcept {
  const TcpConnOptions& ours = *listener.conn;
  const std::uint16_t fallback = default_mss(key.remote.is_v4());
  BareSegment answer{.key = key, .seq = cookies_.make(key, syn.seq, options.has_mss ? options.mss : fallback, now_),
                     .ack = syn.seq + 1, .flags = {TcpFlags::syn | TcpFlags::ack}, .window = syn_window(ours),
                     .ttl = ours.ttl, .tos = static_cast<std::uint8_t>(ours.tos & TcpConnOptions::diffserv_mask)};
  // Without timestamps there is no room for the other options, so they are not agreed to.
  if (syn.has_timestamp && ours.timestamps) {
    TcpOptionValues agreed;
    agreed.has_window_scale = options.has_window_scale && ours.window_scaling;
    agreed.window_scale = options.window_scale;  // the peer's: what we must know again
    agreed.sack_permitted = options.sack_permitted && ours.sack;
    std::uint32_t ts_offset = 0;
    initial_sequence(key, ts_offset);
    const bool ecn = takes_ecn(ours) && asks_for_ecn(ours, syn);
    if (ecn) answer.flags.bits |= TcpFlags::ece;
    if (ecn && (ours.congestion == TcpCongestion::dctcp || ours.ecn_plus_plus)) answer.tos = capable(answer.tos);
    answer.options = timestamp_option(SynCookies::timestamp(now_ms(), agreed, ecn) + ts_offset, syn.ts_value);
    answer.options.has_window_scale = agreed.has_window_scale;
    answer.options.window_scale = receive_scale(ours);
    answer.options.sack_permitted = agreed.sack_permitted;
  }
  answer.options.has_mss = true;
  answer.options.mss = local_mss(key.remote.is_v4(), route, ours);
  listener.cookies_until = now_ + SynCookies::period * 2;
  counters_.add(Counter::tcp_syn_cookies_sent);
  send_bare(answer, route);
}

// An ACK for a listener: the third segment of a handshake that we answered by a cookie, or nothing we know.
DropReason Tcp::input_syn_cookie(Listener& listener, const FlowKey& key, std::uint32_t hash, Segment& seg) noexcept {
  if (seg.flags.has(TcpFlags::syn) || now_ >= listener.cookies_until) return input_no_connection(key, seg);
  const SeqNum cookie = seg.ack - 1;
  const auto mss = cookies_.check(key, seg.seq - 1, cookie, now_);
  TcpOptionValues offered;
  bool valid = mss.has_value();
  bool ecn = false;
  if (valid && seg.has_timestamp && listener.conn->timestamps) {
    std::uint32_t ts_offset = 0;
    initial_sequence(key, ts_offset);
    const std::uint32_t stamp = seg.ts_echo - ts_offset;
    SynCookies::read_timestamp(stamp, offered);
    ecn = SynCookies::has_ecn(stamp);
    offered.has_timestamp = true;  // the SYN had it, or the echo would not be ours
    valid = now_ms() - stamp <= 2 * SynCookies::period.ms();
  }
  if (!valid) {
    counters_.add(Counter::tcp_syn_cookies_failed);
    return input_no_connection(key, seg);
  }
  offered.has_mss = true;
  offered.mss = *mss;
  if (draining_) return DropReason::tcp_draining;
  RouteCache route;
  if (!ip_.resolve(key.remote, route, now_)) return DropReason::ip_no_route;
  Tcb* tcb = accept(listener, key, hash, route);
  if (tcb == nullptr) return DropReason::tcp_connections_full;
  counters_.add(Counter::tcp_syn_cookies_received);
  // As if the SYN had just been answered; then the ACK does what it does in SYN-RECEIVED.
  Segment syn;
  syn.seq = seg.seq - 1;
  syn.has_timestamp = offered.has_timestamp;
  syn.ts_value = seg.ts_value;
  syn.flags = {static_cast<std::uint8_t>(TcpFlags::syn | (ecn ? TcpFlags::ece | TcpFlags::cwr : 0))};
  take_syn(*tcb, syn, offered);
  tcb->rcv.edge = tcb->rcv.nxt + syn_window(*tcb->options);
  SendSpace& snd = tcb->snd;
  tcb->iss = snd.una = cookie;
  snd.nxt = snd.max = seg.ack;
  tcb->progress = TimePoint::never();  // when the SYN-ACK was sent is not known
  return established_input(*tcb, seg);
}

// RFC 9293 3.10.7.3, in its order.
DropReason Tcp::input_syn_sent(Tcb& tcb, Segment& seg, const TcpOptionValues& options) noexcept {
  // First: an ACK of something never sent is answered by RST.
  const bool has_ack = seg.flags.has(TcpFlags::ack);
  const bool ack_ok = has_ack && seg.ack.after(tcb.iss) && seg.ack.before_eq(tcb.snd.max);
  if (has_ack && !ack_ok) {
    if (!seg.flags.has(TcpFlags::rst)) input_no_connection(key_of(tcb), seg);
    return DropReason::tcp_unacceptable_ack;
  }
  // Second: RST. Without an acceptable ACK it may come from anyone.
  if (seg.flags.has(TcpFlags::rst)) {
    if (!ack_ok) return DropReason::tcp_unacceptable_ack;
    finish(tcb, CloseReason::refused);
    return DropReason::tcp_rst_accepted;
  }
  // Fourth: SYN; fifth: neither SYN nor RST is dropped.
  if (!seg.flags.has(TcpFlags::syn)) return DropReason::tcp_bad_flags;
  const std::uint32_t offered = tcb.rcv.window();  // by our SYN: data may follow at once (RFC 7413)
  tcb.rcv.nxt = seg.seq + 1;
  tcb.rcv.edge = tcb.rcv.nxt + offered;
  apply_syn_options(tcb, seg, options);
  if (!has_ack) {
    // Simultaneous open (MUST-10): send SYN-ACK for the same SYN.
    enter(tcb, TcpState::syn_received);
    tcb.snd.nxt = tcb.snd.una;
    mark_dirty(tcb);
    return DropReason::none;
  }
  sample_handshake_rtt(tcb);
  if (tcb.options->fast_open) take_fast_open_answer(tcb, options);
  take_handshake_ack(tcb, seg.ack);
  tcb.rto_deadline = TimePoint::never();
  tcb.progress = now_;
  tcb.is.ack_now = true;
  // ECN++: a marked SYN-ACK is echoed like marked data, whoever asked for it (draft-ietf-tcpm-generalized-ecn 3.2.1).
  if (tcb.is.ecn && seg.ecn == EcnCodepoint::ce && tcb.options->congestion != TcpCongestion::dctcp) {
    counters_.add(Counter::tcp_ce_in);
    tcb.is.ece_due = true;
  }
  mark_dirty(tcb);
  established(tcb);
  if (tcb.state == TcpState::closed) return DropReason::none;
  // Sixth and seventh: urgent and other data that came with the SYN (a SYN with FIN was refused on entry).
  if (seg.flags.has(TcpFlags::urg)) take_urgent(tcb, seg);
  if (seg.length == 0 || tcb.state == TcpState::closed) return DropReason::none;
  seg.seq = seg.seq + 1;
  seg.flags.bits &= static_cast<std::uint8_t>(~TcpFlags::syn);
  advertise(tcb);
  return process_text(tcb, seg);
}

}  // namespace pollux
