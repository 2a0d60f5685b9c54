#include "pollux/drivers_glue/steering.h"

#include <bit>
#include <cstring>

#include "pollux/base/byte_order.h"
#include "pollux/base/check.h"
#include "pollux/wire/ethernet.h"

namespace pollux {
namespace {

constexpr std::uint16_t key_word = 0x6d5a;

/// Toeplitz: every set bit i of the input (from the left) adds the 32 key bits from i on. The key's period makes both
/// halves of the result equal, so 16 bits are enough.
constexpr std::uint16_t hash_word(std::uint16_t word) noexcept {
  std::uint16_t sum = 0;
  for (int i = 0; i < 16; ++i)
    if ((word >> (15 - i) & 1) != 0) sum ^= std::rotl(key_word, i);
  return sum;
}

struct HashTables {
  std::array<std::uint16_t, 256> high{};
  std::array<std::uint16_t, 256> low{};

  constexpr HashTables() noexcept {
    for (unsigned i = 0; i < 256; ++i) {
      high[i] = hash_word(static_cast<std::uint16_t>(i << 8));
      low[i] = hash_word(static_cast<std::uint16_t>(i));
    }
  }
};
constexpr HashTables tables;

std::uint16_t fold32(std::uint32_t words) noexcept {
  return static_cast<std::uint16_t>(words ^ words >> 16);
}

/// The exclusive or of the big-endian 16-bit words of `octets`, a multiple of 4.
std::uint16_t fold_octets(const std::uint8_t* octets, std::size_t size) noexcept {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < size; i += 4) {
    std::uint32_t word;
    std::memcpy(&word, octets + i, sizeof word);
    sum ^= word;
  }
  return __builtin_bswap16(fold32(sum));  // exclusive or does not care about the order of octets before the end
}

/// RFC 792: unreachable, source quench, redirect, time exceeded, parameter problem quote a packet.
bool quotes_a_packet(std::uint8_t icmp_type) noexcept {
  return icmp_type == 3 || icmp_type == 4 || icmp_type == 5 || icmp_type == 11 || icmp_type == 12;
}

/// A path that any core may send on, not that of one connection.
bool is_datagrams(std::uint8_t quoted_protocol) noexcept {
  return quoted_protocol != static_cast<std::uint8_t>(IpProtocol::tcp);
}

constexpr std::size_t icmp_header = 8;
constexpr std::size_t ipv6_header = 40;
constexpr std::uint8_t ipv6_hop_by_hop = 0;
constexpr std::uint8_t ipv6_routing = 43;
constexpr std::uint8_t ipv6_fragment = 44;
constexpr std::uint8_t ipv6_destination = 60;
constexpr int extensions_max = 4;  // headers that are looked behind

std::uint16_t own_port(const std::uint8_t* ports, bool quote) noexcept {
  return load_be16(quote ? ports : ports + 2);
}

/// The primary core speaks for groups and knows who has joined them, so all that goes to groups is its own.
FrameOwner group_owner(bool to_group, FrameOwner owner) noexcept {
  if (!to_group || owner.kind == FrameOwner::Kind::everyone) [[likely]]
    return owner;
  return {FrameOwner::Kind::quoted, Steering::primary_core, owner.hash};
}

}  // namespace

Steering::Steering(unsigned cores, std::uint32_t buckets, HashFields fields, ChosenUdpPorts udp_ports)
    : cores_(cores), mask_(buckets - 1), fields_(fields), udp_ports_(udp_ports) {
  POLLUX_CHECK(cores >= 1 && cores <= cores_max, "steering over %u cores", cores);
  POLLUX_CHECK(std::has_single_bit(buckets) && buckets >= 2 && buckets <= buckets_max, "%u buckets", buckets);
  for (std::uint32_t i = 0; i < buckets; ++i) owners_[i] = static_cast<std::uint16_t>(i % cores);
}

void Steering::fill_key(std::span<std::uint8_t> octets) noexcept {
  for (std::size_t i = 0; i < octets.size(); ++i)
    octets[i] = static_cast<std::uint8_t>(i % 2 == 0 ? key_word >> 8 : key_word);
}

std::uint32_t Steering::hash(std::uint16_t folded) noexcept {
  const std::uint32_t half = static_cast<std::uint32_t>(tables.high[folded >> 8] ^ tables.low[folded & 0xff]);
  return half << 16 | half;
}

std::uint16_t Steering::fold(const IpAddress& address) noexcept {
  return address.is_v4() ? fold_octets(address.v4_octets(), 4) : fold_octets(address.octets().data(), 16);
}

FrameOwner Steering::owned(FrameOwner::Kind kind, std::uint16_t folded) const noexcept {
  const std::uint32_t value = hash(folded);
  return {kind, owners_[value & mask_], value};
}

/// Of a UDP packet that is no fragment. Ours is its destination port; where an ICMP error quotes it, the source.
bool Steering::is_chosen(std::uint8_t protocol, const std::uint8_t* ports, bool quote) const noexcept {
  if (protocol != static_cast<std::uint8_t>(IpProtocol::udp)) [[likely]]
    return false;
  const std::uint16_t own = own_port(ports, quote);
  return udp_ports_.first != 0 && udp_ports_.first <= own && own <= udp_ports_.last;
}

