// The application's calls: handles and callbacks' defaults.
#include "pollux/tcp/conn.h"

#include <algorithm>
#include <iterator>

#include "pollux/tcp/tcp.h"

namespace pollux {

const char* tcp_state_name(TcpState state) noexcept {
  static constexpr const char* names[] = {"CLOSED",     "LISTEN",     "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
                                          "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",  "LAST-ACK",     "TIME-WAIT"};
  return names[static_cast<std::size_t>(state)];
}

const char* close_reason_name(CloseReason reason) noexcept {
  static constexpr const char* names[] = {"normal",      "reset by peer", "refused",      "timed out",
                                          "unreachable", "aborted",       "stack stopped"};
  return names[static_cast<std::size_t>(reason)];
}

// --- Handler defaults ----------------------------------------------------------------------------------------

void TcpHandler::on_connected(TcpConn) noexcept {}
void TcpHandler::on_urgent(TcpConn) noexcept {}
void TcpHandler::on_writable(TcpConn) noexcept {}
void TcpHandler::on_peer_closed(TcpConn conn) noexcept { conn.close(); }
void TcpHandler::on_closed(TcpConn, CloseReason) noexcept {}
void TcpHandler::on_soft_error(TcpConn) noexcept {}

// --- TcpConn -------------------------------------------------------------------------------------------------

SendResult TcpConn::send(Bytes&& bytes) noexcept {
  return tcp_ == nullptr ? SendResult{0, SendStatus::closed} : tcp_->send(handle_, bytes);
}
SendResult TcpConn::send(std::span<const std::uint8_t> bytes) noexcept {
  return tcp_ == nullptr ? SendResult{0, SendStatus::closed} : tcp_->send_copy(handle_, bytes);
}
SendResult TcpConn::send(std::string_view text) noexcept {
  return send(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}
SendResult TcpConn::send_external(const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
                                  ExternalSend& send) noexcept {
  return tcp_ == nullptr ? SendResult{0, SendStatus::closed} : tcp_->send_external(handle_, memory, bytes, send);
}
void TcpConn::shutdown_send() noexcept {
  if (Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_)) tcp_->shutdown_send(*tcb);
}
void TcpConn::close() noexcept {
  if (tcp_ != nullptr) tcp_->close(handle_);
}
void TcpConn::abort() noexcept {
  if (tcp_ != nullptr) tcp_->abort(handle_, CloseReason::aborted);
}
bool TcpConn::is_open() const noexcept { return state() != TcpState::closed; }
TcpState TcpConn::state() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? TcpState::closed : tcb->state;
}
std::uint32_t TcpConn::send_space() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? 0 : tcp_->send_space(*tcb);
}
std::uint32_t TcpConn::unacknowledged() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? 0 : tcb->queue.size();
}
Endpoint TcpConn::local() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? Endpoint{} : Endpoint{tcp_->key_of(*tcb).local, tcb->key.local_port};
}
Endpoint TcpConn::remote() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? Endpoint{} : Endpoint{tcp_->key_of(*tcb).remote, tcb->key.remote_port};
}
void TcpConn::set_user_data(std::uint64_t value) noexcept {
  if (Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_)) tcb->user_data = value;
}
std::uint64_t TcpConn::user_data() const noexcept {
  const Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr ? 0 : tcb->user_data;
}
SendResult TcpConn::send_urgent(std::span<const std::uint8_t> bytes) noexcept {
  return tcp_ == nullptr ? SendResult{0, SendStatus::closed} : tcp_->send_urgent(handle_, bytes);
}
std::uint32_t TcpConn::urgent_remaining() const noexcept {
  const Tcb* tcb = live();
  return tcb == nullptr ? 0 : tcp_->urgent_remaining(*tcb);
}

// --- Options of a live connection ----------------------------------------------------------------------------

