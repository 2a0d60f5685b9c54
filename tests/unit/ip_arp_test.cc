// ARP (RFC 826, RFC 1122 2.3.2, RFC 5227) and the states of a neighbour.
#include "ip_host.h"

namespace pollux::test {
namespace {

using namespace pollux::literals;

// What one ARP frame says, as a tuple to compare.
struct Said {
  MacAddress to;
  ArpOperation operation;
  MacAddress sender_mac;
  IpAddress sender_ip, target_ip;
  MacAddress target_mac;
  bool operator==(const Said&) const = default;
};
Said said(const SentFrame& frame) {
  const ArpView arp = arp_of(frame.bytes);
  return {ethernet_of(frame.bytes).destination(),
          arp.operation(),
          arp.sender_mac(),
          arp.sender_ip(),
          arp.target_ip(),
          arp.target_mac()};
}
const Said broadcast_query{MacAddress::broadcast(), ArpOperation::request, our_mac, our_ip, peer_ip, {}};
const Said unicast_query{peer_mac, ArpOperation::request, our_mac, our_ip, peer_ip, peer_mac};
const Said announcement{MacAddress::broadcast(), ArpOperation::request, our_mac, our_ip, our_ip, {}};

bool is_arp(const SentFrame& frame) {
  return ethernet_of(frame.bytes).type() == EtherType::arp;
}

// --- Answering -------------------------------------------------------------------------------------------

TEST(Arp, ARequestForOurAddressIsAnsweredAndItsSenderLearnt) {
  IpHost host;
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, our_ip)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), (Said{peer_mac, ArpOperation::reply, our_mac, our_ip, peer_ip, peer_mac}));
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::stale) << "learnt, but nobody confirmed it";
  EXPECT_EQ(host.counters[Counter::arp_requests_in], 1u);
  EXPECT_EQ(host.counters[Counter::arp_replies_out], 1u);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(Arp, AProbeForOurAddressIsAnsweredAndTeachesNothing) {  // RFC 5227 2.1.1
  IpHost host;
  EXPECT_FALSE(host.input(arp_request(peer_mac, IpAddress(), our_ip)));
  ASSERT_EQ(host.sent().size(), 1u);
  EXPECT_EQ(host.ip.neighbors().size(), 0u);
}

TEST(Arp, AProbeTeachesNothingInASubnetThatHoldsAddressZeroEither) {
  const IpAddress address = IpAddress::v4(64, 0, 0, 1);
  IpHost host({}, {.name = "port0", .mac = our_mac, .address = {address, 1}, .mtu = 1500, .offloads = {}});
  EXPECT_FALSE(host.input(arp_request(peer_mac, IpAddress(), address)));
  ASSERT_EQ(host.sent().size(), 1u);
  EXPECT_EQ(host.ip.neighbors().size(), 0u);
}

TEST(Arp, ARequestFromOutsideTheSubnetIsAnsweredAndTeachesNothing) {
  IpHost host;
  EXPECT_FALSE(host.input(arp_request(peer_mac, remote_ip, our_ip)));
  ASSERT_EQ(host.sent().size(), 1u);
  EXPECT_EQ(host.ip.neighbors().size(), 0u);
}

struct RefusedCase {
  const char* name;
  Frame frame;
  DropReason reason;
};

