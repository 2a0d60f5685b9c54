// Task: a coroutine of the application on one core's stack. Structured: whoever holds a Task owns the coroutine, and a Task
// that is destroyed before it has finished is cancelled, with everything that it waits for and holds.
#pragma once

#include <array>
#include <coroutine>
#include <cstdint>
#include <optional>
#include <tuple>
#include <type_traits>
#include <utility>
#include <variant>

#include "pollux/base/check.h"
#include "pollux/stack/stack.h"

namespace pollux::async {

template <typename T = void>
class Task;

namespace internal {

struct PromiseBase {
  Stack* stack = nullptr;  ///< that it runs on: its awaiter's
  std::coroutine_handle<> continuation = std::noop_coroutine();

  std::suspend_always initial_suspend() const noexcept { return {}; }
  /// Whoever waited goes on in our place.
  struct Final {
    bool await_ready() const noexcept { return false; }
    template <typename P>
    std::coroutine_handle<> await_suspend(std::coroutine_handle<P> self) const noexcept {
      return self.promise().continuation;
    }
    void await_resume() const noexcept {}
  };
  Final final_suspend() const noexcept { return {}; }
  /// Like one that leaves a handler: the data path is noexcept.
  void unhandled_exception() const noexcept { POLLUX_CHECK(false, "an exception left a coroutine"); }
};

template <typename T>
struct Promise : PromiseBase {
  std::optional<T> value;
  Task<T> get_return_object() noexcept;
  template <typename U>
  void return_value(U&& v) noexcept {
    value.emplace(std::forward<U>(v));
  }
  T take() noexcept { return std::move(*value); }
};
template <>
struct Promise<void> : PromiseBase {
  Task<void> get_return_object() noexcept;
  void return_void() const noexcept {}
  void take() const noexcept {}
};

}  // namespace internal

/// Move-only. Does nothing before it is awaited or spawned. Its frame comes from the heap when it is made and goes back when
/// it ends; awaiting reads, writes and sleeps allocates nothing.
template <typename T>
class [[nodiscard]] Task {
 public:
  using promise_type = internal::Promise<T>;
  using Handle = std::coroutine_handle<promise_type>;

  Task() noexcept = default;
  explicit Task(Handle handle) noexcept : handle_(handle) {}
  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      cancel();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() { cancel(); }

  explicit operator bool() const noexcept { return handle_ != nullptr; }
  /// Ends it where it stands: its variables are destroyed. Not from within itself.
  void cancel() noexcept {
    if (handle_) std::exchange(handle_, nullptr).destroy();
  }

  /// `co_await task` runs it on the awaiting coroutine's stack and gives what it returns. Once.
  struct Awaiter {
    Handle handle;
    bool await_ready() const noexcept { return false; }
    template <typename P>
    Handle await_suspend(std::coroutine_handle<P> awaiting) const noexcept {
      handle.promise().stack = awaiting.promise().stack;
      handle.promise().continuation = awaiting;
      return handle;
    }
    T await_resume() const noexcept { return handle.promise().take(); }
  };
  Awaiter operator co_await() && noexcept {
    POLLUX_CHECK(handle_, "a task that was moved from, or an empty one, is awaited");
    return Awaiter{handle_};
  }

  /// For what is built on tasks.
  Handle handle() const noexcept { return handle_; }

 private:
  Handle handle_;
};

namespace internal {

template <typename T>
Task<T> Promise<T>::get_return_object() noexcept {
  return Task<T>(std::coroutine_handle<Promise<T>>::from_promise(*this));
}
inline Task<void> Promise<void>::get_return_object() noexcept {
  return Task<void>(std::coroutine_handle<Promise<void>>::from_promise(*this));
}

/// A suspended coroutine that goes on in the stack's next flush once it is woken: never from within another coroutine or a
/// callback, so that any of them may be cancelled at any time. Lives in the coroutine's frame and goes with it.
class Waiter : public Deferred {
 public:
  template <typename P>
  void suspend(std::coroutine_handle<P> handle) noexcept {
    handle_ = handle;
    stack_ = handle.promise().stack;
    POLLUX_CHECK(stack_ != nullptr, "a coroutine that was not spawned on a stack waits");
  }
  void wake() noexcept { stack_->defer(*this); }
  Stack& stack() const noexcept { return *stack_; }

 private:
  /// False: it was woken too soon and waits on.
  virtual bool is_done() noexcept { return true; }
  void run() noexcept override {
    if (is_done()) handle_.resume();
  }
  std::coroutine_handle<> handle_;
  Stack* stack_ = nullptr;
};

class SleepAwaiter final : public AppTimer {
 public:
  SleepAwaiter(std::optional<Duration> time, TimePoint until) noexcept : time_(time), until_(until) {}
  bool await_ready() const noexcept { return false; }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    waiter_.suspend(handle);
    Stack& stack = waiter_.stack();
    stack.arm(*this, time_ ? stack.now() + *time_ : until_);
  }
  void await_resume() const noexcept {}

