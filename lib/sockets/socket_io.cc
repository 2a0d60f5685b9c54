// What moves: callbacks, receiving and sending, readiness.
#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pollux/sockets/socket_table.h"

namespace pollux {
namespace {

int errno_of(CloseReason reason, bool connected) noexcept {
  switch (reason) {
    case CloseReason::normal: return 0;
    case CloseReason::reset_by_peer: return ECONNRESET;
    case CloseReason::refused: return ECONNREFUSED;
    case CloseReason::timed_out: return ETIMEDOUT;
    case CloseReason::unreachable: return EHOSTUNREACH;
    case CloseReason::aborted: return ECONNABORTED;
    case CloseReason::stack_stopped: return connected ? ESHUTDOWN : ECONNABORTED;
  }
  return ECONNABORTED;
}

int errno_of(UdpError error) noexcept {
  switch (error) {
    case UdpError::port_unreachable: return ECONNREFUSED;
    case UdpError::host_unreachable: return EHOSTUNREACH;
    case UdpError::network_unreachable: return ENETUNREACH;
    case UdpError::protocol_unreachable: return ENOPROTOOPT;
    case UdpError::message_too_large: return EMSGSIZE;
    case UdpError::time_exceeded: return EHOSTUNREACH;
    case UdpError::other: return EPROTO;
  }
  return EPROTO;
}

int errno_of(SendStatus status) noexcept {
  switch (status) {
    case SendStatus::ok: return 0;
    case SendStatus::would_block: return EAGAIN;
    case SendStatus::closed: return EPIPE;
    case SendStatus::too_large: return EMSGSIZE;
    case SendStatus::no_route: return ENETUNREACH;
    case SendStatus::no_memory: return ENOBUFS;
  }
  return EIO;
}

std::size_t length_of(std::span<const iovec> pieces) noexcept {
  std::size_t length = 0;
  for (const iovec& piece : pieces) length += piece.iov_len;
  return length;
}

/// Copies what of `bytes` from `offset` on the pieces from octet `done` on have room for; returns how much.
std::size_t scatter(const Bytes& bytes, std::span<const iovec> pieces, std::size_t done) noexcept {
  std::size_t copied = 0;
  for (const iovec& piece : pieces) {
    if (done >= piece.iov_len) {
      done -= piece.iov_len;
      continue;
    }
    const std::size_t n = std::min(piece.iov_len - done, bytes.size() - copied);
    bytes.copy_out(static_cast<std::uint32_t>(copied), {static_cast<std::uint8_t*>(piece.iov_base) + done, n});
    copied += n;
    done = 0;
    if (copied == bytes.size()) break;
  }
  return copied;
}

/// The pieces one behind the other; null when the pool is exhausted.
WriteBuffer gather(Stack& stack, std::span<const iovec> pieces, std::uint32_t length) noexcept {
  WriteBuffer buffer = stack.alloc(length);
  if (!buffer) return buffer;
  std::size_t at = 0;  // in the first of `pieces`
  buffer.for_each_piece([&](std::span<std::uint8_t> room) {
    while (!room.empty()) {
      const std::size_t n = std::min(room.size(), pieces.front().iov_len - at);
      std::memcpy(room.data(), static_cast<const std::uint8_t*>(pieces.front().iov_base) + at, n);
      room = room.subspan(n);
      at += n;
      if (at != pieces.front().iov_len) continue;
      pieces = pieces.subspan(1);
      at = 0;
    }
  });
  return buffer;
}

}  // namespace

// --- Callbacks -----------------------------------------------------------------------------------------------

SocketTable::Socket* SocketTable::listener_of(TcpConn conn) noexcept {
  const Endpoint local = conn.local();
  Socket* any = nullptr;
  for (const std::uint32_t index : listeners_) {
    Socket& listener = sockets_[index];
    if (listener.bound.port != local.port) continue;
    if (listener.bound.address == local.address) return &listener;
    if (listener.bound.address.is_unspecified()) any = &listener;
  }
  return any;
}

void SocketTable::on_connected(TcpConn conn) noexcept {
  if (Socket* socket = socket_of(conn)) {  // opened by us
    socket->connected = true;
    return may_be_ready(*socket);
  }
  Socket* listener = listener_of(conn);
  const bool v4 = conn.local().address.is_v4();
  const bool wanted = listener != nullptr && (v4 ? !listener->v6_only : listener->domain == AF_INET6);
  Socket* socket = wanted && listener->waiting.size() < listener->backlog ? add(listener->domain, SOCK_STREAM) : nullptr;
  if (socket == nullptr) return conn.abort();
  socket->no_delay = listener->no_delay;
  socket->keepalive = listener->keepalive;
  socket->lingering = listener->lingering;
  socket->connected = true;
  socket->bound = conn.remote();  // for accept()
  tie(*socket, conn);
  listener->waiting.push_back(socket->index);
  may_be_ready(*listener);
}

void SocketTable::on_data(TcpConn conn, Bytes bytes) noexcept {
  Socket* socket = socket_of(conn);
  if (socket == nullptr || socket->read_shut) return;
  socket->queue.push_back({{}, std::move(bytes)});
  may_be_ready(*socket);
}

void SocketTable::on_writable(TcpConn conn) noexcept {
  if (Socket* socket = socket_of(conn)) may_be_ready(*socket);
}

void SocketTable::on_peer_closed(TcpConn conn) noexcept {
  Socket* socket = socket_of(conn);
  if (socket == nullptr) return;
  socket->peer_closed = true;
  may_be_ready(*socket);
}

void SocketTable::on_closed(TcpConn conn, CloseReason reason) noexcept {
  Socket* socket = socket_of(conn);
  if (socket == nullptr) return;
  conn.set_user_data(0);
  socket->error = errno_of(reason, socket->connected);
  socket->ended = true;
  may_be_ready(*socket);
}

void SocketTable::Socket::on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept {
  for (Datagram& datagram : datagrams) {
    const bool wanted = datagram.remote.address.is_v4() ? !v6_only : domain == AF_INET6;
    if (wanted) queue.push_back({datagram.remote, std::move(datagram.data)});
  }
  table->may_be_ready(*this);
}

void SocketTable::Socket::on_error(UdpSocket socket, const Endpoint&, UdpError what) noexcept {
  if (socket.remote().port == 0) return;  // as with Linux: an unconnected socket is not told (RFC 1122 4.1.3.3 allows it)
  error = errno_of(what);
  table->may_be_ready(*this);
}

// --- Receiving -----------------------------------------------------------------------------------------------

void SocketTable::Socket::pop() noexcept {
  if (++next < queue.size()) return;
  queue.clear();
  next = 0;
}

ssize_t SocketTable::receive(int fd, std::span<const iovec> pieces, int flags, Endpoint* remote) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if ((flags & ~(MSG_PEEK | MSG_TRUNC | MSG_DONTWAIT | MSG_NOSIGNAL)) != 0) return -EOPNOTSUPP;
  if (socket->type == SOCK_DGRAM) return receive_datagram(*socket, pieces, flags, remote);
  if ((flags & MSG_TRUNC) != 0) return -EOPNOTSUPP;
  if (socket->kind != Kind::stream) return -ENOTCONN;
  if (remote != nullptr && !socket->ended) *remote = socket->conn.remote();
  return receive_stream(*socket, pieces, (flags & MSG_PEEK) != 0);
}