TEST(Arp, RefusedFramesMakeNoEntryAndNoAnswer) {
  const RefusedCase cases[] = {
      {"a request for somebody else", arp_request(peer_mac, peer_ip, gateway_ip), DropReason::arp_not_for_us},
      {"a reply that nobody asked for", arp_reply(peer_mac, peer_ip), DropReason::arp_not_for_us},
      {"a gratuitous request of a stranger", arp_request(peer_mac, peer_ip, peer_ip),
       DropReason::arp_not_for_us},
      {"a zero sender MAC", arp_request({}, peer_ip, our_ip), DropReason::arp_bad_sender},
      {"a broadcast sender MAC", arp_request(MacAddress::broadcast(), peer_ip, our_ip),
       DropReason::arp_bad_sender},
      {"a multicast sender MAC", arp_request({{1, 0, 0x5e, 0, 0, 1}}, peer_ip, our_ip),
       DropReason::arp_bad_sender},
      {"our own MAC", arp_request(our_mac, peer_ip, our_ip), DropReason::arp_bad_sender},
      {"our own frame, looped back", arp_request(our_mac, our_ip, our_ip), DropReason::arp_bad_sender},
      {"the subnet's broadcast as sender", arp_request(peer_mac, subnet_broadcast, our_ip),
       DropReason::arp_bad_sender},
      {"a multicast sender", arp_request(peer_mac, IpAddress::v4(224, 0, 0, 9), our_ip),
       DropReason::arp_bad_sender},
      {"a loopback sender", arp_request(peer_mac, IpAddress::v4(127, 0, 0, 1), our_ip),
       DropReason::arp_bad_sender},
      {"IPv6 as protocol",
       [] {
         Frame f = arp_request(peer_mac, peer_ip, our_ip);
         f[16] = 0x86;
         return f;
       }(),
       DropReason::arp_malformed},
      {"27 octets",
       [] {
         Frame f = arp_request(peer_mac, peer_ip, our_ip);
         f.resize(14 + 27);
         return f;
       }(),
       DropReason::arp_malformed},
  };
  for (const RefusedCase& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    EXPECT_FALSE(host.input(c.frame));
    EXPECT_EQ(host.drops(c.reason), 1u);
    EXPECT_EQ(host.counters.drops(), 1u);
    EXPECT_EQ(host.ip.neighbors().size(), 0u);
    EXPECT_TRUE(host.sent().empty());
  }
}

TEST(Arp, AnAddressConflictIsCountedAndDefendedOnceInTenSeconds) {  // RFC 5227 2.4
  IpHost host;
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(host.input(arp_request(peer_mac, our_ip, our_ip)));
  EXPECT_EQ(host.counters[Counter::arp_conflicts], 5u);
  EXPECT_EQ(host.drops(DropReason::arp_bad_sender), 5u);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), announcement);
  host.run_for(9_s);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, our_ip)));
  EXPECT_TRUE(host.sent().empty());
  host.run_for(2_s);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, our_ip)));
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(Arp, ANewAddressIsAnnouncedTwiceTwoSecondsApart) {  // RFC 5227 2.3
  IpHost host;
  const MacAddress mac{{0x02, 0, 0, 0, 0, 0x11}};
  const IpAddress address = IpAddress::v4(203, 0, 113, 1);
  ASSERT_TRUE(host.ip.add_interface(
      {.name = "p1", .mac = mac, .address = {address, 24}, .mtu = 1500, .offloads = {}}, host.now));
  const Said expected{MacAddress::broadcast(), ArpOperation::request, mac, address, address, {}};
  auto sent = host.sent(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), expected);
  EXPECT_EQ(host.ip.next_deadline(), host.now + 2_s);
  host.run_for(1999_ms);
  EXPECT_TRUE(host.sent(1).empty());
  host.run_for(2_ms);
  sent = host.sent(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), expected);
  host.run_for(60_s);
  EXPECT_TRUE(host.sent(1).empty());
  EXPECT_TRUE(host.ip.next_deadline().is_never());
}

// --- Resolving -------------------------------------------------------------------------------------------

TEST(Neighbor, PacketsWaitForTheReplyAndLeaveInOrder) {
  IpHost host;
  for (std::size_t n = 1; n <= 3; ++n) EXPECT_EQ(host.send(peer_ip, pattern(n)), DropReason::none);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u) << "one request, however many packets wait";
  EXPECT_EQ(said(sent[0]), broadcast_query);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  for (std::size_t n = 1; n <= 3; ++n) {
    EXPECT_EQ(ethernet_of(sent[n - 1].bytes).destination(), peer_mac);
    EXPECT_EQ(ethernet_of(sent[n - 1].bytes).source(), our_mac);
    EXPECT_EQ(ip_payload_of(sent[n - 1].bytes), pattern(n));
  }
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  EXPECT_EQ(host.counters[Counter::arp_replies_in], 1u);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(Neighbor, ARequestOfTheAwaitedNeighbourReleasesItsPacketsToo) {
  IpHost host;
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  (void)host.sent();
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, our_ip)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(ip_payload_of(sent[0].bytes), pattern(4));
  EXPECT_EQ(said(sent[1]).operation, ArpOperation::reply);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::delay) << "in use and not confirmed: verified later";
}

