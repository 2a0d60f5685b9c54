// One port and several cores, driven by hand in one thread: a "card" made of rings, which brings flows to queues by a
// rule of its own, and still every stack sees its own flows only, octet for octet and in order.
#include <gtest/gtest.h>
#include <rte_eth_ring.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "child.h"
#include "echo_app.h"
#include "pollux/drivers_glue/core_clock.h"
#include "pollux/drivers_glue/core_loop.h"
#include "pollux/drivers_glue/counters_text.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/port.h"
#include "pollux/drivers_glue/steered_port.h"
#include "pollux/drivers_glue/steered_ports.h"

namespace pollux {
namespace {

constexpr IpAddress server_ip = IpAddress::v4(10, 0, 0, 1);
constexpr std::uint16_t udp_client_ports = 64;

Config end_config(const std::string& port, const std::string& address) {
  Config config = test::device_config(port);
  config.ports[0].addresses = {*IpPrefix::from_string(address)};
  config.pool = {.packets = 16383, .clones = 16383, .cache = 64};
  config.tcp.conn.sack = false;  // nor tail loss probes: on a busy machine an answer may be late without being lost
  config.tcp.rto_min = config.tcp.rto_initial = Duration::from_s(5);
  return config;
}

Config eal_config() {
  Config config = test::device_config("net_ring");
  config.eal.memory_mb = 512;
  return config;
}

rte_ring* new_ring(const std::string& name) {
  return rte_ring_create(name.c_str(), 4096, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
}

/// A net_ring port with `queues` queue pairs; the other ends are `to_port` and `from_port`.
struct RingPort {
  RingPort(const std::string& prefix, unsigned queues) {
    for (unsigned i = 0; i < queues; ++i) {
      to_port.push_back(new_ring(prefix + "_in_" + std::to_string(i)));
      from_port.push_back(new_ring(prefix + "_out_" + std::to_string(i)));
    }
    const int id = rte_eth_from_rings(prefix.c_str(), to_port.data(), queues, from_port.data(), queues, 0);
    EXPECT_GE(id, 0);
    char text[RTE_ETH_NAME_MAX_LEN];
    rte_eth_dev_get_name_by_port(static_cast<std::uint16_t>(id), text);
    name = text;
  }
  std::vector<rte_ring*> to_port;
  std::vector<rte_ring*> from_port;
  std::string name;
};

/// Echoes, and insists that the flow is this core's.
struct OwnedEcho final : TcpHandler, UdpHandler {
  const Steering* steering = nullptr;
  unsigned core = 0;
  std::uint32_t accepted = 0;
  std::uint32_t datagrams_seen = 0;

  void on_connected(TcpConn conn) noexcept override {
    ++accepted;
    EXPECT_EQ(steering->owner_of_flow(IpProtocol::tcp, conn.local(), conn.remote()), core);
  }
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      ++datagrams_seen;
      EXPECT_EQ(steering->owner_of_flow(IpProtocol::udp, d.local, d.remote), core);
      socket.send_to(d.remote, std::move(d.data), d.local);
    }
  }
};

/// The cores of one port.
class Cores {
 public:
  Cores(const Config& config, const Eal& eal, unsigned count, SteeringMode expected)
      : steering(count), clock(rte_get_tsc_hz()), port(config.ports[0]) {
    std::vector<rte_mempool*> data;
    for (unsigned i = 0; i < count; ++i) {
      pools.push_back(std::make_unique<CorePools>("pool_" + std::to_string(i), config.pool, eal, 0));
      data.push_back(pools.back()->data());
    }
    port.start(data, config.pool.packet_room, eal.socket_for(0), &steering);
    EXPECT_EQ(port.steering_mode(), expected) << port.steering_text();
    handover = std::make_unique<Handover>(port.name(), steering, port.queues(), port.steering_mode(), eal.socket_for(0));
    for (unsigned i = 0; i < count; ++i) add_core(config, i);
  }
  void turn() {
    for (auto& loop : loops) loop->turn(clock.now());
  }
  std::uint64_t in_use() const {
    std::uint64_t sum = 0;
    for (const auto& p : pools) sum += p->pool().in_use() + p->pool().clones_in_use();
    return sum;
  }
  SteeringCounters counters() const {
    SteeringCounters sum;
    for (const auto& loop : loops) {
      const SteeringCounters one = loop->ports()[0].counters();
      sum.handed_over += one.handed_over;
      sum.taken_over += one.taken_over;
      sum.handover_full += one.handover_full;
      sum.copies_lost += one.copies_lost;
      sum.tx_relayed += one.tx_relayed;
    }
    return sum;
  }

