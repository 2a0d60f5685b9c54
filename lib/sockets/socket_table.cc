// Descriptors, opening and closing, options.
#include "pollux/sockets/socket_table.h"

#include <netinet/in.h>
#include <netinet/tcp.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace pollux {
namespace {

int errno_of(const Error& error) noexcept {
  switch (error.code) {
    case ErrorCode::invalid_argument: return EINVAL;
    case ErrorCode::address_in_use: return EADDRINUSE;
    case ErrorCode::address_unavailable: return EADDRNOTAVAIL;
    case ErrorCode::no_route: return ENETUNREACH;
    case ErrorCode::limit_reached: return ENOBUFS;
    case ErrorCode::no_memory: return ENOBUFS;
    case ErrorCode::device: return EIO;
  }
  return EINVAL;
}

/// "Any" of either family is one address for the stack.
IpAddress plain(const IpAddress& address) noexcept { return address.is_unspecified() ? IpAddress() : address; }

bool fits(int domain, const IpAddress& address) noexcept { return domain == AF_INET6 || address.is_v4(); }

}  // namespace

SocketTable::~SocketTable() { close_all(); }

void SocketTable::close_all() noexcept {
  for (std::uint32_t i = 0; i < sockets_.touched(); ++i)
    if (Socket* socket = find(static_cast<int>(PX_FD_FIRST + i))) free(*socket);
}

SocketTable::Socket* SocketTable::find(int fd) noexcept {
  const auto index = static_cast<std::uint32_t>(fd - PX_FD_FIRST);
  return fd >= PX_FD_FIRST && index < sockets_.touched() && sockets_.is_live(index) ? &sockets_[index] : nullptr;
}

SocketTable::Socket* SocketTable::socket_of(TcpConn conn) noexcept {
  const std::uint64_t data = conn.user_data();
  return data == 0 ? nullptr : &sockets_[static_cast<std::uint32_t>(data - 1)];
}

void SocketTable::tie(Socket& socket, TcpConn conn) noexcept {
  socket.kind = Kind::stream;
  socket.conn = conn;
  conn.set_user_data(socket.index + 1);
  apply_options(socket);
}

SocketTable::Socket* SocketTable::add(int domain, int type) noexcept {
  const std::uint32_t index = sockets_.emplace();
  if (index == Slab<Socket>::nil) return nullptr;
  Socket& socket = sockets_[index];
  socket.table = this;
  socket.index = index;
  socket.domain = domain;
  socket.type = type;
  return &socket;
}

// Whatever it held is given back; a connection goes on to its end without it.
void SocketTable::free(Socket& socket) noexcept {
  unlist(socket);
  std::erase(listeners_, socket.index);
  socket.listener.close();
  for (const std::uint32_t index : socket.waiting) {
    sockets_[index].conn.abort();
    free(sockets_[index]);
  }
  socket.udp.close();
  if (socket.kind == Kind::stream && !socket.ended) {
    socket.conn.set_user_data(0);
    const bool unread = socket.has_queued();  // RFC 9293 3.6 (SHLD-3): the peer must learn that it was not heard
    socket.queue.clear();
    if (unread)
      socket.conn.abort();
    else
      socket.conn.close();
  }
  sockets_.erase(socket.index);
}

int SocketTable::open(int domain, int type, int protocol) noexcept {
  type &= ~(SOCK_NONBLOCK | SOCK_CLOEXEC);
  if (domain != AF_INET && domain != AF_INET6) return -EAFNOSUPPORT;
  if (type != SOCK_STREAM && type != SOCK_DGRAM) return -ESOCKTNOSUPPORT;
  if (protocol != 0 && protocol != (type == SOCK_STREAM ? IPPROTO_TCP : IPPROTO_UDP)) return -EPROTONOSUPPORT;
  const Socket* socket = add(domain, type);
  return socket == nullptr ? -EMFILE : static_cast<int>(PX_FD_FIRST + socket->index);
}

int SocketTable::bind(int fd, const Endpoint& local) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->kind != Kind::fresh || socket->bound.port != 0) return -EINVAL;
  if (!fits(socket->domain, local.address)) return -EAFNOSUPPORT;
  socket->bound = {plain(local.address), local.port};
  if (socket->type == SOCK_STREAM) return 0;
  const int result = bind_datagram(*socket);
  if (result != 0) socket->bound = {};
  return result;
}

int SocketTable::bind_datagram(Socket& socket) {
  auto udp = stack_.udp().bind({.address = socket.bound.address, .port = socket.bound.port}, socket);
  if (!udp) return -errno_of(udp.error());
  socket.udp = *udp;
  socket.bound.port = udp->local_port();
  socket.kind = Kind::datagram;
  return 0;
}

int SocketTable::listen(int fd, int backlog) {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->type != SOCK_STREAM) return -EOPNOTSUPP;
  socket->backlog = static_cast<std::uint32_t>(std::clamp(backlog, 1, 4096));
  if (socket->kind == Kind::listener) return 0;
  if (socket->kind != Kind::fresh || socket->bound.port == 0) return -EINVAL;
  auto listener = stack_.tcp().listen({.address = socket->bound.address, .port = socket->bound.port}, *this);
  if (!listener) return -errno_of(listener.error());
  socket->listener = *listener;
  socket->kind = Kind::listener;
  listeners_.push_back(socket->index);
  return 0;
}

int SocketTable::accept(int fd, Endpoint& remote) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->kind != Kind::listener) return -EINVAL;
  if (socket->waiting.empty()) return -EAGAIN;
  const std::uint32_t index = socket->waiting.front();
  socket->waiting.erase(socket->waiting.begin());
  remote = sockets_[index].bound;  // kept there until now: it may have ended
  sockets_[index].bound = {};
  return static_cast<int>(PX_FD_FIRST + index);
}

