// Ending a connection: RFC 9293 3.6, TIME-WAIT, half close, abort; RFC 5961 against forged ends.
#include <gtest/gtest.h>

#include "state_driver.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

TEST(Close, Must12ActiveCloseEndsNormallyThroughTimeWait) {
  Conversation c;
  c.established();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.conn.state(), TcpState::fin_wait_1);
  c.peer.sends(ACK, {.ack = 2});
  EXPECT_EQ(c.app.conn.state(), TcpState::fin_wait_2);
  c.peer.sends(FIN | ACK, {.ack = 2});
  c.peer.expects(ACK, {.seq = 2, .ack = 2});
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::normal);
  EXPECT_FALSE(c.app.conn.is_open());
}

TEST(Close, Must13TimeWaitLastsTwiceTheMsl) {
  Conversation c;
  drive_to(c, TIME_WAIT);
  c.peer.expects_silence(59900_ms);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
  c.peer.expects_silence(200_ms);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 0u);
  c.peer.sends(FIN | ACK, {.seq = 1, .ack = 2});
  c.peer.expects(RST, {.seq = 2});
}

TEST(Close, Must13RetransmittedFinIsAckedAndRestartsTimeWait) {
  Conversation c;
  drive_to(c, TIME_WAIT);
  c.peer.waits(50_s);
  c.peer.sends(FIN | ACK, {.seq = 1, .ack = 2});
  c.peer.expects(ACK, {.seq = 2, .ack = 2});
  c.peer.expects_silence(59900_ms);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
  c.peer.expects_silence(200_ms);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 0u);
}

TEST(Close, May2NewSynAboveTheOldConnectionReopensFromTimeWait) {
  Conversation c;
  drive_to(c, TIME_WAIT);
  const std::uint32_t old_isn = c.peer.stack_isn();
  c.peer.forget(c.peer.isn() + 100'000);
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.seq = 0, .ack = 1});
  EXPECT_GT(static_cast<std::int32_t>(c.peer.stack_isn() - old_isn), 2)
      << "above every number of the old connection";
  c.peer.sends(ACK);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  EXPECT_EQ(c.app.connections.size(), 2u);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 0u);
}

TEST(Close, SynBelowTheOldConnectionIsOnlyAcked) {
  Conversation c;
  drive_to(c, TIME_WAIT);
  c.peer.sends(SYN, {.seq = -5000});
  c.peer.expects(ACK, {.seq = 2, .ack = 2});
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
}

TEST(Close, FullTimeWaitTableEndsTheOldestEarly) {
  TcpOptions options = plain_tcp();
  options.time_wait_max = 2;
  Conversation c(options);
  c.listens();
  for (const std::uint16_t port : {1001, 1002, 1003}) {
    c.peer.use_ports(port, 7);
    c.peer.connects();
    c.app.conn.close();
    c.runs();
    c.peer.expects(FIN | ACK);
    c.peer.sends(FIN | ACK);
    c.peer.expects(ACK);
  }
  EXPECT_EQ(c.host.tcp().time_wait_count(), 2u);
  EXPECT_EQ(c.count(Counter::tcp_time_wait_overflow), 1u);
  c.peer.use_ports(1003, 7);
  c.peer.sends(FIN | ACK, {.seq = 1});
  c.peer.expects(ACK, {.ack = 2});
  c.peer.use_ports(1001, 7);
  c.peer.sends(FIN | ACK, {.seq = 1});
  c.peer.expects(RST);
}

TEST(Close, PassiveClose) {
  Conversation c;
  c.established();
  c.peer.sends(FIN | ACK);
  c.peer.expects(ACK, {.ack = 2});
  EXPECT_EQ(c.app.peer_closed, 1u);
  EXPECT_EQ(c.app.conn.state(), TcpState::close_wait);
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK, {.seq = 1, .ack = 2});
  EXPECT_EQ(c.app.conn.state(), TcpState::last_ack);
  c.peer.sends(ACK, {.ack = 2});
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::normal);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 0u) << "the active closer waits, not we";
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST(Close, SimultaneousClose) {
  Conversation c;
  drive_to(c, CLOSING);
  EXPECT_EQ(c.app.conn.state(), TcpState::closing);
  c.peer.sends(ACK, {.ack = 2});
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::normal);
}

TEST(Close, May1DataFlowsToUsAfterOurHalfClose) {
  Conversation c;
  drive_to(c, FIN_WAIT_2);
  c.peer.sends(ACK, {.data = "still talking"});
  c.peer.expects(ACK, {.seq = 2, .ack = 14});
  EXPECT_EQ(c.app.received, "still talking");
  EXPECT_EQ(c.app.conn.send("no").status, SendStatus::closed);
  c.peer.expects_silence(300_s);
  EXPECT_EQ(c.app.conn.state(), TcpState::fin_wait_2) << "a half close may last";
}

