// What a core loop says about itself: the histogram of its turns, and where their time went.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "pollux/drivers_glue/core_loop.h"
#include "support/heap_pool.h"

namespace pollux {
namespace {

TEST(TurnHistogram, PutsEveryValueIntoABucketAtMostAQuarterWider) {
  for (unsigned bits = 0; bits < TurnHistogram::value_bits; ++bits) {
    for (const std::uint64_t offset : {std::uint64_t{0}, std::uint64_t{1}, (std::uint64_t{1} << bits) / 2}) {
      const std::uint64_t value = (std::uint64_t{1} << bits) + offset;
      TurnHistogram histogram;
      histogram.record(value);
      histogram.record(~std::uint64_t{0});  // keeps max_ns() out of the way
      EXPECT_GE(histogram.quantile(0.5), value);
      EXPECT_LE(histogram.quantile(0.5), value + value / 4);
      EXPECT_EQ(histogram.at_most(value + value / 4 + 1), 1u) << value;
    }
  }
}

TEST(TurnHistogram, CountsAtPowersOfTwoExactlyAndAddsUp) {
  TurnHistogram one, other;
  for (std::uint64_t ns = 0; ns < 1000; ++ns) one.record(ns);
  other.record(5'000'000);
  one += other;
  EXPECT_EQ(one.count(), 1001u);
  EXPECT_EQ(one.max_ns(), 5'000'000u);
  EXPECT_EQ(one.at_most(255), 256u);
  EXPECT_EQ(one.at_most(511), 512u);
  EXPECT_EQ(one.quantile(1), 5'000'000u);
  EXPECT_EQ(TurnHistogram().quantile(0.5), 0u);
}

/// A port that has a frame ready whenever it is told to.
struct OneFramePort {
  struct State {
    bool has_frame = false;
    test::HeapPool* pool = nullptr;
  };
  State* state;

  std::uint16_t rx_burst(rte_mbuf** packets, std::uint16_t) noexcept {
    if (!std::exchange(state->has_frame, false)) return 0;
    packets[0] = state->pool->pool().alloc().release();  // an empty frame: eth_truncated
    return 1;
  }
  std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    for (std::uint16_t i = 0; i < n; ++i) rte_pktmbuf_free(packets[i]);
    return n;
  }
};

class LoopTelemetryTest : public testing::Test {
 protected:
  LoopTelemetryTest() {
    StackOptions options;
    options.tcp.connections_max = options.tcp.time_wait_max = 16;
    stack = std::move(Stack::create(options, heap.pool(), now).value());
    const InterfaceConfig interface{.name = "wire",
                                    .mac = {{2, 0, 0, 0, 0, 1}},
                                    .address = {IpAddress::v4(192, 0, 2, 1), 24},
                                    .offloads = {}};
    EXPECT_TRUE(stack->add_interface(interface, now).has_value());
    loop =
        std::make_unique<CoreLoop<OneFramePort>>(*stack, std::vector<OneFramePort>{{&port}}, IdleOptions{});
    loop->turn(now);  // the gratuitous ARP leaves
    turn_after(1, false);
  }
  /// A turn that begins `ns` after the last one.
  void turn_after(std::int64_t ns, bool with_frame) {
    now = now + Duration::from_ns(ns);
    port.has_frame = with_frame;
    EXPECT_EQ(loop->turn(now), with_frame);
  }

