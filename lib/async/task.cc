#include "pollux/async/task.h"

namespace pollux::async {

/// A spawned task. Deferred twice: to start it, and to free it once it has suspended for good.
class TaskScope::Root final : public Deferred {
 public:
  Root(TaskScope& scope, Task<void> task) : scope_(scope), whole_(run_to_end(std::move(task))) {
    whole_.handle().promise().stack = &scope.stack_;
    next_ = scope.head_;
    if (next_ != nullptr) next_->prev_ = this;
    scope.head_ = this;
    ++scope.size_;
  }
  ~Root() override {
    (prev_ == nullptr ? scope_.head_ : prev_->next_) = next_;
    if (next_ != nullptr) next_->prev_ = prev_;
    --scope_.size_;
  }

 private:
  Task<void> run_to_end(Task<void> task) noexcept {
    co_await std::move(task);
    finished_ = true;
    scope_.stack_.defer(*this);
  }
  void run() noexcept override {
    if (finished_)
      delete this;
    else
      whole_.handle().resume();
  }
  TaskScope& scope_;
  Root* prev_ = nullptr;
  Root* next_ = nullptr;
  bool finished_ = false;
  Task<void> whole_;
};

void TaskScope::spawn(Task<void> task) {
  auto root = std::make_unique<Root>(*this, std::move(task));
  stack_.defer(*root.release());  // it frees itself
}

void TaskScope::cancel_all() noexcept {
  while (head_ != nullptr) delete head_;
}

namespace {

struct StackScope final : StackPart {
  explicit StackScope(Stack& stack) noexcept : scope(stack) {}
  TaskScope scope;
};

}  // namespace

void spawn(Stack& stack, Task<void> task) { stack.part<StackScope>().scope.spawn(std::move(task)); }

}  // namespace pollux::async
