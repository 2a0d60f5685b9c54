// Buffers that grow with the path: the receive buffer with what arrives in a round trip, the send buffer with the congestion
// window, both up to a limit.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions growing() {
  TcpOptions options = plain_tcp();
  options.conn.window_scaling = true;
  options.conn.receive_buffer = options.conn.send_buffer = 64 * 1024;
  options.conn.receive_buffer_max = options.conn.send_buffer_max = 1 << 20;
  return options;
}

/// Opens a connection whose round trip is 100 ms as the stack measures it.
void established_far_away(Conversation& c) {
  c.listens();
  c.peer.sends(SYN, {.mss = 1000, .wscale = 4});
  c.peer.expects(SYN | ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  ASSERT_EQ(c.app.conn.state(), TcpState::established);
}

/// The peer fills `octets` into each of `rounds` round trips; returns the last window in octets.
std::uint32_t receive(Conversation& c, std::uint32_t octets, int rounds, int scale) {
  std::uint32_t window = 0;
  for (int i = 0; i < rounds; ++i) {
    for (std::uint32_t sent = 0; sent < octets; sent += 1000) c.peer.sends(ACK, {.len = 1000});
    c.peer.waits(101_ms);
    c.peer.sends(ACK, {.len = 1000});
    for (const auto& arrival : c.peer.take()) window = std::uint32_t{arrival.segment.window} << scale;
  }
  return window;
}

TEST(ReceiveBuffer, TheScaleIsThatOfTheLargest) {
  Conversation c(growing());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460, .wscale = 2});
  c.peer.expects(SYN | ACK, {.window = 65535, .wscale = 5});
}

