// IPv6 input, output, routes, source addresses and ICMPv6 (RFC 8200, RFC 4443, RFC 6724).
#include "ip_v6_host.h"

namespace pollux::test {
namespace {

const Frame udp_header = {0x12, 0x34, 0, 7, 0, 8, 0, 0};
const IpAddress nobody = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x77);

// --- Set-up ----------------------------------------------------------------------------------------------

TEST(V6Setup, BadAddressesAreRefusedWithAReason) {
  struct Row {
    const char* address;
    const char* says;
  };
  for (const Row& row :
       {Row{"::1/64", "unicast IPv6 address"}, Row{"ff02::5/64", "unicast IPv6 address"},
        Row{"fe80::5/64", "not link-local"}, Row{"::/64", "unicast IPv6 address"},
        Row{"2001:db8::1/0", "prefix length"}, Row{"192.0.2.9/24", "unicast IPv6 address"}}) {
    SCOPED_TRACE(row.address);
    HeapPool heap;
    Rng rng{1};
    Ip ip({}, heap.pool(), rng);
    InterfaceConfig port = our_port();
    port.v6_addresses = {*IpPrefix::from_string(row.address)};
    const auto added = ip.add_interface(port, TimePoint::from_ns(1));
    ASSERT_FALSE(added);
    EXPECT_NE(added.error().text.find(row.says), std::string::npos) << added.error().text;
  }
  HeapPool heap;
  Rng rng{1};
  Ip ip({}, heap.pool(), rng);
  InterfaceConfig port = v6_port();
  port.mtu = 1279;
  EXPECT_FALSE(ip.add_interface(port, TimePoint::from_ns(1))) << "RFC 8200 5";
  port.mtu = 1500;
  port.v6_addresses.push_back({our_v6, 64});
  EXPECT_FALSE(ip.add_interface(port, TimePoint::from_ns(1))) << "the same address twice";
  port.v6_addresses.assign(v6_addresses_max, {our_v6, 64});
  EXPECT_FALSE(ip.add_interface(port, TimePoint::from_ns(1))) << "too many";
}

TEST(V6Setup, APortWithoutV6AddressesIgnoresIpv6) {
  IpHost host;
  EXPECT_FALSE(host.input(ipv6_frame(v6_ids(), 17, udp_header)));
  EXPECT_EQ(host.drops(DropReason::eth_unknown_type), 1u);
  EXPECT_TRUE(host.ip.v6_addresses(0).empty());
}

// --- Input -----------------------------------------------------------------------------------------------

TEST(V6Input, ATransportsPacketIsHandedUpWithItsHeaderRead) {
  V6Host host;
  Frame frame = ipv6_frame(v6_ids(), 17, udp_header, {.hop_limit = 9, .traffic_class = 0x28});
  frame.resize(frame.size() + 6);  // Ethernet padding
  ASSERT_TRUE(host.input(frame));
  EXPECT_EQ(host.rx.source, peer_v6);
  EXPECT_EQ(host.rx.destination, our_v6);
  EXPECT_EQ(host.rx.protocol, 17);
  EXPECT_EQ(host.rx.ttl, 9);
  EXPECT_EQ(host.rx.tos, 0x28);
  EXPECT_EQ(host.rx.ip_header_length, 40);
  EXPECT_FALSE(host.rx.to_group);
  EXPECT_EQ(host.rx.packet.size(), udp_header.size());
  EXPECT_EQ(host.counters[Counter::ip6_in_delivers], 1u);
}

TEST(V6Input, ExtensionHeadersAreSkippedAlsoAcrossSegments) {
  const Frame extensions = {60, 0, 1, 4, 0, 0, 0, 0, 17, 0, 1, 4, 0, 0, 0, 0};
  const Frame frame = ipv6_frame(v6_ids(), 17, udp_header, {.extensions = extensions, .first_header = 0});
  for (const std::size_t first : {20u, 54u, 57u, 64u, 75u}) {
    SCOPED_TRACE(first);
    V6Host host;
    ASSERT_TRUE(host.input_split(frame, {first}));
    EXPECT_EQ(host.rx.ip_header_length, 56);
    EXPECT_EQ(host.rx.protocol, 17);
    EXPECT_EQ(host.rx.packet.size(), udp_header.size());
  }
}

TEST(V6Input, WhatIsNotForUsOrFromNobodyIsDroppedByName) {
  struct Row {
    const char* what;
    Frame frame;
    DropReason reason;
  };
  LinkIds group_frame = v6_ids();
  group_frame.destination_mac = group_mac(v6_all_nodes);
  const IpAddress mapped = IpAddress::v4(192, 0, 2, 1);
  Frame from_mapped = ipv6_frame(v6_ids(), 17, udp_header);
  std::copy(mapped.octets().begin(), mapped.octets().end(), from_mapped.begin() + 22);
  for (const Row& row : std::initializer_list<Row>{
           {"another host's", ipv6_frame(v6_ids(peer_v6, nobody), 17, udp_header), DropReason::ip_not_local},
           {"a group we are not in",
            ipv6_frame(v6_ids(peer_v6, IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 0xfb)), 17, udp_header),
            DropReason::ip_not_local},
           {"unicast in a group frame", ipv6_frame(group_frame, 17, udp_header),
            DropReason::ip_in_group_frame},
           {"from a group", ipv6_frame(v6_ids(v6_all_nodes), 17, udp_header), DropReason::ip_bad_source},
           {"from us", ipv6_frame(v6_ids(our_v6), 17, udp_header), DropReason::ip_bad_source},
           {"from loopback", ipv6_frame(v6_ids(IpAddress::v6(0, 0, 0, 0, 0, 0, 0, 1)), 17, udp_header),
            DropReason::ip_bad_source},
           {"from nobody", ipv6_frame(v6_ids(v6_unspecified), 17, udp_header), DropReason::ip_bad_source},
           {"from a mapped IPv4 address", from_mapped, DropReason::ip_bad_source},
           {"a jumbo lie", ipv6_frame(v6_ids(), 17, udp_header, {.payload_length = 9}),
            DropReason::ip_truncated},
           {"no transport", ipv6_frame(v6_ids(), 59, {}), DropReason::ip_no_next_header},
       }) {
    SCOPED_TRACE(row.what);
    V6Host host;
    EXPECT_FALSE(host.input(row.frame));
    EXPECT_EQ(host.drops(row.reason), 1u);
    EXPECT_EQ(host.counters.drops(), 1u);
    EXPECT_TRUE(host.sent().empty());
  }
}

