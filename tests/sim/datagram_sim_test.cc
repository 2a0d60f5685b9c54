// UDP and ping across simulated cables, and TCP in constellations that chance does not bring about.
#include <gtest/gtest.h>

#include <set>

#include "stream.h"
#include "support/test_peer.h"
#include "support/world.h"

namespace pollux::test {
namespace {

struct UdpEcho final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      ++count;
      if (d.data.empty()) {
        socket.send_to(d.remote, std::span<const std::uint8_t>{}, d.local);
      } else {
        socket.send_to(d.remote, std::move(d.data), d.local);
      }
    }
  }
  std::uint32_t count = 0;
};

/// Datagram n has n % 1473 octets, told from its first ones; the empty one counts as its own kind.
struct UdpCounter final : UdpHandler {
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      ++count;
      sizes.insert(d.data.size());
      std::vector<std::uint8_t> expected(d.data.size());
      fill_stream(d.data.size(), 0, expected);
      const std::string got = d.data.to_string();
      wrong |= got != std::string(expected.begin(), expected.end());
    }
  }
  std::uint32_t count = 0;
  std::set<std::uint32_t> sizes;
  bool wrong = false;
};

struct UdpRun {
  UdpRun(std::uint64_t seed, const LinkOptions& link)
      : world(seed), a(world.add_host({}, link, {})), b(world.add_host({}, link, {})) {}

  void run() {
    ASSERT_TRUE(b.udp().bind({.port = 7}, echo));
    auto socket = a.udp().bind({}, counter);
    ASSERT_TRUE(socket);
    for (std::uint32_t size = 0; size <= 1472; ++size) {
      world.after(Duration::from_us(50 * size), [this, size, s = *socket]() mutable {
        std::vector<std::uint8_t> octets(size);
        fill_stream(size, 0, octets);
        EXPECT_EQ(s.send_to({b.ip(), 7}, octets), SendStatus::ok);
      });
    }
    ASSERT_TRUE(world.run_until_idle(Duration::from_s(3600)));
    EXPECT_FALSE(counter.wrong);
    socket->close();
    EXPECT_EQ(a.pool().in_use() + b.pool().in_use(), 0u);
  }

  World world;
  SimHost& a;
  SimHost& b;
  UdpEcho echo;
  UdpCounter counter;
};

TEST(UdpSimulation, EverySizeReturnsOnACleanCable) {
  UdpRun udp(one_seed(), {});
  udp.run();
  EXPECT_EQ(udp.counter.count, 1473u);
  EXPECT_EQ(udp.counter.sizes.size(), 1473u);
  for (SimHost* host : {&udp.a, &udp.b})  // an announcement of a stranger is all that may be left aside
    EXPECT_EQ(host->counters().drops(), host->counters()[DropReason::arp_not_for_us]);
}

TEST(UdpSimulation, WhatArrivesOverABadCableIsRight) {
  for (std::uint64_t seed = one_seed(); seed < one_seed() + 10; ++seed) {
    UdpRun udp(seed, {.jitter = 100_us, .loss = 0.05, .reorder = 0.1, .duplicate = 0.05, .corrupt = 0.1});
    udp.run();
    EXPECT_GT(udp.counter.count, 800u);
    EXPECT_LT(udp.counter.sizes.size(), 1473u);
  }
}

TEST(UdpSimulation, ClosedPortIsToldByIcmp) {
  struct Handler final : UdpHandler {
    void on_datagrams(UdpSocket, std::span<Datagram>) noexcept override {}
    void on_error(UdpSocket, const Endpoint& remote, UdpError error) noexcept override {
      last_remote = remote;
      last_error = error;
      ++errors;
    }
    Endpoint last_remote;
    UdpError last_error = UdpError::other;
    std::uint32_t errors = 0;
  } handler;
  World world(one_seed());
  SimHost& a = world.add_host();
  SimHost& b = world.add_host();
  auto socket = a.udp().bind({}, handler);
  ASSERT_TRUE(socket);
  EXPECT_EQ(socket->send_to({b.ip(), 9}, "anyone?"), SendStatus::ok);
  ASSERT_TRUE(world.run_for(1_s));
  EXPECT_EQ(handler.errors, 1u);
  EXPECT_EQ(handler.last_error, UdpError::port_unreachable);
  EXPECT_EQ(handler.last_remote, (Endpoint{b.ip(), 9}));
}

