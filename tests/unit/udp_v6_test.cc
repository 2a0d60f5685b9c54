// UDP over IPv6: one socket serves both families.
#include "ip_v6_host.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

const Endpoint v6_peer{peer_v6, 4000};

struct UdpV6Host : V6Host {
  explicit UdpV6Host(const InterfaceConfig& port = v6_port())
      : V6Host({}, port), udp({}, ip, heap.pool(), counters, rng) {}
  void receive(const Frame& frame) {
    if (input(frame)) udp.input(std::move(rx), now);
    udp.deliver();
  }
  UdpSocket bind(std::uint16_t port, UdpHandler& handler, const IpAddress& address = {}) {
    auto socket = udp.bind({.address = address, .port = port}, handler);
    EXPECT_TRUE(socket.has_value()) << (socket ? "" : socket.error().text);
    return socket.value_or(UdpSocket());
  }
  Udp udp;
};

Frame datagram(std::uint16_t port, const Frame& payload) {
  return test::udp_frame(v6_ids(), v6_peer.port, port, payload);
}

TEST(UdpV6, ASocketOnEveryAddressHearsBothFamilies) {
  for (const IpAddress& any : {IpAddress(), v6_unspecified}) {
    UdpV6Host host;
    Recorder recorder;
    (void)host.bind(7, recorder, any);
    host.receive(datagram(7, bytes_of("six")));
    host.receive(test::udp_frame(LinkIds{peer_mac, our_mac, peer_ip, our_ip}, 4000, 7, bytes_of("four")));
    ASSERT_EQ(recorder.got.size(), 2u);
    EXPECT_EQ(recorder.got[0].remote, v6_peer);
    EXPECT_EQ(recorder.got[0].local, our_v6);
    EXPECT_EQ(recorder.got[0].data, "six");
    EXPECT_EQ(recorder.got[1].remote, peer);
  }
}

TEST(UdpV6, ASocketOnAnAddressHearsOnlyThat) {
  UdpV6Host host;
  Recorder six, four;
  (void)host.bind(7, six, our_v6);
  (void)host.bind(7, four, our_ip);
  host.receive(datagram(7, bytes_of("six")));
  EXPECT_EQ(six.got.size(), 1u);
  EXPECT_TRUE(four.got.empty());
  EXPECT_FALSE(host.udp.bind({.address = peer_v6, .port = 9}, six)) << "not ours";
  EXPECT_FALSE(host.udp.bind({.address = v6_unspecified, .port = 7}, six)) << "taken";
}

TEST(UdpV6, AnEchoOfEverySizeLeavesInTheBufferItCameIn) {
  UdpV6Host host;
  Echo echo;
  (void)host.bind(7, echo);
  host.reach();
  for (std::size_t size = 1; size <= 1452; size += 7) {
    SCOPED_TRACE(size);
    Packet packet = host.packet_of(datagram(7, pattern(size)));
    const void* const buffer = packet.mbuf()->buf_addr;
    if (host.input(std::move(packet))) host.udp.input(std::move(host.rx), host.now);
    host.udp.deliver();
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].buffer, buffer);
    const Decoded d = decode(sent[0].bytes);
    EXPECT_EQ(d.problem, "");
    EXPECT_EQ(d.kind, Decoded::Kind::udp);
    EXPECT_EQ(d.ids.source, our_v6);
    EXPECT_EQ(d.ids.destination, peer_v6);
    EXPECT_EQ(d.source_port, 7);
    EXPECT_EQ(d.payload, pattern(size));
  }
}

TEST(UdpV6, AZeroChecksumIsRefused) {  // RFC 8200 8.1
  UdpV6Host host;
  Recorder recorder;
  (void)host.bind(7, recorder);
  Frame frame = datagram(7, bytes_of("x"));
  frame[14 + 40 + 6] = frame[14 + 40 + 7] = 0;
  host.receive(frame);
  EXPECT_TRUE(recorder.got.empty());
  EXPECT_EQ(host.drops(DropReason::udp_no_checksum), 1u);
}

TEST(UdpV6, TheLargestDatagramAndTheFamilyOfTheSourceAreMinded) {
  UdpV6Host host;
  Recorder recorder;
  UdpSocket any = host.bind(7, recorder);
  UdpSocket six = host.bind(8, recorder, our_v6);
  UdpSocket four = host.bind(9, recorder, our_ip);
  host.reach();
  EXPECT_EQ(any.send_to(v6_peer, pattern(1452)), SendStatus::ok);
  EXPECT_EQ(any.send_to(v6_peer, pattern(1453)), SendStatus::ok) << "in fragments";
  EXPECT_EQ(any.send_to(v6_peer, pattern(65528)), SendStatus::too_large);
  EXPECT_EQ(any.send_to(peer, pattern(1472)), SendStatus::ok);
  EXPECT_EQ(six.send_to(peer, pattern(1)), SendStatus::no_route);
  EXPECT_EQ(four.send_to(v6_peer, pattern(1)), SendStatus::no_route);
  EXPECT_EQ(any.send_to(v6_peer, pattern(1), {our_ip}), SendStatus::no_route);
  EXPECT_EQ(any.send_to(v6_peer, pattern(1), {our_link_local}), SendStatus::ok);
}

TEST(UdpV6, AChecksumIsLeftToThePortThatCanDoIt) {
  InterfaceConfig port = v6_port();
  port.offloads.udp_checksum = true;
  UdpV6Host host(port);
  Recorder recorder;
  UdpSocket socket = host.bind(7, recorder);
  host.reach();
  EXPECT_EQ(socket.send_to(v6_peer, pattern(5)), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].ol_flags & (RTE_MBUF_F_TX_L4_MASK | RTE_MBUF_F_TX_IPV6 | RTE_MBUF_F_TX_IPV4),
            RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV6);
  ChecksumSum pseudo;
  pseudo.add_pseudo_header(our_v6, peer_v6, 17, 13);
  EXPECT_EQ(load_be16(&sent[0].bytes[14 + 40 + 6]), pseudo.folded());
}

TEST(UdpV6, AClosedPortIsToldByIcmpv6) {
  UdpV6Host host;
  host.reach();
  const Frame frame = datagram(4444, bytes_of("anybody?"));
  host.receive(frame);
  const Decoded error = host.one_sent();
  EXPECT_EQ(error.icmp_type, 1);
  EXPECT_EQ(error.icmp_code, 4);
  EXPECT_TRUE(std::equal(error.payload.begin(), error.payload.end(), frame.begin() + 14, frame.end()));
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 1u);
  EXPECT_EQ(host.counters[Counter::icmp6_out_dest_unreachs], 1u);
}

TEST(UdpV6, ErrorsReachTheSocketThatSent) {
  UdpV6Host host;
  Recorder recorder;
  (void)host.bind(7, recorder);
  const QuotedPacket quoted{
      .protocol = 17, .source = our_v6, .destination = peer_v6, .source_port = 7, .destination_port = 4000,
      .length = 1500};
  EXPECT_EQ(host.udp.icmp_error({.problem = IcmpProblem::packet_too_big, .mtu = 1280, .quoted = quoted}),
            DropReason::none);
  ASSERT_EQ(recorder.errors.size(), 1u);
  EXPECT_EQ(recorder.errors[0].remote, v6_peer);
  EXPECT_EQ(recorder.errors[0].error, UdpError::message_too_large);
  QuotedPacket forged = quoted;
  forged.source = peer_v6;
  EXPECT_EQ(host.udp.icmp_error({.problem = IcmpProblem::port_unreachable, .quoted = forged}),
            DropReason::icmp_no_match);
}

}  // namespace
}  // namespace pollux::test
