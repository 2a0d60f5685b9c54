// Datagrams on their way out: zero-copy replies, checksums, limits, source addresses.
#include "pollux/wire/udp.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

InterfaceConfig port_with(const TxOffloads& offloads) {
  InterfaceConfig config = our_port();
  config.offloads = offloads;
  return config;
}

/// Checks the frame's headers and checksums; the payload.
Frame payload_of(const SentFrame& sent, std::uint16_t source_port, const Endpoint& to,
                 const IpAddress& from = our_ip) {
  const Ipv4View ip = ipv4_of(sent.bytes);
  EXPECT_EQ(ip.source(), from);
  EXPECT_EQ(ip.destination(), to.address);
  EXPECT_EQ(ip.protocol(), 17);
  const Frame datagram = ip_payload_of(sent.bytes);
  const auto udp = UdpView::parse(datagram, datagram.size());
  EXPECT_TRUE(udp.has_value());
  EXPECT_EQ(udp->source_port(), source_port);
  EXPECT_EQ(udp->destination_port(), to.port);
  EXPECT_EQ(udp->length(), datagram.size());
  EXPECT_TRUE(udp->has_checksum());
  ChecksumSum sum;
  sum.add(datagram);
  sum.add_pseudo_header(from, to.address, 17, static_cast<std::uint32_t>(datagram.size()));
  EXPECT_EQ(sum.folded(), 0xffff);
  return Frame(datagram.begin() + 8, datagram.end());
}

TEST(UdpOutput, AnEchoOfAnySizeReturnsInTheBufferItCameIn) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Echo handler;
  host.bind(7, handler);
  for (const std::size_t size : {1u, 2u, 17u, 18u, 19u, 1000u, 1471u, 1472u}) {
    SCOPED_TRACE(size);
    Packet packet = host.packet_of(udp_frame(peer, {our_ip, 7}, pattern(size)));
    const void* const buffer = packet.mbuf()->buf_addr;
    packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_TX_TCP_CKSUM;
    host.heap.set_limit(1);  // not one more mbuf is needed
    host.receive(std::move(packet));
    host.udp.deliver();
    const auto sent = host.sent();
    host.heap.set_limit(100);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].buffer, buffer);
    EXPECT_EQ(sent[0].segments, 1u);
    EXPECT_EQ(sent[0].ol_flags, 0u);
    EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), peer_mac);
    EXPECT_EQ(payload_of(sent[0], 7, peer), pattern(size));
    EXPECT_EQ(handler.results.back(), SendStatus::ok);
  }
  EXPECT_EQ(host.counters[Counter::udp_out_datagrams], 8u);
  EXPECT_EQ(host.counters.drops(), 0u);
}

TEST(UdpOutput, AnEmptyDatagramIsEchoedToo) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Echo handler;
  host.bind(7, handler);
  host.receive(peer, 7, {});
  host.udp.deliver();
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(payload_of(sent[0], 7, peer), Frame());
}

TEST(UdpOutput, BytesThatSomebodyElseReadsGoOutBehindAnMbufOfTheirOwnHeaders) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  PacketPool pool = host.heap.pool();
  Bytes whole = Bytes::copy_of(pool, pattern(300));
  Bytes front = whole.split_front(pool, 101);
  EXPECT_EQ(socket.send_to(peer, std::move(front)), SendStatus::ok);
  EXPECT_EQ(whole.to_string(), text_of(pattern(300)).substr(101)) << "untouched by the headers";
  EXPECT_EQ(socket.send_to(peer, std::move(whole)), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  Frame both = payload_of(sent[0], 7, peer);
  const Frame rest = payload_of(sent[1], 7, peer);
  both.insert(both.end(), rest.begin(), rest.end());
  EXPECT_EQ(both, pattern(300));
}

TEST(UdpOutput, SpansAndTextAreCopied) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  Frame data = pattern(1000);
  EXPECT_EQ(socket.send_to(peer, std::span<const std::uint8_t>(data)), SendStatus::ok);
  data.assign(data.size(), 0);
  EXPECT_EQ(socket.send_to(peer, "hi"), SendStatus::ok);
  EXPECT_EQ(socket.send_to(peer, ""), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(payload_of(sent[0], 7, peer), pattern(1000));
  EXPECT_EQ(payload_of(sent[1], 7, peer), bytes_of("hi"));
  EXPECT_EQ(payload_of(sent[2], 7, peer), Frame());
}

