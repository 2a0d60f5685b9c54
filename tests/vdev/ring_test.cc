// Two stacks in one process, back to back over a pair of net_ring ports, each driven by a CoreLoop by hand:
// Port and CoreLoop without Runtime, on mbufs that pass by pointer.
#include <gtest/gtest.h>
#include <rte_eth_ring.h>

#include <memory>

#include "child.h"
#include "echo_app.h"
#include "pollux/drivers_glue/core_clock.h"
#include "pollux/drivers_glue/core_loop.h"
#include "pollux/drivers_glue/counters_text.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/port.h"

namespace pollux {
namespace {

/// One end: pools, port, stack and loop, all on this thread.
struct End {
  End(const Config& config, const Eal& eal, const char* address)
      : pools(std::string("pool_") + address, config.pool, eal, 0),
        port(config.ports[0]),
        clock(rte_get_tsc_hz()) {
    rte_mempool* data[] = {pools.data()};
    port.start(data, config.pool.packet_room, eal.socket_for(0));
    stack = std::move(Stack::create({.tcp = config.tcp}, pools.pool(), clock.now()).value());
    EXPECT_TRUE(stack->add_interface(port.interface(), clock.now()).has_value());
    for (const InterfaceConfig& vlan : port.vlans()) EXPECT_TRUE(stack->add_interface(vlan, clock.now()).has_value());
    loop =
        std::make_unique<CoreLoop<PortQueue>>(*stack, std::vector<PortQueue>{port.queue(0)}, IdleOptions{});
  }
  void turn() { loop->turn(clock.now()); }

  CorePools pools;
  Port port;
  CoreClock clock;
  std::unique_ptr<Stack> stack;
  std::unique_ptr<CoreLoop<PortQueue>> loop;
};

/// Sends `goal` octets that depend on their position and checks what comes back.
struct EchoClient final : TcpHandler {
  std::uint64_t goal = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool wrong = false;
  bool closed = false;

  static std::uint8_t octet(std::uint64_t position) { return static_cast<std::uint8_t>(position * 131 >> 3); }
  void send_more(TcpConn conn) noexcept {
    while (sent < goal) {
      std::array<std::uint8_t, 4000> chunk;
      const auto n = std::min<std::uint64_t>(chunk.size(), goal - sent);
      for (std::uint64_t i = 0; i < n; ++i) chunk[i] = octet(sent + i);
      const auto result = conn.send(std::span<const std::uint8_t>(chunk.data(), n));
      sent += result.accepted;
      if (result.status != SendStatus::ok) return;
    }
    conn.shutdown_send();
  }
  void on_connected(TcpConn conn) noexcept override { send_more(conn); }
  void on_writable(TcpConn conn) noexcept override { send_more(conn); }
  void on_data(TcpConn, Bytes bytes) noexcept override {
    bytes.for_each_piece([&](std::span<const std::uint8_t> piece) {
      for (const auto value : piece) wrong |= value != octet(received++);
    });
  }
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    closed = true;
    EXPECT_EQ(reason, CloseReason::normal);
  }
};

struct UdpClient final : UdpHandler {
  std::vector<std::string> received;
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    for (const auto& d : datagrams) received.push_back(d.data.to_string());
  }
};

Config end_config(const std::string& port, const std::string& address) {
  Config config = test::device_config(port);
  config.ports[0].addresses = {*IpPrefix::from_string(address)};
  // On a busy machine this process stands still; nothing is lost meanwhile, so nothing may be sent again.
  config.tcp.rto_min = config.tcp.rto_initial = Duration::from_s(5);
  return config;
}

