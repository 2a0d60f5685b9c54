// SYN cookies: RFC 4987 3.6, with options in the timestamp.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions with_cookies(TcpSynCookies mode) {
  TcpOptions options = plain_tcp();
  options.syn_cookies = mode;
  options.conn.timestamps = options.conn.window_scaling = true;
  options.conn.receive_buffer = 1 << 20;  // a window scale of 5
  return options;
}

const Seg full_syn = {.seq = 0, .raw_options = {4, 2}, .mss = 1460, .wscale = 7, .ts_value = 5000};

TEST(SynCookies, BeyondTheBacklogASynIsAnsweredAndNothingIsKept) {
  Conversation c(with_cookies(TcpSynCookies::pressure));
  c.listens({.port = 7, .backlog = 1});
  c.peer.use_ports(1001, 7);
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.use_ports(1002, 7);
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK,
                 {.seq = 0, .ack = 1, .window = 65535, .mss = 1460, .has_wscale = false, .has_ts = false});
  EXPECT_EQ(c.host.tcp().connection_count(), 1u);
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_sent), 1u);
  EXPECT_EQ(c.host.counters().drops(), 0u);
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  ASSERT_EQ(c.app.connections.size(), 1u);
  EXPECT_EQ(c.app.conn.remote().port, 1002);
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_received), 1u);
  c.peer.sends(ACK, {.data = "hello"});
  c.peer.expects(ACK, {.ack = 6});
  EXPECT_EQ(c.app.received, "hello");
  c.sends(pattern(1, 1460));
  c.peer.expects(ACK, {.seq = 1, .len = 1460});
}

TEST(SynCookies, TheTimestampCarriesScaleAndSack) {
  Conversation c(with_cookies(TcpSynCookies::on));
  c.listens();
  c.peer.sends(SYN, full_syn);
  const Decoded answer = c.peer.expects(SYN | ACK, {.ack = 1, .mss = 1460, .wscale = 5, .ts_echo = 5000});
  EXPECT_TRUE(answer.sack_permitted);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
  c.peer.waits(3_s);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .window = 100});  // 12,800 octets by the SYN's scale
  ASSERT_EQ(c.app.connections.size(), 1u);
  // The peer's window scale: more than 100 octets may go.
  c.sends(pattern(1, 1448));
  const Decoded data = c.peer.expects(ACK, {.seq = 1, .len = 1448});
  ASSERT_TRUE(data.ts_value);
  EXPECT_GE(static_cast<std::int32_t>(*data.ts_value - *answer.ts_value), 3000)
      << "later segments look later";
  EXPECT_LE(static_cast<std::int32_t>(*data.ts_value - *answer.ts_value), 3064);
  // Ours: what we advertise is scaled.
  EXPECT_EQ(data.window, (1u << 20) >> 5);
  // SACK was agreed to: a gap is reported.
  c.peer.sends(ACK, {.seq = 101, .ack = 1449, .len = 10});
  EXPECT_GT(c.peer.expects(ACK, {.ack = 1}).options_length, 12u);
}

TEST(SynCookies, WhatOneSideDoesNotWantIsNotAgreedTo) {
  TcpOptions options = with_cookies(TcpSynCookies::on);
  options.conn.sack = options.conn.window_scaling = false;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, full_syn);
  const Decoded answer = c.peer.expects(SYN | ACK, {.ack = 1, .has_wscale = false, .has_ts = true});
  EXPECT_FALSE(answer.sack_permitted);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .window = 100});
  ASSERT_EQ(c.app.connections.size(), 1u);
  c.sends(pattern(1, 1448));
  c.peer.expects(ACK, {.seq = 1, .len = 100});  // 100 octets, unscaled: half the largest window goes
}

TEST(SynCookies, TheMssIsRoundedDownToOneThatFits) {
  for (const auto& [offered, kept] :
       std::vector<std::pair<int, int>>{{-1, 536}, {100, 64}, {1459, 1440}, {9000, 1460}}) {
    Conversation c(with_cookies(TcpSynCookies::on));
    c.listens();
    Seg syn{.seq = 0};
    if (offered >= 0) syn.mss = static_cast<std::uint16_t>(offered);
    c.peer.sends(SYN, syn);
    c.peer.expects(SYN | ACK);
    c.peer.sends(ACK, {.seq = 1, .ack = 1});
    c.sends(pattern(1, 3000));
    c.peer.expects(ACK, {.seq = 1, .len = static_cast<std::uint32_t>(kept)});
  }
}