Tcb* TcpConn::live() const noexcept {
  Tcb* tcb = tcp_ == nullptr ? nullptr : tcp_->find(handle_);
  return tcb == nullptr || tcb->state == TcpState::closed ? nullptr : tcb;
}
bool TcpConn::set_nagle(bool on) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  tcb->is.nagle = on;
  if (!on) tcp_->mark_dirty(*tcb);  // what Nagle held back may go now
  return true;
}
bool TcpConn::set_cork(bool on) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  tcb->is.cork = on;
  if (!on) tcp_->mark_dirty(*tcb);
  return true;
}
bool TcpConn::set_keepalive(bool on) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  tcb->is.keepalive = on;
  tcb->keepalives_sent = 0;
  tcp_->arm_keepalive(*tcb);
  return true;
}
bool TcpConn::set_tos(std::uint8_t tos) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  tcb->tos = tos;
  tcp_->set_ecn_octet(*tcb);
  return true;
}
bool TcpConn::change(const TcpConnOptions& options) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr || find_fault(options)) return false;
  tcp_->own_options(*tcb) = options;
  return true;
}
bool TcpConn::set_keepalive_times(Duration idle, Duration interval, std::uint8_t count) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.keepalive_idle = idle;
  options.keepalive_interval = interval;
  options.keepalive_count = count;
  return change(options) && set_keepalive(tcb->is.keepalive);
}
bool TcpConn::set_user_timeout(Duration timeout) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.user_timeout = timeout;
  if (!change(options)) return false;
  if (timeout > Duration{} && !tcb->rto_deadline.is_never())  // what is outstanding now is bounded too
    tcp_->set_deadline(*tcb, tcb->rto_deadline, std::min(tcb->rto_deadline, tcb->progress + timeout));
  return true;
}
bool TcpConn::set_delayed_ack(bool on) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.delayed_ack = on;
  if (!change(options)) return false;
  if (!on && tcb->is.ack_pending) {
    tcb->is.ack_now = true;
    tcp_->mark_dirty(*tcb);
  }
  return true;
}
bool TcpConn::set_linger(Duration time) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.linger = time;
  if (!change(options)) return false;
  if (tcb->is.app_closed && tcb->state != TcpState::fin_wait_2 && time != Duration{})
    tcp_->set_deadline(*tcb, tcb->idle_deadline, tcp_->now_ + time);
  return true;
}
bool TcpConn::set_reset_on_close(bool on) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.reset_on_close = on;
  return change(options);
}
bool TcpConn::set_pacing(bool on, std::uint32_t rate_max) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.pacing = on;
  options.pacing_rate_max = rate_max;
  if (!change(options)) return false;
  tcp_->set_pacing(*tcb, on && tcb->is.connected);
  if (!on) tcp_->mark_dirty(*tcb);  // what waited may go now
  return true;
}
bool TcpConn::set_not_sent_low_water(std::uint32_t octets) noexcept {
  Tcb* tcb = live();
  if (tcb == nullptr) return false;
  TcpConnOptions options = *tcb->options;
  options.not_sent_low_water = octets;
  return change(options);
}

// --- TcpListener ---------------------------------------------------------------------------------------------

void TcpListener::close() noexcept {
  if (tcp_ != nullptr) tcp_->close_listener(handle_);
}
bool TcpListener::is_open() const noexcept { return local_port() != 0; }
std::uint16_t TcpListener::local_port() const noexcept {
  const auto* listener = tcp_ == nullptr ? nullptr : tcp_->find_listener(handle_);
  return listener == nullptr ? std::uint16_t{0} : listener->port;
}
void TcpListener::set_backlog(std::uint32_t backlog) noexcept {
  auto* listener = tcp_ == nullptr ? nullptr : tcp_->find_listener(handle_);
  if (listener != nullptr) listener->backlog = std::max(backlog, 1u);
}

// --- What they do --------------------------------------------------------------------------------------------

namespace {

/// RFC 9293 3.10.2: SEND is an error once the sending side was closed, or before the connection exists.
bool accepts_data(const Tcb& tcb) noexcept {
  if (tcb.is.fin_queued) return false;
  return tcb.state == TcpState::established || tcb.state == TcpState::close_wait ||
         tcb.state == TcpState::syn_sent || tcb.state == TcpState::syn_received;
}

}  // namespace

