// Router advertisements and stateless autoconfiguration (RFC 4861 6.3, RFC 4862 5.5), and static neighbours.
#include <algorithm>

#include "ip_v6_host.h"

namespace pollux::test {
namespace {

const IpPrefix advertised = *IpPrefix::from_string("2001:db8:1::/64");
const IpAddress formed = IpAddress::v6(0x2001, 0xdb8, 1, 0, 0x0000, 0x00ff, 0xfe00, 0x0001);  // of our_mac
const IpAddress on_link = IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, 0x99);
const IpAddress other_link_local = IpAddress::v6_link_local(other_mac);
constexpr std::uint8_t on_link_flag = 0x80, autonomous_flag = 0x40;

void append_be32(Frame& to, std::uint32_t value) {
  to.resize(to.size() + 4);
  store_be32(&to[to.size() - 4], value);
}

struct Advertisement {
  std::uint16_t lifetime_s = 1800;
  std::uint32_t mtu = 0;
  std::optional<IpPrefix> prefix = {};
  std::uint8_t flags = on_link_flag | autonomous_flag;
  std::uint32_t valid_s = 7200 * 2;
  std::uint32_t preferred_s = 7200;
  MacAddress mac = peer_mac;
  std::optional<IpAddress> source = {};
  std::uint8_t hop_limit = 255;
};

Frame frame_of(const Advertisement& a) {
  Frame body(8);  // reachable time, retransmission timer
  body.insert(body.end(), {1, 1});
  body.insert(body.end(), a.mac.octets.begin(), a.mac.octets.end());
  if (a.mtu != 0) {
    body.insert(body.end(), {5, 1, 0, 0});
    append_be32(body, a.mtu);
  }
  body.insert(body.end(), {25, 3, 0, 0, 0, 0, 0, 9});  // RDNSS, ignored
  body.insert(body.end(), peer_v6.octets().begin(), peer_v6.octets().end());
  if (a.prefix) {
    body.insert(body.end(), {3, 4, a.prefix->length, a.flags});
    append_be32(body, a.valid_s);
    append_be32(body, a.preferred_s);
    append_be32(body, 0);
    body.insert(body.end(), a.prefix->address.octets().begin(), a.prefix->address.octets().end());
  }
  return icmpv6_frame(v6_ids(a.source.value_or(IpAddress::v6_link_local(a.mac)), v6_all_nodes, a.mac), 134, 0,
                      64u << 24 | a.lifetime_s, body, a.hop_limit);
}

InterfaceConfig automatic_port(bool with_address = false) {
  InterfaceConfig config = with_address ? v6_port() : our_port();
  config.router_advertisements = true;
  return config;
}

struct AutoHost : V6Host {
  explicit AutoHost(const InterfaceConfig& port = automatic_port()) : V6Host({}, port) {}
  void hears(const Advertisement& a) { EXPECT_FALSE(input(frame_of(a))); }
  const V6Address* address(const IpAddress& wanted) const {
    for (const V6Address& a : ip.v6_addresses(0))
      if (a.address() == wanted) return &a;
    return nullptr;
  }
  /// Where a packet to `destination` goes first; nothing: nowhere.
  std::optional<IpAddress> next_hop(const IpAddress& destination) {
    RouteCache cache;
    if (!ip.resolve(destination, cache, now)) return std::nullopt;
    return ip.neighbors()[cache.neighbor].address;
  }
};

TEST(Autoconf, ThreeSolicitationsAreSentAndAnAdvertisementEndsThem) {
  AutoHost quiet;  // its constructor has let three seconds pass
  quiet.run_for(Duration::from_s(20));
  std::size_t asked = quiet.counters[Counter::nd_router_solicitations_out];
  EXPECT_GE(asked, 1u);
  EXPECT_LE(asked, 3u);
  bool well_formed = false;
  for (const SentFrame& frame : quiet.sent()) {
    const Decoded d = decode(frame.bytes);
    if (d.kind != Decoded::Kind::icmpv6 || d.icmp_type != 133) continue;
    EXPECT_EQ(d.problem, "");
    EXPECT_EQ(d.ttl, 255);
    EXPECT_EQ(d.ids.source, our_link_local);
    EXPECT_EQ(d.ids.destination, IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 2));
    well_formed = true;
  }
  EXPECT_TRUE(well_formed);
  AutoHost answered;
  answered.hears({});
  answered.run_for(Duration::from_s(20));
  EXPECT_EQ(answered.counters[Counter::nd_router_solicitations_out], 0u);
}

