// BBR on its own (draft-ietf-ccwg-bbr): samples of the delivery rate, and the state machine, one sample a round trip.
#include <gtest/gtest.h>

#include "pollux/tcp/cc/bbr.h"

namespace pollux {
namespace {

constexpr std::uint32_t mss = 1000;
constexpr Duration rtt = Duration::from_ms(20);
constexpr double path = 1e6;                 // octets a second: a bandwidth-delay product is 20 segments
constexpr std::uint32_t bdp = 20 * mss;

TimePoint ms(std::int64_t t) { return TimePoint::from_ns(t * 1'000'000); }

// --- Delivery rate ---------------------------------------------------------------------------------------------

TEST(DeliveryRate, IsWhatIsDeliveredBetweenASegmentAndItsAck) {
  DeliveryRate rate;
  std::array<SentRate, 30> sent{};
  RateSample rs;
  for (int t = 0; t < 30; ++t) {  // a segment a millisecond, each acknowledged after ten
    if (t >= 10) {
      rate.on_delivered(mss, ms(t));
      rs = {};
      rate.sample(sent[static_cast<std::size_t>(t - 10)], ms(t - 10), 10_ms, rs);
    }
    sent[static_cast<std::size_t>(t)] = rate.on_sent(mss, static_cast<std::uint32_t>(std::min(t + 1, 10)) * mss, ms(t));
  }
  EXPECT_DOUBLE_EQ(rs.rate, mss * 1000.0);
  EXPECT_EQ(rs.prior_delivered, 10u * mss);
  EXPECT_EQ(rs.delivered, 10u * mss);
  EXPECT_EQ(rs.in_flight_then, 10u * mss);
}

TEST(DeliveryRate, AcksInABunchTellNoMoreThanWasSent) {
  DeliveryRate rate;
  std::array<SentRate, 10> sent{};
  for (int t = 0; t < 10; ++t) sent[static_cast<std::size_t>(t)] = rate.on_sent(mss, static_cast<std::uint32_t>(t + 1) * mss, ms(t));
  rate.on_delivered(mss, ms(12));
  RateSample first;
  rate.sample(sent[0], ms(0), 5_ms, first);
  EXPECT_DOUBLE_EQ(first.rate, mss / 12e-3);
  rate.on_delivered(9 * mss, ms(13));
  RateSample rs;
  rate.sample(sent[9], ms(9), 5_ms, rs);
  EXPECT_DOUBLE_EQ(rs.rate, 10 * mss / 13e-3) << "ten in thirteen, not nine in one";
}

TEST(DeliveryRate, AnAckThatComesTooSoonGivesNone) {
  DeliveryRate rate;
  const SentRate sent = rate.on_sent(mss, mss, ms(0));
  rate.on_delivered(mss, ms(3));
  RateSample rs;
  rate.sample(sent, ms(0), 5_ms, rs);
  EXPECT_TRUE(rs.has_segment);
  EXPECT_EQ(rs.rate, 0);
}

TEST(DeliveryRate, WhatTheApplicationHeldBackIsMarkedUntilItIsDelivered) {
  DeliveryRate rate;
  EXPECT_FALSE(rate.on_sent(mss, mss, ms(0)).app_limited);
  rate.mark_app_limited(mss);
  EXPECT_TRUE(rate.on_sent(mss, 2 * mss, ms(1)).app_limited);
  rate.on_delivered(mss, ms(10));
  EXPECT_TRUE(rate.app_limited());
  rate.on_delivered(1, ms(11));
  EXPECT_FALSE(rate.app_limited());
}

TEST(DeliveryRate, LossesAreCountedFromTheSegmentOn) {
  DeliveryRate rate;
  rate.on_lost(5 * mss);
  const SentRate sent = rate.on_sent(mss, mss, ms(0));
  rate.on_lost(2 * mss);
  rate.on_delivered(mss, ms(10));
  RateSample rs;
  rate.sample(sent, ms(0), 5_ms, rs);
  EXPECT_EQ(rs.lost, 2 * mss);
}

// --- The state machine -------------------------------------------------------------------------------------------

struct Round {
  double rate = path;
  Duration trip = rtt;
  std::uint32_t acked = bdp;
  std::uint32_t in_flight = bdp;  ///< after the ACK, and when the segment was sent
  std::uint32_t lost = 0;
  bool app_limited = false;
  bool window_limited = false;
  bool in_recovery = false;
};

class BbrTest : public testing::Test {
 protected:
  bool round(const Round& r = {}) {
    now = now + r.trip;
    RateSample rs;
    rs.rate = r.rate;
    rs.has_segment = true;
    rs.prior_delivered = delivered;
    delivered += r.acked;
    rs.total_delivered = delivered;
    rs.delivered = rs.newly_acked = r.acked;
    rs.in_flight = rs.in_flight_then = r.in_flight;
    rs.lost = r.lost;
    rs.app_limited = r.app_limited;
    rs.window_limited = r.window_limited;
    rs.in_recovery = r.in_recovery;
    rs.rtt = r.trip;
    rs.now = now;
    return bbr.on_ack(rs);
  }
  void rounds(int count, const Round& r = {}) {
    for (int i = 0; i < count; ++i) round(r);
  }
  /// `lost` octets of what was in flight with the last segment.
  void lose(std::uint32_t lost, std::uint32_t in_flight = bdp) {
    SentRate segment{};
    segment.delivered = delivered;
    segment.in_flight = in_flight;
    bbr.on_lost(segment, mss, lost, delivered, now);
  }
  void to_down() {
    round();
    rounds(3, {.in_flight = 3 * bdp});  // full
    ASSERT_EQ(bbr.state(), BbrState::drain);
    rounds(4, {.in_flight = 3 * bdp});
    ASSERT_EQ(bbr.state(), BbrState::probe_bw_down);
  }
  /// Through PROBE_BW until `state`, within `most` rounds.
  void until(BbrState state, const Round& r = {}, int most = 400) {
    for (; bbr.state() != state && most > 0; --most) round(r);
    ASSERT_EQ(bbr.state(), state);
  }
  double pace() const { return static_cast<double>(bbr.pacing_rate()); }

