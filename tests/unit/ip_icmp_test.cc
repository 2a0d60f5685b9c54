// ICMPv4 (RFC 792, RFC 1122 3.2.2).
#include "ip_host.h"
#include "pollux/wire/udp.h"

namespace pollux::test {
namespace {

bool has_good_icmp_checksum(const Frame& message) {
  return checksum_ok(message);
}

TEST(Icmp, AnEchoRequestOfAnySizeComesBackUnchanged) {
  for (const std::size_t size : {0u, 1u, 2u, 55u, 56u, 1471u, 1472u}) {
    SCOPED_TRACE(size);
    IpHost host;
    host.make_reachable(peer_ip, peer_mac);
    Frame request = icmp_frame(Icmpv4Type::echo_request, 0, 0x12345678, pattern(size));
    request[15] = 0x20;  // TOS
    store_be16(&request[24], 0);
    ChecksumSum sum;
    sum.add(ByteView(request).subspan(14, 20));
    store_be16(&request[24], sum.finish());
    EXPECT_FALSE(host.input(request));
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), peer_mac);
    EXPECT_EQ(ethernet_of(sent[0].bytes).source(), our_mac);
    const Ipv4View ip = ipv4_of(sent[0].bytes);
    EXPECT_EQ(ip.source(), our_ip);
    EXPECT_EQ(ip.destination(), peer_ip);
    EXPECT_EQ(ip.ttl(), 64);
    EXPECT_EQ(ip.tos(), 0x20);
    EXPECT_EQ(ip.protocol(), 1);
    const Frame reply = ip_payload_of(sent[0].bytes);
    EXPECT_TRUE(has_good_icmp_checksum(reply));
    EXPECT_EQ(reply, icmp_message(Icmpv4Type::echo_reply, 0, 0x12345678, pattern(size)));
    EXPECT_EQ(host.counters[Counter::icmp_in_echos], 1u);
    EXPECT_EQ(host.counters[Counter::icmp_out_echo_reps], 1u);
    EXPECT_EQ(host.counters.drops(), 0u);
  }
}

TEST(Icmp, AnEchoReplyHasARightChecksumForEveryRequestChecksum) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  for (std::uint32_t id = 0; id < 0x10000;
       id += 0x101) {  // walks the checksum through its range, 0 and 0xffff included
    for (const std::uint32_t sequence : {0u, 0x0800u, 0xf7ffu, 0xffffu}) {
      EXPECT_FALSE(host.input(icmp_frame(Icmpv4Type::echo_request, 0, id << 16 | sequence, {})));
      const auto sent = host.sent();
      ASSERT_EQ(sent.size(), 1u);
      ASSERT_TRUE(has_good_icmp_checksum(ip_payload_of(sent[0].bytes))) << id << " " << sequence;
    }
  }
}

TEST(Icmp, AnEchoReplyUsesTheReceivedBuffer) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Packet request = host.packet_of(icmp_frame(Icmpv4Type::echo_request, 0, 1, pattern(56)));
  const void* const buffer = request.mbuf()->buf_addr;
  request.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_TX_UDP_CKSUM;
  EXPECT_FALSE(host.input(std::move(request)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].buffer, buffer);
  EXPECT_EQ(sent[0].ol_flags, 0u) << "nothing of the buffer's earlier life may reach the driver";
}

TEST(Icmp, AnEchoRequestInAnotherOwnersBufferIsAnsweredWithoutWritingToIt) {
  for (const std::size_t size : {0u, 300u}) {
    IpHost host;
    host.make_reachable(peer_ip, peer_mac);
    const Frame request = icmp_frame(Icmpv4Type::echo_request, 0, 7, pattern(size));
    Packet original = host.packet_of(request);
    Packet clone = host.heap.pool().reference(*original.mbuf(), 0, original.size());
    ASSERT_TRUE(clone);
    EXPECT_FALSE(host.input(std::move(clone)));
    const auto front = original.front();
    EXPECT_EQ(Frame(front.begin(), front.end()), request);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].segments, size == 0 ? 1u : 2u) << "no empty segment, which some drivers refuse";
    EXPECT_EQ(ip_payload_of(sent[0].bytes), icmp_message(Icmpv4Type::echo_reply, 0, 7, pattern(size)));
  }
}

