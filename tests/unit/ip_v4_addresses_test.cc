// Several IPv4 addresses on a port: all are ours, ARP answers for each, and each is the source where it fits best.
#include "ip_v6_host.h"

namespace pollux::test {
namespace {

const IpAddress second = IpAddress::v4(192, 0, 2, 77);       // in the first one's subnet
const IpAddress elsewhere = IpAddress::v4(203, 0, 113, 1);   // a subnet of its own
const IpAddress link_local = IpAddress::v4(169, 254, 7, 1);

IpPrefix prefix_of(const char* text) {
  return IpPrefix::from_string(text).value();
}

InterfaceConfig port_with_four() {
  InterfaceConfig config = our_port();
  config.more_v4_addresses = {{second, 24}, {elsewhere, 28}, {link_local, 16}};
  return config;
}

struct ManyAddresses : ::testing::Test {
  IpHost host{{}, port_with_four()};
};

TEST_F(ManyAddresses, AllAreOurs) {
  for (const IpAddress& ours : {our_ip, second, elsewhere, link_local}) {
    SCOPED_TRACE(ours.to_string());
    EXPECT_TRUE(host.ip.is_local(ours));
    EXPECT_TRUE(host.input(ipv4_frame({.destination = ours})));
    EXPECT_EQ(host.rx.destination, ours);
    EXPECT_FALSE(host.input(ipv4_frame({.source = ours})));
  }
  EXPECT_EQ(host.drops(DropReason::ip_bad_source), 4u);
  EXPECT_FALSE(host.input(ipv4_frame({.destination = IpAddress::v4(203, 0, 113, 2)})));
  EXPECT_EQ(host.drops(DropReason::ip_not_local), 1u);
}

TEST_F(ManyAddresses, EachSubnetHasItsBroadcastAddress) {
  for (const IpAddress& group : {subnet_broadcast, IpAddress::v4(203, 0, 113, 15), IpAddress::v4(169, 254, 255, 255)}) {
    SCOPED_TRACE(group.to_string());
    EXPECT_TRUE(host.ip.is_group(group));
    EXPECT_TRUE(host.input(ipv4_frame({.mac_destination = MacAddress::broadcast(), .destination = group, .protocol = 17})));
    EXPECT_TRUE(host.rx.to_group);
  }
}

TEST_F(ManyAddresses, ArpAnswersForEach) {
  const std::pair<IpAddress, IpAddress> pairs[] = {{our_ip, peer_ip},
                                                   {second, peer_ip},
                                                   {elsewhere, IpAddress::v4(203, 0, 113, 9)},
                                                   {link_local, IpAddress::v4(169, 254, 9, 9)}};
  for (const auto& [ours, theirs] : pairs) {
    SCOPED_TRACE(ours.to_string());
    EXPECT_FALSE(host.input(arp_request(peer_mac, theirs, ours)));
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), ours);
    EXPECT_TRUE(host.knows(theirs)) << "learnt, as it lies in one of the subnets";
  }
}

TEST_F(ManyAddresses, AConflictIsAnsweredForTheAddressAtStake) {
  EXPECT_FALSE(host.input(arp_reply(other_mac, elsewhere)));
  EXPECT_EQ(host.counters[Counter::arp_conflicts], 1u);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), elsewhere);
  EXPECT_EQ(arp_of(sent[0].bytes).target_ip(), elsewhere);
}

TEST_F(ManyAddresses, EachIsAnnouncedTwice) {
  Rng rng{1};
  Ip ip({}, host.heap.pool(), rng);
  ASSERT_TRUE(ip.add_interface(port_with_four(), host.now));
  EXPECT_EQ(ip.tx(0).size(), 4u);
  ip.advance(host.now + Duration::from_s(3));
  EXPECT_EQ(ip.tx(0).size(), 8u);
  EXPECT_EQ(ip.counters()[Counter::arp_requests_out], 8u);
}

TEST_F(ManyAddresses, WhoIsAskedIsAskedFromItsOwnSubnet) {
  const std::pair<IpAddress, IpAddress> pairs[] = {{peer_ip, our_ip},
                                                   {IpAddress::v4(203, 0, 113, 9), elsewhere},
                                                   {IpAddress::v4(169, 254, 9, 9), link_local}};
  for (const auto& [destination, source] : pairs) {
    SCOPED_TRACE(destination.to_string());
    EXPECT_EQ(host.send(destination, pattern(8)), DropReason::none);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), source);
    EXPECT_EQ(arp_of(sent[0].bytes).target_ip(), destination);
  }
}

TEST_F(ManyAddresses, TheSourceFollowsRfc6724) {
  const auto address = [](const char* text) { return *IpAddress::from_string(text); };
  ASSERT_TRUE(host.ip.add_route(prefix_of("0.0.0.0/0"), gateway_ip));
  ASSERT_TRUE(host.ip.add_route(prefix_of("198.51.100.0/24"), address("203.0.113.9")));
  struct Case {
    const char* name;
    const char* destination;
    IpAddress source;
  };
  const Case cases[] = {
      {"rule 1: the same address", "192.0.2.77", second},
      {"rule 2: the link's scope for the link", "169.254.1.1", link_local},
      {"rule 2: no link-local source for the world", "169.253.1.1", our_ip},
      {"the first of a subnet with two", "192.0.2.200", our_ip},
      {"the subnet's own", "203.0.113.9", elsewhere},
      {"through a gateway: that of its subnet", "8.8.8.8", our_ip},
      {"though another matches more bits", "203.0.112.1", our_ip},
      {"through the other gateway", "198.51.100.7", elsewhere},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    EXPECT_EQ(host.ip.source_for(address(c.destination)), c.source);
  }
}

