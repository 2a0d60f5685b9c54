// What the application wants done later on its core: at a time, or in the next flush.
#pragma once

#include <cstdint>

#include "pollux/base/time.h"
#include "pollux/timer/timer_wheel.h"

namespace pollux {

class AppWork;

/// A moment of the application's. Inherit it, and arm it with Stack::arm. Only the owning core may touch it; destroying it
/// cancels it, and a Stack that ends forgets it.
class AppTimer : private TimerNode {
 public:
  AppTimer() noexcept = default;
  AppTimer(const AppTimer&) = delete;
  AppTimer& operator=(const AppTimer&) = delete;
  virtual ~AppTimer() { cancel(); }

  bool is_armed() const noexcept { return TimerNode::is_armed(); }
  void cancel() noexcept;

 protected:
  /// Once, not before its time and at most TimerWheel::tick late, from Stack::advance. It may arm itself again, and go.
  virtual void on_timer(TimePoint now) noexcept = 0;

 private:
  friend class AppWork;
  AppWork* owner_ = nullptr;
};

/// Something to be done outside of a callback, in the same turn. Inherit it, and queue it with Stack::defer. Like AppTimer
/// otherwise.
class Deferred {
 public:
  Deferred() noexcept = default;
  Deferred(const Deferred&) = delete;
  Deferred& operator=(const Deferred&) = delete;
  virtual ~Deferred() { cancel(); }

  bool is_queued() const noexcept { return owner_ != nullptr; }
  void cancel() noexcept;

 protected:
  /// Once, from Stack::flush, before anything is sent. It may queue itself again, and go.
  virtual void run() noexcept = 0;

 private:
  friend class AppWork;
  AppWork* owner_ = nullptr;
  Deferred* prev_ = nullptr;
  Deferred* next_ = nullptr;
};

/// One core's timers and deferred work of the application.
class AppWork {
 public:
  static constexpr std::uint32_t timers_per_advance = 1024;
  static constexpr std::uint32_t runs_per_flush = 4096;

  explicit AppWork(TimePoint now) noexcept : timers_(now) {}
  AppWork(const AppWork&) = delete;
  AppWork& operator=(const AppWork&) = delete;
  ~AppWork();

  /// (Re-)arms `timer`; never() cancels it.
  void arm(AppTimer& timer, TimePoint when) noexcept;
  /// Queues `deferred` behind what is queued; harmless when it is queued already.
  void defer(Deferred& deferred) noexcept;

  void advance(TimePoint now) noexcept {
    if (timers_.armed() != 0) [[unlikely]] expire(now);
  }
  void flush() noexcept {
    if (head_ != nullptr) [[unlikely]] run_deferred();
  }
  /// When there is something to do: `now` when it waits already.
  TimePoint next_deadline(TimePoint now) const noexcept {
    return head_ != nullptr || timers_behind_ ? now : timers_.next_deadline();
  }

 private:
  friend class AppTimer;
  friend class Deferred;
  void expire(TimePoint now) noexcept;
  void run_deferred() noexcept;
  void unlink(Deferred& deferred) noexcept;

  TimerWheel timers_;
  bool timers_behind_ = false;  // the last advance() ran out of its budget
  Deferred* head_ = nullptr;
  Deferred* tail_ = nullptr;
};

}  // namespace pollux
