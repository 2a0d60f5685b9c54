// VLANs of a port: which frames are theirs, and how theirs leave, with tags in software and by the card.
#include "ip_v6_host.h"

namespace pollux::test {
namespace {

constexpr std::uint16_t vlan_a = 5;
constexpr std::uint16_t vlan_b = 4094;
const IpAddress a_ip = IpAddress::v4(10, 5, 0, 1);
const IpAddress a_peer = IpAddress::v4(10, 5, 0, 2);
const IpAddress b_ip = IpAddress::v4(10, 6, 0, 1);
const IpAddress a_v6 = IpAddress::v6(0xfd00, 5, 0, 0, 0, 0, 0, 1);
const IpAddress a_peer_v6 = IpAddress::v6(0xfd00, 5, 0, 0, 0, 0, 0, 2);

InterfaceConfig vlan_config(std::uint16_t id, const IpPrefix& address, std::uint16_t mtu = 1500) {
  return {.name = "port0." + std::to_string(id), .address = address, .mtu = mtu, .vlan = id, .port = 0};
}

/// Port 0 with VLANs 5 (interface 1) and 4094 (interface 2, MTU 1400). `by_card`: tags are in mbufs, not in frames.
struct VlanHost : IpHost {
  explicit VlanHost(bool card = false, TxOffloads offloads = {}) : IpHost({}, port(card, offloads)), by_card(card) {
    InterfaceConfig a = vlan_config(vlan_a, {a_ip, 24});
    a.v6_addresses = {{a_v6, 64}};
    EXPECT_EQ(ip.add_interface(a, now).value(), 1);
    EXPECT_EQ(ip.add_interface(vlan_config(vlan_b, {b_ip, 24}, 1400), now).value(), 2);
    run_for(Duration::from_s(5));
    (void)sent();
    counters = {};
  }
  static InterfaceConfig port(bool card, TxOffloads offloads) {
    InterfaceConfig config = our_port();
    config.offloads = offloads;
    config.offloads.vlan_insert = card;
    return config;
  }
  /// As this host's card delivers it.
  Packet tagged(const Frame& frame, std::uint16_t tag) {
    if (!by_card) return packet_of(with_tag(frame, tag));
    Packet packet = packet_of(frame);
    packet.mbuf()->vlan_tci = tag;
    packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    return packet;
  }
  static Frame with_tag(Frame frame, std::uint16_t tag, std::uint16_t type = 0x8100) {
    const std::uint8_t octets[] = {static_cast<std::uint8_t>(type >> 8), static_cast<std::uint8_t>(type),
                                   static_cast<std::uint8_t>(tag >> 8), static_cast<std::uint8_t>(tag)};
    frame.insert(frame.begin() + 12, octets, octets + 4);
    return frame;
  }
  /// The frames that left with this tag, without it; all frames have to be of `vlan` (0: untagged).
  std::vector<SentFrame> sent_on(std::uint16_t vlan) {
    auto frames = sent();
    for (SentFrame& frame : frames) {
      const bool asked = (frame.ol_flags & RTE_MBUF_F_TX_VLAN) != 0;
      const bool written = load_be16(&frame.bytes[12]) == 0x8100;
      EXPECT_EQ(asked, by_card && vlan != 0);
      EXPECT_EQ(written, !by_card && vlan != 0);
      if (asked) {
        EXPECT_EQ(frame.vlan_tci, vlan);
      }
      if (!written) continue;
      EXPECT_EQ(load_be16(&frame.bytes[14]), vlan);
      frame.bytes.erase(frame.bytes.begin() + 12, frame.bytes.begin() + 16);
    }
    return frames;
  }
  bool by_card;
};

class Vlan : public ::testing::TestWithParam<bool> {
 protected:
  VlanHost host{GetParam()};
};
INSTANTIATE_TEST_SUITE_P(Tags, Vlan, ::testing::Bool(),
                         [](const auto& row) { return row.param ? "ByTheCard" : "InSoftware"; });

Frame to_a(const Frame& payload = Frame(20, 0)) {
  return ipv4_frame({.source = a_peer, .destination = a_ip, .payload = payload});
}

TEST_P(Vlan, ATagSaysWhoseFrameItIs) {
  struct Case {
    const char* name;
    std::uint16_t tag;
    Frame frame;
    int interface;  // -1: dropped for `reason`
    DropReason reason = DropReason::none;
  };
  const Case cases[] = {
      {"a VLAN's", vlan_a, to_a(), 1},
      {"the other's", vlan_b, ipv4_frame({.destination = b_ip}), 2},
      {"priority and drop eligibility do not matter", 0xf000 | vlan_a, to_a(), 1},
      {"a priority tag is none", 0, ipv4_frame({}), 0},
      {"a priority tag with a priority", 0xe000, ipv4_frame({}), 0},
      {"unknown", 6, to_a(), -1, DropReason::eth_vlan_unknown},
      {"reserved", 4095, to_a(), -1, DropReason::eth_vlan_unknown},
      {"of another station", vlan_a, ipv4_frame({.mac_destination = other_mac}), -1, DropReason::eth_not_for_us},
      {"nobody's address", vlan_a, ipv4_frame({.destination = a_peer}), -1, DropReason::ip_not_local},
      {"IPv6 where there is none", vlan_b, solicitation(peer_v6, our_v6), -1, DropReason::eth_unknown_type},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    host.counters = {};
    if (c.reason == DropReason::eth_unknown_type) {
      Frame frame = c.frame;
      std::copy(our_mac.octets.begin(), our_mac.octets.end(), frame.begin());
      EXPECT_FALSE(host.input(host.tagged(frame, c.tag)));
      EXPECT_EQ(host.drops(c.reason), 1u);
      continue;
    }
    ASSERT_EQ(host.input(host.tagged(c.frame, c.tag)), c.interface >= 0);
    if (c.interface >= 0) {
      EXPECT_EQ(host.rx.interface, c.interface);
      EXPECT_EQ(host.rx.packet.size(), 20u);
      EXPECT_EQ(host.counters.drops(), 0u);
    } else {
      EXPECT_EQ(host.drops(c.reason), 1u);
    }
  }
}

TEST_P(Vlan, UntaggedFramesAreThePorts) {
  EXPECT_TRUE(host.input(ipv4_frame({})));
  EXPECT_EQ(host.rx.interface, 0);
  EXPECT_FALSE(host.input(arp_request(peer_mac, a_peer, a_ip))) << "ARP for a VLAN's address is the VLAN's";
  EXPECT_EQ(host.drops(DropReason::arp_not_for_us), 1u);
  EXPECT_TRUE(host.sent().empty());
}

TEST_P(Vlan, ASecondTagIsRefused) {
  EXPECT_FALSE(host.input(host.tagged(VlanHost::with_tag(to_a(), vlan_a), vlan_a)));
  EXPECT_FALSE(host.input(host.tagged(VlanHost::with_tag(to_a(), vlan_a), 0)));
  EXPECT_FALSE(host.input(host.tagged(VlanHost::with_tag(to_a(), vlan_a, 0x88a8), vlan_a)));
  EXPECT_FALSE(host.input(VlanHost::with_tag(to_a(), vlan_a, 0x88a8)));
  EXPECT_FALSE(host.input(host.tagged(VlanHost::with_tag(to_a(), vlan_a), 77))) << "whoever's the first is";
  EXPECT_EQ(host.drops(DropReason::eth_qinq), 5u);
}

TEST_P(Vlan, ArpIsAnsweredWhereTheAddressIs) {
  const Frame request = arp_request(peer_mac, a_peer, a_ip);
  EXPECT_FALSE(host.input(host.tagged(request, vlan_b)));
  EXPECT_EQ(host.drops(DropReason::arp_not_for_us), 1u);
  EXPECT_FALSE(host.input(host.tagged(request, vlan_a)));
  const auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), a_ip);
  EXPECT_EQ(arp_of(sent[0].bytes).target_ip(), a_peer);
}

