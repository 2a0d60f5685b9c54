// Packets beyond the MTU that may be cut (RFC 791 3.2, RFC 8200 4.5): their header is made once, for the
// whole; a packet that waits for a neighbour's address waits whole, and its fragments leave together.
#include <rte_ip_frag.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "pollux/ip/ip.h"
#include "pollux/ip/prepend.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

constexpr std::uint32_t ethernet_size = EthernetFields::size;
constexpr std::uint32_t length_max = 65535;  // IPv4: of the packet; IPv6: of the payload
constexpr std::size_t fragments_max = 128;   // of 65,515 octets over 552, the least that is cut to

std::uint32_t piece_size(bool v4, std::uint32_t mtu) noexcept {
  const std::uint32_t headers =
      v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size + Ipv6FragmentFields::size};
  return (mtu - headers) & ~7u;
}

}  // namespace

std::uint32_t Ip::fragment_count(const IpAddress& destination, std::uint32_t payload,
                                 InterfaceId id) const noexcept {
  const bool v4 = destination.is_v4();
  const std::uint32_t header = v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size};
  const std::uint32_t largest = path_mtu(destination, id);
  if (payload + header <= largest) return 1;
  const std::uint32_t size = piece_size(v4, largest);
  return (payload + size - 1) / size;
}

/// RFC 6864 4.3, RFC 7739 5.3: counters that start at random and are shared by few destinations, so that
/// neither do identifications repeat soon nor tell one destination what another is sent.
std::uint32_t Ip::next_identification(const IpAddress& destination) noexcept {
  std::uint64_t half[2];
  std::memcpy(half, destination.octets().data(), sizeof half);
  const std::uint64_t h =
      ((half[0] * 0x9e3779b97f4a7c15u) ^ half[1] ^ identification_seed_) * 0xbf58476d1ce4e5b9u;
  const std::uint32_t next = identifications_[(h >> 56) % identifications_.size()]++;
  // Cores share addresses but no counters: each has a share of the numbers.
  const std::uint64_t share =
      (destination.is_v4() ? std::uint64_t{1} << 16 : std::uint64_t{1} << 32) / cores_;
  return static_cast<std::uint32_t>(core_ * share + next % share);
}

DropReason Ip::learn_path_mtu(const IcmpError& error) noexcept {
  const IpAddress& destination = error.quoted.destination;
  const bool v4 = destination.is_v4();
  const std::uint32_t size = believable_path_mtu(v4, error.mtu, error.quoted.length);
  if (size == 0) return DropReason::icmp_implausible_mtu;
  // RFC 1191 3, RFC 8201 4: never raised by an ICMP error.
  const PathMtuTable::Path* const known = paths_.find(destination, now_);
  if (known != nullptr && known->mtu < size) return DropReason::none;
  const bool smaller = error.mtu != 0 && error.mtu < path_mtu_floor(v4);
  paths_.set(destination, static_cast<std::uint16_t>(size), smaller, now_);
  counters_.add(Counter::path_mtu_lowered);
  return DropReason::none;
}

DropReason Ip::send_fragmented(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept {
  counters_.add(send.destination.is_v4() ? Counter::ip_out_requests : Counter::ip6_out_requests);
  if (cache.generation != route_generation_)
    if (const DropReason reason = find_next_hop(send.destination, cache, now); reason != DropReason::none)
      return drop(reason);
  return send_oversized(std::move(packet), send, cache, now);
}

DropReason Ip::send_oversized(Packet packet, const IpSend& send, const RouteCache& cache,
                              TimePoint now) noexcept {
  const bool v4 = send.destination.is_v4();
  const std::uint32_t payload = packet.size();
  const std::uint32_t header_size = v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size};
  const auto fail = [&](DropReason reason) {
    counters_.add(v4 ? Counter::ip_frag_fails : Counter::ip6_frag_fails);
    return drop(reason);
  };
  if (!send.may_fragment || (v4 ? payload + header_size : payload) > length_max)
    return fail(DropReason::ip_too_big);
  // The checksum that a NIC adds would be that of one fragment.
  POLLUX_DCHECK((packet.mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) == 0);
  std::uint8_t* const headers = prepend_header(pool_, packet, ethernet_size + header_size);
  if (headers == nullptr) return fail(DropReason::no_mbuf);
  packet.mbuf()->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  if (v4) {
    Ipv4Fields{.tos = send.tos,
               .total_length = static_cast<std::uint16_t>(payload + header_size),
               .dont_fragment = false,
               .ttl = send.ttl,
               .protocol = send.protocol,
               .source = send.source,
               .destination = send.destination}
        .emit(headers + ethernet_size);
  } else {
    Ipv6Fields{.traffic_class = send.tos,
               .payload_length = static_cast<std::uint16_t>(payload),
               .next_header = send.protocol,
               .hop_limit = send.ttl,
               .source = send.source,
               .destination = send.destination}
        .emit(headers + ethernet_size);
  }
  return send_unconfirmed(neighbors_[cache.neighbor], std::move(packet), now);
}

