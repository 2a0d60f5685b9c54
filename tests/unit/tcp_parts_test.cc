// TCP's parts on their own: round trips, NewReno, flow keys, TIME-WAIT's table.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <vector>

#include "pollux/tcp/cc/congestion_control.h"
#include "pollux/tcp/flow_key.h"
#include "pollux/tcp/rtt_estimator.h"
#include "pollux/tcp/segment_burst.h"
#include "pollux/tcp/syn_cookie.h"
#include "pollux/tcp/time_wait.h"
#include "support/heap_pool.h"

namespace pollux {
namespace {

constexpr RttLimits limits{Duration::from_s(1), Duration::from_ms(200), Duration::from_s(120)};

// --- RFC 6298 ------------------------------------------------------------------------------------------------

TEST(RttEstimator, FirstSampleSetsSrttAndHalfOfItAsVariance) {
  RttEstimator rtt;
  EXPECT_FALSE(rtt.has_sample());
  EXPECT_EQ(rtt.rto(limits), Duration::from_s(1));  // 2.1
  rtt.sample(Duration::from_ms(400));
  EXPECT_EQ(rtt.srtt(), Duration::from_ms(400));
  EXPECT_EQ(rtt.rttvar(), Duration::from_ms(200));
  EXPECT_EQ(rtt.rto(limits), Duration::from_ms(400 + 4 * 200));  // 2.2
}

TEST(RttEstimator, LaterSamplesAreSmoothedByAnEighthAndAQuarter) {
  RttEstimator rtt;
  rtt.sample(Duration::from_ms(400));
  rtt.sample(Duration::from_ms(800));
  // 2.3: RTTVAR = 3/4 * 200 + 1/4 * |400 - 800|, then SRTT = 7/8 * 400 + 1/8 * 800
  EXPECT_EQ(rtt.rttvar(), Duration::from_ms(250));
  EXPECT_EQ(rtt.srtt(), Duration::from_ms(450));
}

TEST(RttEstimator, TimeoutStaysWithinItsLimits) {
  RttEstimator fast, slow;
  for (int i = 0; i < 100; ++i) fast.sample(Duration::from_us(30));
  EXPECT_EQ(fast.rto(limits), limits.rto_min);
  slow.sample(Duration::from_s(90));
  EXPECT_EQ(slow.rto(limits), limits.rto_max);
  slow.sample(Duration::from_ns(1));  // below a microsecond still counts as a sample
  EXPECT_TRUE(slow.has_sample());
}

TEST(RttEstimator, AVarianceOfNothingIsRoundedUp) {
  constexpr RttLimits low{Duration::from_s(1), Duration::from_us(1), Duration::from_s(120)};
  const auto steady = [&](Duration trip) {
    RttEstimator rtt;
    for (int i = 0; i < 100; ++i) rtt.sample(trip);
    EXPECT_LE(rtt.rttvar() * 4, 12_us);
    return rtt.rto(low);
  };
  EXPECT_EQ(steady(96_us), 96_us + 66_us) << "RFC 6298 4: to the clock's granularity";
  EXPECT_EQ(steady(400_ms), 500_ms) << "or to a quarter of the round trip, which a probe for bandwidth may add";
}

TEST(RttEstimator, LostSynRaisesTheFirstTimeoutToThreeSeconds) {
  RttEstimator rtt;
  rtt.note_lost_syn();
  EXPECT_EQ(rtt.rto(limits), Duration::from_s(3));  // 5.7
  rtt.sample(Duration::from_ms(100));
  EXPECT_EQ(rtt.rto(limits), Duration::from_ms(300));
}

// --- RFC 5681 ------------------------------------------------------------------------------------------------

constexpr std::uint32_t mss = 1000;

CcAck limited_ack(std::uint32_t acked) { return {.acked = acked, .window_limited = true}; }

TEST(NewReno, SlowStartGrowsByWhatWasAcknowledgedUpToTwoSegments) {
  CongestionControl cc(NewReno(mss, 10 * mss));
  cc.on_ack(limited_ack(mss));
  EXPECT_EQ(cc.cwnd(), 11 * mss);
  cc.on_ack(limited_ack(500));
  EXPECT_EQ(cc.cwnd(), 11 * mss + 500);
  cc.on_ack(limited_ack(8 * mss));  // RFC 3465 2.2: L = 2
  EXPECT_EQ(cc.cwnd(), 13 * mss + 500);
}

TEST(NewReno, AnApplicationThatDoesNotFillTheWindowDoesNotGrowIt) {
  CongestionControl cc(NewReno(mss, 10 * mss));
  for (int i = 0; i < 100; ++i) cc.on_ack({.acked = mss, .window_limited = false});
  EXPECT_EQ(cc.cwnd(), 10 * mss);
}

TEST(NewReno, CongestionAvoidanceAddsOneSegmentPerWindow) {
  CongestionControl cc(NewReno(mss, 10 * mss));
  cc.on_timeout({.in_flight = 10 * mss}, true);  // ssthresh 5 segments
  for (int i = 0; i < 4; ++i) cc.on_ack(limited_ack(mss));
  EXPECT_EQ(cc.cwnd(), 5 * mss);
  for (int i = 0; i < 4; ++i) cc.on_ack(limited_ack(mss));
  EXPECT_EQ(cc.cwnd(), 5 * mss);
  cc.on_ack(limited_ack(mss));
  EXPECT_EQ(cc.cwnd(), 6 * mss);
}

TEST(NewReno, TimeoutFallsToOneSegmentAndHoldsSsthreshWhenRepeated) {
  CongestionControl cc(NewReno(mss, 10 * mss));
  cc.on_timeout({.in_flight = 8 * mss}, true);
  EXPECT_EQ(cc.cwnd(), mss);
  EXPECT_EQ(cc.ssthresh(), 4 * mss);
  cc.on_timeout({.in_flight = mss}, false);
  EXPECT_EQ(cc.ssthresh(), 4 * mss);
  cc.on_timeout({.in_flight = mss}, true);
  EXPECT_EQ(cc.ssthresh(), 2 * mss);  // never below two segments
}

TEST(NewReno, CongestionHalvesWhatWasInFlight) {
  CongestionControl cc(NewReno(mss, 20 * mss));
  cc.on_congestion({.in_flight = 20 * mss});
  EXPECT_EQ(cc.ssthresh(), 10 * mss);
  EXPECT_EQ(cc.cwnd(), 20 * mss);  // proportional rate reduction takes it down
  cc.set_cwnd(10 * mss);
  EXPECT_EQ(cc.cwnd(), 10 * mss);
}

TEST(NewReno, IdleRestartReturnsToTheInitialWindowOnly) {
  CongestionControl cc(NewReno(mss, 10 * mss));
  for (int i = 0; i < 50; ++i) cc.on_ack(limited_ack(2 * mss));
  cc.on_idle_restart(10 * mss);
  EXPECT_EQ(cc.cwnd(), 10 * mss);
  cc.on_timeout({.in_flight = 10 * mss}, true);
  cc.on_idle_restart(10 * mss);
  EXPECT_EQ(cc.cwnd(), mss);
}

// --- RFC 9438 ------------------------------------------------------------------------------------------------

// Feeds one window of acknowledgments every `rtt_ms`; returns the windows seen, in segments, one a round trip.
std::vector<double> run_cubic(CongestionControl& cc, int rounds, std::int64_t rtt_ms, std::int64_t& now_ms) {
  std::vector<double> windows;
  for (int i = 0; i < rounds; ++i) {
    now_ms += rtt_ms;
    for (std::uint32_t left = cc.cwnd(); left > 0;) {
      const std::uint32_t acked = std::min(left, mss);
      cc.on_ack({.acked = acked, .window_limited = true, .srtt = Duration::from_ms(rtt_ms),
                 .now = TimePoint::from_ns(now_ms * 1'000'000)});
      left -= acked;
    }
    windows.push_back(cc.cwnd() / double{mss});
  }
  return windows;
}

TEST(Cubic, MultiplicativeDecreaseIsSevenTenths) {
  CongestionControl cc(Cubic(mss, 100 * mss));
  cc.on_congestion({.in_flight = 100 * mss});
  EXPECT_EQ(cc.ssthresh(), 70 * mss);
}

TEST(Cubic, ReturnsToTheOldMaximumAfterKSecondsAndPlateausThere) {
  CongestionControl cc(Cubic(mss, 1000 * mss));
  cc.on_congestion({.in_flight = 1000 * mss});
  cc.set_cwnd(cc.ssthresh());
  std::int64_t now_ms = 0;
  const auto windows = run_cubic(cc, 200, 100, now_ms);
  // K = cbrt(300 / 0.4) = 9.09 s: 91 round trips of 100 ms.
  EXPECT_LT(windows[40], 985);
  EXPECT_NEAR(windows[90], 1000, 5);
  EXPECT_NEAR(windows[80], 1000, 8);   // the plateau
  EXPECT_NEAR(windows[105], 1000, 15);
  EXPECT_GT(windows[180], 1100);       // and the search beyond it
  for (std::size_t i = 1; i < windows.size(); ++i) EXPECT_GE(windows[i], windows[i - 1]);
}

TEST(Cubic, FastConvergenceGivesUpRoom) {
  CongestionControl cc(Cubic(mss, 1000 * mss));
  cc.on_congestion({.in_flight = 1000 * mss});
  cc.set_cwnd(cc.ssthresh());              // 700, w_max 1000
  cc.on_congestion({.in_flight = 700 * mss});
  cc.set_cwnd(cc.ssthresh());              // 490, w_max 700 * 0.85 = 595
  std::int64_t now_ms = 0;
  const auto windows = run_cubic(cc, 64, 100, now_ms);  // K = cbrt(105 / 0.4) = 6.4 s
  EXPECT_NEAR(windows[63], 595, 6);
}

TEST(Cubic, AtShortRoundTripsItIsNotSlowerThanReno) {
  // 1 ms round trips: the cubic curve is far below Reno's, so the Reno-friendly region decides (4.3).
  CongestionControl cc(Cubic(mss, 20 * mss));
  cc.on_congestion({.in_flight = 20 * mss});
  cc.set_cwnd(cc.ssthresh());
  std::int64_t now_ms = 0;
  const auto windows = run_cubic(cc, 100, 1, now_ms);
  // 0.53 segments a round trip until the window is back at 20, then one.
  EXPECT_GT(windows[99], 80);
}

TEST(Cubic, TimeTheApplicationWastedDoesNotCount) {
  CongestionControl busy(Cubic(mss, 1000 * mss)), idle(Cubic(mss, 1000 * mss));
  for (auto* cc : {&busy, &idle}) {
    cc->on_congestion({.in_flight = 1000 * mss});
    cc->set_cwnd(cc->ssthresh());
  }
  std::int64_t now_ms = 0;
  const double expected = run_cubic(busy, 60, 100, now_ms).back();
  now_ms = 0;
  run_cubic(idle, 30, 100, now_ms);
  idle.on_ack({.acked = mss, .window_limited = false, .now = TimePoint::from_ns(now_ms * 1'000'000)});
  now_ms += 60'000;  // a minute without enough to send
  EXPECT_NEAR(run_cubic(idle, 30, 100, now_ms).back(), expected, 5);
}

TEST(Cubic, TimeoutStartsOverFromOneSegment) {
  CongestionControl cc(Cubic(mss, 100 * mss));
  cc.on_timeout({.in_flight = 100 * mss}, true);
  EXPECT_EQ(cc.cwnd(), mss);
  EXPECT_EQ(cc.ssthresh(), 70 * mss);
  cc.on_timeout({.in_flight = mss}, false);
  EXPECT_EQ(cc.ssthresh(), 70 * mss);
}

// --- RFC 9406 ------------------------------------------------------------------------------------------------

// A slow start in which round `i` has round trips of rtts_ms[i]; returns the window after each round, in segments.
std::vector<double> slow_start(const std::vector<std::int64_t>& rtts_ms) {
  CongestionControl cc(Cubic(mss, 16 * mss));
  std::vector<double> windows;
  SeqNum una(0), nxt(0);
  for (const std::int64_t rtt_ms : rtts_ms) {
    nxt = una + cc.cwnd();
    const SeqNum end = nxt;
    while (una.before(end)) {
      una += mss;
      cc.on_ack({.acked = mss, .window_limited = true, .rtt = Duration::from_ms(rtt_ms), .srtt = Duration::from_ms(rtt_ms),
                 .una = una, .nxt = end + (una - SeqNum(0) > 0 ? 1u : 0u)});
    }
    windows.push_back(cc.cwnd() / double{mss});
  }
  return windows;
}

TEST(HyStart, SteadyRoundTripsDoubleTheWindow) {
  const auto windows = slow_start({50, 50, 50, 50});
  EXPECT_NEAR(windows[3], 256, 2);
}

TEST(HyStart, GrowingRoundTripsEndTheDoublingThenSlowStart) {
  const auto windows = slow_start({50, 50, 60, 60, 60, 60, 60, 60, 60, 60, 60});
  EXPECT_NEAR(windows[1], 64, 1);
  EXPECT_LT(windows[2], 100);                   // conservative from the eighth sample on
  EXPECT_LT(windows[3] / windows[2], 1.35);     // a quarter of the growth
  EXPECT_LT(windows[10] / windows[9], 1.05);    // after five rounds of it: congestion avoidance
}

TEST(HyStart, JitterThatPassesResumesTheDoubling) {
  const auto windows = slow_start({50, 50, 60, 50, 50});
  EXPECT_GT(windows[4] / windows[3], 1.9);
}

// --- Flow keys -----------------------------------------------------------------------------------------------

TEST(StoredKey, EveryPartCounts) {
  const FlowKey key{IpAddress::v4(192, 0, 2, 1), IpAddress::v4(192, 0, 2, 2), 7, 4000};
  const StoredKey stored(key);
  EXPECT_TRUE(stored.is_v4());
  EXPECT_TRUE(stored.is(key));
  EXPECT_EQ(stored.v4_local(), key.local);
  EXPECT_EQ(stored.v4_remote(), key.remote);
  FlowKey others[] = {key, key, key, key, key};
  others[0].local = IpAddress::v4(192, 0, 2, 3);
  others[1].remote = IpAddress::v4(192, 0, 2, 3);
  others[2].local_port = 8;
  others[3].remote_port = 4001;
  // The same last four octets.
  others[4].local = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0xc000, 0x0201);
  others[4].remote = IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0xc000, 0x0202);
  for (const FlowKey& other : others) EXPECT_FALSE(stored.is(other));
  const StoredKey v6(others[4], 77);
  EXPECT_FALSE(v6.is_v4());
  EXPECT_EQ(v6.v6_index(), 77u);
  EXPECT_EQ(v6.local_port, 7);
  EXPECT_EQ(v6.remote_port, 4000);
}

