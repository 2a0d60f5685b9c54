// Raw IP: handlers by protocol, both families.
#include "ip_v6_host.h"
#include "pollux/stack/raw.h"

namespace pollux::test {
namespace {

constexpr std::uint8_t ospf = 89;

struct RawRecorder final : RawHandler {
  struct Got {
    IpAddress remote, local;
    std::uint8_t protocol, ttl, tos;
    std::string data;
    bool operator==(const Got&) const = default;
  };
  void on_packet(Raw& raw, RawPacket packet) noexcept override {
    got.push_back({packet.remote, packet.local, packet.protocol, packet.ttl, packet.tos, packet.data.to_string()});
    if (!answers) return;
    EXPECT_EQ(raw.send({.remote = packet.remote, .protocol = packet.protocol, .local = packet.local}, std::move(packet.data)),
              SendStatus::ok);
  }
  std::vector<Got> got;
  bool answers = false;
};

struct RawHost : V6Host {
  RawHost() : raw(ip, heap.pool(), counters) {}
  bool receive(Packet packet) {
    const bool up = input(std::move(packet));
    if (up) raw.input(std::move(rx), now);
    return up;
  }
  Frame v4(const Frame& payload, std::uint8_t protocol = ospf) {
    return ipv4_frame({.protocol = protocol, .ttl = 5, .tos = 0xc0, .payload = payload});
  }
  Frame v6(const Frame& payload, std::uint8_t protocol = ospf) {
    return ipv6_frame(v6_ids(), protocol, payload, {.hop_limit = 5, .traffic_class = 0xc0});
  }
  Raw raw;
};

TEST(Raw, AHandlerGetsItsProtocolOfBothFamiliesAndAnswersInTheSameBuffer) {
  RawHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.reach();
  RawRecorder handler;
  handler.answers = true;
  ASSERT_TRUE(host.raw.open(ospf, handler));
  for (const Frame& frame : {host.v4(pattern(100)), host.v6(pattern(100))}) {
    Packet packet = host.packet_of(frame);
    const void* const buffer = packet.mbuf()->buf_addr;
    EXPECT_TRUE(host.receive(std::move(packet)));
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].buffer, buffer);
    const Decoded d = decode(sent[0].bytes);
    EXPECT_EQ(d.problem, "");
    EXPECT_EQ(d.ttl, 64);
    EXPECT_EQ(Frame(sent[0].bytes.end() - 100, sent[0].bytes.end()), pattern(100));
  }
  const Frame octets = pattern(100);
  const std::string text(octets.begin(), octets.end());
  EXPECT_EQ(handler.got, (std::vector<RawRecorder::Got>{{peer_ip, our_ip, ospf, 5, 0xc0, text},
                                                       {peer_v6, our_v6, ospf, 5, 0xc0, text}}));
  EXPECT_EQ(host.counters[Counter::raw_in_packets], 2u);
  EXPECT_EQ(host.counters[Counter::raw_out_packets], 2u);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(Raw, WithoutAHandlerTheSenderIsTold) {
  RawHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.reach();
  RawRecorder handler;
  ASSERT_TRUE(host.raw.open(ospf, handler));
  host.raw.close(ospf);
  host.raw.close(ospf);
  for (const Frame& frame : {host.v4(pattern(8)), host.v6(pattern(8)), host.v4(pattern(8), 90)}) {
    EXPECT_FALSE(host.receive(host.packet_of(frame)));
    const Decoded error = host.one_sent();
    EXPECT_TRUE((error.icmp_type == 3 && error.icmp_code == 2) || (error.icmp_type == 4 && error.icmp_code == 1));
  }
  EXPECT_EQ(host.drops(DropReason::ip_unknown_protocol), 3u);
  EXPECT_TRUE(handler.got.empty());
}

TEST(Raw, APacketWithoutPayloadIsOne) {
  RawHost host;
  RawRecorder handler;
  ASSERT_TRUE(host.raw.open(ospf, handler));
  EXPECT_TRUE(host.receive(host.packet_of(host.v4({}))));
  ASSERT_EQ(handler.got.size(), 1u);
  EXPECT_EQ(handler.got[0].data, "");
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST(Raw, TheStacksOwnProtocolsAndTakenOnesAreRefused) {
  RawHost host;
  RawRecorder handler;
  for (const std::uint8_t protocol : {0, 1, 2, 6, 17, 43, 44, 58, 59, 60})
    EXPECT_EQ(host.raw.open(protocol, handler).error().code, ErrorCode::invalid_argument) << int{protocol};
  ASSERT_TRUE(host.raw.open(ospf, handler));
  EXPECT_EQ(host.raw.open(ospf, handler).error().code, ErrorCode::address_in_use);
}

TEST(Raw, WhatCannotBeSentSaysWhyAndStaysWithTheCaller) {
  RawHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.reach();
  PacketPool pool = host.heap.pool();
  const auto send = [&](const RawSend& to, std::size_t size) {
    Bytes data = Bytes::copy_of(pool, pattern(size));
    const SendStatus status = host.raw.send(to, std::move(data));
    EXPECT_EQ(data.size(), status == SendStatus::ok ? 0u : size);
    return status;
  };
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf, .dont_fragment = true}, 1480), SendStatus::ok);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf, .dont_fragment = true}, 1481), SendStatus::too_large);
  EXPECT_EQ(send({.remote = peer_v6, .protocol = ospf, .dont_fragment = true}, 1460), SendStatus::ok);
  EXPECT_EQ(send({.remote = peer_v6, .protocol = ospf, .dont_fragment = true}, 1461), SendStatus::too_large);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf}, 65516), SendStatus::too_large);
  EXPECT_EQ(send({.remote = peer_v6, .protocol = ospf}, 65536), SendStatus::too_large);
  EXPECT_EQ(send({.remote = remote_ip, .protocol = ospf}, 1), SendStatus::no_route);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf, .local = our_v6}, 1), SendStatus::no_route);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf, .local = remote_ip}, 1), SendStatus::no_route);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf}, 0), SendStatus::ok);
  EXPECT_EQ(send({.remote = IpAddress::v4(224, 0, 0, 5), .protocol = ospf}, 10), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 4u);
  EXPECT_EQ(ipv4_of(sent[3].bytes).ttl(), 1) << "to a group it stays on the link";
  while (host.ip.tx(0).room() > 1) ASSERT_EQ(send({.remote = peer_ip, .protocol = ospf}, 1), SendStatus::ok);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf}, 2000), SendStatus::would_block) << "all of its fragments or none";
  while (host.ip.tx(0).room() != 0) ASSERT_EQ(send({.remote = peer_ip, .protocol = ospf}, 1), SendStatus::ok);
  EXPECT_EQ(send({.remote = peer_ip, .protocol = ospf}, 1), SendStatus::would_block);
}

