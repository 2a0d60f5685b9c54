#include "pollux/wire/icmp_error.h"

#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"

namespace pollux {
namespace {

constexpr std::size_t transport_size = 8;

Parsed<QuotedPacket> with_ports(QuotedPacket packet, const std::uint8_t* transport) noexcept {
  packet.source_port = load_be16(transport);
  packet.destination_port = load_be16(transport + 2);
  packet.tcp_sequence = load_be32(transport + 4);
  return packet;
}

}  // namespace

Parsed<QuotedPacket> QuotedPacket::parse(ByteView quoted) noexcept {
  // RFC 792: the internet header plus the first 64 bits of the original datagram's data.
  if (quoted.size() < Ipv4View::header_size_min) return reject(DropReason::icmp_truncated);
  const std::size_t header_length = static_cast<std::size_t>(quoted[0] & 0x0f) * 4;
  if (quoted[0] >> 4 != 4 || header_length < Ipv4View::header_size_min)
    return reject(DropReason::icmp_no_match);
  if (quoted.size() < header_length + transport_size) return reject(DropReason::icmp_truncated);
  // Behind a later fragment's header lie no ports.
  if ((load_be16(&quoted[6]) & 0x1fff) != 0) return reject(DropReason::icmp_no_match);
  return with_ports({.protocol = quoted[9],
                     .source = IpAddress::v4_from_wire(&quoted[12]),
                     .destination = IpAddress::v4_from_wire(&quoted[16]),
                     .length = load_be16(&quoted[2])},
                    quoted.data() + header_length);
}

Parsed<QuotedPacket> QuotedPacket::parse_v6(ByteView quoted) noexcept {
  if (quoted.size() < Ipv6View::header_size) return reject(DropReason::icmp_truncated);
  // What is quoted may end anywhere, so the length that the header states counts as present.
  const auto view = Ipv6View::parse(quoted, Ipv6View::header_size + 0xffff);
  if (!view) return reject(DropReason::icmp_no_match);
  const Ipv6Chain chain = Ipv6Chain::walk(quoted, quoted.size(), *view);
  if (chain.reason == DropReason::ip_truncated) return reject(DropReason::icmp_truncated);
  if (chain.reason != DropReason::none) return reject(DropReason::icmp_no_match);
  if (chain.fragment && chain.fragment->offset != 0) return reject(DropReason::icmp_no_match);
  if (quoted.size() < chain.header_length + transport_size) return reject(DropReason::icmp_truncated);
  return with_ports(
      {.protocol = chain.protocol,
       .source = view->source(),
       .destination = view->destination(),
       .length = std::uint32_t{Ipv6View::header_size} + load_be16(&quoted[4])},
      quoted.data() + chain.header_length);
}

}  // namespace pollux