TEST(FlowKey, EveryPartCounts) {
  const FlowKey base{IpAddress::v4(192, 0, 2, 1), IpAddress::v4(192, 0, 2, 2), 7, 4000};
  FlowKey keys[] = {base, base, base, base};
  keys[0].local = IpAddress::v4(192, 0, 2, 3);
  keys[1].remote = IpAddress::v4(192, 0, 2, 3);
  keys[2].local_port = 8;
  keys[3].remote_port = 4001;
  EXPECT_TRUE(base == base);
  for (const FlowKey& key : keys) {
    EXPECT_FALSE(key == base);
    EXPECT_NE(key.hash(1), base.hash(1));
  }
}

TEST(FlowKey, NeighbouringPortsSpreadOverTheTable) {
  // 20,000 flows from one peer into 65,536 buckets: a random function leaves about 48,300 empty.
  std::set<std::uint32_t> buckets;
  for (std::uint16_t port = 10'000; port < 30'000; ++port)
    buckets.insert(FlowKey{IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), 80, port}.hash(7) & 0xffff);
  EXPECT_GT(buckets.size(), 16'500u);
  EXPECT_LT(buckets.size(), 18'000u);
}

TEST(FlowKey, SeedChangesWhichFlowsCollide) {
  const auto bucket = [](std::uint16_t port, std::uint64_t seed) {
    return FlowKey{IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), 80, port}.hash(seed) & 0xfff;
  };
  std::vector<std::uint16_t> colliding;
  for (std::uint32_t port = 1; port < 65536; ++port)
    if (bucket(static_cast<std::uint16_t>(port), 1) == 5) colliding.push_back(static_cast<std::uint16_t>(port));
  ASSERT_GT(colliding.size(), 5u);
  std::set<std::uint32_t> reseeded;
  for (const auto port : colliding) reseeded.insert(bucket(port, 2));
  EXPECT_GT(reseeded.size(), colliding.size() * 3 / 4);
}

