// Neighbour discovery (RFC 4861 7), duplicate address detection (RFC 4862 5.4) and the states they share with
// ARP.
#include "ip_v6_host.h"

namespace pollux::test {
namespace {

/// A fresh port, before duplicate address detection has ended.
struct Fresh {
  explicit Fresh(const IpOptions& options = {}) : ip(options, heap.pool(), rng) {
    EXPECT_TRUE(ip.add_interface(v6_port(), now));
  }
  std::vector<Decoded> sent() {
    std::vector<Decoded> all;
    for (rte_mbuf* m : ip.tx(0).pending()) {
      Packet packet(m);
      Frame bytes(packet.size());
      packet.copy_out(0, bytes);
      if (const Decoded d = decode(bytes); d.kind == Decoded::Kind::icmpv6) all.push_back(d);
    }
    ip.tx(0).consume(ip.tx(0).size());
    return all;
  }
  void wait(Duration time) {
    now = now + time;
    ip.advance(now);
  }
  V6AddressState state_of(const IpAddress& address) {
    for (const V6Address& a : ip.v6_addresses(0))
      if (a.address() == address) return a.state;
    ADD_FAILURE() << address.to_string();
    return V6AddressState::duplicate;
  }
  bool input(const Frame& frame) { return ip.input(0, heap.exact_copy_of(frame), now, rx); }

  HeapPool heap;
  Rng rng{1};
  TimePoint now = TimePoint::from_ns(1'000'000'000'000);
  Ip ip;
  Counters& counters = ip.counters();
  RxPacket rx;
};

TEST(DuplicateDetection, AsksForEveryAddressAndUsesItAfterASecondOfSilence) {
  Fresh host;
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  const IpAddress addresses[] = {our_link_local, our_v6};
  for (std::size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(sent[i].problem, "");
    EXPECT_EQ(sent[i].icmp_type, 135);
    EXPECT_EQ(sent[i].ids.source, v6_unspecified);
    EXPECT_EQ(sent[i].ids.destination, addresses[i].solicited_node());
    EXPECT_EQ(sent[i].ids.destination_mac, group_mac(addresses[i].solicited_node()));
    EXPECT_EQ(sent[i].nd_target, addresses[i]);
    EXPECT_FALSE(sent[i].nd_mac) << "RFC 4861 4.3: not with the unspecified source";
    EXPECT_EQ(sent[i].ttl, 255);
  }
  EXPECT_FALSE(host.ip.is_local(our_v6));
  EXPECT_FALSE(host.ip.source_for(peer_v6));
  EXPECT_FALSE(host.ip.addresses_settled());
  host.wait(990_ms);
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::tentative);
  host.wait(11_ms);
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::assigned);
  EXPECT_EQ(host.state_of(our_link_local), V6AddressState::assigned);
  EXPECT_TRUE(host.ip.addresses_settled());
  EXPECT_TRUE(host.ip.is_local(our_v6));
  EXPECT_EQ(host.ip.source_for(peer_v6), our_v6);
  sent = host.sent();
  ASSERT_EQ(sent.size(), 2u) << "neighbours that knew an earlier owner hear of the new one";
  EXPECT_EQ(sent[1].icmp_type, 136);
  EXPECT_EQ(sent[1].icmp_rest, 0x20000000u);
  EXPECT_EQ(sent[1].ids.destination, v6_all_nodes);
  EXPECT_EQ(sent[1].nd_mac, our_mac);
}

TEST(DuplicateDetection, CanAskSeveralTimesOrNotAtAll) {
  Fresh none({.dad_solicitations = 0});
  EXPECT_EQ(none.state_of(our_v6), V6AddressState::assigned);
  Fresh three({.dad_solicitations = 3});
  for (int i = 0; i < 2; ++i) three.wait(1001_ms);
  EXPECT_EQ(three.state_of(our_v6), V6AddressState::tentative);
  three.wait(1001_ms);
  EXPECT_EQ(three.state_of(our_v6), V6AddressState::assigned);
}