  const Steering steering;
  CoreClock clock;
  std::vector<std::unique_ptr<CorePools>> pools;
  Port port;
  std::unique_ptr<Handover> handover;
  std::vector<std::unique_ptr<SteeredPorts>> local_ports;
  std::vector<std::unique_ptr<Stack>> stacks;
  std::vector<std::unique_ptr<OwnedEcho>> echoes;
  std::vector<std::unique_ptr<CoreLoop<SteeredPort>>> loops;

 private:
  void add_core(const Config& config, unsigned i) {
    local_ports.push_back(std::make_unique<SteeredPorts>(steering, static_cast<std::uint16_t>(i), std::uint16_t{32768},
                                                         std::uint16_t{60999}));
    const StackOptions options{.tcp = config.tcp, .seed = i + 1, .local_ports = local_ports.back().get()};
    stacks.push_back(std::move(Stack::create(options, pools[i]->pool(), clock.now()).value()));
    InterfaceConfig interface = port.interface();
    interface.primary = i == Steering::primary_core;
    EXPECT_TRUE(stacks[i]->add_interface(interface, clock.now()).has_value());
    echoes.push_back(std::make_unique<OwnedEcho>());
    echoes[i]->steering = &steering;
    echoes[i]->core = i;
    EXPECT_TRUE(stacks[i]->tcp().listen({.port = 7}, *echoes[i]).has_value());
    EXPECT_TRUE(stacks[i]->udp().bind({.port = 7}, *echoes[i]).has_value());
    std::vector<SteeredPort> view;
    view.emplace_back(i < port.queues() ? std::optional(port.queue(i)) : std::nullopt, *handover,
                      static_cast<std::uint16_t>(i), pools[i]->pool());
    loops.push_back(std::make_unique<CoreLoop<SteeredPort>>(*stacks[i], std::move(view), IdleOptions{}));
  }
};

/// Sends `goal` octets that depend on their position and the connection, and checks what comes back.
struct Stream final : TcpHandler {
  std::uint64_t goal = 0;
  std::uint64_t salt = 0;
  std::uint64_t sent = 0;
  std::uint64_t received = 0;
  bool wrong = false;
  bool closed = false;

  std::uint8_t octet(std::uint64_t position) const { return static_cast<std::uint8_t>((position * 131 >> 3) + salt); }
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

struct Answers final : UdpHandler {
  std::uint32_t received = 0;
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    received += static_cast<std::uint32_t>(datagrams.size());
  }
};

/// The peer: one ordinary stack.
struct Peer {
  Peer(const Config& config, const Eal& eal) : pools("pool_peer", config.pool, eal, 0), port(config.ports[0]), clock(rte_get_tsc_hz()) {
    rte_mempool* data[] = {pools.data()};
    port.start(data, config.pool.packet_room, eal.socket_for(0));
    stack = std::move(Stack::create({.tcp = config.tcp, .seed = 99}, pools.pool(), clock.now()).value());
    EXPECT_TRUE(stack->add_interface(port.interface(), clock.now()).has_value());
    loop = std::make_unique<CoreLoop<PortQueue>>(*stack, std::vector<PortQueue>{port.queue(0)}, IdleOptions{});
  }
  CorePools pools;
  Port port;
  CoreClock clock;
  std::unique_ptr<Stack> stack;
  std::unique_ptr<CoreLoop<PortQueue>> loop;
};

void move_all(rte_ring* from, rte_ring* to) {
  void* packet = nullptr;
  while (rte_ring_free_count(to) != 0 && rte_ring_dequeue(from, &packet) == 0) rte_ring_enqueue(to, packet);
}

/// The wire between both, and the card that spreads flows over queues in a way of its own.
struct Wire {
  RingPort server;
  RingPort peer;

