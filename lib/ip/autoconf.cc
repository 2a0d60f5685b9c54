// Router discovery and stateless address autoconfiguration: RFC 4861 6.3, RFC 4862 5.5.
#include <algorithm>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint8_t nd_hop_limit = 255;
constexpr auto protocol_icmpv6 = static_cast<std::uint8_t>(IpProtocol::icmpv6);
constexpr IpAddress all_routers = IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 2);
// RFC 4861 10.
constexpr std::uint8_t solicitations_max = 3;
constexpr Duration solicitation_interval = Duration::from_s(4);
constexpr std::uint64_t solicitation_delay_max_ms = 1000;
constexpr std::uint8_t autonomous_prefix_length = 64;
constexpr Duration two_hours = Duration::from_s(7200);

TimePoint after_s(TimePoint now, std::uint32_t seconds) noexcept {
  return seconds == 0xffffffffu ? TimePoint::never() : now + Duration::from_s(seconds);
}

/// The prefix's first 64 bits and the interface identifier of the link-local address.
IpAddress formed_address(const IpPrefix& prefix, const IpAddress& link_local) noexcept {
  std::array<std::uint8_t, 16> octets;
  std::copy_n(prefix.address.octets().data(), 8, octets.data());
  std::copy_n(link_local.octets().data() + 8, 8, octets.data() + 8);
  return IpAddress::v6_from_wire(octets.data());
}

}  // namespace

DropReason Ip::router_advertisement_input(const RxPacket& packet, TimePoint now) noexcept {
  Interface& port = *interfaces_[packet.interface];
  if (!port.config.router_advertisements) return DropReason::icmp_ignored_type;
  // RFC 4861 6.1.2.
  if (packet.ttl != nd_hop_limit) return DropReason::nd_hop_limit;
  if (!packet.source.is_link_local() || is_looped(port, packet)) return DropReason::nd_bad_sender;
  const ByteView bytes = packet.packet.front();
  if (bytes.size() != packet.packet.size()) return DropReason::header_split;
  const auto message = RouterAdvertisement::parse(bytes);
  if (!message) return message.error();
  if (message->link_address && (message->link_address->is_group() || message->link_address->is_zero()))
    return DropReason::nd_bad_sender;
  if (port.config.primary) counters_.add(Counter::nd_router_advertisements_in);
  now_ = std::max(now_, now);

  if (message->link_address) {  // RFC 4861 6.3.4: as from any solicitation, to be verified on use
    std::uint32_t index = neighbors_.find(port.id, packet.source);
    if (index == NeighborTable::nil) index = neighbors_.add(port.id, packet.source, port.config.mac);
    if (index != NeighborTable::nil) learn(neighbors_[index], *message->link_address, false, now);
  }
  note_router(port, packet.source, after_s(now, message->router_lifetime_s),
              message->router_lifetime_s != 0);
  if (message->mtu >= v6_mtu_min && message->mtu <= port.config.mtu)
    port.v6_mtu = static_cast<std::uint16_t>(message->mtu);
  for (const AdvertisedPrefix& prefix : std::span(message->prefixes).first(message->prefix_count)) {
    if (prefix.on_link) note_on_link(port, prefix, now);
    if (prefix.autonomous) note_autonomous(port, prefix, now);
  }
  if (message->router_lifetime_s != 0) port.autoconf.solicit_at = TimePoint::never();  // RFC 4861 6.3.7
  port.update_due();
  return DropReason::none;
}

void Ip::note_router(Interface& port, const IpAddress& address, TimePoint until, bool is_default) noexcept {
  Autoconf& a = port.autoconf;
  auto* const end = a.routers.begin() + a.router_count;
  auto* const at = std::find_if(a.routers.begin(), end, [&](const auto& r) { return r.address == address; });
  if (!is_default) {
    if (at == end) return;
    *at = a.routers[--a.router_count];
  } else if (at != end) {
    at->until = until;
  } else if (a.router_count < Autoconf::routers_max) {
    a.routers[a.router_count++] = {address, until};
  }
  select_router(false);
}

