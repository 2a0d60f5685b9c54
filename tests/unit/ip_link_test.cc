// What the link layer lets through.
#include "ip_host.h"

namespace pollux::test {
namespace {

Frame with_type(std::uint16_t type) {
  Frame frame = ipv4_frame({});
  store_be16(&frame[12], type);
  return frame;
}

struct Case {
  const char* name;
  Frame frame;
  DropReason reason;  // none: reaches the transport
};

const Case cases[] = {
    {"to our MAC", ipv4_frame({}), DropReason::none},
    {"to another station", ipv4_frame({.mac_destination = other_mac}), DropReason::eth_not_for_us},
    {"13 octets", Frame(13, 0), DropReason::eth_truncated},
    {"empty", Frame(), DropReason::eth_truncated},
    {"header only",
     [] {
       Frame f = ipv4_frame({});
       f.resize(14);
       return f;
     }(),
     DropReason::ip_truncated},
    {"802.1Q", with_type(0x8100), DropReason::eth_vlan_unknown},
    {"802.1ad", with_type(0x88a8), DropReason::eth_qinq},
    {"IPv6", with_type(0x86dd), DropReason::eth_unknown_type},
    {"an 802.3 length", with_type(46), DropReason::eth_unknown_type},
    {"unicast packet in a broadcast frame", ipv4_frame({.mac_destination = MacAddress::broadcast()}),
     DropReason::ip_in_group_frame},
    {"unicast packet in a multicast frame", ipv4_frame({.mac_destination = {{0x01, 0, 0x5e, 0, 0, 1}}}),
     DropReason::ip_in_group_frame},
};

TEST(IpLink, FramesAreAcceptedOrDroppedForTheirReason) {
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    EXPECT_EQ(host.input(c.frame), c.reason == DropReason::none);
    EXPECT_EQ(host.counters.drops(), c.reason == DropReason::none ? 0u : 1u);
    if (c.reason != DropReason::none) {
      EXPECT_EQ(host.drops(c.reason), 1u);
    }
  }
}

TEST(IpLink, ATagThatTheNicTookOffIsStillATag) {
  IpHost host;
  Packet packet = host.packet_of(ipv4_frame({}));
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  packet.mbuf()->vlan_tci = 7;
  EXPECT_FALSE(host.input(std::move(packet)));
  EXPECT_EQ(host.drops(DropReason::eth_vlan_unknown), 1u);
}

TEST(IpLink, PaddingBehindTheIpPacketIsCutOff) {
  IpHost host;
  Frame frame = ipv4_frame({.payload = pattern(21)});
  frame.resize(60, 0xee);
  ASSERT_TRUE(host.input(frame));
  EXPECT_EQ(host.rx.packet.size(), 21u);
  // Also when the padding fills a segment of its own.
  frame = ipv4_frame({.payload = pattern(400)});
  frame.resize(frame.size() + 100, 0xee);
  ASSERT_TRUE(host.input_split(frame, {frame.size() - 90}));
  EXPECT_EQ(host.rx.packet.size(), 400u);
  EXPECT_EQ(host.rx.packet.segment_count(), 1u);
}

TEST(IpLink, HeadersThatASplitTearsApartAreGatheredInTheFirstSegment) {
  const Frame payload = pattern(700);
  const Frame frame = ipv4_frame({.ttl = 9, .tos = 0x10, .payload = payload});
  for (const std::vector<std::size_t>& sizes : std::vector<std::vector<std::size_t>>{
           {1}, {13}, {14}, {20}, {33}, {34}, {1, 1, 1, 1, 10, 10, 10, 10}, {100}, {149}, {150}, {734 - 1}}) {
    SCOPED_TRACE(sizes[0]);
    IpHost host;
    ASSERT_TRUE(host.input_split(frame, sizes));
    ASSERT_EQ(host.rx.packet.size(), payload.size());
    EXPECT_GE(host.rx.packet.front().size(), 60u);  // the longest TCP header
    Frame bytes(payload.size());
    host.rx.packet.copy_out(0, bytes);
    EXPECT_EQ(bytes, payload);
    const std::uint8_t* const ip = host.rx.packet.data() - host.rx.ip_header_length;
    EXPECT_EQ(Frame(ip, ip + 20), Frame(frame.begin() + 14, frame.begin() + 34))
        << "the header stays in the headroom";
    EXPECT_EQ(host.rx.tos, 0x10);
  }
}

TEST(IpLink, TheNicsWordStaysWithGatheredHeaders) {
  IpHost host;
  Frame frame = ipv4_frame({.payload = pattern(300)});
  frame[24] ^= 0x40;
  Packet packet = host.packet_of(Frame(frame.begin(), frame.begin() + 40));
  Packet rest = host.packet_of(Frame(frame.begin() + 40, frame.end()));
  ASSERT_TRUE(packet.chain(rest));
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  ASSERT_TRUE(host.input(std::move(packet)));
  EXPECT_TRUE(rx_l4_checksum_good(host.rx.packet.mbuf()));
}

TEST(IpLink, ASplitHeaderWithoutAnMbufToGatherItIsDroppedByName) {
  IpHost host;
  Packet packet;
  {
    const Frame frame = ipv4_frame({});
    packet = host.heap.exact_copy_of(ByteView(frame).first(20));
    Packet rest = host.heap.exact_copy_of(ByteView(frame).subspan(20));
    ASSERT_TRUE(packet.chain(rest));
  }
  host.heap.set_limit(0);
  EXPECT_FALSE(host.input(std::move(packet)));
  EXPECT_EQ(host.drops(DropReason::header_split), 1u);
}

TEST(IpLink, ThePayloadOfOnePieceKeepsTheReceivedBuffer) {
  IpHost host;
  Packet packet = host.packet_of(ipv4_frame({.payload = pattern(1480)}));
  const void* const buffer = packet.mbuf()->buf_addr;
  ASSERT_TRUE(host.input(std::move(packet)));
  EXPECT_EQ(host.rx.packet.mbuf()->buf_addr, buffer);
}

}  // namespace
}  // namespace pollux::test
