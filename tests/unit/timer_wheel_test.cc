// The timer wheel: when nodes fire, what callbacks may do, budgets, and how far next_deadline() is off.
#include "pollux/timer/timer_wheel.h"

#include <gtest/gtest.h>

#include <array>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace pollux {
namespace {

constexpr std::uint32_t unlimited = 1u << 30;
constexpr std::int64_t tick_ns = TimerWheel::tick.ns();

TimePoint at(std::int64_t ns) {
  return TimePoint::from_ns(ns);
}
TimePoint tick_at(std::int64_t ticks) {
  return at(ticks * tick_ns);
}

struct Timer : TimerNode {
  int fired = 0;
};

// Counts; returns what advance() returned.
bool advance(TimerWheel& wheel, TimePoint now, std::uint32_t budget = unlimited) {
  return wheel.advance(now, budget, [](TimerNode& node) { ++static_cast<Timer&>(node).fired; });
}

struct FiringCase {
  const char* name;
  std::int64_t start;     // ns
  std::int64_t deadline;  // ns
  std::int64_t silent;    // the last moment at which it must not have fired
  std::int64_t due;       // the first moment at which it must
};

constexpr std::int64_t hour = 3'600'000'000'000;

const FiringCase firing_cases[] = {
    {"on_a_tick", 0, 5 * tick_ns, 5 * tick_ns - 1, 5 * tick_ns},
    {"between_ticks", 0, 5 * tick_ns + 1, 6 * tick_ns - 1, 6 * tick_ns},
    {"just_before_a_tick", 0, 6 * tick_ns - 1, 6 * tick_ns - 1, 6 * tick_ns},
    {"start_between_ticks", tick_ns / 2, tick_ns / 2 + 1, tick_ns - 1, tick_ns},
    {"last_of_level_0", 0, 255 * tick_ns, 255 * tick_ns - 1, 255 * tick_ns},
    {"first_of_level_1", 0, 256 * tick_ns, 256 * tick_ns - 1, 256 * tick_ns},
    {"next_tick_over_a_boundary", 255 * tick_ns, 256 * tick_ns, 256 * tick_ns - 1, 256 * tick_ns},
    {"next_tick_over_all_boundaries", 0xffffffff * tick_ns, 0x100000000 * tick_ns, 0x100000000 * tick_ns - 1,
     0x100000000 * tick_ns},
    {"200_ms", 0, 200'000'000, 200'000'000, 200'000'000 / tick_ns* tick_ns + tick_ns},
    {"2_hours", 0, 2 * hour, 2 * hour, 2 * hour / tick_ns* tick_ns + tick_ns},
    {"a_year", 0, 8766 * hour, 8766 * hour, 8766 * hour / tick_ns* tick_ns + tick_ns},
    {"before_the_epoch", -10 * tick_ns, -3 * tick_ns - 1, -3 * tick_ns - 1, -3 * tick_ns},
    {"across_the_epoch", -10 * tick_ns, 1, tick_ns - 1, tick_ns},
};

class TimerFiring : public testing::TestWithParam<FiringCase> {};

TEST_P(TimerFiring, NeverEarlyAndAtMostOneTickLate) {
  const FiringCase& c = GetParam();
  ASSERT_LT(c.due - c.deadline, tick_ns);
  TimerWheel wheel(at(c.start));
  Timer timer;
  wheel.arm(timer, at(c.deadline));
  EXPECT_LE(wheel.next_deadline(), at(c.due));
  EXPECT_TRUE(advance(wheel, at(c.silent)));
  EXPECT_EQ(timer.fired, 0);
  EXPECT_EQ(wheel.armed(), 1u);
  EXPECT_TRUE(advance(wheel, at(c.due)));
  EXPECT_EQ(timer.fired, 1);
  EXPECT_FALSE(timer.is_armed());
  EXPECT_EQ(wheel.armed(), 0u);
  EXPECT_EQ(wheel.next_deadline(), TimePoint::never());
}

INSTANTIATE_TEST_SUITE_P(Cases, TimerFiring, testing::ValuesIn(firing_cases),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(TimerWheel, ADeadlineInThePastFiresInTheNextAdvanceEvenAtTheSameTime) {
  TimerWheel wheel(tick_at(100));
  Timer past, present;
  EXPECT_TRUE(advance(wheel, tick_at(200)));
  wheel.arm(past, tick_at(3));
  wheel.arm(present, tick_at(200));
  EXPECT_LE(wheel.next_deadline(), tick_at(200));
  EXPECT_TRUE(advance(wheel, tick_at(200)));
  EXPECT_EQ(past.fired, 1);
  EXPECT_EQ(present.fired, 1);
}

TEST(TimerWheel, AClockThatStandsOrGoesBackDoesNothing) {
  TimerWheel wheel(at(0));
  Timer timer;
  EXPECT_TRUE(advance(wheel, tick_at(1000)));
  wheel.arm(timer, tick_at(1001));
  EXPECT_TRUE(advance(wheel, tick_at(1000)));
  EXPECT_TRUE(advance(wheel, tick_at(10)));
  EXPECT_EQ(wheel.next_deadline(), tick_at(1001));
  EXPECT_EQ(timer.fired, 0);
  EXPECT_TRUE(advance(wheel, tick_at(1001)));
  EXPECT_EQ(timer.fired, 1);
}

TEST(TimerWheel, NeverIsNoDeadline) {
  TimerWheel wheel(at(0));
  Timer timer;
  wheel.arm(timer, TimePoint::never());
  EXPECT_FALSE(timer.is_armed());
  wheel.arm(timer, tick_at(1));
  wheel.arm(timer, TimePoint::never());
  EXPECT_FALSE(timer.is_armed());
  EXPECT_EQ(wheel.armed(), 0u);
  EXPECT_TRUE(advance(wheel, tick_at(5)));
  EXPECT_EQ(timer.fired, 0);
}

TEST(TimerWheel, CancelIsHarmlessWhenNotArmed) {
  TimerWheel wheel(at(0));
  Timer timer;
  wheel.cancel(timer);
  wheel.arm(timer, tick_at(300));
  wheel.cancel(timer);
  wheel.cancel(timer);
  EXPECT_EQ(wheel.armed(), 0u);
  EXPECT_EQ(wheel.next_deadline(), TimePoint::never());
  EXPECT_TRUE(advance(wheel, tick_at(1000)));
  EXPECT_EQ(timer.fired, 0);
}

TEST(TimerWheel, CancellingOneNodeOfASlotKeepsTheOthers) {
  TimerWheel wheel(at(0));
  std::array<Timer, 3> timers;
  for (Timer& timer : timers) wheel.arm(timer, tick_at(70'000));
  wheel.cancel(timers[1]);
  EXPECT_LE(wheel.next_deadline(), tick_at(70'000));
  EXPECT_TRUE(advance(wheel, tick_at(70'000)));
  EXPECT_EQ(timers[0].fired, 1);
  EXPECT_EQ(timers[1].fired, 0);
  EXPECT_EQ(timers[2].fired, 1);
}

struct RearmCase {
  const char* name;
  std::int64_t first, second;  // ticks
};

class TimerRearm : public testing::TestWithParam<RearmCase> {};

TEST_P(TimerRearm, FiresOnceAtTheLastDeadline) {
  const auto& [name, first, second] = GetParam();
  TimerWheel wheel(at(0));
  Timer timer;
  wheel.arm(timer, tick_at(first));
  wheel.arm(timer, tick_at(second));
  EXPECT_EQ(wheel.armed(), 1u);
  EXPECT_LE(wheel.next_deadline(), tick_at(second));
  EXPECT_TRUE(advance(wheel, tick_at(second - 1)));
  EXPECT_EQ(timer.fired, 0);
  EXPECT_TRUE(advance(wheel, tick_at(second)));
  EXPECT_TRUE(advance(wheel, tick_at(first + second)));
  EXPECT_EQ(timer.fired, 1);
}

INSTANTIATE_TEST_SUITE_P(Cases, TimerRearm,
                         testing::Values(RearmCase{"later", 10, 20}, RearmCase{"earlier", 20, 10},
                                         RearmCase{"the_same", 10, 10}, RearmCase{"later_level", 10, 100'000},
                                         RearmCase{"earlier_level", 100'000, 10}),
                         [](const auto& test) { return std::string(test.param.name); });

TEST(TimerWheel, FiresInTheOrderOfDeadlinesOverALongJump) {
  TimerWheel wheel(tick_at(250));
  std::deque<Timer> timers;
  for (const std::int64_t t : {1'000'000, 251, 20'000'000, 256, 70'000, 255, 65'536, 512, 16'777'216, 511})
    wheel.arm(timers.emplace_back(), tick_at(t));
  std::vector<std::int64_t> fired;
  EXPECT_TRUE(wheel.advance(at(10 * hour), unlimited,
                            [&](TimerNode& node) { fired.push_back(node.deadline.ns() / tick_ns); }));
  EXPECT_EQ(fired, (std::vector<std::int64_t>{251, 255, 256, 511, 512, 65'536, 70'000, 1'000'000, 16'777'216,
                                              20'000'000}));
}

TEST(TimerWheel, ReachesAFarNodeInOneProcessingStepPerLevelAtMost) {
  TimerWheel wheel(tick_at(1));
  Timer timer;
  wheel.arm(timer, at(1'000 * hour + 12'345'678'901));
  EXPECT_TRUE(advance(wheel, at(2'000 * hour), 6));
  EXPECT_EQ(timer.fired, 1);
}

TEST(TimerWheel, ACallbackMayCancelTheNodeThatIsDueNext) {
  TimerWheel wheel(at(0));
  std::array<Timer, 4> timers;
  for (Timer& timer : timers) wheel.arm(timer, tick_at(7));
  int fired = 0;
  wheel.advance(tick_at(7), unlimited, [&](TimerNode& node) {
    ++fired;
    for (Timer& other : timers)
      if (&other != &node) wheel.cancel(other);
  });
  EXPECT_EQ(fired, 1);
  EXPECT_EQ(wheel.armed(), 0u);
}

TEST(TimerWheel, ACallbackThatRearmsForThePastIsNotCalledAgainInTheSameAdvance) {
  TimerWheel wheel(at(0));
  Timer timer;
  wheel.arm(timer, tick_at(7));
  const auto rearm = [&](TimerNode& node) {
    ++timer.fired;
    wheel.arm(node, tick_at(2));
  };
  EXPECT_TRUE(wheel.advance(tick_at(100), unlimited, rearm));
  EXPECT_EQ(timer.fired, 1);
  EXPECT_LE(wheel.next_deadline(), tick_at(100));
  EXPECT_TRUE(wheel.advance(tick_at(100), unlimited, rearm));
  EXPECT_EQ(timer.fired, 2);
  wheel.cancel(timer);
}

TEST(TimerWheel, ACallbackMayArmForATimeInsideTheRunningJump) {
  TimerWheel wheel(at(0));
  Timer timer;
  wheel.arm(timer, tick_at(10));
  EXPECT_TRUE(wheel.advance(tick_at(1000), unlimited, [&](TimerNode& node) {
    ++timer.fired;
    wheel.arm(node, node.deadline + TimerWheel::tick * 100);
  }));
  EXPECT_EQ(timer.fired, 10);  // at 10, 110, ..., 910
  wheel.cancel(timer);
}

TEST(TimerWheel, ACallbackMayDestroyItsOwner) {
  TimerWheel wheel(at(0));
  auto owner = std::make_unique<Timer>();
  auto other = std::make_unique<Timer>();
  wheel.arm(*owner, tick_at(1));
  wheel.arm(*other, tick_at(1));
  EXPECT_TRUE(wheel.advance(tick_at(1), unlimited, [&](TimerNode& node) {
    if (&node == owner.get())
      owner.reset();
    else
      other.reset();
  }));
  EXPECT_FALSE(owner);
  EXPECT_FALSE(other);
}

TEST(TimerWheel, GoesOnAfterItsBudgetRanOut) {
  TimerWheel wheel(at(0));
  std::array<Timer, 10> timers;
  for (Timer& timer : timers) wheel.arm(timer, tick_at(3));
  const auto fired = [&] {
    int sum = 0;
    for (const Timer& timer : timers) sum += timer.fired;
    return sum;
  };
  EXPECT_FALSE(advance(wheel, tick_at(50), 4));
  EXPECT_EQ(fired(), 4);
  EXPECT_EQ(wheel.armed(), 6u);
  EXPECT_LE(wheel.next_deadline(), tick_at(50));
  EXPECT_FALSE(advance(wheel, tick_at(50), 0));
  EXPECT_EQ(fired(), 4);
  EXPECT_TRUE(advance(wheel, tick_at(50), 6));  // used up exactly, with nothing left
  EXPECT_EQ(fired(), 10);
  EXPECT_EQ(wheel.next_deadline(), TimePoint::never());
}

TEST(TimerWheel, ABudgetThatEndsWhileASlotIsMovedDownLosesNothing) {
  TimerWheel wheel(at(0));
  std::deque<Timer> timers;
  for (std::int64_t t = 256; t < 512; ++t) wheel.arm(timers.emplace_back(), tick_at(t));
  int calls = 0;
  while (!advance(wheel, tick_at(300), 7)) ASSERT_LT(++calls, 100);
  for (const Timer& timer : timers) EXPECT_EQ(timer.fired, timer.deadline <= tick_at(300) ? 1 : 0);
  EXPECT_EQ(wheel.next_deadline(), tick_at(301));
  EXPECT_TRUE(advance(wheel, tick_at(511)));
  EXPECT_EQ(wheel.armed(), 0u);
}

TEST(TimerWheel, SleepingUntilNextDeadlineReachesEveryNodeInFewSteps) {
  TimerWheel wheel(at(12'345));
  std::deque<Timer> timers;
  for (const std::int64_t ms : {1, 40, 200, 1'000, 60'000, 7'200'000, 100'000'000})
    wheel.arm(timers.emplace_back(), TimePoint::from_ns(ms * 1'000'000));
  int steps = 0;
  TimePoint now = at(12'345);
  for (TimePoint next = wheel.next_deadline(); !next.is_never(); next = wheel.next_deadline()) {
    ASSERT_GE(next, now);
    now = next;
    advance(wheel, now);
    ASSERT_LE(++steps, 6 * static_cast<int>(timers.size()));
  }
  for (const Timer& timer : timers) EXPECT_EQ(timer.fired, 1);
}

}  // namespace
}  // namespace pollux
