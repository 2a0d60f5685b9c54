// Retransmission and congestion control: RFC 6298, RFC 5681, RFC 6582 (NewReno), RFC 6928, RFC 3042.
#include <gtest/gtest.h>

#include <algorithm>

#include "support/conversation.h"

namespace pollux::test {
namespace {

/// An established connection whose handshake took `rtt`: the first RTT sample.
void established_with_rtt(Conversation& c, Duration rtt, std::uint16_t mss = 1000) {
  c.listens();
  c.peer.sends(SYN, {.mss = mss});
  c.peer.expects(SYN | ACK);
  c.peer.waits(rtt);
  c.peer.sends(ACK);
  ASSERT_EQ(c.app.conn.state(), TcpState::established);
}

/// The relative sequence numbers of what has come since the last look, payload only.
std::vector<std::int64_t> heard(Conversation& c) {
  std::vector<std::int64_t> seqs;
  for (const auto& arrival : c.peer.take())
    if (!arrival.segment.payload.empty())
      seqs.push_back(static_cast<std::int32_t>(arrival.segment.seq - c.peer.stack_isn()));
  return seqs;
}

std::vector<std::int64_t> segments(std::int64_t first, int count, int mss = 1000) {
  std::vector<std::int64_t> seqs;
  for (int i = 0; i < count; ++i) seqs.push_back(first + i * mss);
  return seqs;
}

TEST(Rto, Rfc6298_2BackoffDoublesExactlyInTime) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends("x");
  c.peer.expects(ACK, {.len = 1});
  for (Duration rto = 300_ms; rto < 120_s; rto = rto * 2)  // 100 + 4 * 50
    c.peer.expects_after(rto, ACK, {.seq = 1, .data = "x"});
  c.peer.expects_after(120_s, ACK, {.seq = 1, .data = "x"});
  c.peer.expects_after(120_s, ACK, {.seq = 1, .data = "x"});
}

TEST(Rto, IsNotBelowItsMinimum) {
  Conversation c;
  c.established();
  c.sends("x");
  c.peer.expects(ACK, {.len = 1});
  c.peer.expects_after(200_ms, ACK, {.seq = 1, .len = 1});
}

TEST(Rto, SmoothsByRfc6298_2_3) {
  Conversation c;
  established_with_rtt(c, 100_ms);  // SRTT 100, RTTVAR 50
  c.sends("x");
  c.peer.expects(ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);  // RTTVAR = 3/4 * 50 = 37.5: RTO 250
  c.sends("y");
  c.peer.expects(ACK);
  c.peer.expects_after(250_ms, ACK, {.data = "y"});
}

TEST(Rto, Must18KarnNoSampleFromWhatWasRetransmittedAndBackoffLastsUntilOne) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends("x");
  c.peer.expects(ACK);
  c.peer.expects_after(300_ms, ACK, {.seq = 1});
  c.peer.waits(1_ms);
  c.peer.sends(ACK);  // 1 ms after the retransmission: says nothing about the path
  c.sends("y");
  c.peer.expects(ACK, {.data = "y"});
  // RFC 6298 leaves open whether the backed-off timeout stays until the next sample; a sample of 1 ms it must
  // not be.
  c.peer.expects_between(300_ms, 601_ms, ACK, {.data = "y"});
}

TEST(Rto, Rfc6298_5_2And5_3TimerRestartsWithEachAckAndStopsWithTheLast) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 2000));
  EXPECT_EQ(heard(c), segments(1, 2));
  c.peer.waits(50_ms);
  c.peer.sends(ACK, {.ack = 1001});
  // From the ACK on, by the new sample of 50 ms: SRTT 93.75, RTTVAR 50.
  c.peer.expects_after(293'750_us, ACK, {.seq = 1001, .len = 1000});
  c.peer.sends(ACK, {.ack = 2001});
  c.peer.expects_silence(60_s);
}

TEST(Rto, Rfc6298_5_4OnlyTheOldestSegmentIsSentAgain) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 5000));
  EXPECT_EQ(heard(c), segments(1, 5));
  c.peer.expects_after(300_ms, ACK, {.seq = 1, .len = 1000});
  c.peer.expects_nothing();
  c.peer.sends(ACK, {.ack = 1001});  // RFC 5681 3.1: slow start from one segment
  EXPECT_EQ(heard(c), segments(1001, 2));
  c.peer.sends(ACK, {.ack = 3001});
  EXPECT_EQ(heard(c), segments(3001, 2));
  c.peer.sends(ACK, {.ack = 5001});
  c.peer.expects_silence(10_s);
}

