// Interfaces, addresses and routes.
#include "ip_host.h"

namespace pollux::test {
namespace {

IpPrefix prefix(const char* text) {
  return IpPrefix::from_string(text).value();
}
IpAddress address(const char* text) {
  return IpAddress::from_string(text).value();
}

struct BadInterface {
  const char* name;
  InterfaceConfig config;
  ErrorCode code;
  const char* says;
};

InterfaceConfig with(const char* subnet) {
  InterfaceConfig config = our_port();
  config.name = "port1";
  config.address = prefix(subnet);
  return config;
}
InterfaceConfig with_mac(const MacAddress& mac) {
  InterfaceConfig config = with("203.0.113.1/24");
  config.mac = mac;
  return config;
}
InterfaceConfig with_mtu(std::uint16_t mtu, bool multi_segment = true) {
  InterfaceConfig config = with("203.0.113.1/24");
  config.mtu = mtu;
  config.offloads.multi_segment = multi_segment;
  return config;
}

TEST(IpInterface, MistakesAreRefusedWithATextThatNamesThem) {
  const BadInterface cases[] = {
      {"zero MAC", with_mac({}), ErrorCode::invalid_argument, "00:00:00:00:00:00"},
      {"group MAC", with_mac(MacAddress::broadcast()), ErrorCode::invalid_argument, "ff:ff:ff:ff:ff:ff"},
      {"network address", with("203.0.113.0/24"), ErrorCode::invalid_argument, "203.0.113.0/24"},
      {"broadcast address", with("203.0.113.255/24"), ErrorCode::invalid_argument, "unicast"},
      {"multicast", with("224.1.2.3/24"), ErrorCode::invalid_argument, "unicast"},
      {"class E", with("240.1.2.3/24"), ErrorCode::invalid_argument, "unicast"},
      {"loopback", with("127.0.0.1/8"), ErrorCode::invalid_argument, "unicast"},
      {"this network", with("0.1.2.3/8"), ErrorCode::invalid_argument, "unicast"},
      {"no prefix length", with("203.0.113.1/0"), ErrorCode::invalid_argument, "1..32"},
      {"MTU too small", with_mtu(575), ErrorCode::invalid_argument, "576..9000"},
      {"MTU too large", with_mtu(9001), ErrorCode::invalid_argument, "576..9000"},
      {"MTU beyond an mbuf on a port without chains", with_mtu(2035, false), ErrorCode::invalid_argument,
       "2048"},
      {"address of another port", with("192.0.2.1/25"), ErrorCode::address_in_use, "192.0.2.1"},
      {"subnet of another port", with("192.0.2.7/24"), ErrorCode::address_in_use, "192.0.2"},
  };
  for (const BadInterface& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    const auto id = host.ip.add_interface(c.config, host.now);
    ASSERT_FALSE(id.has_value());
    EXPECT_EQ(id.error().code, c.code);
    EXPECT_NE(id.error().text.find("port1"), std::string::npos) << id.error().text;
    EXPECT_NE(id.error().text.find(c.says), std::string::npos) << id.error().text;
    EXPECT_EQ(host.ip.interface_count(), 1u);
  }
}

TEST(IpInterface, EdgesOfWhatIsAllowedAreAccepted) {
  for (const InterfaceConfig& config : {with("203.0.113.0/31"), with("203.0.113.1/32"), with_mtu(576),
                                        with_mtu(9000), with_mtu(2034, false)}) {
    IpHost host;
    const auto id = host.ip.add_interface(config, host.now);
    ASSERT_TRUE(id.has_value()) << id.error().text;
    EXPECT_EQ(*id, 1);
    EXPECT_EQ(host.ip.mtu(1, true), config.mtu);
    (void)host.sent(1);
  }
}

TEST(IpInterface, AtMostEight) {
  IpHost host;
  for (int i = 1; i < 8; ++i)
    ASSERT_TRUE(host.ip.add_interface(with(("10." + std::to_string(i) + ".0.1/24").c_str()), host.now));
  const auto id = host.ip.add_interface(with("10.9.0.1/24"), host.now);
  ASSERT_FALSE(id.has_value());
  EXPECT_EQ(id.error().code, ErrorCode::limit_reached);
  for (InterfaceId i = 0; i < 8; ++i) (void)host.sent(i);
}

TEST(IpAddresses, LocalAndGroup) {
  IpHost host;
  ASSERT_TRUE(host.ip.add_interface(with("203.0.113.0/31"), host.now));
  (void)host.sent(1);
  EXPECT_TRUE(host.ip.is_local(our_ip));
  EXPECT_TRUE(host.ip.is_local(address("203.0.113.0")));
  for (const char* text : {"192.0.2.2", "203.0.113.1", "127.0.0.1", "0.0.0.0"})
    EXPECT_FALSE(host.ip.is_local(address(text)));
  for (const char* text : {"192.0.2.255", "255.255.255.255", "224.0.0.1", "239.255.255.255"})
    EXPECT_TRUE(host.ip.is_group(address(text))) << text;
  for (const char* text : {"192.0.2.1", "192.0.2.254", "203.0.113.1", "198.51.100.255"})
    EXPECT_FALSE(host.ip.is_group(address(text))) << text;
}

TEST(Routes, AGatewayMustBeANeighbour) {
  IpHost host;
  const std::pair<const char*, ErrorCode> bad[] = {{"198.51.100.1", ErrorCode::no_route},
                                                   {"192.0.2.1", ErrorCode::invalid_argument},
                                                   {"192.0.2.255", ErrorCode::invalid_argument},
                                                   {"0.0.0.0", ErrorCode::no_route}};
  for (const auto& [gateway, code] : bad) {
    const auto added = host.ip.add_route(prefix("0.0.0.0/0"), address(gateway));
    ASSERT_FALSE(added.has_value()) << gateway;
    EXPECT_EQ(added.error().code, code) << gateway;
    EXPECT_NE(added.error().text.find(gateway), std::string::npos) << added.error().text;
  }
}

TEST(Routes, APacketForARemoteHostGoesToTheGatewaysMac) {
  IpHost host;
  EXPECT_EQ(host.send(remote_ip, pattern(1)), DropReason::ip_no_route);
  const std::uint32_t generation = host.ip.route_generation();
  ASSERT_TRUE(host.ip.add_route(prefix("0.0.0.0/0"), gateway_ip));
  EXPECT_NE(host.ip.route_generation(), generation) << "flows look again after a change";
  EXPECT_EQ(host.send(remote_ip, pattern(1)), DropReason::none);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(arp_of(sent[0].bytes).target_ip(), gateway_ip);
  EXPECT_FALSE(host.input(arp_reply(other_mac, gateway_ip)));
  sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), other_mac);
  EXPECT_EQ(ipv4_of(sent[0].bytes).destination(), remote_ip);
  // Hosts behind one gateway share its entry.
  RouteCache a, b;
  ASSERT_TRUE(host.ip.resolve(remote_ip, a, host.now));
  ASSERT_TRUE(host.ip.resolve(address("198.51.100.200"), b, host.now));
  EXPECT_EQ(a.neighbor, b.neighbor);
}

