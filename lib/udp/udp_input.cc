// From IP to the sockets' handlers.
#include <algorithm>
#include <utility>

#include "pollux/packet/checksum.h"
#include "pollux/udp/udp.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/udp.h"

namespace pollux {
namespace {

constexpr std::size_t coalesce_scan_max = 8;           // deliveries searched for the flow of a datagram
constexpr std::uint32_t coalesced_octets_max = 65535;  // of one delivery, as one IP packet could hold

bool has_good_checksum(const RxPacket& packet, const UdpView& udp) noexcept {
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
      return UdpError::time_exceeded;
    case IcmpProblem::parameter_problem:
    case IcmpProblem::other:
      break;
  }
  return UdpError::other;
}

}  // namespace

void Udp::input(RxPacket packet, TimePoint now) noexcept {
  POLLUX_DCHECK(!delivering_);
  const bool wanted_elsewhere = packet.to_group && ip_.has_remote_members() && ip_.copy_to_members(packet);
  take(packet, now, wanted_elsewhere);
}

void Udp::take(RxPacket& packet, TimePoint now, bool wanted_elsewhere) noexcept {
  if (const DropReason reason = accept(packet, now); reason != DropReason::none) [[unlikely]] {
    const bool nobody_here = reason == DropReason::udp_no_socket || reason == DropReason::udp_not_joined;
    if (!(wanted_elsewhere && nobody_here)) count(reason);
  }
  if (gathered_ == datagrams_per_call_max) deliver();
}

void Udp::count(DropReason reason) noexcept {
  counters_.drop(reason);
  if (reason == DropReason::udp_no_socket)
    counters_.add(Counter::udp_no_ports);
  else if (reason != DropReason::udp_not_joined)
    counters_.add(Counter::udp_in_errors);
  if (reason == DropReason::udp_bad_checksum) counters_.add(Counter::udp_in_csum_errors);
  if (reason == DropReason::udp_receive_buffer_full) counters_.add(Counter::udp_rcvbuf_errors);
}

DropReason Udp::accept(RxPacket& in, TimePoint now) noexcept {
  const auto udp = UdpView::parse(in.packet.front(), in.packet.size());
  if (!udp) return udp.error();
  if (in.to_group && shared_count_ != 0) [[unlikely]]
    return accept_shared(in, *udp, now);
  const IpAddress& group = in.destination;
  const std::uint32_t index =
      find_receiver(udp->destination_port(), in.destination, {in.source, udp->source_port()});
  if (udp->has_checksum()) [[likely]] {
    if (!has_good_checksum(in, *udp)) return DropReason::udp_bad_checksum;
  } else if (!in.source.is_v4() && (index == Slab<Socket>::nil || !sockets_[index].options.zero_checksum6)) {
    // RFC 768: over IPv4 a sender may leave the checksum out. RFC 8200 8.1: over IPv6 it must not, unless the
    // receiver has been told to expect it.
    return DropReason::udp_no_checksum;
  }
  if (index == Slab<Socket>::nil) {
    // RFC 1122 4.1.3.1: port unreachable; Ip keeps silent about groups and floods.
    ip_.send_unreachable(in, UnreachableCode::port, now);
    return DropReason::udp_no_socket;
  }
  if (in.to_group && group.is_multicast() &&
      !ip_.is_wanted(sockets_.handle(index), in.interface, group, in.source))
    return DropReason::udp_not_joined;
  return hand_to(index, in, *udp, now);
}

// Each of several sockets hears what is sent to a group: all but the last a copy.
DropReason Udp::accept_shared(RxPacket& in, const UdpView& udp, TimePoint now) noexcept {
  if (udp.has_checksum() && !has_good_checksum(in, udp)) return DropReason::udp_bad_checksum;
  Receivers receivers;
  const std::size_t found = find_receivers(in, udp.destination_port(), receivers);
  if (found == 0)
    return find(udp.destination_port(), in.destination) == Slab<Socket>::nil ? DropReason::udp_no_socket
                                                                             : DropReason::udp_not_joined;
  for (std::size_t i = 0; i < found; ++i) {
    if (gathered_ == datagrams_per_call_max) deliver();
    if (find(receivers[i]) == nullptr) continue;  // closed by a handler
    const std::uint32_t index = receivers[i].index;
    DropReason reason = DropReason::none;
    if (!udp.has_checksum() && !in.source.is_v4() && !sockets_[index].options.zero_checksum6) {
      reason = DropReason::udp_no_checksum;  // RFC 8200 8.1
    } else if (i + 1 == found) {
      return hand_to(index, in, udp, now);
    } else {
      RxPacket copy = {.source = in.source,
                       .destination = in.destination,
                       .interface = in.interface,
                       .protocol = in.protocol,
                       .ttl = in.ttl,
                       .tos = in.tos,
                       .ip_header_length = in.ip_header_length,
                       .to_group = true};
      copy.packet = pool_.copy_of(in.packet, in.ip_header_length);
      if (copy.packet) copy.packet.pull_front(in.ip_header_length);
      reason = copy.packet ? hand_to(index, copy, udp, now) : DropReason::no_mbuf;
    }
    if (reason != DropReason::none) count(reason);
  }
  return DropReason::none;
}

// The applications of this core keep more than their share, and this may be kept too: receive_buffer counts octets, but the
// pool is made of mbufs.
[[gnu::cold, gnu::noinline]] void Udp::compact(Packet& payload) noexcept {
  constexpr std::uint32_t small = 4;  // fills less than a fourth of its mbufs
  if (payload.size() > payload.segment_count() * pool_.room() / small) return;
  if (pool_.clones_available() < pool_.clones_size() / 4) return;  // the rest is for sending
  Packet copy = compactor_.copy_of(pool_, payload);
  if (!copy) return;
  counters_.add(Counter::udp_kept_copied);
  payload = std::move(copy);
}

