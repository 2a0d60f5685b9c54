// How the control thread reaches the polling cores (a mailbox per core) and how the world reaches the control
// thread (signals and wake-ups).
#pragma once

#include <rte_ring.h>

#include <csignal>
#include <cstdint>
#include <memory>
#include <semaphore>
#include <string>
#include <type_traits>

#include "pollux/drivers_glue/doorbell.h"

namespace pollux {

/// Calls from other threads, run by the owning core between two turns. The core's side is one look at a ring.
class Mailbox {
 public:
  /// `name` is unique among the process's rings; `doorbell` is the owning core's. Throws std::runtime_error when there
  /// is no memory.
  Mailbox(const std::string& name, int numa_node, Doorbell& doorbell);

  /// Runs what waits. On the owning core, once per turn.
  void serve() noexcept {
    if (rte_ring_empty(ring_.get()) == 0) [[unlikely]]
      serve_waiting();
  }
  bool has_waiting() const noexcept { return rte_ring_empty(ring_.get()) == 0; }
  /// Has the owning core run `f()`, which must not throw, and returns when it has. From any other thread;
  /// `while_waiting` is called over and over when that thread has something to serve itself, else nullptr.
  template <typename F>
  void call(F f, void (*while_waiting)(void*) noexcept = nullptr, void* context = nullptr) noexcept {
    static_assert(std::is_nothrow_invocable_v<F>);
    Call message([](void* target) noexcept { (*static_cast<F*>(target))(); }, &f);
    post(message);
    if (while_waiting == nullptr) {
      message.done.acquire();
    } else {
      while (!message.done.try_acquire()) while_waiting(context);
    }
  }

 private:
  static constexpr unsigned capacity = 64;
  struct Call {
    Call(void (*run_)(void*) noexcept, void* target_) noexcept : run(run_), target(target_) {}
    void (*run)(void*) noexcept;
    void* target;
    std::binary_semaphore done{0};
  };
  struct FreeRing {
    void operator()(rte_ring* ring) const noexcept { rte_ring_free(ring); }
  };
  void post(Call& message) noexcept;
  void serve_waiting() noexcept;

  std::unique_ptr<rte_ring, FreeRing> ring_;
  Doorbell& doorbell_;
};

/// Blocks the signals that Runtime handles in the calling thread, and so in every thread it starts; restores
/// the mask when destroyed. Real-time signals are blocked too: net_tap announces packets by them, and they
/// shall go to a polling core (see PollingSignals), not wake the control thread for each packet.
class ControlSignals {
 public:
  ControlSignals();
  ~ControlSignals();
  ControlSignals(const ControlSignals&) = delete;
  ControlSignals& operator=(const ControlSignals&) = delete;

 private:
  sigset_t previous_;
};

/// On a polling core: takes real-time signals while it lives, which also end a sleep early.
class PollingSignals {
 public:
  PollingSignals();
  ~PollingSignals();
  PollingSignals(const PollingSignals&) = delete;
  PollingSignals& operator=(const PollingSignals&) = delete;

 private:
  sigset_t previous_;
};

/// What the control thread waits for. Needs ControlSignals first.
class ControlEvents {
 public:
  enum class Kind : std::uint8_t { terminate, print, reload, wake, watched };

  ControlEvents();  ///< Throws std::runtime_error.
  ~ControlEvents();
  ControlEvents(const ControlEvents&) = delete;
  ControlEvents& operator=(const ControlEvents&) = delete;

  /// From now on wait() returns Kind::watched while `fd` is readable; -1: no longer.
  void watch(int fd) noexcept { watched_fd_ = fd; }
  /// Waits for SIGINT or SIGTERM (terminate), SIGUSR1 (print), SIGHUP (reload), or wake().
  Kind wait();
  /// Makes wait() return Kind::wake. From any thread or signal handler.
  void wake() noexcept;

 private:
  int signal_fd_ = -1;
  int wake_fd_ = -1;
  int watched_fd_ = -1;
};

}  // namespace pollux
