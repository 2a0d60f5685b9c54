// Addresses, routes and neighbours that change while packets flow.
#include <gtest/gtest.h>

#include "ip_host.h"

namespace pollux::test {
namespace {

constexpr IpAddress new_ip = IpAddress::v4(10, 9, 0, 1);
constexpr IpAddress new_peer = IpAddress::v4(10, 9, 0, 2);
constexpr IpAddress our_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
constexpr IpAddress second_v6 = IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);

class Change : public testing::Test {
 protected:
  /// Takes `settings` over as the glue does: all checks, then the change.
  void change(const IpSettings& settings) {
    auto plan = plan_ip(settings, host.heap.pool());
    ASSERT_TRUE(plan) << plan.error().text;
    host.ip.change(*plan, host.now);
  }
  std::string refusal(const IpSettings& settings) {
    const auto plan = plan_ip(settings, host.heap.pool());
    return plan ? "" : plan.error().text;
  }
  IpSettings settings() const { return {IpOptions(), {our_port()}, {}, {}}; }

  IpHost host;
};

TEST_F(Change, ANewAddressIsAnnouncedAndTheOldOneForgotten) {
  host.make_reachable(peer_ip, peer_mac);
  IpSettings next = settings();
  next.interfaces[0].address = {new_ip, 24};
  change(next);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), new_ip);
  host.run_for(Duration::from_s(3));
  EXPECT_EQ(host.sent().size(), 1u) << "ANNOUNCE_NUM is 2";
  EXPECT_TRUE(host.ip.is_local(new_ip));
  EXPECT_FALSE(host.ip.is_local(our_ip));
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, our_ip)));
  EXPECT_TRUE(host.sent().empty()) << "nobody answers for the old address";
  EXPECT_EQ(host.ip.source_for(new_peer), new_ip);
  EXPECT_EQ(host.ip.source_for(peer_ip), std::nullopt) << "its subnet went with the address";
  EXPECT_FALSE(host.input(ipv4_frame({.destination = our_ip})));
  EXPECT_TRUE(host.input(ipv4_frame({.source = new_peer, .destination = new_ip})));
}

TEST_F(Change, TheSameAgainSaysNothing) {
  host.run_for(Duration::from_s(3));
  (void)host.sent();
  change(settings());
  host.run_for(Duration::from_s(3));
  EXPECT_TRUE(host.sent().empty());
  EXPECT_TRUE(host.ip.is_local(our_ip));
}

TEST_F(Change, FlowsFollowNewRoutesFromTheirNextPacketOn) {
  IpSettings next = settings();
  next.routes = {{{IpAddress::v4(198, 51, 100, 0), 24}, gateway_ip}};
  next.neighbors = {{gateway_ip, peer_mac}};
  RouteCache flow;
  EXPECT_FALSE(host.ip.resolve(remote_ip, flow, host.now));
  change(next);
  (void)host.sent();
  EXPECT_EQ(host.send(remote_ip, pattern(8)), DropReason::none);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u) << "the static neighbour is not asked";
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), peer_mac);
  ASSERT_TRUE(host.ip.resolve(remote_ip, flow, host.now));
  change(settings());
  EXPECT_NE(flow.generation, host.ip.route_generation()) << "caches are out of date";
  EXPECT_FALSE(host.ip.resolve(remote_ip, flow, host.now));
}

TEST_F(Change, AStaticNeighbourThatWentHasToAnswerAgain) {
  IpSettings next = settings();
  next.neighbors = {{peer_ip, other_mac}};
  host.make_reachable(peer_ip, peer_mac);  // learnt, and now told otherwise
  change(next);
  (void)host.sent();
  EXPECT_EQ(host.send(peer_ip, pattern(8)), DropReason::none);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), other_mac);
  change(settings());
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::stale);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  EXPECT_EQ(host.send(peer_ip, pattern(8)), DropReason::none);
  EXPECT_EQ(ethernet_of(host.sent().back().bytes).destination(), peer_mac) << "it is believed again";
}

TEST_F(Change, StaticNeighboursFindRoomInAFullTable) {
  IpOptions options;
  options.neighbors_max = 16;
  IpHost full(options);
  for (std::uint8_t i = 10; i < 26; ++i) full.make_reachable(IpAddress::v4(192, 0, 2, i), other_mac);
  IpSettings next{options, {our_port()}, {}, {}};
  for (std::uint8_t i = 100; i < 116; ++i) next.neighbors.push_back({IpAddress::v4(192, 0, 2, i), peer_mac});
  auto plan = plan_ip(next, full.heap.pool());
  ASSERT_TRUE(plan) << plan.error().text;
  full.ip.change(*plan, full.now);
  for (const auto& neighbor : next.neighbors) EXPECT_EQ(full.state_of(neighbor.address), NeighborState::reachable);
}