DropReason Udp::hand_to(std::uint32_t index, RxPacket& in, const UdpView& udp, TimePoint now) noexcept {
  Socket& socket = sockets_[index];
  if (socket.options.filter != nullptr && !passes(*socket.options.filter, in))
    return DropReason::udp_filtered;
  const auto length = static_cast<std::uint32_t>(udp.length());
  const std::uint32_t octets = length - std::uint32_t{UdpView::header_size};
  if (socket.options.receive_buffer != 0 && socket.kept + octets > socket.options.receive_buffer) [[unlikely]]
    return DropReason::udp_receive_buffer_full;
  Datagram& datagram = datagrams_[gathered_];
  datagram.remote = {in.source, udp.source_port()};
  datagram.local = {in.destination, udp.destination_port()};
  if (in.packet.size() > length) in.packet.trim_to(length);
  in.packet.pull_front(UdpView::header_size);
  if (octets == 0) in.packet.reset();
  socket.kept += octets;
  const SlabHandle owner = sockets_.handle(index);
  datagram.interface = in.interface;
  datagram.ttl = in.ttl;
  datagram.tos = in.tos;
  datagram.segment_size = 0;
  datagram.received = now;
  if (in.packet && ledger_.mbufs >= kept_max_) [[unlikely]] compact(in.packet);
  if (socket.options.coalesce && octets != 0 && coalesce(owner, datagram, in.packet)) return DropReason::none;
  if (in.packet) ledger_.mbufs += in.packet.segment_count();
  datagram.data = Bytes(std::move(in.packet), &ledger_, owner);
  owners_[gathered_] = owner;
  ++gathered_;
  return DropReason::none;
}

bool Udp::owns(const RxPacket& packet) const noexcept {
  const ByteView header = packet.packet.front();
  if (header.size() < 4) return true;  // input() says what is wrong with it
  const IpAddress& local = packet.destination;
  if (packet.to_group) {
    Receivers receivers;
    if (ip_.is_wanted_elsewhere(packet) || find_receivers(packet, load_be16(&header[2]), receivers) != 0)
      return true;
  }
  const std::uint32_t index =
      find_receiver(load_be16(&header[2]), local, {packet.source, load_be16(&header[0])});
  return index != Slab<Socket>::nil &&
         (!packet.to_group || !local.is_multicast() ||
          ip_.is_wanted(sockets_.handle(index), packet.interface, local, packet.source));
}

void Udp::deliver_looped(TimePoint now) noexcept {
  // Handlers may send to groups while these are delivered.
  std::array<RxPacket, looped_max> taken;
  const std::size_t count = std::exchange(looped_count_, 0);
  std::move(looped_.begin(), looped_.begin() + static_cast<std::ptrdiff_t>(count), taken.begin());
  for (std::size_t i = 0; i < count; ++i) take(taken[i], now, ip_.is_wanted_elsewhere(taken[i]));
  deliver();
}

// The filter sees the packet from its IP header on, which still lies in front.
bool Udp::passes(const SocketFilter& filter, RxPacket& in) noexcept {
  rte_mbuf& m = *in.packet.mbuf();
  const std::uint16_t header = in.ip_header_length;
  m.data_off = static_cast<std::uint16_t>(m.data_off - header);
  m.data_len = static_cast<std::uint16_t>(m.data_len + header);
  m.pkt_len += header;
  const bool accepted = filter.accepts(m);
  in.packet.pull_front(header);
  return accepted;
}

// Appends `payload` to what has gathered of its flow, if that may grow: as long as datagrams have one size, a
// smaller one ends it, and neither the flow's order nor its header fields change.
bool Udp::coalesce(SlabHandle owner, const Datagram& datagram, Packet& payload) noexcept {
  const std::size_t oldest = gathered_ - std::min(gathered_, coalesce_scan_max);
  for (std::size_t i = gathered_; i-- > oldest;) {
    Datagram& last = datagrams_[i];
    if (owners_[i] != owner || last.remote != datagram.remote || last.local != datagram.local) continue;
    const std::uint32_t size = last.data.size();
    const std::uint32_t segment = last.segment_size != 0 ? last.segment_size : size;
    if (size == 0 || payload.size() > segment || size % segment != 0 || last.ttl != datagram.ttl ||
        last.tos != datagram.tos || last.interface != datagram.interface ||
        size / segment >= UdpSocket::segments_max || size + payload.size() > coalesced_octets_max)
      return false;
    const std::uint32_t more = payload.segment_count();
    Packet whole = last.data.detach();
    const bool chained = whole.chain(payload);
    if (chained) ledger_.mbufs += more;
    last.data = Bytes(std::move(whole), &ledger_, owner);
    if (chained) last.segment_size = static_cast<std::uint16_t>(segment);
    return chained;
  }
  return false;
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
  if (const Socket* const socket = find(owner)) {
    std::uint64_t count = 0;
    for (const Datagram& datagram : group) count += datagram.count();
    counters_.add(Counter::udp_in_datagrams, count);
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
  // A connected socket hears of its own peer only.
  const Endpoint remote{quoted.destination, quoted.destination_port};
  const std::uint32_t index = find_receiver(quoted.source_port, quoted.source, remote);
  if (index == Slab<Socket>::nil) return DropReason::icmp_no_match;
  if (error.problem == IcmpProblem::packet_too_big)
    if (const DropReason reason = ip_.learn_path_mtu(error); reason != DropReason::none) return reason;
  sockets_[index].handler->on_error(UdpSocket(this, sockets_.handle(index)), remote, error_of(error.problem));
  return DropReason::none;
}

}  // namespace pollux