TEST(V6Input, AllNodesAndOurSolicitedNodeGroupsAreHeard) {
  for (const IpAddress& group : {v6_all_nodes, our_v6.solicited_node(), our_link_local.solicited_node()}) {
    V6Host host;
    EXPECT_TRUE(host.input(ipv6_frame(v6_ids(peer_v6, group), 17, udp_header)));
    EXPECT_TRUE(host.rx.to_group);
  }
}

// --- Output ----------------------------------------------------------------------------------------------

TEST(V6Output, TheHeaderSaysWhatTheTransportAsked) {
  V6Host host;
  host.reach();
  RouteCache cache;
  const IpSend send{.source = our_v6, .destination = peer_v6, .protocol = 17, .ttl = 3, .tos = 0xb8};
  EXPECT_EQ(host.ip.send(host.packet_of(pattern(100)), send, cache, host.now), DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  const auto view = Ipv6View::parse(ByteView(sent[0].bytes).subspan(14), sent[0].bytes.size() - 14);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->source(), our_v6);
  EXPECT_EQ(view->destination(), peer_v6);
  EXPECT_EQ(view->hop_limit(), 3);
  EXPECT_EQ(view->traffic_class(), 0xb8);
  EXPECT_EQ(view->payload_length(), 100u);
  EXPECT_EQ(view->next_header(), 17);
  EXPECT_EQ(sent[0].ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK, 0u);
}

TEST(V6Output, AnOffloadRequestNamesIpv6) {
  V6Host host;
  host.reach();
  Packet packet = host.packet_of(pattern(100));
  packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = our_v6, .destination = peer_v6, .protocol = 17}, cache,
                         host.now),
            DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].ol_flags & (RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_IPV4 | RTE_MBUF_F_TX_IP_CKSUM),
            RTE_MBUF_F_TX_IPV6);
  EXPECT_EQ(sent[0].l2_len, 14u);
  EXPECT_EQ(sent[0].l3_len, 40u);
}

