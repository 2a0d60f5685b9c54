// MAC and IP addresses as values. An IpAddress holds IPv6 or IPv4 (as ::ffff:a.b.c.d, RFC 4291 2.5.5.2), so
// that keys and APIs are the same for both families.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>

#include "pollux/base/byte_order.h"

namespace pollux {

struct MacAddress {
  std::array<std::uint8_t, 6> octets{};

  auto operator<=>(const MacAddress&) const noexcept = default;
  constexpr bool is_group() const noexcept { return (octets[0] & 1) != 0; }  // multicast or broadcast
  constexpr bool is_zero() const noexcept { return *this == MacAddress{}; }
  constexpr bool is_broadcast() const noexcept { return *this == broadcast(); }
  static constexpr MacAddress broadcast() noexcept { return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  /// "aa:bb:cc:dd:ee:ff"; anything else is nullopt.
  static std::optional<MacAddress> from_string(std::string_view text) noexcept;
  std::string to_string() const;
};

class IpAddress {
 public:
  /// The unspecified IPv4 address, 0.0.0.0: "any" in listen and bind calls.
  constexpr IpAddress() noexcept = default;
  /// From host byte order: v4(0x7f000001) is 127.0.0.1.
  static constexpr IpAddress v4(std::uint32_t host_order) noexcept {
    IpAddress a;
    for (int i = 0; i < 4; ++i) a.octets_[12 + i] = static_cast<std::uint8_t>(host_order >> (24 - 8 * i));
    return a;
  }
  static constexpr IpAddress v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) noexcept {
    return v4(std::uint32_t{a} << 24 | std::uint32_t{b} << 16 | std::uint32_t{c} << 8 | d);
  }
  /// From 4 octets in network order, as they lie in memory. Two stores, and none overlaps another: what reads one of them next
  /// need not wait.
  static IpAddress v4_from_word(std::uint32_t octets) noexcept {
    static_assert(std::endian::native == std::endian::little, "octet 10 of 16 is bits 16 to 23 of the second word");
    const std::array<std::uint64_t, 2> words = {0, std::uint64_t{octets} << 32 | 0xffff0000u};
    IpAddress a;
    a.octets_ = std::bit_cast<std::array<std::uint8_t, 16>>(words);
    return a;
  }
  /// From 4 octets in network order.
  static IpAddress v4_from_wire(const std::uint8_t* octets) noexcept {
    std::uint32_t value;
    std::memcpy(&value, octets, 4);
    return v4_from_word(value);
  }
  /// From 16 octets in network order. Octets of the form ::ffff:a.b.c.d give the IPv4 address a.b.c.d, so a
  /// packet's parser refuses them first (they name no host on a wire, RFC 4291 2.5.5.2).
  static IpAddress v6_from_wire(const std::uint8_t* octets) noexcept {
    IpAddress a;
    std::memcpy(a.octets_.data(), octets, 16);
    return a;
  }
  /// From eight 16-bit groups: v6(0xfe80, 0, 0, 0, 0, 0, 0, 1) is fe80::1.
  static constexpr IpAddress v6(std::uint16_t a, std::uint16_t b, std::uint16_t c, std::uint16_t d,
                                std::uint16_t e, std::uint16_t f, std::uint16_t g, std::uint16_t h) noexcept {
    IpAddress address;
    const std::uint16_t groups[8] = {a, b, c, d, e, f, g, h};
    for (std::size_t i = 0; i < 8; ++i) {
      address.octets_[2 * i] = static_cast<std::uint8_t>(groups[i] >> 8);
      address.octets_[2 * i + 1] = static_cast<std::uint8_t>(groups[i]);
    }
    return address;
  }
  /// The link-local address whose interface identifier is `mac`'s modified EUI-64 (RFC 4291 appendix A).
  static IpAddress v6_link_local(const MacAddress& mac) noexcept;
  /// The first 64 bits of this address and `mac`'s interface identifier behind them (RFC 4862 5.5.3 d).
  IpAddress with_interface_id(const MacAddress& mac) const noexcept;
  /// The solicited-node group ff02::1:ffXX:XXXX of an IPv6 address (RFC 4291 2.7.1).
  IpAddress solicited_node() const noexcept;
  /// Dotted quad, or RFC 5952 text for IPv6; anything else is nullopt.
  static std::optional<IpAddress> from_string(std::string_view text) noexcept;
  std::string to_string() const;