TEST(SynCookies, DataMayComeWithTheAck) {
  Conversation c(with_cookies(TcpSynCookies::on));
  c.listens();
  c.peer.sends(SYN, full_syn);
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .data = "early"});
  c.peer.expects(ACK, {.ack = 6});
  EXPECT_EQ(c.app.received, "early");
}

TEST(SynCookies, AWrongAckIsReset) {
  Conversation c(with_cookies(TcpSynCookies::on));
  c.listens();
  c.peer.sends(SYN, full_syn);
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK, {.seq = 1, .ack = 2});
  c.peer.expects(RST);
  c.peer.sends(ACK, {.seq = 2, .ack = 1});
  c.peer.expects(RST);
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_failed), 2u);
  EXPECT_TRUE(c.app.connections.empty());
  c.peer.sends(SYN | ACK, {.seq = 1, .ack = 1});
  c.peer.expects(RST);
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.connections.size(), 1u);
}

TEST(SynCookies, AnEchoThatIsNotOursIsReset) {
  Conversation c(with_cookies(TcpSynCookies::on));
  c.listens();
  c.peer.sends(SYN, full_syn);
  const Decoded answer = c.peer.expects(SYN | ACK);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .ts_echo = *answer.ts_value - 200'000});
  c.peer.expects(RST);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .ts_echo = *answer.ts_value + 1000});
  c.peer.expects(RST);
  EXPECT_TRUE(c.app.connections.empty());
}

TEST(SynCookies, GetOld) {
  for (const int seconds : {60, 130}) {
    Conversation c(with_cookies(TcpSynCookies::on));
    c.listens();
    c.peer.sends(SYN, {.seq = 0, .mss = 1460});
    c.peer.expects(SYN | ACK);
    c.peer.expects_silence(Duration::from_s(seconds));  // no retransmission: nothing is remembered
    c.peer.sends(ACK, {.seq = 1, .ack = 1});
    EXPECT_EQ(c.app.connections.size(), seconds == 60 ? 1u : 0u);
    if (seconds != 60) c.peer.expects(RST);
  }
}

TEST(SynCookies, AreNotLookedForUnlessSomeAreOut) {
  Conversation on(with_cookies(TcpSynCookies::on), {.isn_key = SipKey{1, 2}});
  on.listens();
  on.peer.sends(SYN, {.seq = 0, .mss = 1460});
  const std::uint32_t cookie = on.peer.expects(SYN | ACK).seq;
  // The same ACK to a stack with the same secrets that sent no cookie.
  Conversation c(with_cookies(TcpSynCookies::pressure), {.isn_key = SipKey{1, 2}});
  c.listens();
  const LinkIds ids = c.peer.ids();
  c.peer.sends_frame(tcp_frame(ids,
                               {.source_port = 40000,
                                .destination_port = 7,
                                .seq = on.peer.isn() + 1,
                                .ack = cookie + 1,
                                .flags = ACK},
                               {}));
  c.peer.expects_any();
  EXPECT_TRUE(c.app.connections.empty());
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_failed), 0u);
  EXPECT_EQ(c.dropped(DropReason::tcp_no_connection), 1u);
}

TEST(SynCookies, HandshakesGoOnWhileAFloodFillsTheBacklog) {
  Conversation c(with_cookies(TcpSynCookies::pressure));
  c.listens({.port = 7, .backlog = 16});
  for (std::uint16_t port = 1; port <= 200; ++port) {
    c.peer.use_ports(static_cast<std::uint16_t>(2000 + port), 7);
    c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  }
  c.peer.take();
  for (std::uint16_t port = 1; port <= 50; ++port) {
    c.peer.use_ports(static_cast<std::uint16_t>(5000 + port), 7);
    c.peer.connects(full_syn);
    c.peer.sends(ACK, {.data = "x"});
    c.peer.expects(ACK, {.ack = 2});
  }
  EXPECT_EQ(c.app.connections.size(), 50u);
  EXPECT_EQ(c.host.tcp().connection_count(), 66u);
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_sent), 184u + 50u);
}

TEST(SynCookies, AFullTableSendsNone) {
  TcpOptions options = with_cookies(TcpSynCookies::on);
  options.connections_max = 1;
  Conversation c(options);
  c.established();
  c.peer.use_ports(1002, 7);
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_connections_full), 1u);
}

}  // namespace
}  // namespace pollux::test