TEST(V6Output, RoutesGatewaysAndTheMtuAreObeyed) {
  V6Host host;
  EXPECT_EQ(host.send_v6(remote_v6), DropReason::ip_no_route);
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("::/0"), router_v6));
  EXPECT_EQ(host.send_v6(remote_v6), DropReason::none);
  EXPECT_EQ(host.one_sent().nd_target, router_v6) << "the router is asked for, not the destination";
  EXPECT_EQ(host.send_v6(peer_v6, pattern(1461)), DropReason::ip_too_big);
  EXPECT_EQ(host.send_v6(our_v6), DropReason::ip_no_route) << "nothing loops back";
  EXPECT_EQ(host.send_v6(v6_unspecified), DropReason::ip_no_route);
  // The longest prefix wins, whatever the order.
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("2001:db8:ffff::/48"), nobody));
  (void)host.sent();
  EXPECT_EQ(host.send_v6(remote_v6), DropReason::none);
  EXPECT_EQ(host.one_sent().nd_target, nobody);
}

TEST(V6Output, BadRoutesAreRefused) {
  V6Host host;
  const IpPrefix all = *IpPrefix::from_string("::/0");
  EXPECT_FALSE(host.ip.add_route(all, peer_ip)) << "a gateway of the other family";
  EXPECT_FALSE(host.ip.add_route(*IpPrefix::from_string("0.0.0.0/0"), router_v6));
  EXPECT_FALSE(host.ip.add_route(all, our_v6));
  EXPECT_FALSE(host.ip.add_route(all, v6_all_nodes));
  EXPECT_FALSE(host.ip.add_route(all, remote_v6)) << "not on a link of ours";
  EXPECT_TRUE(host.ip.add_route(all, peer_link_local)) << "a router's link-local address is its usual name";
  EXPECT_FALSE(host.ip.add_route(all, router_v6)) << "already present";
}

TEST(V6Source, HasTheScopeAndThePrefixOfTheDestination) {  // RFC 6724 5
  InterfaceConfig port = v6_port();
  const IpAddress second = IpAddress::v6(0xfd00, 0, 0, 1, 0, 0, 0, 1);
  port.v6_addresses.push_back({second, 64});
  V6Host host({}, port);
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("::/0"), router_v6));
  EXPECT_EQ(host.ip.source_for(peer_v6), our_v6);
  EXPECT_EQ(host.ip.source_for(remote_v6), our_v6);
  EXPECT_EQ(host.ip.source_for(IpAddress::v6(0xfd00, 0, 0, 1, 0, 0, 0, 9)), second);
  EXPECT_EQ(host.ip.source_for(IpAddress::v6(0xfd00, 0, 0, 2, 0, 0, 0, 9)), second);
  EXPECT_EQ(host.ip.source_for(peer_link_local), our_link_local);
  EXPECT_EQ(host.ip.source_for(v6_all_nodes), our_link_local);
}

TEST(V6Source, EachRuleOfRfc6724Decides) {  // rule 3: Autoconf.AnAddressIsFormedUsedDeprecatedAndForgotten
  const auto address = [](const char* text) { return *IpAddress::from_string(text); };
  InterfaceConfig port = v6_port();
  port.v6_addresses = {{address("2001:db8::1"), 64}, {address("2001:db8::8000:0:0:1"), 64}, {address("2001:db8:8000::1"), 48},
                       {address("fd00:1::1"), 64}};
  V6Host host({.dad_solicitations = 0}, port);
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("::/0"), router_v6));
  struct Row {
    const char* name;
    const char* destination;
    IpAddress source;
  };
  const Row rows[] = {
      {"rule 1: the same address, though the one before matches as many bits", "2001:db8::8000:0:0:1", address("2001:db8::8000:0:0:1")},
      {"rule 2: the link's scope for the link", "fe80::9", our_link_local},
      {"rule 2: and for its groups", "ff02::9", our_link_local},
      {"rule 2: a larger scope for a site's groups, then rule 8", "ff05::9", address("fd00:1::1")},
      {"rule 2: no link-local source for the world", "3fff::9", address("2001:db8::1")},
      {"rule 8: the longest matching prefix", "2001:db8:8000:5::9", address("2001:db8:8000::1")},
      {"rule 8: of another kind", "fd00:1:0:7::9", address("fd00:1::1")},
      {"rule 8: bits behind the subnet do not count, the first one wins", "2001:db8::8000:0:0:9", address("2001:db8::1")},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.name);
    EXPECT_EQ(host.ip.source_for(address(row.destination)), row.source);
  }
}