// Twice the congestion window, so that the next round trip's data is there when this one's is acknowledged.
std::uint32_t Tcp::send_limit(const Tcb& tcb) const noexcept {
  const TcpConnOptions& options = *tcb.options;
  if (pool_low_ || !tcb.synchronized()) return options.send_buffer;
  return std::max(options.send_buffer, std::min(options.send_buffer_max / 2, tcb.cwnd()) * 2);
}

std::uint32_t Tcp::send_space(const Tcb& tcb) const noexcept {
  if (!accepts_data(tcb)) return 0;
  const TcpConnOptions& options = *tcb.options;
  const std::uint32_t queued = tcb.queue.size();
  const std::uint32_t limit = send_limit(tcb);
  const std::uint32_t space = queued < limit ? limit - queued : 0;
  if (options.not_sent_low_water == 0) return space;
  const std::uint32_t sent = tcb.synchronized() ? static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una) : 0;
  const std::uint32_t waiting = queued - std::min(queued, sent);
  return std::min(space, options.not_sent_low_water - std::min(options.not_sent_low_water, waiting));
}

// Space enough to tell the application of.
bool Tcp::is_writable(const Tcb& tcb) const noexcept {
  const TcpConnOptions& options = *tcb.options;
  const std::uint32_t low_water = options.not_sent_low_water;
  const std::uint32_t enough = send_limit(tcb) / 3;
  return send_space(tcb) >= (low_water == 0 ? enough : std::min(enough, std::max(low_water / 2, 1u)));
}

TcpConnOptions& Tcp::own_options(Tcb& tcb) noexcept { return extras_of(tcb).options; }

ConnExtras& Tcp::extras_of(Tcb& tcb) noexcept {
  if (tcb.extras == Slab<ConnExtras>::nil) {
    tcb.extras = extras_.emplace();
    POLLUX_CHECK(tcb.extras != Slab<ConnExtras>::nil, "as many extras as connections");
    extras_[tcb.extras].options = *tcb.options;
    tcb.options = &extras_[tcb.extras].options;
  }
  return extras_[tcb.extras];
}

// Counted once, when it is taken: a limit that falls later, with the congestion window, does not make what was within it
// hold the receive window down. Two ends that fill each other's queues would both close their windows for ever.
void Tcp::note_overdraft(Tcb& tcb, std::uint32_t added) noexcept {
  const std::uint32_t queued = tcb.queue.size();
  const std::uint32_t beyond = queued - std::min(queued, send_limit(tcb));
  if (beyond != 0) extras_of(tcb).overdraft += std::min(beyond, added);
}

SendResult Tcp::send(SlabHandle handle, Bytes& bytes) noexcept {
  Tcb* tcb = find(handle);
  if (tcb == nullptr || !accepts_data(*tcb)) return {0, SendStatus::closed};
  const std::uint32_t size = bytes.size();
  if (size == 0) return {};
  if (bytes.is_charged_to(&ledger_, handle)) {
    // Our own delivery sent back: bounded by the receive window, so taken whole. What lies beyond the send buffer
    // goes on counting against the window (free_receive_space).
    POLLUX_DCHECK(tcb->rcv.kept >= size);
    tcb->rcv.kept -= size;
    ledger_.mbufs -= bytes.packet().segment_count();
    tcb->queue.append(bytes.detach());
    if (tcb->queue.size() > tcb->options->send_buffer) [[unlikely]] note_overdraft(*tcb, size);
    consider_window_update(*tcb);
    mark_dirty(*tcb);
    return {size, SendStatus::ok};
  }
  const std::uint32_t space = send_space(*tcb);
  if (size <= space) {
    tcb->queue.append(bytes.take_packet());
    mark_dirty(*tcb);
    return {size, SendStatus::ok};
  }
  tcb->is.want_writable = true;
  if (space == 0) return {0, SendStatus::would_block};
  Bytes accepted = bytes.split_front(pool_, space);
  if (accepted.empty()) return {0, SendStatus::no_memory};
  tcb->queue.append(accepted.take_packet());
  mark_dirty(*tcb);
  return {space, SendStatus::would_block};
}