/// rte_ring names must be unique; the ports exist before Port looks for them.
std::pair<std::string, std::string> make_ring_pair() {
  rte_ring* ab = rte_ring_create("ab", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  rte_ring* ba = rte_ring_create("ba", 1024, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  char name[RTE_ETH_NAME_MAX_LEN];
  const int a = rte_eth_from_rings("a", &ba, 1, &ab, 1, 0);
  const int b = rte_eth_from_rings("b", &ab, 1, &ba, 1, 0);
  EXPECT_TRUE(a >= 0 && b >= 0);
  rte_eth_dev_get_name_by_port(static_cast<std::uint16_t>(a), name);
  const std::string name_a = name;
  rte_eth_dev_get_name_by_port(static_cast<std::uint16_t>(b), name);
  return {name_a, name};
}

/// MTU, and the VLAN whose addresses talk; 0: untagged.
struct Link {
  std::uint16_t mtu;
  std::uint16_t vlan;
};
class RingPair : public testing::TestWithParam<Link> {};
INSTANTIATE_TEST_SUITE_P(Links, RingPair, testing::Values(Link{1500, 0}, Link{1500, 5}, Link{9000, 0}, Link{9000, 5}),
                         [](const auto& link) {
                           return (link.param.mtu == 1500 ? std::string("Usual") : std::string("Jumbo")) +
                                  (link.param.vlan == 0 ? "" : "InAVlan");
                         });

Config link_config(const Link& link, const std::string& port, std::uint8_t last_octet) {
  const std::string at = "." + std::to_string(last_octet) + "/24";
  Config config = end_config(port, (link.vlan == 0 ? "10.0.0" : "10.1.0") + at);
  config.ports[0].mtu = link.mtu;
  if (link.vlan != 0) config.ports[0].vlans = {{.id = link.vlan, .addresses = {*IpPrefix::from_string("10.0.0" + at)}}};
  return config;
}

TEST_P(RingPair, TwoStacksEchoTcpAndUdpWithoutLosingAnMbuf) {
  test::expect_in_child([] {
    const Link& link = GetParam();
    const Eal eal(test::device_config("net_ring"));
    const auto [name_a, name_b] = make_ring_pair();
    End server(link_config(link, name_a, 1), eal, "a");
    End client(link_config(link, name_b, 2), eal, "b");
    const auto in_use = [&] {
      return server.pools.pool().in_use() + server.pools.pool().clones_in_use() +
             client.pools.pool().in_use() + client.pools.pool().clones_in_use();
    };
    test::EchoApp app;
    app.open(*server.stack);

    UdpClient udp;
    auto socket = client.stack->udp().bind({}, udp).value();
    EXPECT_EQ(socket.send_to({IpAddress::v4(10, 0, 0, 1), 7}, "over the ring"), SendStatus::ok);
    EchoClient tcp;
    tcp.goal = 4 << 20;
    ASSERT_TRUE(client.stack->tcp().connect({.remote = {IpAddress::v4(10, 0, 0, 1), 7}}, tcp).has_value());

    const TimePoint deadline = client.clock.now() + Duration::from_s(20);
    while (!tcp.closed && client.clock.now() < deadline) {
      client.turn();
      server.turn();
    }
    EXPECT_EQ(udp.received, std::vector<std::string>{"over the ring"});
    EXPECT_EQ(tcp.received, tcp.goal);
    EXPECT_FALSE(tcp.wrong);
    EXPECT_TRUE(tcp.closed);
    const Counters& sent = client.stack->counters();
    EXPECT_EQ(sent[Counter::tcp_retrans_segs], 0u);
    // Full segments are as large as the MTU has it (timestamps take 12 octets of each).
    const std::uint64_t segments = tcp.goal / (link.mtu - 52u);
    EXPECT_GE(sent[Counter::tcp_out_segs], segments);
    EXPECT_LE(sent[Counter::tcp_out_segs], segments * 3);
    EXPECT_EQ(server.stack->counters()[Counter::tcp_retrans_segs], 0u);
    for (const End* end : {&server, &client}) {
      const Counters& counters = end->stack->counters();
      // The other end's announcement (gratuitous ARP) concerns nobody yet.
      EXPECT_LE(counters[DropReason::arp_not_for_us], link.vlan == 0 ? 1u : 2u);
      EXPECT_EQ(counters.drops(), counters[DropReason::arp_not_for_us])
          << counters_text({}, std::vector<CoreReport>{{0, {.counters = counters}}});
    }
    for (int i = 0; i < 100; ++i) {
      client.turn();
      server.turn();
    }
    EXPECT_EQ(in_use(), 0u);
  });
}

}  // namespace
}  // namespace pollux
