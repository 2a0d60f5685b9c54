// The functions of px.h: C's types and errno around the calling core's SocketTable.
#include "pollux/sockets/px.h"

#include <netinet/in.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "pollux/base/byte_order.h"
#include "pollux/sockets/socket_table.h"

namespace pollux {

CurrentSockets& current_sockets() noexcept {
  static thread_local CurrentSockets current;
  return current;
}

namespace {

template <typename F>
auto call(F&& f) noexcept -> decltype(f(std::declval<SocketTable&>())) {
  SocketTable* const table = current_sockets().table;
  if (table == nullptr) {
    errno = EPERM;
    return -1;
  }
  const auto result = f(*table);
  if (result >= 0) return result;
  errno = static_cast<int>(-result);
  return -1;
}

/// False: no address, or of a family that we do not know.
bool take(const sockaddr* address, socklen_t length, Endpoint& endpoint) noexcept {
  if (address == nullptr || length < sizeof(sa_family_t)) return false;
  if (address->sa_family == AF_INET && length >= sizeof(sockaddr_in)) {
    sockaddr_in v4;
    std::memcpy(&v4, address, sizeof v4);
    endpoint = {IpAddress::v4_from_wire(reinterpret_cast<const std::uint8_t*>(&v4.sin_addr)),
                load_be16(reinterpret_cast<const std::uint8_t*>(&v4.sin_port))};
    return true;
  }
  if (address->sa_family == AF_INET6 && length >= sizeof(sockaddr_in6)) {
    sockaddr_in6 v6;
    std::memcpy(&v6, address, sizeof v6);
    endpoint = {IpAddress::v6_from_wire(v6.sin6_addr.s6_addr),
                load_be16(reinterpret_cast<const std::uint8_t*>(&v6.sin6_port))};
    return true;
  }
  return false;
}

/// As getsockname(2) does: cut to `*length`, which then says how much there was.
void give(int domain, const Endpoint& endpoint, sockaddr* address, socklen_t* length) noexcept {
  if (address == nullptr || length == nullptr) return;
  sockaddr_in v4{};
  sockaddr_in6 v6{};
  const bool plain = domain == AF_INET;
  if (plain) {
    v4.sin_family = AF_INET;
    store_be16(reinterpret_cast<std::uint8_t*>(&v4.sin_port), endpoint.port);
    store_be32(reinterpret_cast<std::uint8_t*>(&v4.sin_addr), endpoint.address.v4_value());
  } else {
    v6.sin6_family = AF_INET6;
    store_be16(reinterpret_cast<std::uint8_t*>(&v6.sin6_port), endpoint.port);
    // An IPv4 peer of an IPv6 socket is ::ffff:a.b.c.d, which is how an IpAddress holds it; "any" is [::].
    if (!endpoint.address.is_unspecified()) std::memcpy(v6.sin6_addr.s6_addr, endpoint.address.octets().data(), 16);
  }
  const socklen_t size = plain ? sizeof v4 : sizeof v6;
  std::memcpy(address, plain ? static_cast<const void*>(&v4) : &v6, std::min(*length, size));
  *length = size;
}

}  // namespace
}  // namespace pollux

using namespace pollux;

