#include "pollux/drivers_glue/control.h"

#include <fmt/core.h>
#include <poll.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "pollux/base/check.h"

namespace pollux {
namespace {

sigset_t handled_signals() noexcept {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGHUP}) sigaddset(&set, signal);
  return set;
}

void add_real_time(sigset_t& set) noexcept {
  for (int signal = SIGRTMIN; signal <= SIGRTMAX; ++signal) sigaddset(&set, signal);
}

}  // namespace

Mailbox::Mailbox(const std::string& name, int numa_node, Doorbell& doorbell)
    : ring_(rte_ring_create(name.c_str(), capacity, numa_node, RING_F_SC_DEQ)), doorbell_(doorbell) {
  if (ring_ == nullptr)
    throw std::runtime_error(
        fmt::format("mailbox {}: no memory for its ring: {}", name, rte_strerror(rte_errno)));
}

void Mailbox::post(Call& message) noexcept {
  // Each waiting thread has one message, so only more than `capacity` threads at once make this wait.
  while (rte_ring_enqueue(ring_.get(), &message) != 0) sched_yield();
  doorbell_.ring();
}

void Mailbox::serve_waiting() noexcept {
  void* object = nullptr;
  for (unsigned i = 0; i < capacity && rte_ring_dequeue(ring_.get(), &object) == 0; ++i) {
    auto* message = static_cast<Call*>(object);
    message->run(message->target);
    message->done.release();
  }
}

ControlSignals::ControlSignals() {
  sigset_t set = handled_signals();
  add_real_time(set);
  sigaddset(&set, SIGIO);  // the kernel sends it instead of a real-time signal when too many are queued
  POLLUX_CHECK(pthread_sigmask(SIG_BLOCK, &set, &previous_) == 0, "pthread_sigmask");
}

ControlSignals::~ControlSignals() {
  // A second SIGTERM that came while the first was obeyed has had its effect.
  const sigset_t set = handled_signals();
  const timespec at_once{};
  while (sigtimedwait(&set, nullptr, &at_once) > 0) {
  }
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

PollingSignals::PollingSignals() {
  sigset_t set;
  sigemptyset(&set);
  add_real_time(set);
  POLLUX_CHECK(pthread_sigmask(SIG_UNBLOCK, &set, &previous_) == 0, "pthread_sigmask");
}

PollingSignals::~PollingSignals() {
  pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

ControlEvents::ControlEvents() {
  const sigset_t set = handled_signals();
  signal_fd_ = signalfd(-1, &set, SFD_CLOEXEC);
  wake_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (signal_fd_ < 0 || wake_fd_ < 0) {
    const int error = errno;
    if (signal_fd_ >= 0) close(signal_fd_);
    throw std::runtime_error(fmt::format("signalfd or eventfd: {}", std::strerror(error)));
  }
}

ControlEvents::~ControlEvents() {
  close(signal_fd_);
  close(wake_fd_);
}

ControlEvents::Kind ControlEvents::wait() {
  for (;;) {
    // poll() passes over negative descriptors.
    std::array<pollfd, 3> fds = {pollfd{signal_fd_, POLLIN, 0}, pollfd{wake_fd_, POLLIN, 0},
                                 pollfd{watched_fd_, POLLIN, 0}};
    if (poll(fds.data(), fds.size(), -1) < 0) {
      if (errno == EINTR) continue;
      throw std::runtime_error(fmt::format("poll: {}", std::strerror(errno)));
    }
    signalfd_siginfo info;
    if ((fds[0].revents & POLLIN) != 0 && read(signal_fd_, &info, sizeof info) == sizeof info)
      return info.ssi_signo == SIGUSR1  ? Kind::print
             : info.ssi_signo == SIGHUP ? Kind::reload
                                        : Kind::terminate;
    std::uint64_t count = 0;
    if ((fds[1].revents & POLLIN) != 0 && read(wake_fd_, &count, sizeof count) == sizeof count)
      return Kind::wake;
    if ((fds[2].revents & POLLIN) != 0) return Kind::watched;
  }
}

void ControlEvents::wake() noexcept {
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the reader is awake anyway.
  [[maybe_unused]] const auto written = write(wake_fd_, &one, sizeof one);
}

}  // namespace pollux