ssize_t SocketTable::receive_stream(Socket& socket, std::span<const iovec> pieces, bool peek) noexcept {
  const std::size_t room = length_of(pieces);
  std::size_t done = 0;
  for (std::size_t i = socket.next; i < socket.queue.size() && done < room; i = peek ? i + 1 : socket.next) {
    Bytes& bytes = socket.queue[i].data;
    const std::size_t n = scatter(bytes, pieces, done);
    done += n;
    if (peek) continue;
    if (n < bytes.size()) {
      bytes.remove_prefix(static_cast<std::uint32_t>(n));
      break;
    }
    bytes.reset();
    socket.pop();
    if (socket.queue.empty()) break;
  }
  if (done != 0 || room == 0) return static_cast<ssize_t>(done);
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (socket.peer_closed || socket.ended || socket.read_shut) return 0;
  return -EAGAIN;
}

ssize_t SocketTable::receive_datagram(Socket& socket, std::span<const iovec> pieces, int flags, Endpoint* remote) noexcept {
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (!socket.has_queued()) return -EAGAIN;
  Received& first = socket.queue[socket.next];
  const std::size_t copied = first.data.empty() ? 0 : scatter(first.data, pieces, 0);
  const std::size_t result = (flags & MSG_TRUNC) != 0 ? first.data.size() : copied;
  if (remote != nullptr) *remote = first.remote;
  if ((flags & MSG_PEEK) == 0) {
    first.data.reset();
    socket.pop();
  }
  return static_cast<ssize_t>(result);
}

// --- Sending -------------------------------------------------------------------------------------------------

ssize_t SocketTable::send(int fd, std::span<const iovec> pieces, const Endpoint* remote) {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->type == SOCK_DGRAM) return send_datagram(*socket, pieces, remote);
  if (remote != nullptr && socket->kind == Kind::stream) return -EISCONN;
  return send_stream(*socket, pieces);
}

ssize_t SocketTable::send_stream(Socket& socket, std::span<const iovec> pieces) noexcept {
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (socket.kind != Kind::stream || socket.ended || socket.write_shut) return -EPIPE;
  if (!socket.connected) return -EAGAIN;
  std::size_t done = 0;
  for (const iovec& piece : pieces) {
    const std::span<const std::uint8_t> octets(static_cast<const std::uint8_t*>(piece.iov_base), piece.iov_len);
    const SendResult result = socket.conn.send(octets);
    done += result.accepted;
    if (result.status == SendStatus::ok) continue;
    if (done != 0) break;
    // No callback says when mbufs are back; readiness is looked at anew in each poll.
    return result.status == SendStatus::no_memory ? -EAGAIN : -errno_of(result.status);
  }
  return static_cast<ssize_t>(done);
}

