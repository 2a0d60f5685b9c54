// Tens of thousands of active opens to one destination address and port, from several cores and local addresses: every answer
// reaches the core that opened, as a card would bring it, and no two connections share their ports.
#include <gtest/gtest.h>

#include <array>
#include <memory>
#include <vector>

#include "pollux/drivers_glue/steered_ports.h"
#include "pollux/drivers_glue/steering.h"
#include "pollux/stack/stack.h"
#include "support/frame.h"
#include "support/heap_pool.h"

namespace pollux {
namespace {

constexpr unsigned cores = 4;
constexpr std::uint32_t opens_per_core = 15'000;
constexpr std::uint16_t port_first = 32768, port_last = 60999;
constexpr MacAddress our_mac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress peer_mac{{2, 0, 0, 0, 0, 2}};
constexpr IpAddress peer_ip = IpAddress::v4(10, 0, 0, 200);
constexpr std::array our_ips = {IpAddress::v4(10, 0, 0, 1), IpAddress::v4(10, 0, 0, 2), IpAddress::v4(10, 0, 0, 3)};

struct Opener final : TcpHandler {
  void on_connected(TcpConn) noexcept override { ++connected; }
  void on_data(TcpConn, Bytes) noexcept override {}
  void on_closed(TcpConn, CloseReason) noexcept override { ++closed; }
  std::uint32_t connected = 0;
  std::uint32_t closed = 0;
};

/// The cores of one machine, and a peer that accepts whatever comes.
class ManyOpens : public ::testing::Test {
 protected:
  struct Core {
    std::unique_ptr<SteeredPorts> ports;
    std::unique_ptr<Stack> stack;
    Opener opener;
  };

  ManyOpens() {
    for (std::uint16_t i = 0; i < cores; ++i) {
      Core& core = core_.emplace_back();
      core.ports = std::make_unique<SteeredPorts>(steering_, i, port_first, port_last);
      StackOptions options;
      options.tcp.connections_max = 32'768;
      options.tcp.ephemeral_port_first = port_first;
      options.tcp.ephemeral_port_last = port_last;
      options.local_ports = core.ports.get();
      options.seed = i + 1;
      core.stack = std::move(Stack::create(options, pool_.pool(), now_).value());
      const InterfaceConfig interface{.name = "port",
                                      .mac = our_mac,
                                      .address = {our_ips[0], 24},
                                      .primary = i == 0,
                                      .more_v4_addresses = {{our_ips[1], 24}, {our_ips[2], 24}}};
      EXPECT_TRUE(core.stack->add_interface(interface, now_).has_value());
      EXPECT_TRUE(core.stack->ip().add_neighbor(peer_ip, peer_mac).has_value());
    }
  }
  ~ManyOpens() override {
    for (Core& core : core_) {
      core.stack->abort_all(now_);
      do core.stack->flush(now_);
      while (drop_sent(*core.stack));
    }
  }
  static bool drop_sent(Stack& stack) {
    TxBatch& tx = stack.tx(0);
    const auto count = tx.size();
    for (rte_mbuf* m : tx.pending()) Packet{m};
    tx.consume(count);
    return count != 0;
  }

  Result<TcpConn> open(Core& core, const IpAddress& from) {
    return core.stack->tcp().connect({.remote = {peer_ip, 80}, .local = {from, 0}}, core.opener);
  }

  /// The peer takes what the core has sent and answers each SYN; a card brings the answer to the core that owns it.
  void answer(Core& core) {
    for (;;) {
      core.stack->flush(now_);
      TxBatch& tx = core.stack->tx(0);
      if (tx.size() == 0) return;
      std::vector<test::Frame> frames;
      for (rte_mbuf* m : tx.pending()) {
        const Packet packet(m);
        packet.copy_out(0, frames.emplace_back(packet.size()));
      }
      tx.consume(tx.size());
      for (const test::Frame& frame : frames) answer(test::decode(frame));
    }
  }
  void answer(const test::Decoded& sent) {
    if (sent.kind != test::Decoded::Kind::tcp || !sent.has(test::SYN)) return;
    ++syns_;
    const std::size_t host = sent.ids.source == our_ips[0] ? 0 : sent.ids.source == our_ips[1] ? 1 : 2;
    ASSERT_FALSE(used_[host][sent.source_port]) << "the same four numbers twice";
    used_[host][sent.source_port] = true;
    const test::Frame frame = test::tcp_frame({peer_mac, our_mac, peer_ip, sent.ids.source},
                                              {.source_port = 80,
                                               .destination_port = sent.source_port,
                                               .seq = 1000,
                                               .ack = sent.seq + 1,
                                               .flags = test::SYN | test::ACK},
                                              {});
    const FrameOwner owner = steering_.owner_of_frame(frame);
    ASSERT_EQ(owner.kind, FrameOwner::Kind::flow);
    rte_mbuf* const m = pool_.pool().copy_of(frame).release();
    core_[owner.core].stack->input(0, {&m, 1}, now_);
  }

  TimePoint now_ = TimePoint::from_ns(1'000'000'000);
  test::HeapPool pool_;
  Steering steering_{cores};
  std::vector<Core> core_;
  std::uint32_t syns_ = 0;
  std::array<std::vector<bool>, our_ips.size()> used_{std::vector<bool>(65536), std::vector<bool>(65536),
                                                      std::vector<bool>(65536)};
};

TEST_F(ManyOpens, SixtyThousandToOneDestinationEachOnTheCoreThatOpened) {
  for (std::uint32_t i = 0; i < opens_per_core; ++i)
    for (Core& core : core_) {
      const auto conn = open(core, our_ips[i % our_ips.size()]);
      ASSERT_TRUE(conn.has_value()) << conn.error().text << " after " << i;
      answer(core);
      ASSERT_FALSE(HasFatalFailure());
    }
  EXPECT_EQ(syns_, cores * opens_per_core);
  for (Core& core : core_) {
    EXPECT_EQ(core.opener.connected, opens_per_core);
    EXPECT_EQ(core.opener.closed, 0u);
    EXPECT_EQ(core.stack->connection_count(), opens_per_core);
  }
}

/// Every port of the range that leads here is given out, no other, and then the answer is an Error that says so.
TEST_F(ManyOpens, ACoreGivesOutEveryPortThatLeadsToItAndThenSaysSo) {
  Core& core = core_[1];
  std::uint32_t mine = 0;
  for (std::uint32_t port = port_first; port <= port_last; ++port)
    mine += steering_.owner_of_flow(IpProtocol::tcp, {our_ips[0], static_cast<std::uint16_t>(port)}, {peer_ip, 80}) == 1;
  for (std::uint32_t i = 0; i < mine; ++i) {
    ASSERT_TRUE(open(core, our_ips[0]).has_value()) << i;
    answer(core);
    ASSERT_FALSE(HasFatalFailure());
  }
  const auto none = open(core, our_ips[0]);
  ASSERT_FALSE(none.has_value());
  EXPECT_NE(none.error().text.find("port"), std::string::npos) << none.error().text;
  EXPECT_TRUE(open(core, our_ips[1]).has_value()) << "another local address is a pool of its own";
}

}  // namespace
}  // namespace pollux
