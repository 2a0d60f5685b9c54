// Routes of both families: small arrays kept longest prefix first, so that the first match is the best one.
// Flows cache what they found (RouteCache), so a lookup is not on the per-packet path.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "pollux/base/result.h"
#include "pollux/ip/interface.h"
#include "pollux/wire/address.h"

namespace pollux {

struct Route {
  std::uint32_t network = 0;  ///< IPv4: host byte order, host bits zero
  std::uint32_t mask = 0;     ///< IPv4: host byte order
  IpPrefix given;             ///< the prefix as it was configured
  IpAddress gateway;          ///< unspecified: the destination itself is on the link
  InterfaceId interface = 0;
  bool learned = false;  ///< from a router advertisement; not configured

  /// With host bits zero where it is IPv4's.
  IpPrefix prefix() const noexcept {
    return given.address.is_v4() ? IpPrefix{IpAddress::v4(network), given.length} : given;
  }
  bool is_connected() const noexcept { return gateway.is_unspecified(); }
  bool contains(std::uint32_t address) const noexcept { return (address & mask) == network; }
};

/// Host byte order mask of a prefix length 0..32.
constexpr std::uint32_t prefix_mask(std::uint8_t length) noexcept {
  return length == 0 ? 0 : 0xffffffffu << (32 - length);
}

/// Not thread-safe; one per core.
class RouteTable {
 public:
  static constexpr std::size_t routes_max = 64;  ///< of each family

  /// Adds a route; prefix and gateway are of one family. Errors: prefix already present, table full.
  Result<void> add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface);
  /// The same for a route that a router told of, on the data path: false instead of an error.
  bool add_learned(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) noexcept;
  /// Forgets the learned IPv6 route for exactly this prefix, if there is one.
  void remove_learned(const IpPrefix& prefix) noexcept;
  /// The longest match for an address in host byte order, or nullptr. Valid until the next add().
  const Route* lookup(std::uint32_t address) const noexcept {
    for (std::size_t i = 0; i < count_; ++i)
      if (routes_[i].contains(address)) return &routes_[i];
    return nullptr;
  }
  /// The same for an IPv6 address.
  const Route* lookup_v6(const IpAddress& address) const noexcept {
    for (std::size_t i = 0; i < v6_count_; ++i)
      if (v6_routes_[i].given.contains(address)) return &v6_routes_[i];
    return nullptr;
  }
  /// The IPv4 route for exactly this prefix, or nullptr.
  const Route* find_v4(const IpPrefix& prefix) const noexcept;
  /// The IPv6 route for exactly this prefix, or nullptr.
  const Route* find_v6(const IpPrefix& prefix) const noexcept;
  std::size_t size() const noexcept { return count_ + v6_count_; }
  std::span<const Route> routes() const noexcept { return {routes_.data(), count_}; }
  std::span<const Route> v6_routes() const noexcept { return {v6_routes_.data(), v6_count_}; }

 private:
  std::array<Route, routes_max> routes_{};  // [0, count_), prefixes never growing longer
  std::size_t count_ = 0;
  std::array<Route, routes_max> v6_routes_{};  // the same
  std::size_t v6_count_ = 0;
};

}  // namespace pollux