TEST(Close, May1DataFlowsToThePeerAfterItsHalfClose) {
  Conversation c;
  drive_to(c, CLOSE_WAIT);
  c.sends("more");
  c.peer.expects(ACK, {.seq = 1, .data = "more"});
  c.peer.sends(ACK, {.ack = 5});
  c.app.conn.shutdown_send();
  c.runs();
  c.peer.expects(FIN | ACK, {.seq = 5});
}

TEST(Close, FinFollowsEverythingQueued) {
  Conversation c;
  c.established();
  c.queues(pattern(1, 3000));
  c.app.conn.close();
  c.runs();
  c.peer.expects(ACK, {.seq = 1, .len = 1460});
  c.peer.expects(ACK, {.seq = 1461, .len = 1460});
  const Decoded last = c.peer.expects_any();
  EXPECT_TRUE(last.has(FIN));
  EXPECT_EQ(last.payload.size(), 80u);
  EXPECT_EQ(c.peer.rcv_nxt(), 3002);
}

TEST(Close, FinWaitsForTheWindowWithItsData) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK, {.window = 1000});
  c.queues(pattern(1, 2000));
  c.app.conn.close();
  c.runs();
  EXPECT_FALSE(c.peer.expects(ACK, {.len = 1000}).has(FIN));
  c.peer.sends(ACK, {.ack = 1001, .window = 5000});
  EXPECT_TRUE(c.peer.expects_any().has(FIN));
}

TEST(Close, LostFinIsRetransmitted) {
  Conversation c;
  drive_to(c, FIN_WAIT_1);
  c.peer.expects_between(200_ms, 1100_ms, FIN | ACK, {.seq = 1, .len = 0});
  c.peer.sends(ACK, {.ack = 2});
  c.peer.expects_silence(10_s);
}

TEST(Close, LastAckGivesUpInTheEnd) {
  TcpOptions options = plain_tcp();
  options.conn.retries_max = 3;
  Conversation c(options);
  drive_to(c, LAST_ACK);
  c.world.run_for(120_s);
  EXPECT_EQ(c.peer.take().size(), 3u) << "retransmissions of the FIN";
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST(Close, AbandonedFinWait2EndsByItself) {
  Conversation c;
  c.established();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.sends(ACK);
  EXPECT_EQ(c.app.conn.state(), TcpState::fin_wait_2);
  c.world.run_for(600_s);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Close, Shld3DataAfterCloseIsReset) {
  Conversation c;
  c.established();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK, {.seq = 1});
  c.peer.sends(ACK, {.ack = 1, .data = "nobody reads this"});
  const Decoded reset = c.peer.expects_any();
  EXPECT_TRUE(reset.has(RST));
  EXPECT_EQ(reset.seq, c.peer.stack_isn() + 2) << "at SND.NXT, so that the peer takes it (RFC 5961)";
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::aborted);
  EXPECT_TRUE(c.app.received.empty());
  EXPECT_EQ(c.dropped(DropReason::tcp_data_after_close), 1u);
  EXPECT_EQ(c.count(Counter::tcp_abort_close), 1u);
}

TEST(Close, ShutdownThenCloseSendsOneFin) {
  Conversation c;
  c.established();
  c.app.conn.shutdown_send();
  c.app.conn.shutdown_send();
  c.runs();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK, {.seq = 1});
  c.peer.expects_nothing();
}

TEST(Close, FinBeforeMissingDataWaitsForIt) {
  Conversation c;
  c.established();
  c.peer.sends(FIN | ACK, {.seq = 6, .data = "world"});
  c.peer.expects(ACK, {.ack = 1});
  EXPECT_EQ(c.app.peer_closed, 0u);
  c.peer.sends(ACK, {.seq = 1, .data = "hello"});
  c.peer.expects(ACK, {.ack = 12});
  EXPECT_EQ(c.app.received, "helloworld");
  EXPECT_EQ(c.app.peer_closed, 1u);
  EXPECT_EQ(c.app.conn.state(), TcpState::close_wait);
}

// --- Abort -------------------------------------------------------------------------------------------------

TEST(Abort, SendsResetAtSndNxtAndTellsAtOnce) {
  Conversation c;
  c.established();
  c.queues(pattern(1, 100));
  c.runs();
  c.peer.expects(ACK, {.len = 100});
  c.app.conn.abort();
  ASSERT_EQ(c.app.closed.size(), 1u) << "within the call";
  EXPECT_EQ(c.app.closed[0], CloseReason::aborted);
  EXPECT_FALSE(c.app.conn.is_open());
  c.runs();
  const Decoded reset = c.peer.expects_any();
  EXPECT_TRUE(reset.has(RST));
  EXPECT_EQ(reset.seq, c.peer.stack_isn() + 101);
  c.peer.expects_silence(10_s);
}

