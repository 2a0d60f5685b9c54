// Connections of the kernel's sockets: one thread, epoll.
#pragma once

#include <netinet/in.h>

#include <atomic>
#include <cstdint>
#include <vector>

#include "l4bench/load.h"

namespace pollux::app {

class KernelTransport final : public Transport {
 public:
  /// Throws std::system_error when epoll or its memory is refused.
  KernelTransport(const Endpoint& remote, std::uint32_t connections);
  ~KernelTransport() override;
  KernelTransport(const KernelTransport&) = delete;
  KernelTransport& operator=(const KernelTransport&) = delete;

  /// Drives `load` until it is done, or until `interrupted`.
  void run(Load& load, const std::atomic<bool>& interrupted);

  bool connect(Slot slot) noexcept override;
  std::uint32_t send(Slot slot, std::span<const std::uint8_t> bytes) noexcept override;
  void finish(Slot slot) noexcept override;
  void abort(Slot slot) noexcept override;
  std::int64_t now_ns() const noexcept override;

 private:
  /// Octets one connection may send in a turn, so that a fast peer does not keep the loop.
  static constexpr std::uint32_t turn_octets_max = 1 << 20;
  static constexpr std::size_t read_size = 256 * 1024;

  struct Socket {
    int fd = -1;
    bool connecting = false;
    bool wants_write = false;
    std::uint32_t turn_octets = 0;
    std::uint64_t turn = 0;
  };

  void handle(Slot slot, std::uint32_t events) noexcept;
  void receive(Slot slot) noexcept;
  void close(Slot slot, CloseReason reason) noexcept;
  void watch(Slot slot, bool for_write) noexcept;

  sockaddr_in6 remote_{};
  int epoll_ = -1;
  std::uint64_t turn_ = 0;
  std::vector<Socket> sockets_;
  std::vector<std::uint8_t> buffer_;
  Load* load_ = nullptr;
};

}  // namespace pollux::app
