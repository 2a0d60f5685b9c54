// IPv4 routes: a small array kept longest prefix first, so that the first match is the best one. Flows cache
// what they found (RouteCache), so a lookup is not on the per-packet path.
#pragma once

#include <array>
#include <bit>
#include <cstdint>
#include <span>

#include "pollux/base/result.h"
#include "pollux/ip/interface.h"
#include "pollux/wire/address.h"

namespace pollux {

struct Route {
  std::uint32_t network = 0;  ///< host byte order, host bits zero
  std::uint32_t mask = 0;     ///< host byte order
  IpAddress gateway;          ///< unspecified: the destination itself is on the link
  InterfaceId interface = 0;

  IpPrefix prefix() const noexcept {
    return {IpAddress::v4(network), static_cast<std::uint8_t>(std::popcount(mask))};
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
  static constexpr std::size_t routes_max = 64;

  /// Adds a route. Errors: not IPv4, prefix already present, table full.
  Result<void> add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface);
  /// The longest match for an address in host byte order, or nullptr. Valid until the next add().
  const Route* lookup(std::uint32_t address) const noexcept {
    for (std::size_t i = 0; i < count_; ++i)
      if (routes_[i].contains(address)) return &routes_[i];
    return nullptr;
  }
  std::size_t size() const noexcept { return count_; }
  std::span<const Route> routes() const noexcept { return {routes_.data(), count_}; }

 private:
  std::array<Route, routes_max> routes_{};  // [0, count_), masks never growing
  std::size_t count_ = 0;
};

}  // namespace pollux
