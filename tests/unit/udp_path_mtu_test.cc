// Datagrams beyond the path's MTU: what routers say is checked, believed for ten minutes, and followed (RFC
// 1191, 8201, 5927).
#include <set>

#include "ip_v6_host.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

class UdpPathMtu : public testing::TestWithParam<bool> {
 protected:
  UdpPathMtu() : UdpPathMtu(v6_port()) {}
  explicit UdpPathMtu(const InterfaceConfig& port)
      : host({}, port), udp({}, host.ip, host.heap.pool(), host.counters, host.rng) {
    socket = udp.bind({.port = 7}, handler).value();
  }

  bool v4() const { return GetParam(); }
  IpAddress ours() const { return v4() ? our_ip : our_v6; }
  Endpoint to() const { return {v4() ? peer_ip : peer_v6, 4000}; }
  std::uint32_t headers() const { return v4() ? 28 : 48; }
  void know_peer() { ASSERT_TRUE(host.ip.add_neighbor(to().address, peer_mac)); }

  /// What a router says about a datagram of `size` octets of payload to the peer.
  IcmpError too_big(std::uint32_t mtu, std::uint32_t size = 1400) const {
    return {.problem = IcmpProblem::packet_too_big,
            .mtu = mtu,
            .quoted = {.protocol = 17,
                       .source = ours(),
                       .destination = to().address,
                       .source_port = 7,
                       .destination_port = to().port,
                       .length = size + headers()}};
  }
  SendStatus send(std::size_t size) {
    return socket.send_to(to(), std::span<const std::uint8_t>(pattern(size)));
  }
  /// Sizes of the IP packets that a datagram of `size` octets becomes; it must be put together from them.
  std::vector<std::size_t> packets_of(std::size_t size) {
    EXPECT_EQ(send(size), SendStatus::ok);
    const auto sent = host.sent();
    std::vector<std::size_t> sizes;
    for (const SentFrame& frame : sent) sizes.push_back(frame.bytes.size() - 14);
    EXPECT_EQ(received(sent), udp_datagram({ours(), 7}, to(), pattern(size)));
    return sizes;
  }
  /// What the peer puts together.
  Frame received(const std::vector<SentFrame>& sent) const {
    InterfaceConfig theirs = v6_port();
    theirs.mac = peer_mac;
    theirs.address = {peer_ip, 24};
    theirs.v6_addresses = {{peer_v6, 64}};
    V6Host other({.dad_solicitations = 0}, theirs);
    bool whole = false;
    for (const SentFrame& frame : sent) whole = other.input(frame.bytes);
    if (!whole) return {};
    Frame bytes(other.rx.packet.size());
    other.rx.packet.copy_out(0, bytes);
    return bytes;
  }
  static bool has_df(const SentFrame& frame) { return (frame.bytes[20] & 0x40) != 0; }

  V6Host host;
  Udp udp;
  Recorder handler;
  UdpSocket socket;
};

INSTANTIATE_TEST_SUITE_P(Families, UdpPathMtu, testing::Bool(),
                         [](const auto& row) { return row.param ? "V4" : "V6"; });

TEST_P(UdpPathMtu, WhatExceedsThePathIsCutToItAndTheSocketTold) {
  know_peer();
  EXPECT_EQ(packets_of(1400), (std::vector<std::size_t>{1400 + headers()}));
  EXPECT_EQ(socket.payload_max(to()), 1500 - headers());
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  EXPECT_EQ(handler.errors, (std::vector<Recorder::Failed>{{to(), UdpError::message_too_large}}));
  EXPECT_EQ(host.counters[Counter::path_mtu_lowered], 1u);
  EXPECT_EQ(socket.payload_max(to()), 1300 - headers());
  for (const std::size_t size : {1301u - headers(), 1400u, 5000u, 65507u}) {
    SCOPED_TRACE(size);
    const auto sizes = packets_of(size);
    EXPECT_EQ(sizes.size(), host.ip.fragment_count(to().address, static_cast<std::uint32_t>(size) + 8, 0));
    for (const std::size_t piece : sizes) EXPECT_LE(piece, 1300u);
    EXPECT_GT(sizes.size(), 1u);
  }
  EXPECT_EQ(packets_of(1300 - headers()), (std::vector<std::size_t>{1300}));
  if (!v4()) return;
  EXPECT_EQ(send(1272), SendStatus::ok);
  EXPECT_TRUE(has_df(host.sent().at(0))) << "so that a path that shrinks further says so";
}

