// Exception ports: what belongs to nobody here goes to the kernel, and what the kernel sends leaves through the same card,
// so that both live behind one MAC address, and behind one IP address if the operator wants that.
#include <array>
#include <cstring>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint32_t ethernet_size = EthernetView::header_size;
constexpr std::uint32_t tag_size = 4;
constexpr std::uint32_t headers_max = ethernet_size + Ipv6Chain::length_max;
constexpr std::uint64_t kept_flags = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

/// What a frame says, as far as it is in its first piece.
struct Glance {
  explicit Glance(const Packet& frame) noexcept : bytes(frame.front()) {
    if (bytes.size() < ethernet_size) return;
    type = static_cast<EtherType>(load_be16(&bytes[12]));
    if (type != EtherType::vlan || bytes.size() < ethernet_size + tag_size) return;
    type = static_cast<EtherType>(load_be16(&bytes[12 + tag_size]));
    at += tag_size;
  }
  bool is_arp() const noexcept { return type == EtherType::arp && bytes.size() >= at + ArpFields::size; }
  IpAddress arp_target() const noexcept { return IpAddress::v4_from_wire(&bytes[at + 24]); }
  bool is_arp_request() const noexcept { return load_be16(&bytes[at + 6]) == 1; }
  /// RFC 4861 4: messages 133 to 137 right behind the IPv6 header.
  bool is_discovery() const noexcept {
    const std::size_t icmp = at + Ipv6Fields::size;
    return type == EtherType::ipv6 && bytes.size() >= icmp + 24 &&
           bytes[at + 6] == static_cast<std::uint8_t>(IpProtocol::icmpv6) && bytes[icmp] >= 133 &&
           bytes[icmp] <= 137;
  }
  bool is_solicitation() const noexcept { return bytes[at + Ipv6Fields::size] == 135; }
  IpAddress discovery_target() const noexcept { return IpAddress::v6_from_wire(&bytes[at + Ipv6Fields::size + 8]); }

  ByteView bytes;
  EtherType type = {};       ///< behind a tag, if there is one
  std::size_t at = ethernet_size;  ///< where what it carries begins
};

}  // namespace

std::optional<std::string> Ip::exception_config_error(const InterfaceConfig& config) const {
  if (!config.exception) return std::nullopt;
  if (config.port >= port_count_ || is_exception(config.port))
    return "exception port: there is no port " + std::to_string(config.port);
  if (interfaces_[config.port]->partner != nullptr) return "its port has an exception port already";
  if (!config.address.address.is_unspecified() || !config.v6_addresses.empty() || config.router_advertisements)
    return "an exception port has no addresses";
  return std::nullopt;
}

void Ip::send_from_kernel(InterfaceId id, Packet frame, TimePoint now) noexcept {
  now_ = now;
  Interface& port = *interfaces_[id]->partner;
  const Glance glance(frame);
  if (glance.bytes.size() < ethernet_size) return counters_.drop(DropReason::eth_truncated);
  // With several cores each has a copy of these: one of them leaves.
  if (!port.config.primary && (glance.is_arp() || glance.is_discovery())) return;
  if (frame.size() > port.config.mtu + glance.at) return counters_.drop(DropReason::exception_too_big);
  frame.mbuf()->ol_flags &= kept_flags;
  if (transmit(port, std::move(frame)) == DropReason::none) counters_.add(Counter::exception_from_kernel);
}

void Ip::copy_to_kernel(InterfaceId id, const Packet& frame) noexcept {
  const Interface& port = *interfaces_[id];
  if (port.partner == nullptr || !port.config.primary) return;  // every core sees these
  const Glance glance(frame);
  const bool arp = glance.is_arp() && !(glance.is_arp_request() && is_local(glance.arp_target()));
  const bool discovery = glance.is_discovery() && !(glance.is_solicitation() && is_local(glance.discovery_target()));
  if (!arp && !discovery) return;
  Packet copy = pool_.copy_of(glance.bytes);
  if (!copy) return counters_.drop(DropReason::no_mbuf);
  copy.mbuf()->vlan_tci = frame.mbuf()->vlan_tci;
  copy.mbuf()->ol_flags |= frame.mbuf()->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED;
  (void)hand_to_kernel(port, copy, 0);
}

bool Ip::give_to_kernel(RxPacket& packet) noexcept {
  return hand_to_kernel(*interfaces_[packet.interface], packet.packet, ethernet_size + packet.ip_header_length);
}

/// Whether a frame that is about to be dropped is the kernel's instead: where it was understood and meant nobody here.
bool Ip::dropped_to_kernel(DropReason reason, InterfaceId id, Packet& frame, RxPacket& out) noexcept {
  const Interface& port = *interfaces_[id];
  if (port.partner == nullptr) return false;
  switch (reason) {
    case DropReason::eth_unknown_type:
    case DropReason::eth_vlan_unknown:
    case DropReason::eth_qinq:
      return frame && hand_to_kernel(port, frame, 0);
    case DropReason::ip_not_local:
      return frame && hand_to_kernel(*interfaces_[out.interface], frame, ethernet_size);
    case DropReason::icmp_ignored_type:
      return out.packet && give_to_kernel(out);
    case DropReason::arp_not_for_us:
    case DropReason::nd_not_for_us:
      return true;  // copied before
    default:
      return false;
  }
}

/// `pulled`: octets in front of the packet that are still there, its headers. Counts what it drops; false only when there is
/// no exception port, and then nothing has changed.
bool Ip::hand_to_kernel(const Interface& in, Packet& frame, std::uint32_t pulled) noexcept {
  const Interface& port = in.config.vlan == 0 ? in : *interfaces_[in.config.port];
  if (port.partner == nullptr) return false;
  Interface& kernel = *port.partner;
  const auto fail = [&](DropReason reason) {
    counters_.drop(reason);
    frame.reset();
    return true;
  };
  const rte_mbuf* const m = frame.mbuf();
  const bool stripped = (m->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;
  const std::uint16_t tag = in.config.vlan != 0 ? in.config.vlan : stripped ? m->vlan_tci : 0;
  if (pulled != 0) {
    std::array<std::uint8_t, headers_max> headers;
    if (pulled > headers.size()) return fail(DropReason::exception_too_big);
    std::memcpy(headers.data(), frame.data() - pulled, pulled);
    std::uint8_t* const to = prepend_header(pool_, frame, pulled);
    if (to == nullptr) return fail(DropReason::no_mbuf);
    std::memcpy(to, headers.data(), pulled);
  }
  frame.mbuf()->ol_flags &= kept_flags;
  DropReason reason = DropReason::none;
  if (frame.size() > kernel.config.mtu + ethernet_size) {
    // A datagram that was put together here goes on in fragments again.
    const bool v4 = frame.data()[12] == 0x08;
    if (tag != 0 || pulled != ethernet_size + (v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size}))
      return fail(DropReason::exception_too_big);
    reason = transmit_fragments(kernel, std::move(frame));
  } else {
    if (tag != 0 && !write_tag(frame, tag)) return fail(DropReason::no_mbuf);
    reason = transmit(kernel, std::move(frame));
  }
  if (reason == DropReason::none) counters_.add(Counter::exception_to_kernel);
  return true;
}

}  // namespace pollux
