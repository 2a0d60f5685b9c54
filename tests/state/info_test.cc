// What TcpConn::info() and the listings say, state by state.
#include <gtest/gtest.h>

#include <array>
#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

std::vector<TcpInfo> list(Conversation& c, TcpFilter filter = {}) {
  TcpScan scan{.filter = filter};
  std::vector<TcpInfo> all;
  std::array<TcpInfo, 3> some;
  while (!scan.done) {
    const std::size_t n = c.host.tcp().list(scan, some);
    all.insert(all.end(), some.begin(), some.begin() + static_cast<std::ptrdiff_t>(n));
  }
  return all;
}

TEST(TcpInfo, OfAnIdleConnectionSaysWhatWasNegotiated) {
  TcpOptions options = plain_tcp();
  options.conn.timestamps = options.conn.window_scaling = true;
  options.conn.receive_buffer = 1 << 20;
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, {.mss = 1200, .wscale = 3, .ts_value = 1});
  c.peer.expects(SYN | ACK);
  c.peer.waits(80_ms);
  c.peer.sends(ACK);
  c.peer.waits(5_s);
  c.host.sync();
  const TcpInfo info = c.app.conn.info();
  EXPECT_EQ(info.state, TcpState::established);
  EXPECT_EQ(info.handle, c.app.conn.handle());
  EXPECT_EQ(info.local, c.app.conn.local());
  EXPECT_EQ(info.remote, c.app.conn.remote());
  EXPECT_FALSE(info.active_open);
  EXPECT_TRUE(info.timestamps && info.window_scaling);
  EXPECT_FALSE(info.sack);
  EXPECT_EQ(info.send_scale, 3);
  EXPECT_EQ(info.receive_scale, 5);
  EXPECT_EQ(info.mss, 1188) << "12 octets of timestamps";
  EXPECT_EQ(info.advertised_mss, 1448);
  EXPECT_EQ(info.srtt, 80_ms);
  EXPECT_EQ(info.rttvar, 40_ms);
  EXPECT_EQ(info.min_rtt, 80_ms);
  EXPECT_EQ(info.rto, 240_ms);
  EXPECT_EQ(info.timer, TcpTimer::none);
  EXPECT_EQ(info.recovery, RecoveryMode::open);
  EXPECT_EQ(info.cwnd, 10u * 1188);
  EXPECT_EQ(info.receive_buffer, 1u << 20);
  EXPECT_EQ(info.last_received, 5_s);
  EXPECT_EQ(info.acknowledged, 0u);
}

TEST(TcpInfo, CountsWhatWaitsWhatFliesAndWhatIsAcknowledged) {
  Conversation c;
  c.established();
  c.peer.set_window(3000);
  c.peer.sends(ACK);
  c.sends(std::string(5000, 'x'));
  TcpInfo info = c.app.conn.info();
  EXPECT_EQ(info.send_queue, 5000u);
  EXPECT_EQ(info.in_flight, 2920u) << "two segments of 1,460; the window holds no third";
  EXPECT_EQ(info.not_sent, 5000u - 2920);
  EXPECT_EQ(info.peer_window, 3000u);
  EXPECT_EQ(info.timer, TcpTimer::retransmission);
  EXPECT_GT(info.timer_in, 150_ms);
  EXPECT_LE(info.timer_in, info.rto);
  c.peer.take();
  c.peer.set_window(0);
  c.peer.sends(ACK, {.ack = 2921});
  info = c.app.conn.info();
  EXPECT_EQ(info.acknowledged, 2920u);
  EXPECT_EQ(info.in_flight, 0u);
  EXPECT_EQ(info.timer, TcpTimer::persist) << "RFC 9293 3.8.6.1";
  EXPECT_EQ(list(c, {.only_troubled = true}).size(), 1u) << "data waits for a closed window";
}

