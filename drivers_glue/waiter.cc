#include "pollux/drivers_glue/waiter.h"

#include <fmt/core.h>
#include <poll.h>
#include <rte_epoll.h>
#include <rte_ethdev.h>
#include <sys/epoll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <stdexcept>

namespace pollux {

Waiter::Waiter(Doorbell& doorbell) : doorbell_(doorbell), epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_ < 0) throw std::runtime_error(fmt::format("epoll: {}", std::strerror(errno)));
}

Waiter::~Waiter() {
  for (const auto& [port, queue] : queues_)
    rte_eth_dev_rx_intr_ctl_q(port, queue, epoll_, RTE_INTR_EVENT_DEL, nullptr);
  close(epoll_);
}

bool shares_rx_interrupt(std::uint16_t port, std::uint16_t queue) noexcept {
  rte_eth_dev_info info;
  const int fd = rte_eth_dev_rx_intr_ctl_q_get_fd(port, queue);
  if (fd < 0 || rte_eth_dev_info_get(port, &info) != 0) return false;
  for (std::uint16_t other = 0; other < info.nb_rx_queues; ++other)
    if (other != queue && rte_eth_dev_rx_intr_ctl_q_get_fd(port, other) == fd) return true;
  return false;
}

bool Waiter::watch(std::uint16_t port, std::uint16_t queue) noexcept {
  // Only one core's epoll can hold it, and DPDK reports success to the others all the same.
  if (shares_rx_interrupt(port, queue)) return false;
  if (rte_eth_dev_rx_intr_ctl_q(port, queue, epoll_, RTE_INTR_EVENT_ADD, nullptr) != 0) return false;
  queues_.push_back({port, queue});
  return true;
}

void Waiter::arm() noexcept {
  doorbell_.arm();
  // Drivers whose descriptor simply becomes readable (net_tap) have nothing to switch on, and say so.
  for (const auto& [port, queue] : queues_) rte_eth_dev_rx_intr_enable(port, queue);
}

void Waiter::sleep(Duration duration) noexcept {
  const timespec limit = {static_cast<std::time_t>(duration.ns() / 1'000'000'000),
                          static_cast<long>(duration.ns() % 1'000'000'000)};
  // epoll_wait counts milliseconds; ppoll on the epoll descriptor counts nanoseconds.
  std::array<pollfd, 2> fds = {pollfd{doorbell_.fd(), POLLIN, 0}, pollfd{epoll_, POLLIN, 0}};
  ppoll(fds.data(), queues_.empty() ? 1 : 2, &limit, nullptr);
  if ((fds[1].revents & POLLIN) == 0) return;
  std::array<rte_epoll_event, 16> events;
  rte_epoll_wait(epoll_, events.data(), events.size(), 0);  // reads what the drivers' descriptors count
}

void Waiter::disarm() noexcept {
  doorbell_.disarm();
  for (const auto& [port, queue] : queues_) rte_eth_dev_rx_intr_disable(port, queue);
}

}  // namespace pollux
