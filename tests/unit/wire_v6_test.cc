// IPv6 headers, extension headers, ICMPv6 and neighbour discovery messages. Expected octets are written out
// by hand.
#include <gtest/gtest.h>

#include <vector>

#include "pollux/wire/checksum.h"
#include "pollux/wire/icmpv6.h"
#include "pollux/wire/ipv6.h"
#include "pollux/wire/neighbor_discovery.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

const IpAddress a = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
const IpAddress b = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const MacAddress mac{{0x02, 0x11, 0x22, 0x33, 0x44, 0x55}};

Octets operator+(Octets left, const Octets& right) {
  left.insert(left.end(), right.begin(), right.end());
  return left;
}

/// A packet whose fixed header names `next`, with everything behind it as given.
Octets packet(std::uint8_t next, const Octets& rest) {
  Octets out(Ipv6Fields::size);
  Ipv6Fields{.payload_length = static_cast<std::uint16_t>(rest.size()),
             .next_header = next,
             .source = a,
             .destination = b}
      .emit(out.data());
  return out + rest;
}

Ipv6Chain walk(const Octets& octets) {
  const auto view = Ipv6View::parse(octets, octets.size());
  EXPECT_TRUE(view.has_value());
  return Ipv6Chain::walk(octets, octets.size(), *view);
}

/// A hop-by-hop or destination options header of 8 octets: `next`, and six octets of options.
Octets options(std::uint8_t next, const Octets& six) {
  return Octets{next, 0} + six;
}
const Octets padding = {1, 4, 0, 0, 0, 0};
const Octets udp(8, 0);

TEST(Ipv6, FieldsAreEmittedAndParsed) {
  Octets octets(Ipv6Fields::size + 3);
  Ipv6Fields{.traffic_class = 0xb9,
             .flow_label = 0x12345,
             .payload_length = 3,
             .next_header = 17,
             .hop_limit = 7,
             .source = a,
             .destination = b}
      .emit(octets.data());
  const Octets head = {0x6b, 0x91, 0x23, 0x45, 0, 3, 17, 7, 0x20, 0x01, 0x0d, 0xb8};
  EXPECT_EQ(Octets(octets.begin(), octets.begin() + 12), head);
  const auto view = Ipv6View::parse(octets, octets.size());
  ASSERT_TRUE(view);
  EXPECT_EQ(view->traffic_class(), 0xb9);
  EXPECT_EQ(view->flow_label(), 0x12345u);
  EXPECT_EQ(view->payload_length(), 3u);
  EXPECT_EQ(view->next_header(), 17);
  EXPECT_EQ(view->hop_limit(), 7);
  EXPECT_EQ(view->source(), a);
  EXPECT_EQ(view->destination(), b);
}

TEST(Ipv6, BadHeadersAreNamed) {
  const Octets good = packet(17, udp);
  const auto reason = [](Octets octets, std::size_t length) {
    return Ipv6View::parse(octets, length).error();
  };
  EXPECT_EQ(reason(Octets(good.begin(), good.begin() + 39), 39), DropReason::ip_truncated);
  EXPECT_EQ(reason(Octets(good.begin(), good.begin() + 39), 48), DropReason::header_split);
  EXPECT_EQ(reason(good, 47), DropReason::ip_truncated);
  Octets bad = good;
  bad[0] = 0x45;
  EXPECT_EQ(reason(bad, 48), DropReason::ip_bad_version);
  // RFC 4291 2.5.5.2: IPv4-mapped addresses have no place on a wire, and must not pass for IPv4.
  for (const std::size_t at : {8u, 24u}) {
    bad = good;
    const auto mapped = IpAddress::v4(192, 0, 2, 1).octets();
    std::copy(mapped.begin(), mapped.end(), bad.begin() + static_cast<std::ptrdiff_t>(at));
    EXPECT_EQ(reason(bad, 48), at == 8 ? DropReason::ip_bad_source : DropReason::ip_not_local);
  }
  EXPECT_TRUE(Ipv6View::parse(good, 60)) << "padding behind the payload";
}

TEST(Ipv6Chain, PlainTransportsAndUnknownOnesStopTheWalk) {
  for (const std::uint8_t next : {6, 17, 58, 132, 50, 51, 253}) {
    const Ipv6Chain chain = walk(packet(next, udp));
    EXPECT_EQ(chain.reason, DropReason::none);
    EXPECT_EQ(chain.protocol, next);
    EXPECT_EQ(chain.header_length, 40);
    EXPECT_EQ(chain.protocol_at, 6);
    EXPECT_FALSE(chain.fragment);
  }
}

