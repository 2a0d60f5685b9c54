// Which of two processes with the same addresses a segment is for.
#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "pollux/drivers_glue/hand_over.h"
#include "pollux/drivers_glue/take_over.h"
#include "support/frame.h"
#include "support/heap_pool.h"

namespace pollux {
namespace {

using namespace test;

constexpr MacAddress our_mac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress other_mac{{2, 0, 0, 0, 0, 2}};  // of the other process
constexpr MacAddress client_mac{{2, 0, 0, 0, 0, 3}};
constexpr IpAddress our_ip = IpAddress::v4(192, 0, 2, 1);
constexpr IpAddress client_ip = IpAddress::v4(192, 0, 2, 9);
constexpr IpAddress our_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
constexpr IpAddress client_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 9);
constexpr std::uint16_t known = 40000, unknown = 40001;

struct Deaf final : TcpHandler {
  void on_data(TcpConn, Bytes) noexcept override {}
};

/// A stack that listens on port 7 and has one connection, half-open: from `known`.
class HandOverTest : public testing::Test {
 protected:
  HandOverTest() {
    StackOptions options;
    options.tcp.connections_max = options.tcp.time_wait_max = 16;
    options.ip.dad_solicitations = 0;
    stack = std::move(Stack::create(options, heap.pool(), now).value());
    EXPECT_TRUE(stack->add_interface({.name = "wire",
                                      .mac = our_mac,
                                      .address = {our_ip, 24},
                                      .offloads = {},
                                      .v6_addresses = {{our_v6, 64}}},
                                     now));
    EXPECT_TRUE(stack->ip().add_neighbor(client_ip, client_mac));
    EXPECT_TRUE(stack->tcp().listen({.port = 7}, handler));
    give(nullptr, segment({.source_port = known, .flags = SYN}));
    EXPECT_EQ(stack->connection_count(), 1u);
    drain_wire();
  }
  static Frame segment(TcpHeader header, const MacAddress& from = client_mac, const IpAddress& source = client_ip,
                       const IpAddress& destination = our_ip, const MacAddress& to = our_mac) {
    header.destination_port = 7;
    return tcp_frame({from, to, source, destination}, header, {});
  }
  void give(HandOverTap* tap, const Frame& frame) {
    rte_mbuf* const m = heap.pool().copy_of(frame).release();
    if (tap == nullptr)
      stack->input(0, std::span(&m, 1), now);
    else
      tap->input(*stack, 0, std::span(&m, 1), now);
  }
  void drain_wire() {
    stack->flush(now);
    sent.clear();
    for (rte_mbuf* m : stack->tx(0).pending()) {
      Packet packet(m);
      sent.emplace_back(packet.front().begin(), packet.front().end());
    }
    stack->tx(0).consume(stack->tx(0).size());
  }
  /// Whether the frame was passed on, as it was but for the MAC addresses.
  bool passes_on(HandOverRole role, const Frame& frame) {
    HandOverTap tap(role, {our_mac}, {other_mac});
    give(&tap, frame);
    drain_wire();
    if (tap.relayed() == 0) return false;
    Frame expected = frame;
    std::copy(other_mac.octets.begin(), other_mac.octets.end(), expected.begin());
    std::copy(our_mac.octets.begin(), our_mac.octets.end(), expected.begin() + 6);
    EXPECT_EQ(sent, std::vector<Frame>{expected});
    return true;
  }

  TimePoint now = TimePoint::from_ns(1'000'000'000);
  HeapPool heap;
  Deaf handler;
  std::unique_ptr<Stack> stack;
  std::vector<Frame> sent;
};

TEST_F(HandOverTest, NewConnectionsAreTheSuccessors) {
  const Frame syn = segment({.source_port = unknown, .flags = SYN});
  EXPECT_TRUE(passes_on(HandOverRole::predecessor, syn));
  EXPECT_EQ(stack->connection_count(), 1u);
  EXPECT_FALSE(passes_on(HandOverRole::successor, syn));
  EXPECT_EQ(stack->connection_count(), 2u);
}

TEST_F(HandOverTest, EachKeepsItsOwnConnectionsAndPassesTheOthersOn) {
  for (const HandOverRole role : {HandOverRole::predecessor, HandOverRole::successor}) {
    EXPECT_FALSE(passes_on(role, segment({.source_port = known, .seq = 1, .ack = 77, .flags = ACK})));
    EXPECT_TRUE(passes_on(role, segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = ACK})));
    EXPECT_TRUE(passes_on(role, segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = FIN | ACK})));
    EXPECT_TRUE(passes_on(role, segment({.source_port = unknown, .seq = 1, .flags = RST})));
    EXPECT_TRUE(passes_on(role, segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = ACK}, client_mac, client_v6, our_v6)));
  }
  EXPECT_FALSE(passes_on(HandOverRole::predecessor, segment({.source_port = known, .flags = SYN}))) << "a SYN again";
}

TEST_F(HandOverTest, WhatTheOtherHasPassedOnStays) {
  for (const HandOverRole role : {HandOverRole::predecessor, HandOverRole::successor}) {
    EXPECT_FALSE(passes_on(role, segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = ACK}, other_mac)));
    ASSERT_EQ(sent.size(), 1u) << "nobody knows it: reset, once";
    EXPECT_EQ(decode(sent[0]).flags, RST);
  }
}