  TimePoint now = ms(1000);
  std::uint64_t delivered = 0;
  Bbr bbr{mss, 10 * mss, rtt, 1, ms(1000)};
};

TEST_F(BbrTest, StartsWithTheInitialWindowAtTheHighGain) {
  EXPECT_EQ(bbr.state(), BbrState::startup);
  EXPECT_EQ(bbr.cwnd(), 10 * mss);
  EXPECT_NEAR(pace(), 2.773 * 10 * mss / 20e-3, 1);
  EXPECT_EQ(bbr.min_rtt(), rtt);
}

TEST_F(BbrTest, StartupLastsWhileTheRateGrows) {
  for (double rate = 1e5; rate < 1e8; rate *= 1.3) {
    round({.rate = rate});
    ASSERT_EQ(bbr.state(), BbrState::startup);
    ASSERT_GE(pace(), 2.773 * 0.99 * rate * 0.999);
  }
}

TEST_F(BbrTest, StartupEndsAfterThreeRoundsWithoutAQuarterMore) {
  round();
  round({.rate = path * 1.2});
  round({.rate = path * 1.2});
  EXPECT_EQ(bbr.state(), BbrState::startup);
  round({.rate = path * 1.2, .in_flight = 3 * bdp});
  EXPECT_EQ(bbr.state(), BbrState::drain);
  EXPECT_TRUE(bbr.full_bw_reached());
  EXPECT_NEAR(pace(), 0.5 * 0.99 * 1.2 * path, 1);
}

TEST_F(BbrTest, RoundsThatTheApplicationLimitsDoNotCount) {
  round();
  rounds(20, {.rate = path / 2, .app_limited = true});
  EXPECT_EQ(bbr.state(), BbrState::startup);
  EXPECT_NEAR(bbr.bandwidth(), path, 1);
}

TEST_F(BbrTest, StartupEndsWithManyLossesInARoundOfRecovery) {
  round();
  round({.rate = path * 1.3});
  for (int i = 0; i < 6; ++i) lose(mss);
  round({.rate = path * 1.7, .in_flight = 3 * bdp, .lost = bdp / 5, .in_recovery = true});
  EXPECT_EQ(bbr.state(), BbrState::drain);
  EXPECT_NE(bbr.inflight_longterm(), Bbr::no_limit);
}

TEST_F(BbrTest, FewLossesDoNotEndStartup) {
  round();
  round({.rate = path * 1.3});
  for (int i = 0; i < 5; ++i) lose(mss);
  round({.rate = path * 1.7, .lost = bdp / 10, .in_recovery = true});
  EXPECT_EQ(bbr.state(), BbrState::startup);
}

TEST_F(BbrTest, DrainEndsWhenTheQueueIsEmpty) {
  round();
  rounds(3, {.in_flight = 2 * bdp});
  ASSERT_EQ(bbr.state(), BbrState::drain);
  round({.in_flight = 2 * bdp});
  EXPECT_EQ(bbr.state(), BbrState::drain);
  round({.in_flight = bdp});
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_cruise) << "DOWN has nothing left to do";
  EXPECT_NEAR(pace(), 0.99 * path, 1);
}

TEST_F(BbrTest, DrainEndsWhenTheQueueOfOthersStays) {
  round();
  rounds(7, {.in_flight = 3 * bdp});
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_down);
  EXPECT_NEAR(pace(), 0.9 * 0.99 * path, 1);
}