TEST_P(Vlan, NeighbourDiscoveryGoesWithTheTag) {
  const LinkIds ids = {peer_mac, group_mac(a_v6.solicited_node()), a_peer_v6, a_v6.solicited_node()};
  EXPECT_FALSE(host.input(host.tagged(nd_frame(ids, 135, 0, a_v6, peer_mac), vlan_a)));
  const auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  const Decoded answer = decode(sent[0].bytes);
  EXPECT_EQ(answer.problem, "");
  EXPECT_EQ(host.counters[Counter::nd_advertisements_out], 1u);
}

TEST_P(Vlan, WhatIsSentToAVlansSubnetCarriesItsTag) {
  const auto send = [&](std::size_t size) {
    RouteCache cache;
    return host.ip.send(host.packet_of(pattern(size)), {.source = a_ip, .destination = a_peer, .protocol = 253}, cache,
                        host.now);
  };
  EXPECT_EQ(send(8), DropReason::none);
  auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(arp_of(sent[0].bytes).target_ip(), a_peer);
  Frame reply = arp_frame({.operation = ArpOperation::reply, .sender_mac = peer_mac, .sender_ip = a_peer,
                           .target_mac = our_mac, .target_ip = a_ip}, our_mac);
  EXPECT_FALSE(host.input(host.tagged(reply, vlan_a)));
  sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u) << "what waited";
  EXPECT_EQ(ip_payload_of(sent[0].bytes), pattern(8));
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), peer_mac);
  EXPECT_EQ(send(1480), DropReason::none);
  sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ip_payload_of(sent[0].bytes), pattern(1480));
  EXPECT_EQ(&host.ip.tx(0), &host.ip.tx(1)) << "one batch for the port";
}

