// Ethernet, ARP, IPv4, ICMP and UDP headers.
#include <gtest/gtest.h>

#include <functional>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/icmpv4.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/udp.h"
#include "support/seed.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

const MacAddress mac_a{{0x02, 0, 0, 0, 0, 0x0a}};
const MacAddress mac_b{{0x02, 0, 0, 0, 0, 0x0b}};
const IpAddress ip_a = IpAddress::v4(192, 0, 2, 1);
const IpAddress ip_b = IpAddress::v4(198, 51, 100, 2);

template <typename View>
DropReason reason(const Parsed<View>& parsed) {
  return parsed ? DropReason::none : parsed.error();
}

template <typename Fields>
Octets emitted(const Fields& fields) {
  Octets out(Fields::size, 0xee);
  fields.emit(out.data());
  return out;
}

TEST(Ethernet, RoundTrips) {
  const Octets out = emitted(EthernetFields{.destination = mac_a, .source = mac_b, .type = EtherType::arp});
  EXPECT_EQ(out, (Octets{2, 0, 0, 0, 0, 0x0a, 2, 0, 0, 0, 0, 0x0b, 0x08, 0x06}));
  const auto view = EthernetView::parse(out);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->destination(), mac_a);
  EXPECT_EQ(view->source(), mac_b);
  EXPECT_EQ(view->type(), EtherType::arp);
}

TEST(Ethernet, RejectsAFrameShorterThanItsHeader) {
  for (const std::size_t size : {0u, 1u, 13u})
    EXPECT_EQ(reason(EthernetView::parse(Octets(size))), DropReason::eth_truncated) << size;
  EXPECT_EQ(reason(EthernetView::parse(Octets(14))), DropReason::none);
}

TEST(Arp, RoundTripsWithPadding) {
  for (const ArpOperation operation : {ArpOperation::request, ArpOperation::reply}) {
    Octets out = emitted(ArpFields{.operation = operation,
                                   .sender_mac = mac_a,
                                   .sender_ip = ip_a,
                                   .target_mac = mac_b,
                                   .target_ip = ip_b});
    out.resize(46);  // the minimum Ethernet payload
    const auto view = ArpView::parse(out);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->operation(), operation);
    EXPECT_EQ(view->sender_mac(), mac_a);
    EXPECT_EQ(view->sender_ip(), ip_a);
    EXPECT_EQ(view->target_mac(), mac_b);
    EXPECT_EQ(view->target_ip(), ip_b);
  }
}

TEST(Arp, RejectsWhatIsNotIpv4OverEthernet) {
  struct Case {
    const char* name;
    std::size_t at;
    std::uint8_t octet;
  };
  const Case cases[] = {
      {"hardware type", 1, 6},    {"hardware type, high octet", 0, 1},
      {"protocol type", 2, 0x86}, {"protocol type, low octet", 3, 1},
      {"hardware length", 4, 8},  {"protocol length", 5, 16},
      {"operation 0", 7, 0},      {"operation 3 (RARP)", 7, 3},
      {"operation 257", 6, 1},
  };
  for (const Case& c : cases) {
    Octets out = emitted(ArpFields{});
    ASSERT_EQ(reason(ArpView::parse(out)), DropReason::none);
    out[c.at] = c.octet;
    EXPECT_EQ(reason(ArpView::parse(out)), DropReason::arp_malformed) << c.name;
  }
  const Octets whole = emitted(ArpFields{});
  for (std::size_t size = 0; size < ArpView::size; ++size)
    EXPECT_EQ(
        reason(ArpView::parse(Octets(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(size)))),
        DropReason::arp_malformed)
        << size;
}