// --- ICMPv6 ----------------------------------------------------------------------------------------------

TEST(Icmpv6, AnEchoRequestOfAnySizeComesBackUnchanged) {
  for (const std::size_t size : {0u, 1u, 2u, 55u, 56u, 1451u, 1452u}) {
    SCOPED_TRACE(size);
    V6Host host;
    host.reach();
    EXPECT_FALSE(host.input(icmpv6_frame(v6_ids(), 128, 0, 0x12345678, pattern(size))));
    const Decoded reply = host.one_sent();
    EXPECT_EQ(reply.ids.source, our_v6);
    EXPECT_EQ(reply.ids.destination, peer_v6);
    EXPECT_EQ(reply.icmp_type, 129);
    EXPECT_EQ(reply.icmp_rest, 0x12345678u);
    EXPECT_EQ(reply.payload, pattern(size));
    EXPECT_EQ(host.counters[Counter::icmp6_out_echo_reps], 1u);
    EXPECT_EQ(host.counters.drops(), 0u);
  }
}

TEST(Icmpv6, AnEchoToALinkLocalAddressIsAnsweredFromIt) {
  V6Host host;
  host.reach(peer_link_local);
  EXPECT_FALSE(host.input(icmpv6_frame(v6_ids(peer_link_local, our_link_local), 128, 0, 1, pattern(9))));
  EXPECT_EQ(host.one_sent().ids.source, our_link_local);
}

TEST(Icmpv6, WhatIsNotAnsweredIsNamed) {
  struct Row {
    const char* what;
    Frame frame;
    DropReason reason;
  };
  Frame bad_checksum = icmpv6_frame(v6_ids(), 128, 0, 1, pattern(9));
  bad_checksum.back() ^= 1;
  const Frame router = icmpv6_frame(v6_ids(peer_link_local, v6_all_nodes), 137, 0, 0, Frame(32, 0), 255);
  for (const Row& row : std::initializer_list<Row>{
           {"bad checksum", bad_checksum, DropReason::icmp_bad_checksum},
           {"echo to all nodes", icmpv6_frame(v6_ids(peer_v6, v6_all_nodes), 128, 0, 1, {}),
            DropReason::icmp_broadcast_echo},
           {"echo from nobody", icmpv6_frame(v6_ids(v6_unspecified), 128, 0, 1, {}),
            DropReason::ip_bad_source},
           {"redirect", router, DropReason::icmp_ignored_type},
           {"echo reply", icmpv6_frame(v6_ids(), 129, 0, 1, {}), DropReason::icmp_ignored_type},
           {"truncated", ipv6_frame(v6_ids(), 58, Frame(7, 0)), DropReason::icmp_truncated},
           {"empty", ipv6_frame(v6_ids(), 58, {}), DropReason::icmp_truncated},
       }) {
    SCOPED_TRACE(row.what);
    V6Host host;
    EXPECT_FALSE(host.input(row.frame));
    EXPECT_EQ(host.drops(row.reason), 1u);
    EXPECT_TRUE(host.sent().empty());
  }
}

TEST(Icmpv6, ErrorsAreHandedUp) {
  V6Host host;
  EXPECT_TRUE(host.input(icmpv6_frame(v6_ids(), 2, 0, 1280, Frame(48, 0))));
  EXPECT_EQ(host.rx.protocol, 58);
  EXPECT_EQ(host.counters[Counter::icmp6_in_too_bigs], 1u);
}

/// What `host` says about `frame`; kind `other` when it says nothing.
Decoded error_about(V6Host& host, const Frame& frame) {
  host.reach();
  (void)host.input(frame);
  const auto sent = host.sent();
  if (sent.empty()) return {};
  const Decoded d = decode(sent.back().bytes);
  EXPECT_EQ(d.problem, "");
  EXPECT_LE(d.ip_length, 1280) << "RFC 4443 2.4 (c)";
  return d;
}

