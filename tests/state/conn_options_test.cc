// Options that a listener or connection chooses for itself: linger, cork, quick ACKs, low-water mark, MSS clamp, user
// timeout with keepalive.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

// --- SO_LINGER ---------------------------------------------------------------------------------------------

TEST(Linger, WhatIsNotAcknowledgedInTimeIsReset) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_linger(5_s));
  c.queues("last words");
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK, {.data = "last words"});
  c.world.run_for(4900_ms);
  EXPECT_TRUE(c.app.closed.empty());
  c.peer.take();
  c.world.run_for(200_ms);
  c.peer.expects(RST | ACK);
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::timed_out});
  EXPECT_EQ(c.count(Counter::tcp_abort_linger), 1u);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST(Linger, AnAcknowledgedCloseGoesOnAsEver) {
  TcpOptions options = plain_tcp();
  options.conn.linger = 5_s;
  Conversation c(options);
  c.established();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.sends(ACK, {.ack = 2});
  c.peer.expects_silence(20_s);
  EXPECT_EQ(c.app.conn.state(), TcpState::fin_wait_2) << "fin_wait_2_max decides now";
  EXPECT_TRUE(c.app.closed.empty());
}

TEST(Linger, KeepaliveDoesNotProlongIt) {
  TcpOptions options = plain_tcp();
  options.conn.keepalive = true;
  Conversation c(options);
  c.established();
  c.app.conn.set_linger(5_s);
  c.app.conn.close();
  c.app.conn.set_keepalive(true);
  c.runs();
  c.world.run_for(5100_ms);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Linger, ResetOnCloseIsAbort) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_reset_on_close(true));
  c.queues("lost");
  c.app.conn.close();
  c.runs();
  c.peer.expects(RST | ACK);
  c.peer.expects_nothing();
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::aborted});
}

// --- TCP_CORK ----------------------------------------------------------------------------------------------

TEST(Cork, OnlyFullSegmentsLeave) {
  Conversation c;
  c.established({.mss = 1000});
  EXPECT_TRUE(c.app.conn.set_cork(true));
  c.sends(pattern(1, 600));
  c.peer.expects_nothing();
  c.sends(pattern(601, 600));
  c.peer.expects(ACK, {.seq = 1, .len = 1000});
  c.peer.sends(ACK, {.ack = 1001});
  c.peer.expects_nothing();
  EXPECT_TRUE(c.app.conn.set_cork(false));
  c.runs();
  c.peer.expects(ACK, {.seq = 1001, .len = 200});
}

TEST(Cork, AFinTakesTheRestAlong) {
  Conversation c;
  c.established();
  c.app.conn.set_cork(true);
  c.sends("rest");
  c.peer.expects_nothing();
  c.app.conn.shutdown_send();
  c.runs();
  c.peer.expects(FIN | ACK, {.data = "rest"});
}

TEST(Cork, WaitsForARetransmissionTimeoutAtMost) {
  Conversation c;
  c.established();
  c.app.conn.set_cork(true);
  c.app.conn.set_user_timeout(30_s);
  c.world.run_for(3600_s);  // an idle hour is no reason for the user timeout
  c.sends("rest");
  c.peer.expects_after(200_ms, ACK, {.data = "rest"});
  EXPECT_TRUE(c.app.closed.empty());
}

// --- Quick ACKs --------------------------------------------------------------------------------------------

TEST(DelayedAck, CanBeTurnedOffAndOnForAConnection) {
  TcpOptions options = plain_tcp();
  options.conn.delayed_ack = true;
  Conversation c(options);
  c.established();
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects_nothing();
  EXPECT_TRUE(c.app.conn.set_delayed_ack(false));
  c.runs();
  c.peer.expects(ACK, {.ack = 11});  // what was owed
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects(ACK, {.ack = 21});
  EXPECT_TRUE(c.app.conn.set_delayed_ack(true));
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects_after(40_ms, ACK, {.ack = 31});
}

