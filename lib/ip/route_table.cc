#include "pollux/ip/route_table.h"

#include <algorithm>

namespace pollux {

const Route* RouteTable::find_v6(const IpPrefix& prefix) const noexcept {
  for (std::size_t i = 0; i < v6_count_; ++i) {
    const IpPrefix& present = v6_routes_[i].given;
    if (present.length == prefix.length && present.contains(prefix.address)) return &v6_routes_[i];
  }
  return nullptr;
}

const Route* RouteTable::find_v4(const IpPrefix& prefix) const noexcept {
  for (std::size_t i = 0; i < count_; ++i)
    if (routes_[i].given.length == prefix.length && routes_[i].contains(prefix.address.v4_value())) return &routes_[i];
  return nullptr;
}

Result<void> RouteTable::add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) {
  const bool v4 = prefix.address.is_v4();
  if (prefix.length > (v4 ? 32 : 128))
    return failure(ErrorCode::invalid_argument,
                   "route " + prefix.to_string() + ": expected a prefix length of 0.." + (v4 ? "32" : "128"));
  std::array<Route, routes_max>& routes = v4 ? routes_ : v6_routes_;
  std::size_t& count = v4 ? count_ : v6_count_;
  if (count == routes_max)
    return failure(ErrorCode::limit_reached, "route " + prefix.to_string() + ": the table holds at most " +
                                                 std::to_string(routes_max) + " routes of a family");
  Route route{.given = prefix, .gateway = gateway, .interface = interface};
  if (v4) {
    route.mask = prefix_mask(prefix.length);
    route.network = prefix.address.v4_value() & route.mask;
  }
  Route* const end = routes.data() + count;
  if (std::any_of(routes.data(), end, [&](const Route& r) {
        return r.given.length == prefix.length && r.given.contains(prefix.address);
      }))
    return failure(ErrorCode::address_in_use, "route " + prefix.to_string() + ": already present");
  Route* const at =
      std::find_if(routes.data(), end, [&](const Route& r) { return r.given.length < prefix.length; });
  std::move_backward(at, end, end + 1);
  *at = route;
  ++count;
  return {};
}

bool RouteTable::add_learned(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) noexcept {
  if (v6_count_ == routes_max || find_v6(prefix) != nullptr) return false;
  Route* const end = v6_routes_.data() + v6_count_;
  Route* const at =
      std::find_if(v6_routes_.data(), end, [&](const Route& r) { return r.given.length < prefix.length; });
  std::move_backward(at, end, end + 1);
  *at = {.given = prefix, .gateway = gateway, .interface = interface, .learned = true};
  ++v6_count_;
  return true;
}

void RouteTable::remove_learned(const IpPrefix& prefix) noexcept {
  const Route* const found = find_v6(prefix);
  if (found == nullptr || !found->learned) return;
  Route* const at = v6_routes_.data() + (found - v6_routes_.data());
  std::move(at + 1, v6_routes_.data() + v6_count_, at);
  --v6_count_;
}

}  // namespace pollux