TEST_F(BbrTest, TheCycleOfProbing) {
  to_down();
  round();
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_cruise);
  EXPECT_NEAR(pace(), 0.99 * path, 1);
  const TimePoint cruising = now;
  until(BbrState::probe_bw_refill);
  EXPECT_LE(now - cruising, 3_s) << "and no later than 63 rounds";
  EXPECT_GE(now - cruising, rtt * 15);
  round();
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_up) << "a round of refilling";
  EXPECT_NEAR(pace(), 1.25 * 0.99 * path, 1);
  rounds(2, {.in_flight = bdp * 5 / 4});
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_up);
  round({.in_flight = bdp * 5 / 4});
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_down) << "three rounds that brought nothing";
}

TEST_F(BbrTest, UpFindsMoreBandwidthAndStaysWhileItGrows) {
  to_down();
  until(BbrState::probe_bw_up);
  double rate = path;
  for (int i = 0; i < 8; ++i) {
    round({.rate = rate *= 1.25, .in_flight = bdp * 2});
    ASSERT_EQ(bbr.state(), BbrState::probe_bw_up);
  }
  EXPECT_NEAR(bbr.bandwidth(), rate, 1);
}

TEST_F(BbrTest, LessBandwidthIsBelievedAfterTwoCycles) {
  to_down();
  const Round slower{.rate = path / 2, .acked = bdp / 2, .in_flight = bdp / 2};
  until(BbrState::probe_bw_up, slower);
  EXPECT_NEAR(bbr.bandwidth(), path, 1);
  until(BbrState::probe_bw_down, slower);
  until(BbrState::probe_bw_up, slower);
  until(BbrState::probe_bw_down, slower);
  until(BbrState::probe_bw_cruise, slower);
  round(slower);
  until(BbrState::probe_bw_up, slower);
  EXPECT_NEAR(bbr.bandwidth(), path / 2, 1);
}

// draft-ietf-ccwg-bbr 5.5.5: a sample that the application limited counts only when it shows more than is known.
TEST_F(BbrTest, WhatTheApplicationHeldBackIsNoMeasureOfThePath) {
  to_down();
  const Round slower{.rate = path / 4, .acked = bdp / 4, .in_flight = bdp / 4};
  const Round held_back{.rate = path / 2, .acked = bdp / 2, .in_flight = bdp / 2, .app_limited = true};
  for (int cycle = 0; cycle < 3 && bbr.bandwidth() == path; ++cycle) {
    until(BbrState::probe_bw_cruise, slower);
    if (bbr.bandwidth() == path) rounds(3, held_back);
    until(BbrState::probe_bw_up, slower);
    until(BbrState::probe_bw_down, slower);
    rounds(2, slower);
  }
  EXPECT_NEAR(bbr.bandwidth(), path / 4, 1) << "what it believes first when the path's best has aged";
}

