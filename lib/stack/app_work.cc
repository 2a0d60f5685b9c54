#include "pollux/stack/app_work.h"

namespace pollux {

void AppTimer::cancel() noexcept {
  if (TimerNode::is_armed()) owner_->timers_.cancel(*this);
}

void Deferred::cancel() noexcept {
  if (owner_ != nullptr) owner_->unlink(*this);
}

AppWork::~AppWork() {
  while (head_ != nullptr) unlink(*head_);
  // What the application has armed is its own: it fires no more, and its destructor finds nothing to cancel.
  static_cast<void>(timers_.advance(TimePoint::never(), UINT32_MAX, [](TimerNode&) {}));
}

void AppWork::arm(AppTimer& timer, TimePoint when) noexcept {
  timer.owner_ = this;
  timers_.arm(timer, when);
}

void AppWork::defer(Deferred& deferred) noexcept {
  if (deferred.owner_ != nullptr) return;
  deferred.owner_ = this;
  deferred.prev_ = tail_;
  deferred.next_ = nullptr;
  (tail_ == nullptr ? head_ : tail_->next_) = &deferred;
  tail_ = &deferred;
}

void AppWork::unlink(Deferred& deferred) noexcept {
  (deferred.prev_ == nullptr ? head_ : deferred.prev_->next_) = deferred.next_;
  (deferred.next_ == nullptr ? tail_ : deferred.next_->prev_) = deferred.prev_;
  deferred.owner_ = nullptr;
}

void AppWork::expire(TimePoint now) noexcept {
  timers_behind_ = !timers_.advance(now, timers_per_advance,
                                    [now](TimerNode& node) { static_cast<AppTimer&>(node).on_timer(now); });
}

// Work that queues more is heard in the same flush, within a bound.
void AppWork::run_deferred() noexcept {
  for (std::uint32_t n = runs_per_flush; n > 0 && head_ != nullptr; --n) {
    Deferred& deferred = *head_;
    unlink(deferred);
    deferred.run();  // it may be gone afterwards
  }
}

}  // namespace pollux