TEST_P(Vlan, PreparedHeadersCarryTheTagToo) {
  RouteCache cache;
  const IpSend send{.source = a_ip, .destination = a_peer, .protocol = 253};
  EXPECT_FALSE(host.input(host.tagged(arp_request(peer_mac, a_peer, a_ip), vlan_a)));
  EXPECT_EQ(host.ip.send(host.packet_of(pattern(8)), send, cache, host.now), DropReason::none);
  host.ip.confirm(cache, host.now);
  (void)host.sent();
  HeaderTemplate headers;
  ASSERT_TRUE(host.ip.prepare(send, cache, 100, headers));
  Frame frame(headers.octets.begin(), headers.octets.begin() + headers.size());
  const Frame payload = pattern(100);
  frame.insert(frame.end(), payload.begin(), payload.end());
  host.ip.send_prepared(host.packet_of(frame), headers);
  const auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].bytes, frame);
}

TEST_P(Vlan, EchoRequestsComeBackInFragmentsOfTheVlansMtu) {
  EXPECT_FALSE(host.input(host.tagged(arp_request(peer_mac, IpAddress::v4(10, 6, 0, 2), b_ip), vlan_b)));
  (void)host.sent();
  const Frame message = icmp_message(Icmpv4Type::echo_request, 0, 0x00010001, pattern(3000));
  const std::size_t cut = 1376;  // of 8 octets each
  for (std::size_t at = 0; at < message.size(); at += cut) {
    const std::size_t end = std::min(at + cut, message.size());
    const auto field = static_cast<std::uint16_t>(at / 8 | (end == message.size() ? 0 : 0x2000));
    const Frame piece = ipv4_frame({.source = IpAddress::v4(10, 6, 0, 2),
                                    .destination = b_ip,
                                    .protocol = 1,
                                    .payload = Frame(message.begin() + static_cast<std::ptrdiff_t>(at),
                                                     message.begin() + static_cast<std::ptrdiff_t>(end)),
                                    .spoil = [&](std::uint8_t* ip) { store_be16(ip + 6, field); }});
    EXPECT_FALSE(host.input(host.tagged(piece, vlan_b)));
  }
  const auto sent = host.sent_on(vlan_b);
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(sent[0].bytes.size(), 14u + 20 + 1376) << "1,400 octets at most";
  EXPECT_EQ(host.counters[Counter::icmp_out_echo_reps], 1u);
}

