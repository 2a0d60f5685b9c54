// TCP Fast Open, both sides: RFC 7413.
#include <gtest/gtest.h>

#include <numeric>

#include "support/conversation.h"

namespace pollux::test {
namespace {

using Octets = std::vector<std::uint8_t>;

TcpOptions fast_open_tcp() {
  TcpOptions options = plain_tcp();
  options.conn.fast_open = true;
  return options;
}

/// The Fast Open option's cookie in a frame of ours; nothing when the option is missing.
std::optional<Octets> cookie_in(const Frame& frame) {
  const std::size_t tcp = 14 + 20;
  const std::size_t end = tcp + static_cast<std::size_t>(frame.at(tcp + 12) >> 4) * 4;
  for (std::size_t i = tcp + 20; i < end && frame[i] != 0; i += frame[i] == 1 ? 1 : frame[i + 1])
    if (frame[i] == 34) return Octets(&frame[i + 2], &frame[i] + frame[i + 1]);
  return std::nullopt;
}

Octets option_with(const Octets& cookie) {
  Octets option{34, static_cast<std::uint8_t>(2 + cookie.size())};
  for (const std::uint8_t octet : cookie) option.push_back(octet);
  return option;
}

/// The peer asks for a cookie from port 1001; the half-open connection is reset.
Octets ask_for_cookie(Conversation& c) {
  c.peer.use_ports(1001, 7);
  c.peer.sends(SYN, {.seq = 0, .raw_options = {34, 2}, .mss = 1460});
  const auto arrived = c.peer.take();
  EXPECT_EQ(arrived.size(), 1u);
  const auto cookie = cookie_in(arrived.at(0).frame);
  EXPECT_TRUE(cookie) << "RFC 7413 4.2.1";
  EXPECT_EQ(arrived[0].segment.ack, c.peer.isn() + 1);
  c.peer.sends(RST, {.seq = 1});
  return cookie.value_or(Octets{});
}

/// A SYN from `port` with this cookie and data.
void fast_syn(Conversation& c, std::uint16_t port, const Octets& cookie, const std::string& data) {
  c.peer.use_ports(port, 7);
  c.peer.sends(SYN, {.seq = 0, .data = data, .raw_options = option_with(cookie), .mss = 1460});
}

// --- Server ------------------------------------------------------------------------------------------------

TEST(FastOpen, AGoodCookieDeliversTheSynsDataAtOnce) {
  Conversation c(fast_open_tcp());
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  EXPECT_EQ(cookie.size(), 8u);
  EXPECT_TRUE(c.app.connections.empty());
  c.app.when_data = [&](TcpConn conn, Bytes bytes) {
    c.app.received += bytes.to_string();
    EXPECT_EQ(conn.send("answer").accepted, 6u);
  };
  fast_syn(c, 1002, cookie, "request");
  EXPECT_EQ(c.app.received, "request");
  c.peer.expects(SYN | ACK, {.seq = 0, .ack = 8, .len = 0, .mss = 1460});
  c.peer.expects(ACK, {.seq = 1, .ack = 8, .data = "answer"});  // before the handshake is complete
  EXPECT_EQ(c.count(Counter::tcp_fast_open_passive), 1u);
  c.peer.sends(ACK, {.seq = 8, .ack = 7});
  c.peer.expects_silence(10_s);
  c.peer.sends(ACK, {.data = "more"});
  EXPECT_EQ(c.app.received, "requestmore");
}

TEST(FastOpen, WithoutDataItOpensToo) {
  Conversation c(fast_open_tcp());
  c.listens();
  fast_syn(c, 1002, ask_for_cookie(c), "");
  EXPECT_EQ(c.app.connections.size(), 1u);
  c.peer.expects(SYN | ACK, {.ack = 1});
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  c.peer.expects_silence(10_s);
}

TEST(FastOpen, AWrongCookieIsReplacedAndTheDataComesAgain) {
  Conversation c(fast_open_tcp());
  c.listens();
  const Octets good = ask_for_cookie(c);
  Octets bad = good;
  bad[3] ^= 1;
  fast_syn(c, 1002, bad, "request");
  EXPECT_TRUE(c.app.connections.empty());
  const auto arrived = c.peer.take();
  ASSERT_EQ(arrived.size(), 1u);
  EXPECT_EQ(arrived[0].segment.ack, c.peer.isn() + 1) << "only the SYN";
  EXPECT_EQ(cookie_in(arrived[0].frame), good);
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .data = "request"});
  EXPECT_EQ(c.app.received, "request");
}

