// IPv6 addresses and routes of a port.
#include <algorithm>

#include "pollux/ip/ip.h"

namespace pollux {
namespace {

constexpr IpPrefix link_local_prefix{IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 0), 64};

// RFC 4291 2.5: what one host may have, link-local addresses aside, which follow from the MAC.
bool is_usable(const IpPrefix& prefix) noexcept {
  const IpAddress& a = prefix.address;
  return !a.is_v4() && !a.is_unspecified() && !a.is_multicast() && !a.is_loopback() && !a.is_link_local() &&
         prefix.length >= 1 && prefix.length <= 128;
}

}  // namespace

std::optional<std::string> Ip::v6_config_error(const InterfaceConfig& config) const {
  const auto& addresses = config.v6_addresses;
  if (addresses.empty() && !config.router_advertisements) return std::nullopt;
  if (addresses.size() > v6_addresses_max - 1)
    return std::to_string(addresses.size()) + " IPv6 addresses: expected at most " +
           std::to_string(v6_addresses_max - 1);
  if (config.mtu < v6_mtu_min)
    return "MTU " + std::to_string(config.mtu) + ": IPv6 needs at least " + std::to_string(v6_mtu_min);
  for (auto at = addresses.begin(); at != addresses.end(); ++at) {
    if (!is_usable(*at))
      return "address " + at->to_string() +
             ": expected a unicast IPv6 address that is not link-local, with a prefix length of 1..128";
    const bool twice =
        std::any_of(addresses.begin(), at, [&](const IpPrefix& p) { return p.address == at->address; });
    if (twice || is_local_v6(at->address)) return "address " + at->address.to_string() + " is already ours";
  }
  return std::nullopt;
}

V6Address& Ip::add_v6_address(Interface& port, const IpPrefix& prefix, TimePoint now) noexcept {
  if (port.v6_count == 0 && !prefix.address.is_link_local())
    add_v6_address(port, {IpAddress::v6_link_local(port.config.mac), link_local_prefix.length}, now);
  V6Address& address = port.v6[port.v6_count++];
  address = {.prefix = prefix};
  detect_duplicates(port, address, now);
  return address;
}

Result<void> Ip::add_v6_addresses(Interface& port, TimePoint now) {
  if (auto reserved = routes_.reserve_v6(); !reserved) return reserved;  // for what routers tell later
  if (port.config.v6_addresses.empty())
    add_v6_address(port, {IpAddress::v6_link_local(port.config.mac), link_local_prefix.length}, now);
  for (const IpPrefix& prefix : port.config.v6_addresses) {
    add_v6_address(port, prefix, now);
    if (const Route* const present = routes_.find_v6(prefix)) {
      if (present->interface == port.id && present->is_connected()) continue;  // a second address of a subnet
    }
    if (auto added = routes_.add(prefix, v6_unspecified, port.id); !added)
      return failure(added.error().code, "interface " + port.config.name + ": " + added.error().text);
  }
  return {};
}

Result<void> Ip::add_v6_route(const IpPrefix& prefix, const IpAddress& gateway) {
  const std::string what = "route " + prefix.to_string() + ": gateway " + gateway.to_string();
  const Interface* port = nullptr;
  for (std::size_t i = 0; i < interface_count_; ++i) {
    const Interface& candidate = *interfaces_[i];
    if (!candidate.speaks_v6()) continue;
    const auto has = [&](const V6Address& a) { return a.prefix.contains(gateway); };
    if (std::none_of(candidate.v6.begin(), candidate.v6.begin() + candidate.v6_count, has)) continue;
    if (port != nullptr)
      return failure(ErrorCode::invalid_argument,
                     what + " lies in the subnets of " + port->config.name + " and " + candidate.config.name);
    port = &candidate;
  }
  if (port == nullptr) return failure(ErrorCode::no_route, what + " lies in no interface's subnet");
  auto added = routes_.add(prefix, gateway, port->id);
  if (added) bump_generation(route_generation_);
  return added;
}

bool Ip::addresses_settled() const noexcept {
  const auto is_tentative = [](const V6Address& a) { return a.state == V6AddressState::tentative; };
  for (std::size_t i = 0; i < interface_count_; ++i) {
    const std::span<const V6Address> addresses = v6_addresses(static_cast<InterfaceId>(i));
    if (std::any_of(addresses.begin(), addresses.end(), is_tentative)) return false;
  }
  return true;
}

const V6Address* Ip::Interface::find_v6(const IpAddress& wanted) const noexcept {
  for (std::size_t i = 0; i < v6_count; ++i)
    if (v6[i].address() == wanted) return &v6[i];
  return nullptr;
}

V6Address* Ip::Interface::find_v6(const IpAddress& wanted) noexcept {
  return const_cast<V6Address*>(std::as_const(*this).find_v6(wanted));
}

}  // namespace pollux
