// When a tail loss probe goes out: RFC 8985 7.2, and what a core's other connections tell of the path.
#include <gtest/gtest.h>

#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint16_t mss = 1000;
constexpr std::uint16_t port_a = 40000, port_b = 40001;
const std::vector<std::uint8_t> sack_permitted = {4, 2, 1, 1};

/// One more connection from `port`, with SACK and a handshake of 100 ms: SRTT 100 ms, RTO 300 ms, probe after 200 ms.
TcpConn opens(Conversation& c, std::uint16_t port) {
  c.peer.use_ports(port, 7);
  c.peer.sends(SYN, {.raw_options = sack_permitted, .mss = mss});
  c.peer.expects(SYN | ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  return c.app.conn;
}

void sends_two_segments(Conversation& c, TcpConn conn, std::uint16_t port) {
  c.peer.use_ports(port, 7);
  EXPECT_EQ(conn.send(std::string(2 * mss, 'x')).accepted, 2u * mss);
  c.runs();
  c.peer.expects(ACK, {.len = mss});
  c.peer.expects(ACK, {.len = mss});
}

TEST(TailProbe, RepeatsTheLastSegmentAfterTwoRoundTrips) {
  Conversation c;
  c.listens();
  const TcpConn a = opens(c, port_a);
  sends_two_segments(c, a, port_a);
  c.peer.expects_after(200_ms, ACK, {.seq = 1 + mss, .len = mss});
  EXPECT_EQ(c.count(Counter::tcp_loss_probes), 1u);
}

// The path became slow for everybody: what is being acknowledged now was sent before A's segments.
TEST(TailProbe, WaitsWhileOthersAreAnsweredForWhatTheySentBefore) {
  Conversation c;
  c.listens();
  const TcpConn a = opens(c, port_a), b = opens(c, port_b);
  sends_two_segments(c, b, port_b);
  c.peer.waits(10_ms);
  sends_two_segments(c, a, port_a);
  c.peer.waits(185_ms);
  c.peer.use_ports(port_b, 7);
  c.peer.sends(ACK);
  c.peer.use_ports(port_a, 7);
  c.peer.expects_silence(20_ms);  // past A's two round trips
  EXPECT_EQ(c.count(Counter::tcp_loss_probes), 0u);
  // Nothing more is heard of anybody: the timeout comes when it was due all along.
  c.peer.expects_after(95_ms, ACK, {.seq = 1, .len = mss});
  EXPECT_EQ(c.count(Counter::tcp_timeouts), 1u);
}

// ... or soon after: A's peer may hold its ACK back as Linux does.
TEST(TailProbe, WaitsWhileOthersAreAnsweredForWhatTheySentSoonAfter) {
  Conversation c;
  c.listens();
  const TcpConn a = opens(c, port_a), b = opens(c, port_b);
  sends_two_segments(c, a, port_a);
  c.peer.waits(40_ms);
  sends_two_segments(c, b, port_b);
  c.peer.waits(150_ms);
  c.peer.sends(ACK);
  c.peer.use_ports(port_a, 7);
  c.peer.expects_silence(50_ms);
}

// Others are answered for what they sent long after A: A's segments are lost, not late.
TEST(TailProbe, DoesNotWaitWhenOthersAreAnsweredForWhatTheySentLongAfter) {
  Conversation c;
  c.listens();
  const TcpConn a = opens(c, port_a), b = opens(c, port_b);
  sends_two_segments(c, a, port_a);
  c.peer.waits(60_ms);
  sends_two_segments(c, b, port_b);
  c.peer.waits(130_ms);
  c.peer.sends(ACK);
  c.peer.use_ports(port_a, 7);
  c.peer.expects_after(10_ms, ACK, {.seq = 1 + mss, .len = mss});
}

// An answer of long ago says nothing about the path now.
TEST(TailProbe, DoesNotWaitWhenNobodyIsAnswered) {
  Conversation c;
  c.listens();
  const TcpConn a = opens(c, port_a), b = opens(c, port_b);
  sends_two_segments(c, b, port_b);
  c.peer.waits(10_ms);
  sends_two_segments(c, a, port_a);
  c.peer.waits(90_ms);
  c.peer.use_ports(port_b, 7);
  c.peer.sends(ACK);
  c.peer.use_ports(port_a, 7);
  c.peer.expects_after(110_ms, ACK, {.seq = 1 + mss, .len = mss});
}

}  // namespace
}  // namespace pollux::test