ssize_t SocketTable::send_datagram(Socket& socket, std::span<const iovec> pieces, const Endpoint* remote) {
  constexpr std::size_t datagram_max = 65'507;
  if (socket.error != 0) return -std::exchange(socket.error, 0);
  if (remote != nullptr && socket.domain == AF_INET && !remote->address.is_v4()) return -EAFNOSUPPORT;
  const std::size_t length = length_of(pieces);
  if (length > datagram_max) return -EMSGSIZE;
  if (socket.kind == Kind::fresh)
    if (const int result = bind_datagram(socket); result != 0) return result;
  if (remote == nullptr && socket.udp.remote().port == 0) return -EDESTADDRREQ;
  SendStatus status;
  if (pieces.size() == 1) {
    const std::span<const std::uint8_t> data(static_cast<const std::uint8_t*>(pieces[0].iov_base), length);
    status = remote == nullptr ? socket.udp.send(data) : socket.udp.send_to(*remote, data);
  } else {
    WriteBuffer buffer = gather(stack_, pieces, static_cast<std::uint32_t>(length));
    if (!buffer) return -ENOBUFS;
    Bytes data = std::move(buffer).take();
    status = remote == nullptr ? socket.udp.send(std::move(data)) : socket.udp.send_to(*remote, std::move(data));
  }
  return status == SendStatus::ok ? static_cast<ssize_t>(length) : -errno_of(status);
}

// --- Readiness -----------------------------------------------------------------------------------------------

std::uint32_t SocketTable::readiness(const Socket& socket) const noexcept {
  std::uint32_t events = socket.error != 0 ? PX_ERR : 0;
  switch (socket.kind) {
    case Kind::fresh:
      return events | PX_OUT | (socket.type == SOCK_STREAM ? PX_HUP : 0);
    case Kind::listener:
      return events | (socket.waiting.empty() ? 0 : PX_IN);
    case Kind::datagram:
      return events | PX_OUT | (socket.has_queued() || socket.error != 0 ? PX_IN : 0);
    case Kind::stream:
      break;
  }
  const bool no_more = socket.peer_closed || socket.ended || socket.read_shut;
  if (socket.has_queued() || no_more) events |= PX_IN;
  if (no_more) events |= PX_RDHUP;
  if (socket.ended || (no_more && socket.write_shut)) events |= PX_HUP;
  if (socket.ended || socket.write_shut || (socket.connected && socket.conn.send_space() != 0)) events |= PX_OUT;
  return events;
}

void SocketTable::may_be_ready(Socket& socket) noexcept {
  if (socket.listed || socket.interest == 0) return;
  socket.listed = true;
  socket.ready_prev = ready_tail_;
  socket.ready_next = Slab<Socket>::nil;
  (ready_tail_ == Slab<Socket>::nil ? ready_head_ : sockets_[ready_tail_].ready_next) = socket.index;
  ready_tail_ = socket.index;
  ++ready_count_;
}

void SocketTable::unlist(Socket& socket) noexcept {
  if (!socket.listed) return;
  socket.listed = false;
  const std::uint32_t prev = socket.ready_prev, next = socket.ready_next;
  (prev == Slab<Socket>::nil ? ready_head_ : sockets_[prev].ready_next) = next;
  (next == Slab<Socket>::nil ? ready_tail_ : sockets_[next].ready_prev) = prev;
  --ready_count_;
}

int SocketTable::control(int fd, std::uint32_t events, std::uint64_t data) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if ((events & ~std::uint32_t{PX_IN | PX_OUT | PX_ERR | PX_HUP | PX_RDHUP}) != 0) return -EINVAL;
  socket->interest = events;
  socket->data = data;
  if (events == 0)
    unlist(*socket);
  else
    may_be_ready(*socket);
  return 0;
}

// Who is ready goes to the back, so that everybody has a turn however few events are asked for; it is looked at again in the
// next call. Who is not waits for a callback.
int SocketTable::collect(std::span<px_event> events) noexcept {
  std::size_t found = 0;
  for (std::uint32_t n = ready_count_; n > 0 && found < events.size(); --n) {
    Socket& socket = sockets_[ready_head_];
    unlist(socket);
    const std::uint32_t ready = readiness(socket) & (socket.interest | PX_ERR | PX_HUP);
    if (ready == 0) continue;
    events[found++] = {ready, socket.data};
    may_be_ready(socket);
  }
  return static_cast<int>(found);
}

int SocketTable::poll(LoopDriver& driver, std::span<px_event> events, int timeout_ms) noexcept {
  if (events.empty()) return -EINVAL;
  const TimePoint end = timeout_ms < 0 ? TimePoint::never() : driver.now() + Duration::from_ms(timeout_ms);
  int found = collect(events);
  // Whoever always finds something ready must move packets too.
  do {
    if (!driver.turn(found != 0 ? TimePoint{} : end)) return found != 0 ? found : -ESHUTDOWN;
    if (found == 0) found = collect(events);
  } while (found == 0 && driver.now() < end);
  return found;
}

}  // namespace pollux
