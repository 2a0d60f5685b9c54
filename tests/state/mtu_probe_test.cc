// The search for a larger path MTU, RFC 4821 7 and RFC 8899 5.3: after a black hole, by segments of new data.
#include <gtest/gtest.h>

#include "support/conversation.h"
#include "support/world.h"

namespace pollux::test {
namespace {

TcpOptions searching(TcpCongestion congestion = TcpCongestion::newreno) {
  TcpOptions options = plain_tcp();
  options.conn.black_hole_detection = true;
  options.conn.congestion = congestion;
  options.conn.send_buffer = 256 * 1024;
  return options;
}

std::vector<std::uint32_t> sizes(Conversation& c) {
  std::vector<std::uint32_t> out;
  for (const auto& arrival : c.peer.take()) out.push_back(static_cast<std::uint32_t>(arrival.segment.payload.size()));
  return out;
}
using Sizes = std::vector<std::uint32_t>;

/// Three timeouts of a full segment: the connection sends 1,160 octets at a time.
void fall_into_the_hole(Conversation& c) {
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.waits(1500_ms);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1461});
  EXPECT_EQ(c.app.conn.info().mss, 1160);
  c.peer.take();
}

TEST(MtuProbe, TheFullSizeIsTriedFirstAndKeptOnceItArrives) {
  Conversation c(searching());
  fall_into_the_hole(c);
  c.sends(pattern(1461, 60'000));  // the congestion window is one segment after the timeouts
  std::int64_t next = 1461;
  bool probed = false;
  while (next < 1461 + 60'000) {
    const Sizes came = sizes(c);
    ASSERT_FALSE(came.empty());
    for (const std::uint32_t size : came) {
      if (size > 1160) {
        EXPECT_EQ(size, 1460u);
        EXPECT_FALSE(probed) << "one at a time, and afterwards it is the size";
        probed = true;
      }
      next += size;
    }
    c.peer.waits(20_ms);
    c.peer.sends(ACK, {.ack = next});
    if (probed) break;
  }
  EXPECT_TRUE(probed);
  EXPECT_EQ(c.app.conn.info().mss, 1460);
  EXPECT_EQ(c.count(Counter::tcp_mtu_probe_success), 1u);
  EXPECT_EQ(c.count(Counter::tcp_mtu_probe_fail), 0u);
}

TEST(MtuProbe, TooLittleDataBehindItIsNoTimeForOne) {
  Conversation c(searching());
  fall_into_the_hole(c);
  for (int i = 0; i < 20; ++i) {
    const std::int64_t from = 1461 + 2320 * i;
    c.sends(pattern(static_cast<std::uint32_t>(from), 2320));
    for (const std::uint32_t size : sizes(c)) EXPECT_LE(size, 1160u);
    c.peer.waits(20_ms);
    c.peer.sends(ACK, {.ack = from + 1160});
    for (const std::uint32_t size : sizes(c)) EXPECT_LE(size, 1160u);
    c.peer.sends(ACK, {.ack = from + 2320});
  }
  EXPECT_EQ(c.count(Counter::tcp_mtu_probe_success) + c.count(Counter::tcp_mtu_probe_fail), 0u);
}

TEST(MtuProbe, NotWithoutTheOption) {
  TcpOptions options = searching();
  options.conn.black_hole_detection = false;
  Conversation c(options);
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.take();
  c.peer.sends_icmp_error(3, 4, 1, 1200);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1461});
  c.sends(pattern(1461, 11'600));
  for (const std::uint32_t size : sizes(c)) EXPECT_LE(size, 1160u);
  c.peer.sends(ACK, {.ack = 13'061});
  c.peer.take();
  c.world.run_for(601_s);
  c.sends(pattern(13'061, 11'600));
  EXPECT_EQ(sizes(c).front(), 1160u) << "a timer brings the full size back, whatever comes of it";
  EXPECT_EQ(c.count(Counter::tcp_mtu_probe_success) + c.count(Counter::tcp_mtu_probe_fail), 0u);
}

// What a router names is believed for ten minutes.
TEST(MtuProbe, AfterIcmpItBeginsWhenTenMinutesHavePassed) {
  Conversation c(searching());
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.take();
  c.peer.sends_icmp_error(3, 4, 1, 1200);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1461});
  c.sends(pattern(1461, 11'600));
  for (const std::uint32_t size : sizes(c)) EXPECT_LE(size, 1160u);
  c.peer.sends(ACK, {.ack = 13'061});
  c.peer.take();
  c.world.run_for(601_s);
  EXPECT_EQ(c.app.conn.info().mss, 1160) << "not at once: routers may say nothing next time";
  c.sends(pattern(13'061, 11'600));
  EXPECT_EQ(sizes(c).front(), 1460u);
}

struct Hole {
  std::uint16_t mtu;  ///< of the path; larger packets vanish
  TcpCongestion congestion;
  bool sack;
};

class MtuSearch : public testing::TestWithParam<Hole> {};

// Two stacks; a link between them that drops what is too large without a word.
TEST_P(MtuSearch, FindsWhatThePathCarriesWithoutATimeoutOrAWindowLost) {
  const Hole hole = GetParam();
  World world(one_seed());
  HostOptions options;
  options.stack.tcp = searching(hole.congestion);
  options.stack.tcp.conn.sack = hole.sack;
  options.stack.tcp.conn.delayed_ack = hole.sack;  // each ACK opens the window by one segment
  const LinkOptions link{.bits_per_second = 50'000'000, .delay = 5_ms, .queue_max = 10'000};
  SimHost& client = world.add_host(options, link, link);
  SimHost& server = world.add_host(options, link, link);
  world.up(0).drop_if = [&](const Decoded& frame) { return frame.ip_length > hole.mtu; };
  TestApp sink, source;
  std::string received;
  sink.when_data = [&](TcpConn, Bytes bytes) { received += bytes.to_string(); };
  ASSERT_TRUE(server.tcp().listen({.port = 7}, sink));
  const std::string all = pattern(1, 6 << 20);
  std::size_t sent = 0;
  TcpConn conn;
  const auto fill = [&](TcpConn c) {
    conn = c;
    while (sent < all.size()) {
      const SendResult result = c.send(std::string_view(all).substr(sent, 64 * 1024));
      sent += result.accepted;
      if (result.status != SendStatus::ok) break;
    }
  };
  source.when_connected = source.when_writable = fill;
  client.sync();
  ASSERT_TRUE(client.tcp().connect({.remote = {server.ip(), 7}}, source));
  ASSERT_TRUE(world.run_until([&] { return client.counters()[Counter::tcp_mtu_lowered] == 1 && conn.info().retries == 0; }, 100_s));
  const std::uint64_t timeouts = client.counters()[Counter::tcp_timeouts];
  const std::uint64_t recoveries = client.counters()[Counter::tcp_fast_retrans];
  ASSERT_TRUE(world.run_until([&] { return received.size() == all.size(); }, 100_s));
  EXPECT_TRUE(received == all);
  const std::uint32_t headers = server.options().v6_address.length != 0 ? 60 : 40;
  const std::uint32_t found = conn.info().mss + headers;
  EXPECT_LE(found, hole.mtu);
  EXPECT_GE(found + 17, hole.mtu) << "what is left is not worth a probe";
  EXPECT_EQ(client.counters()[Counter::tcp_timeouts], timeouts) << "a lost probe is noticed by what follows it";
  EXPECT_EQ(client.counters()[Counter::tcp_fast_retrans], recoveries) << "and is no sign of congestion";
  EXPECT_LE(client.counters()[Counter::tcp_mtu_probe_fail], 6u) << "halves of 260 octets";
  EXPECT_EQ(client.counters()[Counter::tcp_mtu_lowered], 1u);
}

INSTANTIATE_TEST_SUITE_P(Paths, MtuSearch,
                         testing::Values(Hole{1492, TcpCongestion::cubic, true}, Hole{1400, TcpCongestion::cubic, true},
                                         Hole{1400, TcpCongestion::newreno, true}, Hole{1400, TcpCongestion::bbr, true},
                                         Hole{1300, TcpCongestion::cubic, false}, Hole{1290, TcpCongestion::cubic, true}),
                         [](const auto& test) {
                           return std::string(tcp_congestion_name(test.param.congestion)) + "_" + std::to_string(test.param.mtu) +
                                  (test.param.sack ? "_sack" : "_plain");
                         });

// Lost together with the segment before it, the probe is sent again in pieces that fit: their arrival must not be taken for its
// own.
TEST(MtuProbe, AmongOtherLossesAProbeProvesNothing) {
  TcpOptions options = searching();
  options.conn.sack = true;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, {.raw_options = {4, 2, 1, 1}, .mss = 1460});  // SACK permitted
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  c.sends(pattern(1, 1460));
  c.peer.waits(1500_ms);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1461});
  c.sends(pattern(1461, 100'000));
  std::vector<std::uint32_t> starts;  // of what came, in order; the last is where the next one begins
  starts.push_back(1461);
  const auto take = [&] {
    for (const std::uint32_t size : sizes(c)) starts.push_back(starts.back() + size);
  };
  const auto is_probe = [&](std::size_t i) { return starts[i + 1] - starts[i] > 1160; };
  take();
  std::size_t una = 0, probe = 0;
  while (probe == 0 && una + 1 < starts.size()) {
    c.peer.waits(5_ms);
    c.peer.sends(ACK, {.ack = starts[++una]});
    take();
    for (std::size_t i = una; i + 1 < starts.size(); ++i)
      if (is_probe(i)) probe = i;
  }
  ASSERT_GT(probe, una + 3) << "there is a flight in front of it";
  while (una < probe - 1) {
    c.peer.waits(5_ms);
    c.peer.sends(ACK, {.ack = starts[++una]});
    take();
  }
  ASSERT_GT(starts.size(), probe + 4) << "and one behind it";
  const std::uint32_t isn = c.peer.stack_isn();
  std::vector<std::uint8_t> block = {1, 1, 5, 10};
  for (const std::uint32_t edge : {isn + starts[probe + 1], isn + starts.back()})
    for (const int shift : {24, 16, 8, 0}) block.push_back(static_cast<std::uint8_t>(edge >> shift));
  c.peer.waits(5_ms);
  c.peer.sends(ACK, {.ack = starts[una], .raw_options = block});
  EXPECT_EQ(c.app.conn.info().recovery, RecoveryMode::recovery);
  EXPECT_EQ(c.app.conn.info().lost, 1160u + 1460u);
  for (int i = 0; i < 5; ++i) {  // all that is missing comes again
    c.peer.waits(5_ms);
    c.peer.sends(ACK, {.ack = starts[una], .raw_options = block});
  }
  c.peer.take();
  c.peer.sends(ACK, {.ack = starts.back()});
  EXPECT_EQ(c.app.conn.info().recovery, RecoveryMode::open);
  EXPECT_EQ(c.app.conn.info().mss, 1160);
  EXPECT_EQ(c.count(Counter::tcp_mtu_probe_success), 0u);
}

// The hole opens: ten minutes after the search has ended the full size passes.
TEST(PathMtuSearch, ThatEndedBelowTheFullSizeIsTakenUpAgain) {
  World world(one_seed());
  HostOptions options;
  options.stack.tcp = searching();
  const LinkOptions link{.bits_per_second = 50'000'000, .delay = 5_ms, .queue_max = 10'000};
  SimHost& client = world.add_host(options, link, link);
  SimHost& server = world.add_host(options, link, link);
  std::uint16_t mtu = 1400;
  world.up(0).drop_if = [&](const Decoded& frame) { return frame.ip_length > mtu; };
  TestApp sink, source;
  std::uint64_t received = 0;
  sink.when_data = [&](TcpConn, Bytes bytes) { received += bytes.size(); };
  ASSERT_TRUE(server.tcp().listen({.port = 7}, sink));
  TcpConn conn;
  source.when_connected = [&](TcpConn c) { conn = c; };
  client.sync();
  ASSERT_TRUE(client.tcp().connect({.remote = {server.ip(), 7}}, source));
  std::uint64_t sent = 0;
  const auto send_some = [&] {
    for (int i = 0; i < 60; ++i) {
      client.sync();
      sent += conn.send(std::string(60'000, 'x')).accepted;
      ASSERT_TRUE(world.run_until([&] { return received == sent; }, 60_s));
    }
  };
  ASSERT_TRUE(world.run_for(100_ms));
  send_some();
  const std::uint16_t below = conn.info().mss;
  EXPECT_LT(below, 1360u);
  mtu = 1500;
  send_some();
  EXPECT_EQ(conn.info().mss, below);
  ASSERT_TRUE(world.run_for(601_s));
  send_some();
  EXPECT_EQ(conn.info().mss, 1460u - (server.options().v6_address.length != 0 ? 20u : 0u));
}

}  // namespace
}  // namespace pollux::test