void Ip::note_on_link(Interface& port, const AdvertisedPrefix& advertised, TimePoint now) noexcept {
  Autoconf& a = port.autoconf;
  auto* const end = a.prefixes.begin() + a.prefix_count;
  auto* const at = std::find_if(a.prefixes.begin(), end, [&](const auto& p) {
    return p.prefix.length == advertised.prefix.length && p.prefix.contains(advertised.prefix.address);
  });
  if (at != end) {
    at->until = after_s(now, advertised.valid_s);
    if (advertised.valid_s == 0) remove_on_link(a, static_cast<std::size_t>(at - a.prefixes.begin()));
    return;
  }
  if (advertised.valid_s == 0 || a.prefix_count == Autoconf::prefixes_max) return;
  // One that is configured stays as it is; so does a full table.
  if (!routes_.add_learned(advertised.prefix, v6_unspecified, port.id)) return;
  a.prefixes[a.prefix_count++] = {advertised.prefix, after_s(now, advertised.valid_s)};
  bump_generation(route_generation_);
}

void Ip::remove_on_link(Autoconf& autoconf, std::size_t index) noexcept {
  routes_.remove_learned(autoconf.prefixes[index].prefix);
  autoconf.prefixes[index] = autoconf.prefixes[--autoconf.prefix_count];
  bump_generation(route_generation_);
}

// RFC 4862 5.5.3.
void Ip::note_autonomous(Interface& port, const AdvertisedPrefix& advertised, TimePoint now) noexcept {
  if (advertised.preferred_s > advertised.valid_s) return;                                        // c
  if (advertised.prefix.length != autonomous_prefix_length || port.v6_count == 0) return;         // d
  const IpAddress formed = formed_address(advertised.prefix, port.v6[0].address());
  const TimePoint valid_until = after_s(now, advertised.valid_s);
  V6Address* const present = port.find_v6(formed);
  if (present == nullptr) {
    if (advertised.valid_s == 0 || port.v6_count == v6_addresses_max) return;
    V6Address& address = port.v6[port.v6_count++];
    address = {.prefix = {formed, autonomous_prefix_length}, .autoconfigured = true};
    address.preferred_until = after_s(now, advertised.preferred_s);
    address.valid_until = valid_until;
    detect_duplicates(port, address, now);
    return;
  }
  if (!present->autoconfigured) return;
  // e: nobody ends an address at once by a forged lifetime.
  if (valid_until > present->valid_until || valid_until > now + two_hours)
    present->valid_until = valid_until;
  else if (present->valid_until > now + two_hours)
    present->valid_until = now + two_hours;
  present->preferred_until = after_s(now, advertised.preferred_s);
  if (present->deprecated && now < present->preferred_until) {
    present->deprecated = false;
    bump_generation(route_generation_);
  }
}

bool Ip::is_probably_reachable(InterfaceId id, const IpAddress& address) const noexcept {
  const std::uint32_t index = neighbors_.find(id, address);
  if (index == NeighborTable::nil) return false;
  const NeighborState state = neighbors_[index].state;
  return state != NeighborState::incomplete && state != NeighborState::failed;
}

/// RFC 4861 6.3.6: the default route leads through a router that is probably reachable; the present one while it is
/// (and `leave_present` does not say otherwise), else the next that is, else the next.
void Ip::select_router(bool leave_present) noexcept {
  struct Candidate {
    IpAddress address;
    InterfaceId interface = 0;
  };
  std::array<Candidate, interfaces_max * Autoconf::routers_max> all;
  std::size_t count = 0;
  for (std::size_t i = 0; i < interface_count_; ++i)
    for (std::size_t r = 0; r < interfaces_[i]->autoconf.router_count; ++r)
      all[count++] = {interfaces_[i]->autoconf.routers[r].address, static_cast<InterfaceId>(i)};
  const Route* const present = routes_.find_v6(v6_everywhere);
  if (present != nullptr && !present->learned) return;  // a configured default route comes first
  std::size_t first = 0;
  if (present != nullptr) {
    const auto* const at = std::find_if(all.begin(), all.begin() + count, [&](const Candidate& c) {
      return c.address == present->gateway && c.interface == present->interface;
    });
    const auto index = static_cast<std::size_t>(at - all.begin());
    if (index < count && !leave_present && is_probably_reachable(at->interface, at->address)) return;
    if (index < count) first = leave_present ? index + 1 : index;
  }
  const Candidate* chosen = nullptr;
  for (std::size_t i = 0; i < count && chosen == nullptr; ++i) {
    const Candidate& c = all[(first + i) % count];
    if (is_probably_reachable(c.interface, c.address)) chosen = &c;
  }
  if (chosen == nullptr && count != 0) chosen = &all[first % count];
  if (present != nullptr) {
    if (chosen != nullptr && chosen->address == present->gateway && chosen->interface == present->interface) return;
    routes_.remove_learned(v6_everywhere);
  }
  if (chosen != nullptr) (void)routes_.add_learned(v6_everywhere, chosen->address, chosen->interface);
  bump_generation(route_generation_);
}