TEST(Routes, TheSourceIsTheAddressOfThePortThatLeadsThere) {
  IpHost host;
  const std::uint32_t generation = host.ip.route_generation();
  ASSERT_TRUE(host.ip.add_interface(with("203.0.113.1/24"), host.now));
  EXPECT_NE(host.ip.route_generation(), generation);
  (void)host.sent(1);
  ASSERT_TRUE(host.ip.add_route(prefix("198.51.100.0/24"), address("203.0.113.254")));
  EXPECT_EQ(host.ip.source_for(peer_ip), our_ip);
  EXPECT_EQ(host.ip.source_for(address("203.0.113.9")), address("203.0.113.1"));
  EXPECT_EQ(host.ip.source_for(remote_ip), address("203.0.113.1"));
  EXPECT_EQ(host.ip.source_for(address("8.8.8.8")), std::nullopt);
  ASSERT_TRUE(host.ip.add_route(prefix("0.0.0.0/0"), gateway_ip));
  EXPECT_EQ(host.ip.source_for(address("8.8.8.8")), our_ip);
  EXPECT_EQ(host.ip.source_for(IpAddress()), std::nullopt) << "no default route leads to nowhere";
  EXPECT_EQ(host.ip.source_for(address("255.255.255.255")), our_ip);
}

}  // namespace
}  // namespace pollux::test
