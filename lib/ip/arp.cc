// ARP (RFC 826, RFC 1122 2.3.2, RFC 5227).
#include <utility>

#include "pollux/ip/ip.h"

namespace pollux {
namespace {

constexpr Duration defend_interval = Duration::from_s(10);  // RFC 5227 1.1
constexpr std::size_t frame_size = EthernetFields::size + ArpFields::size;

}  // namespace

DropReason Ip::arp_input(InterfaceId id, ByteView bytes, TimePoint now) noexcept {
  const auto arp = ArpView::parse(bytes);
  if (!arp) return arp.error();
  Interface& port = *interfaces_[id];
  const MacAddress sender_mac = arp->sender_mac();
  const IpAddress sender_ip = arp->sender_ip();
  const bool is_request = arp->operation() == ArpOperation::request;
  const bool for_us = port.find_v4(arp->target_ip().v4_value()) != nullptr;

  if (sender_mac.is_zero() || sender_mac.is_group() || sender_mac == port.config.mac)
    return DropReason::arp_bad_sender;
  if (is_local(sender_ip)) {
    // RFC 5227 2.4 (b): somebody else claims our address; answer with an announcement, at a limited rate.
    if (!port.config.primary) return DropReason::none;
    counters_.add(Counter::arp_conflicts);
    const V4Address* const ours = port.find_v4(sender_ip.v4_value());
    if (ours != nullptr && now >= port.defend_after) {
      port.defend_after = now + defend_interval;
      announce(port, *ours);
    }
    return DropReason::arp_bad_sender;
  }
  if (is_group(sender_ip) || sender_ip.is_loopback()) return DropReason::arp_bad_sender;

  // RFC 826, "Merge_flag": what the sender says of itself updates an entry that exists. A new entry is made
  // only for a sender that asks for us and lies in our subnet, so that nobody fills the table with replies.
  bool updated = false;
  const bool on_link =
      !sender_ip.is_unspecified() && port.v4_on_link(sender_ip.v4_value()) != nullptr;
  if (on_link) {
    std::uint32_t index = neighbors_.find(id, sender_ip);
    updated = index != NeighborTable::nil;
    if (!updated && is_request && for_us) index = neighbors_.add(id, sender_ip, port.config.mac);
    if (index != NeighborTable::nil) {
      Neighbor& neighbor = neighbors_[index];
      const bool asked = (neighbor.state == NeighborState::incomplete && neighbor.attempts != 0) ||
                         neighbor.state == NeighborState::probe;
      learn(neighbor, sender_mac, asked && !is_request, now);
    }
  }
  if (!port.config.primary) return DropReason::none;  // the primary core answers, and counts
  if (is_request && for_us) {                         // an RFC 5227 probe (sender 0.0.0.0) is answered too
    counters_.add(Counter::arp_requests_in);
    counters_.add(Counter::arp_replies_out);
    send_arp(port, sender_mac,
             {.operation = ArpOperation::reply,
              .sender_mac = port.config.mac,
              .sender_ip = arp->target_ip(),
              .target_mac = sender_mac,
              .target_ip = sender_ip});
    return DropReason::none;
  }
  if (!updated) return DropReason::arp_not_for_us;
  if (!is_request) counters_.add(Counter::arp_replies_in);
  return DropReason::none;
}

void Ip::send_arp(Interface& port, const MacAddress& frame_destination, const ArpFields& arp) noexcept {
  Packet packet = pool_.alloc();
  std::uint8_t* const out = packet ? packet.push_back(frame_size) : nullptr;
  if (out == nullptr) {
    drop(DropReason::no_mbuf);
    return;
  }
  EthernetFields{.destination = frame_destination, .source = port.config.mac, .type = EtherType::arp}.emit(
      out);
  arp.emit(out + EthernetFields::size);
  (void)transmit(port, std::move(packet));  // counts what it drops
}

void Ip::announce_all(Interface& port) noexcept {
  for (const V4Address& address : port.v4_addresses()) announce(port, address);
}

void Ip::announce(Interface& port, const V4Address& address) noexcept {
  if (!port.config.primary) return;
  counters_.add(Counter::arp_requests_out);
  send_arp(port, MacAddress::broadcast(),
           {.operation = ArpOperation::request,
            .sender_mac = port.config.mac,
            .sender_ip = address.ip(),
            .target_mac = {},
            .target_ip = address.ip()});
}

void Ip::request(Interface& port, Neighbor& neighbor) noexcept {
  const bool unicast = neighbor.state == NeighborState::probe;
  // RFC 1122 2.3.2, Linux's arp_announce 2: who is asked has to answer into a subnet of its own.
  const V4Address* const near = port.v4_on_link(neighbor.address.v4_value());
  const V4Address& source = near != nullptr ? *near : port.ipv4[0];
  counters_.add(Counter::arp_requests_out);
  send_arp(port, unicast ? neighbor.mac() : MacAddress::broadcast(),
           {.operation = ArpOperation::request,
            .sender_mac = port.config.mac,
            .sender_ip = source.ip(),
            .target_mac = unicast ? neighbor.mac() : MacAddress{},
            .target_ip = neighbor.address});
}

}  // namespace pollux