TEST(ManyAddressesSource, OfSubnetsWithinEachOtherTheNarrowerIsTaken) {  // RFC 6724 5, rule 8
  const auto address = [](const char* text) { return *IpAddress::from_string(text); };
  InterfaceConfig port = our_port();
  port.address = {address("10.0.0.1"), 8};
  port.more_v4_addresses = {{address("10.1.2.3"), 16}};
  IpHost host({}, port);
  EXPECT_EQ(host.ip.source_for(address("10.1.9.9")), address("10.1.2.3"));
  EXPECT_EQ(host.ip.source_for(address("10.2.9.9")), address("10.0.0.1"));
  EXPECT_EQ(host.ip.source_for(address("10.0.9.9")), address("10.0.0.1"));
}

TEST_F(ManyAddresses, GatewaysAndNeighboursMayLieInAnySubnet) {
  EXPECT_TRUE(host.ip.add_route(prefix_of("10.0.0.0/8"), IpAddress::v4(203, 0, 113, 9)));
  EXPECT_TRUE(host.ip.add_neighbor(IpAddress::v4(203, 0, 113, 10), other_mac));
  EXPECT_FALSE(host.ip.add_neighbor(IpAddress::v4(203, 0, 113, 20), other_mac)) << "beyond the /28";
}

TEST(ManyAddressesSetUp, MistakesAreRefused) {
  struct Case {
    const char* name;
    IpPrefix first;
    std::vector<IpPrefix> more;
    ErrorCode code;
    const char* says;
  };
  const std::vector<IpPrefix> eight(8, prefix_of("10.0.0.1/24"));
  const Case cases[] = {
      {"the same twice", prefix_of("10.0.0.1/24"), {prefix_of("10.0.0.1/25")}, ErrorCode::address_in_use, "given twice"},
      {"twice among the further", prefix_of("10.0.0.1/24"), {prefix_of("10.1.0.1/24"), prefix_of("10.1.0.1/24")},
       ErrorCode::address_in_use, "given twice"},
      {"another port's", prefix_of("10.0.0.1/24"), {{our_ip, 25}}, ErrorCode::address_in_use, "already ours"},
      {"another port's subnet", prefix_of("10.0.0.1/24"), {{peer_ip, 24}}, ErrorCode::address_in_use, "route"},
      {"another port's broadcast address", prefix_of("10.0.0.1/24"), {{subnet_broadcast, 16}}, ErrorCode::address_in_use,
       "broadcast"},
      {"no host", prefix_of("10.0.0.1/24"), {prefix_of("10.1.0.255/24")}, ErrorCode::invalid_argument, "unicast"},
      {"nine", prefix_of("10.1.0.1/24"), eight, ErrorCode::limit_reached, "at most 8"},
      {"further ones without a first", {}, {prefix_of("10.0.0.1/24")}, ErrorCode::invalid_argument, "without a first"},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    InterfaceConfig config = our_port();
    config.mac = other_mac;
    config.address = c.first;
    config.more_v4_addresses = c.more;
    const auto id = host.ip.add_interface(config, host.now);
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code, c.code);
    EXPECT_NE(id.error().text.find(c.says), std::string::npos) << id.error().text;
    EXPECT_EQ(host.ip.interface_count(), 1u);
  }
}

TEST(OnlyV6, APortWithoutIPv4NeitherHearsNorSendsIt) {
  InterfaceConfig config = v6_port();
  config.address = {};
  V6Host host({}, config);
  host.reach();
  EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
  EXPECT_EQ(host.one_sent().ids.destination, peer_v6);
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, our_ip)));
  EXPECT_FALSE(host.input(ipv4_frame({})));
  EXPECT_FALSE(host.input(ipv4_frame({.mac_destination = MacAddress::broadcast(),
                                      .destination = IpAddress::v4(255, 255, 255, 255)})));
  EXPECT_EQ(host.drops(DropReason::eth_unknown_type), 3u);
  EXPECT_EQ(host.send(peer_ip, pattern(8)), DropReason::ip_no_route);
  EXPECT_EQ(host.send(IpAddress::v4(255, 255, 255, 255), pattern(8)), DropReason::ip_no_route);
  EXPECT_EQ(host.send(IpAddress::v4(224, 1, 2, 3), pattern(8)), DropReason::ip_no_route);
  EXPECT_FALSE(host.ip.is_local(IpAddress::v4(0, 0, 0, 0)));
  EXPECT_FALSE(host.ip.source_for(peer_ip).has_value());
  EXPECT_FALSE(host.ip.set_membership({}, 0, IpAddress::v4(239, 1, 2, 3), {}));
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.counters[Counter::arp_requests_out], 0u);
}

}  // namespace
}  // namespace pollux::test
