// ICMP for IPv6 (RFC 4443).
#pragma once

#include "pollux/wire/icmp_error.h"

namespace pollux {

enum class Icmpv6Type : std::uint8_t {
  destination_unreachable = 1,
  packet_too_big = 2,
  time_exceeded = 3,
  parameter_problem = 4,
  echo_request = 128,
  echo_reply = 129,
  listener_query = 130,  // RFC 2710, RFC 3810
  router_solicitation = 133,
  router_advertisement = 134,
  neighbor_solicitation = 135,
  neighbor_advertisement = 136,
  redirect = 137,
  listener_report_v2 = 143,
};

/// RFC 4443 3.1 and 3.4.
inline constexpr std::uint8_t icmpv6_port_unreachable = 4;
inline constexpr std::uint8_t icmpv6_unknown_next_header = 1;
inline constexpr std::uint8_t icmpv6_incomplete_header_chain = 3;  ///< RFC 7112 5

/// A checked ICMPv6 header. The checksum covers the whole (possibly chained) message and a pseudo-header, so
/// the caller verifies it and passes only checked messages here.
class Icmpv6View {
 public:
  static constexpr std::size_t header_size = 8;
  static Parsed<Icmpv6View> parse(ByteView bytes) noexcept {
    if (bytes.size() < header_size) return reject(DropReason::icmp_truncated);
    return Icmpv6View(bytes);
  }
  Icmpv6Type type() const noexcept { return static_cast<Icmpv6Type>(bytes_[0]); }
  std::uint8_t code() const noexcept { return bytes_[1]; }
  /// Octets 4..7: MTU of packet_too_big, pointer of parameter_problem, id and sequence of an echo.
  std::uint32_t rest() const noexcept { return load_be32(&bytes_[4]); }
  /// RFC 4443 2.1: types below 128 are errors.
  bool is_error() const noexcept { return bytes_[0] < 128; }
  /// What an error means; `other` for everything without a meaning to a transport.
  IcmpProblem problem() const noexcept;
  /// The message behind its first 8 octets: what an error quotes, the data of an echo.
  ByteView body() const noexcept { return bytes_.subspan(header_size); }

 private:
  explicit Icmpv6View(ByteView bytes) noexcept : bytes_(bytes) {}
  ByteView bytes_;
};

struct Icmpv6Fields {
  static constexpr std::size_t size = 8;
  Icmpv6Type type = Icmpv6Type::echo_reply;
  std::uint8_t code = 0;
  std::uint32_t rest = 0;

  /// Writes 8 octets with a zero checksum; the caller stores the checksum over the pseudo-header and the
  /// whole message at offset 2.
  void emit(std::uint8_t* out) const noexcept {
    out[0] = static_cast<std::uint8_t>(type);
    out[1] = code;
    store_be16(out + 2, 0);
    store_be32(out + 4, rest);
  }
};

}  // namespace pollux