TEST(Raw, WhatExceedsTheMtuLeavesInFragments) {
  for (const IpAddress& remote : {peer_ip, peer_v6}) {
    RawHost host;
    host.make_reachable(peer_ip, peer_mac);
    host.reach();
    PacketPool pool = host.heap.pool();
    for (const std::size_t size : {1481u, 4000u, 65515u}) {
      EXPECT_EQ(host.raw.send({.remote = remote, .protocol = ospf}, Bytes::copy_of(pool, pattern(size))), SendStatus::ok);
      InterfaceConfig theirs = v6_port();
      theirs.mac = peer_mac;
      theirs.address = {peer_ip, 24};
      theirs.v6_addresses = {{peer_v6, 64}};
      V6Host other({.dad_solicitations = 0}, theirs);
      other.ip.accept_protocol(ospf, true);
      bool whole = false;
      for (const SentFrame& frame : host.sent()) whole = other.input(frame.bytes);
      ASSERT_TRUE(whole);
      Frame bytes(other.rx.packet.size());
      other.rx.packet.copy_out(0, bytes);
      EXPECT_EQ(bytes, pattern(size));
    }
  }
}

TEST(Raw, ErrorsReachTheHandlerAndASmallerPathIsFollowed) {
  struct Listener final : RawHandler {
    void on_packet(Raw&, RawPacket) noexcept override {}
    void on_error(Raw&, const IcmpError& error) noexcept override { problems.push_back(error.problem); }
    std::vector<IcmpProblem> problems;
  };
  RawHost host;
  host.make_reachable(peer_ip, peer_mac);
  Listener listener;
  RawRecorder indifferent;
  ASSERT_TRUE(host.raw.open(ospf, listener));
  ASSERT_TRUE(host.raw.open(90, indifferent));
  PacketPool pool = host.heap.pool();
  IcmpError error{.problem = IcmpProblem::packet_too_big,
                  .mtu = 1300,
                  .quoted = {.protocol = ospf, .source = our_ip, .destination = peer_ip, .length = 1420}};
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::none);
  EXPECT_EQ(host.raw.send({.remote = peer_ip, .protocol = ospf}, Bytes::copy_of(pool, pattern(1400))), SendStatus::ok);
  EXPECT_EQ(host.sent().size(), 2u);
  error.mtu = 1420;
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::icmp_implausible_mtu);
  error.problem = IcmpProblem::host_unreachable;
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::none);
  error.quoted.protocol = 90;
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::none);
  EXPECT_EQ(listener.problems, (std::vector{IcmpProblem::packet_too_big, IcmpProblem::host_unreachable}));
  error.quoted.protocol = 91;
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::icmp_no_match);
  error.quoted = {.protocol = ospf, .source = remote_ip, .destination = peer_ip, .length = 1420};
  EXPECT_EQ(host.raw.icmp_error(error), DropReason::icmp_no_match);
}

}  // namespace
}  // namespace pollux::test
