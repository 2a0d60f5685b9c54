// Which core owns a flow: the software hash against DPDK's Toeplitz, frames of every kind, and what a driver's
// description says about its RSS.
#include <gtest/gtest.h>
#include <rte_thash.h>

#include <cstring>
#include <memory>

#include "pollux/base/rng.h"
#include "pollux/drivers_glue/port_rss.h"
#include "pollux/drivers_glue/port_text.h"
#include "pollux/drivers_glue/steered_ports.h"
#include "pollux/drivers_glue/steering.h"
#include "support/frame.h"
#include "support/seed.h"

namespace pollux {
namespace {

using test::Frame;
using Kind = FrameOwner::Kind;

constexpr IpAddress a = IpAddress::v4(192, 0, 2, 1);
constexpr IpAddress b = IpAddress::v4(198, 51, 100, 77);

std::array<std::uint8_t, 40> key() {
  std::array<std::uint8_t, 40> octets{};
  Steering::fill_key(octets);
  return octets;
}

/// What a card computes: the tuple in network order as 32-bit words, by DPDK's own Toeplitz.
std::uint32_t card_hash(const IpAddress& source, const IpAddress& destination, std::uint16_t source_port,
                        std::uint16_t destination_port, bool ports) {
  std::uint32_t words[9];
  std::uint32_t n = 0;
  if (source.is_v4()) {
    words[n++] = source.v4_value();
    words[n++] = destination.v4_value();
  } else {
    for (const IpAddress* address : {&source, &destination})
      for (std::size_t i = 0; i < 16; i += 4) words[n++] = load_be32(address->octets().data() + i);
  }
  if (ports) words[n++] = std::uint32_t{source_port} << 16 | destination_port;
  return rte_softrss(words, n, key().data());
}

/// Ethernet and IPv6 around `payload`.
Frame ipv6_frame(const IpAddress& source, const IpAddress& destination, std::uint8_t next, const Frame& payload) {
  Frame frame(14 + 40);
  frame[12] = 0x86;
  frame[13] = 0xdd;
  frame[14] = 0x60;
  frame[14 + 4] = static_cast<std::uint8_t>(payload.size() >> 8);
  frame[14 + 5] = static_cast<std::uint8_t>(payload.size());
  frame[14 + 6] = next;
  std::memcpy(&frame[14 + 8], source.octets().data(), 16);
  std::memcpy(&frame[14 + 24], destination.octets().data(), 16);
  frame.insert(frame.end(), payload.begin(), payload.end());
  return frame;
}

Frame ports_of(std::uint16_t source, std::uint16_t destination) {
  Frame header(20);
  store_be16(header.data(), source);
  store_be16(header.data() + 2, destination);
  return header;
}

test::LinkIds between(const IpAddress& source, const IpAddress& destination) {
  return {.source = source, .destination = destination};
}

TEST(Steering, HashesAsACardDoes) {
  const auto seed = test::seed_from_environment(5);
  SCOPED_TRACE(seed);
  Rng rng(seed);
  const Steering steering(4);
  for (int i = 0; i < 1000; ++i) {
    // No groups: they are the primary core's.
    const auto source = IpAddress::v4(static_cast<std::uint32_t>(rng.next()) & 0x7fffffff);
    const auto destination = IpAddress::v4(static_cast<std::uint32_t>(rng.next()) & 0x7fffffff);
    const auto source_port = static_cast<std::uint16_t>(rng.next());
    const auto destination_port = static_cast<std::uint16_t>(rng.next());
    const Frame tcp = test::tcp_frame(between(source, destination),
                                      {.source_port = source_port, .destination_port = destination_port}, {});
    const auto owner = steering.owner_of_frame(tcp);
    EXPECT_EQ(owner.kind, Kind::flow);
    EXPECT_EQ(owner.hash, card_hash(source, destination, source_port, destination_port, true));
    EXPECT_EQ(owner.core, owner.hash % 128 % 4) << "buckets go to cores in turn";
    EXPECT_EQ(owner.core, steering.owner_of_flow(IpProtocol::tcp, {destination, destination_port},
                                                 {source, source_port}))
        << "either order";
    const Frame back = test::tcp_frame(between(destination, source),
                                       {.source_port = destination_port, .destination_port = source_port}, {});
    EXPECT_EQ(steering.owner_of_frame(back).hash, owner.hash) << "both directions";
  }
}

TEST(Steering, HashesIpv6AsACardDoes) {
  const auto source = *IpAddress::from_string("2001:db8:1:2:3:4:5:6");
  const auto destination = *IpAddress::from_string("fe80::a00:27ff:fe12:3456");
  const Steering steering(3);
  for (const std::uint8_t next : {6, 17}) {
    const auto owner = steering.owner_of_frame(ipv6_frame(source, destination, next, ports_of(4711, 7)));
    EXPECT_EQ(owner.kind, Kind::flow);
    EXPECT_EQ(owner.hash, card_hash(source, destination, 4711, 7, true));
    EXPECT_EQ(owner.core, steering.owner_of_flow(IpProtocol{next}, {source, 4711}, {destination, 7}));
  }
  Frame fragment = ports_of(0, 0);
  fragment[0] = 6;
  EXPECT_EQ(steering.owner_of_frame(ipv6_frame(source, destination, 44, fragment)).hash,
            card_hash(source, destination, 0, 0, false));
  Frame options(8);
  options[0] = 17;  // hop-by-hop options, then UDP
  const Frame udp = ports_of(4711, 7);
  options.insert(options.end(), udp.begin(), udp.end());
  const auto behind = steering.owner_of_frame(ipv6_frame(source, destination, 0, options));
  EXPECT_EQ(behind.kind, Kind::quoted) << "a card may not look behind extension headers";
  EXPECT_EQ(behind.hash, card_hash(source, destination, 4711, 7, true));
}

TEST(Steering, FragmentsAndOtherProtocolsGoByAddresses) {
  const Steering steering(4);
  const auto addresses = card_hash(a, b, 0, 0, false);
  Frame fragment = test::udp_frame(between(a, b), 5, 6, {});
  fragment[14 + 6] = 0x20;  // more fragments: its ports are there, those of the rest are not
  EXPECT_EQ(steering.owner_of_frame(fragment).hash, addresses);
  fragment[14 + 6] = 0;
  fragment[14 + 7] = 1;  // a later one
  EXPECT_EQ(steering.owner_of_frame(fragment).hash, addresses);
  EXPECT_EQ(steering.owner_of_frame(test::icmp_frame(between(a, b), 8, 0, 1, Frame(16))).hash, addresses);
}

TEST(Steering, ACardThatHashesNoUdpPortsIsFollowed) {
  const Steering steering(4, 128, {.tcp_ports = true, .udp_ports = false});
  const Frame udp = test::udp_frame(between(a, b), 5, 6, {});
  EXPECT_EQ(steering.owner_of_frame(udp).hash, card_hash(a, b, 0, 0, false));
  EXPECT_EQ(steering.owner_of_flow(IpProtocol::udp, {a, 5}, {b, 6}), card_hash(a, b, 0, 0, false) % 128 % 4);
}

TEST(Steering, AnIcmpErrorGoesToTheFlowItQuotes) {
  const Steering steering(64);
  const Frame sent = test::tcp_frame(between(a, b), {.source_port = 40000, .destination_port = 80}, {});
  Frame quote(sent.begin() + 14, sent.end());
  quote.resize(28);
  const IpAddress router = IpAddress::v4(203, 0, 113, 9);
  const auto owner = steering.owner_of_frame(test::icmp_frame(between(router, a), 3, 4, 1400, quote));
  EXPECT_EQ(owner.kind, Kind::quoted);
  EXPECT_EQ(owner.core, steering.owner_of_flow(IpProtocol::tcp, {a, 40000}, {b, 80}));
  // An error about an error quotes no flow; and nesting ends there.
  const Frame error = test::icmp_frame(between(a, router), 3, 1, 0, quote);
  const auto nested = steering.owner_of_frame(
      test::icmp_frame(between(router, a), 3, 1, 0, Frame(error.begin() + 14, error.end())));
  EXPECT_EQ(nested.hash, card_hash(a, router, 0, 0, false));
}

TEST(Steering, WhatRoutersSayOfTheSizeOfDatagramsConcernsEveryCore) {
  const Steering steering(4);
  const IpAddress router = IpAddress::v4(203, 0, 113, 9);
  const auto quote_of = [](const Frame& sent) {
    Frame quote(sent.begin() + 14, sent.end());
    quote.resize(std::min<std::size_t>(quote.size(), 60));
    return quote;
  };
  const Frame udp = quote_of(test::udp_frame(between(a, b), 5000, 53, Frame(30)));
  const Frame tcp = quote_of(test::tcp_frame(between(a, b), {.source_port = 40000, .destination_port = 80}, {}));
  EXPECT_EQ(steering.owner_of_frame(test::icmp_frame(between(router, a), 3, 4, 1400, udp)).kind, Kind::everyone);
  EXPECT_EQ(steering.owner_of_frame(test::icmp_frame(between(router, a), 3, 3, 0, udp)).kind, Kind::quoted);
  EXPECT_EQ(steering.owner_of_frame(test::icmp_frame(between(router, a), 3, 4, 1400, tcp)).kind, Kind::quoted);
  const IpAddress a6 = *IpAddress::from_string("2001:db8::1"), b6 = *IpAddress::from_string("2001:db8::2");
  for (const std::uint8_t protocol : {6, 17, 89}) {
    const Frame sent = ipv6_frame(a6, b6, protocol, ports_of(5000, 53));
    Frame error(8);
    error[0] = 2;
    error.insert(error.end(), sent.begin() + 14, sent.end());
    EXPECT_EQ(steering.owner_of_frame(ipv6_frame(b6, a6, 58, error)).kind, protocol == 6 ? Kind::quoted : Kind::everyone);
    error[0] = 1;
    EXPECT_EQ(steering.owner_of_frame(ipv6_frame(b6, a6, 58, error)).kind, Kind::quoted);
  }
}

TEST(Steering, TheRestGoesToThePrimaryCore) {
  const Steering steering(4);
  EXPECT_EQ(steering.owner_of_frame(test::arp_frame(between(a, b), test::ArpOp::request)).kind, Kind::everyone);
  Frame neighbour_solicitation(24);
  neighbour_solicitation[0] = 135;
  EXPECT_EQ(steering
                .owner_of_frame(ipv6_frame(*IpAddress::from_string("fe80::1"), *IpAddress::from_string("ff02::1"), 58,
                                           neighbour_solicitation))
                .kind,
            Kind::everyone);
  Frame unknown(60);
  unknown[12] = 0x88;
  unknown[13] = 0xcc;
  for (const Frame& frame : {unknown, Frame(), Frame(13), Frame(14)}) {
    EXPECT_EQ(steering.owner_of_frame(frame).kind, Kind::other);
    EXPECT_EQ(steering.owner_of_frame(frame).core, 0);
  }
}

TEST(Steering, WhatIsSentToAGroupGoesToThePrimaryCore) {
  const Steering steering(4);
  const auto v4_source = IpAddress::v4(192, 0, 2, 1);
  const auto v6_source = *IpAddress::from_string("2001:db8::1");
  for (std::uint16_t port = 1000; port < 1016; ++port) {
    const auto v4 = steering.owner_of_frame(
        test::udp_frame(between(v4_source, IpAddress::v4(239, 1, 2, 3)), port, 5000, Frame(9)));
    const auto v6 = steering.owner_of_frame(
        ipv6_frame(v6_source, *IpAddress::from_string("ff05::1"), 17, ports_of(port, 5000)));
    for (const auto& owner : {v4, v6}) {
      EXPECT_EQ(owner.core, Steering::primary_core);
      EXPECT_EQ(owner.kind, Kind::quoted) << "a card brings it elsewhere, and is not to blame";
    }
  }
}

TEST(Steering, APortThatUdpChoseBelongsToOneCoreWhoeverThePeerIs) {
  const Steering steering(4, 128, {.tcp_ports = true, .udp_ports = false}, {.first = 50000, .last = 50999});
  const auto us = IpAddress::v4(192, 0, 2, 1);
  const auto us_v6 = *IpAddress::from_string("2001:db8::1");
  for (std::uint16_t i = 0; i < 64; ++i) {
    const auto peer = IpAddress::v4(198, 51, 100, static_cast<std::uint8_t>(i));
    const auto port = static_cast<std::uint16_t>(50000 + i * 7);
    const auto in = steering.owner_of_frame(test::udp_frame(between(peer, us), i, port, Frame(9)));
    EXPECT_EQ(in.core, port % 4);
    EXPECT_EQ(in.kind, Kind::quoted) << "a card goes by the hash, and is not to blame";
    const auto in_v6 = steering.owner_of_frame(
        ipv6_frame(*IpAddress::from_string("2001:db8::2"), us_v6, 17, ports_of(i, port)));
    EXPECT_EQ(in_v6.core, port % 4);
    Frame quoted = test::udp_frame(between(us, peer), port, 9, Frame(9));
    quoted.erase(quoted.begin(), quoted.begin() + 14);
    EXPECT_EQ(steering.owner_of_frame(test::icmp_frame(between(peer, us), 3, 3, 0, quoted)).core, port % 4);
    // From such a port of theirs to a fixed one of ours the hash decides, and in TCP anyway.
    EXPECT_EQ(steering.owner_of_frame(test::udp_frame(between(peer, us), port, 7, Frame(9))).kind, Kind::flow);
    EXPECT_EQ(steering.owner_of_frame(ipv6_frame(us_v6, us_v6, 6, ports_of(i, port))).kind, Kind::flow);
  }
}

TEST(Steering, LooksBehindVlanTags) {
  const Steering steering(4);
  const Frame plain = test::tcp_frame(between(a, b), {.source_port = 1, .destination_port = 2}, {});
  Frame tagged = plain;
  const std::uint8_t tag[] = {0x81, 0x00, 0x00, 0x05};
  for (int i = 0; i < 2; ++i) {
    tagged.insert(tagged.begin() + 12, std::begin(tag), std::end(tag));
    EXPECT_EQ(steering.owner_of_frame(tagged).hash, steering.owner_of_frame(plain).hash) << i;
  }
}

// No frame, however cut or broken, is read past its end: the sanitizer build watches.
TEST(Steering, NeverReadsPastTheFrame) {
  const auto seed = test::seed_from_environment(5);
  SCOPED_TRACE(seed);
  Rng rng(seed);
  const Steering steering(4);
  for (int i = 0; i < 20'000; ++i) {
    const std::size_t size = rng.below(120);
    const auto frame = std::make_unique<std::uint8_t[]>(size);
    for (std::size_t j = 0; j < size; ++j) frame[j] = static_cast<std::uint8_t>(rng.next());
    if (size > 23) {
      static constexpr std::uint16_t types[] = {0x0800, 0x86dd, 0x8100};
      store_be16(frame.get() + 12, types[rng.below(3)]);
      static constexpr std::uint8_t protocols[] = {0, 1, 6, 17, 43, 44, 58, 60};
      frame[23] = protocols[rng.below(8)];
      frame[20] = protocols[rng.below(8)];
    }
    EXPECT_LT(steering.owner_of_frame({frame.get(), size}).core, 4);
  }
}

TEST(Steering, SpreadsFlowsEvenly) {
  for (const unsigned cores : {2u, 3u, 4u, 8u}) {
    const Steering steering(cores);
    std::vector<unsigned> flows(cores);
    for (std::uint16_t port = 32768; port < 61000; ++port)
      ++flows[steering.owner_of_flow(IpProtocol::tcp, {a, 80}, {b, port})];
    for (const unsigned n : flows) EXPECT_NEAR(n, 28232.0 / cores, 28232.0 / cores * 0.04) << cores;
  }
}

// --- Local ports -----------------------------------------------------------------------------------------------

struct PortsCase {
  unsigned cores;
  std::uint32_t buckets;
  std::uint16_t first;
  std::uint16_t last;
};

TEST(SteeredPorts, AreExactlyThoseWhoseAnswersReachTheCore) {
  const auto v6 = *IpAddress::from_string("2001:db8::1");
  for (const auto& [cores, buckets, first, last] : std::vector<PortsCase>{
           {2, 128, 32768, 60999}, {3, 128, 32768, 60999}, {4, 64, 1, 65535}, {4, 128, 40001, 40100}, {7, 2, 50000, 51000}})
    for (const FlowKey& key : {FlowKey{a, b, 0, 80}, FlowKey{b, a, 0, 65535}, FlowKey{v6, v6, 0, 443}}) {
      const Steering steering(cores, buckets);
      for (std::uint16_t core = 0; core < cores; ++core) {
        const SteeredPorts ports(steering, core, first, last);
        std::vector<bool> numbered(65536);
        for (std::uint32_t i = 0; i < ports.count(); ++i) {
          FlowKey flow = key;
          flow.local_port = ports.port(key, i);
          if (flow.local_port == 0) continue;
          ASSERT_FALSE(numbered[flow.local_port]) << "twice";
          numbered[flow.local_port] = true;
          ASSERT_EQ(ports.number(flow), i);
        }
        for (std::uint32_t port = 1; port < 65536; ++port) {
          FlowKey flow = key;
          flow.local_port = static_cast<std::uint16_t>(port);
          const bool here = steering.owner_of_flow(IpProtocol::tcp, {flow.remote, flow.remote_port},
                                                   {flow.local, flow.local_port}) == core;
          ASSERT_EQ(ports.leads_here(flow), here);
          ASSERT_EQ(numbered[port], here && port >= first && port <= last) << port;
          if (!numbered[port]) { ASSERT_EQ(ports.number(flow), ports.count()); }
        }
      }
    }
}

TEST(SteeredPorts, WhereAddressesAloneDecideOnlyTheirCoreHasAny) {
  const Steering steering(2, 128, {.tcp_ports = false, .udp_ports = false});
  const FlowKey key{a, b, 0, 80};
  const std::uint16_t owner = steering.owner_of_flow(IpProtocol::tcp, {a, 0}, {b, 80});
  for (std::uint16_t core = 0; core < 2; ++core) {
    const SteeredPorts ports(steering, core, 32768, 60999);
    unsigned found = 0;
    for (std::uint32_t i = 0; i < ports.count(); ++i) found += ports.port(key, i) != 0;
    EXPECT_EQ(found, core == owner ? 28232u : 0u);
  }
}

// --- Drivers ---------------------------------------------------------------------------------------------------

/// As net_e1000_igb describes an 82576.
rte_eth_dev_info igb() {
  rte_eth_dev_info info{};
  info.driver_name = "net_e1000_igb";
  info.max_rx_queues = info.max_tx_queues = 16;
  info.reta_size = 128;
  info.hash_key_size = 40;
  info.flow_type_rss_offloads = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP |
                                RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_TCP | RTE_ETH_RSS_NONFRAG_IPV6_UDP |
                                RTE_ETH_RSS_IPV6_EX | RTE_ETH_RSS_IPV6_TCP_EX | RTE_ETH_RSS_IPV6_UDP_EX;
  return info;
}

TEST(RssPlan, TakesWhatSteeringCanFollow) {
  const RssPlan plan = plan_rss(igb(), 4, true);
  EXPECT_TRUE(plan.usable) << plan.reason;
  EXPECT_TRUE(plan.fields.tcp_ports && plan.fields.udp_ports);
  EXPECT_EQ(plan.buckets, 128u);
  EXPECT_EQ(plan.hash_types & (RTE_ETH_RSS_IPV6_EX | RTE_ETH_RSS_IPV6_TCP_EX), 0u)
      << "addresses from extension headers are not what Steering hashes";
}

TEST(RssPlan, GoesByAddressesWhereOnlyOneIpVersionHasPorts) {
  rte_eth_dev_info info = igb();
  info.flow_type_rss_offloads &= ~RTE_ETH_RSS_NONFRAG_IPV6_UDP;
  const RssPlan plan = plan_rss(info, 4, true);
  EXPECT_TRUE(plan.usable);
  EXPECT_FALSE(plan.fields.udp_ports);
  EXPECT_EQ(plan.hash_types & RTE_ETH_RSS_NONFRAG_IPV4_UDP, 0u);
}

TEST(RssPlan, SaysWhyADriverCannot) {
  const auto reason = [](auto change, unsigned cores = 4, bool hashes = true) {
    rte_eth_dev_info info = igb();
    change(info);
    const RssPlan plan = plan_rss(info, cores, hashes);
    EXPECT_FALSE(plan.usable);
    return plan.reason;
  };
  EXPECT_EQ(reason([](auto& info) { info.reta_size = 0; }), "its driver net_e1000_igb has no RSS");
  EXPECT_EQ(reason([](auto& info) { info.flow_type_rss_offloads = 0; }), "its driver net_e1000_igb has no RSS");
  EXPECT_EQ(reason([](auto& info) { info.max_rx_queues = 1; }), "its driver net_e1000_igb has 1 queue for 4 cores");
  EXPECT_EQ(reason([](auto& info) { info.reta_size = 100; }),
            "its driver net_e1000_igb has an indirection table of 100 entries");
  EXPECT_EQ(reason([](auto& info) { info.hash_key_size = 16; }), "its driver net_e1000_igb has a hash key of 16 octets");
  EXPECT_EQ(reason([](auto&) {}, 4, false), "its driver net_e1000_igb computes no hash, although it says so");
}

TEST(PortText, SaysWhatIsOfferedAndWhatIsUsed) {
  PortDescription port{.name = "0000:01:00.0", .info = igb(), .queues = 2, .rx_ring = 512, .tx_ring = 1024, .mtu = 1500};
  port.info.rx_offload_capa = RTE_ETH_RX_OFFLOAD_TCP_CKSUM | RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
  port.rx_offloads = RTE_ETH_RX_OFFLOAD_TCP_CKSUM;
  port.rx_interrupts = true;
  port.steering = "2 cores over 2 queues by RSS";
  const std::string text = port_text(port);
  for (const char* line :
       {"port 0000:01:00.0\n", "  driver              net_e1000_igb\n", "  NUMA node           none\n",
        "16 receive, 16 transmit; 2 of each used", "512 and 1024 used", "TCP_CKSUM          used\n",
        "VLAN_STRIP         -\n", "  transmit offloads   none\n",
        "table of 128 entries, key of 40 octets, hashes IPv4, IPv4 TCP, IPv4 UDP, IPv6, IPv6 TCP, IPv6 UDP\n",
        "  steering            2 cores over 2 queues by RSS\n", "  receive interrupts  used"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nis not in\n" << text;
  EXPECT_EQ(text.find("remarks"), std::string::npos);
}

}  // namespace
}  // namespace pollux