TEST(DuplicateDetection, AnAdvertisementOfTheAddressMakesItADuplicateForGood) {
  Fresh host;
  EXPECT_FALSE(host.input(advertisement(our_v6, nd_override, peer_mac, v6_all_nodes)));
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::duplicate);
  EXPECT_EQ(host.counters[Counter::nd_duplicates], 1u);
  host.wait(5_s);
  (void)host.sent();
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::duplicate);
  EXPECT_EQ(host.state_of(our_link_local), V6AddressState::assigned);
  EXPECT_FALSE(host.ip.is_local(our_v6));
  EXPECT_FALSE(host.input(solicitation(peer_v6, our_v6))) << "it is the other's to answer";
  EXPECT_TRUE(host.sent().empty());
}

TEST(DuplicateDetection, TwoStationsThatAskAtOnceBothGiveUp) {
  Fresh host;
  EXPECT_FALSE(host.input(solicitation(v6_unspecified, our_v6, std::nullopt)));
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::duplicate);
}

TEST(DuplicateDetection, OurOwnSolicitationSentBackByTheLinkIsNoConflict) {
  Fresh host;
  EXPECT_FALSE(host.input(
      nd_frame(v6_ids(v6_unspecified, our_v6.solicited_node(), our_mac), 135, 0, our_v6, std::nullopt)));
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::tentative);
  EXPECT_EQ(host.counters[DropReason::nd_bad_sender], 1u);
}

TEST(DuplicateDetection, ATentativeAddressAnswersNobody) {
  Fresh host;
  (void)host.sent();
  EXPECT_FALSE(host.input(solicitation(peer_v6, our_v6)));
  EXPECT_FALSE(host.input(icmpv6_frame(v6_ids(), 128, 0, 1, {})));
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.state_of(our_v6), V6AddressState::tentative);
  EXPECT_EQ(host.counters[DropReason::ip_not_local], 1u);
}

TEST(DuplicateDetection, AnotherStationsIsAnsweredToEverybody) {
  V6Host host;
  EXPECT_FALSE(host.input(solicitation(v6_unspecified, our_v6, std::nullopt)));
  const Decoded answer = host.one_sent();
  EXPECT_EQ(answer.ids.destination, v6_all_nodes);
  EXPECT_EQ(answer.ids.destination_mac, group_mac(v6_all_nodes));
  EXPECT_EQ(answer.icmp_rest, 0x20000000u) << "override, not solicited";
  EXPECT_EQ(answer.nd_mac, our_mac);
}

TEST(Solicitation, IsAnsweredAndItsSenderLearnt) {
  V6Host host;
  EXPECT_FALSE(host.input(solicitation(peer_v6, our_v6)));
  const Decoded answer = host.one_sent();
  EXPECT_EQ(answer.icmp_type, 136);
  EXPECT_EQ(answer.ids.source, our_v6);
  EXPECT_EQ(answer.ids.destination, peer_v6);
  EXPECT_EQ(answer.ids.destination_mac, peer_mac);
  EXPECT_EQ(answer.icmp_rest, 0x60000000u);
  EXPECT_EQ(answer.nd_target, our_v6);
  EXPECT_EQ(answer.nd_mac, our_mac);
  EXPECT_EQ(answer.ttl, 255);
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::stale) << "learnt, but nobody confirmed it";
  EXPECT_EQ(host.counters[Counter::nd_solicitations_in], 1u);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(Solicitation, ForOurLinkLocalAddressIsAnsweredToo) {
  V6Host host;
  EXPECT_FALSE(host.input(solicitation(peer_link_local, our_link_local)));
  EXPECT_EQ(host.one_sent().ids.source, our_link_local);
}

TEST(Solicitation, BadOnesAreDroppedByName) {
  V6Host host;
  struct Row {
    const char* what;
    Frame frame;
    DropReason reason;
  };
  const LinkIds group = v6_ids(peer_v6, our_v6.solicited_node());
  for (const Row& row : std::initializer_list<Row>{
           {"through a router", nd_frame(group, 135, 0, our_v6, peer_mac, 254), DropReason::nd_hop_limit},
           {"for somebody else", nd_frame(group, 135, 0, router_v6, peer_mac), DropReason::nd_not_for_us},
           {"a group's MAC", nd_frame(group, 135, 0, our_v6, MacAddress::broadcast()),
            DropReason::nd_bad_sender},
           {"from nobody with a MAC", solicitation(v6_unspecified, our_v6, peer_mac),
            DropReason::nd_malformed},
           {"from nobody to our unicast address",
            nd_frame(v6_ids(v6_unspecified, our_v6), 135, 0, our_v6, std::nullopt), DropReason::nd_malformed},
           {"a group as target", nd_frame(group, 135, 0, v6_all_nodes, peer_mac), DropReason::nd_malformed},
           {"from our own address", solicitation(our_v6, our_v6), DropReason::ip_bad_source},
       }) {
    SCOPED_TRACE(row.what);
    const std::uint64_t before = host.drops(row.reason);
    EXPECT_FALSE(host.input(row.frame));
    EXPECT_EQ(host.drops(row.reason), before + 1);
    EXPECT_TRUE(host.sent().empty());
    EXPECT_FALSE(host.knows(peer_v6));
  }
}