TEST(Autoconf, ARouterBecomesTheDefaultRouteForItsLifetime) {
  AutoHost host;
  EXPECT_EQ(host.next_hop(remote_v6), std::nullopt);
  host.hears({.lifetime_s = 100});
  EXPECT_EQ(host.next_hop(remote_v6), peer_link_local);
  EXPECT_EQ(host.state_of(peer_link_local), NeighborState::stale) << "its link-layer address came along";
  host.run_for(Duration::from_s(99));
  EXPECT_EQ(host.next_hop(remote_v6), peer_link_local);
  host.run_for(Duration::from_s(2));
  EXPECT_EQ(host.next_hop(remote_v6), std::nullopt);
  host.hears({.lifetime_s = 100});
  host.hears({.lifetime_s = 0});
  EXPECT_EQ(host.next_hop(remote_v6), std::nullopt) << "it said that it no longer is one";
}

TEST(Autoconf, AConfiguredDefaultRouteComesFirst) {
  AutoHost host(automatic_port(true));
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("::/0"), router_v6));
  host.hears({});
  EXPECT_EQ(host.next_hop(remote_v6), router_v6);
}

TEST(Autoconf, ARouterThatDoesNotAnswerIsLeftForAnother) {  // RFC 4861 6.3.6
  AutoHost host;
  host.hears({.prefix = advertised});
  host.run_for(Duration::from_s(3));
  host.hears({.mac = other_mac});
  EXPECT_EQ(host.next_hop(remote_v6), peer_link_local);
  RouteCache cache;
  for (int i = 0; i < 40; ++i) {
    (void)host.ip.send(host.packet_of(pattern(8)), {.source = formed, .destination = remote_v6, .protocol = 17}, cache,
                       host.now);
    host.run_for(Duration::from_ms(500));
    (void)host.sent();
  }
  EXPECT_EQ(host.next_hop(remote_v6), other_link_local);
}

TEST(Autoconf, AnOnLinkPrefixIsAConnectedRouteForItsLifetime) {
  AutoHost host;
  host.hears({.prefix = advertised, .flags = 0});
  EXPECT_EQ(host.next_hop(on_link), peer_link_local) << "not said to be on the link";
  host.hears({.prefix = advertised, .flags = on_link_flag, .valid_s = 50});
  EXPECT_EQ(host.next_hop(on_link), on_link);
  host.run_for(Duration::from_s(51));
  EXPECT_EQ(host.next_hop(on_link), peer_link_local);
  host.hears({.prefix = advertised, .flags = on_link_flag});
  EXPECT_EQ(host.next_hop(on_link), on_link);
  host.hears({.prefix = advertised, .flags = on_link_flag, .valid_s = 0, .preferred_s = 0});
  EXPECT_EQ(host.next_hop(on_link), peer_link_local);
}

TEST(Autoconf, WhatRoutersToldOutlivesAChangeOfTheConfiguration) {
  AutoHost host;
  host.hears({.lifetime_s = 100, .prefix = advertised, .flags = on_link_flag, .valid_s = 50});
  const auto change = [&](const std::vector<StaticRoute>& routes, std::vector<IpPrefix> addresses = {}) {
    InterfaceConfig port = automatic_port();
    port.v6_addresses = std::move(addresses);
    auto plan = plan_ip({IpOptions{}, {port}, routes, {}}, host.heap.pool());
    ASSERT_TRUE(plan) << plan.error().text;
    host.ip.change(*plan, host.now);
  };
  change({});
  EXPECT_EQ(host.next_hop(on_link), on_link);
  EXPECT_EQ(host.next_hop(remote_v6), peer_link_local);
  // What is configured comes first, for as long as it is.
  const IpPrefix subnet{IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1), 64};
  change({{v6_everywhere, router_v6}, {advertised, router_v6}}, {subnet});
  EXPECT_EQ(host.next_hop(on_link), router_v6);
  EXPECT_EQ(host.next_hop(remote_v6), router_v6);
  change({});
  host.hears({.lifetime_s = 100});
  EXPECT_EQ(host.next_hop(remote_v6), peer_link_local);
  host.run_for(Duration::from_s(101));
  EXPECT_EQ(host.next_hop(remote_v6), std::nullopt) << "their lifetimes go on";
}

