// From the sockets to IP.
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

constexpr std::uint8_t multicast_ttl = 1;  // RFC 1112 6.1: unless the application asks for more
constexpr std::uint32_t lower_headers_size = EthernetFields::size + Ipv6Fields::size;  // the larger family's

// Octets of headers within the MTU.
std::uint32_t overhead(bool v4) noexcept {
  return UdpFields::size + (v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size});
}

}  // namespace

SendStatus UdpSocket::send_to(const Endpoint& remote, Bytes&& data, IpAddress local) noexcept {
  return udp_ == nullptr ? SendStatus::closed : udp_->send_to(handle_, remote, std::move(data), local);
}

SendStatus UdpSocket::send_to(const Endpoint& remote, std::span<const std::uint8_t> data,
                              IpAddress local) noexcept {
  if (!is_open()) return SendStatus::closed;
  if (data.size() > 0xffff) return SendStatus::too_large;
  Bytes bytes = Bytes::copy_of(udp_->pool_, data);
  if (bytes.size() != data.size()) return SendStatus::no_memory;
  return udp_->send_to(handle_, remote, std::move(bytes), local);
}

SendStatus UdpSocket::send_to(const Endpoint& remote, std::string_view data, IpAddress local) noexcept {
  return send_to(remote, std::span(reinterpret_cast<const std::uint8_t*>(data.data()), data.size()), local);
}

SendStatus Udp::send_to(SlabHandle handle, const Endpoint& remote, Bytes&& data,
                        const IpAddress& local) noexcept {
  Socket* const socket = sockets_.find(handle);
  if (socket == nullptr) return SendStatus::closed;
  if (remote.port == 0) return SendStatus::no_route;
  IpAddress source;
  if (const SendStatus status = choose_route(*socket, remote.address, local, source);
      status != SendStatus::ok)
    return status;
  const InterfaceId port = socket->route.interface;
  const bool v4 = remote.address.is_v4();
  if (data.size() + overhead(v4) > ip_.mtu(port)) return SendStatus::too_large;
  if (ip_.tx(port).room() == 0) return SendStatus::would_block;

  const auto length = static_cast<std::uint16_t>(data.size() + UdpFields::size);
  Packet packet = add_header_room(data);
  if (!packet) return SendStatus::no_memory;
  UdpFields fields{.source_port = socket->port, .destination_port = remote.port, .length = length};
  const auto protocol = static_cast<std::uint8_t>(IpProtocol::udp);
  if (ip_.offloads(port).udp_checksum) {  // the NIC adds the rest to the pseudo-header's sum in the field
    ChecksumSum sum;
    sum.add_pseudo_header(source, remote.address, protocol, length);
    fields.checksum = sum.folded();
    fields.emit(packet.data());
    packet.mbuf()->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM;
    packet.mbuf()->l4_len = UdpFields::size;
  } else {
    fields.emit(packet.data());
    ChecksumSum sum = sum_chain(packet.mbuf(), 0, length);
    sum.add_pseudo_header(source, remote.address, protocol, length);
    fields.checksum = sum.finish() == 0 ? 0xffff : sum.finish();  // RFC 768: 0 would mean "none"
    fields.emit(packet.data());
  }
  counters_.add(Counter::udp_out_datagrams);
  const IpSend send{.source = source,
                    .destination = remote.address,
                    .protocol = protocol,
                    .ttl = remote.address.is_multicast() ? multicast_ttl : ip_.ttl()};
  // What IP drops from here on (no ARP answer, say) it counts; a datagram was never promised to arrive.
  if (v4) [[likely]]
    (void)ip_.send_v4(std::move(packet), send, socket->route, ip_.now());
  else
    (void)ip_.send_v6(std::move(packet), send, socket->route, ip_.now());
  return SendStatus::ok;
}

SendStatus Udp::choose_route(Socket& socket, const IpAddress& remote, const IpAddress& local,
                             IpAddress& source) noexcept {
  if (socket.route.generation != ip_.route_generation() || socket.route_to != remote) {
    const auto chosen = ip_.source_for(remote);
    if (!chosen || !ip_.resolve(remote, socket.route, ip_.now())) {
      socket.route = {};
      return SendStatus::no_route;
    }
    socket.route_to = remote;
    socket.route_source = *chosen;
  }
  // RFC 1122 4.1.3.5: the application's choice, else the socket's, else the route's. A reply to a datagram
  // that came to a group takes the route's, as a group is no source.
  source = socket.address.is_unspecified() ? socket.route_source : socket.address;
  if (source.is_v4() != remote.is_v4()) return SendStatus::no_route;
  if (!local.is_unspecified() && !ip_.is_group(local)) {
    if (local.is_v4() != remote.is_v4() || !ip_.is_local(local) ||
        (!socket.address.is_unspecified() && local != socket.address))
      return SendStatus::no_route;
    source = local;
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