 private:
  void on_timer(TimePoint) noexcept override { waiter_.wake(); }
  Waiter waiter_;
  std::optional<Duration> time_;
  TimePoint until_;
};

struct Sleep {
  std::optional<Duration> time;
  TimePoint until;
  SleepAwaiter operator co_await() const noexcept { return {time, until}; }
};

struct CurrentStack {
  struct Awaiter {
    Stack* stack = nullptr;
    bool await_ready() const noexcept { return false; }
    template <typename P>
    bool await_suspend(std::coroutine_handle<P> handle) noexcept {
      stack = handle.promise().stack;
      return false;
    }
    Stack& await_resume() const noexcept { return *stack; }
  };
  Awaiter operator co_await() const noexcept { return {}; }
};

/// What `co_await` of an A gives.
template <typename A>
using ResultOf = decltype(std::declval<A&&>().operator co_await().await_resume());
template <typename A>
using AnyResult = std::conditional_t<std::is_void_v<ResultOf<A>>, std::monostate, ResultOf<A>>;

/// Starts all; the first to finish wakes whoever awaits.
template <typename... A>
class WhenAny {
 public:
  explicit WhenAny(A... awaitables) noexcept : awaitables_(std::move(awaitables)...) {}
  bool await_ready() const noexcept { return false; }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    waiter_.suspend(handle);
    start(std::index_sequence_for<A...>());
  }
  std::variant<AnyResult<A>...> await_resume() noexcept { return std::move(*result_); }

 private:
  /// Waits for one of them; destroying it cancels that one.
  template <std::size_t I>
  Task<void> watch() noexcept {
    using One = std::tuple_element_t<I, std::tuple<A...>>;
    if constexpr (std::is_void_v<ResultOf<One>>) {
      co_await std::move(std::get<I>(awaitables_));
      if (!result_) result_.emplace(std::in_place_index<I>);
    } else {
      ResultOf<One> value = co_await std::move(std::get<I>(awaitables_));
      if (!result_) result_.emplace(std::in_place_index<I>, std::move(value));
    }
    waiter_.wake();
  }
  template <std::size_t... I>
  void start(std::index_sequence<I...>) noexcept {
    ((watchers_[I] = watch<I>()), ...);
    for (Task<void>& watcher : watchers_) {
      watcher.handle().promise().stack = &waiter_.stack();
      watcher.handle().resume();
      if (result_) return;  // the others need not even begin
    }
  }

  std::tuple<A...> awaitables_;
  std::optional<std::variant<AnyResult<A>...>> result_;
  Waiter waiter_;
  std::array<Task<void>, sizeof...(A)> watchers_;  // destroyed first: they refer to the rest
};

}  // namespace internal

/// `co_await sleep(10_ms)`: not shorter, and at most TimerWheel::tick longer.
inline internal::Sleep sleep(Duration time) noexcept { return {time, {}}; }
inline internal::Sleep sleep_until(TimePoint when) noexcept { return {std::nullopt, when}; }

/// `Stack& stack = co_await current_stack()`.
inline internal::CurrentStack current_stack() noexcept { return {}; }

/// `co_await when_any(stream.read(), sleep(1_s))` runs all until the first has finished, cancels the others, and gives a
/// std::variant: index() says which, std::monostate stands for void. Of several that are ready the first one wins.
template <typename... A>
Task<std::variant<internal::AnyResult<A>...>> when_any(A... awaitables) noexcept {
  internal::WhenAny<A...> any(std::move(awaitables)...);
  co_return co_await any;
}

/// What the awaitable gives, or nothing when that took longer than `time` and was cancelled. Of one that gives nothing: whether
/// it finished.
template <typename A>
  requires(!std::is_void_v<internal::ResultOf<A>>)
Task<std::optional<internal::ResultOf<A>>> with_timeout(A awaitable, Duration time) noexcept {
  internal::WhenAny<A, internal::Sleep> any(std::move(awaitable), sleep(time));
  auto first = co_await any;
  if (first.index() != 0) co_return std::nullopt;
  co_return std::move(std::get<0>(first));
}
template <typename A>
  requires std::is_void_v<internal::ResultOf<A>>
Task<bool> with_timeout(A awaitable, Duration time) noexcept {
  internal::WhenAny<A, internal::Sleep> any(std::move(awaitable), sleep(time));
  const auto first = co_await any;
  co_return first.index() == 0;
}

/// Coroutines that run beside each other and end together: destroying the scope cancels those that have not finished. Belongs
/// to one core; must go before its Stack, or with it.
class TaskScope {
 public:
  explicit TaskScope(Stack& stack) noexcept : stack_(stack) {}
  TaskScope(const TaskScope&) = delete;
  TaskScope& operator=(const TaskScope&) = delete;
  ~TaskScope() { cancel_all(); }

  /// Starts `task` in the next flush. From anywhere on the core.
  void spawn(Task<void> task);
  /// Not from within one of them.
  void cancel_all() noexcept;
  std::uint32_t size() const noexcept { return size_; }

 private:
  class Root;
  Stack& stack_;
  Root* head_ = nullptr;
  std::uint32_t size_ = 0;
};

/// Spawns `task` on the stack's own scope: it runs until it finishes or the stack ends.
void spawn(Stack& stack, Task<void> task);

}  // namespace pollux::async
