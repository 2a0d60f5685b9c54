// Ethernet II and 802.1Q framing.
#pragma once

#include "pollux/wire/address.h"
#include "pollux/wire/parsed.h"

namespace pollux {

enum class EtherType : std::uint16_t {
  ipv4 = 0x0800,
  arp = 0x0806,
  vlan = 0x8100,
  ipv6 = 0x86dd,
  between_cores = 0x88b5,  ///< IEEE 802's local experimental one; never on a wire, see lib/ip/core_groups.cc
  qinq = 0x88a8
};

/// A checked Ethernet header. Valid while the bytes it was parsed from live.
class EthernetView {
 public:
  static constexpr std::size_t header_size = 14;

  /// `bytes` is the frame's first contiguous piece, without FCS.
  static Parsed<EthernetView> parse(ByteView bytes) noexcept {
    if (bytes.size() < header_size) return reject(DropReason::eth_truncated);
    return EthernetView(bytes.data());
  }
  MacAddress destination() const noexcept { return mac_at(0); }
  MacAddress source() const noexcept { return mac_at(6); }
  /// The type field; values below 0x0600 are 802.3 lengths and match no EtherType.
  EtherType type() const noexcept { return static_cast<EtherType>(load_be16(data_ + 12)); }

 private:
  explicit EthernetView(const std::uint8_t* data) noexcept : data_(data) {}
  MacAddress mac_at(std::size_t offset) const noexcept {
    MacAddress mac;
    std::memcpy(mac.octets.data(), data_ + offset, 6);
    return mac;
  }
  const std::uint8_t* data_;
};

struct EthernetFields {
  static constexpr std::size_t size = EthernetView::header_size;
  MacAddress destination;
  MacAddress source;
  EtherType type = EtherType::ipv4;

  /// Writes 14 octets to `out` (at least that large).
  void emit(std::uint8_t* out) const noexcept {
    std::memcpy(out, destination.octets.data(), 6);
    std::memcpy(out + 6, source.octets.data(), 6);
    store_be16(out + 12, static_cast<std::uint16_t>(type));
  }
};

}  // namespace pollux
