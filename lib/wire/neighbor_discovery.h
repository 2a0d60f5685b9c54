// Neighbour discovery messages (RFC 4861 4) and their options.
#pragma once

#include <optional>

#include "pollux/wire/icmpv6.h"

namespace pollux {

/// A checked neighbour solicitation or advertisement (RFC 4861 7.1.1, 7.1.2 as far as the octets tell: code
/// 0, length, options of length > 0, a target that is no group). Hop limit and addresses are the caller's.
struct NeighborMessage {
  bool is_solicitation = false;
  IpAddress target;
  std::optional<MacAddress> link_address;  ///< source (solicitation) or target (advertisement) option
  bool router = false;                     ///< flags of an advertisement
  bool solicited = false;
  bool override_entry = false;

  /// `message` is the whole ICMPv6 message. Rejects with nd_malformed.
  static Parsed<NeighborMessage> parse(ByteView message) noexcept;

  static constexpr std::size_t size_max = 32;  ///< what emit() writes at most
  /// Writes the message with a zero checksum; returns its octets, 24 or (with link_address) 32.
  std::size_t emit(std::uint8_t* out) const noexcept;
};

/// One prefix of a router advertisement (RFC 4861 4.6.2), lifetimes in seconds, 0xffffffff: for ever.
struct AdvertisedPrefix {
  IpPrefix prefix;
  bool on_link = false;
  bool autonomous = false;
  std::uint32_t valid_s = 0;
  std::uint32_t preferred_s = 0;
};

/// A checked router advertisement (RFC 4861 4.2, 6.1.2).
struct RouterAdvertisement {
  static constexpr std::size_t prefixes_max = 4;  ///< further ones are ignored

  std::uint8_t hop_limit = 0;  ///< 0: unspecified
  std::uint16_t router_lifetime_s = 0;
  std::uint32_t mtu = 0;  ///< 0: not said
  std::optional<MacAddress> link_address;
  std::size_t prefix_count = 0;
  AdvertisedPrefix prefixes[prefixes_max];

  /// Rejects with nd_malformed.
  static Parsed<RouterAdvertisement> parse(ByteView message) noexcept;
};

/// A router solicitation (RFC 4861 4.1).
struct RouterSolicitation {
  static constexpr std::size_t size_max = 16;
  std::optional<MacAddress> link_address;
  /// Writes the message with a zero checksum; returns its octets, 8 or 16.
  std::size_t emit(std::uint8_t* out) const noexcept;
};

}  // namespace pollux
