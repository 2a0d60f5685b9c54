// Membership of groups: sockets' filters summed per port, queries in, reports out (IGMPv3, RFC 3376; MLDv2,
// RFC 3810).
#include <algorithm>
#include <array>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/group_message.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint8_t group_message_ttl = 1;  // RFC 3376 4, RFC 3810 5: no router passes one on
constexpr std::uint8_t internetwork_control = 0xc0;
// RFC 2113: "router shall examine packet"; RFC 2711 with value 0, MLD, as the one option of a hop-by-hop
// header.
constexpr std::array<std::uint8_t, 4> v4_router_alert = {0x94, 4, 0, 0};
constexpr std::array<std::uint8_t, 8> v6_router_alert = {58, 0, 5, 2, 0, 0, 1, 0};
constexpr std::uint32_t v4_header = Ipv4Fields::size + v4_router_alert.size();
constexpr std::uint32_t v6_header = Ipv6Fields::size + v6_router_alert.size();

std::uint32_t headers_of(bool v4) noexcept {
  return EthernetFields::size + (v4 ? v4_header : v6_header);
}

/// RFC 3810 6.2: a query without the option is none. The header lies in front of the message.
bool has_router_alert(const RxPacket& packet) noexcept {
  if (packet.ip_header_length <= Ipv6View::header_size) return false;
  const std::uint8_t* const ip = packet.packet.data() - packet.ip_header_length;
  const std::uint8_t* const options = ip + Ipv6View::header_size;
  if (ip[6] != static_cast<std::uint8_t>(Ipv6Extension::hop_by_hop)) return false;
  const std::size_t size = (options[1] + 1u) * 8;  // within the packet: the chain was walked
  for (std::size_t i = 2; i < size; i += options[i] == 0 ? 1 : options[i + 1] + 2u)
    if (options[i] == 5) return true;
  return false;
}

}  // namespace

// RFC 3376 6, RFC 3810 6: every host listens to these, and nobody reports it.
bool Ip::is_permanent_group(const IpAddress& group) noexcept {
  if (group.is_v4()) return group == v4_all_hosts;
  return group == v6_all_nodes || (group.octets()[1] & 0x0f) <= 1;
}

Result<void> Ip::set_membership(SlabHandle owner, InterfaceId id, const IpAddress& group,
                                const GroupFilter& filter) {
  const auto refusal = try_membership(owner, id, group, filter);
  if (!refusal) return {};
  return failure(refusal->code,
                 "group " + group.to_string() + " on port " + std::to_string(id) + ": " + refusal->why);
}

std::optional<Ip::Refusal> Ip::try_membership(SlabHandle owner, InterfaceId id, const IpAddress& group,
                                              const GroupFilter& filter) noexcept {
  using enum ErrorCode;
  if (id >= interface_count_) return Refusal{invalid_argument, "there is no such port"};
  Interface& port = *interfaces_[id];
  if (!group.is_multicast() || is_permanent_group(group))
    return Refusal{invalid_argument, "expected a multicast address that is not all hosts'"};
  if (group.is_v4() ? !port.speaks_v4() : !port.speaks_v6())
    return Refusal{address_unavailable, group.is_v4() ? "it does not speak IPv4" : "it does not speak IPv6"};
  if (!port.config.primary && steering_ == nullptr)
    return Refusal{invalid_argument, "groups arrive at the first core, and there is no way to it"};
  const auto found = std::ranges::find_if(memberships_, [&](const GroupMembership& m) {
    return m.owner == owner && m.interface == id && m.group == group;
  });
  const bool present = found != memberships_.end();
  if (!present && !filter.is_member()) return Refusal{invalid_argument, "was not joined"};
  static_assert(memberships_max == 256 && GroupTable::groups_max == 64 && SourceList::capacity == 32);
  if (!present && memberships_.size() == memberships_max)
    return Refusal{limit_reached, "all 256 memberships of this core are in use"};
  GroupTable& table = port.groups(group);
  if (table.find(group) == nullptr && table.full())
    return Refusal{limit_reached, "all 64 groups of the port are in use"};
  const GroupFilter before = present ? found->filter : GroupFilter{};
  GroupMembership& membership =
      present ? *found
              : memberships_.emplace_back(GroupMembership{.owner = owner, .interface = id, .group = group});
  membership.filter = filter;
  const auto sum = sum_of(id, group);
  if (!sum) {
    membership.filter = before;
    if (!present) memberships_.pop_back();
    return Refusal{limit_reached, "sockets ask for more than 32 sources of it together"};
  }
  if (!filter.is_member()) memberships_.erase(memberships_.begin() + (&membership - memberships_.data()));
  table.set(group, *sum, now_);
  port.update_due();
  listeners_changed();
  return std::nullopt;
}