TEST(Icmp, AChainedEchoRequestComesBackWhole) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  EXPECT_FALSE(host.input_split(icmp_frame(Icmpv4Type::echo_request, 0, 7, pattern(1000)), {42, 301, 1}));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ip_payload_of(sent[0].bytes), icmp_message(Icmpv4Type::echo_reply, 0, 7, pattern(1000)));
}

TEST(Icmp, AnEchoReplyThroughAGatewayGoesToTheGateway) {
  IpHost host;
  ASSERT_TRUE(host.ip.add_route(*IpPrefix::from_string("0.0.0.0/0"), gateway_ip));
  host.make_reachable(gateway_ip, other_mac);
  EXPECT_FALSE(host.input(ipv4_frame(
      {.source = remote_ip, .protocol = 1, .payload = icmp_message(Icmpv4Type::echo_request, 0, 1, {})})));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ethernet_of(sent[0].bytes).destination(), other_mac);
  EXPECT_EQ(ipv4_of(sent[0].bytes).destination(), remote_ip);
}

struct Case {
  const char* name;
  Icmpv4Type type;
  DropReason reason;  // none: handed up
};

TEST(Icmp, ErrorsAreHandedUpAndTheRestIsIgnoredByName) {
  const Case cases[] = {
      {"destination unreachable", Icmpv4Type::destination_unreachable, DropReason::none},
      {"time exceeded", Icmpv4Type::time_exceeded, DropReason::none},
      {"parameter problem", Icmpv4Type::parameter_problem, DropReason::none},
      {"source quench", Icmpv4Type::source_quench, DropReason::icmp_ignored_type},
      {"redirect", Icmpv4Type::redirect, DropReason::icmp_ignored_type},
      {"echo reply", Icmpv4Type::echo_reply, DropReason::icmp_ignored_type},
      {"timestamp", static_cast<Icmpv4Type>(13), DropReason::icmp_ignored_type},
      {"type 255", static_cast<Icmpv4Type>(255), DropReason::icmp_ignored_type},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    IpHost host;
    const Frame message = icmp_message(c.type, 1, 0, pattern(28));
    EXPECT_EQ(host.input(ipv4_frame({.protocol = 1, .payload = message})), c.reason == DropReason::none);
    if (c.reason == DropReason::none) {
      EXPECT_EQ(host.rx.protocol, 1);
      const auto front = host.rx.packet.front();
      EXPECT_EQ(Frame(front.begin(), front.end()), message);
    } else {
      EXPECT_EQ(host.drops(c.reason), 1u);
    }
    EXPECT_TRUE(host.sent().empty());
    EXPECT_EQ(host.counters[Counter::icmp_in_msgs], 1u);
  }
}

TEST(Icmp, BadMessagesAreDroppedForTheirReason) {
  IpHost host;
  Frame frame = icmp_frame(Icmpv4Type::echo_request, 0, 1, pattern(9));
  frame.back() ^= 1;
  EXPECT_FALSE(host.input(frame));
  EXPECT_EQ(host.drops(DropReason::icmp_bad_checksum), 1u);
  EXPECT_FALSE(host.input(ipv4_frame({.protocol = 1, .payload = Frame(7, 0)})));
  EXPECT_EQ(host.drops(DropReason::icmp_truncated), 1u);
  const Frame echo = icmp_message(Icmpv4Type::echo_request, 0, 1, pattern(9));
  for (const IpAddress& group :
       {subnet_broadcast, IpAddress::v4(255, 255, 255, 255), IpAddress::v4(224, 0, 0, 1)})
    EXPECT_FALSE(host.input(ipv4_frame(
        {.mac_destination = MacAddress::broadcast(), .destination = group, .protocol = 1, .payload = echo})));
  EXPECT_EQ(host.drops(DropReason::icmp_broadcast_echo), 3u);
  const Frame error = icmp_message(Icmpv4Type::destination_unreachable, 1, 0, pattern(28));
  EXPECT_FALSE(host.input(ipv4_frame({.destination = subnet_broadcast, .protocol = 1, .payload = error})));
  EXPECT_EQ(host.drops(DropReason::icmp_no_match), 1u);
  EXPECT_TRUE(host.sent().empty());
}