TEST(ConnOptions, OneConnectionsChangeIsNotAnothers) {
  Conversation c;
  c.established();
  const TcpConn first = c.app.conn;
  c.peer.use_ports(40001, 7);
  c.peer.connects();
  TcpConn other = c.app.conn;
  EXPECT_TRUE(other.set_delayed_ack(true));
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects_nothing();
  c.peer.use_ports(40000, 7);
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects(ACK, {.ack = 11});
  EXPECT_NE(first, other);
}

// --- TCP_NOTSENT_LOWAT -------------------------------------------------------------------------------------

TEST(NotSentLowWater, BoundsWhatWaitsUnsent) {
  Conversation c;
  c.established({.mss = 1000});
  EXPECT_TRUE(c.app.conn.set_not_sent_low_water(3000));
  EXPECT_EQ(c.app.conn.send_space(), 3000u);
  EXPECT_EQ(c.app.conn.send(pattern(1, 5000)).accepted, 3000u);
  EXPECT_EQ(c.app.conn.send_space(), 0u);
  c.runs();
  EXPECT_EQ(c.peer.take().size(), 3u);
  EXPECT_EQ(c.app.conn.send_space(), 3000u) << "what is on its way does not count";
  EXPECT_EQ(c.app.writable, 0u);
  c.peer.sends(ACK, {.ack = 2001});
  EXPECT_EQ(c.app.writable, 1u) << "the first send was cut short";
  EXPECT_TRUE(c.app.conn.set_not_sent_low_water(0));
  EXPECT_GT(c.app.conn.send_space(), 100'000u);
}

TEST(NotSentLowWater, AStreamIsNotStarved) {
  TcpOptions options = plain_tcp();
  options.conn.not_sent_low_water = 2000;
  Conversation c(options);
  c.established({.mss = 1000});
  std::size_t sent = 0;
  const auto fill = [&](TcpConn conn) {
    while (sent < 50'000) {
      const SendResult result = conn.send(pattern(1 + static_cast<std::int64_t>(sent), 50'000 - sent));
      sent += result.accepted;
      if (result.status != SendStatus::ok) break;
    }
  };
  c.app.when_writable = fill;
  fill(c.app.conn);
  c.runs();
  for (int round = 0; round < 200 && c.peer.rcv_nxt() < 50'001; ++round) {
    c.peer.take();
    c.peer.sends(ACK);
    c.peer.waits(1_ms);
  }
  EXPECT_EQ(c.peer.rcv_nxt(), 50'001);
}

// --- MSS clamp ---------------------------------------------------------------------------------------------

TEST(Mss, TheClampHoldsInBothDirections) {
  TcpOptions options = plain_tcp();
  options.conn.mss_max = 900;
  Conversation passive(options);
  passive.listens();
  passive.peer.sends(SYN, {.mss = 1460});
  passive.peer.expects(SYN | ACK, {.mss = 900});
  passive.peer.sends(ACK);
  passive.sends(pattern(1, 2000));
  passive.peer.expects(ACK, {.seq = 1, .len = 900});
  Conversation active;
  TcpConnOptions clamped = plain_tcp().conn;
  clamped.mss_max = 700;
  active.connects({.remote = {active.peer.address(), 80}, .local = {{}, 50000}, .conn = clamped});
  active.peer.expects(SYN, {.mss = 700});
  active.peer.sends(SYN | ACK, {.mss = 1460});
  active.peer.expects(ACK);
  active.sends(pattern(1, 2000));
  active.peer.expects(ACK, {.seq = 1, .len = 700});
}

// --- Keepalive's knobs and the user timeout ----------------------------------------------------------------

TEST(Keepalive, TimesCanBeSetForAConnection) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_keepalive_times(3_s, 500_ms, 2));
  c.peer.expects_silence(10_s);
  EXPECT_TRUE(c.app.conn.set_keepalive(true));
  c.peer.expects_after(3_s, ACK, {.seq = 0});
  c.peer.expects_after(500_ms, ACK, {.seq = 0});
  c.peer.expects_after(500_ms, RST | ACK);
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::timed_out});
}