TEST(NeighborV6, PacketsWaitForTheAdvertisementAndLeaveInOrder) {
  V6Host host;
  for (std::size_t n = 1; n <= 3; ++n) EXPECT_EQ(host.send_v6(peer_v6, pattern(n)), DropReason::none);
  const Decoded question = host.one_sent();
  EXPECT_EQ(question.icmp_type, 135);
  EXPECT_EQ(question.ids.source, our_v6);
  EXPECT_EQ(question.ids.destination, peer_v6.solicited_node());
  EXPECT_EQ(question.ids.destination_mac, group_mac(peer_v6.solicited_node()));
  EXPECT_EQ(question.nd_mac, our_mac);
  EXPECT_FALSE(host.input(advertisement(peer_v6, nd_solicited | nd_override, peer_mac)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  for (std::size_t n = 0; n < 3; ++n) {
    EXPECT_EQ(ethernet_of(sent[n].bytes).type(), EtherType::ipv6);
    EXPECT_EQ(ethernet_of(sent[n].bytes).destination(), peer_mac);
    EXPECT_EQ(sent[n].bytes.size(), 14 + 40 + n + 1);
  }
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::reachable);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(NeighborV6, ThreeUnansweredSolicitationsFailIt) {
  V6Host host;
  EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
  host.run_for(2500_ms);
  EXPECT_EQ(host.sent().size(), 3u);
  host.run_for(600_ms);
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::failed);
  EXPECT_EQ(host.drops(DropReason::neighbor_unreachable), 1u);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

// RFC 4861 7.3.3 for both families: STALE -> DELAY -> PROBE -> gone, or confirmed on the way.
TEST(NeighborStates, AStaleOneInUseIsDelayedThenProbedThenForgotten) {
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6 ? "IPv6" : "IPv4");
    V6Host host;
    const IpAddress address = v6 ? peer_v6 : peer_ip;
    const auto use = [&] { return v6 ? host.send_v6(address) : host.send(address, pattern(8)); };
    v6 ? host.reach() : host.make_reachable(peer_ip, peer_mac);
    host.run_for(31_s);
    EXPECT_EQ(host.state_of(address), NeighborState::stale);
    EXPECT_EQ(use(), DropReason::none);
    EXPECT_EQ(host.state_of(address), NeighborState::delay);
    EXPECT_EQ(host.sent().size(), 1u) << "used at once, and no probe yet";
    host.run_for(4900_ms);
    EXPECT_TRUE(host.sent().empty());
    host.run_for(200_ms);
    EXPECT_EQ(host.state_of(address), NeighborState::probe);
    const Decoded probe = host.one_sent();
    EXPECT_EQ(probe.ids.destination_mac, peer_mac) << "unicast";
    host.run_for(2_s);
    EXPECT_EQ(host.sent().size(), 2u);
    host.run_for(1_s);
    EXPECT_FALSE(host.knows(address));
  }
}

TEST(NeighborStates, ProgressConfirmsADelayedOneWithoutAProbe) {
  for (const bool v6 : {false, true}) {
    SCOPED_TRACE(v6 ? "IPv6" : "IPv4");
    V6Host host;
    const IpAddress address = v6 ? peer_v6 : peer_ip;
    v6 ? host.reach() : host.make_reachable(peer_ip, peer_mac);
    host.run_for(31_s);
    EXPECT_EQ(v6 ? host.send_v6(address) : host.send(address, pattern(8)), DropReason::none);
    RouteCache cache;
    ASSERT_TRUE(host.ip.resolve(address, cache, host.now));
    host.ip.confirm(cache, host.now);
    EXPECT_EQ(host.state_of(address), NeighborState::reachable);
    (void)host.sent();
    host.run_for(10_s);
    EXPECT_TRUE(host.sent().empty());
  }
}

