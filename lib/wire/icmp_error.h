// What an ICMP error of either family means to a transport, and the packet of ours that it quotes.
#pragma once

#include "pollux/wire/address.h"
#include "pollux/wire/parsed.h"

namespace pollux {

/// RFC 792, RFC 1122 3.2.2.1 and RFC 4443 3, as far as a transport tells them apart.
enum class IcmpProblem : std::uint8_t {
  network_unreachable,
  host_unreachable,
  protocol_unreachable,
  port_unreachable,
  packet_too_big,  ///< IPv4: fragmentation needed
  time_exceeded,
  parameter_problem,
  other,
};

/// The start of the packet that an ICMP error quotes: IP header plus at least 8 octets of the transport
/// header. Its length may exceed what is quoted, and its checksum is not verified.
struct QuotedPacket {
  std::uint8_t protocol = 0;
  IpAddress source;       // ours
  IpAddress destination;  // the peer's
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint32_t tcp_sequence = 0;  // meaningful for TCP only
  std::uint32_t length = 0;        // octets of the whole IP packet, as its header says

  /// Rejects what is cut too short (icmp_truncated) and what cannot be an IPv4 packet of ours with ports:
  /// another IP version, a later fragment (icmp_no_match).
  static Parsed<QuotedPacket> parse(ByteView quoted) noexcept;
  /// The same for an IPv6 packet.
  static Parsed<QuotedPacket> parse_v6(ByteView quoted) noexcept;
};

/// A verified ICMP error.
struct IcmpError {
  IcmpProblem problem = IcmpProblem::other;
  std::uint32_t mtu = 0;  ///< of packet_too_big: the next hop's, octets of IP packet
  QuotedPacket quoted;
};

}  // namespace pollux