TEST_F(BbrTest, LossesBeyondTwoPerCentEndAProbeAndBoundWhatIsInFlight) {
  to_down();
  until(BbrState::probe_bw_up);
  EXPECT_EQ(bbr.inflight_longterm(), Bbr::no_limit);
  lose(3 * mss, 40 * mss);
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_down);
  // 39 segments were in flight before the one that was lost, 2 of them lost already: 39 + (0.02 * 39 - 2) / 0.98.
  EXPECT_NEAR(bbr.inflight_longterm(), 37'755, 2);
  round({.in_flight = 10 * mss});
  round({.in_flight = 10 * mss});
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_cruise);
  EXPECT_LE(bbr.cwnd(), 37'755u * 85 / 100 + 1) << "15 % are left free for others";
}

TEST_F(BbrTest, FewLossesDoNotEndAProbe) {
  to_down();
  until(BbrState::probe_bw_up);
  lose(mss, 60 * mss);
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_up);
}

TEST_F(BbrTest, OutsideOfProbesLossesBoundTheModelOncePerRound) {
  to_down();
  until(BbrState::probe_bw_cruise);
  lose(mss);
  lose(2 * mss);
  round({.rate = path * 0.5, .acked = bdp / 2});
  EXPECT_NEAR(bbr.bandwidth(), path, 1) << "the round before delivered that much";
  lose(mss);
  lose(2 * mss);
  round({.rate = path * 0.5, .acked = bdp / 2});
  EXPECT_NEAR(bbr.bandwidth(), path * 0.7, 1) << "once, and no lower than what is delivered";
  EXPECT_LT(bbr.inflight_shortterm(), 2 * bdp);
  until(BbrState::probe_bw_refill, {.rate = path * 0.5, .acked = bdp / 2});
  EXPECT_EQ(bbr.inflight_shortterm(), Bbr::no_limit) << "a probe begins without them";
}

TEST_F(BbrTest, TheBoundGrowsFasterTheLongerAProbeLasts) {
  to_down();
  until(BbrState::probe_bw_up);
  lose(4 * mss, 20 * mss);
  const std::uint32_t bound = bbr.inflight_longterm();
  until(BbrState::probe_bw_up, {.in_flight = 8 * mss});
  const Round full{.acked = bbr.cwnd(), .in_flight = 8 * mss, .window_limited = true};
  round(full);
  const std::uint32_t one = bbr.inflight_longterm() - bound;
  round({.acked = bbr.cwnd(), .in_flight = 8 * mss, .window_limited = true});
  const std::uint32_t two = bbr.inflight_longterm() - bound - one;
  round({.acked = bbr.cwnd(), .in_flight = 8 * mss, .window_limited = true});
  const std::uint32_t four = bbr.inflight_longterm() - bound - one - two;
  EXPECT_GE(one, mss);
  EXPECT_GT(two, one);
  EXPECT_GT(four, two);
}

TEST_F(BbrTest, WithoutAShorterRoundTripTheMinimumIsProbedAfterFiveSeconds) {
  to_down();
  const TimePoint begin = now;
  Round queued;
  queued.trip = rtt * 2;
  until(BbrState::probe_rtt, queued);
  EXPECT_GE(now - begin, 4500_ms);
  EXPECT_LE(now - begin, 5200_ms);
  const std::uint32_t before = bbr.prior_cwnd();
  EXPECT_LE(bbr.cwnd(), std::max(bdp, 4 * mss)) << "half of what is believed to be a bandwidth-delay product";
  const TimePoint low = now;
  EXPECT_TRUE(round({.in_flight = 8 * mss})) << "samples of that time count as limited by the application";
  until(BbrState::probe_bw_cruise, {.acked = 8 * mss, .in_flight = 8 * mss, .app_limited = true});
  EXPECT_GE(now - low, 200_ms);
  EXPECT_LE(now - low, 300_ms);
  EXPECT_EQ(bbr.min_rtt(), rtt);
  EXPECT_GE(bbr.cwnd(), std::min(before, 2 * bdp));
}

