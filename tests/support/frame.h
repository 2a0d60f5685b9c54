// Frames as plain octets, encoded and decoded independently of lib/wire, so that a mistake there cannot hide
// behind the same mistake here. The encoder can also lie: wrong checksums, offsets, raw options.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/wire/address.h"

namespace pollux::test {

using Frame = std::vector<std::uint8_t>;
using FrameView = std::span<const std::uint8_t>;

/// TCP control bits as tests write them: peer.sends(SYN | ACK).
inline constexpr std::uint8_t FIN = 0x01, SYN = 0x02, RST = 0x04, PSH = 0x08, ACK = 0x10, URG = 0x20,
                              ECE = 0x40, CWR = 0x80;

inline constexpr std::uint8_t proto_icmp = 1, proto_tcp = 6, proto_udp = 17, proto_icmpv6 = 58;

/// The one's complement sum of RFC 1071 over `bytes`, continuing from `sum`; fold with checksum_of().
std::uint32_t checksum_add(FrameView bytes, std::uint32_t sum = 0);
/// The folded, complemented value: 0 over data that carries a right checksum.
std::uint16_t checksum_of(std::uint32_t sum);

struct LinkIds {
  MacAddress source_mac;
  MacAddress destination_mac;
  IpAddress source;
  IpAddress destination;
};

struct Ipv4Header {
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint16_t id = 0;
  std::uint16_t fragment = 0x4000;         ///< flags and offset field; DF by default
  std::vector<std::uint8_t> options = {};  ///< a multiple of 4
  bool bad_checksum = false;
};

/// Ethernet + IPv4 around `payload`. Over IPv6 addresses all functions here build an IPv6 packet instead:
/// `ttl` is its hop limit, `tos` its traffic class, and the other fields have no meaning there.
Frame ipv4_frame(const LinkIds& ids, std::uint8_t protocol, FrameView payload, const Ipv4Header& header = {});

struct Ipv6Header {
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;
  Frame extensions = {};                             ///< as they lie on the wire, between header and payload
  std::optional<std::uint8_t> first_header = {};     ///< next header of the fixed one; default: the protocol
  std::optional<std::uint16_t> payload_length = {};  ///< default: the true one
};
Frame ipv6_frame(const LinkIds& ids, std::uint8_t protocol, FrameView payload, const Ipv6Header& header = {});
/// With a right checksum; `rest` is octets 4..7.
Frame icmpv6_message(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                     FrameView body);
Frame icmpv6_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                   FrameView body, std::uint8_t hop_limit = 64);
/// A neighbour solicitation (135) or advertisement (136): `flags` is R, S, O from 0x80 down, `mac` the
/// link-layer address option.
Frame nd_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t flags, const IpAddress& target,
               const std::optional<MacAddress>& mac, std::uint8_t hop_limit = 255);

enum class ArpOp : std::uint16_t { request = 1, reply = 2 };
/// ids.destination_mac is the target hardware address; requests are broadcast.
Frame arp_frame(const LinkIds& ids, ArpOp op);

/// A TCP header in absolute numbers, with room for lies.
struct TcpHeader {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 65535;
  std::uint16_t urgent_pointer = 0;
  std::vector<std::uint8_t> options = {};        ///< padded with zeros to a multiple of 4
  std::optional<std::uint8_t> data_offset = {};  ///< in words; default: the true one
  bool bad_checksum = false;
};
Frame tcp_frame(const LinkIds& ids, const TcpHeader& header, FrameView payload, const Ipv4Header& ip = {});

Frame udp_frame(const LinkIds& ids, std::uint16_t source_port, std::uint16_t destination_port,
                FrameView payload, bool bad_checksum = false);
/// `body` follows the first 8 octets; `rest` is octets 4..7 of the header.
Frame icmp_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                 FrameView body);

/// What a frame says, everything in host byte order.
struct Decoded {
  enum class Kind : std::uint8_t { arp, tcp, udp, icmp, icmpv6, other };

  Kind kind = Kind::other;
  std::string problem;  ///< empty when lengths and checksums are right

  LinkIds ids;  ///< for ARP: sender and target
  std::uint8_t ttl = 0;
  std::uint8_t tos = 0;
  std::uint16_t ip_length = 0;  ///< of the packet, its IP header included
  bool is_fragment = false;
  ArpOp arp_op = ArpOp::request;

  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  std::uint8_t flags = 0;
  std::uint16_t window = 0;
  std::uint16_t urgent_pointer = 0;
  std::size_t options_length = 0;
  std::optional<std::uint16_t> mss;
  std::optional<std::uint8_t> window_scale;
  std::optional<std::uint32_t> ts_value;
  std::uint32_t ts_echo = 0;
  bool sack_permitted = false;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> sacks;  ///< left edge, right edge
  std::vector<std::uint8_t> payload;                           ///< of TCP, UDP; for ICMP what follows octet 8

  std::uint8_t icmp_type = 0;
  std::uint8_t icmp_code = 0;
  std::uint32_t icmp_rest = 0;
  IpAddress nd_target;                    ///< of neighbour discovery messages
  std::optional<MacAddress> nd_mac = {};  ///< their link-layer address option

  bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
  /// Sequence space the segment takes: payload, SYN and FIN.
  std::uint32_t seq_length() const {
    return static_cast<std::uint32_t>(payload.size()) + (has(SYN) ? 1u : 0u) + (has(FIN) ? 1u : 0u);
  }
};
Decoded decode(FrameView frame);

/// "S.": the flags as tcpdump writes them.
std::string flags_text(std::uint8_t flags);
/// One line as tcpdump prints it; numbers are absolute.
std::string describe(FrameView frame);

}  // namespace pollux::test