TEST(Rto, RetransmissionHasTheSameOctets) {
  Conversation c;
  c.established();
  c.app.conn.set_nagle(false);
  c.sends("abc");
  c.sends("def");
  EXPECT_EQ(c.peer.take().size(), 2u);
  const Decoded again = c.peer.expects_after(200_ms, ACK, {.seq = 1});
  EXPECT_EQ(std::string(again.payload.begin(), again.payload.end()),
            std::string("abcdef").substr(0, again.payload.size()));
  EXPECT_GE(again.payload.size(), 3u);
}

TEST(Rto, Must20R1IsReportedAndR2Closes) {
  TcpOptions options = plain_tcp();
  options.conn.retries_max = 5;
  Conversation c(options);
  c.established();
  c.sends("x");
  c.peer.expects(ACK);
  c.peer.expects_after(200_ms, ACK);
  c.peer.expects_after(400_ms, ACK);
  EXPECT_EQ(c.app.soft_errors, 0u) << "SHLD-10: R1 is at least 3 retransmissions";
  c.peer.expects_after(800_ms, ACK);
  EXPECT_EQ(c.app.soft_errors, 1u) << "SHLD-9";
  c.peer.expects_after(1600_ms, ACK);
  c.peer.expects_after(3200_ms, ACK);
  EXPECT_TRUE(c.app.closed.empty());
  c.peer.expects_silence(6500_ms);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
  EXPECT_EQ(c.app.soft_errors, 1u);
  EXPECT_EQ(c.count(Counter::tcp_abort_timeout), 1u);
}

TEST(Rto, Shld11R2IsAtLeast100SecondsByDefault) {
  Conversation c;
  c.established();
  c.sends("x");
  c.world.run_for(100_s);
  EXPECT_TRUE(c.app.closed.empty());
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(UserTimeout, Must21EndsTheConnectionInTime) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_user_timeout(5_s));
  c.sends("x");
  c.world.run_for(4900_ms);
  EXPECT_TRUE(c.app.closed.empty());
  c.world.run_for(200_ms);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
}

TEST(UserTimeout, ProgressRestartsIt) {
  Conversation c;
  c.established();
  c.app.conn.set_nagle(false);
  c.app.conn.set_user_timeout(5_s);
  c.sends("x");
  c.peer.waits(4_s);
  c.sends("y");
  c.peer.sends(ACK, {.ack = 2});
  c.world.run_for(4_s);
  EXPECT_TRUE(c.app.closed.empty());
  c.world.run_for(2_s);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

// --- Congestion control ------------------------------------------------------------------------------------

TEST(Congestion, Rfc6928InitialWindowIsTenSegments) {
  Conversation c;
  c.established({.mss = 1000});
  c.sends(pattern(1, 30'000));
  EXPECT_EQ(heard(c), segments(1, 10));
}

TEST(Congestion, Must19SlowStartDoublesPerRoundTrip) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(heard(c).size(), 10u);
  c.peer.waits(100_ms);
  for (int i = 1; i <= 10; ++i) c.peer.sends(ACK, {.ack = 1 + 1000 * i});
  EXPECT_EQ(heard(c), segments(10'001, 20));
  c.peer.waits(100_ms);
  for (int i = 11; i <= 30; ++i) c.peer.sends(ACK, {.ack = 1 + 1000 * i});
  EXPECT_EQ(heard(c).size(), 30u) << "the data ends";
}

TEST(Congestion, Must19OneSegmentAfterATimeout) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 40'000));
  EXPECT_EQ(heard(c).size(), 10u);
  c.peer.expects_after(300_ms, ACK, {.seq = 1});
  c.peer.sends(ACK, {.ack = 10'001});  // all the rest had arrived
  EXPECT_LE(heard(c).size(), 2u) << "slow start from one segment";
}

TEST(Congestion, Rfc5681_4_1IdleConnectionStartsAgainSlowly) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 60'000));
  while (c.peer.rcv_nxt() < 60'001) {
    c.peer.take();
    c.peer.sends(ACK);
  }
  c.peer.take();
  c.peer.sends(ACK);
  c.peer.waits(30_s);
  c.sends(pattern(60'001, 40'000));
  EXPECT_LE(heard(c).size(), 10u);
}

TEST(FastRetransmit, Rfc5681_3_2OnTheThirdDuplicateAck) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 6000));
  EXPECT_EQ(heard(c), segments(1, 6));
  c.peer.sends(ACK, {.ack = 1001});
  c.peer.sends(ACK, {.ack = 1001});
  c.peer.sends(ACK, {.ack = 1001});
  EXPECT_TRUE(heard(c).empty()) << "two duplicates say nothing yet";
  c.peer.sends(ACK, {.ack = 1001});
  EXPECT_EQ(heard(c), segments(1001, 1));
  EXPECT_EQ(c.count(Counter::tcp_fast_retrans), 1u);
  c.peer.sends(ACK, {.ack = 6001});
  c.peer.expects_silence(10_s);
  EXPECT_EQ(c.count(Counter::tcp_timeouts), 0u);
}

TEST(FastRetransmit, Rfc6582PartialAckRepairsTheNextLossAtOnce) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 8000));
  EXPECT_EQ(heard(c), segments(1, 8));
  for (int i = 0; i < 3; ++i) c.peer.sends(ACK, {.ack = 1});  // segments 1 and 4 are lost
  EXPECT_EQ(heard(c), segments(1, 1));
  c.peer.sends(ACK, {.ack = 3001});
  EXPECT_EQ(heard(c), segments(3001, 1));
  c.peer.sends(ACK, {.ack = 8001});
  c.peer.expects_silence(10_s);
  EXPECT_EQ(c.count(Counter::tcp_fast_retrans), 1u) << "one recovery";
}

