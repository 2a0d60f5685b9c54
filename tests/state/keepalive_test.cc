// Keepalive (RFC 9293 3.8.4), ICMP errors (3.9.2.2, RFC 5927), the IP fields a connection chooses.
#include <gtest/gtest.h>

#include "state_driver.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr Duration idle_tolerance = 2_ms;  // the time of the last segment is kept in milliseconds

TcpOptions keepalive_tcp() {
  TcpOptions options = plain_tcp();
  options.conn.keepalive = true;
  options.conn.keepalive_idle = 10_s;
  options.conn.keepalive_interval = 2_s;
  options.conn.keepalive_count = 3;
  return options;
}

TEST(Keepalive, Must25IsOffByDefault) {
  Conversation c;
  c.established();
  c.peer.expects_silence(Duration::from_s(3 * 86400));
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(Keepalive, Must28DefaultIntervalIsTwoHours) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_keepalive(true));
  c.peer.expects_after(7200_s, ACK, {.seq = 0, .ack = 1, .len = 0});
}

TEST(Keepalive, Shld12ProbesCarryNoDataAndUnansweredOnesEndTheConnection) {
  Conversation c(keepalive_tcp());
  c.established();
  c.peer.expects_after(10_s, ACK, {.seq = 0, .len = 0});
  c.peer.expects_after(2_s, ACK, {.seq = 0, .len = 0});
  c.peer.expects_after(2_s, ACK, {.seq = 0, .len = 0});
  EXPECT_TRUE(c.app.closed.empty()) << "MUST-29: no single probe decides";
  c.peer.waits(2100_ms);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
  EXPECT_EQ(c.count(Counter::tcp_keepalives), 3u);
}

TEST(Keepalive, Must29AnswerRestartsTheCount) {
  Conversation c(keepalive_tcp());
  c.established();
  for (int round = 0; round < 5; ++round) {
    c.peer.expects_between(10_s, 10_s + idle_tolerance, ACK, {.seq = 0});
    c.peer.expects_after(2_s, ACK, {.seq = 0});
    c.peer.sends(ACK);
  }
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(Keepalive, Must26TrafficPutsItOff) {
  Conversation c(keepalive_tcp());
  c.established();
  for (int i = 0; i < 5; ++i) {
    c.peer.expects_silence(9_s);
    c.peer.sends(ACK, {.len = 1});
    c.peer.expects(ACK);
  }
  c.peer.expects_between(10_s, 10_s + idle_tolerance, ACK, {.seq = 0});
}

TEST(Keepalive, Must26NoneWhileDataIsOutstanding) {
  Conversation c(keepalive_tcp());
  c.established();
  c.sends("x");
  c.world.run_for(60_s);
  for (const auto& arrival : c.peer.take())
    EXPECT_EQ(arrival.segment.payload.size(), 1u) << "only retransmissions";
  EXPECT_EQ(c.count(Counter::tcp_keepalives), 0u);
}

TEST(Keepalive, Must24CanBeTurnedOnAndOff) {
  Conversation c(keepalive_tcp());
  c.established();
  EXPECT_TRUE(c.app.conn.set_keepalive(false));
  c.peer.expects_silence(60_s);
  EXPECT_TRUE(c.app.conn.set_keepalive(true));
  c.peer.expects_after(10_s, ACK, {.seq = 0});
}

TEST(Keepalive, RebootedPeerIsFound) {
  Conversation c(keepalive_tcp());
  c.established();
  c.peer.expects_after(10_s, ACK, {.seq = 0, .ack = 1});
  c.peer.sends(RST, {.seq = 1});
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::reset_by_peer);
}

TEST(Keepalive, OursIsAnsweredWhenThePeerProbes) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.seq = 0});
  c.peer.expects(ACK, {.seq = 1, .ack = 1});
  c.peer.sends(ACK, {.seq = 0, .len = 1});  // the old kind, with a garbage octet
  c.peer.expects(ACK, {.seq = 1, .ack = 1});
  EXPECT_TRUE(c.app.received.empty());
}

// --- ICMP --------------------------------------------------------------------------------------------------

