#include "pollux/drivers_glue/doorbell.h"

#include <fmt/core.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <stdexcept>

namespace pollux {

Doorbell::Doorbell() : fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  if (fd_ < 0) throw std::runtime_error(fmt::format("eventfd: {}", std::strerror(errno)));
}

Doorbell::~Doorbell() {
  close(fd_);
}

void Doorbell::wake() const noexcept {
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = write(fd_, &one, sizeof one);  // fails only when it is rung already
}

void Doorbell::disarm() noexcept {
  armed_.store(false, std::memory_order_relaxed);
  std::uint64_t count = 0;
  [[maybe_unused]] const auto taken = read(fd_, &count, sizeof count);
}

}  // namespace pollux