TEST(ReceiveBuffer, GrowsWhileARoundTripFillsHalfOfIt) {
  Conversation c(growing());
  established_far_away(c);
  EXPECT_LE(receive(c, 10'000, 5, 5), 64u * 1024) << "little arrives";
  EXPECT_GT(receive(c, 40'000, 2, 5), 100u * 1024);
  EXPECT_LE(receive(c, 40'000, 3, 5), 128u * 1024) << "enough for that";
  EXPECT_GT(receive(c, 100'000, 2, 5), 200u * 1024);
}

TEST(ReceiveBuffer, GrowsToItsLimit) {
  TcpOptions options = growing();
  options.conn.receive_buffer_max = 100 * 1024;
  Conversation c(options);
  established_far_away(c);
  const std::uint32_t window = receive(c, 60'000, 6, 1);
  EXPECT_GT(window, 90u * 1024);
  EXPECT_LE(window, 100u * 1024);
}

TEST(ReceiveBuffer, StaysWhereThereIsNoScaleAndNoMaximum) {
  TcpOptions fixed = growing();
  fixed.conn.receive_buffer_max = 0;
  Conversation c(fixed);
  established_far_away(c);
  EXPECT_LE(receive(c, 60'000, 5, 0), 65535u);
  TcpOptions unscaled = growing();
  unscaled.conn.window_scaling = false;
  Conversation other(unscaled);
  established_far_away(other);
  EXPECT_LE(receive(other, 60'000, 5, 0), 65535u);
}

TEST(ReceiveBuffer, AnApplicationThatKeepsItsDataGetsNoMore) {
  Conversation c(growing());
  c.app.keep = true;
  established_far_away(c);
  receive(c, 50'000, 3, 5);
  c.app.kept.clear();
  c.runs();
  c.peer.take();
  c.peer.sends(ACK, {.len = 10});
  EXPECT_LE(std::uint32_t{c.peer.expects_any().window} << 5, 64u * 1024);
}

TEST(SendBuffer, GrowsWithTheCongestionWindowToItsLimit) {
  TcpOptions options = growing();
  options.conn.congestion = TcpCongestion::newreno;  // slow start doubles
  options.conn.send_buffer_max = 300 * 1024;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, {.mss = 1000, .wscale = 7});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  c.peer.set_window(60'000);
  EXPECT_EQ(c.app.conn.send_space(), 64u * 1024);
  std::uint32_t largest = 0;
  std::int64_t sent = 0;
  for (int round = 0; round < 8; ++round) {
    largest = std::max(largest, c.app.conn.send_space() + c.app.conn.unacknowledged());
    sent += c.app.conn.send(pattern(1 + sent, 400'000)).accepted;
    c.runs();
    c.peer.waits(20_ms);
    for (const auto& arrival : c.peer.take())  // an ACK for each, as slow start likes it
      c.peer.sends(ACK, {.ack = std::int64_t{arrival.segment.seq - c.peer.stack_isn()} +
                                static_cast<std::int64_t>(arrival.segment.payload.size())});
  }
  EXPECT_GT(largest, 200u * 1024);
  EXPECT_LE(largest, 300u * 1024);
}

// What was within the limit when it was sent stays so when the congestion window falls: it is no echo that would have to be
// paid for with the receive window. Two ends that fill each other's queues would both close their windows for ever.
TEST(SendBuffer, ALimitThatFallsDoesNotCloseTheReceiveWindow) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 4096;
  options.conn.send_buffer_max = 1 << 20;
  options.conn.receive_buffer = 20'000;
  options.initial_window_segments = 40;
  Conversation c(options);
  c.established({.mss = 1000});
  const std::uint32_t taken = c.app.conn.send(pattern(1, 100'000)).accepted;
  EXPECT_GT(taken, 4096u + 20'000u) << "twice the congestion window";
  c.runs();
  c.peer.waits(3_s);  // timeouts: the congestion window is one segment
  c.peer.take();
  EXPECT_GT(c.app.conn.unacknowledged(), 2u * c.app.conn.info().cwnd + 20'000u);
  c.peer.sends(ACK, {.ack = 1, .len = 15'000});
  EXPECT_GE(c.peer.expects_any().window, 20'000u - 15'000u);
  c.peer.sends(ACK, {.ack = 1, .len = 5000});
  EXPECT_GT(c.peer.expects_any().window, 15'000u);
}

// Over 100 ms and 1 Gbit/s a buffer of 64 KiB is the bottleneck: one that grows moves several times as much.
TEST(Buffers, ALongFatPathIsFilled) {
  double seconds[2];
  for (const bool grows : {false, true}) {
    World world(one_seed());
    TcpOptions tcp = growing();
    if (!grows) tcp.conn.receive_buffer_max = tcp.conn.send_buffer_max = 0;
    HostOptions options;
    options.stack.tcp = tcp;
    const LinkOptions link{.bits_per_second = 1'000'000'000, .delay = 25_ms, .queue_max = 10'000};
    SimHost& client = world.add_host(options, link, link);
    SimHost& server = world.add_host(options, link, link);
    TestApp sink, source;
    std::uint64_t received = 0;
    sink.when_data = [&](TcpConn, Bytes bytes) { received += bytes.size(); };
    ASSERT_TRUE(server.tcp().listen({.port = 7}, sink));
    constexpr std::uint64_t total = 8 << 20;
    std::uint64_t sent = 0;
    const std::string block(64 * 1024, 'x');
    const auto fill = [&](TcpConn conn) {
      while (sent < total) {
        const SendResult result = conn.send(std::string_view(block).substr(0, std::min<std::uint64_t>(block.size(), total - sent)));
        sent += result.accepted;
        if (result.status != SendStatus::ok) break;
      }
    };
    source.when_connected = source.when_writable = fill;
    client.sync();
    ASSERT_TRUE(client.tcp().connect({.remote = {server.ip(), 7}}, source));
    const TimePoint start = world.now();
    ASSERT_TRUE(world.run_until([&] { return received == total; }, 100_s));
    seconds[grows] = (world.now() - start).seconds();
  }
  EXPECT_LT(seconds[1] * 3, seconds[0]) << seconds[0] << " s without, " << seconds[1] << " s with";
}

}  // namespace
}  // namespace pollux::test
