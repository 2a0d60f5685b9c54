// Addresses, routes and neighbours that change while packets flow: all checks come first (plan_ip), so that change() cannot
// fail half-way, nor one core refuse what another has done.
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"

namespace pollux {

Result<IpPlan> plan_ip(const IpSettings& settings, PacketPool pool) {
  Rng rng(1);
  Ip trial(settings.options, pool, rng);
  const TimePoint now;
  for (InterfaceConfig interface : settings.interfaces) {
    interface.primary = false;  // it says nothing on the wire
    if (auto added = trial.add_interface(interface, now); !added) return tl::unexpected(added.error());
  }
  for (const StaticRoute& route : settings.routes)
    if (auto added = trial.add_route(route.prefix, route.gateway); !added) return tl::unexpected(added.error());
  for (const StaticNeighbor& neighbor : settings.neighbors)
    if (auto added = trial.add_neighbor(neighbor.address, neighbor.mac); !added) return tl::unexpected(added.error());
  IpPlan plan{settings, std::move(trial.routes_), {}};
  trial.neighbors_.for_each(
      [&](Neighbor& neighbor) { plan.neighbors.push_back({neighbor.interface, neighbor.address, neighbor.mac()}); });
  return plan;
}

void Ip::change(IpPlan& plan, TimePoint now) {
  const std::vector<InterfaceConfig>& interfaces = plan.settings.interfaces;
  POLLUX_CHECK(interfaces.size() == interface_count_, "%zu interfaces, planned for %zu", interface_count_, interfaces.size());
  now_ = std::max(now_, now);
  const IpOptions& options = plan.settings.options;
  if (options.icmp_errors_per_second != options_.icmp_errors_per_second)
    icmp_errors_ = TokenBucket(options.icmp_errors_per_second, options.icmp_errors_per_second / 20);
  options_ = options;
  for (std::size_t i = 0; i < interface_count_; ++i) {
    Interface& port = *interfaces_[i];
    change_v4_addresses(port, interfaces[i], now_);
    change_v6_addresses(port, interfaces[i].v6_addresses, now_);
    port.config.v6_addresses = interfaces[i].v6_addresses;
    port.update_due();
  }
  gather_v4_addresses();
  change_routes(plan.routes);
  change_neighbors(plan.neighbors, now_);
  bump_generation(route_generation_);  // flows look their next hop up again
}

void Ip::set_primary(bool primary, TimePoint now) noexcept {
  now_ = std::max(now_, now);
  for (std::size_t i = 0; i < interface_count_; ++i) {
    Interface& port = *interfaces_[i];
    port.config.primary = primary;
    port.announce_at = TimePoint::never();
    if (!primary) continue;
    announce_all(port);
    port.announce_at = now_ + announce_interval;
    for (std::size_t a = 0; a < port.v6_count; ++a) {
      V6Address& address = port.v6[a];
      if (address.is_assigned()) assign(port, address);  // which says so to all nodes
    }
    port.update_due();
  }
}

void Ip::change_v4_addresses(Interface& port, const InterfaceConfig& wanted, TimePoint now) {
  const auto before = port.ipv4;
  const auto before_end = before.begin() + static_cast<std::ptrdiff_t>(port.v4_count);
  port.config.address = wanted.address;
  port.config.more_v4_addresses = wanted.more_v4_addresses;
  port.set_v4(wanted);
  for (const V4Address& ours : port.v4_addresses()) {
    const auto same = [&](const V4Address& old) { return old.address == ours.address; };
    if (std::any_of(before.begin(), before_end, same)) continue;
    announce(port, ours);  // RFC 5227 2.3
    port.announce_at = now + announce_interval;
  }
}

void Ip::change_v6_addresses(Interface& port, const std::vector<IpPrefix>& wanted, TimePoint now) noexcept {
  const auto is_wanted = [&](const V6Address& a) {
    return std::any_of(wanted.begin(), wanted.end(), [&](const IpPrefix& p) { return p.address == a.address(); });
  };
  const bool speaks_v6 = !wanted.empty() || port.config.router_advertisements;
  for (std::size_t i = port.v6_count; i-- > 0;) {
    const V6Address& address = port.v6[i];
    const bool stays = i == 0 || address.autoconfigured || is_wanted(address);  // [0] is the link-local one
    if (speaks_v6 && stays) continue;
    std::move(port.v6.begin() + static_cast<std::ptrdiff_t>(i) + 1,
              port.v6.begin() + static_cast<std::ptrdiff_t>(port.v6_count), port.v6.begin() + static_cast<std::ptrdiff_t>(i));
    --port.v6_count;
  }
  for (const IpPrefix& prefix : wanted) {
    if (V6Address* const present = port.find_v6(prefix.address)) {
      present->prefix = prefix;
      if (!present->autoconfigured) continue;
      present->autoconfigured = present->deprecated = false;
      present->preferred_until = present->valid_until = TimePoint::never();
      continue;
    }
    // A configured address has room before one that a router suggested.
    if (port.v6_count == v6_addresses_max) {
      const auto end = port.v6.begin() + v6_addresses_max;
      const auto suggested = std::find_if(port.v6.begin(), end, [](const V6Address& a) { return a.autoconfigured; });
      POLLUX_CHECK(suggested != end, "a plan for more IPv6 addresses than a port has room for");
      std::move(suggested + 1, end, suggested);
      --port.v6_count;
    }
    add_v6_address(port, prefix, now);
  }
}

// The two tables change places: nothing here takes time by the number of routes.
void Ip::change_routes(RouteTable& configured) noexcept {
  std::swap(routes_, configured);
  const auto keep = [&](const IpPrefix& prefix) {
    const Route* const before = configured.find_v6(prefix);
    if (before != nullptr && before->learned)
      (void)routes_.add_learned(prefix, before->gateway, before->interface);  // one that is configured now comes first
  };
  for (std::size_t i = 0; i < interface_count_; ++i) {
    const Autoconf& autoconf = interfaces_[i]->autoconf;
    for (std::size_t p = 0; p < autoconf.prefix_count; ++p) keep(autoconf.prefixes[p].prefix);
  }
  keep(v6_everywhere);
}

void Ip::change_neighbors(const std::vector<IpPlan::Neighbor>& wanted, TimePoint now) noexcept {
  neighbors_.for_each([&](Neighbor& present) {
    const bool stays = std::any_of(wanted.begin(), wanted.end(), [&](const IpPlan::Neighbor& n) {
      return n.interface == present.interface && n.address == present.address;
    });
    if (!present.is_static || stays) return;
    present.is_static = false;  // from now on it has to answer for itself
    neighbors_.enter(present, NeighborState::stale, now + options_.neighbor_stale_max);
  });
  for (const IpPlan::Neighbor& n : wanted) {
    std::uint32_t index = neighbors_.find(n.interface, n.address);
    if (index == NeighborTable::nil) index = neighbors_.add(n.interface, n.address, interfaces_[n.interface]->config.mac);
    if (index == NeighborTable::nil) {  // full of neighbours that answer: one of them will be asked again
      Neighbor* learnt = nullptr;
      neighbors_.for_each([&](Neighbor& present) {
        if (!present.is_static) learnt = &present;
      });
      POLLUX_CHECK(learnt != nullptr, "a plan for more neighbours than the table has room for");
      neighbors_.remove(*learnt, DropReason::neighbor_table_full);
      index = neighbors_.add(n.interface, n.address, interfaces_[n.interface]->config.mac);
    }
    Neighbor& neighbor = neighbors_[index];
    neighbor.is_static = false;  // so that it is believed
    learn(neighbor, n.mac, true, now);
    neighbor.is_static = true;
  }
}

}  // namespace pollux