TEST(FastOpen, ACookieIsForOneAddress) {
  Conversation c(fast_open_tcp());
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  c.peer.use_address(IpAddress::v4(10, 0, 0, 102));
  fast_syn(c, 1002, cookie, "request");
  EXPECT_TRUE(c.app.connections.empty());
}

TEST(FastOpen, IsOffByDefault) {
  EXPECT_FALSE(TcpConnOptions{}.fast_open);
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.seq = 0, .data = "early", .raw_options = {34, 2}, .mss = 1460});
  const auto arrived = c.peer.take();
  ASSERT_EQ(arrived.size(), 1u);
  EXPECT_FALSE(cookie_in(arrived[0].frame));
  EXPECT_EQ(arrived[0].segment.ack, c.peer.isn() + 1);
}

TEST(FastOpen, CookiesOutliveOneChangeOfKey) {
  TcpOptions options = fast_open_tcp();
  options.fast_open_key_lifetime = 100_s;
  Conversation c(options);
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  c.world.run_for(100_s);
  c.peer.take();
  const Octets next = ask_for_cookie(c);
  EXPECT_NE(next, cookie);
  fast_syn(c, 1002, cookie, "one");
  EXPECT_EQ(c.app.received, "one");
  c.world.run_for(100_s);
  fast_syn(c, 1003, cookie, "two");
  EXPECT_EQ(c.app.received, "one");
}

