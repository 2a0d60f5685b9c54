// BBR on connections: who has it, what an operator sees of it, and that losses do not take its window away.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions with_bbr() {
  TcpOptions options = plain_tcp();
  options.conn.congestion = TcpCongestion::bbr;
  return options;
}

// A round trip of 100 ms and segments of 1,000 octets.
void open(Conversation& c, std::uint8_t flags = SYN) {
  c.listens();
  c.peer.sends(flags, {.seq = 0, .mss = 1000, .sack_permitted = true});
  c.peer.take();
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
}

TcpInfo info(Conversation& c) {
  c.host.sync();
  return c.app.conn.info();
}

/// The peer acknowledges one segment more every `each`, `count` times.
std::int64_t acks(Conversation& c, std::int64_t from, int count, Duration each) {
  for (int i = 0; i < count; ++i) {
    c.peer.sends(ACK, {.ack = from += 1000});
    c.peer.waits(each);
  }
  return from;
}

TEST(BbrConn, PacesFromTheFirstSegmentOnWhateverTheOptionSays) {
  Conversation c(with_bbr());
  open(c);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(c.peer.take().size(), 2u);
  EXPECT_EQ(info(c).pacing_rate, 277'300u) << "2.773 times the window of 10,000 in 100 ms";
  EXPECT_EQ(info(c).timer, TcpTimer::pacing);
  c.app.conn.set_pacing(false);
  c.runs();
  EXPECT_EQ(c.peer.take().size(), 0u) << "it has no way without";
  EXPECT_EQ(info(c).pacing_rate, 277'300u);
  c.peer.waits(40_ms);
  EXPECT_EQ(c.peer.take().size(), 8u) << "the window";
}

TEST(BbrConn, ACapHolds) {
  Conversation c(with_bbr());
  open(c);
  c.app.conn.set_pacing(true, 10'000);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(info(c).pacing_rate, 10'000u);
}

TEST(BbrConn, InfoTellsItsStateAndWhatThePathDelivers) {
  Conversation c(with_bbr());
  open(c);
  EXPECT_STREQ(tcp_congestion_name(info(c).congestion), "bbr");
  EXPECT_EQ(info(c).bbr_state, BbrState::startup);
  EXPECT_EQ(info(c).delivery_rate, 0u) << "not known yet";
  c.sends(pattern(1, 200'000));
  c.peer.waits(100_ms);
  acks(c, 1, 10, 10_ms);  // 100,000 octets a second
  const TcpInfo after = info(c);
  EXPECT_GE(after.delivery_rate, 45'000u) << "ten of 1,000 within two round trips";
  EXPECT_LE(after.delivery_rate, 110'000u);
  EXPECT_GE(after.cwnd, 19'000u) << "doubled";
}

TEST(BbrConn, OtherConnectionsHaveNoModel) {
  Conversation c;
  open(c);
  EXPECT_EQ(info(c).congestion, TcpCongestion::cubic);
  EXPECT_EQ(info(c).delivery_rate, 0u);
  EXPECT_EQ(info(c).pacing_rate, 0u);
}

TEST(BbrConn, IsChosenPerConnection) {
  Conversation c;
  TcpConnOptions conn = plain_tcp().conn;
  conn.congestion = TcpCongestion::bbr;
  c.connects({.conn = conn});
  c.peer.expects(SYN);
  c.peer.waits(100_ms);
  c.peer.sends(SYN | ACK, {.seq = 0, .ack = 1, .mss = 1000});
  c.peer.expects(ACK);
  EXPECT_EQ(info(c).pacing_rate, 277'300u);
}

TEST(BbrConn, ALostSegmentIsRepairedAndTheWindowStays) {
  Conversation c(with_bbr());
  open(c);
  c.sends(pattern(1, 200'000));
  c.peer.waits(100_ms);
  std::int64_t una = acks(c, 1, 10, 10_ms);
  c.peer.take();
  const std::uint32_t before = info(c).cwnd;
  for (int i = 1; i <= 3; ++i) {
    c.peer.sends(ACK, {.ack = una, .sacks = {{{una + 1000, una + 1000 + 1000 * i}}}});
    c.peer.waits(10_ms);
  }
  const auto sent = c.peer.take();
  ASSERT_FALSE(sent.empty());
  EXPECT_EQ(c.count(Counter::tcp_retrans_segs), 1u);
  EXPECT_EQ(info(c).recovery, RecoveryMode::recovery);
  EXPECT_GE(info(c).cwnd, before) << "CUBIC would have lowered it";
}

TEST(BbrConn, ATimeoutLeavesOneSegment) {
  Conversation c(with_bbr());
  open(c);
  c.sends(pattern(1, 200'000));
  c.peer.waits(100_ms);
  const std::int64_t una = acks(c, 1, 10, 10_ms);
  c.peer.waits(3_s);
  EXPECT_GE(c.count(Counter::tcp_timeouts), 1u);
  EXPECT_EQ(info(c).cwnd, 1000u);
  c.peer.sends(ACK, {.ack = una + 1000});
  EXPECT_GE(info(c).cwnd, 4000u);
}

TEST(BbrConn, AMarkIsAnsweredWithCwr) {
  Conversation c(with_bbr());
  open(c, SYN | ECE | CWR);
  c.sends(pattern(1, 200'000));
  c.peer.waits(100_ms);
  std::int64_t una = acks(c, 1, 4, 10_ms);
  c.peer.take();
  c.peer.sends(ACK | ECE, {.ack = una + 1000});
  EXPECT_EQ(c.count(Counter::tcp_ecn_reductions), 1u);
  EXPECT_EQ(info(c).bbr_state, BbrState::drain) << "which sends nothing until the queue is empty";
  acks(c, una + 1000, 12, 10_ms);
  const auto sent = c.peer.take();
  ASSERT_FALSE(sent.empty());
  EXPECT_NE(sent.front().segment.flags & CWR, 0);
}

TEST(BbrConn, AnApplicationThatHoldsBackDoesNotEndStartup) {
  Conversation c(with_bbr());
  open(c);
  for (std::int64_t i = 0; i < 20; ++i) {  // a segment a round trip: the path could do more, nobody knows how much
    c.sends(pattern(1, 1000));
    c.peer.waits(100_ms);
    c.peer.sends(ACK, {.ack = 1 + 1000 * (i + 1)});
  }
  EXPECT_EQ(info(c).bbr_state, BbrState::startup);
}

TEST(BbrConn, ModelsGoWithTheirConnections) {
  TcpOptions options = with_bbr();
  options.connections_max = 2;
  options.time_wait_max = 2;
  Conversation c(options);
  c.listens();
  for (int i = 0; i < 10; ++i) {
    c.peer.use_ports(static_cast<std::uint16_t>(2000 + i), 7);
    c.peer.connects({.mss = 1000});
    ASSERT_EQ(c.app.conn.state(), TcpState::established);
    c.host.sync();
    c.app.conn.abort();
    c.runs();
    c.peer.take();
  }
}

}  // namespace
}  // namespace pollux::test
