// The Internet checksum (RFC 1071): partial sums that add up over pieces, folded once at the end.
#pragma once

#include <cstdint>
#include <span>

#include "pollux/wire/address.h"

namespace pollux {

/// A running one's complement sum in network byte order terms. Pieces must be added at even offsets, except
/// the last; use `add_odd` bookkeeping in the caller (packet/checksum) when a chain breaks at an odd octet.
class ChecksumSum {
 public:
  constexpr ChecksumSum() noexcept = default;
  /// Adds `bytes`, which start at an even offset of the checksummed data. An odd last octet is padded by 0.
  void add(std::span<const std::uint8_t> bytes) noexcept;
  /// Adds the sum of a piece that starts at an odd offset.
  void add_at_odd_offset(std::span<const std::uint8_t> bytes) noexcept;
  /// Adds one 16-bit field given in host byte order.
  constexpr void add_u16(std::uint16_t host_order) noexcept { sum_ += static_cast<std::uint16_t>(host_order << 8 | host_order >> 8); }
  constexpr void add_u32(std::uint32_t host_order) noexcept {
    add_u16(static_cast<std::uint16_t>(host_order >> 16));
    add_u16(static_cast<std::uint16_t>(host_order));
  }
  /// Adds the pseudo-header of TCP or UDP over IPv4 (RFC 9293 3.1) or IPv6 (RFC 8200 8.1).
  void add_pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol,
                         std::uint32_t length) noexcept;
  /// The folded sum, not complemented, in host byte order: 0xffff for data that carries a right checksum.
  std::uint16_t folded() const noexcept;
  /// The checksum field's value in host byte order (store it with store_be16).
  std::uint16_t finish() const noexcept { return static_cast<std::uint16_t>(~folded()); }

 private:
  std::uint64_t sum_ = 0;  // of 16-bit words as loaded on a little-endian host; byte order is undone in folded()
};

/// True when `bytes`, checksum field included, sums to 0xffff.
bool checksum_ok(std::span<const std::uint8_t> bytes) noexcept;

}  // namespace pollux