DropReason Ip::transmit_whole_or_cut(Interface& port, Packet packet) noexcept {
  if (must_be_cut(port, packet)) [[unlikely]]
    return transmit_fragments(port, std::move(packet));
  return transmit(port, std::move(packet));
}

bool Ip::must_be_cut(const Interface& port, const Packet& packet) const noexcept {
  const std::uint8_t* const ip = packet.data() + ethernet_size;
  const bool v4 = ip[0] >> 4 == 4;
  const std::uint32_t size = packet.size() - ethernet_size;
  if (size > port.mtu(v4)) return true;
  // Nothing that was to stay whole left send_oversized(): DF says so over IPv4. Over IPv6 TCP never is cut,
  // nor what has its checksum added on the way out.
  if (v4) return (ip[6] & 0x40) == 0;
  if (!paths_.in_use(now_)) [[likely]]
    return false;
  return ip[6] != static_cast<std::uint8_t>(IpProtocol::tcp) &&
         (packet.mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK) == 0 &&
         size > path_mtu(IpAddress::v6_from_wire(ip + 24), port.id);
}

/// `packet` starts with an Ethernet and an IPv4 header without options, or an IPv6 header alone. Its octets are not copied:
/// rte_ip_frag makes an mbuf of headers for each fragment, and refers to them behind it.
DropReason Ip::transmit_fragments(Interface& port, Packet packet) noexcept {
  std::array<std::uint8_t, ethernet_size> ethernet;
  std::memcpy(ethernet.data(), packet.data(), ethernet_size);
  packet.pull_front(ethernet_size);
  const bool v4 = packet.data()[0] >> 4 == 4;
  const auto fail = [&](DropReason reason) {
    counters_.add(v4 ? Counter::ip_frag_fails : Counter::ip6_frag_fails);
    return reason;
  };
  const IpAddress destination =
      v4 ? IpAddress::v4_from_wire(packet.data() + 16) : IpAddress::v6_from_wire(packet.data() + 24);
  const std::uint16_t mtu = path_mtu(destination, port.id);
  const std::uint32_t ip_size = v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size};
  const std::uint32_t size = piece_size(v4, mtu);
  const auto wanted = static_cast<std::uint16_t>((packet.size() - ip_size + size - 1) / size);
  std::array<rte_mbuf*, fragments_max> fragments;
  POLLUX_DCHECK(wanted <= fragments.size());
  if (port.tx.room() < wanted) return fail(drop(DropReason::tx_batch_full));

  const std::uint32_t identification = next_identification(destination);
  if (v4) store_be16(packet.data() + 4, static_cast<std::uint16_t>(identification));
  const int made =
      v4 ? rte_ipv4_fragment_packet(packet.mbuf(), fragments.data(), wanted, mtu, pool_.data_mempool(), pool_.clone_mempool())
         : rte_ipv6_fragment_packet(packet.mbuf(), fragments.data(), wanted, mtu, pool_.data_mempool(), pool_.clone_mempool());
  if (made < 0) return fail(drop(DropReason::no_mbuf));
  packet.reset();  // the fragments keep what they refer to
  DropReason result = DropReason::none;
  for (int i = 0; i < made; ++i) {
    Packet piece(fragments[static_cast<std::size_t>(i)]);
    if (result != DropReason::none) continue;  // a datagram without one of its fragments is of no use
    std::uint8_t* const ip = piece.data();
    if (v4) {
      ChecksumSum sum;  // left at 0 for us
      sum.add({ip, ip_size});
      store_be16(ip + 10, sum.finish());
    } else {
      store_be32(ip + ip_size + 4, identification);  // rte_ip_frag's is always 0
    }
    std::memcpy(piece.push_front(ethernet_size), ethernet.data(), ethernet_size);
    piece.mbuf()->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
    result = transmit(port, std::move(piece));
    if (result == DropReason::none) counters_.add(v4 ? Counter::ip_frag_creates : Counter::ip6_frag_creates);
  }
  if (result != DropReason::none) return fail(result);
  counters_.add(v4 ? Counter::ip_frag_oks : Counter::ip6_frag_oks);
  return DropReason::none;
}

}  // namespace pollux
