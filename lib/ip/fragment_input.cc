// From fragments to a packet that goes through input once more, as if it had come whole (RFC 791 3.2, RFC 8200 4.5).
#include <algorithm>
#include <cstring>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/tcp.h"

namespace pollux {
namespace {

constexpr std::uint32_t datagram_max = 65535;  // octets: of an IPv4 packet, of an IPv6 payload
constexpr std::uint32_t fragment_header_size = Ipv6FragmentFields::size;
constexpr std::uint32_t expired_per_turn_max = 16;
constexpr std::uint8_t ecn_mask = 3;
constexpr std::uint8_t ecn_none = 0;
constexpr std::uint8_t ecn_marked = 3;

bool is_malformed(const FragmentInfo& info, std::uint32_t size, std::uint32_t counted_headers) noexcept {
  return size == 0 || (info.more && size % 8 != 0) || counted_headers + info.offset + size > datagram_max;
}

/// RFC 1858 3.2.1 and 4.2, RFC 3128: a TCP header cut before its flags, or a piece that starts within one.
bool is_tiny(const FragmentInfo& info, std::uint32_t size) noexcept {
  constexpr std::uint32_t tcp_flags_end = 16;
  if (info.protocol != static_cast<std::uint8_t>(IpProtocol::tcp)) return false;
  return info.offset == 0 ? size < tcp_flags_end : info.offset < tcp_flags_end;
}

}  // namespace

DropReason Ip::ipv4_fragment(InterfaceId id, Packet& frame, const RxPacket& header, bool group_frame, TimePoint now,
                             RxPacket& out) noexcept {
  counters_.add(Counter::ip_reasm_reqds);
  const std::uint8_t* const ip = frame.data();
  const std::uint16_t field = load_be16(ip + 6);
  const FragmentInfo info{.source = header.source,
                          .destination = header.destination,
                          .identification = load_be16(ip + 4),
                          .protocol = header.protocol,
                          .more = (field & 0x2000) != 0,
                          .to_group = header.to_group,
                          .ecn = static_cast<std::uint8_t>(header.tos & ecn_mask),
                          .interface = id,
                          .offset = (field & 0x1fffu) * 8,
                          .header_length = header.ip_header_length};
  const std::uint32_t size = frame.size() - info.header_length;
  DropReason reason = DropReason::none;
  if (is_malformed(info, size, info.header_length))
    reason = DropReason::ip_fragment_malformed;
  else if (is_tiny(info, size))
    reason = DropReason::ip_fragment_tiny;
  if (reason != DropReason::none) {
    counters_.add(Counter::ip_reasm_fails);
    return reason;
  }
  frame.pull_front(info.header_length);
  Reassembler::Added added = reassembler_.add(info, std::move(frame), now);
  if (!added.whole) return added.reason;
  const std::uint32_t fragments_size = added.whole.size();
  reason = restore_header(added, added.first.header_length);
  if (reason != DropReason::none) {
    counters_.add(Counter::ip_reasm_fails);
    return reason;
  }
  counters_.add(Counter::ip_reasm_oks);
  frame = std::move(added.whole);
  std::uint8_t* const whole = frame.data() + EthernetView::header_size;
  store_be16(whole + 2, static_cast<std::uint16_t>(added.first.header_length + fragments_size));
  store_be16(whole + 6, 0);
  if ((added.ecn_seen & 1u << ecn_marked) != 0) whole[1] |= ecn_marked;
  store_be16(whole + 10, 0);
  ChecksumSum sum;
  sum.add({whole, added.first.header_length});
  store_be16(whole + 10, sum.finish());
  if (const auto steered = steer(id, frame)) return *steered;
  frame.pull_front(EthernetView::header_size);
  return ipv4_input(id, frame, group_frame, now, out);
}

DropReason Ip::ipv6_fragment(InterfaceId id, Packet& frame, const Ipv6Chain& chain, RxPacket& out, bool group_frame,
                             TimePoint now) noexcept {
  counters_.add(Counter::ip6_reasm_reqds);
  const Ipv6Chain::Fragment& fragment = *chain.fragment;
  const FragmentInfo info{.source = out.source,
                          .destination = out.destination,
                          .identification = fragment.identification,
                          .more = fragment.more,
                          .to_group = out.to_group,
                          .ecn = static_cast<std::uint8_t>(out.tos & ecn_mask),
                          .interface = id,
                          .offset = fragment.offset,
                          .header_length = chain.header_length};
  const std::uint32_t size = frame.size() - chain.header_length;
  const std::uint32_t extensions = fragment.header_at - std::uint32_t{Ipv6View::header_size};
  DropReason reason = DropReason::none;
  Icmpv6Fields problem{.type = Icmpv6Type::parameter_problem};
  if (out.source.is_unspecified()) {
    reason = DropReason::ip_bad_source;
  } else if (is_malformed(info, size, extensions)) {
    // RFC 8200 4.5: the pointer names the payload length, or the offset that is too large.
    reason = DropReason::ip_fragment_malformed;
    problem.rest = info.more && size % 8 != 0 ? 4u : fragment.header_at + 2u;
  } else if (info.offset == 0 && !chain.has_transport_header(frame.front())) {
    reason = DropReason::ip_fragment_tiny;
    problem.code = icmpv6_incomplete_header_chain;
  }
  if (reason != DropReason::none) {
    counters_.add(Counter::ip6_reasm_fails);
    if (reason == DropReason::ip_bad_source || out.to_group || size == 0) return reason;
    out.ip_header_length = 0;
    out.packet = std::move(frame);
    send_icmpv6_error(out, problem, Counter::icmp6_out_parm_problems, now);
    return reason;
  }
  frame.pull_front(chain.header_length);
  Reassembler::Added added = reassembler_.add(info, std::move(frame), now);
  if (!added.whole) return added.reason;
  return ipv6_whole(id, added, frame, group_frame, now, out);
}

/// RFC 8200 4.5: the headers of the first fragment without its fragment header, whose next header moves to the header in
/// front of it.
DropReason Ip::ipv6_whole(InterfaceId id, Reassembler::Added& added, Packet& frame, bool group_frame, TimePoint now,
                          RxPacket& out) noexcept {
  const std::uint32_t fragments_size = added.whole.size();
  const auto kept_headers = static_cast<std::uint16_t>(added.first.header_length - fragment_header_size);
  const std::uint8_t next_header = added.whole.data()[-static_cast<std::ptrdiff_t>(fragment_header_size)];
  const DropReason reason = restore_header(added, kept_headers);
  if (reason != DropReason::none) {
    counters_.add(Counter::ip6_reasm_fails);
    return reason;
  }
  counters_.add(Counter::ip6_reasm_oks);
  frame = std::move(added.whole);
  std::uint8_t* const whole = frame.data() + EthernetView::header_size;
  // The chain up to here was walked when the first fragment came.
  std::uint32_t named_at = 6;
  for (std::uint32_t at = Ipv6View::header_size; at < kept_headers; at += (whole[at + 1] + 1u) * 8) named_at = at;
  whole[named_at] = next_header;
  store_be16(whole + 4, static_cast<std::uint16_t>(kept_headers - Ipv6View::header_size + fragments_size));
  if ((added.ecn_seen & 1u << ecn_marked) != 0) whole[1] |= ecn_marked << 4;
  if (const auto steered = steer(id, frame)) return *steered;
  frame.pull_front(EthernetView::header_size);
  return ipv6_input(id, frame, group_frame, now, out);
}

/// Puts a fresh segment in front of the payload with the first fragment's Ethernet header, the first `header_length`
/// octets of its IP headers, and as much of the transport's header as is read in place.
DropReason Ip::restore_header(Reassembler::Added& added, std::uint32_t header_length) noexcept {
  Packet& whole = added.whole;
  // RFC 3168 5.3: marks on a datagram whose other fragments do not take part in ECN are nobody's.
  constexpr unsigned mixed = 1u << ecn_marked | 1u << ecn_none;
  if ((added.ecn_seen & mixed) == mixed) {
    counters_.drop(DropReason::ip_fragment_ecn);
    return DropReason::ip_fragment_ecn;
  }
  constexpr std::uint32_t transport_max = TcpView::header_size_max;
  const std::uint32_t front = EthernetView::header_size + header_length;
  const std::uint32_t moved = std::min({whole.size(), transport_max, pool_.room() - front});
  Packet head = pool_.alloc();
  std::uint8_t* const to = head ? head.push_back(front + moved) : nullptr;
  if (to == nullptr) return DropReason::no_mbuf;
  std::memcpy(to, whole.data() - added.first.header_length - EthernetView::header_size, front);
  whole.copy_out(0, {to + front, moved});
  head.mbuf()->port = whole.mbuf()->port;
  whole.pull_front(moved);
  if (whole.size() != 0 && !head.chain(whole)) return DropReason::no_mbuf;
  whole = std::move(head);
  return DropReason::none;
}

/// What became of a datagram that another core owns now that its ports are known; nullopt: it is ours.
std::optional<DropReason> Ip::steer(InterfaceId id, Packet& frame) noexcept {
  if (steering_ == nullptr) return std::nullopt;
  const InterfaceConfig& config = interfaces_[id]->config;
  if (config.vlan != 0) {
    // It travels as a frame of the port, with its tag as a card would have taken it off.
    frame.mbuf()->vlan_tci = config.vlan;
    frame.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    id = config.port;
  }
  switch (steering_->steer(id, frame)) {
    case FrameSteering::Verdict::ours:
      return std::nullopt;
    case FrameSteering::Verdict::taken:
      counters_.add(Counter::handed_over);
      return DropReason::none;
    case FrameSteering::Verdict::full:
      break;
  }
  return DropReason::handover_full;
}

void Ip::expire_fragments(TimePoint now) noexcept {
  Reassembler::Expired expired;
  for (std::uint32_t i = 0; i < expired_per_turn_max && reassembler_.expire_one(now, expired); ++i) {
    // RFC 1122 3.2.2.4, RFC 8200 4.5: told to the source if the first fragment came, and never about a group.
    if (!expired.first || expired.info.to_group) continue;
    RxPacket first;
    first.source = expired.info.source;
    first.destination = expired.info.destination;
    first.interface = expired.info.interface;
    first.ip_header_length = expired.info.header_length;
    first.packet = std::move(expired.first);
    constexpr std::uint8_t reassembly_time_exceeded = 1;  // RFC 792, RFC 4443 3.3
    if (first.source.is_v4()) {
      first.protocol = expired.info.protocol;
      send_icmp_error(first, {.type = Icmpv4Type::time_exceeded, .code = reassembly_time_exceeded},
                      Counter::icmp_out_time_excds, now);
    } else {
      first.protocol = first.packet.data()[-static_cast<std::ptrdiff_t>(fragment_header_size)];
      send_icmpv6_error(first, {.type = Icmpv6Type::time_exceeded, .code = reassembly_time_exceeded},
                        Counter::icmp6_out_time_excds, now);
    }
  }
}

}  // namespace pollux
