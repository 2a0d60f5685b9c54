// What senders do to the queue of a bottleneck: one that marks instead of dropping (RFC 3168, RFC 8257), and one that is short.
#include <gtest/gtest.h>

#include <array>
#include <cstdio>
#include <utility>

#include "support/world.h"

namespace pollux::test {
namespace {

struct Source final : TcpHandler {
  void fill(TcpConn conn) noexcept {
    static const std::array<std::uint8_t, 65536> octets{};
    while (conn.send(octets).status == SendStatus::ok) {
    }
  }
  void on_connected(TcpConn conn) noexcept override { fill(conn); }
  void on_writable(TcpConn conn) noexcept override { fill(conn); }
  void on_data(TcpConn, Bytes) noexcept override {}
};

struct Sink final : TcpHandler {
  void on_data(TcpConn, Bytes bytes) noexcept override { received += bytes.size(); }
  std::uint64_t received = 0;
};

struct Marked {
  const char* name;
  TcpCongestion congestion;
  std::uint32_t flows;
  std::uint32_t mark_above;  ///< frames; a bandwidth-delay product is 160
  double share;              ///< of the link, at least
  bool ipv6 = false;
};

void run(const Marked& row) {
  SCOPED_TRACE(row.name);
  constexpr double mbit = 100, payload_share = 0.9;
  World world(one_seed());
  if (row.ipv6) world.use_ipv6();
  HostOptions options;
  options.stack.tcp.conn.ecn = TcpEcn::active;
  options.stack.tcp.conn.congestion = row.congestion;
  LinkOptions link;
  link.bits_per_second = static_cast<std::uint64_t>(mbit * 1e6);
  link.delay = Duration::from_ms(10);
  link.queue_max = 1000;
  link.mark_above = row.mark_above;
  LinkOptions back;
  back.delay = Duration::from_ms(10);
  SimHost& sender = world.add_host(options, link, {});
  SimHost& receiver = world.add_host(options, back, {});
  Source source;
  Sink sink;
  ASSERT_TRUE(receiver.tcp().listen({.port = 7}, sink));
  for (std::uint32_t i = 0; i < row.flows; ++i) {
    sender.sync();
    ASSERT_TRUE(sender.tcp().connect({.remote = {receiver.ip(), 7}}, source));
    world.run_for(Duration::from_ms(37));
  }
  world.run_for(Duration::from_s(2));
  const std::uint64_t before = sink.received;
  world.run_for(Duration::from_s(10));
  const double rate = static_cast<double>(sink.received - before) * 8e-6 / 10;
  EXPECT_GE(rate, row.share * payload_share * mbit);
  EXPECT_GT(sender.counters()[Counter::tcp_ecn_reductions], 0u);
  EXPECT_GT(receiver.counters()[Counter::tcp_ce_in], 0u);
  EXPECT_EQ(sender.counters()[Counter::tcp_retrans_segs], 0u);
  EXPECT_EQ(world.up(0).counts().overflowed, 0u);
}

TEST(MarkedQueue, TransfersFillItAndLoseNothing) {
  const Marked rows[] = {
      {"CUBIC", TcpCongestion::cubic, 1, 160, 0.95},
      {"four of CUBIC", TcpCongestion::cubic, 4, 160, 0.95},
      {"CUBIC, a shallow threshold", TcpCongestion::cubic, 1, 20, 0.75},
      {"NewReno", TcpCongestion::newreno, 1, 160, 0.95},
      {"DCTCP, a shallow threshold", TcpCongestion::dctcp, 1, 30, 0.98},
      {"four of DCTCP", TcpCongestion::dctcp, 4, 40, 0.98},
      {"BBR", TcpCongestion::bbr, 1, 160, 0.9},
      {"four of BBR, a shallow threshold", TcpCongestion::bbr, 4, 40, 0.9},
      {"four of NewReno, IPv6", TcpCongestion::newreno, 4, 160, 0.95, true},
  };
  for (const Marked& row : rows) run(row);
}

/// Mbit/s of 50 through a queue of `queue` frames, 20 ms; and how many frames it lost.
std::pair<double, std::uint64_t> through_short_queue(TcpCongestion congestion, bool paced, std::uint32_t queue) {
  World world(one_seed());
  HostOptions options;
  options.stack.tcp.conn.congestion = congestion;
  options.stack.tcp.conn.pacing = paced;
  LinkOptions link;
  link.bits_per_second = 50'000'000;
  link.delay = Duration::from_ms(10);
  link.queue_max = queue;
  LinkOptions back;
  back.delay = Duration::from_ms(10);
  SimHost& sender = world.add_host(options, link, {});
  SimHost& receiver = world.add_host(options, back, {});
  Source source;
  Sink sink;
  EXPECT_TRUE(receiver.tcp().listen({.port = 7}, sink));
  sender.sync();
  EXPECT_TRUE(sender.tcp().connect({.remote = {receiver.ip(), 7}}, source));
  world.run_for(Duration::from_s(4));
  const std::uint64_t before = sink.received;
  world.run_for(Duration::from_s(16));
  EXPECT_EQ(sender.counters()[Counter::tcp_pacing_waits] != 0, paced);
  return {static_cast<double>(sink.received - before) * 8e-6 / 16, world.up(0).counts().overflowed};
}

/// Frames in a queue of 1,000 behind 50 Mbit/s and 20 ms (a bandwidth-delay product is 81), as those that arrive find it.
double waiting_in_deep_queue(TcpCongestion congestion) {
  World world(one_seed());
  HostOptions options;
  options.stack.tcp.conn.congestion = congestion;
  LinkOptions link;
  link.bits_per_second = 50'000'000;
  link.delay = Duration::from_ms(10);
  link.queue_max = 1000;
  LinkOptions back;
  back.delay = Duration::from_ms(10);
  SimHost& sender = world.add_host(options, link, {});
  SimHost& receiver = world.add_host(options, back, {});
  Source source;
  Sink sink;
  EXPECT_TRUE(receiver.tcp().listen({.port = 7}, sink));
  sender.sync();
  EXPECT_TRUE(sender.tcp().connect({.remote = {receiver.ip(), 7}}, source));
  world.run_for(Duration::from_s(4));
  const LinkCounts before = world.up(0).counts();
  world.run_for(Duration::from_s(16));
  const LinkCounts& after = world.up(0).counts();
  EXPECT_GE(static_cast<double>(sink.received) * 8e-6 / 20, 0.85 * 50 * 0.94);
  return static_cast<double>(after.waiting - before.waiting) / static_cast<double>(after.sent - before.sent);
}

TEST(DeepQueue, BbrLeavesItAlmostEmptyWhereCubicFillsIt) {
  EXPECT_LT(waiting_in_deep_queue(TcpCongestion::bbr), 40);
  EXPECT_GT(waiting_in_deep_queue(TcpCongestion::cubic), 80) << "a bandwidth-delay product more than there need be";
}

TEST(ShortQueue, IsFilledByPacedSegmentsWithLessLoss) {
  for (const TcpCongestion congestion : {TcpCongestion::cubic, TcpCongestion::newreno}) {
    SCOPED_TRACE(tcp_congestion_name(congestion));
    const auto [plain, plain_lost] = through_short_queue(congestion, false, 12);
    const auto [paced, paced_lost] = through_short_queue(congestion, true, 12);
    std::printf("%s: %.2f Mbit/s, %llu lost; paced %.2f Mbit/s, %llu lost\n", tcp_congestion_name(congestion), plain,
                static_cast<unsigned long long>(plain_lost), paced, static_cast<unsigned long long>(paced_lost));
    EXPECT_GE(paced, plain * 0.98);
    EXPECT_GE(paced, 0.75 * 50);
    EXPECT_LT(paced_lost, plain_lost);
  }
}

}  // namespace
}  // namespace pollux::test