TEST_F(BbrTest, ALongerRoundTripIsBelievedAfterTenSeconds) {
  to_down();
  Round longer;
  longer.trip = rtt * 3;
  longer.in_flight = 8 * mss;
  const TimePoint begin = now;
  while (bbr.min_rtt() == rtt && now - begin < 20_s) round(longer);
  EXPECT_EQ(bbr.min_rtt(), rtt * 3);
  EXPECT_GE(now - begin, 9500_ms);
  EXPECT_LE(now - begin, 11_s);
}

TEST_F(BbrTest, AfterAnIdleTimeTheMinimumIsNotProbedForAndThePaceIsTheBandwidth) {
  to_down();
  until(BbrState::probe_bw_up);
  now = now + 7_s;
  bbr.on_idle_restart(now, delivered);
  EXPECT_NEAR(pace(), 0.99 * path, 1);
  round({.app_limited = true});
  EXPECT_NE(bbr.state(), BbrState::probe_rtt);
}

TEST_F(BbrTest, ATimeoutLeavesASegmentAndItsRepairBringsTheWindowBack) {
  to_down();
  rounds(3);
  const std::uint32_t before = bbr.cwnd();
  bbr.on_timeout();
  EXPECT_EQ(bbr.cwnd(), mss);
  round({.acked = mss});
  EXPECT_EQ(bbr.cwnd(), 4 * mss);
  bbr.on_recovered();
  EXPECT_EQ(bbr.cwnd(), before);
}

TEST_F(BbrTest, RecoveryDoesNotTouchTheWindow) {
  to_down();
  rounds(3);
  const std::uint32_t before = bbr.cwnd();
  bbr.on_recovery();
  round({.in_recovery = true});
  EXPECT_EQ(bbr.cwnd(), before);
}

TEST_F(BbrTest, WhatWasNotLostIsTakenBack) {
  to_down();
  until(BbrState::probe_bw_cruise);
  const std::uint32_t before = bbr.cwnd();
  bbr.on_recovery();
  for (int i = 0; i < 2; ++i) {
    lose(5 * mss);
    round({.rate = path * 0.5, .acked = bdp / 2});
  }
  EXPECT_NEAR(bbr.bandwidth(), 0.7 * path, 1);
  bbr.undo();
  EXPECT_EQ(bbr.inflight_shortterm(), Bbr::no_limit);
  EXPECT_GE(bbr.cwnd(), before);
  round();
  EXPECT_NEAR(bbr.bandwidth(), path, 1);
}

TEST_F(BbrTest, MarksAreAnsweredAsLossesAre) {
  bbr.on_mark(bdp, delivered, now);
  EXPECT_TRUE(bbr.full_bw_reached()) << "in STARTUP";
  round();
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_down);
  until(BbrState::probe_bw_up);
  bbr.on_mark(bdp, delivered, now);
  EXPECT_EQ(bbr.state(), BbrState::probe_bw_down) << "ends a probe";
  until(BbrState::probe_bw_cruise, {.in_flight = 8 * mss});
  for (int i = 0; i < 2; ++i) {
    bbr.on_mark(bdp, delivered, now);
    round({.rate = path * 0.5, .acked = bdp / 2, .in_flight = 8 * mss});
  }
  EXPECT_NEAR(bbr.bandwidth(), 0.7 * path, 1);
}

TEST_F(BbrTest, TheWindowIsTwiceTheProductAndNeverBelowFourSegments) {
  to_down();
  until(BbrState::probe_bw_cruise);
  rounds(5);
  EXPECT_NEAR(bbr.cwnd(), 2 * bdp + bdp, 3 * mss) << "and a window more while ACKs come that much at a time";
  Bbr small(mss, 10 * mss, 1_ms, 1, now);
  EXPECT_GE(small.cwnd(), 4 * mss);
  small.on_timeout();
  RateSample rs;
  rs.newly_acked = 1;
  rs.now = now;
  small.on_ack(rs);
  EXPECT_EQ(small.cwnd(), 4 * mss);
}

}  // namespace
}  // namespace pollux