void Ip::leave_groups(SlabHandle owner) noexcept {
  for (std::size_t i = memberships_.size(); i-- > 0;) {
    if (memberships_[i].owner != owner) continue;
    const GroupMembership gone = memberships_[i];
    memberships_.erase(memberships_.begin() + static_cast<std::ptrdiff_t>(i));
    Interface& port = *interfaces_[gone.interface];
    // With one list of sources less the sum may grow; what does not fit then is the routers' loss, not ours.
    port.groups(gone.group)
        .set(gone.group, sum_of(gone.interface, gone.group).value_or(GroupFilter{GroupMode::exclude, {}}),
             now_);
    port.update_due();
    listeners_changed();
  }
}

// RFC 3376 3.2. Nothing when more sources are asked for than a list holds.
std::optional<GroupFilter> Ip::sum_of(InterfaceId id, const IpAddress& group) const noexcept {
  const auto concerns = [&](const GroupMembership& m) { return m.interface == id && m.group == group; };
  GroupFilter sum;
  bool first = true;
  for (const GroupMembership& m : memberships_) {
    if (!concerns(m) || m.filter.mode != GroupMode::exclude) continue;
    sum.mode = GroupMode::exclude;
    if (first) {
      sum.sources = m.filter.sources;
    } else {
      const SourceList all = sum.sources;
      for (const IpAddress& source : all.items())
        if (!m.filter.sources.contains(source)) sum.sources.remove(source);
    }
    first = false;
  }
  for (const GroupMembership& m : memberships_) {
    if (!concerns(m) || m.filter.mode != GroupMode::include) continue;
    for (const IpAddress& source : m.filter.sources.items()) {
      if (sum.mode == GroupMode::exclude)
        sum.sources.remove(source);
      else if (!sum.sources.add(source))
        return std::nullopt;
    }
  }
  return sum;
}

bool Ip::is_wanted(SlabHandle owner, InterfaceId id, const IpAddress& group,
                   const IpAddress& source) const noexcept {
  for (const GroupMembership& m : memberships_)
    if (m.owner == owner && m.interface == id && m.group == group) return m.filter.accepts(source);
  return is_permanent_group(group);
}

bool Ip::is_member(InterfaceId id, const IpAddress& group) const noexcept {
  return interfaces_[id]->groups(group).is_member(group);
}

DropReason Ip::igmp_input(const RxPacket& packet, TimePoint now) noexcept {
  const ByteView message = packet.packet.front();
  if (message.size() != packet.packet.size()) return DropReason::header_split;
  if (message.size() < igmp_v2_size) return DropReason::group_malformed;
  if (sum_chain(packet.packet.mbuf(), 0, packet.packet.size()).folded() != 0xffff)
    return DropReason::icmp_bad_checksum;
  if (static_cast<IgmpType>(message[0]) != IgmpType::query) return DropReason::group_ignored;
  const auto query = GroupQuery::parse_igmp(message);
  if (!query) return query.error();
  // RFC 3376 9.1: a general query to anyone else is forged.
  if (query->group.is_unspecified() && packet.destination != v4_all_hosts) return DropReason::group_malformed;
  counters_.add(Counter::igmp_in_queries);
  return group_query(packet.interface, *query, now);
}

// The message's checksum has been verified.
DropReason Ip::mld_input(const RxPacket& packet, TimePoint now) noexcept {
  const ByteView message = packet.packet.front();
  if (message.size() != packet.packet.size()) return DropReason::header_split;
  if (static_cast<MldType>(message[0]) != MldType::query) return DropReason::group_ignored;
  const auto query = GroupQuery::parse_mld(message);
  if (!query) return query.error();
  // RFC 3810 6.2: of a router on the link, and marked so that no other has missed it.
  if (packet.ttl != group_message_ttl || !packet.source.is_link_local() || !has_router_alert(packet))
    return DropReason::group_malformed;
  counters_.add(Counter::mld_in_queries);
  return group_query(packet.interface, *query, now);
}

DropReason Ip::group_query(InterfaceId id, const GroupQuery& query, TimePoint now) noexcept {
  Interface& port = *interfaces_[id];
  if (!port.config.primary) return DropReason::none;  // the primary core answers
  port.groups(query.group).query(query, now, rng_);
  port.update_due();
  return DropReason::none;
}