TEST(Ipv4, MatchesAKnownHeader) {
  const Octets out = emitted(Ipv4Fields{.tos = 0,
                                        .total_length = 0x0073,
                                        .identification = 0,
                                        .dont_fragment = true,
                                        .ttl = 64,
                                        .protocol = 17,
                                        .source = *IpAddress::from_string("192.168.0.1"),
                                        .destination = *IpAddress::from_string("192.168.0.199")});
  EXPECT_EQ(out, (Octets{0x45, 0,    0,   0x73, 0, 0, 0x40, 0,   0x40, 0x11,
                         0xb8, 0x61, 192, 168,  0, 1, 192,  168, 0,    199}));
}

TEST(Ipv4, RandomFieldsRoundTripWithARightChecksum) {
  Rng rng(test::seed_from_environment(11));
  for (int round = 0; round < 5000; ++round) {
    const Ipv4Fields fields{.tos = static_cast<std::uint8_t>(rng.next()),
                            .total_length = static_cast<std::uint16_t>(20 + rng.below(1481)),
                            .identification = static_cast<std::uint16_t>(rng.next()),
                            .dont_fragment = rng.chance(0.5),
                            .ttl = static_cast<std::uint8_t>(rng.next()),
                            .protocol = static_cast<std::uint8_t>(rng.next()),
                            .source = IpAddress::v4(static_cast<std::uint32_t>(rng.next())),
                            .destination = IpAddress::v4(static_cast<std::uint32_t>(rng.next()))};
    Octets out = emitted(fields);
    ASSERT_TRUE(checksum_ok(out));
    const auto view = Ipv4View::parse(out, 1500, false);
    ASSERT_TRUE(view);
    ASSERT_EQ(view->header_length(), 20u);
    ASSERT_EQ(view->tos(), fields.tos);
    ASSERT_EQ(view->total_length(), fields.total_length);
    ASSERT_EQ(view->identification(), fields.identification);
    ASSERT_EQ(view->dont_fragment(), fields.dont_fragment);
    ASSERT_FALSE(view->is_fragment());
    ASSERT_EQ(view->ttl(), fields.ttl);
    ASSERT_EQ(view->protocol(), fields.protocol);
    ASSERT_EQ(view->source(), fields.source);
    ASSERT_EQ(view->destination(), fields.destination);
    Octets for_nic(20, 0xee);
    fields.emit(for_nic.data(), true);
    out[10] = out[11] = 0;
    ASSERT_EQ(for_nic, out) << "the NIC wants a zero checksum field";
  }
}

TEST(Ipv4, TellsFragmentsApart) {
  struct Case {
    std::uint16_t flags_and_offset;
    bool fragment, more, dont;
    std::size_t offset;
  };
  const Case cases[] = {
      {0x0000, false, false, false, 0},  {0x4000, false, false, true, 0},
      {0x2000, true, true, false, 0},    {0x0001, true, false, false, 8},
      {0x20b9, true, true, false, 1480}, {0x1fff, true, false, false, 65528},
      {0x8000, false, false, false, 0},  // the reserved bit is not a fragment's
  };
  for (const Case& c : cases) {
    Octets out = emitted(Ipv4Fields{.total_length = 20});
    store_be16(&out[6], c.flags_and_offset);
    const auto view = Ipv4View::parse(out, 20, true);
    ASSERT_TRUE(view);
    EXPECT_EQ(view->is_fragment(), c.fragment) << c.flags_and_offset;
    EXPECT_EQ(view->more_fragments(), c.more) << c.flags_and_offset;
    EXPECT_EQ(view->dont_fragment(), c.dont) << c.flags_and_offset;
    EXPECT_EQ(view->fragment_offset(), c.offset) << c.flags_and_offset;
  }
}

/// A header with these options (padded to 32 bits) in a packet of `total_length`, its checksum right.
Octets ipv4_with(Octets options, std::uint16_t total_length = 100) {
  options.resize((options.size() + 3) / 4 * 4);
  Octets out = emitted(Ipv4Fields{.total_length = total_length, .source = ip_a, .destination = ip_b});
  out[0] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
  out.insert(out.end(), options.begin(), options.end());
  store_be16(&out[10], 0);
  ChecksumSum sum;
  sum.add(out);
  store_be16(&out[10], sum.finish());
  return out;
}