int SocketTable::connect(int fd, const Endpoint& remote) {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (!fits(socket->domain, remote.address)) return -EAFNOSUPPORT;
  if (socket->type == SOCK_DGRAM) {
    if (socket->kind == Kind::fresh)
      if (const int result = bind_datagram(*socket); result != 0) return result;
    const auto done = socket->udp.connect(remote);
    return done ? 0 : -errno_of(done.error());
  }
  if (socket->kind == Kind::stream) return socket->connected ? -EISCONN : socket->ended ? -ECONNABORTED : -EALREADY;
  if (socket->kind != Kind::fresh) return -EOPNOTSUPP;
  auto conn = stack_.tcp().connect({.remote = remote, .local = socket->bound}, *this);
  if (!conn) return -errno_of(conn.error());
  tie(*socket, *conn);
  return -EINPROGRESS;
}

int SocketTable::shutdown(int fd, int how) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR) return -EINVAL;
  if (socket->kind != Kind::stream || !socket->connected) return -ENOTCONN;
  if (how != SHUT_WR) {
    socket->read_shut = true;
    socket->queue.clear();
    socket->next = 0;
  }
  if (how != SHUT_RD) {
    socket->write_shut = true;
    socket->conn.shutdown_send();
  }
  may_be_ready(*socket);
  return 0;
}

int SocketTable::close(int fd) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  free(*socket);
  return 0;
}

int SocketTable::local(int fd, Endpoint& endpoint) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  endpoint = socket->kind == Kind::stream && !socket->ended ? socket->conn.local() : socket->bound;
  return 0;
}

int SocketTable::remote(int fd, Endpoint& endpoint) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (socket->kind == Kind::datagram) {
    endpoint = socket->udp.remote();
    return endpoint.port == 0 ? -ENOTCONN : 0;
  }
  if (socket->kind != Kind::stream || !socket->connected || socket->ended) return -ENOTCONN;
  endpoint = socket->conn.remote();
  return 0;
}

int SocketTable::domain(int fd) noexcept {
  const Socket* socket = find(fd);
  return socket == nullptr ? -EBADF : socket->domain;
}

// --- Options -------------------------------------------------------------------------------------------------

void SocketTable::apply_options(Socket& socket) noexcept {
  if (socket.no_delay) socket.conn.set_nagle(false);
  if (socket.keepalive) socket.conn.set_keepalive(true);
  if (!socket.lingering) return;
  const bool reset = socket.lingering->l_onoff != 0 && socket.lingering->l_linger == 0;
  socket.conn.set_reset_on_close(reset);
  socket.conn.set_linger(Duration::from_s(socket.lingering->l_onoff != 0 ? socket.lingering->l_linger : 0));
}

int SocketTable::set_option(int fd, int level, int name, std::span<const std::uint8_t> value) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  if (level == SOL_SOCKET && name == SO_LINGER) {
    if (value.size() < sizeof(linger)) return -EINVAL;
    linger given;
    std::memcpy(&given, value.data(), sizeof given);
    if (given.l_linger < 0 || given.l_linger > 3'000'000) return -EDOM;
    socket->lingering = given;
    apply_options(*socket);
    return 0;
  }
  int number = 0;
  if (value.size() < sizeof number) return -EINVAL;
  std::memcpy(&number, value.data(), sizeof number);
  if (level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT)) return 0;
  if (level == SOL_SOCKET && name == SO_KEEPALIVE) {
    socket->keepalive = number != 0;
    socket->conn.set_keepalive(socket->keepalive);
    return 0;
  }
  if (level == IPPROTO_TCP && socket->type == SOCK_STREAM) {
    if (name == TCP_NODELAY) {
      socket->no_delay = number != 0;
      socket->conn.set_nagle(!socket->no_delay);
      return 0;
    }
    if (name == TCP_CORK) return socket->conn.set_cork(number != 0) ? 0 : -ENOTCONN;
    if (name == TCP_QUICKACK) return socket->conn.set_delayed_ack(number == 0) ? 0 : -ENOTCONN;
  }
  if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && socket->domain == AF_INET6) {
    if (socket->kind != Kind::fresh) return -EINVAL;
    socket->v6_only = number != 0;
    return 0;
  }
  return -ENOPROTOOPT;
}

int SocketTable::get_option(int fd, int level, int name, std::span<std::uint8_t> value) noexcept {
  Socket* socket = find(fd);
  if (socket == nullptr) return -EBADF;
  int number = 0;
  if (level == SOL_SOCKET && name == SO_ERROR)
    number = std::exchange(socket->error, 0);
  else if (level == SOL_SOCKET && name == SO_TYPE)
    number = socket->type;
  else if (level == SOL_SOCKET && name == SO_DOMAIN)
    number = socket->domain;
  else if (level == SOL_SOCKET && name == SO_ACCEPTCONN)
    number = socket->kind == Kind::listener;
  else if (level == SOL_SOCKET && name == SO_KEEPALIVE)
    number = socket->keepalive;
  else if (level == IPPROTO_TCP && name == TCP_NODELAY)
    number = socket->no_delay;
  else if (level == IPPROTO_IPV6 && name == IPV6_V6ONLY && socket->domain == AF_INET6)
    number = socket->v6_only;
  else
    return -ENOPROTOOPT;
  std::memcpy(value.data(), &number, std::min(value.size(), sizeof number));
  return sizeof number;
}

}  // namespace pollux
