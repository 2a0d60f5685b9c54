// The budget of what applications keep: an application that hoards small deliveries does not empty the pool.
#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/packet/compactor.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

std::string text_of(std::uint32_t from, std::uint32_t size) {
  std::string text;
  for (std::uint32_t i = 0; i < size; ++i) text += static_cast<char>('a' + (from + i) * 7 % 26);
  return text;
}

std::span<const std::uint8_t> octets_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

TEST(Compactor, PutsManySmallPayloadsIntoFewMbufs) {
  HeapPool heap(1000);
  PacketPool pool = heap.pool();
  {
    Compactor compactor;
    std::vector<Bytes> copies;
    std::vector<std::string> texts;
    for (std::uint32_t i = 0; i < 500; ++i) {
      texts.push_back(text_of(i, 1 + i % 100));
      const Packet payload = pool.copy_of(octets_of(texts.back()));
      copies.emplace_back(compactor.copy_of(pool, payload));
      EXPECT_TRUE(copies.back().is_contiguous());
      EXPECT_FALSE(Packet::is_writable(copies.back().packet().mbuf()));
    }
    EXPECT_EQ(pool.clones_in_use(), 500u);
    EXPECT_LE(pool.in_use(), 13u);  // 25 KB in mbufs of 2,176 octets
    for (std::size_t i = 0; i < copies.size(); ++i) EXPECT_EQ(copies[i].to_string(), texts[i]) << i;
    // An mbuf goes with its last piece.
    copies.clear();
    EXPECT_EQ(pool.in_use(), 1u);
  }
  EXPECT_EQ(heap.in_use(), 0u);
}

TEST(Compactor, CutsWhatNoMbufHolds) {
  HeapPool heap(1000, 300);
  PacketPool pool = heap.pool();
  Compactor compactor;
  for (const std::uint32_t size : {1u, 427u, 428u, 429u, 1000u, 5000u}) {
    const std::string text = text_of(size, size);
    const Packet payload = pool.copy_of(octets_of(text));
    EXPECT_EQ(Bytes(compactor.copy_of(pool, payload)).to_string(), text) << size;
  }
}

TEST(Compactor, OutOfMbufsNothingIsLeftBehind) {
  HeapPool heap(1000);
  PacketPool pool = heap.pool();
  Compactor compactor;
  const Packet payload = pool.copy_of(octets_of(text_of(0, 5000)));
  const std::uint32_t before = heap.in_use();
  for (const std::uint32_t limit : {0u, 1u, 4u, 5u}) {
    heap.set_limit(limit);
    EXPECT_FALSE(compactor.copy_of(pool, payload)) << limit;
    EXPECT_LE(heap.in_use(), before + 1);
  }
  heap.set_limit(1000);
  EXPECT_TRUE(compactor.copy_of(pool, payload));
}

TcpOptions keeping(std::uint32_t packets) {
  TcpOptions options = plain_tcp();
  options.kept_packets_max = packets;
  return options;
}

TEST(KeptBudget, CountsTheMbufsOfWhatTheApplicationHolds) {
  Conversation c(keeping(100));
  c.app.keep = true;
  c.established();
  const auto kept = [&] { return c.host.tcp().usage().kept.used; };
  EXPECT_EQ(c.host.tcp().usage().kept.max, 100u);
  for (int i = 0; i < 6; ++i) c.peer.sends(ACK, {.len = 100});
  EXPECT_EQ(kept(), 6u);
  c.host.sync();
  c.app.kept[0].remove_prefix(10);
  EXPECT_EQ(kept(), 6u);
  Bytes front = c.app.kept[0].split_front(c.host.stack().pool(), 10);
  EXPECT_EQ(kept(), 7u) << "two pieces of one mbuf";
  front.reset();
  c.app.kept[0].reset();
  EXPECT_EQ(kept(), 5u);
  EXPECT_TRUE(c.app.conn.send(std::move(c.app.kept[1])).status == SendStatus::ok);
  EXPECT_EQ(kept(), 4u) << "sent back";
  static_cast<void>(c.app.kept[2].take_packet());
  EXPECT_EQ(kept(), 3u);
  c.app.conn.abort();
  EXPECT_EQ(kept(), 3u) << "outlives the connection";
  c.app.kept.clear();
  EXPECT_EQ(kept(), 0u);
  c.runs();
  c.peer.take();
}

TEST(KeptBudget, ADefaultIsAQuarterOfThePoolAndItMayChangeWhileItRuns) {
  Conversation c;
  EXPECT_EQ(c.host.tcp().usage().kept.max, c.host.stack().pool().size() / 4);
  TcpOptions options = keeping(3);
  ASSERT_TRUE(c.host.tcp().prepare(options));
  c.host.tcp().change(options);
  EXPECT_EQ(c.host.tcp().usage().kept.max, 3u);
}

TEST(KeptBudget, BeyondItSmallDeliveriesAreCopiedAndLargeOnesAreNot) {
  Conversation c(keeping(4));
  c.app.keep = true;
  c.established();
  for (int i = 0; i < 4; ++i) c.peer.sends(ACK, {.data = text_of(0, 64)});
  EXPECT_EQ(c.count(Counter::tcp_kept_copied), 0u);
  const std::uint32_t before = c.host.stack().pool().in_use();
  for (std::uint32_t i = 0; i < 20; ++i) c.peer.sends(ACK, {.data = text_of(i, 64)});
  EXPECT_EQ(c.count(Counter::tcp_kept_copied), 20u);
  EXPECT_LE(c.host.stack().pool().in_use(), before + 1);
  c.peer.sends(ACK, {.len = 1000});
  EXPECT_EQ(c.count(Counter::tcp_kept_copied), 20u) << "fills half of its mbuf";
  for (std::uint32_t i = 0; i < 20; ++i) EXPECT_EQ(c.app.kept[4 + i].to_string(), text_of(i, 64)) << i;
  // What was copied is as good as what was not: it can be sent back.
  c.peer.take();
  c.host.sync();
  EXPECT_EQ(c.app.conn.send(std::move(c.app.kept[5])).status, SendStatus::ok);
  c.runs();
  c.peer.expects(ACK, {.data = text_of(1, 64)});
  c.app.kept.clear();
  c.runs();
  EXPECT_EQ(c.host.tcp().usage().kept.used, 0u);
  // Within the budget again: as it came.
  c.peer.sends(ACK, {.len = 64});
  EXPECT_EQ(c.count(Counter::tcp_kept_copied), 20u);
}