TEST(TcpInfo, ShowsLossRecoveryAndItsEnd) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  c.listens();
  c.peer.sends(SYN, {.raw_options = {4, 2, 1, 1}, .mss = 1000});  // SACK permitted
  c.peer.expects(SYN | ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK);
  c.sends(std::string(6000, 'x'));
  c.peer.take();
  EXPECT_TRUE(list(c, {.only_troubled = true}).empty());
  c.peer.waits(100_ms);
  // SACK of the segments 4 to 6: the first three are lost (RFC 8985, or three duplicates' worth).
  const std::uint32_t isn = c.peer.stack_isn();
  const auto block = [&](std::uint32_t left, std::uint32_t right) {
    std::vector<std::uint8_t> option = {1, 1, 5, 10};
    for (const std::uint32_t edge : {isn + left, isn + right})
      for (const int shift : {24, 16, 8, 0}) option.push_back(static_cast<std::uint8_t>(edge >> shift));
    return option;
  };
  c.peer.sends(ACK, {.ack = 1, .raw_options = block(3001, 6001)});
  TcpInfo info = c.app.conn.info();
  EXPECT_TRUE(info.sack);
  EXPECT_EQ(info.recovery, RecoveryMode::recovery);
  EXPECT_EQ(info.sacked, 3000u);
  EXPECT_EQ(info.lost, 3000u);
  EXPECT_LT(info.ssthresh, 10'000u);
  EXPECT_EQ(list(c, {.only_troubled = true}).size(), 1u);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 6001});
  info = c.app.conn.info();
  EXPECT_EQ(info.recovery, RecoveryMode::open);
  EXPECT_EQ(info.sacked + info.lost + info.in_flight, 0u);
  EXPECT_EQ(info.acknowledged, 6000u);
}

TEST(TcpInfo, CountsWhatWasSentAgainForGood) {
  Conversation c;
  c.established();
  c.sends("lost");
  c.peer.take();
  c.peer.waits(1500_ms);  // two timeouts
  const std::size_t again = c.peer.take().size();
  EXPECT_GE(again, 2u);
  EXPECT_EQ(c.app.conn.info().retransmits, again);
  c.peer.sends(ACK, {.ack = 5});
  EXPECT_EQ(c.app.conn.info().retries, 0u);
  EXPECT_EQ(c.app.conn.info().retransmits, again);
}

TEST(TcpInfo, MinRttIsTheShortestOfAllAnswers) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.waits(80_ms);
  c.peer.sends(ACK);
  EXPECT_EQ(c.app.conn.info().min_rtt, 80_ms);
  const Duration answers[] = {100_ms, 20_ms, 30_ms};
  const Duration shortest[] = {80_ms, 20_ms, 20_ms};
  for (std::uint32_t i = 0; i < 3; ++i) {
    c.sends("x");
    c.peer.waits(answers[i]);
    c.peer.sends(ACK, {.ack = i + 2});
    EXPECT_EQ(c.app.conn.info().min_rtt, shortest[i]);
  }
}

