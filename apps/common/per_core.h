// One T for every polling core, made on that core in Runtime::on_each_core and found again by its Stack.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "pollux/stack/stack.h"

namespace pollux::app {

/// Safe from any core. The objects live until the PerCore goes: declare it before the Runtime, so that it
/// outlives the stacks that call its handlers.
template <typename T>
class PerCore {
 public:
  /// Makes the calling core's T.
  template <typename... Args>
  T& emplace(const Stack& stack, Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    const std::lock_guard lock(mutex_);
    return *(objects_[&stack] = std::move(object));
  }
  /// The T that was made for `stack`.
  T& of(const Stack& stack) {
    const std::lock_guard lock(mutex_);
    return *objects_.at(&stack);
  }
  /// Calls f(T&) for each; only while no core runs.
  template <typename F>
  void for_each(F&& f) {
    for (auto& [stack, object] : objects_) f(*object);
  }

 private:
  std::mutex mutex_;
  std::map<const Stack*, std::unique_ptr<T>> objects_;
};

}  // namespace pollux::app
