// An IpHost whose port speaks IPv6, and frames of a neighbour on its link.
#pragma once

#include <optional>

#include "ip_host.h"
#include "support/frame.h"

namespace pollux::test {

inline const IpAddress our_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
inline const IpAddress peer_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
inline const IpAddress router_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0xfe);
inline const IpAddress remote_v6 = IpAddress::v6(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 9);  // behind the router
inline const IpAddress our_link_local = IpAddress::v6_link_local(our_mac);
inline const IpAddress peer_link_local = IpAddress::v6_link_local(peer_mac);

inline InterfaceConfig v6_port() {
  InterfaceConfig config = our_port();
  config.v6_addresses = {{our_v6, 64}};
  return config;
}

/// From the peer to us; solicitations to the solicited-node group as their frames go.
inline LinkIds v6_ids(const IpAddress& source = peer_v6, const IpAddress& destination = our_v6,
                      const MacAddress& source_mac = peer_mac) {
  return {source_mac, destination.is_multicast() ? group_mac(destination) : our_mac, source, destination};
}

inline Frame solicitation(const IpAddress& source, const IpAddress& target,
                          const std::optional<MacAddress>& mac = peer_mac) {
  return nd_frame(v6_ids(source, target.solicited_node()), 135, 0, target, mac);
}

inline constexpr std::uint8_t nd_solicited = 0x40, nd_override = 0x20;
inline Frame advertisement(const IpAddress& target, std::uint8_t flags, const std::optional<MacAddress>& mac,
                           const IpAddress& destination = our_v6) {
  return nd_frame(v6_ids(target, destination, mac.value_or(peer_mac)), 136, flags, target, mac);
}

struct V6Host : IpHost {
  explicit V6Host(const IpOptions& options = {}, const InterfaceConfig& port = v6_port())
      : IpHost(options, port) {}

  Decoded one_sent() {
    const auto frames = sent();
    EXPECT_EQ(frames.size(), 1u);
    if (frames.empty()) return {};
    const Decoded d = decode(frames.back().bytes);
    EXPECT_EQ(d.problem, "");
    return d;
  }
  DropReason send_v6(const IpAddress& destination, const Frame& payload = pattern(8),
                     std::uint8_t protocol = 253) {
    RouteCache cache;
    return ip.send(packet_of(payload), {.source = our_v6, .destination = destination, .protocol = protocol},
                   cache, now);
  }
  void reach(const IpAddress& address = peer_v6, const MacAddress& mac = peer_mac) {
    EXPECT_EQ(send_v6(address), DropReason::none);
    EXPECT_FALSE(input(advertisement(address, nd_solicited | nd_override, mac)));
    EXPECT_EQ(state_of(address), NeighborState::reachable);
    (void)sent();
  }
};

}  // namespace pollux::test