TEST(UdpOutput, AChecksumThatComesOutAsZeroIsSentAsFfff) {  // RFC 768
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  int wrapped = 0;
  for (std::uint32_t value = 0; value <= 0xffff; ++value) {
    const Frame data{static_cast<std::uint8_t>(value >> 8), static_cast<std::uint8_t>(value)};
    ASSERT_EQ(socket.send_to(peer, std::span<const std::uint8_t>(data)), SendStatus::ok);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    const std::uint16_t field = load_be16(&sent[0].bytes[40]);
    ASSERT_NE(field, 0);
    wrapped += field == 0xffff;
    if (field == 0xffff) {
      EXPECT_EQ(payload_of(sent[0], 7, peer), data);
    }
  }
  EXPECT_EQ(wrapped, 1);
}

TEST(UdpOutput, TheNicIsGivenThePseudoHeadersSum) {
  UdpHost host({}, port_with({.ipv4_checksum = true, .udp_checksum = true}));
  host.make_reachable(peer_ip, peer_mac);
  Echo handler;
  UdpSocket socket = host.bind(7, handler);
  EXPECT_EQ(socket.send_to(peer, "offload me"), SendStatus::ok);
  host.receive(peer, 7, bytes_of("offload me"));
  host.udp.deliver();
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  for (const SentFrame& frame : sent) {
    EXPECT_EQ(frame.ol_flags, RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IP_CKSUM | RTE_MBUF_F_TX_IPV4);
    EXPECT_EQ(frame.l2_len, 14u);
    EXPECT_EQ(frame.l3_len, 20u);
    EXPECT_EQ(frame.l4_len, 8u);
    ChecksumSum pseudo;
    pseudo.add_pseudo_header(our_ip, peer_ip, 17, 18);
    EXPECT_EQ(load_be16(&frame.bytes[40]), pseudo.folded());
  }
}

TEST(UdpOutput, APortWithoutChainsGetsOneSegment) {
  UdpHost host({}, port_with({.multi_segment = false}));
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  PacketPool pool = host.heap.pool();
  Bytes whole = Bytes::copy_of(pool, pattern(1472));
  Bytes front = whole.split_front(pool, 700);
  EXPECT_EQ(socket.send_to(peer, std::move(front)), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].segments, 1u);
  EXPECT_EQ(payload_of(sent[0], 7, peer), pattern(700));
}

