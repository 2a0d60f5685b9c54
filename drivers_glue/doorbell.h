// Wakes a polling core that sleeps. While it polls, ringing costs its visitors one look at a flag.
#pragma once

#include <atomic>

namespace pollux {

/// One per polling core. Its owner arms it, looks once more whether something waits, and sleeps on fd() until it is
/// readable; whoever leaves something for the core rings afterwards. So either the owner sees it, or the bell rings.
class Doorbell {
 public:
  /// Throws std::runtime_error.
  Doorbell();
  ~Doorbell();
  Doorbell(const Doorbell&) = delete;
  Doorbell& operator=(const Doorbell&) = delete;

  /// From any thread, after what it announces has become visible.
  void ring() noexcept {
    std::atomic_thread_fence(std::memory_order_seq_cst);  // what was left, before the look at the flag
    if (armed_.load(std::memory_order_relaxed)) [[unlikely]]
      wake();
  }
  /// Owner: from here on visitors ring.
  void arm() noexcept {
    armed_.store(true, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_seq_cst);  // the flag, before the owner's last look
  }
  /// Owner: awake again.
  void disarm() noexcept;
  int fd() const noexcept { return fd_; }

 private:
  void wake() const noexcept;

  alignas(64) std::atomic<bool> armed_ = false;  // a cache line of its own: others read it often
  alignas(64) int fd_ = -1;
};

}  // namespace pollux