TEST(Autoconf, AnAddressIsFormedUsedDeprecatedAndForgotten) {  // RFC 4862 5.5.3, 5.5.4
  AutoHost host(automatic_port(true));
  host.hears({.prefix = advertised, .valid_s = 300, .preferred_s = 100});
  ASSERT_NE(host.address(formed), nullptr);
  EXPECT_EQ(host.address(formed)->state, V6AddressState::tentative);
  EXPECT_FALSE(host.ip.is_local(formed)) << "before duplicates were looked for";
  host.run_for(Duration::from_s(3));
  EXPECT_TRUE(host.ip.is_local(formed));
  EXPECT_EQ(host.ip.source_for(on_link), formed);
  host.run_for(Duration::from_s(100));
  EXPECT_TRUE(host.ip.is_local(formed)) << "deprecated, and still answered for";
  EXPECT_EQ(host.ip.source_for(on_link), our_v6) << "RFC 6724 rule 3";
  host.hears({.prefix = advertised, .valid_s = 300, .preferred_s = 100});
  EXPECT_EQ(host.ip.source_for(on_link), formed) << "preferred again";
  host.run_for(Duration::from_s(301));
  EXPECT_FALSE(host.ip.is_local(formed));
  EXPECT_EQ(host.address(formed), nullptr);
}

TEST(Autoconf, AForgedLifetimeDoesNotEndAnAddressWithinTwoHours) {
  AutoHost host;
  host.hears({.prefix = advertised, .valid_s = 86400, .preferred_s = 86400});
  host.run_for(Duration::from_s(3));
  host.hears({.prefix = advertised, .valid_s = 1, .preferred_s = 0});
  host.run_for(Duration::from_s(7100));
  EXPECT_TRUE(host.ip.is_local(formed));
  host.hears({.prefix = advertised, .valid_s = 1, .preferred_s = 0});
  host.run_for(Duration::from_s(200));
  EXPECT_FALSE(host.ip.is_local(formed));
}

TEST(Autoconf, WhatMakesNoAddressIsIgnored) {
  AutoHost host;
  host.hears({.prefix = IpPrefix{advertised.address, 60}});
  host.hears({.prefix = advertised, .valid_s = 10, .preferred_s = 11});
  host.hears({.prefix = advertised, .valid_s = 0, .preferred_s = 0});
  host.hears({.prefix = advertised, .flags = on_link_flag});
  host.run_for(Duration::from_s(3));
  EXPECT_EQ(host.ip.v6_addresses(0).size(), 1u) << "the link-local one";
  for (std::uint16_t i = 0; i < 20; ++i)
    host.hears({.prefix = IpPrefix{IpAddress::v6(0x2001, 0xdb8, 2, i, 0, 0, 0, 0), 64}});
  EXPECT_EQ(host.ip.v6_addresses(0).size(), v6_addresses_max);
}

TEST(Autoconf, ADuplicateIsNotUsed) {
  AutoHost host;
  host.hears({.prefix = advertised});
  EXPECT_FALSE(host.input(advertisement(formed, nd_override, peer_mac, v6_all_nodes)));
  host.run_for(Duration::from_s(5));
  EXPECT_FALSE(host.ip.is_local(formed));
  EXPECT_EQ(host.counters[Counter::nd_duplicates], 1u);
}

TEST(Autoconf, TheMtuOfTheLinkHoldsForIpv6) {
  AutoHost host(automatic_port(true));
  for (const std::uint32_t implausible : {1279u, 1501u, 9000u}) {
    host.hears({.mtu = implausible});
    EXPECT_EQ(host.ip.mtu(0, false), 1500);
  }
  host.hears({.mtu = 1400});
  EXPECT_EQ(host.ip.mtu(0, false), 1400);
  EXPECT_EQ(host.ip.mtu(0, true), 1500);
  host.reach();
  EXPECT_EQ(host.send_v6(peer_v6, pattern(1361)), DropReason::ip_too_big);
  EXPECT_EQ(host.send_v6(peer_v6, pattern(1360)), DropReason::none);
}

