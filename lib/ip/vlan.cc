// VLANs (IEEE 802.1Q): the tag goes before anything else looks at a frame, and comes last, so that nothing between knows
// of it. Where a port's card takes tags off and writes them, the mbuf carries the tag; elsewhere it is done here.
#include <array>
#include <cstring>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/ethernet.h"

namespace pollux {
namespace {

constexpr std::uint32_t tag_size = 4;
constexpr std::uint32_t tag_at = 12;  // behind the two addresses
constexpr std::uint16_t vlan_id_mask = 0x0fff;
constexpr std::uint64_t stripped_flags = RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;

}  // namespace

std::optional<std::string> Ip::vlan_config_error(const InterfaceConfig& config) const {
  const std::string what = "VLAN " + std::to_string(config.vlan);
  if (config.vlan > vlan_id_max) return what + ": expected 1.." + std::to_string(vlan_id_max);
  if (config.port >= port_count_) return what + ": there is no port " + std::to_string(config.port);
  const Interface& port = *interfaces_[config.port];
  if (!port.vlans.empty() && port.vlans[config.vlan] != 0) return what + " is already present";
  if (config.mtu > port.config.mtu)
    return what + ": MTU " + std::to_string(config.mtu) + " exceeds its port's, " + std::to_string(port.config.mtu);
  return std::nullopt;
}

/// Whose frame it is by the tag that was taken off.
DropReason Ip::enter_vlan(const Interface& port, const Packet& frame, InterfaceId& id) noexcept {
  const auto type = static_cast<EtherType>(load_be16(frame.data() + tag_at));
  if (type == EtherType::vlan || type == EtherType::qinq) return DropReason::eth_qinq;
  const std::uint16_t vlan = frame.mbuf()->vlan_tci & vlan_id_mask;
  if (vlan == 0) return DropReason::none;  // IEEE 802.1Q 6.9.1: a priority tag; the frame belongs to no VLAN
  if (vlan >= port.vlans.size() || port.vlans[vlan] == 0) return DropReason::eth_vlan_unknown;
  id = port.vlans[vlan];
  return DropReason::none;
}

/// Takes the tag off, as a card would, and goes on with what is behind it.
DropReason Ip::tagged_input(InterfaceId id, Packet& frame, TimePoint now, RxPacket& out) noexcept {
  rte_mbuf* const m = frame.mbuf();
  const std::uint8_t* const data = frame.data();
  // The tag of a provider's bridge (IEEE 802.1ad).
  if (load_be16(data + tag_at) != static_cast<std::uint16_t>(EtherType::vlan)) return DropReason::eth_qinq;
  if (frame.front().size() < EthernetView::header_size + tag_size) return DropReason::eth_truncated;
  std::array<std::uint8_t, tag_at> addresses;
  std::memcpy(addresses.data(), data, addresses.size());
  const std::uint16_t tag = load_be16(data + tag_at + 2);
  if (Packet::is_writable(m)) {
    frame.pull_front(tag_size);
  } else {
    // Others read this buffer too: the headers move to one of our own.
    frame.pull_front(tag_at + tag_size);
    const std::uint64_t flags = m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL);
    if (prepend_new_mbuf(pool_, frame, tag_at) == nullptr) return DropReason::no_mbuf;
    frame.mbuf()->ol_flags |= flags;
  }
  std::memcpy(frame.data(), addresses.data(), addresses.size());
  frame.mbuf()->vlan_tci = tag;
  frame.mbuf()->ol_flags |= stripped_flags;
  return link_input(id, frame, now, out);
}

/// What a frame still lacks on an interface that is not plain: one segment, a tag.
DropReason Ip::finish_frame(const Interface& port, Packet& frame) noexcept {
  if (!port.config.offloads.multi_segment && frame.segment_count() > 1 && !linearise(frame)) return DropReason::no_mbuf;
  if (port.config.vlan == 0) return DropReason::none;
  if (port.config.offloads.vlan_insert) {
    frame.mbuf()->vlan_tci = port.config.vlan;
    frame.mbuf()->ol_flags |= RTE_MBUF_F_TX_VLAN;
    return DropReason::none;
  }
  if (!write_tag(frame, port.config.vlan)) return DropReason::no_mbuf;
  if ((frame.mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) != 0) frame.mbuf()->l2_len += tag_size;
  return DropReason::none;
}

bool Ip::write_tag(Packet& frame, std::uint16_t vlan) noexcept {
  std::array<std::uint8_t, tag_at + tag_size> headers;
  std::memcpy(headers.data(), frame.data(), tag_at);
  store_be16(&headers[tag_at], static_cast<std::uint16_t>(EtherType::vlan));
  store_be16(&headers[tag_at + 2], vlan);
  frame.pull_front(tag_at);
  std::uint8_t* const to = prepend_header(pool_, frame, headers.size());
  if (to == nullptr) return false;
  std::memcpy(to, headers.data(), headers.size());
  return true;
}

}  // namespace pollux
