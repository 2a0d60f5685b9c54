// IPv4 addresses of an interface, and which of them is a source.
#include <algorithm>

#include "pollux/ip/ip.h"

namespace pollux {
namespace {

// RFC 1122 3.2.1.3: addresses that never name one host.
bool is_host_address(std::uint32_t a) noexcept {
  const std::uint32_t first_octet = a >> 24;
  return first_octet != 0 && first_octet != 127 && first_octet < 224;
}

// RFC 6724 3.1 and 3.2: 169.254/16 is the link, everything else the world.
int scope_of(std::uint32_t address) noexcept {
  return address >> 16 == 0xa9fe ? 2 : 14;
}

/// Leading bits that both have.
int common_bits(std::uint32_t a, std::uint32_t b) noexcept {
  return a == b ? 32 : __builtin_clz(a ^ b);
}

}  // namespace

std::optional<Error> Ip::v4_address_error(const IpPrefix& prefix) const {
  const auto error = [&](ErrorCode code, const std::string& why) {
    return Error{code, "address " + prefix.to_string() + why};
  };
  if (!prefix.address.is_v4() || prefix.length < 1 || prefix.length > 32)
    return error(ErrorCode::invalid_argument, ": expected IPv4 with a prefix length of 1..32");
  const std::uint32_t value = prefix.address.v4_value();
  const std::uint32_t host_bits = ~prefix_mask(prefix.length);
  const bool is_subnet_end = prefix.length <= 30 && ((value & host_bits) == 0 || (value & host_bits) == host_bits);
  if (!is_host_address(value) || is_subnet_end) 
    return error(ErrorCode::invalid_argument, ": expected a unicast host address of that subnet");
  if (is_local(value)) return error(ErrorCode::address_in_use, " is already ours");
  // RFC 1122 3.2.1.3: whom a packet reaches must not depend on the interface.
  if (is_broadcast(value)) return error(ErrorCode::address_in_use, " is the broadcast address of another interface");
  if (routes_.find_v4(prefix) != nullptr)
    return error(ErrorCode::address_in_use, ": there is a route to that subnet already");
  return std::nullopt;
}

std::optional<Error> Ip::v4_config_error(const InterfaceConfig& config) const {
  const auto& more = config.more_v4_addresses;
  if (config.address.address.is_unspecified()) {
    if (more.empty()) return std::nullopt;
    return Error{ErrorCode::invalid_argument, "further IPv4 addresses without a first one"};
  }
  if (more.size() > v4_addresses_max - 1)
    return Error{ErrorCode::limit_reached, std::to_string(more.size() + 1) + " IPv4 addresses: expected at most " +
                                               std::to_string(v4_addresses_max)};
  if (auto problem = v4_address_error(config.address)) return problem;
  for (auto at = more.begin(); at != more.end(); ++at) {
    if (auto problem = v4_address_error(*at)) return problem;
    const auto same = [&](const IpPrefix& p) { return p.address == at->address; };
    if (same(config.address) || std::any_of(more.begin(), at, same))
      return Error{ErrorCode::address_in_use, "address " + at->address.to_string() + " is given twice"};
  }
  return std::nullopt;
}

Result<void> Ip::add_v4_addresses(Interface& port, TimePoint now) {
  if (port.config.address.address.is_unspecified()) return {};
  const auto add_route_to = [&](const IpPrefix& prefix) -> Result<void> {
    const Route* const present = routes_.find_v4(prefix);
    // A second address of a subnet has its route already.
    if (present == nullptr || present->interface != port.id || !present->is_connected())
      if (auto added = routes_.add(prefix, IpAddress(), port.id); !added)
        return failure(added.error().code, "interface " + port.config.name + ": " + added.error().text);
    return {};
  };
  if (auto added = add_route_to(port.config.address); !added) return added;
  for (const IpPrefix& prefix : port.config.more_v4_addresses)
    if (auto added = add_route_to(prefix); !added) return added;
  port.set_v4(port.config);
  gather_v4_addresses();
  announce_all(port);
  port.announce_at = now + announce_interval;
  return {};
}

void Ip::Interface::set_v4(const InterfaceConfig& from) noexcept {
  v4_count = 0;
  ipv4[0] = {};
  const auto add = [&](const IpPrefix& prefix) {
    const std::uint32_t address = prefix.address.v4_value();
    const std::uint32_t mask = prefix_mask(prefix.length);
    ipv4[v4_count++] = {
        .address = address, .mask = mask, .broadcast = prefix.length >= 31 ? 0xffffffffu : address | ~mask};
  };
  if (from.address.address.is_unspecified()) return;
  add(from.address);
  for (const IpPrefix& prefix : from.more_v4_addresses) add(prefix);
}

void Ip::gather_v4_addresses() noexcept {
  all_v4_.clear();
  for (std::size_t i = 0; i < interface_count_; ++i)
    for (const V4Address& ours : interfaces_[i]->v4_addresses()) all_v4_.push_back(ours);
}

const Ip::V4Address* Ip::Interface::find_v4(std::uint32_t wanted) const noexcept {
  for (const V4Address& ours : v4_addresses())
    if (ours.address == wanted) return &ours;
  return nullptr;
}

const Ip::V4Address* Ip::Interface::v4_on_link(std::uint32_t other) const noexcept {
  for (const V4Address& ours : v4_addresses())
    if (ours.contains(other)) return &ours;
  return nullptr;
}

// RFC 6724 5: rule 1 (the same address), rule 2 (the smallest scope that reaches the destination), rule 5.5 in IPv4's terms
// (an address of the next hop's subnet), rule 8 (the longest matching prefix, at most that of the subnet). Then the order
// of the configuration. The others need IPv6's lifetimes, home or temporary addresses.
const Ip::V4Address* Ip::v4_source_on(const Interface& port, std::uint32_t destination,
                                      std::uint32_t next_hop) const noexcept {
  const int wanted = scope_of(destination);
  const V4Address* best = nullptr;
  int best_scope = 0;
  bool best_near = false;
  int best_prefix = 0;
  for (const V4Address& candidate : port.v4_addresses()) {
    if (candidate.address == destination) return &candidate;
    const int scope = scope_of(candidate.address);
    const bool near = candidate.contains(next_hop);
    const int prefix = std::min(common_bits(candidate.address, destination), __builtin_popcount(candidate.mask));
    bool better = best == nullptr;
    if (!better && scope != best_scope)
      better = scope < best_scope ? scope >= wanted : best_scope < wanted;
    else if (!better && near != best_near)
      better = near;
    else if (!better)
      better = prefix > best_prefix;
    if (!better) continue;
    best = &candidate;
    best_scope = scope;
    best_near = near;
    best_prefix = prefix;
  }
  return best;
}

}  // namespace pollux
