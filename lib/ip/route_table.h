// Routes of both families, found by the longest matching prefix through DPDK's rte_fib and rte_fib6.
// Flows cache what they found (RouteCache), so a lookup is not on the per-packet path.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pollux/base/result.h"
#include "pollux/ip/interface.h"
#include "pollux/wire/address.h"

struct rte_fib;
struct rte_fib6;

namespace pollux {

struct Route {
  IpPrefix given;     ///< the prefix as it was configured
  IpAddress gateway;  ///< unspecified: the destination itself is on the link
  InterfaceId interface = 0;
  bool learned = false;  ///< from a router advertisement; not configured

  /// With host bits zero where it is IPv4's.
  IpPrefix prefix() const noexcept;
  bool is_connected() const noexcept { return gateway.is_unspecified(); }
};

/// The prefix of IPv6's default route.
inline constexpr IpPrefix v6_everywhere{v6_unspecified, 0};

/// Host byte order mask of a prefix length 0..32.
constexpr std::uint32_t prefix_mask(std::uint8_t length) noexcept {
  return length == 0 ? 0 : 0xffffffffu << (32 - length);
}

/// Not thread-safe; one per core. The first route of a family takes the memory for all of that family from
/// DPDK, so its EAL has to be up; after that nothing is allocated.
class RouteTable {
 public:
  static constexpr std::uint32_t routes_max_default = 1024;
  static constexpr std::uint32_t routes_limit = 1'000'000;  ///< of what a table can be made for

  /// For `routes_max` (1..routes_limit) routes of each family, in the memory of a NUMA node (or
  /// SOCKET_ID_ANY).
  explicit RouteTable(std::uint32_t routes_max = routes_max_default, int socket = -1);
  ~RouteTable();
  RouteTable(RouteTable&& other) noexcept;
  RouteTable& operator=(RouteTable&& other) noexcept;

  /// Adds a route; prefix and gateway are of one family. Errors: prefix already present, table full, no
  /// memory.
  Result<void> add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface);
  /// The same for an IPv6 route that a router told of, on the data path: false instead of an error. After
  /// reserve_v6().
  bool add_learned(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) noexcept;
  /// Takes the memory for IPv6 routes, so that add_learned() needs none.
  Result<void> reserve_v6();
  /// Forgets the learned IPv6 route for exactly this prefix, if there is one.
  void remove_learned(const IpPrefix& prefix) noexcept;
  /// The longest match for an address in host byte order, or nullptr. Valid until the next add() or
  /// remove_learned().
  const Route* lookup(std::uint32_t address) const noexcept;
  /// The same for an IPv6 address.
  const Route* lookup_v6(const IpAddress& address) const noexcept;
  /// The IPv4 route for exactly this prefix, or nullptr.
  const Route* find_v4(const IpPrefix& prefix) const noexcept;
  /// The IPv6 route for exactly this prefix, or nullptr.
  const Route* find_v6(const IpPrefix& prefix) const noexcept;
  std::size_t size() const noexcept { return routes_.size() + v6_routes_.size(); }
  /// Of each family.
  std::uint32_t capacity() const noexcept { return routes_max_; }
  /// In no order.
  std::span<const Route> routes() const noexcept { return routes_; }
  std::span<const Route> v6_routes() const noexcept { return v6_routes_; }
  /// Octets of DPDK's memory that a table for so many routes takes when it has both families.
  static std::uint64_t memory(std::uint32_t routes_max) noexcept;

 private:
  struct Free {
    void operator()(rte_fib* fib) const noexcept;
    void operator()(rte_fib6* fib) const noexcept;
  };
  Result<void> reserve_v4();
  bool insert(const Route& route) noexcept;

  std::uint32_t routes_max_;
  int socket_;
  // What a look-up yields is an index of these, which have room for routes_max_ once there is a fib.
  std::vector<Route> routes_;
  std::vector<Route> v6_routes_;
  std::unique_ptr<rte_fib, Free> v4_fib_;
  std::unique_ptr<rte_fib6, Free> v6_fib_;
};

}  // namespace pollux
