// The timer wheel against a sorted map, over random sequences of arm, cancel and advance.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <set>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/timer/timer_wheel.h"
#include "support/seed.h"

namespace pollux {
namespace {

constexpr std::int64_t tick_ns = TimerWheel::tick.ns();

std::int64_t tick_before(TimePoint t) {
  return t.ns() >> 16;
}
std::int64_t tick_after(TimePoint t) {
  return (t.ns() + tick_ns - 1) >> 16;
}

class Model {
 public:
  Model(Rng& rng, TimePoint start) : rng_(rng), now_(start), wheel_(start), processed_(tick_before(start)) {}
  ~Model() {
    for (Timer& timer : timers_) wheel_.cancel(timer);
  }

  void step() {
    switch (rng_.below(10)) {
      case 0:
      case 1:
      case 2:
      case 3:
      case 4:
        arm(any());
        break;
      case 5:
      case 6:
        cancel(any());
        break;
      default:
        advance();
        break;
    }
    check();
  }

 private:
  struct Timer : TimerNode {};
  using Due = std::multimap<std::int64_t, TimerNode*>;

  TimerNode& any() { return timers_[rng_.below(static_cast<std::uint32_t>(timers_.size()))]; }

  // From nanoseconds to days, sometimes on a tick and sometimes near a boundary of levels.
  std::int64_t random_span() {
    std::int64_t ns = static_cast<std::int64_t>(rng_.next() >> (18 + rng_.below(44)));
    if (rng_.chance(0.2)) ns = ns / tick_ns * tick_ns;
    if (rng_.chance(0.1)) ns = (ns | 0xffffff) + static_cast<std::int64_t>(rng_.below(3));
    return ns;
  }

  void arm(TimerNode& node) {
    const std::int64_t span = random_span();
    const TimePoint deadline = TimePoint::from_ns(now_.ns() + (rng_.chance(0.15) ? -span : span));
    const std::int64_t tick = tick_after(deadline);
    const bool waited = may_wait_.contains(&node);
    forget(node);
    due_.emplace(tick, &node);
    if (in_advance_) {
      if (tick <= processed_) must_wait_.insert(&node);
      // Not known exactly: where an incomplete advance stopped, and where a node waits that is moved to a
      // later time.
      if (tick <= processed_ || !was_complete_ || waited) may_wait_.insert(&node);
    }
    wheel_.arm(node, deadline);
  }

  void cancel(TimerNode& node) {
    forget(node);
    wheel_.cancel(node);
  }

  void forget(TimerNode& node) {
    must_wait_.erase(&node);
    may_wait_.erase(&node);
    for (auto it = due_.begin(); it != due_.end(); ++it) {
      if (it->second != &node) continue;
      due_.erase(it);
      return;
    }
  }

  void advance() {
    if (rng_.chance(0.9)) now_ = TimePoint::from_ns(now_.ns() + random_span());
    const bool is_limited = rng_.chance(0.4);
    const std::uint32_t budget = is_limited ? rng_.below(8) : 1u << 30;
    std::uint32_t fired = 0;
    in_advance_ = true;
    must_wait_.clear();
    may_wait_.clear();
    const bool is_complete = wheel_.advance(now_, budget, [&](TimerNode& node) {
      ++fired;
      on_expired(node);
    });
    in_advance_ = false;
    ASSERT_LE(fired, budget);
    if (!is_limited) {
      ASSERT_TRUE(is_complete);
    }
    if (!is_complete) {
      // How far it came is the wheel's business: only a complete advance pins the processed tick.
      was_complete_ = false;
      return;
    }
    for (const auto& [tick, node] : due_) {
      ASSERT_TRUE(tick > tick_before(now_) || may_wait_.contains(node))
          << "missed the node due at tick " << tick;
    }
    processed_ = tick_before(now_);
    was_complete_ = true;
  }

  void on_expired(TimerNode& node) {
    ASSERT_FALSE(node.is_armed());
    ASSERT_FALSE(must_wait_.contains(&node)) << "armed for the past, fired in the same advance";
    const auto it = std::find_if(due_.begin(), due_.end(), [&](const auto& d) { return d.second == &node; });
    ASSERT_NE(it, due_.end()) << "fired a node that is not armed";
    ASSERT_LE(node.deadline, now_) << "early";
    if (it->first > processed_) {
      if (was_complete_) {  // then nothing can be overdue but what was armed for the past
        ASSERT_TRUE(std::none_of(due_.begin(), it, [&](const auto& d) {
          return d.first < it->first && d.first > processed_;
        })) << "out of order";
      }
      processed_ = it->first;
    }
    due_.erase(it);
    if (rng_.chance(0.3)) arm(rng_.chance(0.5) ? node : any());
    if (rng_.chance(0.2)) cancel(any());
  }

  void check() {
    ASSERT_EQ(wheel_.armed(), due_.size());
    const TimePoint next = wheel_.next_deadline();
    ASSERT_EQ(next.is_never(), due_.empty());
    if (!due_.empty() && due_.begin()->first > tick_before(now_)) {
      ASSERT_LE(tick_before(next), due_.begin()->first) << "would sleep too long";
    }
    if (!due_.empty() && due_.begin()->first <= tick_before(now_)) {
      ASSERT_LE(next, now_) << "would sleep over due work";
    }
  }

  Rng& rng_;
  TimePoint now_;
  TimerWheel wheel_;
  std::vector<Timer> timers_{64};
  Due due_;
  std::set<TimerNode*> must_wait_;  // armed in the running advance for a tick already processed
  std::set<TimerNode*> may_wait_;   // those, and where the model does not know
  std::int64_t processed_;  // the tick that the wheel has reached at least; exactly, after a complete advance
  bool in_advance_ = false;
  bool was_complete_ = true;
};

TEST(TimerWheelModel, FiresWhatASortedMapWouldFire) {
  const std::uint64_t seed = test::seed_from_environment(20'260'101);
  for (std::uint64_t round = 0; round < 300; ++round) {
    SCOPED_TRACE(testing::Message() << "round " << round);
    Rng rng(seed + round);
    const auto start = static_cast<std::int64_t>(rng.next() >> (2 + rng.below(60)));
    Model model(rng, TimePoint::from_ns(round % 3 == 0 ? -start : start));
    for (int i = 0; i < 400; ++i) {
      model.step();
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

}  // namespace
}  // namespace pollux