extern "C" {

int px_socket(int domain, int type, int protocol) {
  return call([&](SocketTable& t) { return t.open(domain, type, protocol); });
}
int px_bind(int fd, const sockaddr* address, socklen_t length) {
  Endpoint local;
  return call([&](SocketTable& t) { return take(address, length, local) ? t.bind(fd, local) : -EINVAL; });
}
int px_listen(int fd, int backlog) {
  return call([&](SocketTable& t) { return t.listen(fd, backlog); });
}
int px_accept(int fd, sockaddr* address, socklen_t* length) {
  Endpoint remote;
  return call([&](SocketTable& t) {
    const int accepted = t.accept(fd, remote);
    if (accepted >= 0) give(t.domain(accepted), remote, address, length);
    return accepted;
  });
}
int px_connect(int fd, const sockaddr* address, socklen_t length) {
  Endpoint remote;
  return call([&](SocketTable& t) { return take(address, length, remote) ? t.connect(fd, remote) : -EINVAL; });
}

ssize_t px_recvfrom(int fd, void* buffer, size_t length, int flags, sockaddr* address, socklen_t* address_length) {
  const iovec piece{buffer, length};
  Endpoint remote;
  return call([&](SocketTable& t) {
    const ssize_t n = t.receive(fd, {&piece, 1}, flags, &remote);
    if (n >= 0) give(t.domain(fd), remote, address, address_length);
    return n;
  });
}
ssize_t px_recv(int fd, void* buffer, size_t length, int flags) {
  return px_recvfrom(fd, buffer, length, flags, nullptr, nullptr);
}
ssize_t px_sendto(int fd, const void* buffer, size_t length, int flags, const sockaddr* address, socklen_t address_length) {
  const iovec piece{const_cast<void*>(buffer), length};
  Endpoint remote;
  return call([&](SocketTable& t) -> ssize_t {
    if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) != 0) return -EOPNOTSUPP;
    if (address != nullptr && !take(address, address_length, remote)) return -EINVAL;
    return t.send(fd, {&piece, 1}, address == nullptr ? nullptr : &remote);
  });
}
ssize_t px_send(int fd, const void* buffer, size_t length, int flags) {
  return px_sendto(fd, buffer, length, flags, nullptr, 0);
}
ssize_t px_read(int fd, void* buffer, size_t length) { return px_recv(fd, buffer, length, 0); }
ssize_t px_write(int fd, const void* buffer, size_t length) { return px_send(fd, buffer, length, 0); }
ssize_t px_readv(int fd, const iovec* pieces, int count) {
  return call([&](SocketTable& t) -> ssize_t {
    return count < 0 ? -EINVAL : t.receive(fd, {pieces, static_cast<std::size_t>(count)}, 0, nullptr);
  });
}
ssize_t px_writev(int fd, const iovec* pieces, int count) {
  return call([&](SocketTable& t) -> ssize_t {
    return count < 0 ? -EINVAL : t.send(fd, {pieces, static_cast<std::size_t>(count)}, nullptr);
  });
}

int px_shutdown(int fd, int how) {
  return call([&](SocketTable& t) { return t.shutdown(fd, how); });
}
int px_close(int fd) {
  return call([&](SocketTable& t) { return t.close(fd); });
}
int px_getsockname(int fd, sockaddr* address, socklen_t* length) {
  Endpoint endpoint;
  return call([&](SocketTable& t) {
    const int result = t.local(fd, endpoint);
    if (result == 0) give(t.domain(fd), endpoint, address, length);
    return result;
  });
}
int px_getpeername(int fd, sockaddr* address, socklen_t* length) {
  Endpoint endpoint;
  return call([&](SocketTable& t) {
    const int result = t.remote(fd, endpoint);
    if (result == 0) give(t.domain(fd), endpoint, address, length);
    return result;
  });
}
int px_setsockopt(int fd, int level, int name, const void* value, socklen_t length) {
  return call([&](SocketTable& t) {
    return value == nullptr ? -EFAULT : t.set_option(fd, level, name, {static_cast<const std::uint8_t*>(value), length});
  });
}
int px_getsockopt(int fd, int level, int name, void* value, socklen_t* length) {
  return call([&](SocketTable& t) {
    if (value == nullptr || length == nullptr) return -EFAULT;
    const int size = t.get_option(fd, level, name, {static_cast<std::uint8_t*>(value), *length});
    if (size < 0) return size;
    *length = std::min(*length, static_cast<socklen_t>(size));
    return 0;
  });
}

int px_ctl(int fd, uint32_t events, uint64_t data) {
  return call([&](SocketTable& t) { return t.control(fd, events, data); });
}
int px_poll(px_event* events, int max, int timeout_ms) {
  return call([&](SocketTable& t) {
    if (events == nullptr || max <= 0) return -EINVAL;
    return t.poll(*current_sockets().driver, {events, static_cast<std::size_t>(max)}, timeout_ms);
  });
}
int px_is_draining(void) {
  const LoopDriver* const driver = current_sockets().driver;
  return driver != nullptr && driver->is_draining() ? 1 : 0;
}
uint64_t px_now(void) {
  LoopDriver* const driver = current_sockets().driver;
  return driver == nullptr ? 0 : static_cast<std::uint64_t>(driver->now().ns());
}

}  // extern "C"
