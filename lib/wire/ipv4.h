// IPv4 header (RFC 791, checks of RFC 1122 3.2.1).
#pragma once

#include "pollux/wire/address.h"
#include "pollux/wire/checksum.h"
#include "pollux/wire/parsed.h"

namespace pollux {

enum class IpProtocol : std::uint8_t { icmp = 1, igmp = 2, tcp = 6, udp = 17, icmpv6 = 58 };

/// A checked IPv4 header: version 4, IHL within the bytes, total length within the packet, options walkable.
class Ipv4View {
 public:
  static constexpr std::size_t header_size_min = 20;
  static constexpr std::size_t header_size_max = 60;

  /// `bytes`: the first contiguous piece from the IP header on. `packet_length`: octets of the whole packet
  /// from there (chain length); padding behind total length is allowed. `checksum_known_good`: the NIC has
  /// verified the header checksum. Options are walked for legal lengths and source routes, not interpreted.
  static Parsed<Ipv4View> parse(ByteView bytes, std::size_t packet_length, bool checksum_known_good) noexcept;

  std::size_t header_length() const noexcept { return static_cast<std::size_t>(data_[0] & 0x0f) * 4; }
  std::uint8_t tos() const noexcept { return data_[1]; }
  std::size_t total_length() const noexcept { return load_be16(data_ + 2); }
  std::uint16_t identification() const noexcept { return load_be16(data_ + 4); }
  bool dont_fragment() const noexcept { return (data_[6] & 0x40) != 0; }
  bool more_fragments() const noexcept { return (data_[6] & 0x20) != 0; }
  /// In octets.
  std::size_t fragment_offset() const noexcept {
    return static_cast<std::size_t>(load_be16(data_ + 6) & 0x1fff) * 8;
  }
  bool is_fragment() const noexcept { return (load_be16(data_ + 6) & 0x3fff) != 0; }
  std::uint8_t ttl() const noexcept { return data_[8]; }
  std::uint8_t protocol() const noexcept { return data_[9]; }
  IpAddress source() const noexcept { return IpAddress::v4_from_wire(data_ + 12); }
  IpAddress destination() const noexcept { return IpAddress::v4_from_wire(data_ + 16); }

 private:
  explicit Ipv4View(const std::uint8_t* data) noexcept : data_(data) {}
  const std::uint8_t* data_;
};

struct Ipv4Fields {
  static constexpr std::size_t size = 20;
  std::uint8_t tos = 0;
  std::uint16_t total_length = 0;
  std::uint16_t identification = 0;
  bool dont_fragment = true;
  bool more_fragments = false;
  std::uint16_t fragment_offset = 0;  // octets, a multiple of 8
  std::uint8_t ttl = 64;
  std::uint8_t protocol = 0;
  IpAddress source;
  IpAddress destination;

  /// Writes 20 octets with a right checksum, or a zero checksum field when the NIC fills it in.
  void emit(std::uint8_t* out, bool checksum_by_nic = false) const noexcept {
    const std::uint32_t first = 0x45000000u | std::uint32_t{tos} << 16 | total_length;
    const std::uint32_t second = std::uint32_t{identification} << 16 | (dont_fragment ? 0x4000u : 0) |
                                 (more_fragments ? 0x2000u : 0) | fragment_offset / 8u;
    std::uint32_t third = std::uint32_t{ttl} << 24 | std::uint32_t{protocol} << 16;
    if (!checksum_by_nic) {
      ChecksumSum sum;
      sum.add_u32(first);
      sum.add_u32(second);
      sum.add_u32(third);
      sum.add_u32(source.v4_value());
      sum.add_u32(destination.v4_value());
      third |= sum.finish();
    }
    store_be32(out, first);
    store_be32(out + 4, second);
    store_be32(out + 8, third);
    std::memcpy(out + 12, source.v4_octets(), 4);
    std::memcpy(out + 16, destination.v4_octets(), 4);
  }
};

}  // namespace pollux
