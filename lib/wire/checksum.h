// The Internet checksum (RFC 1071): partial sums that add up over pieces, folded once at the end.
#pragma once

#include <cstdint>
#include <span>

#include "pollux/wire/address.h"

namespace pollux {

/// A running one's complement sum. The order of the pieces does not matter; where a piece starts in the
/// checksummed data does: a chain that breaks at an odd octet continues with add_at_odd_offset. Two different
/// sums of the same data fold to the same value.
class ChecksumSum {
 public:
  constexpr ChecksumSum() noexcept = default;
  /// Adds `bytes`, which start at an even offset of the checksummed data. An odd last octet is padded by 0.
  void add(std::span<const std::uint8_t> bytes) noexcept {
    const std::uint8_t* p = bytes.data();
    std::size_t left = bytes.size();
    if (left >= bulk_size) {
      const std::size_t bulk = left / bulk_size * bulk_size;
      accumulate(sum_bulk(p, bulk));
      p += bulk;
      left -= bulk;
    }
    for (; left >= 8; p += 8, left -= 8) accumulate(load<std::uint64_t>(p));
    if (left >= 4) {
      accumulate(load<std::uint32_t>(p));
      p += 4;
      left -= 4;
    }
    if (left >= 2) {
      accumulate(load<std::uint16_t>(p));
      p += 2;
      left -= 2;
    }
    if (left != 0) accumulate(*p);
  }
  /// Adds another sum, of octets that start at an even offset.
  constexpr void add(const ChecksumSum& piece) noexcept { accumulate(piece.sum_); }
  /// Adds the sum of a piece that starts at an odd offset.
  void add_at_odd_offset(std::span<const std::uint8_t> bytes) noexcept {
    // RFC 1071 2 (B): the sum of octet-swapped words is the octet-swapped sum.
    ChecksumSum piece;
    piece.add(bytes);
    accumulate(__builtin_bswap16(fold(piece.sum_)));
  }
  /// Adds one 16-bit field given in host byte order.
  constexpr void add_u16(std::uint16_t host_order) noexcept { accumulate(__builtin_bswap16(host_order)); }
  constexpr void add_u32(std::uint32_t host_order) noexcept { accumulate(__builtin_bswap32(host_order)); }
  /// Adds the pseudo-header of TCP or UDP over IPv4 (RFC 9293 3.1) or IPv6 (RFC 8200 8.1). `length`: octets
  /// of transport header plus payload. Both addresses are of one family.
  void add_pseudo_header(const IpAddress& src, const IpAddress& dst, std::uint8_t protocol,
                         std::uint32_t length) noexcept {
    if (src.is_v4()) {
      accumulate(load<std::uint32_t>(src.v4_octets()));
      accumulate(load<std::uint32_t>(dst.v4_octets()));
    } else {
      add(src.octets());
      add(dst.octets());
    }
    add_u16(protocol);
    add_u32(length);
  }
  /// The folded sum, not complemented, in host byte order: 0xffff for data that carries a right checksum.
  constexpr std::uint16_t folded() const noexcept { return __builtin_bswap16(fold(sum_)); }
  /// The checksum field's value in host byte order (store it with store_be16).
  constexpr std::uint16_t finish() const noexcept { return static_cast<std::uint16_t>(~folded()); }

 private:
  static constexpr std::size_t bulk_size = 32;

  template <typename Word>
  static Word load(const std::uint8_t* from) noexcept {
    Word word;
    std::memcpy(&word, from, sizeof word);
    return word;
  }
  /// Adds with end-around carry: the sum stays right modulo 2^64 - 1, of which 2^16 - 1 is a divisor.
  constexpr void accumulate(std::uint64_t words) noexcept {
    sum_ += words;
    sum_ += sum_ < words;
  }
  static constexpr std::uint16_t fold(std::uint64_t sum) noexcept {
    sum = (sum & 0xffffffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16 & 0xffffu) + (sum >> 32);
    sum = (sum & 0xffffu) + (sum >> 16);
    return static_cast<std::uint16_t>((sum & 0xffffu) + (sum >> 16));
  }
  /// Sum with end-around carry of `size` octets, a multiple of bulk_size.
  static std::uint64_t sum_bulk(const std::uint8_t* from, std::size_t size) noexcept;

  std::uint64_t sum_ = 0;  // of words as loaded on a little-endian host; RFC 1071 2 (B): folded() swaps once
};

/// True when `bytes`, checksum field included, sums to 0xffff.
inline bool checksum_ok(std::span<const std::uint8_t> bytes) noexcept {
  ChecksumSum sum;
  sum.add(bytes);
  return sum.folded() == 0xffff;
}

}  // namespace pollux
