// Groups that sockets on other cores have joined. Queries and datagrams of groups arrive at the primary core:
// the others tell it what their sockets listen to, it speaks IGMP and MLD for all, and each gets a copy of
// what it has joined. What a core itself sends to a group that others may listen to takes the same way: the primary
// tells each core which groups those may be, as bits of a hash. Such a message is a frame between two cores: its mbuf
// names the core that it comes from, as no device does.
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
enum class CoreMessage : std::uint8_t { membership, listeners };
// Behind the Ethernet header: interface, mode, number of sources, CoreMessage, the group, the sources. Or, for listeners,
// 0, 0, 0, CoreMessage, the bits.
constexpr std::size_t kind_at = EthernetFields::size + 3;
constexpr std::size_t group_at = EthernetFields::size + 4;
constexpr std::size_t sources_at = group_at + address_size;
constexpr std::size_t message_max = sources_at + SourceList::capacity * address_size;
constexpr Duration again = Duration::from_ms(10);  // after a ring was full
constexpr std::uint64_t checksums_good = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;

IpAddress address_at(const std::uint8_t* at) noexcept {
  constexpr std::array<std::uint8_t, 12> v4_mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return std::memcmp(at, v4_mapped.data(), v4_mapped.size()) == 0 ? IpAddress::v4_from_wire(at + 12)
                                                                  : IpAddress::v6_from_wire(at);
}

/// Whose membership of the primary's list stands for `core`; no socket has generation 0.
SlabHandle owner_of(std::uint16_t core) noexcept {
  return {core, 0};
}

std::size_t listener_bit(InterfaceId id, const IpAddress& group) noexcept {
  std::uint64_t half[2];
  std::memcpy(half, group.octets().data(), sizeof half);
  return ((half[0] ^ half[1] ^ id) * 0x9e3779b97f4a7c15u) >> 56;
}

}  // namespace

std::optional<std::uint16_t> Ip::core_behind(const rte_mbuf* m) const noexcept {
  if (m->port < from_core || m->port == RTE_MBUF_PORT_INVALID || m->port - from_core >= cores_) return std::nullopt;
  return static_cast<std::uint16_t>(m->port - from_core);
}

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
  const auto core = core_behind(frame.mbuf());
  if (!core || frame.size() < sources_at) return DropReason::eth_unknown_type;
  std::array<std::uint8_t, message_max> octets{};
  frame.copy_out(0, std::span(octets).first(std::min<std::size_t>(frame.size(), octets.size())));
  if (static_cast<CoreMessage>(octets[kind_at]) == CoreMessage::listeners) {
    std::memcpy(listeners_elsewhere_.data(), &octets[group_at], sizeof listeners_elsewhere_);
    return DropReason::none;
  }
  const InterfaceId id = octets[EthernetFields::size];
  GroupFilter filter;
  filter.mode = static_cast<GroupMode>(octets[EthernetFields::size + 1]);
  for (std::size_t i = 0; i < octets[EthernetFields::size + 2]; ++i)
    (void)filter.sources.add(address_at(&octets[sources_at + i * address_size]));
  const SlabHandle owner = owner_of(*core);
  const IpAddress group = address_at(&octets[group_at]);
  if (try_membership(owner, id, group, filter) && filter.is_member()) counters_.add(Counter::groups_refused);
  const auto is_remote = [](const GroupMembership& m) { return m.owner.generation == 0; };
  has_remote_members_ = std::ranges::any_of(memberships_, is_remote);
  return DropReason::none;
}

// Only the primary knows who listens to what.
void Ip::tell_listeners(TimePoint now) noexcept {
  listeners_due_ = TimePoint::never();
  for (std::uint16_t core = 0; core < cores_; ++core) {
    if (core == core_) continue;
    ListenerBits bits{};
    for (const GroupMembership& m : memberships_) {
      if (m.owner == owner_of(core)) continue;
      const std::size_t bit = listener_bit(m.interface, m.group);
      bits[bit / 64] |= std::uint64_t{1} << bit % 64;
    }
    if (bits == listeners_told_[core]) continue;
    std::array<std::uint8_t, group_at + sizeof bits> octets{};
    const MacAddress& mac = interfaces_[0]->config.mac;
    EthernetFields{.destination = mac, .source = mac, .type = EtherType::between_cores}.emit(octets.data());
    octets[kind_at] = static_cast<std::uint8_t>(CoreMessage::listeners);
    std::memcpy(&octets[group_at], bits.data(), sizeof bits);
    Packet message = pool_.copy_of(octets);
    if (message) message.mbuf()->port = static_cast<std::uint16_t>(from_core + core_);
    if (message && steering_->give(core, 0, message))
      listeners_told_[core] = bits;
    else
      listeners_due_ = now + again;
  }
}

bool Ip::may_be_heard_elsewhere(InterfaceId id, const IpAddress& group) const noexcept {
  if (core_ == primary_core) return has_remote_members_;
  const std::size_t bit = listener_bit(id, group);
  return (listeners_elsewhere_[bit / 64] >> bit % 64 & 1) != 0;
}

// The copy says which core it is from: so it may have one of our addresses as its source, and does not come back.
bool Ip::give_copy(std::uint16_t core, const RxPacket& packet) noexcept {
  const InterfaceConfig& in = interfaces_[packet.interface]->config;
  Packet copy = pool_.copy_of(packet.packet, EthernetView::header_size + packet.ip_header_length);
  if (!copy) {
    drop(DropReason::no_mbuf);
    return false;
  }
  copy.mbuf()->port = static_cast<std::uint16_t>(from_core + core_);
  copy.mbuf()->ol_flags |= packet.packet.mbuf()->ol_flags & checksums_good;
  if (in.vlan != 0) {
    // As a frame of the port, with its tag as a card would have taken it off.
    copy.mbuf()->vlan_tci = in.vlan;
    copy.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
  }
  const bool given = steering_->give(core, in.vlan == 0 ? packet.interface : in.port, copy);
  if (given)
    counters_.add(Counter::handed_over);
  else
    drop(DropReason::handover_full);
  return given;
}

void Ip::share_own(const RxPacket& packet) noexcept {
  if (core_ == primary_core)
    (void)copy_to_members(packet);
  else
    (void)give_copy(primary_core, packet);
}

bool Ip::is_wanted_elsewhere(const RxPacket& packet) const noexcept {
  return has_remote_members_ && std::ranges::any_of(memberships_, [&](const GroupMembership& m) {
           return m.owner.generation == 0 && m.interface == packet.interface &&
                  m.group == packet.destination && m.filter.accepts(packet.source);
         });
}

bool Ip::copy_to_members(const RxPacket& packet) noexcept {
  bool wanted = false;
  const auto sender = core_behind(packet.packet.mbuf());
  for (const GroupMembership& m : memberships_) {
    if (m.owner.generation != 0 || m.interface != packet.interface || m.group != packet.destination ||
        !m.filter.accepts(packet.source) || sender == m.owner.index)
      continue;
    wanted = true;
    (void)give_copy(static_cast<std::uint16_t>(m.owner.index), packet);
  }
  return wanted;
}

}  // namespace pollux