TEST(Neighbor, RequestsRepeatEverySecondThenThePacketsAreDropped) {
  IpHost host;
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  EXPECT_EQ(host.sent().size(), 1u);
  for (int retry = 0; retry < 2; ++retry) {
    host.run_for(990_ms);
    EXPECT_TRUE(host.sent().empty());
    host.run_for(11_ms);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(said(sent[0]), broadcast_query);
  }
  EXPECT_EQ(host.counters.drops(), 0u);
  host.run_for(1001_ms);
  EXPECT_EQ(host.drops(DropReason::neighbor_unreachable), 2u);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::failed);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST(Neighbor, AFailedNeighbourRefusesPacketsForAWhileThenIsAskedAgainOnDemand) {
  IpHost host;
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  host.run_for(3500_ms);
  ASSERT_EQ(host.state_of(peer_ip), NeighborState::failed);
  (void)host.sent();
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::neighbor_unreachable);
  EXPECT_EQ(host.drops(DropReason::neighbor_unreachable), 2u);
  EXPECT_TRUE(host.sent().empty());
  host.run_for(1_s);
  EXPECT_FALSE(host.knows(peer_ip));
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  ASSERT_EQ(host.sent().size(), 1u);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(Neighbor, AFailedNeighbourThatSpeaksIsUsedAgain) {
  IpHost host;
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  host.run_for(3500_ms);
  (void)host.sent();
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, our_ip)));
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::delay);
}

TEST(Neighbor, TheQueueKeepsTheNewestPackets) {  // RFC 1122 2.3.2.2
  IpHost host({.neighbor_queue_max = 3});
  for (std::size_t n = 1; n <= 5; ++n) EXPECT_EQ(host.send(peer_ip, pattern(n)), DropReason::none);
  EXPECT_EQ(host.drops(DropReason::neighbor_queue_full), 2u);
  (void)host.sent();
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(ip_payload_of(sent[i].bytes), pattern(i + 3));
}

TEST(Neighbor, AllQueuesTogetherAreLimited) {
  IpHost host;
  for (std::uint32_t i = 0; i < 100; ++i)
    for (int n = 0; n < 10; ++n)
      EXPECT_EQ(host.send(IpAddress::v4(192, 0, 2, static_cast<std::uint8_t>(100 + i)), pattern(4)),
                DropReason::none);
  (void)host.sent();
  EXPECT_EQ(host.heap.in_use(), NeighborTable::queued_total_max);
  EXPECT_EQ(host.drops(DropReason::neighbor_queue_full), 1000 - NeighborTable::queued_total_max);
  // Whoever has a packet waiting keeps the newest even now (RFC 1122 2.3.2.2).
  const IpAddress first = IpAddress::v4(192, 0, 2, 100);
  EXPECT_EQ(host.send(first, pattern(5)), DropReason::none);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, first)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 10u);
  EXPECT_EQ(ip_payload_of(sent.back().bytes), pattern(5));
  host.run_for(10_s);
  (void)host.sent();
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST(Neighbor, WaitingPacketsAreFreedWithTheStack) {
  IpHost host;
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  // ~HeapPool aborts when an mbuf is still in use.
}

// --- Ageing ----------------------------------------------------------------------------------------------

TEST(Neighbor, IsStaleAfterThirtySecondsAndForgottenWhenUnused) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.run_for(29_s);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  host.run_for(2_s);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::stale);
  host.run_for(290_s);
  EXPECT_TRUE(host.knows(peer_ip));
  const std::uint32_t generation = host.ip.route_generation();
  host.run_for(20_s);
  EXPECT_FALSE(host.knows(peer_ip));
  EXPECT_NE(host.ip.route_generation(), generation) << "flows must not keep the index of a forgotten entry";
  EXPECT_TRUE(host.sent().empty());
  EXPECT_TRUE(host.ip.next_deadline().is_never());
}

TEST(Neighbor, AStaleOneIsUsedAtOnceAndProbedByUnicast) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.run_for(40_s);
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  EXPECT_EQ(host.send(peer_ip, pattern(5)), DropReason::none);
  auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), peer_mac);
  EXPECT_EQ(ip_payload_of(sent[1].bytes), pattern(5));
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::delay);
  host.run_for(5001_ms);
  sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), unicast_query);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::probe);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
}

