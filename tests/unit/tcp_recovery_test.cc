// Loss detection on its own: the scoreboard against a plain model, RACK's rules, proportional rate reduction.
#include <gtest/gtest.h>

#include <vector>

#include "pollux/base/rng.h"
#include "pollux/tcp/recovery.h"
#include "support/seed.h"

namespace pollux {
namespace {

constexpr std::uint32_t mss = 1000;
constexpr std::uint32_t base = 0xfffff000u;  // everything crosses the wrap

SeqNum at(std::uint32_t octet) { return SeqNum(base + octet); }
TimePoint ms(std::int64_t t) { return TimePoint::from_ns(t * 1'000'000); }

class Board : public testing::Test {
 protected:
  void SetUp() override { rtt.sample(Duration::from_ms(40)); }
  void TearDown() override { board.clear(slab, &disorder); }
  /// Sends segments of one MSS up to octet `to`, at `t` ms, `gap` ms apart.
  void send(std::uint32_t from, std::uint32_t to, std::int64_t t, std::int64_t gap = 0) {
    for (; from < to; from += mss, t += gap) ASSERT_TRUE(board.sent(slab, &disorder, at(from), at(from + mss), ms(t)));
  }
  Delivery sack(std::uint32_t left, std::uint32_t right) {
    Delivery delivery;
    board.sack(slab, disorder, at(left), at(right), delivery);
    return delivery;
  }
  Delivery acknowledge(std::uint32_t una) {
    Delivery delivery;
    board.acknowledge(slab, &disorder, at(una), delivery);
    return delivery;
  }
  std::vector<std::uint32_t> lost() {
    std::vector<std::uint32_t> starts;
    for (std::uint32_t i = board.first(); i != Scoreboard::nil; i = slab[i].next)
      if (slab[i].lost && !slab[i].in_flight_again) starts.push_back(static_cast<std::uint32_t>(slab[i].start - at(0)));
    return starts;
  }
  SentSlab slab{4096};
  Scoreboard board;
  Disorder disorder;
  Rack rack;
  RttEstimator rtt;
  std::uint32_t newest_lost = Scoreboard::nil;
};

using ScoreboardTest = Board;
using RackTest = Board;
using Starts = std::vector<std::uint32_t>;

TEST_F(ScoreboardTest, PipeCountsWhatIsInTheNetwork) {
  send(0, 10'000, 0);
  EXPECT_EQ(board.in_flight(disorder), 10 * mss);
  sack(3000, 5000);
  EXPECT_EQ(board.in_flight(disorder), 8 * mss);
  board.mark_lost(slab, disorder, board.first());
  EXPECT_EQ(board.in_flight(disorder), 7 * mss);
  board.sent_again(slab, disorder, board.first(), ms(1));
  EXPECT_EQ(board.in_flight(disorder), 8 * mss);
  acknowledge(5000);
  EXPECT_EQ(board.in_flight(disorder), 5 * mss);
  EXPECT_EQ(disorder.sacked(), 0u);
}

TEST_F(ScoreboardTest, PartOfASegmentMayBeAcknowledged) {
  send(0, 2000, 0);
  EXPECT_EQ(acknowledge(300).octets, 300u);
  EXPECT_EQ(board.in_flight(disorder), 1700u);
  EXPECT_EQ(slab[board.first()].start, at(300));
  EXPECT_EQ(acknowledge(2000).octets, 1700u);
  EXPECT_TRUE(board.empty());
}

TEST_F(ScoreboardTest, BlockThatCoversASegmentInPartMarksOnlyWholeOnes) {
  send(0, 4000, 0);
  EXPECT_EQ(sack(500, 2500).octets, mss);
  EXPECT_EQ(disorder.sacked(), mss);
}

TEST_F(ScoreboardTest, RetransmittedSegmentGivesNoSample) {
  send(0, 1000, 0);
  board.mark_lost(slab, disorder, board.first());
  board.sent_again(slab, disorder, board.first(), ms(300));
  const Delivery delivery = acknowledge(1000);
  EXPECT_FALSE(delivery.has_sample);  // Karn
  EXPECT_TRUE(delivery.has_last);
  EXPECT_TRUE(delivery.last_retransmitted);
}

TEST_F(ScoreboardTest, TimeoutLosesAllButTheSacked) {
  send(0, 5000, 0);
  sack(2000, 3000);
  board.mark_all_lost(slab, disorder, false);
  EXPECT_EQ(lost(), (Starts{0, 1000, 3000, 4000}));
  board.mark_all_lost(slab, disorder, true);  // the peer threw it away
  EXPECT_EQ(lost(), (Starts{0, 1000, 2000, 3000, 4000}));
  EXPECT_EQ(board.in_flight(disorder), 0u);
}

TEST_F(ScoreboardTest, SplitKeepsCountsAndOrder) {
  send(0, 3000, 0);
  board.mark_all_lost(slab, disorder, false);
  ASSERT_TRUE(board.split(slab, disorder, board.first(), 400));
  EXPECT_EQ(lost(), (Starts{0, 400, 1000, 2000}));
  board.sent_again(slab, disorder, board.next_lost(slab, disorder), ms(1));
  EXPECT_EQ(board.in_flight(disorder), 400u);
  EXPECT_EQ(slab[board.next_lost(slab, disorder)].start, at(400));
  acknowledge(3000);
  EXPECT_TRUE(board.empty());
  EXPECT_EQ(board.in_flight(disorder), 0u);
}

TEST_F(ScoreboardTest, FullSlabRefuses) {
  SentSlab small(2);
  Scoreboard other;
  EXPECT_TRUE(other.sent(small, nullptr, at(0), at(10), ms(0)));
  EXPECT_TRUE(other.sent(small, nullptr, at(10), at(20), ms(0)));
  EXPECT_FALSE(other.sent(small, nullptr, at(20), at(30), ms(0)));
  EXPECT_FALSE(other.split(small, disorder, other.first(), 5));
  EXPECT_EQ(other.in_flight(disorder), 20u);
  other.clear(small, nullptr);
}

TEST_F(ScoreboardTest, AgreesWithAModelUnderRandomUse) {
  const std::uint64_t seed = test::seed_from_environment(1);
  Rng rng(seed);
  struct Octets {
    std::uint32_t length;
    bool sacked, lost, again;
  };
  std::vector<Octets> model;  // segments from una on
  std::uint32_t una = 0, nxt = 0;
  for (int step = 0; step < 20'000; ++step) {
    switch (rng.below(6)) {
      case 0:
      case 1:
        if (model.size() < 60) {
          ASSERT_TRUE(board.sent(slab, &disorder, at(nxt), at(nxt + mss), ms(step)));
          model.push_back({mss, false, false, false});
          nxt += mss;
        }
        break;
      case 2: {  // a SACK block over random whole segments
        if (model.empty()) break;
        const std::uint32_t from = rng.below(static_cast<std::uint32_t>(model.size()));
        const std::uint32_t to = from + 1 + rng.below(static_cast<std::uint32_t>(model.size()) - from);
        std::uint32_t left = una, fresh = 0;
        for (std::uint32_t i = 0; i < from; ++i) left += model[i].length;
        std::uint32_t right = left;
        for (std::uint32_t i = from; i < to; ++i) {
          right += model[i].length;
          if (!model[i].sacked) fresh += model[i].length;
          model[i] = {model[i].length, true, false, false};
        }
        ASSERT_EQ(sack(left, right).octets, fresh);
        break;
      }
      case 3: {  // the first candidates are lost, as RACK would say
        std::uint32_t i = board.first();
        for (auto& segment : model) {
          if (!segment.sacked && rng.chance(0.3)) {
            board.mark_lost(slab, disorder, i);
            segment.lost = true;
            segment.again = false;
          }
          i = slab[i].next;
        }
        break;
      }
      case 4: {
        const std::uint32_t i = board.next_lost(slab, disorder);
        std::size_t expected = 0;
        while (expected < model.size() && !(model[expected].lost && !model[expected].again)) ++expected;
        ASSERT_EQ(i == Scoreboard::nil, expected == model.size());
        if (i == Scoreboard::nil) break;
        board.sent_again(slab, disorder, i, ms(step));
        model[expected].again = true;
        break;
      }
      default: {
        const std::uint32_t n = rng.below(static_cast<std::uint32_t>(model.size()) + 1);
        for (std::uint32_t i = 0; i < n; ++i) una += model[i].length;
        model.erase(model.begin(), model.begin() + n);
        acknowledge(una);
        break;
      }
    }
    std::uint32_t pipe = 0, sacked = 0;
    for (const auto& segment : model) {
      if (segment.sacked) sacked += segment.length;
      if (!segment.sacked && (!segment.lost || segment.again)) pipe += segment.length;
    }
    ASSERT_EQ(board.in_flight(disorder), pipe) << "step " << step;
    ASSERT_EQ(disorder.sacked(), sacked) << "step " << step;
    ASSERT_EQ(slab.size(), model.size());
  }
}

// --- RFC 8985 ------------------------------------------------------------------------------------------------

TEST_F(RackTest, SegmentSentBeforeADeliveredOneIsLostAfterTheReorderingWindow) {
  send(0, 4000, 0, 1);  // sent at 0, 1, 2, 3 ms
  rack.on_delivery(sack(3000, 4000), ms(43), rtt);  // round trip 40 ms
  // Nothing was ever reordered, but one SACKed segment is not proof: a quarter of the minimum round trip of grace.
  const Duration wait = rack.detect(board, disorder, slab, ms(43), rtt, false, mss, newest_lost);
  EXPECT_EQ(lost(), Starts{});
  EXPECT_EQ(wait, Duration::from_ms(2 + 40 + 10 - 43));  // until the last of them times out
  rack.detect(board, disorder, slab, ms(52), rtt, false, mss, newest_lost);
  EXPECT_EQ(lost(), (Starts{0, 1000, 2000}));
}

TEST_F(RackTest, ThreeSackedSegmentsNeedNoGraceWithoutReordering) {
  send(0, 4000, 0, 1);
  rack.on_delivery(sack(1000, 4000), ms(43), rtt);
  EXPECT_EQ(rack.detect(board, disorder, slab, ms(43), rtt, false, mss, newest_lost), Duration{});
  EXPECT_EQ(lost(), (Starts{0}));
}

TEST_F(RackTest, SeenReorderingBringsTheGraceBack) {
  send(0, 6000, 0, 1);
  rack.on_delivery(sack(1000, 2000), ms(41), rtt);
  rack.on_delivery(acknowledge(2000), ms(42), rtt);  // segment 0 came late: reordering
  rack.on_delivery(sack(3000, 6000), ms(45), rtt);
  EXPECT_GT(rack.detect(board, disorder, slab, ms(45), rtt, false, mss, newest_lost), Duration{});
  EXPECT_EQ(lost(), Starts{});
}

TEST_F(RackTest, LostRetransmissionIsFoundToo) {
  send(0, 4000, 0, 1);
  rack.on_delivery(sack(1000, 4000), ms(43), rtt);
  rack.detect(board, disorder, slab, ms(43), rtt, false, mss, newest_lost);
  board.sent_again(slab, disorder, board.first(), ms(44));
  send(4000, 8000, 45, 1);
  rack.on_delivery(sack(4000, 8000), ms(90), rtt);
  rack.detect(board, disorder, slab, ms(90), rtt, true, mss, newest_lost);
  EXPECT_EQ(lost(), (Starts{0}));
}

TEST_F(RackTest, AnswerFasterThanTheMinimumIsOfTheOriginal) {
  send(0, 2000, 0);
  rack.on_delivery(acknowledge(1000), ms(40), rtt);  // minimum round trip 40 ms
  board.mark_lost(slab, disorder, board.first());
  board.sent_again(slab, disorder, board.first(), ms(100));
  send(2000, 3000, 99);
  rack.on_delivery(acknowledge(2000), ms(101), rtt);  // 1 ms after the retransmission
  rack.detect(board, disorder, slab, ms(101), rtt, true, mss, newest_lost);
  EXPECT_EQ(lost(), Starts{});
}

TEST_F(RackTest, DuplicateReportsWidenTheWindowOnceARoundTrip) {
  send(0, 1000, 0);
  rack.on_delivery(acknowledge(1000), ms(40), rtt);
  send(1000, 5000, 100, 1);
  rack.note_reordering();
  rack.on_dsack(at(1000), at(5000));
  rack.on_dsack(at(1000), at(5000));  // the same round trip
  rack.on_delivery(sack(4000, 5000), ms(143), rtt);
  const Duration wait = rack.detect(board, disorder, slab, ms(143), rtt, false, mss, newest_lost);
  EXPECT_EQ(wait, Duration::from_ms(102 + 40 + 20 - 143));  // two quarters of 40 ms
}

TEST_F(RackTest, AWidenedWindowLastsSixteenRecoveries) {
  rack.on_dsack(at(0), at(1000));
  for (int recovery = 0; recovery < 15; ++recovery) rack.on_recovery_exit();
  EXPECT_EQ(rack.window_steps(), 2);
  rack.on_recovery_exit();  // RFC 8985 6.2 step 4: RACK.reo_wnd_persist has come to 0
  EXPECT_EQ(rack.window_steps(), 1);
}

// --- RFC 9937 ------------------------------------------------------------------------------------------------

TEST(ProportionalRate, SpreadsTheReductionOverTheRoundTrip) {
  ProportionalRate prr;
  prr.start(20 * mss);
  // 20 segments in flight, ssthresh 10: half of what is delivered may be sent.
  std::uint32_t pipe = 19 * mss, sent = 0;
  for (int ack = 0; ack < 19; ++ack) {
    const std::uint32_t window = prr.window(mss, pipe, 10 * mss, mss, false);
    while (window >= pipe + mss) {
      prr.on_sent(mss);
      pipe += mss;
      sent += mss;
    }
    pipe -= mss;
  }
  EXPECT_GE(sent, 9 * mss);
  EXPECT_LE(sent, 11 * mss);
  EXPECT_NEAR(pipe, 10.0 * mss, mss);
}

TEST(ProportionalRate, FirstRetransmissionIsNeverHeldBack) {
  ProportionalRate prr;
  prr.start(20 * mss);
  EXPECT_GE(prr.window(0, 19 * mss, 10 * mss, mss, false), 20 * mss);
}

TEST(ProportionalRate, BelowTheThresholdItConservesPacketsOrSlowStarts) {
  ProportionalRate prr;
  prr.start(20 * mss);
  prr.on_sent(mss);
  // Most of the flight was lost: 4 in the network, 2 delivered now.
  EXPECT_EQ(prr.window(2 * mss, 4 * mss, 10 * mss, mss, false), 4 * mss + 2 * mss);
  EXPECT_EQ(prr.window(2 * mss, 4 * mss, 10 * mss, mss, true), 4 * mss + 4 * mss);  // delivered 4, sent 1, plus one
  EXPECT_EQ(prr.window(9 * mss, 9 * mss, 10 * mss, mss, true), 10 * mss);           // never above ssthresh
}

}  // namespace
}  // namespace pollux
