#include "l4bench/kernel_transport.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <system_error>

namespace pollux::app {
namespace {

CloseReason reason_of(int error) noexcept {
  switch (error) {
    case 0:
      return CloseReason::normal;
    case ECONNREFUSED:
      return CloseReason::refused;
    case ECONNRESET:
    case EPIPE:
      return CloseReason::reset_by_peer;
    case ETIMEDOUT:
      return CloseReason::timed_out;
    case EHOSTUNREACH:
    case ENETUNREACH:
      return CloseReason::unreachable;
    default:
      return CloseReason::aborted;
  }
}

int error_of(int fd) noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
  return error;
}

}  // namespace

KernelTransport::KernelTransport(const Endpoint& remote, std::uint32_t connections)
    : epoll_(epoll_create1(EPOLL_CLOEXEC)), sockets_(connections), buffer_(read_size) {
  if (epoll_ < 0) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);  // where it stays too low, connect() fails and is counted
  }
  remote_.sin6_family = AF_INET6;  // carries IPv4 as ::ffff:a.b.c.d, which is IPv4 on the wire
  remote_.sin6_port = htons(remote.port);
  std::memcpy(&remote_.sin6_addr, remote.address.octets().data(), 16);
}

KernelTransport::~KernelTransport() {
  for (const Socket& socket : sockets_)
    if (socket.fd >= 0) ::close(socket.fd);
  ::close(epoll_);
}

void KernelTransport::run(Load& load, const std::atomic<bool>& interrupted) {
  load_ = &load;
  std::array<epoll_event, 256> events;
  std::int64_t next_tick = 0;
  while (!load.is_done() && !interrupted) {
    const int n = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 1);
    ++turn_;
    for (int i = 0; i < n; ++i) {
      const epoll_event& event = events[static_cast<std::size_t>(i)];
      handle(static_cast<Slot>(event.data.u64), event.events);
    }
    const std::int64_t now = now_ns();
    if (now < next_tick) continue;
    next_tick = now + 1'000'000;
    load.on_tick();
  }
}

bool KernelTransport::connect(Slot slot) noexcept {
  Socket& socket = sockets_[slot];
  const int fd = ::socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&remote_), sizeof remote_) != 0 &&
      errno != EINPROGRESS) {
    ::close(fd);
    return false;
  }
  socket = Socket{.fd = fd, .connecting = true};
  epoll_event event{};
  event.events = EPOLLIN | EPOLLOUT;
  event.data.u64 = slot;
  socket.wants_write = true;
  epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event);
  return true;
}

void KernelTransport::watch(Slot slot, bool for_write) noexcept {
  Socket& socket = sockets_[slot];
  if (socket.wants_write == for_write) return;
  socket.wants_write = for_write;
  epoll_event event{};
  event.events = for_write ? EPOLLIN | EPOLLOUT : EPOLLIN;
  event.data.u64 = slot;
  epoll_ctl(epoll_, EPOLL_CTL_MOD, socket.fd, &event);
}

std::uint32_t KernelTransport::send(Slot slot, std::span<const std::uint8_t> bytes) noexcept {
  Socket& socket = sockets_[slot];
  if (socket.turn != turn_) {
    socket.turn = turn_;
    socket.turn_octets = 0;
  }
  const std::size_t most = std::min<std::size_t>(bytes.size(), turn_octets_max - socket.turn_octets);
  const ssize_t taken =
      most == 0 ? 0 : std::max<ssize_t>(::send(socket.fd, bytes.data(), most, MSG_NOSIGNAL), 0);
  socket.turn_octets += static_cast<std::uint32_t>(taken);
  if (static_cast<std::size_t>(taken) < bytes.size())
    watch(slot, true);  // an error is reported there as well
  return static_cast<std::uint32_t>(taken);
}

void KernelTransport::finish(Slot slot) noexcept {
  ::shutdown(sockets_[slot].fd, SHUT_WR);
}

void KernelTransport::abort(Slot slot) noexcept {
  const linger reset{.l_onoff = 1, .l_linger = 0};
  setsockopt(sockets_[slot].fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(slot, CloseReason::aborted);
}

void KernelTransport::close(Slot slot, CloseReason reason) noexcept {
  ::close(std::exchange(sockets_[slot].fd, -1));
  load_->on_closed(slot, reason);
}

void KernelTransport::handle(Slot slot, std::uint32_t events) noexcept {
  Socket& socket = sockets_[slot];
  if (socket.fd < 0) return;  // closed by an earlier event of this turn
  if (socket.connecting) {
    if ((events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) == 0) return;
    if (const int error = error_of(socket.fd)) return close(slot, reason_of(error));
    socket.connecting = false;
    watch(slot, false);
    return load_->on_connected(slot);
  }
  const int fd = socket.fd;
  if (events & (EPOLLIN | EPOLLERR | EPOLLHUP)) receive(slot);
  if ((events & EPOLLOUT) && socket.fd == fd) {
    watch(slot, false);
    load_->on_writable(slot);
  }
}

/// One read a turn: the other connections have their turn too.
void KernelTransport::receive(Slot slot) noexcept {
  const ssize_t n = ::recv(sockets_[slot].fd, buffer_.data(), buffer_.size(), 0);
  if (n > 0) return load_->on_data(slot, {buffer_.data(), static_cast<std::size_t>(n)});
  if (n == 0) return close(slot, CloseReason::normal);
  if (errno != EAGAIN && errno != EINTR) close(slot, reason_of(errno));
}

std::int64_t KernelTransport::now_ns() const noexcept {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace pollux::app
