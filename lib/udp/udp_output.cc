// From the sockets to IP.
#include <algorithm>
#include <utility>

#include "pollux/ip/prepend.h"
#include "pollux/packet/checksum.h"
#include "pollux/udp/udp.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"
#include "pollux/wire/udp.h"

namespace pollux {
namespace {

constexpr std::uint32_t ip_length_max = 65535;  // of an IPv4 packet; of an IPv6 payload
constexpr std::uint32_t lower_headers_size = EthernetFields::size + Ipv6Fields::size;  // the larger family's

// Octets of headers within the MTU.
std::uint32_t overhead(bool v4) noexcept {
  return UdpFields::size + (v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size});
}

// Octets of payload that the largest datagram holds, in as many fragments as it takes.
std::uint32_t datagram_max(const Endpoint& remote) noexcept {
  return ip_length_max - (remote.address.is_v4() ? overhead(true) : std::uint32_t{UdpFields::size});
}

}  // namespace

SendStatus Udp::send_to(SlabHandle handle, const Endpoint& remote, Bytes&& data,
                        const Endpoint& local) noexcept {
  Socket* const socket = find(handle);
  if (socket == nullptr) return SendStatus::closed;
  if (socket->corked) [[unlikely]]
    return gather(*socket, remote, std::move(data), local);
  return send_now(*socket, remote, std::move(data), local);
}

SendStatus Udp::send_now(Socket& socket, const Endpoint& remote, Bytes&& data,
                         const Endpoint& local) noexcept {
  Source source;
  if (const SendStatus status = choose_source(socket, remote, local, source); status != SendStatus::ok)
    return status;
  if (data.size() > datagram_max(remote)) return SendStatus::too_large;
  const InterfaceId port = socket.route.interface;
  std::uint32_t packets = 1;
  if (data.size() > payload_max(socket, remote)) [[unlikely]] {
    if (socket.options.dont_fragment) return SendStatus::too_large;
    packets = ip_.fragment_count(remote.address, data.size() + std::uint32_t{UdpFields::size}, port);
  }
  if (ip_.tx(port).room() < packets) return refuse(SendStatus::would_block);
  return transmit(socket, remote, source, std::move(data));
}

// Octets of the largest datagram that leaves in one piece. The socket's route leads to `remote`.
std::uint32_t Udp::payload_max(const Socket& socket, const Endpoint& remote) const noexcept {
  return ip_.path_mtu(remote.address, socket.route.interface) - overhead(remote.address.is_v4());
}

SendStatus Udp::send_segmented(SlabHandle handle, const Endpoint& remote, Bytes&& data,
                               std::uint16_t segment_size, const Endpoint& local) noexcept {
  if (segment_size == 0 || data.size() <= segment_size)
    return send_to(handle, remote, std::move(data), local);
  Socket* const socket = find(handle);
  if (socket == nullptr) return SendStatus::closed;
  Source source;
  if (const SendStatus status = choose_source(*socket, remote, local, source); status != SendStatus::ok)
    return status;
  const std::uint32_t count = (data.size() + segment_size - 1) / segment_size;
  if (segment_size > payload_max(*socket, remote) || count > UdpSocket::segments_max)
    return SendStatus::too_large;
  if (socket->corked || ip_.tx(socket->route.interface).room() < count)
    return refuse(SendStatus::would_block);
  while (!data.empty()) {
    Bytes segment = data.split_front(pool_, std::min<std::uint32_t>(segment_size, data.size()));
    if (segment.empty()) return refuse(SendStatus::no_memory);
    // With an mbuf for its header at hand a segment goes, so that `data` is always what has not gone.
    Packet packet = add_header_room(segment);
    if (!packet) {
      give_back(data, std::move(segment));
      return refuse(SendStatus::no_memory);
    }
    transmit(*socket, remote, source, std::move(packet));
  }
  return SendStatus::ok;
}

// What was split off goes in front again. Chaining cannot fail: the whole was one chain before.
void Udp::give_back(Bytes& data, Bytes&& front) noexcept {
  Packet whole = front.take_packet();
  if (!data.empty()) {
    Packet rest = data.take_packet();
    const bool chained = whole.chain(rest);
    POLLUX_DCHECK(chained);
    (void)chained;
  }
  data = Bytes(std::move(whole));
}

