// A kernel TCP or UDP socket as the peer, with a bound on every wait.
#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

namespace pollux::test {

class KernelSocket {
 public:
  static constexpr int seconds_max = 10;

  /// SOCK_STREAM or SOCK_DGRAM, connected to 10.77.0.2:`port`; check is_open().
  KernelSocket(int type, std::uint16_t port, int seconds = seconds_max) : fd_(socket(AF_INET, type, 0)) {
    const timeval limit = {seconds, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    inet_pton(AF_INET, "10.77.0.2", &address.sin_addr);
    error_ = connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 ? 0 : errno;
  }
  ~KernelSocket() { close(fd_); }
  KernelSocket(const KernelSocket&) = delete;
  KernelSocket& operator=(const KernelSocket&) = delete;

  bool is_open() const noexcept { return error_ == 0; }
  /// errno of the last call that failed.
  int error() const noexcept { return error_; }
  bool send(const std::string& text) {
    if (::send(fd_, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size())) return true;
    error_ = errno;
    return false;
  }
  /// Up to `octets`, until that many have come, the peer has closed, or an error.
  std::string receive(std::size_t octets) {
    std::string text;
    std::array<char, 65536> buffer{};
    while (text.size() < octets) {
      const auto n = recv(fd_, buffer.data(), std::min(buffer.size(), octets - text.size()), 0);
      if (n < 0) error_ = errno;
      if (n <= 0) break;
      text.append(buffer.data(), static_cast<std::size_t>(n));
    }
    return text;
  }

 private:
  int fd_;
  int error_ = 0;
};

}  // namespace pollux::test
