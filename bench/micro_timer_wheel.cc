// The timer wheel with as many timers as a busy server has.
#include <benchmark/benchmark.h>

#include <memory>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/timer/timer_wheel.h"

namespace pollux {
namespace {

using namespace literals;

// Timers spread over 200 ms, as retransmission timers are.
class Timers {
 public:
  explicit Timers(std::int64_t count) : nodes_(static_cast<std::size_t>(count)), wheel_(TimePoint{}) {
    for (TimerNode& node : nodes_) wheel_.arm(node, random_deadline());
  }
  ~Timers() {
    for (TimerNode& node : nodes_) wheel_.cancel(node);
  }
  TimePoint random_deadline() { return now + Duration::from_us(rng_.below(200'000)); }
  TimerNode& any() { return nodes_[rng_.below(static_cast<std::uint32_t>(nodes_.size()))]; }
  TimerWheel& wheel() { return wheel_; }
  TimePoint now;

 private:
  Rng rng_{1};
  std::vector<TimerNode> nodes_;
  TimerWheel wheel_;
};

void TimerCancelAndArm(benchmark::State& state) {
  Timers timers(state.range(0));
  for (auto _ : state) {
    TimerNode& node = timers.any();
    timers.wheel().cancel(node);
    timers.wheel().arm(node, timers.random_deadline());
  }
}
BENCHMARK(TimerCancelAndArm)->Arg(64)->Arg(10'000)->Arg(1'000'000);

// What an acknowledgment does to a retransmission timer.
void TimerRearmLater(benchmark::State& state) {
  Timers timers(state.range(0));
  std::int64_t us = 200'000;
  for (auto _ : state) timers.wheel().arm(timers.any(), timers.now + Duration::from_us(++us));
}
BENCHMARK(TimerRearmLater)->Arg(64)->Arg(10'000)->Arg(1'000'000);

// A core loop's turn in which nothing is due.
void TimerAdvanceIdle(benchmark::State& state) {
  Timers timers(1000);
  for (TimerNode* node = &timers.any(); node->is_armed(); node = &timers.any()) timers.wheel().cancel(*node);
  TimerNode far;
  timers.wheel().arm(far, TimePoint{} + Duration::from_s(1'000'000'000));
  for (auto _ : state) {
    timers.now = timers.now + 300_ns;
    benchmark::DoNotOptimize(timers.wheel().advance(timers.now, 1024, [](TimerNode&) {}));
  }
  timers.wheel().cancel(far);
}
BENCHMARK(TimerAdvanceIdle);

// Everything that fires is armed again: the cost of one expiry, moving down the levels included.
void TimerExpiry(benchmark::State& state) {
  Timers timers(state.range(0));
  std::int64_t fired = 0;
  while (state.KeepRunningBatch(1024)) {
    for (std::int64_t last = fired + 1024; fired < last;) {
      timers.now = timers.now + 10_us;
      timers.wheel().advance(timers.now, 4096, [&](TimerNode& node) {
        ++fired;
        timers.wheel().arm(node, timers.random_deadline());
      });
    }
  }
}
BENCHMARK(TimerExpiry)->Arg(10'000)->Arg(1'000'000);

void TimerJumpOverTenHours(benchmark::State& state) {
  TimerWheel wheel(TimePoint{});
  TimerNode node;
  TimePoint now;
  for (auto _ : state) {
    now = now + 36'000_s;
    wheel.arm(node, now);
    benchmark::DoNotOptimize(wheel.advance(now + TimerWheel::tick, 1024, [](TimerNode&) {}));
  }
  wheel.cancel(node);
}
BENCHMARK(TimerJumpOverTenHours);

}  // namespace
}  // namespace pollux