TEST_F(Change, Ipv6ComesAndGoes) {
  IpSettings next = settings();
  next.interfaces[0].v6_addresses = {{our_v6, 64}, {second_v6, 64}};
  change(next);
  ASSERT_EQ(host.ip.v6_addresses(0).size(), 3u) << "with the link-local one";
  EXPECT_FALSE(host.ip.addresses_settled()) << "duplicates are looked for first";
  host.run_for(Duration::from_s(3));
  EXPECT_TRUE(host.ip.is_local(our_v6));
  next.interfaces[0].v6_addresses = {{second_v6, 48}};
  change(next);
  EXPECT_FALSE(host.ip.is_local(our_v6));
  EXPECT_TRUE(host.ip.is_local(second_v6)) << "without another look for duplicates";
  EXPECT_EQ(host.ip.v6_addresses(0)[1].prefix.length, 48);
  change(settings());
  EXPECT_TRUE(host.ip.v6_addresses(0).empty());
  EXPECT_EQ(host.ip.routes().v6_routes().size(), 0u);
}

TEST_F(Change, SeveralIPv4AddressesComeAndGo) {
  host.run_for(Duration::from_s(3));
  (void)host.sent();
  const IpAddress third = IpAddress::v4(192, 0, 2, 77);
  IpSettings next = settings();
  next.interfaces[0].more_v4_addresses = {{new_ip, 24}, {third, 24}};
  change(next);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u) << "only the new ones are announced";
  EXPECT_EQ(arp_of(sent[0].bytes).sender_ip(), new_ip);
  EXPECT_EQ(arp_of(sent[1].bytes).sender_ip(), third);
  for (const IpAddress& ours : {our_ip, new_ip, third}) EXPECT_TRUE(host.input(ipv4_frame({.destination = ours})));
  EXPECT_EQ(host.ip.source_for(new_peer), new_ip);
  next.interfaces[0].more_v4_addresses = {{third, 24}};
  change(next);
  EXPECT_FALSE(host.ip.is_local(new_ip));
  EXPECT_EQ(host.ip.source_for(new_peer), std::nullopt);
  next.interfaces[0].address = {};
  next.interfaces[0].more_v4_addresses.clear();
  change(next);
  EXPECT_FALSE(host.input(ipv4_frame({})));
  EXPECT_EQ(host.drops(DropReason::eth_unknown_type), 1u) << "no IPv4 is left";
}

TEST_F(Change, AVlansAddressesToo) {
  IpSettings next = settings();
  InterfaceConfig vlan = {.name = "port0.5", .address = {IpAddress::v4(10, 5, 0, 1), 24}, .vlan = 5, .port = 0};
  ASSERT_TRUE(host.ip.add_interface(vlan, host.now));
  host.run_for(Duration::from_s(3));
  (void)host.sent();
  vlan.address = {new_ip, 24};
  next.interfaces.push_back(vlan);
  change(next);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(load_be16(&sent[0].bytes[14]), 5) << "announced with its tag";
  Frame frame = ipv4_frame({.source = new_peer, .destination = new_ip});
  const std::uint8_t tag[] = {0x81, 0, 0, 5};
  frame.insert(frame.begin() + 12, tag, tag + 4);
  EXPECT_TRUE(host.input(frame));
  EXPECT_EQ(host.rx.interface, 1);
}

TEST_F(Change, MistakesAreRefusedAsAtTheStart) {
  IpSettings bad_address = settings(), bad_route = settings(), bad_neighbor = settings(), twice = settings();
  bad_address.interfaces[0].address = {subnet_broadcast, 24};
  bad_route.routes = {{{IpAddress::v4(198, 51, 100, 0), 24}, new_peer}};
  bad_neighbor.neighbors = {{our_ip, peer_mac}};
  twice.routes = {{{IpAddress::v4(198, 51, 100, 0), 24}, gateway_ip}, {{IpAddress::v4(198, 51, 100, 0), 24}, peer_ip}};
  EXPECT_NE(refusal(bad_address).find("expected a unicast host address"), std::string::npos);
  EXPECT_NE(refusal(bad_route).find("lies in no interface's subnet"), std::string::npos);
  EXPECT_NE(refusal(bad_neighbor).find("expected another host's address"), std::string::npos);
  EXPECT_NE(refusal(twice).find("already present"), std::string::npos);
}

}  // namespace
}  // namespace pollux::test