  TimePoint now = TimePoint::from_ns(1'000'000'000);
  test::HeapPool heap;
  OneFramePort::State port{false, &heap};
  std::unique_ptr<Stack> stack;
  std::unique_ptr<CoreLoop<OneFramePort>> loop;
};

TEST_F(LoopTelemetryTest, TimeBelongsToTheTurnThatBeganIt) {
  const LoopCounters before = loop->counters();
  turn_after(10'000, true);   // ends an idle turn
  turn_after(4'096, false);   // ends the busy one
  turn_after(50'000, true);   // ends an idle one, its sleep included
  turn_after(20'000, false);  // ends a busy one
  const LoopCounters after = loop->counters();
  EXPECT_EQ(after.busy_ns - before.busy_ns, 24'096u);
  EXPECT_EQ(after.idle_ns - before.idle_ns, 60'000u);
  EXPECT_EQ(after.busy_turns.count() - before.busy_turns.count(), 2u);
  EXPECT_EQ(after.busy_turns.max_ns(), 20'000u);
}

// Turns of 300 ns that work and of 100 ns that do not, in patterns that a fixed interval might beat with.
TEST_F(LoopTelemetryTest, OneOfManyShortTurnsStandsForAll) {
  for (const unsigned period : {1u, 2u, 3u, 4u, 64u}) {
    SCOPED_TRACE(period);
    const LoopCounters before = loop->counters();
    constexpr unsigned turns = 509 * 100;
    std::uint64_t busy = 0, idle = 0;
    bool worked = false;
    for (unsigned i = 0; i < turns; ++i) {
      (worked ? busy : idle) += worked ? 300 : 100;
      const bool work = i % period == 0;
      turn_after(worked ? 300 : 100, work);
      worked = work;
    }
    turn_after(4'096, false);  // known exactly, and so is no part of the next pattern
    const LoopCounters after = loop->counters();
    EXPECT_NEAR(static_cast<double>(after.busy_ns - before.busy_ns), static_cast<double>(busy), 0.02 * turns * 300);
    EXPECT_NEAR(static_cast<double>(after.idle_ns - before.idle_ns), static_cast<double>(idle), 0.02 * turns * 300);
    EXPECT_NEAR(static_cast<double>(after.busy_turns.count() - before.busy_turns.count()),
                static_cast<double>(busy) / 300, 0.02 * turns);
    EXPECT_EQ(after.turns - before.turns, turns + 1) << "these are counted, not estimated";
  }
}

TEST_F(LoopTelemetryTest, AShortTurnMayBeALongOneByTheOptionAndIsCountedOnce) {
  loop->set_long_turn(Duration::from_us(1));
  turn_after(1, true);
  const std::uint64_t before = stack->flight().count();
  turn_after(2'000, true);
  turn_after(900, false);
  EXPECT_EQ(stack->flight().count(), before + 1);
  EXPECT_EQ(loop->counters().busy_ns, 0u) << "no sample";
}

TEST_F(LoopTelemetryTest, TimesTheStagesOfOneBusyTurnInSoMany) {
  constexpr int turns = 10 * LoopCounters::sample_every;
  for (int i = 0; i < turns; ++i) turn_after(100, false);
  EXPECT_EQ(loop->counters().sampled_turns, 0u) << "idle turns say nothing about the cost of work";
  for (int i = 0; i < turns; ++i) turn_after(100, true);
  EXPECT_EQ(loop->counters().sampled_turns, 10u);
  double sum = 0;
  for (std::size_t i = 0; i < loop_stages; ++i)
    sum += loop->counters().stage_share(static_cast<LoopStage>(i));
  EXPECT_NEAR(sum, 1, 1e-9);
  EXPECT_GT(loop->counters().stage_share(LoopStage::input), 0);
}

TEST_F(LoopTelemetryTest, LongTurnsAreRecordedWithTheStageThatTookMost) {
  loop->set_long_turn(Duration::from_ms(1));
  const auto recorded = [&] { return stack->flight()[stack->flight().count() - 1]; };
  turn_after(1, true);
  turn_after(999'999, false);
  const std::uint64_t before = stack->flight().count();
  turn_after(1, true);
  turn_after(1'500'000, false);  // its own work took 1.5 ms, as far as the clock knows
  ASSERT_EQ(stack->flight().count(), before + 1);
  EXPECT_EQ(recorded().event, FlightEvent::long_turn);
  EXPECT_EQ(recorded().detail, 1500u);
  EXPECT_EQ(recorded().code, long_turn_untimed) << "the first of a series, unless it was a timed one";
  // From now on turns are timed. A tap stands in for a slow application.
  struct Slow final : InputTap {
    void input(Stack& to, InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint at) noexcept override {
      const std::uint64_t until = rte_rdtsc() + 5'000'000;
      while (rte_rdtsc() < until) {
      }
      to.input(interface, burst, at);
    }
  } slow;
  loop->set_tap(&slow);
  turn_after(1, true);
  turn_after(2'000'000, false);
  EXPECT_EQ(recorded().code, static_cast<std::uint8_t>(LoopStage::input));
  EXPECT_EQ(loop->counters().long_turns[static_cast<std::size_t>(LoopStage::input)], 1u);
  loop->set_tap(nullptr);
  turn_after(1, true);
  const std::uint64_t until = rte_rdtsc() + 50'000'000;  // ticks, messages
  while (rte_rdtsc() < until) {
  }
  turn_after(2'000'000, false);
  EXPECT_EQ(recorded().code, long_turn_between);
  EXPECT_EQ(loop->counters().sampled_turns, 0u) << "what the samples say of the stages is not biased by them";
  loop->set_long_turn({});
  turn_after(1, true);
  turn_after(9'000'000, false);
  EXPECT_EQ(stack->flight().count(), before + 3);
}

TEST_F(LoopTelemetryTest, ATapStandsBetweenTheLoopAndTheStack) {
  struct Tap final : InputTap {
    int frames = 0;
    void input(Stack& to, InterfaceId interface, std::span<rte_mbuf* const> burst,
               TimePoint at) noexcept override {
      frames += static_cast<int>(burst.size());
      to.input(interface, burst, at);
    }
  } tap;
  loop->set_tap(&tap);
  turn_after(1, true);
  EXPECT_EQ(tap.frames, 1);
  EXPECT_EQ(stack->counters()[DropReason::eth_truncated], 1u);
  loop->set_tap(nullptr);
  turn_after(1, true);
  EXPECT_EQ(tap.frames, 1);
  EXPECT_EQ(stack->counters()[DropReason::eth_truncated], 2u);
}

}  // namespace
}  // namespace pollux