TEST(KeptBudget, AnEchoNeverReachesIt) {
  Conversation c(keeping(1));
  c.app.echo = true;
  c.established();
  for (int i = 0; i < 50; ++i) c.peer.sends(ACK, {.len = 64});
  EXPECT_EQ(c.count(Counter::tcp_kept_copied), 0u);
  EXPECT_EQ(c.host.tcp().usage().kept.used, 0u);
  c.peer.take();
}

// 4,096 mbufs, and 50 connections of an application that keeps everything: 81 segments from each would take all but 46. An echo
// beside them goes on all the while.
TEST(KeptBudget, AHoarderDoesNotStarveTheRing) {
  World world{one_seed()};
  HostOptions small;
  small.pool_packets = 4096;
  small.stack.tcp = plain_tcp();
  SimHost& server = world.add_host(small);
  SimHost& client = world.add_host({});
  TestApp hoarder, echo, senders, pinger;
  hoarder.keep = true;
  echo.echo = true;
  ASSERT_TRUE(server.tcp().listen({.port = 7}, hoarder));
  ASSERT_TRUE(server.tcp().listen({.port = 8}, echo));
  constexpr int hoarding = 50, rounds = 81;
  constexpr std::uint32_t message = 64;
  std::vector<TcpConn> conns;
  client.sync();
  for (int i = 0; i < hoarding; ++i) conns.push_back(*client.tcp().connect({.remote = {server.ip(), 7}}, senders));
  TcpConn ping = *client.tcp().connect({.remote = {server.ip(), 8}}, pinger);
  world.run_for(1_s);
  std::string echoed;
  for (int round = 0; round < rounds; ++round) {
    client.sync();
    for (TcpConn conn : conns) EXPECT_EQ(conn.send(text_of(static_cast<std::uint32_t>(round), message)).accepted, message);
    const std::string text = text_of(static_cast<std::uint32_t>(round), 64);
    EXPECT_EQ(ping.send(text).accepted, 64u);
    echoed += text;
    world.run_for(5_ms);
    ASSERT_EQ(pinger.received, echoed) << "round " << round << ": the echo waits";
  }
  ASSERT_EQ(hoarder.kept.size(), std::size_t{hoarding * rounds});
  EXPECT_GT(server.counters()[Counter::tcp_kept_copied], std::uint64_t{3000});
  EXPECT_EQ(server.counters()[DropReason::tcp_queue_limit], 0u);
  EXPECT_EQ(server.counters()[Counter::tcp_pool_pressure], 0u);
  EXPECT_EQ(server.frames_missed(), 0u);
  EXPECT_LT(server.stack().pool().in_use(), 1300u);
  std::size_t wrong = 0;
  for (std::size_t i = 0; i < hoarder.kept.size(); ++i)
    wrong += hoarder.kept[i].to_string() != text_of(static_cast<std::uint32_t>(i / hoarding), message);
  EXPECT_EQ(wrong, 0u);
  server.sync();
  hoarder.kept.clear();
  world.run_for(100_ms);
  EXPECT_EQ(server.tcp().usage().kept.used, 0u);
  EXPECT_LE(server.stack().pool().in_use(), 1u);
}

// 1,200 datagrams of 64 octets that all fit into the socket's receive buffer: of the pool's 1,500 mbufs they take 130.
TEST(KeptBudget, AHoarderOfDatagramsDoesNotStarveTheRing) {
  struct Hoarder final : UdpHandler {
    void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
      for (Datagram& d : datagrams) kept.push_back(std::move(d.data));
    }
    std::vector<Bytes> kept;
  } hoarder, nobody;
  World world{one_seed()};
  HostOptions small;
  small.pool_packets = 1500;
  small.stack.udp.kept_packets_max = 100;
  SimHost& server = world.add_host(small);
  SimHost& client = world.add_host({});
  ASSERT_TRUE(server.udp().bind({.port = 9}, hoarder));
  UdpSocket sender = *client.udp().bind({.port = 9}, nobody);
  constexpr std::uint32_t count = 1200;
  for (std::uint32_t i = 0; i < count; ++i) {
    client.sync();
    EXPECT_EQ(sender.send_to({server.ip(), 9}, text_of(i, 64)), SendStatus::ok);
    world.run_for(100_us);
  }
  world.run_for(10_ms);
  ASSERT_EQ(hoarder.kept.size(), count);
  EXPECT_EQ(server.counters()[Counter::udp_kept_copied], count - 100);
  EXPECT_LT(server.stack().pool().in_use(), 150u);
  for (std::uint32_t i = 0; i < count; ++i) EXPECT_EQ(hoarder.kept[i].to_string(), text_of(i, 64)) << i;
  server.sync();
  hoarder.kept.clear();
  EXPECT_LE(server.stack().pool().in_use(), 1u);
}

}  // namespace
}  // namespace pollux::test