SendStatus Udp::gather(Socket& socket, const Endpoint& remote, Bytes&& data, const Endpoint& local) noexcept {
  if (socket.gathered_to.port == 0) {
    Source source;
    if (const SendStatus status = choose_source(socket, remote, local, source); status != SendStatus::ok)
      return status;
    if (data.size() > datagram_max(remote)) return SendStatus::too_large;
    socket.gathered_to = remote;
    socket.gathered_from = local;
    socket.gathered = Bytes(data.take_packet());
    return SendStatus::ok;
  }
  if (const SendStatus status = choose_route(socket, socket.gathered_to.address); status != SendStatus::ok)
    return status;
  if (socket.gathered.size() + data.size() > datagram_max(socket.gathered_to)) return SendStatus::too_large;
  if (data.empty()) return SendStatus::ok;
  if (!socket.gathered.empty()) give_back(data, std::move(socket.gathered));
  socket.gathered = Bytes(data.take_packet());
  return SendStatus::ok;
}

SendStatus Udp::uncork(SlabHandle handle) noexcept {
  Socket* const socket = find(handle);
  if (socket == nullptr) return SendStatus::closed;
  if (socket->corked && socket->gathered_to.port != 0) {
    const SendStatus status =
        send_now(*socket, socket->gathered_to, std::move(socket->gathered), socket->gathered_from);
    if (status != SendStatus::ok) return status;
    socket->gathered_to = {};
  }
  socket->corked = false;
  return SendStatus::ok;
}

SendStatus Udp::refuse(SendStatus status) noexcept {
  counters_.add(Counter::udp_sndbuf_errors);
  return status;
}

SendStatus Udp::transmit(Socket& socket, const Endpoint& remote, const Source& source,
                         Bytes&& data) noexcept {
  Packet packet = add_header_room(data);
  if (!packet) return refuse(SendStatus::no_memory);
  transmit(socket, remote, source, std::move(packet));
  return SendStatus::ok;
}

// `packet`: the payload behind room for the UDP header.
void Udp::transmit(Socket& socket, const Endpoint& remote, const Source& source, Packet packet) noexcept {
  const UdpSocketOptions& options = socket.options;
  const auto length = static_cast<std::uint16_t>(packet.size());
  const bool v4 = remote.address.is_v4();
  UdpFields fields{.source_port = source.port, .destination_port = remote.port, .length = length};
  const auto protocol = static_cast<std::uint8_t>(IpProtocol::udp);
  // RFC 768: a sender may leave the checksum out. RFC 6935 5: over IPv6 only where both ends agreed to.
  const bool summed = options.send_checksum || !(v4 || options.zero_checksum6);
  // By IP: the NIC sees no whole datagram.
  const bool cut = !ip_.leaves_whole(remote.address, length, socket.route.interface);
  if (summed && !cut && ip_.offloads(socket.route.interface).udp_checksum) {
    // The NIC adds the rest to the pseudo-header's sum in the field.
    ChecksumSum sum;
    sum.add_pseudo_header(source.address, remote.address, protocol, length);
    fields.checksum = sum.folded();
    fields.emit(packet.data());
    packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    packet.mbuf()->l4_len = UdpFields::size;
  } else {
    fields.emit(packet.data());
    if (summed) {
      ChecksumSum sum = sum_chain(packet.mbuf(), 0, length);
      sum.add_pseudo_header(source.address, remote.address, protocol, length);
      fields.checksum = sum.finish() == 0 ? 0xffff : sum.finish();  // RFC 768: 0 would mean "none"
      fields.emit(packet.data());
    }
  }
  counters_.add(Counter::udp_out_datagrams);
  const IpSend send{.source = source.address,
                    .destination = remote.address,
                    .protocol = protocol,
                    .ttl = remote.address.is_multicast() ? options.multicast_ttl
                           : options.ttl != 0            ? options.ttl
                                                         : ip_.ttl(),
                    .tos = options.tos,
                    .may_fragment = true};
  if (remote.address.is_multicast()) [[unlikely]] {
    if (options.multicast_loop) loop_back(packet, send, socket.route.interface);
    if (send.ttl == 0) return;  // RFC 1112 6.1: not beyond this host
  }
  // What IP drops from here on (no ARP answer, say) it counts; a datagram was never promised to arrive.
  if (cut) [[unlikely]]
    (void)ip_.send_fragmented(std::move(packet), send, socket.route, ip_.now());
  else if (v4) [[likely]]
    (void)ip_.send_v4(std::move(packet), send, socket.route, ip_.now());
  else
    (void)ip_.send_v6(std::move(packet), send, socket.route, ip_.now());
}

