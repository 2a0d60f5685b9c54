// Explicit congestion notification, RFC 3168. The packet scripts under tests/script/ecn tell the conversations; here is what
// holds over IPv6 too, and what operators see.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint8_t ect_0 = 2, ce = 3;

TcpOptions with_ecn(TcpEcn ecn) {
  TcpOptions options = plain_tcp();
  options.conn.ecn = ecn;
  options.conn.congestion = TcpCongestion::newreno;
  return options;
}

struct Opening {
  const char* name;
  TcpEcn ecn;
  std::uint8_t syn, syn_tos, answer;
  std::uint8_t data_tos;
};

TEST(Ecn, APassiveOpenAgreesToWhatThePeerAsksFor) {
  const Opening rows[] = {
      {"asked for", TcpEcn::passive, SYN | ECE | CWR, 0, SYN | ACK | ECE, ect_0},
      {"active ones agree too", TcpEcn::active, SYN | ECE | CWR, 0, SYN | ACK | ECE, ect_0},
      {"off", TcpEcn::off, SYN | ECE | CWR, 0, SYN | ACK, 0},
      {"not asked for", TcpEcn::active, SYN, 0, SYN | ACK, 0},
      {"half a question", TcpEcn::active, SYN | ECE, 0, SYN | ACK, 0},
      {"the other half", TcpEcn::active, SYN | CWR, 0, SYN | ACK, 0},
      {"a SYN that claims to be capable", TcpEcn::active, SYN | ECE | CWR, ect_0, SYN | ACK, 0},
  };
  for (const Opening& row : rows) {
    SCOPED_TRACE(row.name);
    Conversation c(with_ecn(row.ecn));
    c.listens();
    c.peer.sends(row.syn, {.seq = 0, .mss = 1000, .tos = row.syn_tos});
    c.peer.expects(row.answer, {.seq = 0, .ack = 1, .tos = 0});
    c.peer.sends(ACK);
    c.sends(pattern(1, 1000));
    c.peer.expects(ACK, {.len = 1000, .tos = row.data_tos});
    c.peer.sends(ACK, {.len = 10, .tos = ce});
    c.peer.expects(static_cast<std::uint8_t>(row.data_tos != 0 ? ACK | ECE : ACK), {.ack = 11, .tos = 0});
    c.host.sync();
    EXPECT_EQ(c.app.conn.info().ecn, row.data_tos != 0);
    EXPECT_EQ(c.count(Counter::tcp_ecn_opens), row.data_tos != 0 ? 1u : 0u);
  }
}

TEST(Ecn, AnActiveOpenAsksOnlyWhenToldTo) {
  for (const TcpEcn ecn : {TcpEcn::off, TcpEcn::passive, TcpEcn::active}) {
    Conversation c(with_ecn(ecn));
    const bool asks = ecn == TcpEcn::active;
    c.connects();
    c.peer.expects(static_cast<std::uint8_t>(asks ? SYN | ECE | CWR : SYN), {.seq = 0, .tos = 0});
    c.peer.sends(SYN | ACK | ECE, {.seq = 0, .ack = 1, .mss = 1000});
    c.peer.expects(ACK, {.seq = 1, .tos = 0});
    c.sends(pattern(1, 1000));
    c.peer.expects(ACK, {.len = 1000, .tos = asks ? ect_0 : std::uint8_t{0}});
  }
}