TEST(Ipv4, RejectsMalformedHeadersByName) {
  struct Case {
    const char* name;
    std::function<void(Octets&)> spoil;  // a good header of 20 octets in a packet of 100
    std::size_t packet_length;
    DropReason expected;
  };
  const Case cases[] = {
      {"good", [](Octets&) {}, 100, DropReason::none},
      {"good with Ethernet padding", [](Octets&) {}, 120, DropReason::none},
      {"empty packet", [](Octets& h) { h.clear(); }, 0, DropReason::ip_truncated},
      {"19 octets", [](Octets& h) { h.resize(19); }, 19, DropReason::ip_truncated},
      {"19 octets in the first piece", [](Octets& h) { h.resize(19); }, 100, DropReason::header_split},
      {"all but the last octet in the first piece", [](Octets& h) { h.resize(19); }, 20,
       DropReason::header_split},
      {"version 6", [](Octets& h) { h[0] = 0x65; }, 100, DropReason::ip_bad_version},
      {"version 0", [](Octets& h) { h[0] = 0x05; }, 100, DropReason::ip_bad_version},
      {"IHL 4", [](Octets& h) { h[0] = 0x44; }, 100, DropReason::ip_bad_header_length},
      {"IHL 0", [](Octets& h) { h[0] = 0x40; }, 100, DropReason::ip_bad_header_length},
      {"IHL beyond the first piece", [](Octets& h) { h[0] = 0x4f; }, 100, DropReason::header_split},
      {"IHL beyond the packet", [](Octets& h) { h[0] = 0x4f; }, 59, DropReason::ip_bad_header_length},
      {"flipped bit", [](Octets& h) { h[13] ^= 0x10; }, 100, DropReason::ip_bad_checksum},
      {"flipped bit in the length", [](Octets& h) { h[2] ^= 0x10; }, 100, DropReason::ip_bad_checksum},
      {"one octet missing", [](Octets&) {}, 99, DropReason::ip_truncated},
      {"total length below the header", [](Octets& h) { h = ipv4_with({}, 19); }, 100,
       DropReason::ip_bad_header_length},
      {"total length 0", [](Octets& h) { h = ipv4_with({}, 0); }, 100, DropReason::ip_bad_header_length},
      {"options beyond total length", [](Octets& h) { h = ipv4_with({1, 1, 1, 1}, 23); }, 100,
       DropReason::ip_bad_header_length},
  };
  for (const Case& c : cases) {
    Octets header = ipv4_with({});
    c.spoil(header);
    EXPECT_EQ(reason(Ipv4View::parse(header, c.packet_length, false)), c.expected) << c.name;
  }
}

TEST(Ipv4, TrustsTheNicOnlyForTheChecksum) {
  Octets header = ipv4_with({});
  header[10] ^= 0xff;
  EXPECT_EQ(reason(Ipv4View::parse(header, 100, false)), DropReason::ip_bad_checksum);
  EXPECT_EQ(reason(Ipv4View::parse(header, 100, true)), DropReason::none);
  EXPECT_EQ(reason(Ipv4View::parse(header, 99, true)), DropReason::ip_truncated);
}