TEST(Abort, InEveryStateLeavesNothingBehind) {
  for (int bit = 2; bit <= 10; ++bit) {
    const auto state = static_cast<StateBit>(1 << bit);
    if (state == SYN_RCVD) continue;  // the application has no handle yet
    Conversation c;
    drive_to(c, state);
    c.app.conn.abort();
    c.runs();
    EXPECT_EQ(c.app.closed.size(), 1u) << state_bit_name(state);
    EXPECT_EQ(c.host.tcp().connection_count(), 0u) << state_bit_name(state);
    const bool peer_may_believe = state == SYN_RCVD_ACTIVE || state == ESTAB || state == FIN_WAIT_1 ||
                                  state == FIN_WAIT_2 || state == CLOSE_WAIT;  // RFC 9293 3.10.5
    const auto sent = c.peer.take();
    ASSERT_EQ(sent.size(), peer_may_believe ? 1u : 0u) << state_bit_name(state);
    if (peer_may_believe) {
      EXPECT_TRUE(sent[0].segment.has(RST)) << state_bit_name(state);
    }
  }
}

TEST(Abort, CloseInEveryStateEndsTheConnectionInTheEnd) {
  for (int bit = 2; bit <= 10; ++bit) {
    const auto state = static_cast<StateBit>(1 << bit);
    if (state == SYN_RCVD) continue;
    Conversation c;
    drive_to(c, state);
    c.app.conn.close();
    c.world.run_for(Duration::from_s(3600));
    EXPECT_EQ(c.app.closed.size(), 1u) << state_bit_name(state);
    EXPECT_EQ(c.host.tcp().connection_count(), 0u) << state_bit_name(state);
  }
}

TEST(Abort, StackStopResetsEveryConnection) {
  Conversation c;
  c.established();
  c.host.stack().abort_all(c.world.now());
  c.runs();
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::stack_stopped);
  EXPECT_TRUE(c.peer.expects_any().has(RST));
  EXPECT_EQ(c.host.stack().connection_count(), 0u);
}

// --- RFC 5961 ----------------------------------------------------------------------------------------------

TEST(ChallengeAck, Rfc5961_7AtMostSoManyASecond) {
  TcpOptions options = plain_tcp();
  options.challenge_acks_per_second = 3;
  Conversation c(options);
  c.established();
  for (int i = 0; i < 5; ++i) c.peer.sends(RST, {.seq = 100});
  EXPECT_EQ(c.peer.take().size(), 3u);
  EXPECT_EQ(c.count(Counter::tcp_challenge_acks), 3u);
  EXPECT_EQ(c.count(Counter::tcp_challenge_limited), 2u);
  c.peer.waits(1001_ms);
  c.peer.sends(SYN, {.seq = 100});
  c.peer.expects(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(ChallengeAck, GenuineResetAfterTheChallengeCloses) {
  Conversation c;
  c.established();
  c.peer.sends(RST, {.seq = 50});
  const Decoded challenge = c.peer.expects(ACK, {.seq = 1, .ack = 1});
  c.peer.sends(RST, {.seq = static_cast<std::int32_t>(challenge.ack - c.peer.isn())});
  EXPECT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.count(Counter::tcp_estab_resets), 1u);
}

TEST(ChallengeAck, RestartedPeersSynLeadsToAFreshConnection) {
  Conversation c;
  c.established();
  c.peer.sends(SYN, {.seq = 70'000});  // the peer rebooted and has forgotten us
  const Decoded challenge = c.peer.expects(ACK, {.seq = 1, .ack = 1});
  c.peer.sends(RST, {.seq = static_cast<std::int32_t>(challenge.ack - c.peer.isn())});
  EXPECT_EQ(c.app.closed.size(), 1u);
  c.peer.forget(2'000'000);
  c.peer.connects();
  EXPECT_EQ(c.app.connections.size(), 2u);
}

TEST(ChallengeAck, ResetsAreNeverAnsweredWithResets) {
  for (int bit = 0; bit < state_bits; ++bit) {
    Conversation c;
    const Numbers at = drive_to(c, static_cast<StateBit>(1 << bit));
    for (const std::int64_t seq : {-70'000, -1, 0, 1, 100, 65'535, 1'000'000})
      c.peer.sends(RST | ACK, {.seq = at.rcv_nxt + seq, .ack = at.snd_nxt + 77});
    for (const auto& arrival : c.peer.take())
      EXPECT_FALSE(arrival.segment.has(RST)) << state_bit_name(static_cast<StateBit>(1 << bit));
  }
}

}  // namespace
}  // namespace pollux::test
