// CoreLoop over ports that the test plays: budget, back-pressure, ticks, and when it may sleep.
#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <vector>

#include "pollux/drivers_glue/core_loop.h"
#include "support/frame.h"
#include "support/heap_pool.h"

namespace pollux {
namespace {

using test::Frame;

constexpr MacAddress our_mac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress peer_mac{{2, 0, 0, 0, 0, 2}};
constexpr IpAddress peer_ip = IpAddress::v4(192, 0, 2, 2);
constexpr TimePoint start = TimePoint::from_ns(1'000'000'000);

/// The wire's end of a port; the loop holds copies of a handle on it.
struct Wire {
  std::deque<Packet> to_stack;
  std::vector<Packet> from_stack;
  std::uint16_t tx_room = 65535;   ///< packets that the device takes before it is full
  std::uint16_t tx_burst = 65535;  ///< packets that it takes at a time
  std::uint16_t largest_rx = 0;    ///< that was asked for
  int reaped = 0;                  ///< times that the driver was to free what it has sent
};

struct DeafHandler final : TcpHandler {
  void on_data(TcpConn, Bytes) noexcept override {}
};

struct FakePort {
  Wire* wire;

  std::uint16_t rx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    wire->largest_rx = std::max(wire->largest_rx, n);
    std::uint16_t taken = 0;
    for (; taken < n && !wire->to_stack.empty(); ++taken) {
      packets[taken] = wire->to_stack.front().release();
      wire->to_stack.pop_front();
    }
    return taken;
  }
  std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    const auto taken = std::min({n, wire->tx_room, wire->tx_burst});
    for (std::uint16_t i = 0; i < taken; ++i) wire->from_stack.emplace_back(packets[i]);
    wire->tx_room = static_cast<std::uint16_t>(wire->tx_room - taken);
    return taken;
  }
  void reap() noexcept {
    ++wire->reaped;
    wire->from_stack.clear();
  }
};
static_assert(BurstPort<FakePort>);

class CoreLoopTest : public testing::Test {
 protected:
  explicit CoreLoopTest(std::size_t ports = 1) : wires(ports) {
    StackOptions options;
    options.tcp.connections_max = 16;
    options.tcp.time_wait_max = 16;
    stack = std::move(Stack::create(options, heap.pool(), start).value());
    for (std::size_t i = 0; i < ports; ++i) {
      const auto subnet = static_cast<std::uint8_t>(2 + i);
      const auto id = stack->add_interface(
          {.name = "wire", .mac = our_mac, .address = {IpAddress::v4(192, 0, subnet, 1), 24}, .offloads = {}},
          start);
      EXPECT_TRUE(id.has_value());
    }
    make_loop({.policy = IdlePolicy::sleep, .polls = 3});
    loop->turn(start);  // the gratuitous ARP leaves
    for (auto& wire : wires) wire.from_stack.clear();
  }
  void make_loop(const IdleOptions& idle) {
    std::vector<FakePort> ports;
    for (auto& wire : wires) ports.push_back({&wire});
    loop = std::make_unique<CoreLoop<FakePort>>(*stack, ports, idle);
  }
  /// An echo request, which the stack answers at once; `id` comes back in the reply.
  void receive_echo(std::uint16_t id, std::size_t wire = 0) {
    const auto subnet = static_cast<std::uint8_t>(2 + wire);
    const Frame frame = test::icmp_frame({.source_mac = peer_mac,
                                          .destination_mac = our_mac,
                                          .source = IpAddress::v4(192, 0, subnet, 2),
                                          .destination = IpAddress::v4(192, 0, subnet, 1)},
                                         8, 0, std::uint32_t{id} << 16, Frame(16, 0x5a));
    wires[wire].to_stack.push_back(heap.pool().copy_of(frame));
  }
  /// From a neighbour that the stack has to ask for.
  void receive_echo_from_stranger() {
    const Frame frame = test::icmp_frame({.source_mac = peer_mac,
                                          .destination_mac = our_mac,
                                          .source = IpAddress::v4(192, 0, 2, 9),
                                          .destination = IpAddress::v4(192, 0, 2, 1)},
                                         8, 0, 0, Frame(16, 0x5a));
    wires[0].to_stack.push_back(heap.pool().copy_of(frame));
  }
  std::size_t arp_requests() const {
    std::size_t n = 0;
    for (const Packet& packet : wires[0].from_stack)
      n += test::decode(packet.front()).kind == test::Decoded::Kind::arp;
    return n;
  }
  /// Tells the stack the peer's MAC address, so that replies leave in the turn that makes them.
  void introduce_peer(std::size_t wire = 0) {
    const auto subnet = static_cast<std::uint8_t>(2 + wire);
    const Frame frame = test::arp_frame({.source_mac = peer_mac,
                                         .destination_mac = our_mac,
                                         .source = IpAddress::v4(192, 0, subnet, 2),
                                         .destination = IpAddress::v4(192, 0, subnet, 1)},
                                        test::ArpOp::request);
    wires[wire].to_stack.push_back(heap.pool().copy_of(frame));
    loop->turn(start);
    receive_echo(0, wire);  // the first packet to a neighbour makes the stack ask it once more
    settle(start);
  }
  /// Lets announcements and replies out of the way, until nothing is due at `now`.
  void settle(TimePoint now) {
    for (int i = 0; i < 10; ++i) loop->turn(now);
    for (auto& wire : wires) wire.from_stack.clear();
  }
  std::vector<std::uint16_t> echo_ids(std::size_t wire = 0) const {
    std::vector<std::uint16_t> ids;
    for (const Packet& packet : wires[wire].from_stack) {
      const auto decoded = test::decode(packet.front());
      if (decoded.kind == test::Decoded::Kind::icmp)
        ids.push_back(static_cast<std::uint16_t>(decoded.icmp_rest >> 16));
    }
    return ids;
  }
  static std::vector<std::uint16_t> range(std::uint16_t from, std::uint16_t to) {
    std::vector<std::uint16_t> all;
    for (std::uint16_t i = from; i < to; ++i) all.push_back(i);
    return all;
  }

