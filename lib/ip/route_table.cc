#include "pollux/ip/route_table.h"

#include <algorithm>

namespace pollux {

Result<void> RouteTable::add(const IpPrefix& prefix, const IpAddress& gateway, InterfaceId interface) {
  if (!prefix.address.is_v4() || prefix.length > 32)
    return failure(ErrorCode::invalid_argument,
                   "route " + prefix.to_string() + ": expected an IPv4 prefix of length 0..32");
  if (count_ == routes_max)
    return failure(ErrorCode::limit_reached, "route " + prefix.to_string() + ": the table holds at most " +
                                                 std::to_string(routes_max) + " routes");
  const std::uint32_t mask = prefix_mask(prefix.length);
  const Route route{
      .network = prefix.address.v4_value() & mask, .mask = mask, .gateway = gateway, .interface = interface};
  Route* const end = routes_.data() + count_;
  if (std::any_of(routes_.data(), end,
                  [&](const Route& r) { return r.network == route.network && r.mask == route.mask; }))
    return failure(ErrorCode::address_in_use, "route " + prefix.to_string() + ": already present");
  Route* const at = std::find_if(routes_.data(), end, [&](const Route& r) { return r.mask < mask; });
  std::move_backward(at, end, end + 1);
  *at = route;
  ++count_;
  return {};
}

}  // namespace pollux