TEST(FastOpen, TheSynAckIsRepeatedAndGivenUp) {
  Conversation c(fast_open_tcp());
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  fast_syn(c, 1002, cookie, "request");
  c.peer.expects(SYN | ACK, {.ack = 8});
  for (int seconds = 1; seconds <= 16; seconds *= 2) c.peer.expects_after(Duration::from_s(seconds), SYN | ACK, {.seq = 0, .ack = 8});
  c.peer.expects_silence(40_s);
  EXPECT_EQ(c.app.closed, std::vector{CloseReason::timed_out});
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST(FastOpen, ARepeatedSynIsAnsweredAgain) {
  Conversation c(fast_open_tcp());
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  fast_syn(c, 1002, cookie, "request");
  c.peer.expects(SYN | ACK, {.ack = 8});
  fast_syn(c, 1002, cookie, "request");
  c.peer.expects(SYN | ACK, {.ack = 8});
  EXPECT_EQ(c.app.received, "request");
  c.peer.sends(ACK, {.seq = 8, .ack = 1});
  c.peer.sends(ACK, {.seq = 8, .ack = 1, .data = "x"});
  EXPECT_EQ(c.app.received, "requestx");
}

TEST(FastOpen, SoManyMayWaitForTheirFirstAck) {
  TcpOptions options = fast_open_tcp();
  options.fast_open_pending_max = 1;
  Conversation c(options);
  c.listens();
  const Octets cookie = ask_for_cookie(c);
  fast_syn(c, 1002, cookie, "one");
  c.peer.expects(SYN | ACK, {.ack = 4});
  fast_syn(c, 1003, cookie, "two");
  c.peer.expects(SYN | ACK, {.ack = 1});
  EXPECT_EQ(c.app.received, "one");
  c.peer.use_ports(1002, 7);
  c.peer.sends(ACK, {.seq = 4, .ack = 1});  // confirmed
  fast_syn(c, 1004, cookie, "three");
  c.peer.expects(SYN | ACK, {.ack = 6});
  c.peer.sends(RST, {.seq = 6});  // or gone
  fast_syn(c, 1005, cookie, "four");
  c.peer.expects(SYN | ACK, {.ack = 5});
}

// --- Client ------------------------------------------------------------------------------------------------

/// Opens a connection with `data` queued in the same turn; returns the frame of its SYN.
Frame fast_connect(Conversation& c, std::uint16_t local_port, const std::string& data) {
  c.peer.use_ports(80, local_port);
  c.host.sync();
  auto conn = c.host.tcp().connect({.remote = {c.peer.address(), 80}, .local = {{}, local_port}}, c.app);
  EXPECT_TRUE(conn);
  c.app.conn = *conn;
  if (!data.empty()) c.queues(data);
  c.runs();
  const auto arrived = c.peer.take();
  EXPECT_EQ(arrived.size(), 1u);
  EXPECT_EQ(decode(arrived.at(0).frame).flags, SYN);
  return arrived[0].frame;
}

const Octets given{1, 2, 3, 4, 5, 6, 7, 8};

/// The first connection asks, and the peer gives it a cookie.
void learn_cookie(Conversation& c) {
  const Frame syn = fast_connect(c, 50000, "data");
  EXPECT_EQ(cookie_in(syn), Octets{}) << "RFC 7413 4.1.1: asks";
  EXPECT_TRUE(decode(syn).payload.empty());
  c.peer.sends(SYN | ACK, {.raw_options = option_with(given), .mss = 1000});
  c.peer.take();
  c.peer.sends(ACK, {.ack = 5});
}

TEST(FastOpen, TheSecondConnectionsSynBringsItsData) {
  Conversation c(fast_open_tcp());
  learn_cookie(c);
  const Frame syn = fast_connect(c, 50001, "request");
  EXPECT_EQ(cookie_in(syn), given);
  const Decoded segment = decode(syn);
  EXPECT_EQ(std::string(segment.payload.begin(), segment.payload.end()), "request");
  EXPECT_EQ(c.count(Counter::tcp_fast_open_active), 1u);
  c.peer.sends(SYN | ACK, {.ack = 8, .mss = 1000});
  c.peer.expects(ACK, {.seq = 8, .len = 0});
  EXPECT_EQ(c.app.conn.unacknowledged(), 0u);
  c.sends("more");
  c.peer.expects(ACK, {.seq = 8, .data = "more"});
}

TEST(FastOpen, DataThatTheServerDidNotTakeIsSentAgain) {
  Conversation c(fast_open_tcp());
  learn_cookie(c);
  fast_connect(c, 50001, "request");
  c.peer.sends(SYN | ACK, {.ack = 1, .mss = 1000});
  c.peer.expects(ACK, {.seq = 1, .data = "request"});
  c.peer.sends(ACK, {.ack = 8});
  c.peer.expects_silence(5_s);
}

TEST(FastOpen, OnlyASegmentsWorthGoesWithTheSyn) {
  Conversation c(fast_open_tcp());
  learn_cookie(c);
  const Decoded syn = decode(fast_connect(c, 50001, pattern(1, 3000)));
  EXPECT_EQ(syn.payload.size() + syn.options_length, 1000u) << "the MSS that the server announced";
  c.peer.sends(SYN | ACK, {.ack = 501, .mss = 1000});  // a part of it was taken
  c.peer.expects(ACK, {.seq = 501, .len = 1000});
}

TEST(FastOpen, APathThatDropsItGetsAPlainSyn) {
  Conversation c(fast_open_tcp());
  learn_cookie(c);
  fast_connect(c, 50001, "request");
  c.world.run_for(1100_ms);
  auto arrived = c.peer.take();
  ASSERT_EQ(arrived.size(), 1u);
  EXPECT_FALSE(cookie_in(arrived[0].frame)) << "RFC 7413 4.1.3";
  EXPECT_TRUE(arrived[0].segment.payload.empty());
  c.peer.sends(SYN | ACK, {.ack = 1, .mss = 1000});
  c.peer.expects(ACK, {.seq = 1, .data = "request"});
  const Frame next = fast_connect(c, 50002, "request");
  EXPECT_EQ(cookie_in(next), Octets{}) << "not again with data";
  EXPECT_TRUE(decode(next).payload.empty());
}

TEST(FastOpen, IsNotAskedForUnlessWanted) {
  Conversation c;
  EXPECT_FALSE(cookie_in(fast_connect(c, 50000, "data")));
}

// --- Both --------------------------------------------------------------------------------------------------

TEST(FastOpen, TwoStacksSaveARoundTrip) {
  std::vector<double> milliseconds;
  for (const bool on : {false, true}) {
    World world(one_seed());
    HostOptions options;
    options.stack.tcp = plain_tcp();
    options.stack.tcp.conn.timestamps = options.stack.tcp.conn.window_scaling = true;
    options.stack.tcp.conn.fast_open = on;
    const LinkOptions link{.delay = 10_ms};
    SimHost& client = world.add_host(options, link, link);
    SimHost& server = world.add_host(options, link, link);
    TestApp echo, app;
    echo.echo = true;
    ASSERT_TRUE(server.tcp().listen({.port = 7}, echo));
    for (int i = 0; i < 2; ++i) {
      app.received.clear();
      const TimePoint start = world.now();
      client.sync();
      auto conn = client.tcp().connect({.remote = {server.ip(), 7}}, app);
      ASSERT_TRUE(conn);
      ASSERT_EQ(conn->send("hello").accepted, 5u);
      ASSERT_TRUE(world.run_until([&] { return app.received == "hello"; }, 5_s));
      if (i == 1) milliseconds.push_back((world.now() - start).seconds() * 1000);
      conn->close();
      world.run_for(1_s);
    }
  }
  EXPECT_NEAR(milliseconds[0], 80, 5);
  EXPECT_NEAR(milliseconds[1], 40, 5);
}

}  // namespace
}  // namespace pollux::test
