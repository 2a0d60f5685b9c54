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

// RFC 7323 2.3: the smallest shift that lets 16 bits express the whole receive buffer.
std::uint8_t Tcp::receive_scale(const TcpConnOptions& options) noexcept {
  std::uint8_t scale = 0;
  while (scale < 14 && (options.receive_buffer >> scale) > 0xffff) ++scale;
  return scale;
}

std::uint16_t Tcp::local_mss(const Tcb& tcb) const noexcept {
  const std::uint32_t headers = tcb.key.remote.is_v4() ? ip_tcp_headers_v4 : ip_tcp_headers_v6;
  return static_cast<std::uint16_t>(ip_.mtu(tcb.route.interface) - headers);
}

void Tcp::apply_syn_options(Tcb& tcb, const Segment& seg, const TcpOptionValues& options) noexcept {
  tcb.is.timestamps = tcb.is.timestamps && seg.has_timestamp;
  tcb.is.window_scaling = tcb.is.window_scaling && options.has_window_scale;
  tcb.is.sack = tcb.is.sack && options.sack_permitted;
  tcb.send_scale = tcb.is.window_scaling ? options.window_scale : 0;
  tcb.recv_scale = tcb.is.window_scaling ? receive_scale(*tcb.options) : 0;
  if (tcb.is.timestamps) tcb.ts_recent = seg.ts_value;
  const std::uint16_t fallback = tcb.key.remote.is_v4() ? default_mss_v4 : default_mss_v6;
  const std::uint16_t peer_mss = options.has_mss ? std::max(options.mss, peer_mss_min) : fallback;
  // RFC 9293 MUST-16: what the peer takes and our link carries, less the options that every segment has.
  const std::uint32_t options_size = tcb.is.timestamps ? TcpView::timestamp_option_size : 0;
  tcb.mss = static_cast<std::uint16_t>(std::min(peer_mss, local_mss(tcb)) - options_size);
  tcb.advertised_mss = static_cast<std::uint16_t>(local_mss(tcb) - options_size);
  tcb.recv_mss = std::min<std::uint16_t>(tcb.advertised_mss, static_cast<std::uint16_t>(fallback - options_size));
  tcb.snd.wnd = tcb.snd.wnd_max = seg.window;  // RFC 7323 2.2: the window of a SYN is never scaled
  tcb.snd.wl1 = seg.seq;
  tcb.snd.wl2 = seg.ack;
}

// RFC 9293 3.10.7.2
DropReason Tcp::input_listen(Listener& listener, const FlowKey& key, std::uint32_t hash, const Segment& seg,
                             const TcpOptionValues& options) noexcept {
  // First: a RST is ignored. Second: an ACK is answered by RST. Third: a SYN is what we wait for.
  if (seg.flags.has(TcpFlags::rst)) return DropReason::tcp_listen_bad_segment;
  if (seg.flags.has(TcpFlags::ack)) return input_no_connection(key, seg);
  if (!seg.flags.has(TcpFlags::syn)) return DropReason::tcp_listen_bad_segment;
  if (draining_) return DropReason::tcp_draining;
  if (listener.half_open >= listener.backlog) return DropReason::tcp_backlog_full;
  RouteCache route;
  if (!ip_.resolve(key.remote, route, now_)) return DropReason::ip_no_route;
  Tcb* tcb = create(key, hash, *listener.handler, *listener.conn);
  if (tcb == nullptr) return DropReason::tcp_connections_full;
  ++listener.half_open;
  tcb->listener = listeners_.handle(listeners_.index_of(listener));
  tcb->route = route;
  tcb->state = TcpState::syn_received;
  tcb->rcv.nxt = seg.seq + 1;
  tcb->rcv.edge = tcb->rcv.nxt;
  tcb->is.timestamps = tcb->options->timestamps;
  tcb->is.window_scaling = tcb->options->window_scaling;
  tcb->is.sack = tcb->options->sack;
  apply_syn_options(*tcb, seg, options);
  counters_.add(Counter::tcp_passive_opens);
  mark_dirty(*tcb);
  return DropReason::none;
}

// RFC 9293 3.10.7.3, in its order.
DropReason Tcp::input_syn_sent(Tcb& tcb, Segment& seg, const TcpOptionValues& options) noexcept {
  // First: an ACK of something never sent is answered by RST.
  const bool has_ack = seg.flags.has(TcpFlags::ack);
  const bool ack_ok = has_ack && seg.ack.after(tcb.snd.iss) && seg.ack.before_eq(tcb.snd.max);
  if (has_ack && !ack_ok) {
    if (!seg.flags.has(TcpFlags::rst)) input_no_connection(tcb.key, seg);
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
  tcb.rcv.nxt = seg.seq + 1;
  tcb.rcv.edge = tcb.rcv.nxt;
  apply_syn_options(tcb, seg, options);
  if (!has_ack) {
    // Simultaneous open (MUST-10): send SYN-ACK for the same SYN.
    tcb.state = TcpState::syn_received;
    tcb.snd.nxt = tcb.snd.una;
    mark_dirty(tcb);
    return DropReason::none;
  }
  sample_handshake_rtt(tcb);
  tcb.snd.una = tcb.snd.nxt = seg.ack;
  tcb.rto_deadline = TimePoint::never();
  tcb.progress = now_;
  tcb.is.ack_now = true;
  mark_dirty(tcb);
  established(tcb);
  if (tcb.state == TcpState::closed) return DropReason::none;
  // Seventh: data that came with the SYN (a SYN with FIN was refused on entry).
  if (seg.length == 0) return DropReason::none;
  seg.seq = seg.seq + 1;
  seg.flags.bits &= static_cast<std::uint8_t>(~TcpFlags::syn);
  advertise(tcb);
  return process_text(tcb, seg);
}

}  // namespace pollux