TEST_P(Vlan, ADatagramOfAnotherCoreTravelsWithItsTag) {
  struct Elsewhere final : FrameSteering {
    Verdict steer(InterfaceId id, Packet& frame) noexcept override {
      EXPECT_EQ(id, 0) << "frames are handed over port by port";
      got = std::move(frame);
      return Verdict::taken;
    }
    bool give(std::uint16_t, InterfaceId, Packet&) noexcept override { return false; }
    Packet got;
  } elsewhere;
  host.ip.set_steering(&elsewhere);
  for (const std::uint16_t field : {0x2000, 0x0002})
    EXPECT_FALSE(host.input(host.tagged(ipv4_frame({.source = a_peer,
                                                    .destination = a_ip,
                                                    .protocol = 17,
                                                    .payload = pattern(16),
                                                    .spoil = [&](std::uint8_t* ip) { store_be16(ip + 6, field); }}),
                                        vlan_a)));
  ASSERT_TRUE(elsewhere.got);
  VlanHost owner(GetParam());
  ASSERT_TRUE(owner.input(std::move(elsewhere.got)));
  EXPECT_EQ(owner.rx.interface, 1);
  EXPECT_EQ(owner.rx.packet.size(), 32u);
}

TEST(VlanInSoftware, TagsThatASplitTearsApart) {
  const Frame payload = pattern(300);
  const Frame frame = VlanHost::with_tag(to_a(payload), vlan_a);
  for (const std::vector<std::size_t>& sizes :
       std::vector<std::vector<std::size_t>>{{1}, {12}, {13}, {14}, {16}, {17}, {18}, {19}, {38}, {100}, {1, 11, 2, 2, 2}}) {
    SCOPED_TRACE(sizes[0]);
    VlanHost host;
    ASSERT_TRUE(host.input_split(frame, sizes));
    EXPECT_EQ(host.rx.interface, 1);
    Frame bytes(host.rx.packet.size());
    host.rx.packet.copy_out(0, bytes);
    EXPECT_EQ(bytes, payload);
  }
}

TEST(VlanInSoftware, AFrameThatEndsInItsTagIsTruncated) {
  VlanHost host;
  for (const std::size_t size : {14u, 15u, 17u}) {
    Frame frame = VlanHost::with_tag(to_a(), vlan_a);
    frame.resize(size);
    EXPECT_FALSE(host.input(frame));
  }
  EXPECT_EQ(host.drops(DropReason::eth_truncated), 3u);
}

TEST(VlanInSoftware, ABufferThatOthersReadStaysAsItIs) {
  VlanHost host;
  const Frame frame = VlanHost::with_tag(to_a(pattern(200)), vlan_a);
  Packet packet = host.packet_of(frame);
  const std::uint8_t* const octets = packet.data();
  const Packet reader = host.heap.pool().reference(*packet.mbuf(), 0, packet.size());
  ASSERT_TRUE(host.input(std::move(packet)));
  EXPECT_EQ(host.rx.interface, 1);
  EXPECT_EQ(host.rx.packet.size(), 200u);
  EXPECT_EQ(Frame(octets, octets + frame.size()), frame);
}

TEST(VlanInSoftware, TheCardIsToldOfTheLongerHeader) {
  VlanHost host(false, {.tcp_checksum = true});
  EXPECT_FALSE(host.input(host.tagged(arp_request(peer_mac, a_peer, a_ip), vlan_a)));
  (void)host.sent();
  Packet packet = host.packet_of(pattern(40));
  packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  packet.mbuf()->l4_len = 20;
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = a_ip, .destination = a_peer, .protocol = 6}, cache, host.now),
            DropReason::none);
  const auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].l2_len, 18u);
  EXPECT_EQ(sent[0].l3_len, 20u);
}