TEST(TcpInfo, BusyIsTheTimeWithSomethingOutstanding) {
  Conversation c;
  c.established();
  c.peer.waits(5_s);
  EXPECT_EQ(c.app.conn.info().busy, Duration{});
  c.sends("question");
  c.peer.waits(150_ms);
  EXPECT_EQ(c.app.conn.info().busy, 150_ms) << "still unanswered";
  c.peer.sends(ACK, {.ack = 9});
  c.peer.waits(5_s);
  const Duration busy = c.app.conn.info().busy;
  EXPECT_NEAR(static_cast<double>(busy.us()), 150'000, 1100) << "in steps of a tick";
}

// A thousand stays of a tenth of a tick each.
TEST(TcpInfo, ShortBusyTimesAreRightOnAverage) {
  Conversation c;
  c.established();
  for (std::uint32_t i = 0; i < 1000; ++i) {
    c.sends("x");
    c.peer.waits(100_us);
    c.peer.sends(ACK, {.ack = i + 2});
    c.peer.waits(Duration::from_us(730 + i % 7));
  }
  EXPECT_NEAR(static_cast<double>(c.app.conn.info().busy.us()), 100'000, 20'000);
}

TEST(TcpInfo, WindowLimitedIsTheTimeInWhichOnlyThePeersWindowHoldsDataBack) {
  Conversation c;
  c.established();
  c.peer.set_window(3000);
  c.peer.sends(ACK);
  c.sends(std::string(5840, 'x'));
  c.peer.waits(70_ms);
  EXPECT_EQ(c.app.conn.info().window_limited, 70_ms);
  EXPECT_EQ(c.app.conn.info().buffer_limited, Duration{});
  c.peer.set_window(0);
  c.peer.sends(ACK, {.ack = 2921});
  c.peer.waits(30_ms);
  c.peer.set_window(65535);
  c.peer.sends(ACK, {.ack = 2921});
  EXPECT_EQ(c.app.conn.info().not_sent, 0u);
  c.peer.waits(40_ms);
  EXPECT_EQ(c.app.conn.info().window_limited, 100_ms);
}

TEST(TcpInfo, TheCongestionWindowIsNotThePeersLimit) {
  Conversation c;
  c.established();
  c.peer.set_window(14'800);  // no room for an eleventh segment either
  c.peer.sends(ACK);
  c.sends(std::string(30'000, 'x'));
  EXPECT_GT(c.app.conn.info().not_sent, 10'000u) << "ten segments are the first window";
  c.peer.waits(50_ms);
  EXPECT_EQ(c.app.conn.info().window_limited, Duration{});
}

TEST(TcpInfo, BufferLimitedIsTheTimeInWhichTheApplicationHasMoreThanTheBufferTakes) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = options.conn.send_buffer_max = 4380;
  Conversation c(options);
  c.established();
  EXPECT_EQ(c.app.conn.send(std::string(10'000, 'x')).accepted, 4380u);
  c.runs();
  EXPECT_EQ(c.app.conn.info().not_sent, 0u);
  c.peer.waits(60_ms);
  EXPECT_EQ(c.app.conn.info().buffer_limited, 60_ms);
  c.peer.sends(ACK, {.ack = 4381});  // room again: the application is told, and sends no more
  c.peer.waits(1_s);
  EXPECT_EQ(c.app.conn.info().buffer_limited, 60_ms);
  EXPECT_EQ(c.app.conn.info().window_limited, Duration{});
}

TEST(TcpInfo, DeliveryRateIsThatOfTheLastRoundTripWithAFullWindow) {
  Conversation c;
  c.established({.mss = 1000});
  EXPECT_EQ(c.app.conn.info().delivery_rate, 0u);
  c.sends(std::string(40'000, 'x'));
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ack = 10'001});  // the first window; the next one leaves
  EXPECT_EQ(c.app.conn.info().delivery_rate, 0u) << "a round trip begins";
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ack = 20'001});
  EXPECT_EQ(c.app.conn.info().delivery_rate, 0u) << "it is not over";
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ack = 30'001});
  EXPECT_NEAR(static_cast<double>(c.app.conn.info().delivery_rate), 100'000, 1) << "20,000 in 200 ms, or 10,000 in 100";
  c.peer.waits(50_ms);
  c.peer.sends(ACK, {.ack = 40'001});
  EXPECT_NEAR(static_cast<double>(c.app.conn.info().delivery_rate), 200'000, 1) << "10,000 in 50 ms";
}

// Memory that a million idle connections would pay for.
TEST(TcpUsage, AnEchoThroughAWholeConnectionDisturbsNothing) {
  for (const bool sack : {false, true}) {
    TcpOptions options = plain_tcp();
    options.conn.sack = sack;
    Conversation c(options);
    c.established();
    for (std::uint32_t i = 0; i < 5; ++i) {
      c.peer.sends(ACK, {.ack = 4 * i + 1, .data = "ping"});
      c.sends("pong");
      c.peer.take();
      c.peer.waits(20_ms);
    }
    c.peer.sends(FIN | ACK, {.ack = 21});
    EXPECT_EQ(c.app.conn.info().state, TcpState::close_wait);
    EXPECT_EQ(c.host.tcp().usage().disturbed.used, 0u);
    EXPECT_EQ(c.host.tcp().usage().disturbed.octets_touched, 0u);
  }
}

TEST(TcpUsage, WhoLostSomethingIsDisturbedUntilItsEnd) {
  Conversation c;
  c.established();
  c.sends("lost");
  c.peer.waits(300_ms);
  EXPECT_EQ(c.host.tcp().usage().disturbed.used, 1u);
  c.peer.sends(ACK, {.ack = 5});
  EXPECT_EQ(c.host.tcp().usage().disturbed.used, 1u);
  c.peer.sends(RST, {.ack = 5});
  EXPECT_EQ(c.host.tcp().usage().disturbed.used, 0u);
}

TEST(TcpInfo, OfAConnectionThatIsGoneIsClosed) {
  Conversation c;
  c.established();
  const TcpConn conn = c.app.conn;
  EXPECT_NE(conn.info().state, TcpState::closed);
  c.peer.sends(RST);
  EXPECT_EQ(conn.info().state, TcpState::closed);
  EXPECT_EQ(TcpConn().info().state, TcpState::closed);
  EXPECT_TRUE(list(c).empty());
}

TEST(TcpList, FindsEveryConnectionOnceAndFiltersByWhatIsAsked) {
  Conversation c;
  c.listens();
  for (std::uint16_t port = 1000; port < 1010; ++port) {
    c.peer.use_ports(port, 7);
    c.peer.connects();
  }
  c.peer.use_ports(2000, 7);
  c.peer.sends(SYN, {.mss = 1460});  // half open
  EXPECT_EQ(list(c).size(), 11u);
  EXPECT_EQ(list(c, {.remote_port = 1004}).at(0).remote.port, 1004);
  EXPECT_EQ(list(c, {.states = 1 << static_cast<int>(TcpState::syn_received)}).at(0).remote.port, 2000);
  EXPECT_EQ(list(c, {.local_port = 7}).size(), 11u);
  EXPECT_TRUE(list(c, {.local_port = 8}).empty());
  EXPECT_EQ(list(c, {.remote = c.peer.address()}).size(), 11u);
  EXPECT_TRUE(list(c, {.remote = IpAddress::v4(203, 0, 113, 1)}).empty());

  std::uint32_t slot = 0;
  std::array<TcpListenerInfo, 4> listeners;
  ASSERT_EQ(c.host.tcp().list_listeners(slot, listeners), 1u);
  EXPECT_EQ(listeners[0].local.port, 7);
  EXPECT_EQ(listeners[0].half_open, 1u);
}

TEST(TcpList, LooksAtABoundedNumberOfSlotsAStep) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  c.listens({.port = 7, .backlog = 10'000});
  for (std::uint32_t i = 0; i < TcpScan::slots_max + 10; ++i) {
    c.peer.use_ports(static_cast<std::uint16_t>(1000 + i), 7);
    c.peer.sends(SYN, {.mss = 1460});
  }
  TcpScan scan{.filter = {.remote_port = 1}};
  std::array<TcpInfo, 4> out;
  EXPECT_EQ(c.host.tcp().list(scan, out), 0u);
  EXPECT_EQ(scan.next_slot, TcpScan::slots_max);
  EXPECT_FALSE(scan.done);
  EXPECT_EQ(c.host.tcp().list(scan, out), 0u);
  EXPECT_TRUE(scan.done);
}

TEST(TcpUsage, SaysHowFullTheTablesAre) {
  Conversation c;
  c.established();
  TcpUsage usage = c.host.tcp().usage();
  EXPECT_EQ(usage.connections.used, 1u);
  EXPECT_EQ(usage.listeners.used, 1u);
  EXPECT_LE(usage.timers_armed, 1u) << "the handshake's, until it is looked at";
  EXPECT_EQ(usage.connections.octets_touched, Slab<Tcb>::slot_bytes());
  c.sends("x");
  usage = c.host.tcp().usage();
  EXPECT_EQ(usage.outstanding.used, 1u);
  EXPECT_EQ(usage.timers_armed, 1u);
}

}  // namespace
}  // namespace pollux::test