  std::size_t queue_of(const rte_mbuf* packet) const {
    const auto* octets = rte_pktmbuf_mtod(packet, const std::uint8_t*);
    return (octets[34] * 5u + octets[35] * 3u) % server.to_port.size();  // source port, or something else of ARP
  }

  void carry() {
    for (rte_ring* out : server.from_port) move_all(out, peer.to_port[0]);
    void* packet = nullptr;
    while (rte_ring_dequeue(peer.from_port[0], &packet) == 0) {
      auto* const mbuf = static_cast<rte_mbuf*>(packet);
      if (rte_ring_enqueue(server.to_port[queue_of(mbuf)], packet) != 0) rte_pktmbuf_free(mbuf);
    }
  }
};

struct Shape {
  unsigned cores;
  unsigned queues;
};
void PrintTo(const Shape& shape, std::ostream* out) { *out << shape.cores << " cores, " << shape.queues << " queues"; }

class CoresOverRings : public testing::TestWithParam<Shape> {};

TEST_P(CoresOverRings, EveryFlowReachesItsCoreOctetForOctet) {
  test::expect_in_child([] {
    const auto [count, queues] = GetParam();
    const Eal eal(eal_config());
    Wire wire{RingPort("s", queues), RingPort("p", 1)};
    Cores server(end_config(wire.server.name, "10.0.0.1/24"), eal, count, SteeringMode::software);
    Peer peer(end_config(wire.peer.name, "10.0.0.2/24"), eal);

    const auto turn = [&] {
      peer.loop->turn(peer.clock.now());
      wire.carry();
      server.turn();
      wire.carry();
    };
    Answers answers;
    for (std::uint16_t i = 0; i < udp_client_ports; ++i) {
      auto socket = peer.stack->udp().bind({.port = static_cast<std::uint16_t>(5000 + i)}, answers).value();
      EXPECT_EQ(socket.send_to({server_ip, 7}, "datagram"), SendStatus::ok);
      for (int j = 0; j < 4; ++j) turn();
    }
    std::array<Stream, 48> streams;
    for (std::size_t i = 0; i < streams.size(); ++i) {
      streams[i].goal = 100'000 + i * 1000;
      streams[i].salt = i * 7;
      ASSERT_TRUE(peer.stack->tcp().connect({.remote = {server_ip, 7}}, streams[i]).has_value());
    }
    const auto all_closed = [&] {
      return std::all_of(streams.begin(), streams.end(), [](const Stream& s) { return s.closed; });
    };
    const TimePoint deadline = peer.clock.now() + Duration::from_s(40);
    while (!all_closed() && peer.clock.now() < deadline) turn();
    for (const Stream& stream : streams) {
      EXPECT_TRUE(stream.closed);
      EXPECT_FALSE(stream.wrong);
      EXPECT_EQ(stream.received, stream.goal);
    }
    EXPECT_EQ(answers.received, udp_client_ports);
    for (unsigned i = 0; i < count; ++i) {
      EXPECT_GT(server.echoes[i]->accepted, 0u) << "core " << i;
      EXPECT_GT(server.echoes[i]->datagrams_seen, 0u) << "core " << i;
      const Counters& counters = server.stacks[i]->counters();
      EXPECT_EQ(counters[DropReason::tcp_no_connection], 0u);
      EXPECT_EQ(counters[Counter::tcp_retrans_segs], 0u);
      EXPECT_EQ(counters[Counter::tcp_out_rsts], 0u) << "a segment that a core knows nothing of is reset";
    }
    EXPECT_EQ(peer.stack->counters()[Counter::tcp_retrans_segs], 0u);
    for (int i = 0; i < 100; ++i) turn();
    const SteeringCounters counters = server.counters();
    EXPECT_GT(counters.handed_over, 1000u);
    EXPECT_EQ(counters.handed_over, counters.taken_over);
    EXPECT_EQ(counters.handover_full, 0u);
    EXPECT_EQ(counters.tx_relayed != 0, queues < count);
    EXPECT_EQ(server.in_use() + peer.pools.pool().in_use() + peer.pools.pool().clones_in_use(), 0u);
  });
}

INSTANTIATE_TEST_SUITE_P(Shapes, CoresOverRings,
                         testing::Values(Shape{2, 2}, Shape{4, 4}, Shape{2, 1}, Shape{4, 3}, Shape{4, 1}));

// One core asks who has an address; whichever queue the answer comes to, the core that asked must hear it. And one
// request of the peer's is answered once, but heard by all.
TEST(CoresOverRings, ArpReachesAllCoresAndIsAnsweredOnce) {
  test::expect_in_child([] {
    const Eal eal(eal_config());
    Wire wire{RingPort("s", 4), RingPort("p", 1)};
    Cores server(end_config(wire.server.name, "10.0.0.1/24"), eal, 4, SteeringMode::software);
    Peer peer(end_config(wire.peer.name, "10.0.0.2/24"), eal);
    const auto settle = [&] {
      for (int i = 0; i < 20; ++i) {
        server.turn();
        wire.carry();
        peer.loop->turn(peer.clock.now());
        wire.carry();
      }
    };
    settle();
    EXPECT_EQ(server.stacks[0]->counters()[Counter::arp_requests_out], 1u) << "announced";
    for (unsigned i = 1; i < 4; ++i) EXPECT_EQ(server.stacks[i]->counters()[Counter::tx_packets], 0u) << "but once";

    for (auto& stack : server.stacks) {  // nobody knows the peer's MAC address yet
      Answers nobody;
      auto socket = stack->udp().bind({.port = 9}, nobody).value();
      EXPECT_EQ(socket.send_to({IpAddress::v4(10, 0, 0, 2), 9}, "to a closed port"), SendStatus::ok);
      settle();
      EXPECT_EQ(stack->counters()[Counter::udp_out_datagrams], 1u);
      EXPECT_GE(stack->counters()[Counter::tx_packets], 2u) << "request and datagram";
      socket.close();
    }
    EXPECT_EQ(peer.stack->counters()[Counter::udp_no_ports], 4u) << "all four arrived";

    const auto replies = server.stacks[0]->counters()[Counter::arp_replies_out];
    EXPECT_EQ(peer.stack->counters()[Counter::arp_replies_in], replies);
    for (unsigned i = 1; i < 4; ++i) EXPECT_EQ(server.stacks[i]->counters()[Counter::arp_replies_out], 0u);
    EXPECT_EQ(server.counters().copies_lost, 0u);
  });
}

// Three cores open connections to one address and port; the card knows nothing of cores, and still no answer reaches a
// core that did not ask.
TEST(CoresOverRings, ActiveOpensGetTheirAnswers) {
  test::expect_in_child([] {
    constexpr unsigned count = 3;
    constexpr std::size_t each = 150;
    const Eal eal(eal_config());
    Wire wire{RingPort("s", count), RingPort("p", 1)};
    Cores cores(end_config(wire.server.name, "10.0.0.1/24"), eal, count, SteeringMode::software);
    Peer peer(end_config(wire.peer.name, "10.0.0.2/24"), eal);
    test::EchoApp app;
    app.open(*peer.stack);

    const Endpoint remote{IpAddress::v4(10, 0, 0, 2), 7};
    std::vector<Stream> streams(count * each);
    const auto turn = [&] {
      cores.turn();
      wire.carry();
      peer.loop->turn(peer.clock.now());
      wire.carry();
    };
    for (int i = 0; i < 20; ++i) turn();
    for (std::size_t i = 0; i < streams.size(); ++i) {
      streams[i].goal = 2000;
      streams[i].salt = i;
      const auto conn = cores.stacks[i % count]->tcp().connect({.remote = remote}, streams[i]);
      ASSERT_TRUE(conn.has_value());
      EXPECT_EQ(cores.steering.owner_of_flow(IpProtocol::tcp, conn->local(), remote), i % count);
      for (int j = 0; j < 4; ++j) turn();
    }
    const auto all_received = [&] {
      return std::all_of(streams.begin(), streams.end(), [](const Stream& s) { return s.received == s.goal; });
    };
    const TimePoint deadline = peer.clock.now() + Duration::from_s(30);
    while (!all_received() && peer.clock.now() < deadline) turn();
    EXPECT_TRUE(all_received());
    for (const Stream& stream : streams) EXPECT_FALSE(stream.wrong);
    for (const auto& stack : cores.stacks) {
      EXPECT_EQ(stack->counters()[Counter::tcp_attempt_fails], 0u);
      EXPECT_EQ(stack->counters()[Counter::tcp_out_rsts], 0u);
    }
    EXPECT_GT(cores.counters().handed_over, 0u);

    // A port of one's own choice must lead here too.
    std::uint16_t elsewhere = 40000;
    while (cores.steering.owner_of_flow(IpProtocol::tcp, {server_ip, elsewhere}, remote) == 0) ++elsewhere;
    Stream never;
    const auto refused = cores.stacks[0]->tcp().connect({.remote = remote, .local = {{}, elsewhere}}, never);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().code, ErrorCode::address_unavailable);
    EXPECT_NE(refused.error().text.find("reach another core"), std::string::npos) << refused.error().text;
    for (auto& stack : cores.stacks) stack->abort_all(cores.clock.now());
    for (int i = 0; i < 100; ++i) turn();
  });
}