SendResult Tcp::send_copy(SlabHandle handle, std::span<const std::uint8_t> bytes) noexcept {
  Tcb* tcb = find(handle);
  if (tcb == nullptr || !accepts_data(*tcb)) return {0, SendStatus::closed};
  if (bytes.empty()) return {};
  const auto wanted = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), send_space(*tcb)));
  const std::uint32_t taken = tcb->queue.append_copy(pool_, bytes.first(wanted));
  if (taken != 0) mark_dirty(*tcb);
  if (taken == bytes.size()) return {taken, SendStatus::ok};
  tcb->is.want_writable = true;
  return {taken, taken < wanted ? SendStatus::no_memory : SendStatus::would_block};
}

SendResult Tcp::send_external(SlabHandle handle, const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
                              ExternalSend& send) noexcept {
  Tcb* tcb = find(handle);
  if (tcb == nullptr || !accepts_data(*tcb)) return {0, SendStatus::closed};
  if (bytes.empty()) return {};
  const std::uint32_t most = std::min(send_space(*tcb), ExternalSends::send_max);
  const auto taken = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), most));
  if (taken < bytes.size()) tcb->is.want_writable = true;
  if (taken == 0) return {0, SendStatus::would_block};
  Packet packet = external_.wrap(pool_, memory, bytes.first(taken), send);
  if (!packet) return {0, SendStatus::no_memory};
  tcb->queue.append(std::move(packet));
  mark_dirty(*tcb);
  return {taken, taken == bytes.size() ? SendStatus::ok : SendStatus::would_block};
}

void Tcp::shutdown_send(Tcb& tcb) noexcept {
  if (tcb.is.fin_queued) return;
  switch (tcb.state) {  // RFC 9293 3.10.4
    case TcpState::syn_sent:
    case TcpState::syn_received:
      tcb.is.fin_queued = true;  // queued until ESTABLISHED
      return;
    case TcpState::established:
      enter(tcb, TcpState::fin_wait_1);
      break;
    case TcpState::close_wait:
      enter(tcb, TcpState::last_ack);
      break;
    default:
      return;
  }
  tcb.is.fin_queued = true;
  mark_dirty(tcb);
}

void Tcp::close(SlabHandle handle) noexcept {
  Tcb* tcb = find(handle);
  if (tcb == nullptr || tcb->state == TcpState::closed || tcb->is.app_closed) return;
  if (tcb->state == TcpState::syn_sent) {  // RFC 9293 3.10.4: delete the TCB
    finish(*tcb, CloseReason::aborted);
    return;
  }
  if (tcb->options->reset_on_close) {
    abort(handle, CloseReason::aborted);
    return;
  }
  tcb->is.app_closed = true;
  shutdown_send(*tcb);
  if (tcb->state == TcpState::fin_wait_2) {
    set_deadline(*tcb, tcb->idle_deadline, now_ + options_.fin_wait_2_max);
  } else if (tcb->options->linger != Duration{}) {
    set_deadline(*tcb, tcb->idle_deadline, now_ + tcb->options->linger);
  }
}

void Tcp::abort(SlabHandle handle, CloseReason reason) noexcept {
  Tcb* tcb = find(handle);
  if (tcb == nullptr || tcb->state == TcpState::closed) return;
  send_reset(*tcb);
  finish(*tcb, reason);
}

void Tcp::close_listener(SlabHandle handle) noexcept {
  const Listener* listener = find_listener(handle);
  if (listener == nullptr) return;
  tcbs_.for_each([&](std::uint32_t, Tcb& tcb) {
    if (!tcb.is.defunct && tcb.state == TcpState::syn_received && tcb.listener == handle) {
      send_reset(tcb);
      finish(tcb, CloseReason::aborted);
    }
  });
  listener_index_.erase(port_hash(listener->port), handle.index);
  listeners_.erase(handle.index);
}

}  // namespace pollux