TEST(Ipv6Chain, EveryExtensionHeaderIsWalkedToTheTransport) {
  const Octets routing_done = {60, 0, 4, 0, 0, 0, 0, 0};
  const Ipv6Chain chain = walk(packet(0, options(43, padding) + routing_done + options(17, padding) + udp));
  EXPECT_EQ(chain.reason, DropReason::none);
  EXPECT_EQ(chain.protocol, 17);
  EXPECT_EQ(chain.header_length, 40 + 3 * 8);
  EXPECT_EQ(chain.protocol_at, 40 + 2 * 8);
}

struct BadChain {
  const char* what;
  std::uint8_t next;
  Octets rest;
  DropReason reason;
  int code;  // of a parameter problem; -1: none
  std::uint32_t pointer;
};

TEST(Ipv6Chain, WhatMustNotBeSkippedIsNamed) {
  Octets nine;
  for (int i = 0; i < 8; ++i) nine = nine + options(60, padding);
  const std::vector<BadChain> cases = {
      {"no transport", 59, udp, DropReason::ip_no_next_header, -1, 0},
      {"hop-by-hop not first", 60, options(0, padding) + options(17, padding) + udp,
       DropReason::ip_bad_extension, 1, 40},
      {"routing with segments left", 43, Octets{17, 0, 0, 1, 0, 0, 0, 0} + udp, DropReason::ip_source_route,
       0, 42},
      {"option beyond its header", 60, options(17, {5, 5, 0, 0, 0, 0}) + udp, DropReason::ip_bad_extension,
       -1, 0},
      {"unknown option, discard", 60, options(17, {0x41, 4, 0, 0, 0, 0}) + udp, DropReason::ip_unknown_option,
       -1, 0},
      {"unknown option, tell", 60, options(17, {0x81, 4, 0, 0, 0, 0}) + udp, DropReason::ip_unknown_option, 2,
       42},
      {"unknown option, tell hosts", 60, options(17, {0, 0xc1, 3, 0, 0, 0}) + udp,
       DropReason::ip_unknown_option, 2, 43},
      {"nine headers", 60, options(60, padding) + nine + udp, DropReason::ip_extension_limit, -1, 0},
      {"a long header", 60, Octets{17, 27} + Octets(28 * 8 - 2, 0) + udp, DropReason::ip_extension_limit, -1,
       0},
      {"cut off", 60, {17, 1, 0, 0, 0, 0, 0, 0}, DropReason::ip_truncated, -1, 0},
      {"cut shorter", 60, {17, 0, 0}, DropReason::ip_truncated, -1, 0},
  };
  for (const BadChain& c : cases) {
    SCOPED_TRACE(c.what);
    const Ipv6Chain chain = walk(packet(c.next, c.rest));
    EXPECT_EQ(chain.reason, c.reason) << drop_reason_name(chain.reason);
    ASSERT_EQ(chain.problem.has_value(), c.code >= 0);
    if (!chain.problem) continue;
    EXPECT_EQ(chain.problem->code, c.code);
    EXPECT_EQ(chain.problem->pointer, c.pointer);
  }
  EXPECT_TRUE(walk(packet(60, options(17, {0x81, 4, 0, 0, 0, 0}))).problem->to_group_too);
  EXPECT_FALSE(walk(packet(60, options(17, {0xc1, 4, 0, 0, 0, 0}))).problem->to_group_too);
  EXPECT_EQ(walk(packet(60, options(17, {0x01, 0, 0x1e, 2, 0, 0}) + udp)).reason, DropReason::none)
      << "unknown option, skip";
}

TEST(Ipv6Chain, AHeaderBehindTheFirstPieceIsSplit) {
  const Octets whole = packet(60, options(17, padding) + udp);
  const auto view = Ipv6View::parse(whole, whole.size());
  const Ipv6Chain chain = Ipv6Chain::walk(ByteView(whole).first(44), whole.size(), *view);
  EXPECT_EQ(chain.reason, DropReason::header_split);
}

TEST(Ipv6Chain, FragmentHeadersAreRead) {
  const Octets fragment = {17, 0, 0x05, 0xa9, 0xde, 0xad, 0xbe, 0xef};
  Ipv6Chain chain = walk(packet(44, fragment + udp));
  ASSERT_TRUE(chain.fragment);
  EXPECT_EQ(chain.fragment->offset, 0x5a8);
  EXPECT_TRUE(chain.fragment->more);
  EXPECT_EQ(chain.fragment->identification, 0xdeadbeefu);
  EXPECT_EQ(chain.fragment->header_at, 40);
  EXPECT_FALSE(chain.fragment->is_atomic());
  EXPECT_EQ(chain.header_length, 48);
  EXPECT_EQ(chain.protocol, 17);
  // What lies behind a later fragment's header is not a header.
  chain = walk(packet(44, Octets{0, 0, 0x05, 0xa8, 0, 0, 0, 1} + Octets(8, 0xff)));
  EXPECT_EQ(chain.reason, DropReason::none);
  EXPECT_EQ(chain.header_length, 48);
  // RFC 6946: an atomic fragment is a whole packet, and its chain goes on.
  chain = walk(packet(44, Octets{60, 0, 0, 0, 0, 0, 0, 1} + options(6, padding) + udp));
  EXPECT_EQ(chain.reason, DropReason::none);
  EXPECT_TRUE(chain.fragment && chain.fragment->is_atomic());
  EXPECT_EQ(chain.protocol, 6);
  EXPECT_EQ(chain.header_length, 56);
}

