// Set-up, addresses and time.
#include "pollux/ip/ip.h"

#include <algorithm>

namespace pollux {
namespace {

constexpr std::uint32_t timer_budget = 128;  // neighbour timers handled per advance()
constexpr std::uint16_t mtu_min = 576;
constexpr std::uint16_t mtu_max = 9000;

}  // namespace

Ip::Interface::Interface(const InterfaceConfig& c, InterfaceId interface_id, Interface* port)
    : config(c),
      id(interface_id),
      plain(c.vlan == 0 && c.offloads.multi_segment),
      v6_mtu(c.mtu),
      own_tx(port == nullptr ? std::make_unique<TxBatch>() : nullptr),
      tx(port == nullptr ? *own_tx : port->tx) {}

Ip::Ip(const IpOptions& options, PacketPool pool, Rng& rng)
    : options_(options),
      pool_(pool),
      rng_(rng),
      routes_(options.routes_max, pool.socket()),
      // Bursts of a twentieth of a second: a scan of closed ports gets its answers, a flood gets the average.
      icmp_errors_(options.icmp_errors_per_second, options.icmp_errors_per_second / 20),
      neighbors_(options.neighbors_max, options.neighbor_queue_max, static_cast<std::uint32_t>(rng.next()),
                 counters_, route_generation_),
      // Incomplete datagrams never hold more than a quarter of the pool.
      reassembler_({.datagrams_max = options.reassembly_datagrams_max,
                    .fragments_max = std::clamp(pool.size() / 4, 1u, options.reassembly_fragments_max),
                    .source_max = options.reassembly_source_max,
                    .timeout = options.reassembly_timeout},
                   static_cast<std::uint32_t>(rng.next()), counters_),
      identification_seed_(rng.next()),
      paths_(identification_seed_) {
  for (std::uint32_t& next : identifications_) next = static_cast<std::uint32_t>(rng.next());
  memberships_.reserve(memberships_max);
  all_v4_.reserve(interfaces_max * v4_addresses_max);
}

Ip::~Ip() = default;

std::optional<Error> Ip::config_error(const InterfaceConfig& config) const {
  const auto error = [&](ErrorCode code, const std::string& text) {
    return Error{code, "interface " + config.name + ": " + text};
  };
  if (interface_count_ == interfaces_max)
    return error(ErrorCode::limit_reached, "at most " + std::to_string(interfaces_max) + " interfaces");
  if (config.mac.is_zero() || config.mac.is_group())
    return error(ErrorCode::invalid_argument,
                 "MAC " + config.mac.to_string() + " is not a station's address");
  if (config.mtu < mtu_min || config.mtu > mtu_max)
    return error(ErrorCode::invalid_argument, "MTU " + std::to_string(config.mtu) + ": expected " +
                                                  std::to_string(mtu_min) + ".." + std::to_string(mtu_max));
  if (!config.offloads.multi_segment && config.mtu + EthernetView::header_size > pool_.room())
    return error(ErrorCode::invalid_argument,
                 "MTU " + std::to_string(config.mtu) + " does not fit an mbuf of " +
                     std::to_string(pool_.room()) +
                     " octets, and the port cannot send chains: lower the MTU or use larger mbufs");
  const TxOffloads& offloads = config.offloads;
  if (offloads.tcp_segmentation &&
      (!offloads.tcp_checksum || !offloads.ipv4_checksum || !offloads.multi_segment || offloads.mbufs_max < 40))
    return error(ErrorCode::invalid_argument,
                 "TCP segmentation needs the checksums of TCP and IPv4, chains, and at least 40 mbufs a packet");
  if (const auto problem = v4_config_error(config)) return error(problem->code, problem->text);
  if (const auto problem = v6_config_error(config)) return error(ErrorCode::invalid_argument, *problem);
  return std::nullopt;
}

Result<InterfaceId> Ip::add_interface(const InterfaceConfig& given, TimePoint now) {
  InterfaceConfig config = given;
  Interface* port = nullptr;
  if (config.vlan != 0) {
    if (const auto problem = vlan_config_error(config))
      return failure(ErrorCode::invalid_argument, "interface " + config.name + ": " + *problem);
    port = interfaces_[config.port].get();
    config.mac = port->config.mac;
    config.offloads = port->config.offloads;
  } else if (const auto problem = exception_config_error(config)) {
    return failure(ErrorCode::invalid_argument, "interface " + config.name + ": " + *problem);
  } else if (interface_count_ != port_count_ || port_count_ == ports_max) {
    return failure(ErrorCode::limit_reached, "interface " + config.name + ": at most " + std::to_string(ports_max) +
                                                 " ports, and all of them before the first VLAN");
  }
  if (auto error = config_error(config)) return tl::unexpected<Error>(std::move(*error));
  const auto id = static_cast<InterfaceId>(interface_count_);
  if (interface_count_ == 0) neighbors_.start(now);
  now_ = std::max(now_, now);
  interfaces_[id] = std::make_unique<Interface>(config, id, port);
  ++interface_count_;
  if (config.exception) {
    interfaces_[id]->partner = interfaces_[config.port].get();
    interfaces_[config.port]->partner = interfaces_[id].get();
    has_exceptions_ = true;
  }
  if (port == nullptr) {
    ++port_count_;
  } else {
    port->vlans.resize(vlan_id_max + 1);
    port->vlans[config.vlan] = id;
  }
  bump_generation(route_generation_);
  if (auto added = add_v4_addresses(*interfaces_[id], now); !added) return tl::unexpected(added.error());
  if (!config.v6_addresses.empty() || config.router_advertisements)
    if (auto added = add_v6_addresses(*interfaces_[id], now); !added) return tl::unexpected(added.error());
  interfaces_[id]->update_due();
  return id;
}

Result<void> Ip::add_route(const IpPrefix& prefix, const IpAddress& gateway) {
  if (gateway.is_v4() != prefix.address.is_v4() || is_local(gateway) || is_group(gateway))
    return failure(ErrorCode::invalid_argument, "route " + prefix.to_string() + ": gateway " +
                                                    gateway.to_string() + " is not another host's IPv" +
                                                    (prefix.address.is_v4() ? "4" : "6") + " address");
  if (!gateway.is_v4()) return add_v6_route(prefix, gateway);
  for (std::size_t i = 0; i < interface_count_; ++i) {
    const Interface& port = *interfaces_[i];
    if (port.v4_on_link(gateway.v4_value()) == nullptr) continue;
    auto added = routes_.add(prefix, gateway, static_cast<InterfaceId>(i));
    if (added) bump_generation(route_generation_);
    return added;
  }
  return failure(ErrorCode::no_route, "route " + prefix.to_string() + ": gateway " + gateway.to_string() +
                                          " lies in no interface's subnet");
}

Result<void> Ip::add_neighbor(const IpAddress& address, const MacAddress& mac) {
  const std::string what = "neighbour " + address.to_string() + ": ";
  if (mac.is_zero() || mac.is_group())
    return failure(ErrorCode::invalid_argument, what + "MAC " + mac.to_string() + " is not a station's address");
  if (is_local(address) || is_group(address) || address.is_unspecified() || address.is_loopback())
    return failure(ErrorCode::invalid_argument, what + "expected another host's address");
  const Interface* port = nullptr;
  for (std::size_t i = 0; i < interface_count_ && port == nullptr; ++i) {
    const Interface& candidate = *interfaces_[i];
    const auto has = [&](const V6Address& a) { return a.prefix.contains(address); };
    if (address.is_v4() ? candidate.v4_on_link(address.v4_value()) != nullptr
                        : std::any_of(candidate.v6.begin(), candidate.v6.begin() + candidate.v6_count, has))
      port = &candidate;
  }
  if (port == nullptr) return failure(ErrorCode::no_route, what + "lies in no interface's subnet");
  if (neighbors_.find(port->id, address) != NeighborTable::nil)
    return failure(ErrorCode::address_in_use, what + "already present");
  const std::uint32_t index = neighbors_.add(port->id, address, port->config.mac);
  if (index == NeighborTable::nil) return failure(ErrorCode::limit_reached, what + "the table is full (neighbors_max)");
  Neighbor& neighbor = neighbors_[index];
  neighbor.set_mac(mac);
  neighbor.is_static = true;
  set_reachable(neighbor, now_);
  return {};
}

bool Ip::is_local(const IpAddress& address) const noexcept {
  return address.is_v4() ? is_local(address.v4_value()) : is_local_v6(address);
}

bool Ip::is_group(const IpAddress& address) const noexcept {
  return address.is_multicast() || (address.is_v4() && is_broadcast(address.v4_value()));
}

const Ip::Interface* Ip::output_interface(const IpAddress& destination, const Route** route) const noexcept {
  if (!destination.is_v4()) return output_interface_v6(destination, route);
  if (destination.is_unspecified()) return nullptr;
  if (const Route* const found = routes_.lookup(destination.v4_value())) {
    *route = found;
    return interfaces_[found->interface].get();
  }
  *route = nullptr;
  if (!is_group(destination)) return nullptr;
  // Groups without a route of their own leave through the first interface (RFC 1122 3.3.6 leaves the choice open).
  for (std::size_t i = 0; i < interface_count_; ++i)
    if (interfaces_[i]->speaks_v4()) return interfaces_[i].get();
  return nullptr;
}

std::optional<IpAddress> Ip::source_for(const IpAddress& destination) const noexcept {
  const Route* route = nullptr;
  const Interface* const port = output_interface(destination, &route);
  if (port == nullptr) return std::nullopt;
  if (destination.is_v4()) {
    const IpAddress& next_hop = route == nullptr || route->is_connected() ? destination : route->gateway;
    const V4Address* const source = v4_source_on(*port, destination.v4_value(), next_hop.v4_value());
    return source == nullptr ? std::nullopt : std::optional(source->ip());
  }
  const V6Address* const source = source_on(*port, destination);
  if (source == nullptr) return std::nullopt;
  return source->address();
}

void Ip::advance(TimePoint now) noexcept {
  now_ = std::max(now_, now);
  neighbors_.advance(now, timer_budget, [&](Neighbor& neighbor) { neighbor_expired(neighbor, now); });
  for (std::size_t i = 0; i < interface_count_; ++i)
    if (now >= interfaces_[i]->due) run_due(*interfaces_[i], now);
  if (now >= reassembler_.next_deadline()) expire_fragments(now);
  if (now >= listeners_due_) [[unlikely]]
    tell_listeners(now);
}

void Ip::run_due(Interface& port, TimePoint now) noexcept {
  if (now >= port.announce_at) {
    port.announce_at = TimePoint::never();
    announce_all(port);
  }
  for (std::size_t i = 0; i < port.v6_count; ++i)
    if (now >= port.v6[i].next_at) detect_duplicates(port, port.v6[i], now);
  for (GroupTable* const table : {&port.v4_groups, &port.v6_groups})
    if (now >= table->due()) report_groups(port, *table, now);
  run_autoconf(port, now);
  port.update_due();
}

void Ip::Interface::update_due() noexcept {
  due = std::min({announce_at, v4_groups.due(), v6_groups.due(), autoconf_due()});
  for (std::size_t i = 0; i < v6_count; ++i) due = std::min(due, v6[i].next_at);
}

TimePoint Ip::next_deadline() const noexcept {
  TimePoint next = std::min({neighbors_.next_deadline(), reassembler_.next_deadline(), listeners_due_});
  for (std::size_t i = 0; i < interface_count_; ++i) next = std::min(next, interfaces_[i]->due);
  return next;
}

}  // namespace pollux