TEST_P(UdpPathMtu, OtherDestinationsAndTcpAreNotConcerned) {
  know_peer();
  const IpAddress another = v4() ? gateway_ip : router_v6;
  ASSERT_TRUE(host.ip.add_neighbor(another, other_mac));
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  EXPECT_EQ(socket.payload_max({another, 4000}), 1500 - headers());
  RouteCache cache;
  EXPECT_EQ(host.ip.send(host.packet_of(pattern(1400)),
                         {.source = ours(), .destination = to().address, .protocol = 6}, cache, host.now),
            DropReason::none);
  EXPECT_EQ(host.sent().size(), 1u);
}

TEST_P(UdpPathMtu, ItIsForgottenAfterTenMinutes) {  // RFC 1191 6.3, RFC 8201 5.3
  know_peer();
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  host.run_for(Duration::from_s(590));
  (void)host.sent();
  EXPECT_EQ(packets_of(1400).size(), 2u);
  EXPECT_EQ(udp.icmp_error(too_big(1290)), DropReason::none);
  host.run_for(Duration::from_s(590));  // the time runs anew
  (void)host.sent();
  EXPECT_EQ(packets_of(1400).size(), 2u);
  IcmpError of_another = too_big(1300);
  of_another.quoted.destination = v4() ? remote_ip : remote_v6;
  EXPECT_EQ(udp.icmp_error(of_another), DropReason::none);
  host.run_for(Duration::from_s(20));
  (void)host.sent();
  EXPECT_EQ(host.ip.path_mtu(of_another.quoted.destination, 0), 1300) << "each has its own time";
  EXPECT_EQ(packets_of(1400).size(), 1u);
  EXPECT_EQ(socket.payload_max(to()), 1500 - headers());
}

TEST_P(UdpPathMtu, ItNeverGrowsByWhatARouterSays) {
  know_peer();
  EXPECT_EQ(udp.icmp_error(too_big(1290)), DropReason::none);
  EXPECT_EQ(udp.icmp_error(too_big(1350)), DropReason::none);
  EXPECT_EQ(socket.payload_max(to()), 1290 - headers());
}

TEST_P(UdpPathMtu, WhatNoRouterSaysOfOurDatagramsIsNotBelieved) {
  know_peer();
  IcmpError other_port = too_big(1300), other_address = too_big(1300);
  other_port.quoted.source_port = 8;
  other_address.quoted.source = v4() ? remote_ip : remote_v6;
  for (const IcmpError& error : {other_port, other_address})
    EXPECT_EQ(udp.icmp_error(error), DropReason::icmp_no_match);
  const std::uint32_t length = 1400 + headers();
  for (const std::uint32_t mtu :
       {length, length + 1, 65536u, 0xffffffffu, v4() ? 67u : 1279u, v4() ? 1u : 0u})
    EXPECT_EQ(udp.icmp_error(too_big(mtu)), DropReason::icmp_implausible_mtu) << mtu;
  EXPECT_EQ(udp.icmp_error(too_big(v4() ? 200 : 1280, v4() ? 100 : 1000)), DropReason::icmp_implausible_mtu);
  EXPECT_TRUE(handler.errors.empty());
  EXPECT_EQ(packets_of(1400).size(), 1u);
  EXPECT_EQ(host.counters[Counter::path_mtu_lowered], 0u);
}

TEST_P(UdpPathMtu, WhereCuttingIsNotAllowedTheSendIsRefused) {
  know_peer();
  socket.set_options({.dont_fragment = true});
  EXPECT_EQ(send(1500 - headers()), SendStatus::ok);
  EXPECT_EQ(send(1501 - headers()), SendStatus::too_large);
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  EXPECT_EQ(send(1301 - headers()), SendStatus::too_large);
  EXPECT_EQ(send(1300 - headers()), SendStatus::ok);
  socket.set_options({});
  EXPECT_EQ(send(1301 - headers()), SendStatus::ok);
}

TEST_P(UdpPathMtu, SegmentsAreOfThePathsSize) {
  know_peer();
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  PacketPool pool = host.heap.pool();
  const auto segmented = [&](std::uint32_t size) {
    return socket.send_segmented(to(), Bytes::copy_of(pool, pattern(4000)), static_cast<std::uint16_t>(size));
  };
  EXPECT_EQ(segmented(1301 - headers()), SendStatus::too_large);
  EXPECT_EQ(segmented(1300 - headers()), SendStatus::ok);
}

TEST_P(UdpPathMtu, AllPiecesFindRoomOrNoneLeaves) {
  know_peer();
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  while (host.ip.tx(0).room() > 1) ASSERT_EQ(send(8), SendStatus::ok);
  EXPECT_EQ(send(1400), SendStatus::would_block);
  EXPECT_EQ(host.ip.tx(0).room(), 1u);
}