TEST(FastRetransmit, WindowIsHalvedAfterwards) {
  TcpOptions options = plain_tcp();
  options.conn.congestion = TcpCongestion::newreno;
  Conversation c(options);
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(heard(c).size(), 10u);
  for (int i = 0; i < 3; ++i) c.peer.sends(ACK, {.ack = 1});
  heard(c);
  c.peer.sends(ACK, {.ack = c.peer.rcv_nxt()});  // full: ends the recovery
  const auto after = heard(c);
  EXPECT_GE(after.size(), 1u);
  EXPECT_LE(after.size(), 6u) << "half of what was in flight, no burst";
}

TEST(FastRetransmit, Rfc3042LimitedTransmitSendsNewDataOnTheFirstTwo) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 30'000));
  EXPECT_EQ(heard(c), segments(1, 10));
  c.peer.sends(ACK, {.ack = 1});
  EXPECT_EQ(heard(c), segments(10'001, 1));
  c.peer.sends(ACK, {.ack = 1});
  EXPECT_EQ(heard(c), segments(11'001, 1));
  c.peer.sends(ACK, {.ack = 1});
  EXPECT_EQ(heard(c).at(0), 1);
}

TEST(FastRetransmit, Rfc6582_3_2NotForWhatATimeoutRepairs) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 8000));
  heard(c);
  c.peer.expects_after(300_ms, ACK, {.seq = 1, .len = 1000});
  for (int i = 0; i < 5; ++i) c.peer.sends(ACK, {.ack = 1});  // the first flight's, late
  EXPECT_TRUE(std::ranges::none_of(heard(c), [](std::int64_t seq) { return seq == 1; }));
  EXPECT_EQ(c.count(Counter::tcp_fast_retrans), 0u);
}

TEST(FastRetransmit, DataAndWindowUpdatesAreNoDuplicates) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 5000));
  heard(c);
  for (int i = 0; i < 5; ++i) c.peer.sends(ACK, {.ack = 1, .len = 10});
  for (std::uint32_t i = 0; i < 5; ++i) c.peer.sends(ACK, {.ack = 1, .window = 60'000 + i});
  EXPECT_TRUE(heard(c).empty());
  EXPECT_EQ(c.count(Counter::tcp_fast_retrans), 0u);
}

TEST(FastRetransmit, NothingOutstandingMeansNoDuplicates) {
  Conversation c;
  c.established();
  for (int i = 0; i < 5; ++i) c.peer.sends(ACK, {.ack = 1});
  c.peer.expects_nothing();
  EXPECT_EQ(c.count(Counter::tcp_dup_acks_in), 0u);
}

TEST(FastRetransmit, LostRetransmissionIsRepairedByTheTimer) {
  Conversation c;
  established_with_rtt(c, 100_ms);
  c.sends(pattern(1, 5000));
  heard(c);
  for (int i = 0; i < 3; ++i) c.peer.sends(ACK, {.ack = 1});
  EXPECT_EQ(heard(c), segments(1, 1));
  const Decoded again = c.peer.expects_between(200_ms, 400_ms, ACK, {.seq = 1});
  EXPECT_EQ(again.payload.size(), 1000u);
  c.peer.sends(ACK, {.ack = 5001});
  c.peer.expects_silence(10_s);
}

}  // namespace
}  // namespace pollux::test