TEST(Neighbor, ThatDoesNotAnswerItsProbesIsLookedForAnewByBroadcast) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.run_for(40_s);
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  host.run_for(7500_ms);
  const auto probes = host.sent();
  ASSERT_EQ(probes.size(), 4u);  // three requests and the packet
  EXPECT_EQ(said(probes[3]), unicast_query);
  host.run_for(1_s);
  EXPECT_FALSE(host.knows(peer_ip));
  EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(said(sent[0]), broadcast_query);
  EXPECT_FALSE(host.input(arp_reply(other_mac, peer_ip)));  // the address has moved
  EXPECT_EQ(ethernet_of(host.sent().at(0).bytes).destination(), other_mac);
}

TEST(Neighbor, AConfirmationKeepsItReachableWithoutArp) {  // RFC 4861 7.3.1
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  RouteCache cache;
  ASSERT_TRUE(host.ip.resolve(peer_ip, cache, host.now));
  for (int i = 0; i < 10; ++i) {
    host.run_for(20_s);
    EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
    host.ip.confirm(cache, host.now);
  }
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  host.run_for(31_s);
  ASSERT_EQ(host.state_of(peer_ip), NeighborState::stale);
  host.ip.confirm(cache, host.now);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  host.run_for(31_s);
  EXPECT_EQ(host.send(peer_ip, pattern(1)), DropReason::none);
  host.run_for(5001_ms);
  ASSERT_EQ(host.state_of(peer_ip), NeighborState::probe);
  host.ip.confirm(cache, host.now);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  (void)host.sent();
  host.run_for(5_s);
  EXPECT_TRUE(host.sent().empty()) << "no probe once confirmed";
}

TEST(Neighbor, AConfirmationCannotReviveWhatIsUnresolvedOrGone) {
  IpHost host;
  RouteCache cache;
  ASSERT_TRUE(host.ip.resolve(peer_ip, cache, host.now));
  host.ip.confirm(cache, host.now);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::incomplete);
  host.run_for(301_s);  // never used: forgotten
  EXPECT_FALSE(host.knows(peer_ip));
  host.ip.confirm(cache, host.now);
  host.ip.confirm(RouteCache{}, host.now);
  EXPECT_EQ(host.ip.neighbors().size(), 0u);
}

TEST(Neighbor, AGratuitousAnnouncementMovesAnEntryAndIsVerifiedOnUse) {
  const Frame moves[] = {arp_request(other_mac, peer_ip, peer_ip), arp_reply(other_mac, peer_ip)};
  for (const Frame& move : moves) {
    IpHost host;
    host.make_reachable(peer_ip, peer_mac);
    EXPECT_FALSE(host.input(move));
    EXPECT_EQ(host.counters.drops(), 0u);
    EXPECT_EQ(host.state_of(peer_ip), NeighborState::stale);
    EXPECT_EQ(host.send(peer_ip, pattern(4)), DropReason::none);
    host.run_for(5001_ms);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 2u);
    EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), other_mac);
    EXPECT_EQ(said(sent[1]).to, other_mac);
  }
}

TEST(Neighbor, AnUnsolicitedWordOfTheSameMacChangesNothing) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  EXPECT_FALSE(host.input(arp_request(peer_mac, peer_ip, peer_ip)));
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::reachable);
  host.run_for(25_s);
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  host.run_for(6_s);
  EXPECT_EQ(host.state_of(peer_ip), NeighborState::stale) << "nobody asked, so it proves nothing";
}

// --- Bounds ----------------------------------------------------------------------------------------------

IpAddress nth_host(std::uint32_t n) {
  return IpAddress::v4(0xc0000200u + 10 + n);
}

TEST(NeighborTable, UnansweredAddressesNeverDisplaceReachableNeighbours) {
  IpHost host({.neighbors_max = 8});
  for (std::uint32_t i = 0; i < 6; ++i) host.make_reachable(nth_host(i), peer_mac);
  for (std::uint32_t i = 100; i < 200; ++i) EXPECT_EQ(host.send(nth_host(i), pattern(4)), DropReason::none);
  (void)host.sent();
  for (std::uint32_t i = 0; i < 6; ++i) EXPECT_EQ(host.state_of(nth_host(i)), NeighborState::reachable);
  EXPECT_TRUE(host.knows(nth_host(199)));
  EXPECT_TRUE(host.knows(nth_host(198)));
  EXPECT_EQ(host.drops(DropReason::neighbor_table_full), 98u) << "each displaced entry's packet is counted";
}