TEST_P(UdpPathMtu, ADatagramThatWaitsForItsNeighbourIsCutWhenItLeaves) {
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  EXPECT_EQ(send(1400), SendStatus::ok);
  (void)host.sent();  // the question
  EXPECT_FALSE(host.input(v4() ? arp_reply(peer_mac, peer_ip)
                               : advertisement(peer_v6, nd_solicited | nd_override, peer_mac)));
  const auto sent = host.sent();
  EXPECT_EQ(sent.size(), 2u);
  EXPECT_EQ(received(sent), udp_datagram({ours(), 7}, to(), pattern(1400)));
}

TEST_P(UdpPathMtu, AFloodOfDestinationsKeepsTheTableAsItIs) {
  know_peer();
  for (std::uint32_t i = 0; i < 20 * PathMtuTable::paths_max; ++i) {
    IcmpError error = too_big(1300);
    error.quoted.destination =
        v4() ? IpAddress::v4(0x0a000000u + i)
             : IpAddress::v6(0x2001, 0xdb8, 7, 0, 0, 0, static_cast<std::uint16_t>(i >> 16),
                             static_cast<std::uint16_t>(i));
    ASSERT_EQ(udp.icmp_error(error), DropReason::none);
    ASSERT_EQ(host.ip.path_mtu(error.quoted.destination, 0), 1300) << "the newest is known";
  }
  EXPECT_EQ(udp.icmp_error(too_big(1300)), DropReason::none);
  EXPECT_EQ(packets_of(1400).size(), 2u);
}

TEST(UdpPathMtuV4, ARouterThatNamesNoSizeOrATinyOneIsFollowedAsFarAsIsReasonable) {
  struct Row {
    std::uint32_t claimed;
    std::uint16_t used;
    bool small_ones_have_df;
  };
  for (const Row& row :
       {Row{0, 1006, true}, Row{552, 552, true}, Row{551, 552, false}, Row{68, 552, false}}) {
    SCOPED_TRACE(row.claimed);
    UdpHost host;
    ASSERT_TRUE(host.ip.add_neighbor(peer_ip, peer_mac));
    Recorder handler;
    UdpSocket socket = host.bind(7, handler);
    const QuotedPacket quoted{.protocol = 17,
                              .source = our_ip,
                              .destination = peer_ip,
                              .source_port = 7,
                              .destination_port = 4000,
                              .length = 1428};
    EXPECT_EQ(
        host.udp.icmp_error({.problem = IcmpProblem::packet_too_big, .mtu = row.claimed, .quoted = quoted}),
        DropReason::none);
    EXPECT_EQ(host.ip.path_mtu(peer_ip, 0), row.used);
    std::set<std::uint16_t> ids;
    for (int i = 0; i < 5; ++i) {
      EXPECT_EQ(socket.send_to(peer, std::span<const std::uint8_t>(pattern(100))), SendStatus::ok);
      const auto sent = host.sent();
      ASSERT_EQ(sent.size(), 1u);
      const Ipv4View ip = ipv4_of(sent[0].bytes);
      EXPECT_EQ(ip.dont_fragment(), row.small_ones_have_df);
      EXPECT_FALSE(ip.more_fragments());
      ids.insert(ip.identification());
    }
    EXPECT_EQ(ids.size(), row.small_ones_have_df ? 1u : 5u) << "routers may cut them";
  }
}

TEST(UdpPathMtuV4, WhatIsCutHasItsChecksumFromSoftware) {
  InterfaceConfig port = our_port();
  port.offloads.udp_checksum = true;
  UdpHost host({}, port);
  ASSERT_TRUE(host.ip.add_neighbor(peer_ip, peer_mac));
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  const QuotedPacket quoted{.protocol = 17,
                            .source = our_ip,
                            .destination = peer_ip,
                            .source_port = 7,
                            .destination_port = 4000,
                            .length = 1428};
  EXPECT_EQ(host.udp.icmp_error({.problem = IcmpProblem::packet_too_big, .mtu = 1300, .quoted = quoted}),
            DropReason::none);
  EXPECT_EQ(socket.send_to(peer, std::span<const std::uint8_t>(pattern(1400))), SendStatus::ok);
  Frame joined;
  for (const SentFrame& frame : host.sent()) {
    EXPECT_EQ(frame.ol_flags & RTE_MBUF_F_TX_UDP_CKSUM, 0u);
    const Frame piece = ip_payload_of(frame.bytes);
    joined.insert(joined.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(joined, udp_datagram({our_ip, 7}, peer, pattern(1400)));
}

}  // namespace
}  // namespace pollux::test
