// Groups that sockets on other cores have joined. Queries and datagrams of groups arrive at the primary core:
// the others tell it what their sockets listen to, it speaks IGMP and MLD for all, and each gets a copy of
// what it has joined. Such a message is a frame between two cores: its mbuf names the core that it comes
// from, as no device does.
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"

namespace pollux {
namespace {

// Of rte_mbuf::port; devices are numbered far below.
constexpr std::uint16_t from_core = 0xff00;
constexpr std::size_t address_size = 16;
// Behind the Ethernet header: interface, mode, number of sources, 0, the group, the sources.
constexpr std::size_t group_at = EthernetFields::size + 4;
constexpr std::size_t sources_at = group_at + address_size;
constexpr std::size_t message_max = sources_at + SourceList::capacity * address_size;

IpAddress address_at(const std::uint8_t* at) noexcept {
  constexpr std::array<std::uint8_t, 12> v4_mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(at, v4_mapped.data(), v4_mapped.size()) == 0 ? IpAddress::v4_from_wire(at + 12)
                                                                  : IpAddress::v6_from_wire(at);
}

/// Whose membership of the primary's list stands for `core`; no socket has generation 0.
SlabHandle owner_of(std::uint16_t core) noexcept {
  return {core, 0};
}

}  // namespace

bool Ip::tell_primary(const Interface& port, const IpAddress& group, const GroupFilter& filter) noexcept {
  std::array<std::uint8_t, message_max> octets{};
  EthernetFields{.destination = port.config.mac, .source = port.config.mac, .type = EtherType::between_cores}
      .emit(octets.data());
  const auto sources = filter.sources.items();
  octets[EthernetFields::size] = port.id;
  octets[EthernetFields::size + 1] = static_cast<std::uint8_t>(filter.mode);
  octets[EthernetFields::size + 2] = static_cast<std::uint8_t>(sources.size());
  std::memcpy(&octets[group_at], group.octets().data(), address_size);
  for (std::size_t i = 0; i < sources.size(); ++i)
    std::memcpy(&octets[sources_at + i * address_size], sources[i].octets().data(), address_size);
  Packet message = pool_.copy_of(std::span(octets).first(sources_at + sources.size() * address_size));
  if (!message) return false;
  message.mbuf()->port = static_cast<std::uint16_t>(from_core + core_);
  return steering_->give(primary_core, port.config.vlan == 0 ? port.id : port.config.port, message);
}

/// A frame of the protocol between cores. One that a device received is nobody's.
DropReason Ip::core_message_input(const Packet& frame) noexcept {
  const std::uint32_t core = frame.mbuf()->port - from_core;
  if (frame.mbuf()->port < from_core || core >= cores_ || frame.size() < sources_at)
    return DropReason::eth_unknown_type;
  std::array<std::uint8_t, message_max> octets{};
  frame.copy_out(0, std::span(octets).first(std::min<std::size_t>(frame.size(), octets.size())));
  const InterfaceId id = octets[EthernetFields::size];
  GroupFilter filter;
  filter.mode = static_cast<GroupMode>(octets[EthernetFields::size + 1]);
  for (std::size_t i = 0; i < octets[EthernetFields::size + 2]; ++i)
    (void)filter.sources.add(address_at(&octets[sources_at + i * address_size]));
  const SlabHandle owner = owner_of(static_cast<std::uint16_t>(core));
  const IpAddress group = address_at(&octets[group_at]);
  if (try_membership(owner, id, group, filter) && filter.is_member()) counters_.add(Counter::groups_refused);
  const auto is_remote = [](const GroupMembership& m) { return m.owner.generation == 0; };
  has_remote_members_ = std::ranges::any_of(memberships_, is_remote);
  return DropReason::none;
}

bool Ip::is_wanted_elsewhere(const RxPacket& packet) const noexcept {
  return has_remote_members_ && std::ranges::any_of(memberships_, [&](const GroupMembership& m) {
           return m.owner.generation == 0 && m.interface == packet.interface &&
                  m.group == packet.destination && m.filter.accepts(packet.source);
         });
}

bool Ip::copy_to_members(const RxPacket& packet) noexcept {
  bool wanted = false;
  const InterfaceConfig& in = interfaces_[packet.interface]->config;
  for (const GroupMembership& m : memberships_) {
    if (m.owner.generation != 0 || m.interface != packet.interface || m.group != packet.destination ||
        !m.filter.accepts(packet.source))
      continue;
    wanted = true;
    Packet copy = pool_.copy_of(packet.packet, EthernetView::header_size + packet.ip_header_length);
    if (!copy) {
      drop(DropReason::no_mbuf);
      continue;
    }
    if (in.vlan != 0) {
      // As a frame of the port, with its tag as a card would have taken it off.
      copy.mbuf()->vlan_tci = in.vlan;
      copy.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    }
    if (steering_->give(static_cast<std::uint16_t>(m.owner.index), in.vlan == 0 ? packet.interface : in.port,
                        copy))
      counters_.add(Counter::handed_over);
    else
      drop(DropReason::handover_full);
  }
  return wanted;
}

}  // namespace pollux