TEST(Autoconf, BadAdvertisementsAreDroppedByName) {  // RFC 4861 6.1.2
  struct Row {
    const char* what;
    Advertisement message;
    DropReason reason;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"through a router", {.hop_limit = 64}, DropReason::nd_hop_limit},
           {"not from a link-local address", {.source = peer_v6}, DropReason::nd_bad_sender},
           {"with a group's MAC", {.mac = MacAddress::broadcast(), .source = peer_link_local}, DropReason::nd_bad_sender},
       }) {
    SCOPED_TRACE(row.what);
    AutoHost host;
    host.hears(row.message);
    EXPECT_EQ(host.drops(row.reason), 1u);
    EXPECT_EQ(host.next_hop(remote_v6), std::nullopt);
  }
  AutoHost host;
  Frame cut = frame_of({.prefix = advertised});
  EXPECT_FALSE(host.input(icmpv6_frame(v6_ids(peer_link_local, v6_all_nodes), 134, 0, 1800,
                                       Frame{0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0}, 255)));
  EXPECT_EQ(host.drops(DropReason::nd_malformed), 1u) << "an option without a length";
}

TEST(Autoconf, IsOffUnlessConfigured) {
  V6Host host;
  EXPECT_FALSE(host.input(frame_of({.prefix = advertised})));
  EXPECT_EQ(host.drops(DropReason::icmp_ignored_type), 1u);
  EXPECT_EQ(host.ip.v6_addresses(0).size(), 2u);
  EXPECT_EQ(host.send_v6(remote_v6), DropReason::ip_no_route);
  host.run_for(Duration::from_s(20));
  EXPECT_EQ(host.counters[Counter::nd_router_solicitations_out], 0u);
}

TEST(Autoconf, AFloodOfRoutersIsBounded) {
  AutoHost host;
  for (std::uint8_t i = 1; i < 100; ++i) host.hears({.lifetime_s = 100, .mac = MacAddress{{2, 0, 0, 0, 1, i}}});
  EXPECT_TRUE(host.next_hop(remote_v6).has_value());
  host.run_for(Duration::from_s(101));
  EXPECT_EQ(host.next_hop(remote_v6), std::nullopt);
}

// --- Static neighbours -----------------------------------------------------------------------------------

TEST(StaticNeighbor, IsUsedAtOnceAndForEver) {
  V6Host host;
  ASSERT_TRUE(host.ip.add_neighbor(peer_ip, peer_mac));
  ASSERT_TRUE(host.ip.add_neighbor(peer_v6, peer_mac));
  for (int round = 0; round < 2; ++round) {
    EXPECT_EQ(host.send(peer_ip, pattern(8)), DropReason::none);
    EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 2u) << "and nobody is asked";
    for (const SentFrame& frame : sent) EXPECT_EQ(ethernet_of(frame.bytes).destination(), peer_mac);
    host.run_for(Duration::from_s(4000));
  }
}

TEST(StaticNeighbor, BelievesNobodyElse) {
  V6Host host;
  ASSERT_TRUE(host.ip.add_neighbor(peer_ip, peer_mac));
  ASSERT_TRUE(host.ip.add_neighbor(peer_v6, peer_mac));
  EXPECT_FALSE(host.input(arp_reply(other_mac, peer_ip)));
  EXPECT_FALSE(host.input(arp_request(other_mac, peer_ip, our_ip)));
  EXPECT_FALSE(host.input(advertisement(peer_v6, nd_override, other_mac)));
  (void)host.sent();
  EXPECT_EQ(host.send(peer_ip, pattern(8)), DropReason::none);
  EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
  for (const SentFrame& frame : host.sent()) EXPECT_EQ(ethernet_of(frame.bytes).destination(), peer_mac);
}

TEST(StaticNeighbor, BadOnesAreRefusedWithAReason) {
  V6Host host;
  for (const IpAddress& address : {our_ip, our_v6, subnet_broadcast, remote_ip, remote_v6, IpAddress()})
    EXPECT_FALSE(host.ip.add_neighbor(address, peer_mac)) << address.to_string();
  EXPECT_FALSE(host.ip.add_neighbor(peer_ip, MacAddress::broadcast()));
  EXPECT_TRUE(host.ip.add_neighbor(peer_ip, peer_mac));
  EXPECT_FALSE(host.ip.add_neighbor(peer_ip, peer_mac)) << "twice";
}

}  // namespace
}  // namespace pollux::test
