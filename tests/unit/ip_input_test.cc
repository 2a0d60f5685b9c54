// IPv4 input: the checks of RFC 1122 3.2.1.
#include "ip_host.h"

namespace pollux::test {
namespace {

struct Case {
  const char* name;
  Ipv4Spec spec;
  DropReason reason;  // none: reaches the transport
  bool to_group = false;
};

const Case cases[] = {
    {"for us", {}, DropReason::none},
    {"version 6", {.spoil = [](std::uint8_t* ip) { ip[0] = 0x65; }}, DropReason::ip_bad_version},
    {"IHL 4", {.spoil = [](std::uint8_t* ip) { ip[0] = 0x44; }}, DropReason::ip_bad_header_length},
    {"total length beyond the frame",
     {.spoil = [](std::uint8_t* ip) { store_be16(ip + 2, 41); }},
     DropReason::ip_truncated},
    {"more fragments, of 20 octets",
     {.spoil = [](std::uint8_t* ip) { store_be16(ip + 6, 0x2000); }},
     DropReason::ip_fragment_malformed},
    {"a fragment that starts within the TCP header",
     {.spoil = [](std::uint8_t* ip) { store_be16(ip + 6, 0x0001); }},
     DropReason::ip_fragment_tiny},
    {"no options but NOPs", {.options = {1, 1, 1, 1}}, DropReason::none},
    {"an option of length 1", {.options = {7, 1, 0, 0}}, DropReason::ip_bad_option},
    {"loose source route", {.options = {131, 4, 4, 0}}, DropReason::ip_source_route},
    {"destination: another host", {.destination = peer_ip, .spoil = {}}, DropReason::ip_not_local},
    {"destination: loopback", {.destination = IpAddress::v4(127, 0, 0, 1)}, DropReason::ip_not_local},
    {"destination: a multicast group we are not in",
     {.destination = IpAddress::v4(224, 0, 0, 251)},
     DropReason::ip_not_local},
    {"destination: all hosts", {.destination = IpAddress::v4(224, 0, 0, 1)}, DropReason::none, true},
    {"destination: limited broadcast",
     {.destination = IpAddress::v4(255, 255, 255, 255)},
     DropReason::none,
     true},
    {"destination: the subnet's broadcast", {.destination = subnet_broadcast}, DropReason::none, true},
    {"source: unspecified", {.source = IpAddress::v4(0, 0, 0, 0)}, DropReason::ip_bad_source},
    {"source: this network", {.source = IpAddress::v4(0, 1, 2, 3)}, DropReason::ip_bad_source},
    {"source: loopback", {.source = IpAddress::v4(127, 0, 0, 1)}, DropReason::ip_bad_source},
    {"source: multicast", {.source = IpAddress::v4(224, 0, 0, 1)}, DropReason::ip_bad_source},
    {"source: class E", {.source = IpAddress::v4(240, 0, 0, 1)}, DropReason::ip_bad_source},
    {"source: limited broadcast", {.source = IpAddress::v4(255, 255, 255, 255)}, DropReason::ip_bad_source},
    {"source: the subnet's broadcast", {.source = subnet_broadcast}, DropReason::ip_bad_source},
    {"source: our own address (land)", {.source = our_ip}, DropReason::ip_bad_source},
    {"a protocol that nobody handles", {.protocol = 132}, DropReason::ip_unknown_protocol},
};

TEST(IpInput, PacketsAreAcceptedOrDroppedForTheirReason) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    EXPECT_EQ(host.input(ipv4_frame(c.spec)), c.reason == DropReason::none);
    EXPECT_EQ(host.counters.drops(), c.reason == DropReason::none ? 0u : 1u);
    if (c.reason != DropReason::none) {
      EXPECT_EQ(host.drops(c.reason), 1u);
    }
    if (c.reason == DropReason::none) {
      EXPECT_EQ(host.rx.to_group, c.to_group);
    }
    EXPECT_EQ(host.counters[Counter::ip_in_receives], 1u);
    EXPECT_EQ(host.counters[Counter::ip_in_delivers], c.reason == DropReason::none ? 1u : 0u);
  }
}

TEST(IpInput, TheTransportSeesWhatTheHeaderSaid) {
  IpHost host;
  ASSERT_TRUE(host.input(
      ipv4_frame({.protocol = 17, .ttl = 3, .tos = 0xb8, .payload = pattern(33), .options = {1, 1, 1, 0}})));
  EXPECT_EQ(host.rx.source, peer_ip);
  EXPECT_EQ(host.rx.destination, our_ip);
  EXPECT_EQ(host.rx.interface, 0);
  EXPECT_EQ(host.rx.protocol, 17);
  EXPECT_EQ(host.rx.ttl, 3);
  EXPECT_EQ(host.rx.tos, 0xb8);
  EXPECT_EQ(host.rx.ip_header_length, 24);
  EXPECT_FALSE(host.rx.to_group);
  const auto payload = host.rx.packet.front();
  EXPECT_EQ(Frame(payload.begin(), payload.end()), pattern(33));
}

TEST(IpInput, APacketBringsTheTime) {
  IpHost host;
  host.now = host.now + Duration::from_ms(5);
  EXPECT_TRUE(host.input(ipv4_frame({})));
  EXPECT_EQ(host.ip.now(), host.now);
  host.run_for(Duration::from_ms(5));
  EXPECT_EQ(host.ip.now(), host.now);
}

TEST(IpInput, AWrongHeaderChecksumIsCaughtUnlessTheNicVouchesForIt) {
  IpHost host;
  Frame frame = ipv4_frame({});
  frame[24] ^= 0x40;
  EXPECT_FALSE(host.input(frame));
  EXPECT_EQ(host.drops(DropReason::ip_bad_checksum), 1u);
  Packet packet = host.packet_of(frame);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
  EXPECT_TRUE(host.input(std::move(packet)));
}

TEST(IpInput, EveryTruncationOfAPacketIsDroppedAndCounted) {
  const Frame frame = ipv4_frame({.payload = pattern(40)});
  IpHost host;
  for (std::size_t size = 0; size < frame.size(); ++size)
    EXPECT_FALSE(host.input(Frame(frame.begin(), frame.begin() + static_cast<std::ptrdiff_t>(size)))) << size;
  EXPECT_EQ(host.counters.drops(), frame.size());
}

TEST(IpInput, AnAddressOfAnotherPortIsOursToo) {
  IpHost host;
  ASSERT_TRUE(host.ip.add_interface({.name = "port1",
                                     .mac = other_mac,
                                     .address = {IpAddress::v4(203, 0, 113, 1), 24},
                                     .mtu = 1500,
                                     .offloads = {}},
                                    host.now));
  EXPECT_TRUE(host.input(ipv4_frame({.destination = IpAddress::v4(203, 0, 113, 1)})));
  EXPECT_FALSE(host.input(ipv4_frame({.destination = IpAddress::v4(203, 0, 113, 2)})));
  (void)host.sent(1);
}

TEST(IpInput, AnUnknownProtocolIsAnsweredProtocolUnreachable) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  EXPECT_FALSE(host.input(ipv4_frame({.protocol = 132, .payload = pattern(12)})));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  const Frame icmp = ip_payload_of(sent[0].bytes);
  EXPECT_EQ(icmp[0], 3);
  EXPECT_EQ(icmp[1], 2);
  EXPECT_FALSE(host.input(ipv4_frame({.destination = subnet_broadcast, .protocol = 132})));
  EXPECT_TRUE(host.sent().empty()) << "never about a broadcast";
}

}  // namespace
}  // namespace pollux::test