TEST(UdpOutput, WhatCannotBeSentSaysWhyAndStaysWithTheCaller) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  PacketPool pool = host.heap.pool();
  const auto send = [&](const Endpoint& to, std::size_t size, const Endpoint& local = {}) {
    Bytes data = Bytes::copy_of(pool, pattern(size));
    const SendStatus status = socket.send_to(to, std::move(data), local);
    EXPECT_EQ(data.size(), status == SendStatus::ok ? 0u : size);
    return status;
  };
  EXPECT_EQ(send(peer, 1472), SendStatus::ok);
  (void)host.sent();
  EXPECT_EQ(send(peer, 1473), SendStatus::ok);
  EXPECT_EQ(host.sent().size(), 2u) << "in fragments";
  EXPECT_EQ(send(peer, 65508), SendStatus::too_large);
  EXPECT_EQ(socket.send_to(peer, std::span<const std::uint8_t>(pattern(70000))), SendStatus::too_large);
  EXPECT_EQ(send({remote_ip, 4000}, 10), SendStatus::no_route);
  EXPECT_EQ(send({peer_ip, 0}, 10), SendStatus::no_route);
  EXPECT_EQ(send({IpAddress(), 4000}, 10), SendStatus::no_route);
  EXPECT_EQ(send(peer, 10, {remote_ip}), SendStatus::no_route) << "not our address";
  EXPECT_TRUE(host.sent().empty());

  while (host.ip.tx(0).room() != 0) ASSERT_EQ(send(peer, 1), SendStatus::ok);
  EXPECT_EQ(send(peer, 1), SendStatus::would_block);
  EXPECT_EQ(host.sent().size(), TxBatch::capacity);

  Bytes whole = Bytes::copy_of(pool, pattern(20));
  Bytes front = whole.split_front(pool, 10);
  host.heap.set_limit(0);
  EXPECT_EQ(socket.send_to(peer, std::move(front)), SendStatus::no_memory);
  EXPECT_EQ(front.size(), 10u);
  EXPECT_EQ(socket.send_to(peer, "text"), SendStatus::no_memory);
  host.heap.set_limit(100);
  EXPECT_EQ(socket.send_to(peer, std::move(front)), SendStatus::ok);
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST(UdpOutput, ADatagramToAnUnknownNeighbourWaitsForArp) {
  UdpHost host;
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  EXPECT_EQ(socket.send_to(peer, "first"), SendStatus::ok);
  ASSERT_EQ(host.sent().size(), 1u);  // the request
  EXPECT_FALSE(host.input(arp_reply(peer_mac, peer_ip)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(payload_of(sent[0], 7, peer), bytes_of("first"));
}

TEST(UdpOutput, TheSourceIsTheCallersTheSocketsOrTheRoutes) {
  UdpHost host;
  const IpAddress second = IpAddress::v4(203, 0, 113, 1);
  ASSERT_TRUE(host.ip.add_interface(
      {.name = "p1", .mac = other_mac, .address = {second, 24}, .mtu = 1500, .offloads = {}}, host.now));
  (void)host.sent(1);
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket any = host.bind(7, handler);
  UdpSocket bound = host.bind(8, handler, second);
  EXPECT_EQ(any.send_to(peer, "a"), SendStatus::ok);
  EXPECT_EQ(any.send_to(peer, "a", {second}), SendStatus::ok);
  EXPECT_EQ(any.send_to(peer, "a"), SendStatus::ok);
  EXPECT_EQ(any.send_to(peer, "a", {subnet_broadcast}), SendStatus::ok);  // a reply to a broadcast
  EXPECT_EQ(bound.send_to(peer, "a"), SendStatus::ok);
  EXPECT_EQ(bound.send_to(peer, "a", {our_ip}), SendStatus::no_route) << "not the socket's address";
  const IpAddress expected[] = {our_ip, second, our_ip, our_ip, second};
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i)
    EXPECT_EQ(payload_of(sent[i], i < 4 ? 7 : 8, peer, expected[i]), bytes_of("a")) << i;
}

TEST(UdpOutput, AnEchoOfABroadcastComesFromOurAddress) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Echo handler;
  host.bind(7, handler);
  host.receive(udp_frame(peer, {subnet_broadcast, 7}, bytes_of("who?")));
  host.udp.deliver();
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(payload_of(sent[0], 7, peer), bytes_of("who?"));
}

TEST(UdpOutput, ARouteChangeAndAnotherPeerAreNoticed) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  host.make_reachable(gateway_ip, other_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  const Endpoint far{remote_ip, 5};
  EXPECT_EQ(socket.send_to(far, "x"), SendStatus::no_route);
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("0.0.0.0/0"), gateway_ip));
  EXPECT_EQ(socket.send_to(far, "x"), SendStatus::ok);
  EXPECT_EQ(socket.send_to(peer, "x"), SendStatus::ok);
  EXPECT_EQ(socket.send_to(far, "x"), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), other_mac);
  EXPECT_EQ(ethernet_of(sent[1].bytes).destination(), peer_mac);
  EXPECT_EQ(ethernet_of(sent[2].bytes).destination(), other_mac);
}

TEST(UdpOutput, ARouteThroughAnotherPortChangesTheSourceToo) {
  UdpHost host;
  const IpAddress second = IpAddress::v4(203, 0, 113, 1);
  ASSERT_TRUE(host.ip.add_interface(
      {.name = "p1", .mac = other_mac, .address = {second, 24}, .mtu = 1500, .offloads = {}}, host.now));
  (void)host.sent(1);
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("0.0.0.0/0"), gateway_ip));
  host.make_reachable(gateway_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  const Endpoint far{remote_ip, 5};
  EXPECT_EQ(socket.send_to(far, "x"), SendStatus::ok);
  EXPECT_EQ(payload_of(host.sent().at(0), 7, far), bytes_of("x"));
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("198.51.100.0/24"), IpAddress::v4(203, 0, 113, 2)));
  EXPECT_EQ(socket.send_to(far, "y"), SendStatus::ok);
  EXPECT_TRUE(host.sent().empty());
  (void)host.sent(1);  // the ARP request
  EXPECT_FALSE(host.ip.input(1,
                             host.packet_of(arp_frame({.operation = ArpOperation::reply,
                                                       .sender_mac = peer_mac,
                                                       .sender_ip = IpAddress::v4(203, 0, 113, 2),
                                                       .target_mac = other_mac,
                                                       .target_ip = second},
                                                      other_mac)),
                             host.now, host.rx));
  const auto sent = host.sent(1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(payload_of(sent[0], 7, far, second), bytes_of("y"));
}