TEST(NeighborV6, AProbeThatIsAnsweredKeepsIt) {
  V6Host host;
  host.reach();
  host.run_for(31_s);
  EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
  host.run_for(5100_ms);
  ASSERT_EQ(host.state_of(peer_v6), NeighborState::probe);
  EXPECT_FALSE(host.input(advertisement(peer_v6, nd_solicited, std::nullopt))) << "the MAC may be left out";
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::reachable);
}

// RFC 4861 7.2.5, a row for each case of its list.
TEST(Advertisement, ChangesAnEntryAsTheTableSays) {
  struct Row {
    const char* what;
    std::uint8_t flags;
    std::optional<MacAddress> mac;
    NeighborState state;
    MacAddress mac_then;
  };
  for (const Row& row : std::initializer_list<Row>{
           {"another MAC without override doubts a reachable one", 0, other_mac, NeighborState::stale,
            peer_mac},
           {"another MAC with override is taken, and doubted", nd_override, other_mac, NeighborState::stale,
            other_mac},
           {"unasked 'solicited' proves nothing", nd_solicited | nd_override, other_mac, NeighborState::stale,
            other_mac},
           {"the same MAC changes nothing", nd_override, peer_mac, NeighborState::reachable, peer_mac},
           {"no MAC changes nothing", 0, std::nullopt, NeighborState::reachable, peer_mac},
       }) {
    SCOPED_TRACE(row.what);
    V6Host host;
    host.reach();
    EXPECT_FALSE(host.input(
        advertisement(peer_v6, row.flags, row.mac, row.flags & nd_solicited ? our_v6 : v6_all_nodes)));
    EXPECT_EQ(host.state_of(peer_v6), row.state);
    EXPECT_EQ(host.ip.neighbors()[host.ip.neighbors().find(0, peer_v6)].mac(), row.mac_then);
  }
}

TEST(Advertisement, OfAStrangerMakesNoEntryAndBadOnesAreNamed) {
  V6Host host;
  EXPECT_FALSE(host.input(advertisement(peer_v6, nd_override, peer_mac, v6_all_nodes)));
  EXPECT_FALSE(host.knows(peer_v6));
  EXPECT_EQ(host.drops(DropReason::nd_not_for_us), 1u);
  EXPECT_FALSE(host.input(advertisement(peer_v6, nd_solicited, peer_mac, v6_all_nodes)));
  EXPECT_EQ(host.drops(DropReason::nd_malformed), 1u) << "solicited, to a group";
  EXPECT_FALSE(host.input(advertisement(our_v6, nd_override, peer_mac, v6_all_nodes)));
  EXPECT_EQ(host.counters[Counter::nd_conflicts], 0u) << "its source is ours, so it got no further than that";
  EXPECT_FALSE(host.input(nd_frame(v6_ids(peer_v6, v6_all_nodes), 136, nd_override, our_v6, peer_mac)));
  EXPECT_EQ(host.counters[Counter::nd_conflicts], 1u);
  EXPECT_TRUE(host.ip.is_local(our_v6)) << "an address in use is not given up";
}

TEST(NeighborV6, ASolicitationFromAnotherMacMovesTheNeighbour) {
  V6Host host;
  host.reach();
  EXPECT_FALSE(
      host.input(nd_frame(v6_ids(peer_v6, our_v6.solicited_node(), other_mac), 135, 0, our_v6, other_mac)));
  (void)host.sent();
  EXPECT_EQ(host.send_v6(peer_v6), DropReason::none);
  EXPECT_EQ(host.one_sent().ids.destination_mac, other_mac);
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::delay);
}

TEST(SecondaryCore, LearnsAndDetectsWithThePrimaryButSaysNothing) {
  InterfaceConfig port = v6_port();
  port.primary = false;
  V6Host host({}, port);
  EXPECT_TRUE(host.ip.is_local(our_v6)) << "assigned in silence, as on the primary core";
  EXPECT_EQ(host.counters[Counter::nd_solicitations_out], 0u);
  EXPECT_FALSE(host.input(solicitation(peer_v6, our_v6)));
  EXPECT_FALSE(host.input(solicitation(v6_unspecified, our_v6, std::nullopt)));
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.state_of(peer_v6), NeighborState::stale);
  EXPECT_EQ(host.counters.drops(), 0u);
}

}  // namespace
}  // namespace pollux::test
