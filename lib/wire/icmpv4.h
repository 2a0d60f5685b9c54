// ICMP for IPv4 (RFC 792, RFC 1122 3.2.2, RFC 1191).
#pragma once

#include "pollux/wire/address.h"
#include "pollux/wire/checksum.h"
#include "pollux/wire/icmp_error.h"
#include "pollux/wire/parsed.h"

namespace pollux {

enum class Icmpv4Type : std::uint8_t {
  echo_reply = 0,
  destination_unreachable = 3,
  source_quench = 4,
  redirect = 5,
  echo_request = 8,
  time_exceeded = 11,
  parameter_problem = 12,
};

/// Codes of destination_unreachable that the stack sends or tells apart.
enum class UnreachableCode : std::uint8_t {
  network = 0,
  host = 1,
  protocol = 2,
  port = 3,
  fragmentation_needed = 4,
  source_route_failed = 5,
};

/// A checked ICMP header. The message checksum covers the whole (possibly chained) message, so the caller
/// verifies it (packet/checksum.h) and passes only checked messages here.
class Icmpv4View {
 public:
  static constexpr std::size_t header_size = 8;
  static Parsed<Icmpv4View> parse(ByteView bytes) noexcept {
    if (bytes.size() < header_size) return reject(DropReason::icmp_truncated);
    return Icmpv4View(bytes);
  }
  Icmpv4Type type() const noexcept { return static_cast<Icmpv4Type>(bytes_[0]); }
  std::uint8_t code() const noexcept { return bytes_[1]; }
  std::uint16_t echo_id() const noexcept { return load_be16(&bytes_[4]); }
  std::uint16_t echo_sequence() const noexcept { return load_be16(&bytes_[6]); }
  /// Next-hop MTU of fragmentation_needed (RFC 1191 4), octets; 0 from old routers.
  std::uint16_t next_hop_mtu() const noexcept { return load_be16(&bytes_[6]); }
  bool is_error() const noexcept;
  /// What an error means; `other` for everything without a meaning to a transport.
  IcmpProblem problem() const noexcept;
  /// What an error quotes: the offending packet from its IP header on.
  ByteView quoted() const noexcept { return bytes_.subspan(header_size); }

 private:
  explicit Icmpv4View(ByteView bytes) noexcept : bytes_(bytes) {}
  ByteView bytes_;
};

struct Icmpv4Fields {
  static constexpr std::size_t size = 8;
  Icmpv4Type type = Icmpv4Type::echo_reply;
  std::uint8_t code = 0;
  std::uint32_t rest = 0;  // echo: id << 16 | sequence; fragmentation needed: MTU

  /// Writes 8 octets with a zero checksum; the caller stores the checksum over the whole message at offset 2.
  void emit(std::uint8_t* out) const noexcept;
};

}  // namespace pollux