TEST(UdpOutput, APayloadWithoutRoomForAllHeadersNeedsAnMbufBeforeItIsTaken) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  Packet packet = host.packet_of(pattern(10));
  ASSERT_NE(packet.push_front(RTE_PKTMBUF_HEADROOM - 41), nullptr);  // one octet too few is left
  const std::uint32_t size = packet.size();
  Bytes data(std::move(packet));
  host.heap.set_limit(1);
  EXPECT_EQ(socket.send_to(peer, std::move(data)), SendStatus::no_memory);
  EXPECT_EQ(data.size(), size);
  host.heap.set_limit(2);
  EXPECT_EQ(socket.send_to(peer, std::move(data)), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(payload_of(sent[0], 7, peer).size(), size);
}

TEST(UdpOutput, MulticastStaysOnTheLinkUnlessAsked) {  // RFC 1112 6.1
  UdpHost host;
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  EXPECT_EQ(socket.send_to({IpAddress::v4(239, 1, 2, 3), 9}, "m"), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ipv4_of(sent[0].bytes).ttl(), 1);
}

// Checksums, fragments and their chains, also where the NIC adds checksums to what is not cut.
TEST(UdpOutput, DatagramsOfUpTo65507OctetsAreEchoedInFragments) {
  for (const bool nic_checksums : {false, true}) {
    InterfaceConfig port = our_port();
    port.offloads.udp_checksum = nic_checksums;
    UdpHost host({}, port);
    host.make_reachable(peer_ip, peer_mac);
    Echo echo;
    (void)host.bind(7, echo);
    for (const std::size_t size : {1473u, 2953u, 8192u, 60000u, 65507u}) {
      SCOPED_TRACE(size);
      const Frame datagram = udp_datagram(peer, {our_ip, 7}, pattern(size));
      for (std::size_t at = 0; at < datagram.size(); at += 1480) {
        const std::size_t end = std::min(datagram.size(), at + 1480);
        host.receive(ipv4_frame({.protocol = 17,
                                 .payload = Frame(datagram.begin() + static_cast<std::ptrdiff_t>(at),
                                                  datagram.begin() + static_cast<std::ptrdiff_t>(end)),
                                 .spoil = [&](std::uint8_t* ip) {
                                   store_be16(ip + 6, static_cast<std::uint16_t>((end < datagram.size() ? 0x2000u : 0) | at / 8));
                                 }}));
      }
      host.udp.deliver();
      ASSERT_EQ(echo.results.back(), SendStatus::ok);
      Frame answer;
      for (const SentFrame& frame : host.sent()) {
        const Frame piece = ip_payload_of(frame.bytes);
        EXPECT_EQ(ipv4_of(frame.bytes).fragment_offset(), answer.size());
        answer.insert(answer.end(), piece.begin(), piece.end());
      }
      EXPECT_EQ(answer, udp_datagram({our_ip, 7}, peer, pattern(size)));
    }
    EXPECT_EQ(host.heap.in_use(), 0u);
  }
}

TEST(UdpOutput, ADatagramThatDoesNotFitTheBatchWithAllItsFragmentsIsRefused) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  while (host.ip.tx(0).room() > 2) ASSERT_EQ(socket.send_to(peer, pattern(8)), SendStatus::ok);
  EXPECT_EQ(socket.send_to(peer, pattern(4000)), SendStatus::would_block);
  EXPECT_EQ(socket.send_to(peer, pattern(2000)), SendStatus::ok);
}

}  // namespace
}  // namespace pollux::test