TEST(NeighborTable, FullOfReachableNeighboursRefusesNewOnes) {
  IpHost host({.neighbors_max = 4});
  for (std::uint32_t i = 0; i < 4; ++i) host.make_reachable(nth_host(i), peer_mac);
  EXPECT_EQ(host.send(nth_host(9), pattern(4)), DropReason::neighbor_table_full);
  RouteCache cache;
  EXPECT_FALSE(host.ip.resolve(nth_host(9), cache, host.now));
  // A request is answered all the same: the answer needs no entry.
  EXPECT_FALSE(host.input(arp_request(other_mac, nth_host(9), our_ip)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(is_arp(sent[0]));
  EXPECT_FALSE(host.knows(nth_host(9)));
}

TEST(NeighborTable, ForgetsFailedThenStaleOldestFirst) {
  IpHost host({.neighbors_max = 4});
  EXPECT_EQ(host.send(nth_host(0), pattern(4)), DropReason::none);
  host.run_for(3100_ms);
  ASSERT_EQ(host.state_of(nth_host(0)), NeighborState::failed);
  for (std::uint32_t i = 1; i < 4; ++i) EXPECT_FALSE(host.input(arp_request(peer_mac, nth_host(i), our_ip)));
  ASSERT_EQ(host.ip.neighbors().size(), 4u);
  EXPECT_FALSE(host.input(arp_request(peer_mac, nth_host(4), our_ip)));
  EXPECT_FALSE(host.knows(nth_host(0))) << "failed first";
  EXPECT_FALSE(host.input(arp_request(peer_mac, nth_host(5), our_ip)));
  EXPECT_FALSE(host.knows(nth_host(1))) << "then the oldest stale one";
  EXPECT_TRUE(host.knows(nth_host(2)));
  (void)host.sent();
}

TEST(NeighborTable, AScanLeavesHalfOfTheTableToNeighboursThatSpoke) {
  IpHost host({.neighbors_max = 16});
  for (std::uint32_t i = 0; i < 16; ++i) EXPECT_FALSE(host.input(arp_request(peer_mac, nth_host(i), our_ip)));
  for (std::uint32_t i = 100; i < 200; ++i) EXPECT_EQ(host.send(nth_host(i), pattern(4)), DropReason::none);
  std::uint32_t kept = 0;
  for (std::uint32_t i = 0; i < 16; ++i) kept += host.knows(nth_host(i));
  EXPECT_EQ(kept, 7u);
  (void)host.sent();
}

TEST(NeighborTable, AFloodOfRequestsKeepsReachableNeighbours) {
  IpHost host({.neighbors_max = 8});
  host.make_reachable(nth_host(0), peer_mac);
  for (std::uint32_t i = 1; i < 200; ++i)
    EXPECT_FALSE(host.input(arp_request(peer_mac, nth_host(i), our_ip)));
  EXPECT_EQ(host.state_of(nth_host(0)), NeighborState::reachable);
  EXPECT_EQ(host.ip.neighbors().size(), 8u);
  (void)host.sent();
}

TEST(NeighborTable, AFlowWhoseEntryWasForgottenIsResolvedAgainBySend) {
  IpHost host({.neighbors_max = 2});
  RouteCache cache;
  ASSERT_TRUE(host.ip.resolve(peer_ip, cache, host.now));
  EXPECT_EQ(host.send(nth_host(1), pattern(4)), DropReason::none);
  EXPECT_EQ(host.send(nth_host(2), pattern(4)), DropReason::none);
  ASSERT_FALSE(host.knows(peer_ip));
  EXPECT_NE(cache.generation, host.ip.route_generation());
  EXPECT_EQ(host.ip.send(host.packet_of(pattern(4)),
                         {.source = our_ip, .destination = peer_ip, .protocol = 17}, cache, host.now),
            DropReason::none);
  EXPECT_EQ(cache.generation, host.ip.route_generation());
  EXPECT_TRUE(host.knows(peer_ip));
  (void)host.sent();
}

}  // namespace
}  // namespace pollux::test