TEST(Ipv4, WalksItsOptions) {
  struct Case {
    const char* name;
    Octets options;
    DropReason expected;
  };
  const Case cases[] = {
      {"NOPs", {1, 1, 1, 1}, DropReason::none},
      {"end of list", {0, 0, 0, 0}, DropReason::none},
      {"what follows the end of list is not read", {0, 131, 0, 0}, DropReason::none},
      {"router alert", {148, 4, 0, 0}, DropReason::none},
      {"record route", {7, 7, 4, 0, 0, 0, 0}, DropReason::none},
      {"unknown", {200, 6, 1, 2, 3, 4}, DropReason::none},
      {"forty octets", Octets(40, 1), DropReason::none},
      {"two octets", {130, 2, 1, 1}, DropReason::none},
      {"length 0", {7, 0, 0, 0}, DropReason::ip_bad_option},
      {"length 1", {7, 1, 0, 0}, DropReason::ip_bad_option},
      {"beyond the header", {7, 5, 4, 0}, DropReason::ip_bad_option},
      {"kind without length", {1, 1, 1, 7}, DropReason::ip_bad_option},
      {"second one beyond the header", {148, 4, 0, 0, 7, 5, 4, 0}, DropReason::ip_bad_option},
      {"loose source route", {131, 7, 4, 192, 0, 2, 9, 0}, DropReason::ip_source_route},
      {"strict source route", {137, 7, 4, 192, 0, 2, 9, 0}, DropReason::ip_source_route},
      {"source route behind a NOP", {1, 131, 3, 4}, DropReason::ip_source_route},
      {"source route beyond the header", {131, 7, 4, 0}, DropReason::ip_bad_option},
  };
  for (const Case& c : cases) {
    const Octets header = ipv4_with(c.options);
    const auto view = Ipv4View::parse(header, 100, false);
    EXPECT_EQ(reason(view), c.expected) << c.name;
    EXPECT_EQ(view ? view->header_length() : header.size(), header.size()) << c.name;
  }
}

TEST(Icmpv4, RoundTripsEcho) {
  const Octets out = emitted(Icmpv4Fields{.type = Icmpv4Type::echo_request, .rest = 0x12345678});
  EXPECT_EQ(out, (Octets{8, 0, 0, 0, 0x12, 0x34, 0x56, 0x78}));
  const auto view = Icmpv4View::parse(out);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->type(), Icmpv4Type::echo_request);
  EXPECT_EQ(view->code(), 0);
  EXPECT_EQ(view->echo_id(), 0x1234);
  EXPECT_EQ(view->echo_sequence(), 0x5678);
  EXPECT_FALSE(view->is_error());
  EXPECT_TRUE(view->quoted().empty());
}

TEST(Icmpv4, RoundTripsFragmentationNeeded) {
  Octets out = emitted(Icmpv4Fields{.type = Icmpv4Type::destination_unreachable,
                                    .code = static_cast<std::uint8_t>(UnreachableCode::fragmentation_needed),
                                    .rest = 1400});
  out.push_back(0x45);
  const auto view = Icmpv4View::parse(out);
  ASSERT_TRUE(view);
  EXPECT_TRUE(view->is_error());
  EXPECT_EQ(view->code(), 4);
  EXPECT_EQ(view->next_hop_mtu(), 1400);
  ASSERT_EQ(view->quoted().size(), 1u);
  EXPECT_EQ(view->quoted()[0], 0x45);
}

TEST(Icmpv4, KnowsItsErrors) {
  for (int type = 0; type < 256; ++type) {
    Octets out(8);
    out[0] = static_cast<std::uint8_t>(type);
    const bool error = type == 3 || type == 4 || type == 5 || type == 11 || type == 12;  // RFC 1122 3.2.2
    EXPECT_EQ(Icmpv4View::parse(out)->is_error(), error) << type;
  }
  for (std::size_t size = 0; size < 8; ++size)
    EXPECT_EQ(reason(Icmpv4View::parse(Octets(size))), DropReason::icmp_truncated) << size;
}