void Ip::report_groups(Interface& port, GroupTable& table, TimePoint now) noexcept {
  if (!port.config.primary)
    return table.tell(now, [&](const IpAddress& group, const GroupFilter& filter) {
      return tell_primary(port, group, filter);
    });
  const bool v4 = table.v4();
  Packet packet;
  std::optional<GroupReportWriter> writer;
  const auto finish = [&] {
    if (!packet) return;
    packet.trim_to(headers_of(v4) + static_cast<std::uint32_t>(writer->size()));
    send_group_message(port, v4 ? v4_membership_routers : v6_mld_routers, std::move(packet));
  };
  const auto say = [&](const IpAddress& group, GroupRecordType type, std::span<const IpAddress> sources) {
    if (packet && writer->add(type, group, sources)) return;
    finish();
    packet = group_message(
        v4, std::min<std::uint32_t>(port.config.mtu + EthernetFields::size, pool_.room()) - headers_of(v4));
    if (!packet) {
      drop(DropReason::no_mbuf);
      return;
    }
    writer.emplace(std::span(packet.data() + headers_of(v4), packet.size() - headers_of(v4)), v4);
    const bool fits = writer->add(type, group, sources);
    POLLUX_DCHECK(fits);  // a list of 32 addresses in the smallest MTU
    (void)fits;
  };
  // RFC 3376 7.2.1, RFC 3810 8.2.1: to an older querier in its own words.
  const auto say_old = [&](const IpAddress& group, IgmpType igmp, MldType mld, const IpAddress& destination) {
    Packet message = group_message(v4, v4 ? igmp_v2_size : mld_v1_size);
    if (!message) {
      drop(DropReason::no_mbuf);
      return;
    }
    if (v4)
      emit_igmp_v2(message.data() + headers_of(v4), igmp, group);
    else
      emit_mld_v1(message.data() + headers_of(v4), mld, group);
    send_group_message(port, destination, std::move(message));
  };
  table.advance(
      now, rng_, say,
      [&](const IpAddress& group) {
        const bool v1 = table.version() == QuerierVersion::v1;
        say_old(group, v1 ? IgmpType::report_v1 : IgmpType::report_v2, MldType::report_v1, group);
      },
      [&](const IpAddress& group) {
        say_old(group, IgmpType::leave, MldType::done, v4 ? v4_all_routers : v6_all_routers);
      });
  finish();
}

// `size` octets of message behind room for its headers; null without an mbuf.
Packet Ip::group_message(bool v4, std::uint32_t size) noexcept {
  Packet packet = pool_.alloc();
  if (!packet || packet.push_back(headers_of(v4) + size) == nullptr) return Packet();
  return packet;
}

void Ip::send_group_message(Interface& port, const IpAddress& destination, Packet packet) noexcept {
  const bool v4 = destination.is_v4();
  std::uint8_t* const frame = packet.data();
  std::uint8_t* const ip = frame + EthernetFields::size;
  std::uint8_t* const message = frame + headers_of(v4);
  const std::uint32_t length = packet.size() - headers_of(v4);
  EthernetFields{.destination = group_mac(destination),
                 .source = port.config.mac,
                 .type = v4 ? EtherType::ipv4 : EtherType::ipv6}
      .emit(frame);
  ChecksumSum sum;
  sum.add({message, length});
  if (v4) {
    Ipv4Fields{.tos = internetwork_control,
               .total_length = static_cast<std::uint16_t>(v4_header + length),
               .ttl = group_message_ttl,
               .protocol = static_cast<std::uint8_t>(IpProtocol::igmp),
               .source = port.ipv4[0].ip(),
               .destination = destination}
        .emit(ip, true);
    ip[0] = 0x40 | v4_header / 4;
    std::ranges::copy(v4_router_alert, ip + Ipv4Fields::size);
    ChecksumSum header;
    header.add({ip, v4_header});
    store_be16(ip + 10, header.finish());
    counters_.add(Counter::igmp_out_reports);
  } else {
    constexpr auto icmpv6 = static_cast<std::uint8_t>(IpProtocol::icmpv6);
    // RFC 3810 5.2.13: the link-local address, or none while it is being checked.
    const V6Address& link_local = port.v6[0];
    const IpAddress source = link_local.is_assigned() ? link_local.address() : v6_unspecified;
    Ipv6Fields{.payload_length = static_cast<std::uint16_t>(v6_router_alert.size() + length),
               .next_header = static_cast<std::uint8_t>(Ipv6Extension::hop_by_hop),
               .hop_limit = group_message_ttl,
               .source = source,
               .destination = destination}
        .emit(ip);
    std::ranges::copy(v6_router_alert, ip + Ipv6Fields::size);
    sum.add_pseudo_header(source, destination, icmpv6, length);
    counters_.add(Counter::mld_out_reports);
  }
  store_be16(message + 2, sum.finish());
  (void)transmit(port, std::move(packet));  // counts what it drops
}

}  // namespace pollux
