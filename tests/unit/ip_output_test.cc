// Ip::send: headers, offload requests, limits.
#include "ip_host.h"

namespace pollux::test {
namespace {

InterfaceConfig port_with(const TxOffloads& offloads) {
  InterfaceConfig config = our_port();
  config.offloads = offloads;
  return config;
}

TEST(IpOutput, AResolvedNeighbourGetsEthernetAndIpHeadersInThePacketsOwnBuffer) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  const Counters before = host.counters;
  Packet packet = host.packet_of(pattern(100));
  const void* const buffer = packet.mbuf()->buf_addr;
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH;
  RouteCache cache;
  ASSERT_TRUE(host.ip.resolve(peer_ip, cache, host.now));
  EXPECT_EQ(host.ip.send(std::move(packet),
                         {.source = our_ip, .destination = peer_ip, .protocol = 6, .ttl = 33, .tos = 0x28},
                         cache, host.now),
            DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].buffer, buffer);
  EXPECT_EQ(sent[0].segments, 1u);
  EXPECT_EQ(sent[0].ol_flags, 0u) << "reception's flags are gone";
  const EthernetView ethernet = ethernet_of(sent[0].bytes);
  EXPECT_EQ(ethernet.destination(), peer_mac);
  EXPECT_EQ(ethernet.source(), our_mac);
  const Ipv4View ip = ipv4_of(sent[0].bytes);  // checks the checksum
  EXPECT_EQ(ip.source(), our_ip);
  EXPECT_EQ(ip.destination(), peer_ip);
  EXPECT_EQ(ip.protocol(), 6);
  EXPECT_EQ(ip.ttl(), 33);
  EXPECT_EQ(ip.tos(), 0x28);
  EXPECT_TRUE(ip.dont_fragment());
  EXPECT_EQ(ip_payload_of(sent[0].bytes), pattern(100));
  EXPECT_EQ(host.counters[Counter::tx_packets] - before[Counter::tx_packets], 1u);
  EXPECT_EQ(host.counters[Counter::tx_bytes] - before[Counter::tx_bytes], 134u);
  EXPECT_EQ(host.counters[Counter::ip_out_requests] - before[Counter::ip_out_requests], 1u);
}

TEST(IpOutput, APacketInAnotherOwnersBufferGetsItsHeadersInFront) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  const Packet original = host.packet_of(pattern(64));
  RouteCache cache;
  Packet clone = host.heap.pool().reference(*original.mbuf(), 0, 64);
  EXPECT_EQ(host.ip.send(std::move(clone), {.source = our_ip, .destination = peer_ip, .protocol = 6}, cache,
                         host.now),
            DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].segments, 2u);
  EXPECT_EQ(ip_payload_of(sent[0].bytes), pattern(64));
}

TEST(IpOutput, OffloadRequestsReachTheDriverWithTheirLengths) {
  for (const bool ip_by_nic : {false, true}) {
    SCOPED_TRACE(ip_by_nic);
    IpHost host({}, port_with({.ipv4_checksum = ip_by_nic, .tcp_checksum = true}));
    host.make_reachable(peer_ip, peer_mac);
    for (const bool shared : {false, true}) {
      Packet packet = host.packet_of(pattern(40));
      Packet keeps_it_shared;
      if (shared) keeps_it_shared = host.heap.pool().reference(*packet.mbuf(), 0, 1);
      packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
      packet.mbuf()->l4_len = 20;
      RouteCache cache;
      EXPECT_EQ(host.ip.send(std::move(packet), {.source = our_ip, .destination = peer_ip, .protocol = 6},
                             cache, host.now),
                DropReason::none);
      auto sent = host.sent();
      ASSERT_EQ(sent.size(), 1u);
      EXPECT_EQ(sent[0].ol_flags, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4 |
                                      (ip_by_nic ? RTE_MBUF_F_TX_IP_CKSUM : std::uint64_t{0}));
      EXPECT_EQ(sent[0].l2_len, 14u);
      EXPECT_EQ(sent[0].l3_len, 20u);
      EXPECT_EQ(sent[0].l4_len, 20u);
      if (ip_by_nic) {
        EXPECT_EQ(load_be16(&sent[0].bytes[24]), 0u) << "the driver expects a zero field";
      } else {
        EXPECT_EQ(ipv4_of(sent[0].bytes).protocol(), 6);
      }
    }
  }
}