TEST(QuotedPacket, ReadsThePortsBehindTheOptionsAndWantsNoMoreThanEightOctets) {
  for (const Octets& options : {Octets{}, Octets{148, 4, 0, 0}, Octets(40, 1)}) {
    Octets quoted = ipv4_with(options, 1500);  // total length far beyond what is quoted
    quoted[9] = 6;                             // the checksum is wrong now: it is not verified
    const Octets ports{0x12, 0x34, 0x00, 0x07, 0xde, 0xad, 0xbe, 0xef};
    quoted.insert(quoted.end(), ports.begin(), ports.end());
    const auto packet = QuotedPacket::parse(quoted);
    ASSERT_TRUE(packet);
    EXPECT_EQ(packet->protocol, 6);
    EXPECT_EQ(packet->source, ip_a);
    EXPECT_EQ(packet->destination, ip_b);
    EXPECT_EQ(packet->source_port, 0x1234);
    EXPECT_EQ(packet->destination_port, 7);
    EXPECT_EQ(packet->tcp_sequence, 0xdeadbeefu);
    while (!quoted.empty()) {
      quoted.pop_back();
      EXPECT_EQ(reason(QuotedPacket::parse(quoted)), DropReason::icmp_truncated) << quoted.size();
    }
  }
}

TEST(QuotedPacket, RejectsWhatCannotBeOurs) {
  struct Case {
    const char* name;
    std::size_t at;
    std::uint8_t octet;
    DropReason expected;
  };
  const Case cases[] = {
      {"version 6", 0, 0x65, DropReason::icmp_no_match},
      {"IHL 4", 0, 0x44, DropReason::icmp_no_match},
      {"IHL beyond the quote", 0, 0x46, DropReason::icmp_truncated},
      {"later fragment", 7, 1, DropReason::icmp_no_match},
      {"first fragment", 6, 0x20, DropReason::none},
  };
  for (const Case& c : cases) {
    Octets quoted = ipv4_with({});
    quoted.resize(28);
    quoted[c.at] = c.octet;
    EXPECT_EQ(reason(QuotedPacket::parse(quoted)), c.expected) << c.name;
  }
}

TEST(Udp, RoundTrips) {
  const Octets out =
      emitted(UdpFields{.source_port = 53, .destination_port = 0xfedc, .length = 8, .checksum = 0xffff});
  EXPECT_EQ(out, (Octets{0, 53, 0xfe, 0xdc, 0, 8, 0xff, 0xff}));
  const auto view = UdpView::parse(out, 8);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->source_port(), 53);
  EXPECT_EQ(view->destination_port(), 0xfedc);
  EXPECT_EQ(view->length(), 8u);
  EXPECT_TRUE(view->has_checksum());
}

TEST(Udp, AnAllZeroChecksumMeansNone) {
  EXPECT_FALSE(UdpView::parse(emitted(UdpFields{.length = 8}), 8)->has_checksum());
  EXPECT_TRUE(UdpView::parse(emitted(UdpFields{.length = 8, .checksum = 1}), 8)->has_checksum());
  EXPECT_TRUE(UdpView::parse(emitted(UdpFields{.length = 8, .checksum = 0x0100}), 8)->has_checksum());
}

TEST(Udp, RejectsLyingLengths) {
  struct Case {
    std::size_t size;
    std::uint16_t length;
    std::size_t datagram_length;
    DropReason expected;
  };
  const Case cases[] = {
      {0, 8, 0, DropReason::udp_truncated}, {7, 8, 100, DropReason::udp_truncated},
      {8, 8, 8, DropReason::none},          {8, 7, 8, DropReason::udp_truncated},
      {8, 0, 8, DropReason::udp_truncated}, {8, 9, 8, DropReason::udp_truncated},
      {8, 100, 100, DropReason::none},      {8, 101, 100, DropReason::udp_truncated},
      {26, 8, 26, DropReason::none},        {8, 0xffff, 0xffff, DropReason::none},
  };
  for (const auto& [size, length, datagram_length, expected] : cases) {
    Octets bytes = emitted(UdpFields{.length = length});
    bytes.resize(size);
    EXPECT_EQ(reason(UdpView::parse(bytes, datagram_length)), expected)
        << size << " octets, length " << length << " of " << datagram_length;
  }
}

}  // namespace
}  // namespace pollux