/// A neighbour did not answer; if the default route leads through it, another router takes over.
void Ip::leave_router(InterfaceId id, const IpAddress& address) noexcept {
  if (!address.is_link_local()) return;
  const Route* const present = routes_.find_v6(v6_everywhere);
  if (present != nullptr && present->learned && present->interface == id && present->gateway == address)
    select_router(true);
}

void Ip::start_router_discovery(Interface& port) noexcept {
  if (!port.config.router_advertisements || !port.config.primary) return;
  port.autoconf.solicitations = 0;
  // RFC 4861 6.3.7: hosts that start together do not ask together.
  port.autoconf.solicit_at =
      now_ + Duration::from_ms(static_cast<std::int64_t>(identification_seed_ % solicitation_delay_max_ms));
}

void Ip::solicit_routers(Interface& port, TimePoint now) noexcept {
  Autoconf& a = port.autoconf;
  a.solicit_at = ++a.solicitations < solicitations_max ? now + solicitation_interval : TimePoint::never();
  constexpr std::uint32_t headers = EthernetFields::size + Ipv6Fields::size;
  Packet packet = pool_.alloc();
  std::uint8_t* const out = packet ? packet.push_back(headers + RouterSolicitation::size_max) : nullptr;
  if (out == nullptr) {
    drop(DropReason::no_mbuf);
    return;
  }
  const IpAddress source = port.v6[0].address();
  const auto length = static_cast<std::uint16_t>(RouterSolicitation{.link_address = port.config.mac}.emit(out + headers));
  EthernetFields{.destination = group_mac(all_routers), .source = port.config.mac, .type = EtherType::ipv6}.emit(out);
  Ipv6Fields{.payload_length = length,
             .next_header = protocol_icmpv6,
             .hop_limit = nd_hop_limit,
             .source = source,
             .destination = all_routers}
      .emit(out + EthernetFields::size);
  ChecksumSum sum;
  sum.add({out + headers, length});
  sum.add_pseudo_header(source, all_routers, protocol_icmpv6, length);
  store_be16(out + headers + 2, sum.finish());
  counters_.add(Counter::nd_router_solicitations_out);
  (void)transmit(port, std::move(packet));  // counts what it drops
}

/// What is due: a solicitation, the end of a router, a prefix or an address.
void Ip::run_autoconf(Interface& port, TimePoint now) noexcept {
  Autoconf& a = port.autoconf;
  if (now >= a.solicit_at) solicit_routers(port, now);
  for (std::size_t i = a.router_count; i-- > 0;)
    if (now >= a.routers[i].until) note_router(port, a.routers[i].address, now, false);
  for (std::size_t i = a.prefix_count; i-- > 0;)
    if (now >= a.prefixes[i].until) remove_on_link(a, i);
  for (std::size_t i = port.v6_count; i-- > 0;) {
    V6Address& address = port.v6[i];
    if (now >= address.valid_until) {
      address = port.v6[--port.v6_count];
      bump_generation(route_generation_);
    } else if (now >= address.preferred_until && !address.deprecated) {
      address.deprecated = true;
      bump_generation(route_generation_);
    }
  }
}

TimePoint Ip::Interface::autoconf_due() const noexcept {
  TimePoint next = autoconf.solicit_at;
  for (std::size_t i = 0; i < autoconf.router_count; ++i) next = std::min(next, autoconf.routers[i].until);
  for (std::size_t i = 0; i < autoconf.prefix_count; ++i) next = std::min(next, autoconf.prefixes[i].until);
  for (std::size_t i = 0; i < v6_count; ++i)
    next = std::min(next, v6[i].deprecated ? v6[i].valid_until : std::min(v6[i].preferred_until, v6[i].valid_until));
  return next;
}

}  // namespace pollux