TEST(IpOutput, APortWithoutChainsGetsOneSegment) {
  IpHost host({}, port_with({.tcp_checksum = true, .multi_segment = false}));
  host.make_reachable(peer_ip, peer_mac);
  Packet packet = host.packet_of(pattern(20));
  for (int i = 0; i < 3; ++i) {
    Packet more = host.packet_of(pattern(400));
    ASSERT_TRUE(packet.chain(more));
  }
  packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_TCP_CKSUM;
  packet.mbuf()->l4_len = 20;
  Frame expected(packet.size());
  packet.copy_out(0, expected);
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = our_ip, .destination = peer_ip, .protocol = 6}, cache,
                         host.now),
            DropReason::none);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].segments, 1u);
  EXPECT_EQ(ip_payload_of(sent[0].bytes), expected);
  EXPECT_EQ(sent[0].ol_flags, RTE_MBUF_F_TX_TCP_CKSUM | RTE_MBUF_F_TX_IPV4);
  EXPECT_EQ(sent[0].l4_len, 20u);
}

TEST(IpOutput, LimitsAreDropsWithTheirReason) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  EXPECT_EQ(host.send(peer_ip, pattern(1480)), DropReason::none);
  EXPECT_EQ(host.send(peer_ip, pattern(1481)), DropReason::ip_too_big);
  EXPECT_EQ(host.send(remote_ip, pattern(1)), DropReason::ip_no_route);
  EXPECT_EQ(host.send(our_ip, pattern(1)), DropReason::ip_no_route) << "nothing loops back";
  for (const DropReason reason :
       {DropReason::ip_too_big, DropReason::neighbor_unreachable, DropReason::ip_no_route})
    EXPECT_EQ(host.drops(reason), reason == DropReason::ip_too_big    ? 1u
                                  : reason == DropReason::ip_no_route ? 2u
                                                                      : 0u);
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(IpOutput, AFullBatchAndAnEmptyPoolAreCountedAndPass) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  for (std::uint32_t i = 0; i < TxBatch::capacity; ++i)
    EXPECT_EQ(host.send(peer_ip, pattern(1)), DropReason::none);
  EXPECT_EQ(host.send(peer_ip, pattern(1)), DropReason::tx_batch_full);
  EXPECT_EQ(host.drops(DropReason::tx_batch_full), 1u);
  EXPECT_EQ(host.sent().size(), TxBatch::capacity);

  const Packet original = host.packet_of(pattern(8));
  Packet clone = host.heap.pool().reference(*original.mbuf(), 0, 8);
  host.heap.set_limit(0);
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(clone), {.source = our_ip, .destination = peer_ip, .protocol = 6}, cache,
                         host.now),
            DropReason::no_mbuf);
  host.heap.set_limit(100);
  EXPECT_EQ(host.send(peer_ip, pattern(1)), DropReason::none);
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(IpOutput, AnArpRequestThatFindsNoMbufIsMadeUpForByTheNextTry) {
  IpHost host;
  Packet packet = host.packet_of(pattern(8));
  host.heap.set_limit(1);
  RouteCache cache;
  EXPECT_EQ(host.ip.send(std::move(packet), {.source = our_ip, .destination = peer_ip, .protocol = 6}, cache,
                         host.now),
            DropReason::none);
  EXPECT_EQ(host.drops(DropReason::no_mbuf), 1u);
  EXPECT_TRUE(host.sent().empty());
  host.heap.set_limit(100);
  host.run_for(Duration::from_ms(1001));
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(IpOutput, GroupsNeedNoArp) {
  struct Case {
    IpAddress destination;
    MacAddress mac;
  };
  const Case cases[] = {
      {subnet_broadcast, MacAddress::broadcast()},
      {IpAddress::v4(255, 255, 255, 255), MacAddress::broadcast()},
      {IpAddress::v4(224, 0, 0, 251), {{0x01, 0x00, 0x5e, 0x00, 0x00, 0xfb}}},
      {IpAddress::v4(239, 255, 1, 2), {{0x01, 0x00, 0x5e, 0x7f, 0x01, 0x02}}},
  };
  IpHost host;
  for (int round = 0; round < 2; ++round) {
    for (const Case& c : cases) {
      SCOPED_TRACE(c.destination.to_string());
      EXPECT_EQ(host.send(c.destination, pattern(5)), DropReason::none);
      const auto sent = host.sent();
      ASSERT_EQ(sent.size(), 1u);
      EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), c.mac);
      EXPECT_EQ(ipv4_of(sent[0].bytes).destination(), c.destination);
    }
    host.run_for(Duration::from_s(60));  // stale, and still no ARP
  }
}

}  // namespace
}  // namespace pollux::test