// A copy for the sockets that have joined, this core's and others', as if it had come through the port: RFC 1112 6.1.
// `packet` begins at the UDP header.
void Udp::loop_back(const Packet& packet, const IpSend& send, InterfaceId interface) noexcept {
  const bool here = ip_.is_member(interface, send.destination);
  const bool elsewhere = ip_.may_be_heard_elsewhere(interface, send.destination);
  if (!here && !elsewhere) return;
  const bool v4 = send.destination.is_v4();
  const std::uint32_t header = v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size};
  Packet copy = pool_.copy_of(packet);
  if (!copy) return counters_.drop(DropReason::no_mbuf);
  std::uint8_t* const ethernet = copy.push_front(EthernetFields::size + header);
  POLLUX_DCHECK(ethernet != nullptr);  // a fresh mbuf's headroom
  const MacAddress& mac = ip_.interface(interface).mac;
  EthernetFields{.destination = group_mac(send.destination), .source = mac, .type = v4 ? EtherType::ipv4 : EtherType::ipv6}
      .emit(ethernet);
  std::uint8_t* const ip = ethernet + EthernetFields::size;
  const auto length = static_cast<std::uint16_t>(packet.size());
  if (v4)
    Ipv4Fields{.tos = send.tos,
               .total_length = static_cast<std::uint16_t>(header + length),
               .ttl = send.ttl,
               .protocol = send.protocol,
               .source = send.source,
               .destination = send.destination}
        .emit(ip);
  else
    Ipv6Fields{.traffic_class = send.tos,
               .payload_length = length,
               .next_header = send.protocol,
               .hop_limit = send.ttl,
               .source = send.source,
               .destination = send.destination}
        .emit(ip);
  copy.pull_front(EthernetFields::size + header);
  copy.mbuf()->ol_flags |=
      RTE_MBUF_F_RX_L4_CKSUM_GOOD;  // it never left: a checksum left to the port is not there yet
  RxPacket looped = {.packet = std::move(copy),
                              .source = send.source,
                              .destination = send.destination,
                              .interface = interface,
                              .protocol = send.protocol,
                              .ttl = send.ttl,
                              .tos = send.tos,
                              .ip_header_length = static_cast<std::uint16_t>(header),
                              .to_group = true};
  if (elsewhere) ip_.share_own(looped);
  if (!here) return;
  if (looped_count_ == looped_max) return counters_.drop(DropReason::udp_loopback_full);
  looped_[looped_count_++] = std::move(looped);
}

SendStatus Udp::choose_route(Socket& socket, const IpAddress& remote) noexcept {
  if (socket.route.generation == ip_.route_generation() && socket.route_to == remote) [[likely]]
    return SendStatus::ok;
  const auto chosen = ip_.source_for(remote);
  if (!chosen || !ip_.resolve(remote, socket.route, ip_.now())) {
    socket.route = {};
    return SendStatus::no_route;
  }
  socket.route_to = remote;
  socket.route_source = *chosen;
  return SendStatus::ok;
}

SendStatus Udp::choose_source(Socket& socket, const Endpoint& remote, const Endpoint& local,
                              Source& source) noexcept {
  if (remote.port == 0) return SendStatus::no_route;
  if (const SendStatus status = choose_route(socket, remote.address); status != SendStatus::ok) return status;
  // RFC 1122 4.1.3.5: the application's choice, else the socket's, else the route's. A reply to a datagram
  // that came to a group takes the route's, as a group is no source.
  const bool no_source = socket.address.is_unspecified() || socket.address.is_multicast();
  source = {.address = no_source ? socket.route_source : socket.address, .port = socket.port};
  if (source.address.is_v4() != remote.address.is_v4()) return SendStatus::no_route;
  if (local.port != 0) {
    if (local.port < socket.port || local.port > socket.port_last) return SendStatus::no_route;
    source.port = local.port;
  }
  if (!local.address.is_unspecified() && !ip_.is_group(local.address)) {
    if (local.address.is_v4() != remote.address.is_v4() || !ip_.is_local(local.address) ||
        (!no_source && local.address != socket.address))
      return SendStatus::no_route;
    source.address = local.address;
  }
  return SendStatus::ok;
}

// The datagram with room for its header in front: in the payload's own mbuf when it is ours alone and has
// room for all headers, else in a fresh mbuf. Null, with `data` untouched, when the pool is exhausted.
Packet Udp::add_header_room(Bytes& data) noexcept {
  if (!data.empty()) {
    const rte_mbuf* const head = data.packet().mbuf();
    if (Packet::is_writable(head) && rte_pktmbuf_headroom(head) >= lower_headers_size + UdpFields::size) {
      Packet packet = data.take_packet();
      // Nothing of the buffer's earlier life (reception, or another transmission) may reach the driver.
      packet.mbuf()->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
      packet.push_front(UdpFields::size);
      return packet;
    }
  }
  Packet packet = pool_.alloc();
  if (!packet || packet.push_back(UdpFields::size) == nullptr) return Packet();
  if (!data.empty()) {
    Packet payload = data.take_packet();
    const bool chained = packet.chain(payload);
    POLLUX_DCHECK(chained);  // fewer octets than segments allowed
    (void)chained;
  }
  return packet;
}

}  // namespace pollux