TEST(Icmp, AnEchoReplyThatFindsNoMbufIsCountedAndTheStackRecovers) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  const Frame request = icmp_frame(Icmpv4Type::echo_request, 0, 7, pattern(10));
  Packet original = host.packet_of(request);
  Packet clone = host.heap.pool().reference(*original.mbuf(), 0, original.size());
  host.heap.set_limit(0);
  EXPECT_FALSE(host.input(std::move(clone)));
  EXPECT_EQ(host.drops(DropReason::no_mbuf), 1u);
  host.heap.set_limit(100);
  EXPECT_FALSE(host.input(request));
  EXPECT_EQ(host.sent().size(), 1u);
}

// --- Errors that we send ----------------------------------------------------------------------------------

TEST(IcmpUnreachable, QuotesTheHeaderAndAsMuchAsFits576Octets) {
  for (const std::size_t size : {8u, 9u, 520u, 528u, 529u, 1480u}) {
    SCOPED_TRACE(size);
    IpHost host;
    host.make_reachable(peer_ip, peer_mac);
    const Frame offender = ipv4_frame({.protocol = 17, .payload = pattern(size)});
    ASSERT_TRUE(host.input(offender));
    host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    const Ipv4View ip = ipv4_of(sent[0].bytes);
    EXPECT_LE(ip.total_length(), 576u);
    EXPECT_EQ(ip.source(), our_ip);
    EXPECT_EQ(ip.destination(), peer_ip);
    const Frame message = ip_payload_of(sent[0].bytes);
    EXPECT_TRUE(has_good_icmp_checksum(message));
    EXPECT_EQ(message[0], 3);
    EXPECT_EQ(message[1], 3);
    const std::size_t quoted = std::min<std::size_t>(20 + size, 576 - 28);
    EXPECT_EQ(Frame(message.begin() + 8, message.end()),
              Frame(offender.begin() + 14, offender.begin() + 14 + static_cast<std::ptrdiff_t>(quoted)));
    EXPECT_EQ(host.counters[Counter::icmp_out_dest_unreachs], 1u);
  }
}

TEST(IcmpUnreachable, QuotesOptionsAndChains) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  const Frame offender = ipv4_frame({.protocol = 17, .payload = pattern(900), .options = Frame(40, 1)});
  ASSERT_TRUE(host.input_split(offender, {200, 100, 100}));
  host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(ipv4_of(sent[0].bytes).total_length(), 576u);
  const Frame message = ip_payload_of(sent[0].bytes);
  EXPECT_EQ(Frame(message.begin() + 8, message.end()),
            Frame(offender.begin() + 14, offender.begin() + 14 + 548));
}

TEST(IcmpUnreachable, IsNeverSentAboutGroupsOrIcmp) {
  IpHost host;
  host.make_reachable(peer_ip, peer_mac);
  ASSERT_TRUE(host.input(ipv4_frame({.destination = subnet_broadcast, .protocol = 17})));
  host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
  ASSERT_TRUE(host.input(icmp_frame(Icmpv4Type::time_exceeded, 0, 0, pattern(28))));
  host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
  EXPECT_TRUE(host.sent().empty());
}

TEST(IcmpUnreachable, IsRateLimited) {
  IpHost host({.icmp_errors_per_second = 100});
  host.make_reachable(peer_ip, peer_mac);
  const auto offend = [&](int times) {
    for (int i = 0; i < times; ++i) {
      ASSERT_TRUE(host.input(ipv4_frame({.protocol = 17})));
      host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
    }
  };
  offend(50);
  EXPECT_EQ(host.sent().size(), 5u) << "a burst of a twentieth of a second's";
  EXPECT_EQ(host.drops(DropReason::icmp_rate_limited), 45u);
  std::size_t sent = 0;
  for (int ms = 0; ms < 1000; ++ms) {
    host.now = host.now + Duration::from_ms(1);
    offend(1);
    sent += host.sent().size();
  }
  EXPECT_EQ(sent, 100u);
}

TEST(IcmpUnreachable, CanBeSwitchedOff) {
  IpHost host({.icmp_errors_per_second = 0});
  ASSERT_TRUE(host.input(ipv4_frame({.protocol = 17})));
  host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.drops(DropReason::icmp_rate_limited), 1u);
}

}  // namespace
}  // namespace pollux::test
