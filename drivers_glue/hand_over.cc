#include "pollux/drivers_glue/hand_over.h"

#include <cstring>

#include "pollux/tcp/flow_key.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"
#include "pollux/wire/tcp.h"

namespace pollux {
namespace {

constexpr std::uint8_t protocol_tcp = 6;
constexpr std::size_t vlan_tag_size = 4;
constexpr std::size_t burst_max = 32;  // of a loop's port

struct TcpFrame {
  FlowKey key;
  TcpFlags flags;
  SeqNum sequence;
  SeqNum acknowledgment;
};

/// A whole TCP segment; nullopt for all else, also for what is malformed: the stack counts it.
std::optional<TcpFrame> parse(EtherType type, ByteView packet, std::size_t packet_length) noexcept {
  TcpFrame frame;
  ByteView segment;
  if (type == EtherType::ipv4) {
    const auto ip = Ipv4View::parse(packet, packet_length, true);
    if (!ip || ip->protocol() != protocol_tcp || ip->is_fragment()) return std::nullopt;
    frame.key.local = ip->destination();
    frame.key.remote = ip->source();
    segment = packet.subspan(ip->header_length());
  } else if (type == EtherType::ipv6) {
    const auto ip = Ipv6View::parse(packet, packet_length);
    if (!ip || ip->next_header() != protocol_tcp) return std::nullopt;
    frame.key.local = ip->destination();
    frame.key.remote = ip->source();
    segment = packet.subspan(Ipv6View::header_size);
  } else {
    return std::nullopt;
  }
  const auto tcp = TcpView::parse(segment);
  if (!tcp) return std::nullopt;
  frame.key.local_port = tcp->destination_port();
  frame.key.remote_port = tcp->source_port();
  frame.flags = tcp->flags();
  frame.sequence = tcp->sequence();
  frame.acknowledgment = tcp->acknowledgment();
  return frame;
}

}  // namespace

void HandOverTap::input(Stack& stack, InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept {
  std::array<rte_mbuf*, burst_max> kept;
  std::size_t count = 0;
  POLLUX_CHECK(burst.size() <= kept.size(), "a burst of %zu frames", burst.size());
  for (rte_mbuf* frame : burst) {
    if (is_for_the_other(stack, interface, *frame))
      relay(stack, interface, frame);
    else
      kept[count++] = frame;
  }
  if (count != 0) stack.input(interface, std::span(kept).first(count), now);
}

bool HandOverTap::is_for_the_other(Stack& stack, InterfaceId interface, const rte_mbuf& frame) const noexcept {
  const ByteView bytes{rte_pktmbuf_mtod(&frame, const std::uint8_t*), rte_pktmbuf_data_len(&frame)};
  const auto ethernet = EthernetView::parse(bytes);
  if (!ethernet || ethernet->destination() != own_[interface] || ethernet->source() == other_[interface]) return false;
  EtherType type = ethernet->type();
  std::size_t at = EthernetView::header_size;
  if (type == EtherType::vlan) {
    if (bytes.size() < at + vlan_tag_size) return false;
    type = static_cast<EtherType>(load_be16(&bytes[at + 2]));
    at += vlan_tag_size;
  }
  const auto segment = parse(type, bytes.subspan(at), rte_pktmbuf_pkt_len(&frame) - at);
  if (!segment || !stack.ip().is_local(segment->key.local)) return false;
  const bool opens = segment->flags.has(TcpFlags::syn) && !segment->flags.has(TcpFlags::ack);
  if (opens && role_ == HandOverRole::successor) return false;
  return !stack.tcp().owns(segment->key, opens, segment->sequence, segment->acknowledgment);
}

/// As it came, but for the two addresses in front.
void HandOverTap::relay(Stack& stack, InterfaceId interface, rte_mbuf* frame) noexcept {
  auto* bytes = rte_pktmbuf_mtod(frame, std::uint8_t*);
  std::memcpy(bytes, other_[interface].octets.data(), 6);
  std::memcpy(bytes + 6, own_[interface].octets.data(), 6);
  // Its checksums are there, so nothing is asked of the device, but for the tag that it took off, if it did.
  const bool untagged = (frame->ol_flags & RTE_MBUF_F_RX_VLAN_STRIPPED) != 0;
  frame->ol_flags = untagged ? RTE_MBUF_F_TX_VLAN : 0;
  frame->tx_offload = 0;
  Packet packet(frame);
  if ((!untagged || stack.ip().interface(interface).offloads.vlan_insert) && stack.tx(interface).push(packet))
    ++relayed_;
  else
    ++lost_;
}

}  // namespace pollux