TEST_F(HandOverTest, EverythingElseIsTheStacks) {
  const LinkIds ids{client_mac, our_mac, client_ip, our_ip};
  const IpAddress elsewhere = IpAddress::v4(192, 0, 2, 77);
  for (const Frame& frame : {udp_frame(ids, 9, 9, Frame(8, 1)), icmp_frame(ids, 8, 0, 1, Frame(8, 1)), arp_frame(ids, ArpOp::request),
                             segment({.source_port = unknown, .flags = ACK}, client_mac, client_ip, elsewhere),
                             segment({.source_port = unknown, .flags = ACK}, client_mac, client_ip, our_ip, client_mac),
                             tcp_frame(ids, {.source_port = unknown, .destination_port = 7, .flags = ACK}, {}, {.fragment = 0x2000}),
                             Frame(13, 0), Frame(14, 0), Frame()})
    for (const HandOverRole role : {HandOverRole::predecessor, HandOverRole::successor})
      EXPECT_FALSE(passes_on(role, frame)) << describe(frame);
}

TEST_F(HandOverTest, ATagStaysOnItsFrame) {
  Frame tagged = segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = ACK});
  tagged.insert(tagged.begin() + 12, {0x81, 0, 0, 7});
  EXPECT_TRUE(passes_on(HandOverRole::predecessor, tagged));
  tagged.resize(17);
  EXPECT_FALSE(passes_on(HandOverRole::predecessor, tagged)) << "a tag cut off";
}

TEST_F(HandOverTest, ATagThatTheDeviceTookOffIsWrittenByIt) {
  for (const bool can_insert : {true, false}) {
    InterfaceConfig other{.name = "other", .mac = our_mac, .address = {IpAddress::v4(198, 51, 100, 1), 24}, .offloads = {}};
    other.offloads.vlan_insert = can_insert;
    if (!can_insert) other.address.address = IpAddress::v4(203, 0, 113, 1);
    const InterfaceId id = stack->add_interface(other, now).value();
    HandOverTap tap(HandOverRole::predecessor, std::vector(id + 1u, our_mac), std::vector(id + 1u, other_mac));
    Packet packet = heap.pool().copy_of(segment({.source_port = unknown, .seq = 1, .ack = 77, .flags = ACK}));
    packet.mbuf()->ol_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    packet.mbuf()->vlan_tci = 7;
    rte_mbuf* const m = packet.release();
    stack->tx(id).clear();
    tap.input(*stack, id, std::span(&m, 1), now);
    EXPECT_EQ(tap.relayed(), can_insert ? 1u : 0u);
    EXPECT_EQ(tap.lost(), can_insert ? 0u : 1u);
    if (!can_insert) continue;
    const rte_mbuf& sent_mbuf = *stack->tx(id).pending().front();
    EXPECT_EQ(sent_mbuf.ol_flags, RTE_MBUF_F_TX_VLAN);
    EXPECT_EQ(sent_mbuf.vlan_tci, 7);
  }
}

TEST_F(HandOverTest, AHandshakeByCookieEndsWhereItBegan) {
  TcpOptions options;
  options.connections_max = options.time_wait_max = 16;
  options.syn_cookies = TcpSynCookies::on;
  ASSERT_TRUE(stack->tcp().prepare(options));
  stack->tcp().change(options);
  give(nullptr, segment({.source_port = unknown, .seq = 5, .flags = SYN}));
  drain_wire();
  ASSERT_FALSE(sent.empty());
  const std::uint32_t cookie = decode(sent.back()).seq;
  EXPECT_TRUE(passes_on(HandOverRole::predecessor, segment({.source_port = unknown, .seq = 6, .ack = cookie + 2, .flags = ACK})));
  EXPECT_FALSE(passes_on(HandOverRole::predecessor, segment({.source_port = unknown, .seq = 6, .ack = cookie + 1, .flags = ACK})));
  EXPECT_EQ(stack->connection_count(), 2u);
}

TEST_F(HandOverTest, AFullPortLosesWhatItCannotPassOnAndSaysSo) {
  HandOverTap tap(HandOverRole::predecessor, {our_mac}, {other_mac});
  for (std::uint32_t i = 0; i <= TxBatch::capacity; ++i) give(&tap, segment({.source_port = unknown, .flags = SYN}));
  EXPECT_EQ(tap.relayed(), TxBatch::capacity);
  EXPECT_EQ(tap.lost(), 1u);
}

TEST(TakeOver, ReadsItsAnswers) {
  const std::string json = R"({"/pollux/hand_over":{"mac_0":"02:00:00:00:00:01","mac_1":"02:00:00:00:00:02"}})";
  EXPECT_EQ(json_text(json, "mac_1"), "02:00:00:00:00:02");
  EXPECT_EQ(json_text(json, "mac_2"), std::nullopt);
  EXPECT_EQ(json_text(R"({"/pollux/hand_over":{"error":"not yet: a capture runs"}})", "error"), "not yet: a capture runs");
}

}  // namespace
}  // namespace pollux
