// One port, or one VLAN of a port, as the stack sees it: addresses, MTU, offloads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/packet/checksum.h"
#include "pollux/packet/tx_batch.h"
#include "pollux/wire/address.h"

namespace pollux {

using InterfaceId = std::uint8_t;
inline constexpr std::size_t ports_max = 8;
/// Ports and their VLANs together.
inline constexpr std::size_t interfaces_max = 64;
inline constexpr std::uint16_t vlan_id_max = 4094;
/// IPv4 addresses of one interface.
inline constexpr std::size_t v4_addresses_max = 8;
/// IPv6 addresses of one interface, the link-local one included.
inline constexpr std::size_t v6_addresses_max = 8;
/// What IPv6 asks of every link (RFC 8200 5).
inline constexpr std::uint16_t v6_mtu_min = 1280;

struct InterfaceConfig {
  std::string name;  ///< for messages, e.g. "net_tap0"
  MacAddress mac;
  /// Our first IPv4 address with its subnet's length, e.g. 192.0.2.2/24; unspecified: the interface does not speak IPv4.
  IpPrefix address;
  std::uint16_t mtu = 1500;  ///< octets of IP packet, 576..9000; with IPv6 at least 1280
  TxOffloads offloads = {};
  /// Announces the addresses, answers for them and defends them. False on a core that shares the addresses
  /// with one that does, and only learns from what it sees.
  bool primary = true;
  /// Our IPv6 addresses with their subnets' lengths, e.g. 2001:db8::2/64; at most v6_addresses_max - 1. With
  /// at least one the port also has the link-local address of its MAC; with none (and no router_advertisements) it
  /// does not speak IPv6.
  std::vector<IpPrefix> v6_addresses = {};
  /// Take default routers, on-link prefixes, the MTU and further addresses from router advertisements (RFC 4861
  /// 6.3, RFC 4862 5.5). Such a port speaks IPv6 without a configured address too.
  bool router_advertisements = false;
  /// Further IPv4 addresses, at most v4_addresses_max - 1, of the same or other subnets.
  std::vector<IpPrefix> more_v4_addresses = {};
  /// 1..vlan_id_max: the interface is what port `port` receives with this 802.1Q tag, and sends with it; it has that port's
  /// MAC and offloads, and at most its MTU. 0: the port itself, and its untagged frames.
  std::uint16_t vlan = 0;
  InterfaceId port = 0;  ///< of a VLAN or an exception port
  /// Leads to the kernel: it gets what comes to port `port` and belongs to nobody here, and what it sends leaves through
  /// that port. It has the port's MAC, and no addresses.
  bool exception = false;
};

/// Where a subnet behind a router lies.
struct StaticRoute {
  IpPrefix prefix;
  IpAddress gateway;
};

/// Who sits behind an address, where nobody shall be asked.
struct StaticNeighbor {
  IpAddress address;
  MacAddress mac;
};

}  // namespace pollux