TEST(QuotedPacketV6, PortsAreFoundBehindExtensionHeaders) {
  const Octets transport = {0x12, 0x34, 0, 80, 1, 2, 3, 4};
  auto quoted = QuotedPacket::parse_v6(packet(6, transport));
  ASSERT_TRUE(quoted);
  EXPECT_EQ(quoted->source, a);
  EXPECT_EQ(quoted->destination, b);
  EXPECT_EQ(quoted->protocol, 6);
  EXPECT_EQ(quoted->source_port, 0x1234);
  EXPECT_EQ(quoted->destination_port, 80);
  EXPECT_EQ(quoted->tcp_sequence, 0x01020304u);
  quoted = QuotedPacket::parse_v6(packet(60, options(6, padding) + transport));
  ASSERT_TRUE(quoted);
  EXPECT_EQ(quoted->source_port, 0x1234);
  // A quote may end anywhere, so its length field says more than there is.
  Octets cut = packet(6, transport + Octets(100, 0));
  cut.resize(48);
  EXPECT_TRUE(QuotedPacket::parse_v6(cut));
  cut.resize(47);
  EXPECT_EQ(QuotedPacket::parse_v6(cut).error(), DropReason::icmp_truncated);
  EXPECT_EQ(QuotedPacket::parse_v6(packet(44, Octets{6, 0, 0x05, 0xa8, 0, 0, 0, 1} + transport)).error(),
            DropReason::icmp_no_match);
  EXPECT_EQ(QuotedPacket::parse_v6(Octets(48, 0x45)).error(), DropReason::icmp_no_match);
}

TEST(Icmpv6, ErrorsHaveAMeaning) {
  struct Row {
    std::uint8_t type, code;
    IcmpProblem problem;
  };
  for (const Row& row :
       {Row{1, 0, IcmpProblem::network_unreachable}, Row{1, 1, IcmpProblem::host_unreachable},
        Row{1, 3, IcmpProblem::host_unreachable}, Row{1, 4, IcmpProblem::port_unreachable},
        Row{2, 0, IcmpProblem::packet_too_big}, Row{3, 0, IcmpProblem::time_exceeded},
        Row{4, 0, IcmpProblem::parameter_problem}, Row{4, 1, IcmpProblem::protocol_unreachable},
        Row{5, 0, IcmpProblem::other}, Row{1, 9, IcmpProblem::other}}) {
    const Octets message = {row.type, row.code, 0, 0, 0, 0, 5, 0};
    const auto icmp = Icmpv6View::parse(message);
    ASSERT_TRUE(icmp);
    EXPECT_EQ(icmp->problem(), row.problem) << int{row.type} << "/" << int{row.code};
    EXPECT_TRUE(icmp->is_error());
    EXPECT_EQ(icmp->rest(), 1280u);
  }
  EXPECT_EQ(Icmpv6View::parse(Octets(7, 0)).error(), DropReason::icmp_truncated);
}

