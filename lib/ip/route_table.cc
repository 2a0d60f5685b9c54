#include "pollux/ip/route_table.h"

#include <rte_errno.h>
#include <rte_fib.h>
#include <rte_fib6.h>
#include <rte_rib.h>
#include <rte_rib6.h>
#include <rte_version.h>

#include <cstdio>
#include <cstring>
#include <string>
#include <utility>

#include "pollux/base/check.h"

namespace pollux {
namespace {

constexpr std::uint64_t no_route = ~std::uint64_t{0};
// A prefix and, where its path forks, the node of the fork.
constexpr std::uint32_t nodes_per_route = 2;

// DPDK 24.11 gave IPv6 addresses a type of their own, with the same octets.
#if RTE_VERSION >= RTE_VERSION_NUM(24, 11, 0, 0)
using FibAddress = rte_ipv6_addr;
const rte_ipv6_addr* fib_address(const FibAddress& address) {
  return &address;
}
rte_ipv6_addr* fib_addresses(FibAddress& address) {
  return &address;
}
#else
struct FibAddress {
  std::uint8_t octets[1][RTE_FIB6_IPV6_ADDR_SIZE];
};
const std::uint8_t* fib_address(const FibAddress& address) {
  return address.octets[0];
}
auto fib_addresses(FibAddress& address) {
  return address.octets;
}
#endif

FibAddress to_fib(const IpAddress& address) noexcept {
  FibAddress out;
  static_assert(sizeof out == sizeof address);
  std::memcpy(&out, &address, sizeof out);
  return out;
}

/// DPDK tells fibs apart by name in the whole process. The address of the routes that one leads to is such a
/// name: it moves with them and lives longer. At most 22 characters, as DPDK prefixes it and cuts.
struct FibName {
  FibName(char family, const Route* routes) {
    std::snprintf(text, sizeof text, "%c-%llx", family,
                  static_cast<unsigned long long>(reinterpret_cast<std::uintptr_t>(routes)));
  }
  char text[23];
};

tl::unexpected<Error> no_memory(const char* family, std::uint32_t routes_max) {
  return failure(ErrorCode::no_memory,
                 "no memory for " + std::to_string(routes_max) + " " + family + " routes (" +
                     rte_strerror(rte_errno) +
                     "): lower ip.routes_max, raise eal.memory_mb, or provide more huge pages");
}

}  // namespace

IpPrefix Route::prefix() const noexcept {
  return given.address.is_v4()
             ? IpPrefix{IpAddress::v4(given.address.v4_value() & prefix_mask(given.length)), given.length}
             : given;
}

void RouteTable::Free::operator()(rte_fib* fib) const noexcept {
  rte_fib_free(fib);
}
void RouteTable::Free::operator()(rte_fib6* fib) const noexcept {
  rte_fib6_free(fib);
}

RouteTable::RouteTable(std::uint32_t routes_max, int socket) : routes_max_(routes_max), socket_(socket) {
  POLLUX_CHECK(routes_max >= 1 && routes_max <= routes_limit, "a table for %u routes", routes_max);
}
RouteTable::~RouteTable() = default;
RouteTable::RouteTable(RouteTable&& other) noexcept = default;
RouteTable& RouteTable::operator=(RouteTable&& other) noexcept {
  std::swap(routes_max_, other.routes_max_);
  std::swap(socket_, other.socket_);
  routes_.swap(other.routes_);
  v6_routes_.swap(other.v6_routes_);
  v4_fib_.swap(other.v4_fib_);
  v6_fib_.swap(other.v6_fib_);
  return *this;
}

// Measured with DPDK 22.11: a node is 192 octets, and the free ones lie in a ring of pointers as long as the
// next power of two.
std::uint64_t RouteTable::memory(std::uint32_t routes_max) noexcept {
  constexpr std::uint64_t node = 192 + 2 * sizeof(void*);
  return 2 * (nodes_per_route * node * routes_max + 16384);
}

// Of the kinds of fib this is the one without a table of 2^24 entries: look-ups are rare, memory is per core.
Result<void> RouteTable::reserve_v4() {
  if (v4_fib_ != nullptr) return {};
  routes_.reserve(routes_max_);
  rte_fib_conf conf{};
  conf.type = RTE_FIB_DUMMY;
  conf.default_nh = no_route;
  conf.max_routes = static_cast<int>(routes_max_);
  v4_fib_.reset(rte_fib_create(FibName('4', routes_.data()).text, socket_, &conf));
  if (v4_fib_ == nullptr) return no_memory("IPv4", routes_max_);
  return {};
}

Result<void> RouteTable::reserve_v6() {
  if (v6_fib_ != nullptr) return {};
  v6_routes_.reserve(routes_max_);
  rte_fib6_conf conf{};
  conf.type = RTE_FIB6_DUMMY;
  conf.default_nh = no_route;
  conf.max_routes = static_cast<int>(routes_max_);
  v6_fib_.reset(rte_fib6_create(FibName('6', v6_routes_.data()).text, socket_, &conf));
  if (v6_fib_ == nullptr) return no_memory("IPv6", routes_max_);
  return {};
}

const Route* RouteTable::lookup(std::uint32_t address) const noexcept {
  if (v4_fib_ == nullptr) return nullptr;
  std::uint64_t found = no_route;
  rte_fib_lookup_bulk(v4_fib_.get(), &address, &found, 1);
  return found == no_route ? nullptr : &routes_[found];
}

const Route* RouteTable::lookup_v6(const IpAddress& address) const noexcept {
  if (v6_fib_ == nullptr) return nullptr;
  FibAddress wanted = to_fib(address);
  std::uint64_t found = no_route;
  rte_fib6_lookup_bulk(v6_fib_.get(), fib_addresses(wanted), &found, 1);
  return found == no_route ? nullptr : &v6_routes_[found];
}

const Route* RouteTable::find_v4(const IpPrefix& prefix) const noexcept {
  if (v4_fib_ == nullptr || prefix.length > 32) return nullptr;
  rte_rib_node* const node =
      rte_rib_lookup_exact(rte_fib_get_rib(v4_fib_.get()), prefix.address.v4_value(), prefix.length);
  std::uint64_t found = no_route;
  if (node == nullptr || rte_rib_get_nh(node, &found) != 0) return nullptr;
  return &routes_[found];
}

const Route* RouteTable::find_v6(const IpPrefix& prefix) const noexcept {
  if (v6_fib_ == nullptr || prefix.length > 128) return nullptr;
  const FibAddress wanted = to_fib(prefix.address);
  rte_rib6_node* const node =
      rte_rib6_lookup_exact(rte_fib6_get_rib(v6_fib_.get()), fib_address(wanted), prefix.length);
  std::uint64_t found = no_route;
  if (node == nullptr || rte_rib6_get_nh(node, &found) != 0) return nullptr;
  return &v6_routes_[found];
}

/// Its family has a fib, there is room, and the prefix is new.
bool RouteTable::insert(const Route& route) noexcept {
  const IpPrefix& prefix = route.given;
  if (prefix.address.is_v4()) {
    if (rte_fib_add(v4_fib_.get(), prefix.address.v4_value(), prefix.length, routes_.size()) != 0)
      return false;
    routes_.push_back(route);
    return true;
  }
  const FibAddress address = to_fib(prefix.address);
  if (rte_fib6_add(v6_fib_.get(), fib_address(address), prefix.length, v6_routes_.size()) != 0) return false;
  v6_routes_.push_back(route);
  return true;
}

Result<void> RouteTable::add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) {
  const bool v4 = prefix.address.is_v4();
  const std::string what = "route " + prefix.to_string() + ": ";
  if (prefix.length > (v4 ? 32 : 128))
    return failure(ErrorCode::invalid_argument,
                   what + "expected a prefix length of 0.." + (v4 ? "32" : "128"));
  if (auto reserved = v4 ? reserve_v4() : reserve_v6(); !reserved) return reserved;
  if ((v4 ? find_v4(prefix) : find_v6(prefix)) != nullptr)
    return failure(ErrorCode::address_in_use, what + "already present");
  if ((v4 ? routes_ : v6_routes_).size() == routes_max_)
    return failure(ErrorCode::limit_reached, what + "the table holds at most " + std::to_string(routes_max_) +
                                                 " routes of a family (ip.routes_max)");
  if (!insert({.given = prefix, .gateway = gateway, .interface = interface}))
    return no_memory(v4 ? "IPv4" : "IPv6", routes_max_);
  return {};
}

bool RouteTable::add_learned(const IpPrefix& prefix, const IpAddress& gateway,
                             InterfaceId interface) noexcept {
  if (v6_fib_ == nullptr || v6_routes_.size() == routes_max_ || find_v6(prefix) != nullptr) return false;
  return insert({.given = prefix, .gateway = gateway, .interface = interface, .learned = true});
}

void RouteTable::remove_learned(const IpPrefix& prefix) noexcept {
  const Route* const found = find_v6(prefix);
  if (found == nullptr || !found->learned) return;
  const FibAddress address = to_fib(prefix.address);
  rte_fib6_delete(v6_fib_.get(), fib_address(address), prefix.length);
  // The last one takes its place.
  const auto index = static_cast<std::size_t>(found - v6_routes_.data());
  if (index + 1 != v6_routes_.size()) {
    v6_routes_[index] = v6_routes_.back();
    const FibAddress moved = to_fib(v6_routes_[index].given.address);
    rte_fib6_add(v6_fib_.get(), fib_address(moved), v6_routes_[index].given.length, index);
  }
  v6_routes_.pop_back();
}

}  // namespace pollux