TEST(VlanByTheCard, TheHeaderIsAsLongAsWithoutATag) {
  VlanHost host(true, {.tcp_checksum = true});
  EXPECT_FALSE(host.input(host.tagged(arp_request(peer_mac, a_peer, a_ip), vlan_a)));
  (void)host.sent();
  Packet packet = host.packet_of(pattern(40));
  packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  packet.mbuf()->l4_len = 20;
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = a_ip, .destination = a_peer, .protocol = 6}, cache, host.now),
            DropReason::none);
  EXPECT_EQ(host.sent_on(vlan_a).at(0).l2_len, 14u);
}

TEST(VlanInSoftware, APortWithoutChainsGetsOneSegmentWithItsTag) {
  VlanHost host(false, {.multi_segment = false});
  EXPECT_FALSE(host.input(host.tagged(arp_request(peer_mac, a_peer, a_ip), vlan_a)));
  (void)host.sent();
  Packet packet = host.packet_of(pattern(700));
  Packet more = host.packet_of(pattern(780));
  ASSERT_TRUE(packet.chain(more));
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = a_ip, .destination = a_peer, .protocol = 253}, cache, host.now),
            DropReason::none);
  const auto sent = host.sent_on(vlan_a);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].segments, 1u);
  EXPECT_EQ(sent[0].bytes.size(), 14u + 20 + 1480);
}

TEST(VlanSetUp, MistakesAreRefused) {
  struct Case {
    const char* name;
    InterfaceConfig config;
    const char* says;
  };
  InterfaceConfig other_port = vlan_config(7, {IpAddress::v4(10, 7, 0, 1), 24});
  other_port.port = 1;
  const Case cases[] = {
      {"id too large", vlan_config(4095, {IpAddress::v4(10, 7, 0, 1), 24}), "expected 1..4094"},
      {"twice", vlan_config(vlan_a, {IpAddress::v4(10, 7, 0, 1), 24}), "already present"},
      {"a VLAN is no port", other_port, "no port 1"},
      {"MTU beyond the port's", vlan_config(7, {IpAddress::v4(10, 7, 0, 1), 24}, 1501), "exceeds its port's, 1500"},
      {"address of another", vlan_config(7, {a_ip, 25}), "already ours"},
      {"subnet of another", vlan_config(7, {a_peer, 24}), "route"},
      {"a port after VLANs", our_port(), "before the first VLAN"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    VlanHost host;
    const auto id = host.ip.add_interface(c.config, host.now);
    ASSERT_FALSE(id.has_value());
    EXPECT_NE(id.error().text.find(c.says), std::string::npos) << id.error().text;
    EXPECT_EQ(host.ip.interface_count(), 3u);
    EXPECT_EQ(host.ip.port_count(), 1u);
  }
}

TEST(VlanSetUp, AsManyAsThereAreInterfaces) {
  IpHost host;
  for (std::size_t i = 1; i < interfaces_max; ++i)
    ASSERT_TRUE(host.ip.add_interface(
        vlan_config(static_cast<std::uint16_t>(i), {IpAddress::v4(10, static_cast<std::uint8_t>(i), 0, 1), 24}), host.now));
  const auto id = host.ip.add_interface(vlan_config(99, {}), host.now);
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, ErrorCode::limit_reached);
}

TEST(VlanSetUp, APortWithoutAddressesCarriesVlansAlone) {
  InterfaceConfig trunk = our_port();
  trunk.address = {};
  IpHost host({}, trunk);
  ASSERT_TRUE(host.ip.add_interface(vlan_config(vlan_a, {a_ip, 24}), host.now));
  (void)host.sent();
  EXPECT_FALSE(host.input(ipv4_frame({.destination = IpAddress::v4(0, 0, 0, 0)}))) << "no address is not address 0";
  EXPECT_FALSE(host.input(arp_request(peer_mac, IpAddress::v4(0, 0, 0, 0), IpAddress::v4(0, 0, 0, 0))));
  EXPECT_EQ(host.drops(DropReason::eth_unknown_type), 2u);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_TRUE(host.input(VlanHost::with_tag(to_a(), vlan_a)));
}

}  // namespace
}  // namespace pollux::test
