#include "pollux/wire/icmpv4.h"

#include "pollux/wire/ipv4.h"

namespace pollux {

bool Icmpv4View::is_error() const noexcept {
  // RFC 1122 3.2.2: the error messages among the ICMP types.
  switch (type()) {
    case Icmpv4Type::destination_unreachable:
    case Icmpv4Type::source_quench:
    case Icmpv4Type::redirect:
    case Icmpv4Type::time_exceeded:
    case Icmpv4Type::parameter_problem:
      return true;
    case Icmpv4Type::echo_reply:
    case Icmpv4Type::echo_request:
      break;
  }
  return false;
}

Parsed<QuotedPacket> QuotedPacket::parse(ByteView quoted) noexcept {
  // RFC 792: the internet header plus the first 64 bits of the original datagram's data.
  constexpr std::size_t transport_size = 8;
  if (quoted.size() < Ipv4View::header_size_min) return reject(DropReason::icmp_truncated);
  const std::size_t header_length = static_cast<std::size_t>(quoted[0] & 0x0f) * 4;
  if (quoted[0] >> 4 != 4 || header_length < Ipv4View::header_size_min)
    return reject(DropReason::icmp_no_match);
  if (quoted.size() < header_length + transport_size) return reject(DropReason::icmp_truncated);
  // Behind a later fragment's header lie no ports.
  if ((load_be16(&quoted[6]) & 0x1fff) != 0) return reject(DropReason::icmp_no_match);
  const std::uint8_t* transport = quoted.data() + header_length;
  return QuotedPacket{.protocol = quoted[9],
                      .source = IpAddress::v4_from_wire(&quoted[12]),
                      .destination = IpAddress::v4_from_wire(&quoted[16]),
                      .source_port = load_be16(transport),
                      .destination_port = load_be16(transport + 2),
                      .tcp_sequence = load_be32(transport + 4)};
}

void Icmpv4Fields::emit(std::uint8_t* out) const noexcept {
  out[0] = static_cast<std::uint8_t>(type);
  out[1] = code;
  store_be16(out + 2, 0);
  store_be32(out + 4, rest);
}

}  // namespace pollux