constexpr std::uint8_t unreachable = 3, source_quench = 4, time_exceeded = 11, parameter_problem = 12;

TEST(Icmp, Shld26HardErrorEndsAConnectionAttempt) {
  for (const std::uint8_t code : {2, 3}) {
    Conversation c;
    c.connects();
    c.peer.expects(SYN);
    c.peer.sends_icmp_error(unreachable, code, 0);
    ASSERT_EQ(c.app.closed.size(), 1u) << int{code};
    EXPECT_EQ(c.app.closed[0], CloseReason::unreachable);
  }
}

TEST(Icmp, Must56SoftErrorsNeverAbort) {
  for (const auto& [type, code] : {std::pair{unreachable, std::uint8_t{0}},
                                   {unreachable, std::uint8_t{1}},
                                   {unreachable, std::uint8_t{5}},
                                   {time_exceeded, std::uint8_t{0}},
                                   {time_exceeded, std::uint8_t{1}},
                                   {parameter_problem, std::uint8_t{0}}}) {
    for (const StateBit state : {SYN_SENT, ESTAB, CLOSE_WAIT}) {
      Conversation c;
      const Numbers at = drive_to(c, state);
      std::int64_t quoted = 0;
      if (state != SYN_SENT) {
        c.sends("x");
        c.peer.expects(ACK, {.len = 1});
        quoted = at.snd_nxt;
      }
      c.peer.sends_icmp_error(type, code, quoted);
      EXPECT_TRUE(c.app.closed.empty()) << int{type} << "/" << int{code};
      EXPECT_TRUE(c.app.conn.is_open());
      if (type == unreachable) {
        EXPECT_EQ(c.app.soft_errors, 1u) << "MUST-47, SHLD-25";
      }
    }
  }
}

TEST(Icmp, Rfc5927QuoteOfWhatIsNotOutstandingIsIgnored) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  c.peer.sends_icmp_error(unreachable, 3, 500);
  c.peer.sends_icmp_error(unreachable, 3, -500);
  EXPECT_TRUE(c.app.closed.empty());
  EXPECT_EQ(c.dropped(DropReason::icmp_out_of_window), 2u);
}

TEST(Icmp, Must54QuoteOfAnotherConnectionTouchesNothing) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  const auto port = c.peer.stack_port();
  c.peer.use_ports(81, port);
  c.peer.sends_icmp_error(unreachable, 3, 0);
  EXPECT_TRUE(c.app.closed.empty());
  EXPECT_EQ(c.dropped(DropReason::icmp_no_match), 1u);
}

TEST(Icmp, Must55SourceQuenchIsDiscarded) {
  Conversation c;
  c.established({.mss = 1000});
  c.sends(pattern(1, 20'000));
  EXPECT_EQ(c.peer.take().size(), 10u);
  c.peer.sends_icmp_error(source_quench, 0, 1);
  EXPECT_EQ(c.app.soft_errors, 0u);
  c.peer.sends(ACK, {.ack = 10'001});
  EXPECT_GE(c.peer.take().size(), 10u) << "the window was not cut";
}

// --- IP fields ---------------------------------------------------------------------------------------------

TEST(IpFields, Must48And49TosAndTtlAreTheConnections) {
  TcpOptions options = plain_tcp();
  options.conn.ttl = 33;
  options.conn.tos = 0x28;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  const Decoded syn_ack = c.peer.expects(SYN | ACK);
  EXPECT_EQ(syn_ack.ttl, 33);
  EXPECT_EQ(syn_ack.tos, 0x28) << "SHLD-22";
  c.peer.sends(ACK);
  EXPECT_TRUE(c.app.conn.set_tos(0x10));
  c.sends("x");
  EXPECT_EQ(c.peer.expects(ACK).tos, 0x10) << "SHLD-21";
}

TEST(IpFields, Must50UnknownIpOptionsAreIgnored) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.len = 10, .ip = {.options = {148, 4, 0, 0}}});  // router alert
  c.peer.expects(ACK, {.ack = 11});
}

}  // namespace
}  // namespace pollux::test