TEST(Ecn, EchoedMarksReduceTheWindowOnceAndAreTold) {
  Conversation c(with_ecn(TcpEcn::passive));
  c.listens();
  c.peer.sends(SYN | ECE | CWR, {.seq = 0, .mss = 1000});
  c.peer.expects(SYN | ACK | ECE);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  c.sends(pattern(1, 60'000));
  EXPECT_EQ(c.peer.take().size(), 10u);
  c.peer.waits(100_ms);
  c.peer.sends(ACK | ECE, {.ack = 1001});
  c.peer.expects(ACK | CWR, {.seq = 10'001, .tos = ect_0});
  c.host.sync();
  EXPECT_TRUE(c.app.conn.info().reducing);
  EXPECT_EQ(c.app.conn.info().ssthresh, 5000u);
  for (std::int64_t ack = 2001; ack <= 10'001; ack += 1000) c.peer.sends(ACK | ECE, {.ack = ack});
  c.host.sync();
  EXPECT_FALSE(c.app.conn.info().reducing);
  EXPECT_EQ(c.app.conn.info().cwnd, 5000u);
  EXPECT_EQ(c.count(Counter::tcp_ecn_reductions), 1u);
  EXPECT_EQ(c.count(Counter::tcp_retrans_segs), 0u);
  for (const TestPeer::Arrival& arrival : c.peer.take()) EXPECT_FALSE(arrival.segment.has(CWR));
}

TEST(Ecn, ACookieKeepsIt) {
  TcpOptions options = with_ecn(TcpEcn::passive);
  options.syn_cookies = TcpSynCookies::on;
  options.conn.timestamps = true;
  for (const bool asks : {true, false}) {
    Conversation c(options);
    c.listens();
    c.peer.sends(static_cast<std::uint8_t>(asks ? SYN | ECE | CWR : SYN), {.seq = 0, .mss = 1460, .ts_value = 1});
    c.peer.expects(static_cast<std::uint8_t>(asks ? SYN | ACK | ECE : SYN | ACK), {.tos = 0});
    c.peer.sends(ACK);
    c.sends(pattern(1, 500));
    c.peer.expects(ACK, {.len = 500, .tos = asks ? ect_0 : std::uint8_t{0}});
  }
}

// --- ECN++, draft-ietf-tcpm-generalized-ecn: what may be marked beside data, without AccECN

TcpOptions with_plus_plus(TcpEcn ecn = TcpEcn::passive) {
  TcpOptions options = with_ecn(ecn);
  options.conn.ecn_plus_plus = true;
  return options;
}

TEST(EcnPlusPlus, SynAcksRetransmissionsProbesFinsAndResetsAreCapable) {
  for (const bool on : {true, false}) {
    SCOPED_TRACE(on);
    const std::uint8_t tos = on ? ect_0 : 0;
    Conversation c(on ? with_plus_plus() : with_ecn(TcpEcn::passive));
    c.listens();
    c.peer.sends(SYN | ECE | CWR, {.seq = 0, .mss = 1000});
    c.peer.expects(SYN | ACK | ECE, {.tos = tos});
    c.peer.waits(1100_ms);
    c.peer.expects(SYN | ACK | ECE, {.tos = 0});  // again: it may have been dropped for being capable
    c.peer.sends(ACK);
    c.sends(pattern(1, 100));
    c.peer.expects(ACK, {.len = 100, .tos = ect_0});
    c.peer.waits(3500_ms);  // RFC 6298 5.7: from three seconds, since a SYN-ACK was lost
    c.peer.expects(ACK, {.seq = 1, .len = 100, .tos = tos});
    c.peer.take();
    c.peer.set_window(0);
    c.peer.sends(ACK, {.ack = 101});
    c.sends(pattern(1, 10));
    c.peer.waits(10_s);
    c.peer.expects(ACK, {.seq = 101, .len = 1, .tos = tos});
    c.peer.take();
    c.peer.set_window(60'000);
    c.peer.sends(ACK, {.ack = 102});
    c.peer.take();
    c.peer.sends(ACK, {.ack = 111});
    c.app.conn.shutdown_send();
    c.runs();
    c.peer.expects(FIN | ACK, {.seq = 111, .tos = tos});
    c.peer.sends(ACK, {.ack = 112});
    c.peer.sends(ACK, {.ack = 112, .len = 10});
    c.peer.waits(1_s);
    c.peer.expects(ACK, {.ack = 11, .tos = 0});  // pure ACKs never are
    c.app.conn.abort();
    c.runs();
    // In FIN-WAIT-2 a RST still tells the peer.
    c.peer.expects(RST | ACK, {.tos = tos});
  }
}

TEST(EcnPlusPlus, ASynIsNot) {
  Conversation c(with_plus_plus(TcpEcn::active));
  c.connects();
  c.peer.expects(SYN | ECE | CWR, {.seq = 0, .tos = 0});
}

TEST(EcnPlusPlus, WithoutEcnNothingIs) {
  Conversation c(with_plus_plus());
  c.established();
  c.sends("x");
  c.peer.expects(ACK, {.len = 1, .tos = 0});
  c.app.conn.shutdown_send();
  c.runs();
  c.peer.expects(FIN | ACK, {.tos = 0});
}

// RFC 5562 3.2: the peer echoes the mark of our SYN-ACK in the ACK that completes the handshake.
TEST(EcnPlusPlus, AMarkedSynAckLeavesAFirstWindowOfOneSegment) {
  for (const bool cookie : {false, true}) {
    TcpOptions options = with_plus_plus();
    options.conn.timestamps = cookie;
    if (cookie) options.syn_cookies = TcpSynCookies::on;
    Conversation c(options);
    c.listens();
    c.peer.sends(SYN | ECE | CWR, cookie ? Seg{.seq = 0, .mss = 1012, .ts_value = 1} : Seg{.seq = 0, .mss = 1000});
    c.peer.expects(SYN | ACK | ECE, {.tos = ect_0});
    c.peer.sends(ACK | ECE);
    c.sends(pattern(1, 5000));
    const std::uint16_t mss = c.app.conn.info().mss;  // a cookie has room for few sizes
    c.peer.expects(ACK | CWR, {.len = mss, .tos = ect_0});
    EXPECT_TRUE(c.peer.take().empty()) << "one segment";
    EXPECT_EQ(c.app.conn.info().cwnd, mss);
    EXPECT_EQ(c.count(Counter::tcp_ecn_reductions), 1u);
  }
}

TEST(EcnPlusPlus, WithoutItAnEchoInTheHandshakeIsNoMark) {
  Conversation c(with_ecn(TcpEcn::passive));
  c.listens();
  c.peer.sends(SYN | ECE | CWR, {.seq = 0, .mss = 1000});
  c.peer.expects(SYN | ACK | ECE, {.tos = 0});
  c.peer.sends(ACK | ECE);
  EXPECT_EQ(c.app.conn.info().cwnd, 10'000u);
}

// Whoever sends capable SYN-ACKs and FINs is told of their marks, asked for or not.
TEST(EcnPlusPlus, MarkedSynAcksAndFinsAreEchoed) {
  Conversation c(with_ecn(TcpEcn::active));
  c.connects();
  c.peer.expects(SYN | ECE | CWR, {.seq = 0});
  c.peer.sends(SYN | ACK | ECE, {.seq = 0, .ack = 1, .mss = 1000, .tos = ce});
  c.peer.expects(ACK | ECE, {.ack = 1});
  c.peer.sends(ACK | CWR, {.len = 10});
  c.peer.expects(ACK, {.ack = 11});
  c.peer.sends(FIN | ACK, {.tos = ce});
  c.peer.expects(ACK | ECE, {.ack = 12});
}

// --- DCTCP, RFC 8257

TcpOptions with_dctcp() {
  TcpOptions options = with_ecn(TcpEcn::passive);
  options.conn.congestion = TcpCongestion::dctcp;
  return options;
}

TEST(Dctcp, AllPacketsAreCapableWhereThePeerAgreesToEcn) {
  for (const bool agreed : {true, false}) {
    const std::uint8_t tos = agreed ? ect_0 : 0;
    Conversation c(with_dctcp());
    c.connects();
    c.peer.expects(SYN | ECE | CWR, {.seq = 0, .tos = ect_0});
    c.peer.sends(static_cast<std::uint8_t>(agreed ? SYN | ACK | ECE : SYN | ACK), {.seq = 0, .ack = 1, .mss = 1000});
    c.peer.expects(ACK, {.seq = 1, .tos = tos});
    c.sends(pattern(1, 1000));
    c.peer.expects(ACK, {.len = 1000, .tos = tos});
    EXPECT_TRUE(c.app.conn.set_tos(0x2b));
    c.peer.sends(ACK, {.len = 10, .tos = ce});
    c.peer.expects(static_cast<std::uint8_t>(agreed ? ACK | ECE : ACK),
                   {.ack = 11, .tos = static_cast<std::uint8_t>(0x28 | tos)});
  }
}

TEST(Dctcp, ACookieOfItsListenerIsCapableToo) {
  TcpOptions options = with_dctcp();
  options.syn_cookies = TcpSynCookies::on;
  options.conn.timestamps = true;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN | ECE | CWR, {.seq = 0, .mss = 1460, .ts_value = 1, .tos = ect_0});
  c.peer.expects(SYN | ACK | ECE, {.tos = ect_0});
  c.peer.sends(ACK);
  c.peer.sends(ACK, {.len = 10, .tos = ect_0});
  c.peer.expects(ACK, {.ack = 11, .tos = ect_0});
}

// Windows of ten segments, `unmarked` of them without marks, then one that is marked wholly.
std::uint32_t window_after(std::uint32_t unmarked) {
  Conversation c(with_dctcp());
  c.listens();
  c.peer.sends(SYN | ECE | CWR, {.seq = 0, .mss = 1000});
  c.peer.expects(SYN | ACK | ECE);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  for (std::uint32_t i = 0; i <= unmarked; ++i) {
    c.sends(pattern(c.peer.rcv_nxt(), 10'000));
    EXPECT_EQ(c.peer.take().size(), 10u);
    c.peer.waits(100_ms);
    c.peer.sends(static_cast<std::uint8_t>(i == unmarked ? ACK | ECE : ACK));
  }
  c.host.sync();
  EXPECT_EQ(c.count(Counter::tcp_ecn_reductions), 1u);
  return c.app.conn.info().ssthresh;
}

TEST(Dctcp, AMarkTakesHalfOfTheShareThatIsMarked) {
  EXPECT_EQ(window_after(0), 5000u) << "alpha is 1 at first";
  // Alpha: (15/16)^32 = 0.1268, and then a sixteenth of the way to 1: 0.1814; of ten segments 0.907 are taken.
  const std::uint32_t window = window_after(32);
  EXPECT_GE(window, 9080u);
  EXPECT_LE(window, 9100u);
}

TEST(Dctcp, ALossTakesHalfWhateverAlphaIs) {
  Conversation c(with_dctcp());
  c.listens();
  c.peer.sends(SYN | ECE | CWR, {.seq = 0, .raw_options = {1, 1, 4, 2}, .mss = 1000});
  c.peer.expects(SYN | ACK | ECE);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  for (int i = 0; i < 32; ++i) {
    c.sends(pattern(c.peer.rcv_nxt(), 10'000));
    EXPECT_EQ(c.peer.take().size(), 10u);
    c.peer.waits(100_ms);
    c.peer.sends(ACK);
  }
  const std::int64_t una = c.peer.rcv_nxt();
  c.sends(pattern(una, 10'000));
  EXPECT_EQ(c.peer.take().size(), 10u);
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ack = una, .sacks = {{{una + 1000, una + 10'000}}}});
  const Decoded again = c.peer.expects(ACK, {.seq = una, .len = 1000, .tos = ect_0});
  c.host.sync();
  EXPECT_EQ(c.app.conn.info().ssthresh, 5000u);
}

}  // namespace
}  // namespace pollux::test