  bool operator==(const IpAddress& other) const noexcept {
    return std::memcmp(&octets_, &other.octets_, 16) == 0;
  }
  std::strong_ordering operator<=>(const IpAddress& other) const noexcept {
    return std::memcmp(&octets_, &other.octets_, 16) <=> 0;
  }

  bool is_v4() const noexcept {
    static constexpr std::uint8_t prefix[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
    return std::memcmp(octets_.data(), prefix, 12) == 0;
  }
  /// Host byte order; only for IPv4.
  std::uint32_t v4_value() const noexcept { return load_be32(&octets_[12]); }
  /// What v4_from_word() takes; only for IPv4.
  std::uint32_t v4_word() const noexcept {
    std::uint32_t octets;
    std::memcpy(&octets, &octets_[12], 4);
    return octets;
  }
  /// The 4 octets in network order; only for IPv4.
  const std::uint8_t* v4_octets() const noexcept { return &octets_[12]; }
  const std::array<std::uint8_t, 16>& octets() const noexcept { return octets_; }

  /// 0.0.0.0 or ::
  bool is_unspecified() const noexcept {
    return is_v4() ? v4_value() == 0 : octets_ == std::array<std::uint8_t, 16>{};
  }
  bool is_multicast() const noexcept { return is_v4() ? (v4_value() >> 28) == 0xe : octets_[0] == 0xff; }
  /// fe80::/10 or 169.254/16: means something on one link only.
  bool is_link_local() const noexcept {
    return is_v4() ? v4_value() >> 16 == 0xa9fe : octets_[0] == 0xfe && (octets_[1] & 0xc0) == 0x80;
  }
  /// How many leading bits two addresses of one family have in common, 0..32 or 0..128.
  std::uint8_t common_prefix_length(const IpAddress& other) const noexcept;
  bool is_loopback() const noexcept;
  /// 255.255.255.255 (a subnet's directed broadcast is the interface's knowledge, not the address's).
  bool is_limited_broadcast() const noexcept { return is_v4() && v4_value() == 0xffffffffu; }

 private:
  std::array<std::uint8_t, 16> octets_{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0};
};

/// ::, the source of who has no address yet (RFC 4291 2.5.2).
inline constexpr IpAddress v6_unspecified = IpAddress::v6(0, 0, 0, 0, 0, 0, 0, 0);
/// ff02::1 and ff02::2, everybody and every router on a link (RFC 4291 2.7.1); ff02::16, MLDv2 routers.
inline constexpr IpAddress v6_all_nodes = IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 1);
inline constexpr IpAddress v6_all_routers = IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 2);
inline constexpr IpAddress v6_mld_routers = IpAddress::v6(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

/// The Ethernet address of an IP multicast group (RFC 1112 6.4, RFC 2464 7).
inline MacAddress group_mac(const IpAddress& group) noexcept {
  const auto& o = group.octets();
  if (!group.is_v4()) return {{0x33, 0x33, o[12], o[13], o[14], o[15]}};
  return {{0x01, 0x00, 0x5e, static_cast<std::uint8_t>(o[13] & 0x7f), o[14], o[15]}};
}

/// An address and a port in host byte order.
struct Endpoint {
  IpAddress address;
  std::uint16_t port = 0;

  bool operator==(const Endpoint&) const noexcept = default;
  /// "192.0.2.1:7" or "[2001:db8::1]:7".
  std::string to_string() const;
};

/// A network prefix, host bits ignored: "192.0.2.0/24", "2001:db8::/32".
struct IpPrefix {
  IpAddress address;
  std::uint8_t length = 0;  ///< 0..32 for IPv4, 0..128 for IPv6

  bool contains(const IpAddress& other) const noexcept;
  /// Address, "/", length; nullopt when malformed. Host bits are kept in `address`.
  static std::optional<IpPrefix> from_string(std::string_view text) noexcept;
  std::string to_string() const;
};

}  // namespace pollux
