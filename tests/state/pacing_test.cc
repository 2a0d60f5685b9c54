// Paced output: on live connections, as operators see it, and that a window which the pace spreads out still grows.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions paced(std::uint32_t rate_max = 0) {
  TcpOptions options = plain_tcp();
  options.conn.congestion = TcpCongestion::newreno;
  options.conn.pacing = true;
  options.conn.pacing_rate_max = rate_max;
  return options;
}

// A round trip of 100 ms and segments of 1,000 octets.
void open(Conversation& c) {
  c.listens();
  c.peer.sends(SYN, {.seq = 0, .mss = 1000});
  c.peer.expects(SYN | ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
}

TEST(Pacing, InfoTellsRateAndTimer) {
  Conversation c(paced());
  open(c);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(c.peer.take().size(), 2u);
  c.host.sync();
  const TcpInfo info = c.app.conn.info();
  EXPECT_EQ(info.pacing_rate, 200'000u) << "twice the window of 10,000 in 100 ms";
  EXPECT_EQ(info.timer, TcpTimer::pacing);
  EXPECT_EQ(info.timer_in, 10_ms);
  c.peer.waits(50_ms);
  EXPECT_EQ(c.peer.take().size(), 8u);
  c.host.sync();
  EXPECT_NE(c.app.conn.info().timer, TcpTimer::pacing) << "the window, not the pace, holds the rest back";
}

TEST(Pacing, OfItselfItIsOff) {
  Conversation c;
  open(c);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(c.peer.take().size(), 10u);
  c.host.sync();
  EXPECT_EQ(c.app.conn.info().pacing_rate, 0u);
}

TEST(Pacing, CanBeTurnedOnAndOffOnALiveConnection) {
  Conversation c;
  open(c);
  EXPECT_TRUE(c.app.conn.set_pacing(true, 100'000));
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(c.peer.take().size(), 2u);
  c.host.sync();
  EXPECT_EQ(c.app.conn.info().pacing_rate, 100'000u);
  c.peer.waits(21_ms);
  EXPECT_EQ(c.peer.take().size(), 2u);
  EXPECT_TRUE(c.app.conn.set_pacing(false));
  c.runs();
  EXPECT_EQ(c.peer.take().size(), 6u) << "what waited goes at once";
  EXPECT_FALSE(TcpConn().set_pacing(true));
}

TEST(Pacing, SetBeforeTheHandshakeIsOverItAppliesAfterwards) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  EXPECT_TRUE(c.app.conn.set_pacing(true));
  c.peer.waits(100_ms);
  c.peer.sends(SYN | ACK, {.seq = 0, .ack = 1, .mss = 1000});
  c.peer.expects(ACK);
  c.sends(pattern(1, 10'000));
  EXPECT_EQ(c.peer.take().size(), 2u);
}

TEST(Pacing, AWindowThatIsSpreadOutGrowsAsOtherwise) {
  Conversation c(paced());
  open(c);
  c.sends(pattern(1, 60'000));
  c.peer.waits(100_ms);
  EXPECT_EQ(c.peer.take().size(), 10u);
  for (std::int64_t ack = 2001; ack <= 10'001; ack += 2000) {  // as they came: in pairs, 10 ms apart
    c.peer.sends(ACK, {.ack = ack});
    c.peer.waits(10_ms);
  }
  c.host.sync();
  EXPECT_GE(c.app.conn.info().cwnd, 18'000u) << "slow start doubles it";
}

TEST(Pacing, AWindowThatACapLeavesEmptyDoesNotGrow) {
  Conversation c(paced(10'000));  // one segment in 100 ms
  open(c);
  c.sends(pattern(1, 60'000));
  for (int i = 0; i < 20; ++i) {
    c.peer.waits(100_ms);
    c.peer.sends(ACK);
  }
  c.host.sync();
  EXPECT_EQ(c.app.conn.info().cwnd, 10'000u) << "RFC 7661: it was never tested";
}

}  // namespace
}  // namespace pollux::test
