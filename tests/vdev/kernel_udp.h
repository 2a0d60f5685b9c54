// The kernel's end of the TAP in both families, and its UDP sockets, with a bound on every wait.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>

#include "child.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace pollux::test {

struct Family {
  const char* name;
  int domain;
  const char* ours;
  const char* kernels;
};
inline constexpr Family families[] = {{"IPv4", AF_INET, "10.77.0.2", "10.77.0.1"},
                                      {"IPv6", AF_INET6, "fd00:77::2", "fd00:77::1"}};

inline IpAddress ours(const Family& family) { return *IpAddress::from_string(family.ours); }
inline IpAddress kernels(const Family& family) { return *IpAddress::from_string(family.kernels); }

/// tap_config() with IPv6 too, whose address is used at once.
inline Config tap_config_v6() {
  Config config = tap_config();
  config.ports[0].addresses.push_back(*IpPrefix::from_string("fd00:77::2/64"));
  config.ip.dad_solicitations = 0;
  return config;
}

inline void raise_kernel_side_v6() {
  shell("ip address add fd00:77::1/64 dev px0 nodad");
  raise_kernel_side();
}

inline socklen_t fill(sockaddr_storage& to, const Family& family, const char* address, std::uint16_t port) {
  to = {};
  if (family.domain == AF_INET) {
    auto& v4 = reinterpret_cast<sockaddr_in&>(to);
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    inet_pton(AF_INET, address, &v4.sin_addr);
    return sizeof v4;
  }
  auto& v6 = reinterpret_cast<sockaddr_in6&>(to);
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  inet_pton(AF_INET6, address, &v6.sin6_addr);
  return sizeof v6;
}

/// On the kernel's address and `local_port`, connected to our `port` (0: not connected).
class KernelUdp {
 public:
  KernelUdp(const Family& family, std::uint16_t local_port, std::uint16_t port)
      : family_(family), fd_(socket(family.domain, SOCK_DGRAM, 0)) {
    const timeval limit = {5, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    sockaddr_storage at;
    const socklen_t size = fill(at, family, family.kernels, local_port);
    EXPECT_EQ(bind(fd_, reinterpret_cast<const sockaddr*>(&at), size), 0) << std::strerror(errno);
    if (port == 0) return;
    fill(at, family, family.ours, port);
    EXPECT_EQ(connect(fd_, reinterpret_cast<const sockaddr*>(&at), size), 0) << std::strerror(errno);
  }
  ~KernelUdp() { close(fd_); }
  KernelUdp(const KernelUdp&) = delete;
  KernelUdp& operator=(const KernelUdp&) = delete;

  int fd() const { return fd_; }
  void set(int level, int option, int value) {
    EXPECT_EQ(setsockopt(fd_, level, option, &value, sizeof value), 0) << std::strerror(errno);
  }
  void send(const std::string& text) {
    EXPECT_EQ(::send(fd_, text.data(), text.size(), 0), static_cast<ssize_t>(text.size())) << std::strerror(errno);
  }
  void send_to(const char* address, std::uint16_t port, const std::string& text) {
    sockaddr_storage to;
    const socklen_t size = fill(to, family_, address, port);
    EXPECT_EQ(sendto(fd_, text.data(), text.size(), 0, reinterpret_cast<const sockaddr*>(&to), size),
              static_cast<ssize_t>(text.size()))
        << std::strerror(errno);
  }
  /// One datagram; "errno <n>" instead when that fails.
  std::string receive() {
    std::array<char, 65536> buffer{};
    const auto n = recv(fd_, buffer.data(), buffer.size(), 0);
    return n < 0 ? "errno " + std::to_string(errno) : std::string(buffer.data(), static_cast<std::size_t>(n));
  }

 private:
  const Family& family_;
  int fd_;
};

}  // namespace pollux::test
