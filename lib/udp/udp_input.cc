// From IP to the sockets' handlers.
#include <algorithm>
#include <utility>

#include "pollux/packet/checksum.h"
#include "pollux/udp/udp.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/udp.h"

namespace pollux {
namespace {

bool has_good_checksum(const RxPacket& packet, const UdpView& udp) noexcept {
  // RFC 768: over IPv4 a sender may leave the checksum out; over IPv6 it must not (RFC 8200 8.1).
  if (!udp.has_checksum()) return packet.source.is_v4();
  if (rx_l4_checksum_good(packet.packet.mbuf())) return true;
  const auto length = static_cast<std::uint32_t>(udp.length());
  ChecksumSum sum = sum_chain(packet.packet.mbuf(), 0, length);
  sum.add_pseudo_header(packet.source, packet.destination, packet.protocol, length);
  return sum.folded() == 0xffff;
}

UdpError error_of(IcmpProblem problem) noexcept {
  switch (problem) {
    case IcmpProblem::network_unreachable:
      return UdpError::network_unreachable;
    case IcmpProblem::host_unreachable:
      return UdpError::host_unreachable;
    case IcmpProblem::protocol_unreachable:
      return UdpError::protocol_unreachable;
    case IcmpProblem::port_unreachable:
      return UdpError::port_unreachable;
    case IcmpProblem::packet_too_big:
      return UdpError::message_too_large;
    case IcmpProblem::time_exceeded:
    case IcmpProblem::parameter_problem:
    case IcmpProblem::other:
      break;
  }
  return UdpError::other;
}

}  // namespace

void Udp::input(RxPacket packet, TimePoint now) noexcept {
  POLLUX_DCHECK(!delivering_);
  if (const DropReason reason = accept(packet, now); reason != DropReason::none) counters_.drop(reason);
  if (gathered_ == datagrams_per_call_max) deliver();
}

DropReason Udp::accept(RxPacket& in, TimePoint now) noexcept {
  const auto udp = UdpView::parse(in.packet.front(), in.packet.size());
  if (!udp) return udp.error();
  if (!has_good_checksum(in, *udp)) return DropReason::udp_bad_checksum;
  const std::uint16_t source_port = udp->source_port();
  const std::uint32_t index = find(udp->destination_port(), in.destination);
  if (index == Slab<Socket>::nil) {
    // RFC 1122 4.1.3.1: port unreachable; Ip keeps silent about groups and floods.
    counters_.add(Counter::udp_no_ports);
    ip_.send_unreachable(in, UnreachableCode::port, now);
    return DropReason::udp_no_socket;
  }
  const auto length = static_cast<std::uint32_t>(udp->length());
  if (in.packet.size() > length) in.packet.trim_to(length);
  in.packet.pull_front(UdpView::header_size);
  if (in.packet.size() == 0) in.packet.reset();
  owners_[gathered_] = sockets_.handle(index);
  datagrams_[gathered_] = {.remote = {in.source, source_port},
                           .local = in.destination,
                           .ttl = in.ttl,
                           .tos = in.tos,
                           .data = Bytes(std::move(in.packet))};
  ++gathered_;
  return DropReason::none;
}

void Udp::deliver() noexcept {
  if (gathered_ == 0) return;
  delivering_ = true;
  const std::size_t count = std::exchange(gathered_, 0);
  const auto owners = std::span(owners_).first(count);
  if (std::ranges::all_of(owners, [&](const SlabHandle& h) { return h == owners[0]; })) {
    deliver_group(owners[0], std::span(datagrams_).first(count));
  } else {
    // One call per socket, its datagrams in order of arrival; at most count passes over count handles.
    for (std::size_t first = 0; first < count; ++first) {
      const SlabHandle owner = std::exchange(owners[first], SlabHandle{});
      if (owner == SlabHandle{}) continue;  // generation 0: already delivered
      std::size_t n = 0;
      group_[n++] = std::move(datagrams_[first]);
      for (std::size_t i = first + 1; i < count; ++i) {
        if (owners[i] != owner) continue;
        owners[i] = {};
        group_[n++] = std::move(datagrams_[i]);
      }
      deliver_group(owner, std::span(group_).first(n));
    }
  }
  delivering_ = false;
}

void Udp::deliver_group(SlabHandle owner, std::span<Datagram> group) noexcept {
  if (const Socket* const socket = sockets_.find(owner)) {
    counters_.add(Counter::udp_in_datagrams, group.size());
    socket->handler->on_datagrams(UdpSocket(this, owner), group);  // may close the socket
  } else {  // closed by a handler earlier in this delivery
    counters_.drop(DropReason::udp_no_socket, group.size());
  }
  for (Datagram& datagram : group) datagram.data.reset();
}

DropReason Udp::icmp_error(const IcmpError& error) noexcept {
  const QuotedPacket& quoted = error.quoted;
  // RFC 1122 4.1.3.3, 4.1.4: to the socket that sent it, which is one of ours only if the source is.
  if (!ip_.is_local(quoted.source)) return DropReason::icmp_no_match;
  const std::uint32_t index = find(quoted.source_port, quoted.source);
  if (index == Slab<Socket>::nil) return DropReason::icmp_no_match;
  sockets_[index].handler->on_error(UdpSocket(this, sockets_.handle(index)),
                                    {quoted.destination, quoted.destination_port}, error_of(error.problem));
  return DropReason::none;
}

}  // namespace pollux