FrameOwner Steering::owner_of_frame(std::span<const std::uint8_t> octets) const noexcept {
  constexpr std::size_t tag = 4;
  const std::uint8_t* data = octets.data();
  std::size_t size = octets.size();
  constexpr FrameOwner other{FrameOwner::Kind::other, primary_core, 0};
  for (int tags = 0; size >= EthernetView::header_size; ++tags) {
    const auto type = static_cast<EtherType>(load_be16(data + EthernetView::header_size - 2));
    const std::uint8_t* const network = data + EthernetView::header_size;
    const std::size_t left = size - EthernetView::header_size;
    if (type == EtherType::ipv4) [[likely]]
      return group_owner(left >= 20 && network[16] >> 4 == 0xe, ipv4_owner(network, left, FrameOwner::Kind::flow));
    if (type == EtherType::ipv6)
      return group_owner(left >= ipv6_header && network[24] == 0xff,
                         ipv6_owner(network, left, FrameOwner::Kind::flow));
    if (type == EtherType::arp) return {FrameOwner::Kind::everyone, primary_core, 0};
    if ((type != EtherType::vlan && type != EtherType::qinq) || tags == 2) return other;
    data += tag;
    size -= tag;
  }
  return other;
}

FrameOwner Steering::ipv4_owner(const std::uint8_t* ip, std::size_t size, FrameOwner::Kind kind) const noexcept {
  if (size < Ipv4View::header_size_min) return {};
  const std::size_t header = static_cast<std::size_t>(ip[0] & 0x0f) * 4;
  std::uint16_t folded = fold_octets(ip + 12, 8);
  const std::uint8_t protocol = ip[9];
  const bool fragment = (load_be16(ip + 6) & 0x3fff) != 0;
  const bool quote = kind == FrameOwner::Kind::quoted;
  if (!fragment && size >= header + 4 && is_chosen(protocol, ip + header, quote)) [[unlikely]]
    return {FrameOwner::Kind::quoted, owner_of_udp_port(own_port(ip + header, quote)), 0};
  if (!fragment && hashes_ports(protocol) && size >= header + 4) [[likely]] {
    folded ^= fold_octets(ip + header, 4);
  } else if (!fragment && kind == FrameOwner::Kind::flow && protocol == static_cast<std::uint8_t>(IpProtocol::icmp) &&
             size > header + icmp_header && quotes_a_packet(ip[header])) {
    const bool too_big = ip[header] == 3 && ip[header + 1] == 4;  // RFC 1191 4
    if (too_big && size > header + icmp_header + 9 && is_datagrams(ip[header + icmp_header + 9]))
      return {FrameOwner::Kind::everyone, primary_core, 0};
    return ipv4_owner(ip + header + icmp_header, size - header - icmp_header, FrameOwner::Kind::quoted);
  }
  return owned(kind, folded);
}

FrameOwner Steering::ipv6_owner(const std::uint8_t* ip, std::size_t size, FrameOwner::Kind kind) const noexcept {
  if (size < ipv6_header) return {};
  const std::uint16_t addresses = fold_octets(ip + 8, 32);
  const bool quote = kind == FrameOwner::Kind::quoted;
  std::uint8_t next = ip[6];
  std::size_t at = ipv6_header;
  for (int i = 0; i < extensions_max && (next == ipv6_hop_by_hop || next == ipv6_routing || next == ipv6_destination);
       ++i) {
    if (size < at + 8) break;
    next = ip[at];
    at += (std::size_t{ip[at + 1]} + 1) * 8;
    kind = FrameOwner::Kind::quoted;  // cards differ on what they hash behind extension headers
  }
  if (next == ipv6_fragment) return owned(kind, addresses);
  if (size >= at + 4 && is_chosen(next, ip + at, quote)) [[unlikely]]
    return {FrameOwner::Kind::quoted, owner_of_udp_port(own_port(ip + at, quote)), 0};
  if (hashes_ports(next) && size >= at + 4)
    return owned(kind, static_cast<std::uint16_t>(addresses ^ fold_octets(ip + at, 4)));
  if (!quote && next == static_cast<std::uint8_t>(IpProtocol::icmpv6) && size >= at + 4) {
    // RFC 4861 4: router and neighbour discovery, redirects. RFC 4443 2.1: errors are below 128.
    if (ip[at] >= 133 && ip[at] <= 137) return {FrameOwner::Kind::everyone, primary_core, 0};
    if (ip[at] == 2 && size > at + icmp_header + 6 && is_datagrams(ip[at + icmp_header + 6]))  // RFC 8201 4
      return {FrameOwner::Kind::everyone, primary_core, 0};
    if (ip[at] < 128 && size > at + icmp_header)
      return ipv6_owner(ip + at + icmp_header, size - at - icmp_header, FrameOwner::Kind::quoted);
  }
  return owned(kind, addresses);
}

std::uint16_t Steering::owner_of_flow(IpProtocol protocol, const Endpoint& one,
                                      const Endpoint& other) const noexcept {
  auto folded = static_cast<std::uint16_t>(fold(one.address) ^ fold(other.address));
  if (hashes_ports(static_cast<std::uint8_t>(protocol))) folded ^= static_cast<std::uint16_t>(one.port ^ other.port);
  return owners_[hash(folded) & mask_];
}

}  // namespace pollux