TEST(NeighborMessage, IsEmittedAndParsedOctetForOctet) {
  Octets out(NeighborMessage::size_max);
  const NeighborMessage advertisement{
      .target = a, .link_address = mac, .router = false, .solicited = true, .override_entry = true};
  EXPECT_EQ(advertisement.emit(out.data()), 32u);
  const Octets expected = Octets{136, 0, 0, 0, 0x60, 0, 0, 0} + Octets(a.octets().begin(), a.octets().end()) +
                          Octets{2, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
  EXPECT_EQ(out, expected);
  const auto parsed = NeighborMessage::parse(out);
  ASSERT_TRUE(parsed);
  EXPECT_FALSE(parsed->is_solicitation);
  EXPECT_TRUE(parsed->solicited && parsed->override_entry && !parsed->router);
  EXPECT_EQ(parsed->target, a);
  EXPECT_EQ(parsed->link_address, mac);

  EXPECT_EQ((NeighborMessage{.is_solicitation = true, .target = a}.emit(out.data())), 24u);
  EXPECT_EQ(out[0], 135);
  const auto bare = NeighborMessage::parse(ByteView(out).first(24));
  ASSERT_TRUE(bare);
  EXPECT_TRUE(bare->is_solicitation);
  EXPECT_FALSE(bare->link_address);
}

TEST(NeighborMessage, MalformedOnesAreRefused) {
  Octets good(NeighborMessage::size_max);
  (void)NeighborMessage{.is_solicitation = true, .target = a, .link_address = mac}.emit(good.data());
  const auto refused = [](const Octets& octets) {
    const auto parsed = NeighborMessage::parse(octets);
    return !parsed && parsed.error() == DropReason::nd_malformed;
  };
  EXPECT_FALSE(refused(good));
  EXPECT_TRUE(refused(Octets(good.begin(), good.begin() + 23)));
  EXPECT_TRUE(refused(Octets(good.begin(), good.begin() + 31))) << "an option cut off";
  for (const auto& [at, value] :
       std::vector<std::pair<std::size_t, std::uint8_t>>{{1, 1}, {25, 0}, {25, 2}, {8, 0xff}}) {
    Octets bad = good;
    bad[at] = value;
    EXPECT_TRUE(refused(bad)) << at;
  }
  Octets other = good;
  other[24] = 14;  // an unknown option (a nonce) is skipped
  ASSERT_FALSE(refused(other));
  EXPECT_FALSE(NeighborMessage::parse(other)->link_address);
}

TEST(RouterAdvertisement, PrefixesMtuAndRouterAreRead) {
  const Octets fixed = {134, 0, 0, 0, 64, 0, 0x07, 0x08, 0, 0, 0, 0, 0, 0, 0, 0};
  const Octets mtu = {5, 1, 0, 0, 0, 0, 0x05, 0xdc};
  const Octets link = {1, 1, 0x02, 0x11, 0x22, 0x33, 0x44, 0x55};
  const auto prefix_option = [](std::uint8_t flags, const IpAddress& address) {
    return Octets{3, 4, 64, flags, 0, 0, 0x0e, 0x10, 0, 0, 0x07, 0x08, 0, 0, 0, 0} +
           Octets(address.octets().begin(), address.octets().end());
  };
  const auto link_local = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 0);
  const auto parsed = RouterAdvertisement::parse(fixed + link + prefix_option(0xc0, a) + mtu +
                                                 prefix_option(0xc0, link_local));
  ASSERT_TRUE(parsed);
  EXPECT_EQ(parsed->hop_limit, 64);
  EXPECT_EQ(parsed->router_lifetime_s, 1800);
  EXPECT_EQ(parsed->mtu, 1500u);
  EXPECT_EQ(parsed->link_address, mac);
  ASSERT_EQ(parsed->prefix_count, 1u) << "a link-local prefix is ignored";
  EXPECT_EQ(parsed->prefixes[0].prefix.to_string(), "2001:db8::1/64");
  EXPECT_TRUE(parsed->prefixes[0].on_link && parsed->prefixes[0].autonomous);
  EXPECT_EQ(parsed->prefixes[0].valid_s, 3600u);
  EXPECT_EQ(parsed->prefixes[0].preferred_s, 1800u);
  EXPECT_FALSE(RouterAdvertisement::parse(fixed + Octets{5, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_FALSE(RouterAdvertisement::parse(Octets(fixed.begin(), fixed.begin() + 15)));
}

TEST(AddressV6, GroupsAndInterfaceIdentifiers) {
  const IpAddress address = *IpAddress::from_string("2001:db8::12:3456");
  EXPECT_EQ(address.solicited_node().to_string(), "ff02::1:ff12:3456");
  EXPECT_EQ(group_mac(address.solicited_node()).to_string(), "33:33:ff:12:34:56");
  EXPECT_EQ(group_mac(IpAddress::v4(224, 129, 2, 3)).to_string(), "01:00:5e:01:02:03");
  EXPECT_EQ(IpAddress::v6_link_local(mac).to_string(), "fe80::11:22ff:fe33:4455");
  EXPECT_TRUE(IpAddress::v6_link_local(mac).is_link_local());
  EXPECT_FALSE(address.is_link_local());
  EXPECT_EQ(a.with_interface_id(mac).to_string(), "2001:db8::11:22ff:fe33:4455");
  EXPECT_EQ(a.common_prefix_length(b), 126);
  EXPECT_EQ(a.common_prefix_length(a), 128);
  EXPECT_EQ(IpAddress::v4(10, 0, 0, 0).common_prefix_length(IpAddress::v4(10, 0, 0, 1)), 31);
  EXPECT_EQ(a.common_prefix_length(IpAddress::v4(10, 0, 0, 1)), 0);
}

}  // namespace
}  // namespace pollux