TEST(Keepalive, ChangedTimesApplyAtOnce) {
  TcpOptions options = plain_tcp();
  options.conn.keepalive = true;
  Conversation c(options);
  c.established();
  EXPECT_TRUE(c.app.conn.set_keepalive_times(3_s, 500_ms, 2));
  c.peer.expects_after(3_s, ACK, {.seq = 0});
}

TEST(UserTimeout, Rfc5482TakesThePlaceOfTheKeepaliveCount) {
  TcpOptions options = plain_tcp();
  options.conn.keepalive = true;
  options.conn.keepalive_idle = 10_s;
  options.conn.keepalive_interval = 2_s;
  options.conn.keepalive_count = 1;
  options.conn.user_timeout = 15_s;
  Conversation c(options);
  c.established();
  c.peer.expects_after(10_s, ACK, {.seq = 0});
  c.peer.expects_after(2_s, ACK, {.seq = 0});
  c.peer.expects_after(2_s, ACK, {.seq = 0});
  EXPECT_TRUE(c.app.closed.empty());
  c.peer.expects_after(2_s, RST | ACK);
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::timed_out});
}

TEST(UserTimeout, Rfc5482MayBeLongerThanTheRetries) {
  TcpOptions options = plain_tcp();
  options.conn.retries_max = 2;
  options.conn.user_timeout = 3600_s;
  Conversation c(options);
  c.established();
  c.sends("x");
  c.world.run_for(3500_s);
  EXPECT_TRUE(c.app.closed.empty());
  EXPECT_GT(c.peer.take().size(), 20u);
  c.world.run_for(110_s);
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::timed_out});
}

TEST(UserTimeout, DoesNotCountTheTimeBeforeThereWasAnythingToSend) {
  Conversation c;
  c.established();
  c.app.conn.set_user_timeout(5_s);
  c.peer.sends(ACK, {.window = 0});
  c.world.run_for(100_s);
  c.sends("x");
  c.peer.expects_after(200_ms, ACK, {.len = 1});
  EXPECT_TRUE(c.app.closed.empty());
  c.peer.sends(ACK, {.window = 0});
  c.world.run_for(4_s);
  EXPECT_TRUE(c.app.closed.empty()) << "the peer answers";
}

// --- What is out of range is refused ------------------------------------------------------------------------

TEST(ConnOptions, OutOfRangeIsRefusedAndChangesNothing) {
  Conversation c;
  c.established();
  EXPECT_FALSE(c.app.conn.set_linger(Duration{} - 1_s));
  EXPECT_FALSE(c.app.conn.set_user_timeout(Duration::from_s(4'000'000)));
  EXPECT_FALSE(c.app.conn.set_keepalive_times(Duration{}, 1_s, 1));
  EXPECT_FALSE(c.app.conn.set_keepalive_times(1_s, Duration{}, 1));
  EXPECT_FALSE(c.app.conn.set_keepalive_times(1_s, 1_s, 0));
  TcpOptions options = plain_tcp();
  options.conn.mss_max = 87;
  const auto refused = c.host.tcp().listen({.port = 9, .conn = options.conn}, c.app);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().text.find("mss_max"), std::string::npos) << refused.error().text;
  TcpConn gone = c.app.conn;
  c.app.conn.abort();
  EXPECT_FALSE(gone.set_linger(1_s));
  EXPECT_FALSE(gone.set_cork(true));
  EXPECT_FALSE(gone.set_delayed_ack(true));
  EXPECT_FALSE(gone.set_reset_on_close(true));
  EXPECT_FALSE(gone.set_not_sent_low_water(1));
}

TEST(ConnOptions, InTheLastCallbackNothingCanBeSet) {
  Conversation c;
  c.established();
  bool changed = true;
  c.app.when_closed = [&](TcpConn conn, CloseReason) { changed = conn.set_linger(1_s); };
  c.app.conn.abort();
  EXPECT_FALSE(changed);
}

}  // namespace
}  // namespace pollux::test