// --- TIME-WAIT -----------------------------------------------------------------------------------------------

TimeWait waiting(std::uint16_t port, std::int64_t expiry_s) {
  TimeWait entry;
  entry.key.remote_port = port;
  entry.expiry = TimePoint::from_ns(expiry_s * 1'000'000'000);
  return entry;
}

std::vector<std::uint16_t> drain(TimeWaitTable& table) {
  std::vector<std::uint16_t> ports;
  while (table.oldest() != TimeWaitTable::nil) {
    ports.push_back(table[table.oldest()].key.remote_port);
    table.remove(table.oldest());
  }
  return ports;
}

TEST(TimeWaitTable, ExpiresInOrderAndFillsUp) {
  TimeWaitTable table(3);
  for (std::uint16_t i = 1; i <= 3; ++i) table.add(waiting(i, i));
  EXPECT_TRUE(table.full());
  EXPECT_EQ(drain(table), (std::vector<std::uint16_t>{1, 2, 3}));
  EXPECT_EQ(table.size(), 0u);
}

TEST(TimeWaitTable, RestartMovesToTheEndFromAnywhere) {
  for (std::uint16_t restarted = 1; restarted <= 3; ++restarted) {
    TimeWaitTable table(3);
    std::vector<std::uint32_t> index;
    for (std::uint16_t i = 1; i <= 3; ++i) index.push_back(table.add(waiting(i, i)));
    table.restart(index[restarted - 1u], TimePoint::from_ns(9'000'000'000));
    std::vector<std::uint16_t> expected;
    for (std::uint16_t i = 1; i <= 3; ++i)
      if (i != restarted) expected.push_back(i);
    expected.push_back(restarted);
    EXPECT_EQ(drain(table), expected);
  }
}

// --- RFC 4987 3.6 --------------------------------------------------------------------------------------------

const FlowKey cookie_flow{IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), 7, 40000};
constexpr TimePoint cookie_time = TimePoint::from_ns(1'000'000'000'000'000);

TEST(SynCookie, ComesBackWithTheLargestMssThatFits) {
  const SynCookies cookies({1, 2});
  for (const auto& [offered, kept] : {std::pair{1, 64}, {535, 64}, {536, 536}, {1459, 1440}, {1460, 1460}, {65535, 8940}}) {
    const SeqNum cookie = cookies.make(cookie_flow, SeqNum(77), static_cast<std::uint16_t>(offered), cookie_time);
    EXPECT_EQ(cookies.check(cookie_flow, SeqNum(77), cookie, cookie_time), kept) << offered;
  }
}

TEST(SynCookie, IsGoodForOneFlowOneIsnOneKeyAndSomeTime) {
  const SynCookies cookies({1, 2});
  const SeqNum cookie = cookies.make(cookie_flow, SeqNum(77), 1460, cookie_time);
  FlowKey other = cookie_flow;
  other.remote_port = 40001;
  EXPECT_FALSE(cookies.check(other, SeqNum(77), cookie, cookie_time));
  other = cookie_flow;
  other.remote = IpAddress::v4(10, 0, 0, 3);
  EXPECT_FALSE(cookies.check(other, SeqNum(77), cookie, cookie_time));
  EXPECT_FALSE(cookies.check(cookie_flow, SeqNum(78), cookie, cookie_time));
  EXPECT_FALSE(SynCookies({1, 3}).check(cookie_flow, SeqNum(77), cookie, cookie_time));
  EXPECT_TRUE(cookies.check(cookie_flow, SeqNum(77), cookie, cookie_time + SynCookies::period));
  EXPECT_FALSE(cookies.check(cookie_flow, SeqNum(77), cookie, cookie_time + SynCookies::period * 2));
  EXPECT_FALSE(cookies.check(cookie_flow, SeqNum(77), cookie, cookie_time + SynCookies::period * 3));
  EXPECT_FALSE(cookies.check(cookie_flow, SeqNum(77), cookie, cookie_time + SynCookies::period * 4)) << "the hash is of all of the time";
}

TEST(SynCookie, GuessesAreWrong) {
  const SynCookies cookies({1, 2});
  Rng rng(1);
  int right = 0;
  for (int i = 0; i < 100'000; ++i)
    right += cookies.check(cookie_flow, SeqNum(77), SeqNum(static_cast<std::uint32_t>(rng.next())), cookie_time).has_value();
  EXPECT_EQ(right, 0);
}

TEST(SynCookie, TimestampsHoldOptionsAndNeverRunAhead) {
  for (std::uint32_t clock = 0xffffff00; clock != 0x100; ++clock)
    for (const int scale : {-1, 0, 7, 14}) {
      TcpOptionValues syn;
      syn.has_window_scale = scale >= 0;
      syn.window_scale = static_cast<std::uint8_t>(scale >= 0 ? scale : 0);
      syn.sack_permitted = scale == 7;
      const bool ecn = scale == 14;
      const std::uint32_t stamp = SynCookies::timestamp(clock, syn, ecn);
      ASSERT_LE(clock - stamp, 64u) << clock;
      TcpOptionValues read;
      SynCookies::read_timestamp(stamp, read);
      EXPECT_EQ(read.has_window_scale, syn.has_window_scale);
      EXPECT_EQ(read.window_scale, syn.window_scale);
      EXPECT_EQ(read.sack_permitted, syn.sack_permitted);
      EXPECT_EQ(SynCookies::has_ecn(stamp), ecn);
    }
}

// --- SegmentBurst -----------------------------------------------------------------------------------------------

TEST(SegmentBurst, FlowsWithOneHashStayTwo) {
  test::HeapPool heap(16, 64);
  SegmentBurst burst;
  for (std::uint16_t i = 0; i < 4; ++i) {
    SegmentBurst::Entry& entry = burst.next();
    entry.key = {IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), 7, static_cast<std::uint16_t>(1000 + i / 2)};
    entry.hash = 4711;
    entry.seg = Segment{};
    entry.seg.seq = SeqNum(i * 10u);
    entry.seg.length = 10;
    entry.seg.flags.bits = TcpFlags::ack;
    entry.seg.payload = heap.pool().copy_of(std::vector<std::uint8_t>(10, 1));
    EXPECT_EQ(burst.add(), i % 2 == 1);
  }
  ASSERT_EQ(burst.size(), 2u);
  for (std::uint32_t i = 0; i < 2; ++i) {
    EXPECT_EQ(burst[i].seg.length, 20u);
    EXPECT_EQ(burst[i].seg.payload.size(), 20u);
    EXPECT_EQ(burst[i].seg.payload.segment_count(), 2u);
    burst[i].seg.payload.reset();
  }
}

}  // namespace
}  // namespace pollux