// What a core that does not poll leaves in its ring is bounded; the rest is dropped and counted.
TEST(CoresOverRings, AFullRingDropsAndCounts) {
  test::expect_in_child([] {
    const Eal eal(eal_config());
    Wire wire{RingPort("s", 2), RingPort("p", 1)};
    Cores server(end_config(wire.server.name, "10.0.0.1/24"), eal, 2, SteeringMode::software);
    PacketPool pool = server.pools[0]->pool();
    std::vector<std::uint8_t> frame(60);
    frame[12] = 8;
    frame[14] = 0x45;
    std::uint8_t& last = frame[14 + 19];  // of the destination address
    while (server.steering.owner_of_frame(frame).core != 1) ++last;
    for (int i = 0; i < 2000; ++i) {
      rte_mbuf* packet = pool.copy_of(frame).release();
      ASSERT_EQ(rte_ring_enqueue(wire.server.to_port[0], packet), 0);
    }
    for (int i = 0; i < 200; ++i) server.loops[0]->turn(server.clock.now());
    EXPECT_EQ(server.counters().handed_over, Handover::ring_size - 1);
    EXPECT_EQ(server.counters().handover_full, 2000 - (Handover::ring_size - 1));
    EXPECT_EQ(server.loops[0]->ports()[0].has_waiting(), false);
    EXPECT_EQ(server.loops[1]->ports()[0].has_waiting(), true);
    server.handover.reset();  // frees what waits
    server.loops.clear();
    EXPECT_EQ(pool.in_use(), 1u) << "the announcement, in the ring";
  });
}

}  // namespace
}  // namespace pollux