  test::HeapPool heap;
  std::vector<Wire> wires;
  std::unique_ptr<Stack> stack;
  std::unique_ptr<CoreLoop<FakePort>> loop;
};

struct Sending final : ExternalSend {
  int completed = 0;
  void on_complete() noexcept override { ++completed; }
};

// A driver that frees what it has sent only when it sends more would keep the application's memory for ever.
TEST_F(CoreLoopTest, AnIdleDriverGivesTheApplicationsMemoryBack) {
  introduce_peer();
  const std::vector<std::uint8_t> octets(1000, 'x');
  const ExternalMemory memory(octets);
  Sending sending;
  EXPECT_EQ(stack->raw().send({.remote = peer_ip, .protocol = 253}, stack->external(memory, octets, sending)),
            SendStatus::ok);
  loop->turn(start);
  EXPECT_EQ(wires[0].reaped, 0) << "a turn with work";
  EXPECT_EQ(sending.completed, 0);
  EXPECT_LE(stack->next_deadline(), start + Duration::from_ms(1)) << "no packet will wake the loop";
  loop->turn(start);
  EXPECT_EQ(wires[0].reaped, 1);
  loop->turn(start);
  EXPECT_EQ(sending.completed, 1);
  const int reaped = wires[0].reaped;
  for (int i = 0; i < 10; ++i) loop->turn(start);
  EXPECT_EQ(wires[0].reaped, reaped) << "nobody waits";
}

class TwoPortLoopTest : public CoreLoopTest {
 protected:
  TwoPortLoopTest() : CoreLoopTest(2) {}
};

TEST_F(CoreLoopTest, TakesAtMostOneBurstPerTurn) {
  introduce_peer();
  for (std::uint16_t i = 0; i < 100; ++i) receive_echo(i);
  const auto full_before = loop->counters().rx_full;
  EXPECT_TRUE(loop->turn(start));
  EXPECT_EQ(wires[0].to_stack.size(), 68u);
  EXPECT_EQ(echo_ids(), range(0, 32));
  EXPECT_EQ(wires[0].largest_rx, 32);
  while (!wires[0].to_stack.empty()) loop->turn(start);
  EXPECT_EQ(echo_ids(), range(0, 100));
  EXPECT_EQ(loop->counters().rx_full - full_before, 3u) << "100 = 3 * 32 + 4";
}

TEST_F(CoreLoopTest, FramesAndTheirOctetsAreCountedWhateverBecomesOfThem) {
  introduce_peer();
  const auto before = stack->counters();
  for (std::uint16_t i = 0; i < 3; ++i) receive_echo(i);
  wires[0].to_stack.push_back(heap.pool().copy_of(Frame(13, 0)));  // too short for Ethernet
  std::uint64_t octets = 0;
  for (const Packet& frame : wires[0].to_stack) octets += frame.size();
  loop->turn(start);
  EXPECT_EQ(stack->counters()[Counter::rx_packets] - before[Counter::rx_packets], 4u);
  EXPECT_EQ(stack->counters()[Counter::rx_bytes] - before[Counter::rx_bytes], octets);
  EXPECT_EQ(stack->counters()[DropReason::eth_truncated] - before[DropReason::eth_truncated], 1u);
}

TEST_F(TwoPortLoopTest, AFloodOnOnePortDoesNotStarveTheOther) {
  introduce_peer(0);
  introduce_peer(1);
  for (std::uint16_t i = 0; i < 1000; ++i) receive_echo(i, 0);
  receive_echo(7, 1);
  loop->turn(start);
  EXPECT_EQ(echo_ids(1), (std::vector<std::uint16_t>{7}));
}

TEST_F(CoreLoopTest, HearsWhatWaitsBeforeTimersExpire) {
  introduce_peer();
  receive_echo_from_stranger();
  loop->turn(start);
  ASSERT_EQ(arp_requests(), 1u);
  const TimePoint late = start + Duration::from_ms(1010);  // the request is due again
  for (std::uint16_t i = 0; i < 40; ++i) receive_echo(i);
  loop->turn(late);
  EXPECT_EQ(arp_requests(), 1u) << "the answer could be among the packets behind the first burst";
  loop->turn(late);
  EXPECT_GT(arp_requests(), 1u);
}

TEST_F(CoreLoopTest, AFloodDoesNotStopTimers) {
  introduce_peer();
  receive_echo_from_stranger();
  loop->turn(start);
  const TimePoint late = start + Duration::from_ms(1010);
  std::uint32_t turns = 0;
  for (; arp_requests() < 2 && turns < 1000; ++turns) {
    for (std::uint16_t i = 0; i < 32; ++i) receive_echo(i);
    loop->turn(late);
  }
  EXPECT_EQ(turns, CoreLoop<FakePort>::turns_without_timers_max);
}

TEST_F(CoreLoopTest, KeepsWhatAFullDeviceRefusesInOrder) {
  introduce_peer();
  for (std::uint16_t i = 0; i < 20; ++i) receive_echo(i);
  wires[0].tx_room = 5;
  loop->turn(start);
  EXPECT_EQ(echo_ids(), range(0, 5));
  EXPECT_TRUE(loop->tx_waiting());
  EXPECT_EQ(loop->counters().tx_refused, 1u);
  wires[0].tx_room = 3;
  EXPECT_TRUE(loop->turn(start)) << "sending is work";
  EXPECT_EQ(echo_ids(), range(0, 8));
  wires[0].tx_room = 100;
  loop->turn(start);
  EXPECT_EQ(echo_ids(), range(0, 20));
  EXPECT_FALSE(loop->tx_waiting());
  EXPECT_EQ(stack->counters().drops(), 0u);
}

TEST_F(CoreLoopTest, AsksAgainADeviceThatTakesAFewAtATime) {
  introduce_peer();
  for (std::uint16_t i = 0; i < 20; ++i) receive_echo(i);
  wires[0].tx_burst = 4;
  loop->turn(start);
  EXPECT_EQ(echo_ids(), range(0, 20)) << "in one turn";
  EXPECT_EQ(loop->counters().tx_refused, 0u);
}

TEST_F(CoreLoopTest, DropsAndCountsWhenTheDeviceStandsStill) {
  introduce_peer();
  wires[0].tx_room = 0;
  for (std::uint16_t i = 0; i < 600; ++i) receive_echo(i);
  while (!wires[0].to_stack.empty()) loop->turn(start);
  EXPECT_EQ(stack->tx(0).size(), TxBatch::capacity);
  EXPECT_EQ(stack->counters()[DropReason::tx_batch_full], 600 - TxBatch::capacity);
  wires[0].tx_room = 65535;
  loop->turn(start);
  EXPECT_EQ(echo_ids(), range(0, TxBatch::capacity));
}

TEST_F(CoreLoopTest, CountsTurnsAndIdleTurns) {
  introduce_peer();
  const auto before = loop->counters();
  EXPECT_FALSE(loop->turn(start));
  receive_echo(1);
  EXPECT_TRUE(loop->turn(start));
  EXPECT_EQ(loop->counters().turns - before.turns, 2u);
  EXPECT_EQ(loop->counters().idle_turns - before.idle_turns, 1u);
}

TEST_F(CoreLoopTest, TicksOncePerPeriodAndDoesNotMakeUpForMissedOnes) {
  std::vector<std::int64_t> at_ms;
  loop->add_tick(
      Duration::from_ms(10),
      [&](Stack& s, TimePoint now) {
        EXPECT_EQ(&s, stack.get());
        at_ms.push_back((now - start).ms());
      },
      start);
  for (const int ms : {0, 5, 9, 10, 11, 19, 20, 21, 75, 76, 80, 85, 90})
    loop->run_ticks(start + Duration::from_ms(ms));
  EXPECT_EQ(at_ms, (std::vector<std::int64_t>{10, 20, 75, 76, 85}))
      << "75 comes late: once, then from there on";
}

TEST_F(CoreLoopTest, SleepsOnlyAfterEnoughEmptyTurnsAndNotBeyondItsBound) {
  const TimePoint later = start + Duration::from_s(100);
  settle(later);
  make_loop({.policy = IdlePolicy::sleep, .polls = 3, .sleep_max = Duration::from_us(100)});
  loop->turn(later);
  loop->turn(later);
  EXPECT_EQ(loop->idle_step(later).kind, IdleStep::Kind::pause);
  loop->turn(later);
  const IdleStep step = loop->idle_step(later);
  EXPECT_EQ(step.kind, IdleStep::Kind::sleep);
  EXPECT_EQ(step.sleep, Duration::from_us(100));
  EXPECT_EQ(loop->counters().sleeps, 1u);
  receive_echo(1);
  loop->turn(later);
  EXPECT_EQ(loop->idle_step(later).kind, IdleStep::Kind::spin) << "there was work: look again at once";
}

TEST_F(CoreLoopTest, AdaptiveSpinsThenPausesThenSleepsLongerAndLonger) {
  const TimePoint later = start + Duration::from_s(100);
  settle(later);
  constexpr std::uint32_t polls = 100;
  make_loop({.policy = IdlePolicy::adaptive, .polls = polls, .sleep_max = Duration::from_us(70)});
  const std::uint32_t spin = CoreLoop<FakePort>::spin_turns;
  for (std::uint32_t i = 1; i <= polls; ++i) {
    loop->turn(later);
    EXPECT_EQ(loop->idle_step(later).kind, i < spin    ? IdleStep::Kind::spin
                                           : i < polls ? IdleStep::Kind::pause
                                                       : IdleStep::Kind::sleep)
        << i;
  }
  for (const int us : {20, 40, 70, 70}) EXPECT_EQ(loop->idle_step(later).sleep, Duration::from_us(us));
  receive_echo(1);
  loop->turn(later);
  for (std::uint32_t i = 0; i < polls; ++i) loop->turn(later);
  EXPECT_EQ(loop->idle_step(later).sleep, Duration::from_us(10)) << "from the beginning after a packet";
}

TEST_F(CoreLoopTest, AdaptiveSleepsLongWherePacketsEndTheSleep) {
  const TimePoint later = start + Duration::from_s(100);
  settle(later);
  make_loop({.policy = IdlePolicy::adaptive, .polls = 1, .sleep_max = Duration::from_us(70), .woken = true});
  loop->turn(later);
  EXPECT_EQ(loop->idle_step(later).sleep, CoreLoop<FakePort>::woken_sleep_max);
  loop->add_tick(Duration::from_ms(10), [](Stack&, TimePoint) {}, later);
  EXPECT_EQ(loop->idle_step(later).sleep, Duration::from_ms(10));
}

TEST_F(CoreLoopTest, ABudgetThatRunsOutIsCounted) {
  introduce_peer();
  const auto before = loop->counters().time_squeeze;
  for (std::uint16_t i = 0; i < 70; ++i) receive_echo(i);
  for (int i = 0; i < 10; ++i) loop->turn(start);
  EXPECT_EQ(loop->counters().time_squeeze - before, 2u) << "70 = 2 * 32 + 6";
}

TEST_F(CoreLoopTest, DoesNotSleepPastATick) {
  make_loop({.policy = IdlePolicy::sleep, .polls = 1, .sleep_max = Duration::from_ms(100)});
  loop->add_tick(Duration::from_us(30), [](Stack&, TimePoint) {}, start);
  loop->turn(start);
  EXPECT_EQ(loop->idle_step(start).sleep, Duration::from_us(30));
  EXPECT_EQ(loop->idle_step(start + Duration::from_us(29)).kind, IdleStep::Kind::pause)
      << "not worth a sleep";
}

TEST_F(CoreLoopTest, DoesNotSleepPastAProtocolTimer) {
  // An ARP request that goes unanswered is repeated after arp_retry.
  make_loop({.policy = IdlePolicy::sleep, .polls = 1, .sleep_max = Duration::from_s(1000)});
  DeafHandler handler;
  ASSERT_TRUE(stack->tcp().connect({.remote = {peer_ip, 7}}, handler).has_value());
  TimePoint now = start;
  loop->turn(now);
  loop->turn(now);
  const IdleStep step = loop->idle_step(now);
  EXPECT_EQ(step.kind, IdleStep::Kind::sleep);
  EXPECT_LE(step.sleep, Duration::from_s(1));
  EXPECT_EQ(now + step.sleep, stack->next_deadline());
}

TEST_F(CoreLoopTest, DoesNotSleepWhilePacketsWaitForTheDevice) {
  make_loop({.policy = IdlePolicy::sleep, .polls = 1});
  introduce_peer();
  receive_echo(1);
  wires[0].tx_room = 0;
  loop->turn(start);
  loop->turn(start);
  loop->turn(start);
  EXPECT_EQ(loop->idle_step(start).kind, IdleStep::Kind::pause);
}

TEST_F(CoreLoopTest, SpinAndPauseNeverSleep) {
  for (const auto& [policy, kind] : {std::pair{IdlePolicy::spin, IdleStep::Kind::spin},
                                     std::pair{IdlePolicy::pause, IdleStep::Kind::pause}}) {
    make_loop({.policy = policy, .polls = 1});
    for (int i = 0; i < 10; ++i) loop->turn(start);
    EXPECT_EQ(loop->idle_step(start).kind, kind);
    EXPECT_EQ(loop->counters().sleeps, 0u);
  }
}

}  // namespace
}  // namespace pollux