TEST(PingSimulation, EverySizeIsAnsweredWithTheSameOctets) {
  World world(one_seed());
  SimHost& host = world.add_bare_host();
  TestPeer peer(world, host);
  for (std::uint32_t size = 0; size <= 1472; size += 23) {
    std::vector<std::uint8_t> body(size);
    fill_stream(size, 0, body);
    peer.sends_frame(icmp_frame(peer.ids(), 8, 0, 0x12340000u + size, body));
    const Decoded reply = peer.expects_any();
    EXPECT_EQ(reply.icmp_type, 0);
    EXPECT_EQ(reply.icmp_rest, 0x12340000u + size);
    EXPECT_EQ(reply.payload, body);
    EXPECT_EQ(reply.ids.source, host.ip());
    EXPECT_TRUE(reply.problem.empty()) << reply.problem;
  }
  EXPECT_EQ(host.pool().in_use(), 0u);
}

// RFC 9293 MUST-10: both ends connect at once, over cables of any length and quality.
TEST(TcpSimulation, Must10SimultaneousOpenMovesData) {
  for (std::uint64_t seed = one_seed(); seed < one_seed() + 50; ++seed) {
    World world(seed);
    Rng& rng = world.rng();
    const LinkOptions link{.delay = Duration::from_us(10 + rng.below(20'000)),
                           .loss = seed % 3 == 0 ? 0.05 : 0.0};
    SimHost& a = world.add_host({}, link, {});
    SimHost& b = world.add_host({}, link, {});
    StreamApp app_a(world, a, {.octets_max = 50'000});
    StreamApp app_b(world, b, {.octets_max = 50'000});
    // The end at port 2000 of host a plays the client, the other the server: their plans agree.
    app_a.connect({.remote = {b.ip(), 3000}, .local = {a.ip(), 2000}}, true);
    app_b.connect({.remote = {a.ip(), 2000}, .local = {b.ip(), 3000}}, false);
    ASSERT_TRUE(
        world.run_until([&] { return app_a.open_ends() + app_b.open_ends() == 0; }, Duration::from_s(600)))
        << seed;
    ASSERT_TRUE(world.run_until_idle(Duration::from_s(1000)));
    EXPECT_EQ(a.pool().in_use() + b.pool().in_use(), 0u);
    EXPECT_EQ(a.tcp().connection_count() + b.tcp().connection_count(), 0u);
  }
}

TEST(TcpSimulation, AThousandConnectionsAtOnce) {
  World world(one_seed());
  HostOptions options;
  options.turn = 20_us;
  SimHost& server = world.add_host(options);
  SimHost& client = world.add_host(options);
  const AppLimits limits{.octets_max = 20'000, .keep_max = 1_ms, .keep = 0.2, .echo = 0.5};
  StreamApp serving(world, server, limits);
  StreamApp asking(world, client, limits);
  serving.listen(7, {});
  for (int i = 0; i < 1000; ++i) asking.connect(server, 7, {});
  ASSERT_TRUE(world.run_until([&] { return asking.open_ends() == 0 && serving.open_ends() == 0; },
                              Duration::from_s(600)));
  EXPECT_EQ(serving.ends(), 1000u);
  ASSERT_TRUE(world.run_until_idle(Duration::from_s(1000)));
  EXPECT_EQ(server.pool().in_use() + client.pool().in_use(), 0u);
}

TEST(TcpSimulation, TenThousandConnectionsOneAfterAnother) {
  World world(one_seed());
  HostOptions options;
  options.stack.tcp.msl = 1_s;  // so that the client's ports come back
  SimHost& server = world.add_host(options);
  SimHost& client = world.add_host(options);
  const AppLimits limits{.octets_max = 10};
  StreamApp serving(world, server, limits);
  StreamApp asking(world, client, limits);
  serving.listen(7, {});
  for (int i = 0; i < 10'000; ++i) {
    asking.connect(server, 7, {});
    ASSERT_TRUE(world.run_until([&] { return asking.open_ends() == 0 && serving.open_ends() == 0; }, 10_s))
        << i;
  }
  ASSERT_TRUE(world.run_until_idle(Duration::from_s(1000)));
  EXPECT_EQ(server.pool().in_use() + client.pool().in_use(), 0u);
  EXPECT_EQ(server.counters()[Counter::tcp_retrans_segs] + client.counters()[Counter::tcp_retrans_segs], 0u);
}

}  // namespace
}  // namespace pollux::test