TEST(Icmpv6, ParameterProblemsPointAtTheOctet) {
  struct Row {
    const char* what;
    std::uint8_t next;
    Frame extensions;
    std::uint8_t code;
    std::uint32_t pointer;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"unknown transport", 132, {}, 1, 6},
           {"unknown transport behind options", 60, {132, 0, 1, 4, 0, 0, 0, 0}, 1, 40},
           {"unknown option", 60, {17, 0, 0x80, 4, 0, 0, 0, 0}, 2, 42},
           {"routing header in use", 43, {17, 0, 0, 1, 0, 0, 0, 0}, 0, 42},
       }) {
    SCOPED_TRACE(row.what);
    V6Host host;
    const Frame frame = ipv6_frame(v6_ids(), row.next, pattern(1400),
                                   {.extensions = row.extensions, .first_header = row.next});
    const Decoded error = error_about(host, frame);
    EXPECT_EQ(error.icmp_type, 4);
    EXPECT_EQ(error.icmp_code, row.code);
    EXPECT_EQ(error.icmp_rest, row.pointer);
    ASSERT_EQ(error.payload.size(), 1280u - 48u);
    EXPECT_TRUE(std::equal(error.payload.begin(), error.payload.end(), frame.begin() + 14))
        << "quoted from its header on";
    EXPECT_EQ(host.counters[Counter::icmp6_out_parm_problems], 1u);
  }
}

TEST(Icmpv6, GroupsHearOnlyOfOptionsThatAskForIt) {  // RFC 4443 2.4 (e)
  const auto about = [](std::uint8_t option) {
    V6Host host;
    const Frame frame = ipv6_frame(v6_ids(peer_v6, v6_all_nodes), 60, pattern(8),
                                   {.extensions = {17, 0, option, 4, 0, 0, 0, 0}, .first_header = 60});
    return error_about(host, frame);
  };
  const Decoded told = about(0x80);
  EXPECT_EQ(told.icmp_type, 4);
  EXPECT_EQ(told.ids.source, our_v6);
  EXPECT_EQ(about(0xc0).kind, Decoded::Kind::other);
  V6Host host;
  EXPECT_EQ(error_about(host, ipv6_frame(v6_ids(peer_v6, v6_all_nodes), 132, pattern(8))).kind,
            Decoded::Kind::other);
}

TEST(Icmpv6, ErrorsOfBothFamiliesShareOneRateLimit) {
  V6Host host({.icmp_errors_per_second = 20});
  host.reach();
  host.make_reachable(peer_ip, peer_mac);
  for (int i = 0; i < 10; ++i) {
    EXPECT_FALSE(host.input(ipv6_frame(v6_ids(), 132, pattern(8))));
    EXPECT_FALSE(host.input(ipv4_frame(Ipv4Spec{.protocol = 132})));
  }
  EXPECT_EQ(host.sent().size(), 1u);
  EXPECT_EQ(host.drops(DropReason::icmp_rate_limited), 19u);
}

TEST(V6Random, AnyFrameIsSurvived) {
  V6Host host;
  host.reach();
  Rng rng(7);
  Frame base =
      ipv6_frame(v6_ids(), 60, udp_header,
                 {.extensions = {43, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 0}, .first_header = 60});
  for (int i = 0; i < 100'000; ++i) {
    Frame frame = i % 2 == 0 ? base : solicitation(peer_v6, our_v6);
    for (std::uint32_t n = 1 + rng.below(4); n > 0; --n)
      frame[14 + rng.below(static_cast<std::uint32_t>(frame.size() - 14))] =
          static_cast<std::uint8_t>(rng.next());
    if (rng.below(4) == 0) frame.resize(14 + rng.below(static_cast<std::uint32_t>(frame.size() - 13)));
    (void)host.input(frame);
    (void)host.sent();
  }
  host.rx.packet.reset();
  host.run_for(60_s);
  (void)host.sent();
  EXPECT_EQ(host.heap.in_use(), 0u);
}

}  // namespace
}  // namespace pollux::test
