// LoopDriver: a core's loop for an application that calls it, instead of being called by it.
#pragma once

#include "pollux/base/time.h"

namespace pollux {

/// The owning core's only.
class LoopDriver {
 public:
  /// One turn: input, timers, output. Then, unless there was something to do, it waits for more as the idle policy says, until
  /// `until` at the latest. False: the core was told to end, and its connections are closed or out of time.
  virtual bool turn(TimePoint until) noexcept = 0;
  virtual TimePoint now() noexcept = 0;
  /// The core was told to end: nothing new is accepted.
  virtual bool is_draining() const noexcept = 0;

 protected:
  ~LoopDriver() = default;
};

}  // namespace pollux
