// IPv6 header and extension headers (RFC 8200).
#pragma once

#include <optional>

#include "pollux/wire/address.h"
#include "pollux/wire/parsed.h"

namespace pollux {

/// Next-header values that name extension headers (RFC 8200 4; RFC 4302 and 4303 for the last two).
enum class Ipv6Extension : std::uint8_t {
  hop_by_hop = 0,
  routing = 43,
  fragment = 44,
  encapsulation = 50,
  authentication = 51,
  none = 59,
  destination_options = 60
};

/// A checked fixed header: version 6, payload within the packet, addresses that may appear on a wire.
class Ipv6View {
 public:
  static constexpr std::size_t header_size = 40;

  /// `bytes`: the first contiguous piece from the IPv6 header on. `packet_length`: octets of the whole packet
  /// from there (chain length); padding behind the payload is allowed. IPv4-mapped addresses are refused:
  /// ip_bad_source, ip_not_local.
  static Parsed<Ipv6View> parse(ByteView bytes, std::size_t packet_length) noexcept;

  std::uint8_t traffic_class() const noexcept { return static_cast<std::uint8_t>(load_be16(data_) >> 4); }
  std::uint32_t flow_label() const noexcept { return load_be32(data_) & 0xfffff; }
  /// Octets behind the fixed header, extension headers included. 0 would announce a jumbogram (RFC 2675),
  /// which is not supported, or stands for no payload at all.
  std::size_t payload_length() const noexcept { return load_be16(data_ + 4); }
  std::uint8_t next_header() const noexcept { return data_[6]; }
  std::uint8_t hop_limit() const noexcept { return data_[7]; }
  IpAddress source() const noexcept { return IpAddress::v6_from_wire(data_ + 8); }
  IpAddress destination() const noexcept { return IpAddress::v6_from_wire(data_ + 24); }

 private:
  explicit Ipv6View(const std::uint8_t* data) noexcept : data_(data) {}
  const std::uint8_t* data_;
};

/// What the headers between the fixed one and the transport say.
struct Ipv6Chain {
  /// Octets of headers, the fixed one included, that a packet may have in front of its transport; RFC
  /// 8504 5.3 lets a host set such limits. Longer chains are ip_extension_limit, as are more than
  /// `headers_max`.
  static constexpr std::size_t length_max = 256;
  static constexpr std::size_t headers_max = 8;

  struct Fragment {
    std::uint32_t identification = 0;
    std::uint16_t offset = 0;  ///< octets
    bool more = false;
    std::uint16_t header_at = 0;  ///< octets from the IPv6 header to the fragment header
    std::uint16_t named_at = 0;   ///< the same to the octet that names the fragment header
    /// RFC 6946 4: whole in one piece, whatever other fragments have its identification.
    bool is_atomic() const noexcept { return offset == 0 && !more; }
  };
  /// RFC 4443 3.4: what a parameter problem message says of the packet; sent also to groups if
  /// `to_group_too`.
  struct Problem {
    std::uint8_t code = 0;
    std::uint32_t pointer = 0;
    bool to_group_too = false;
  };

  /// none: `protocol` and `header_length` are valid. Otherwise why the packet is dropped.
  DropReason reason = DropReason::none;
  std::uint8_t protocol = 0;
  /// From the IPv6 header to the transport header, or to the payload of a fragment.
  std::uint16_t header_length = 0;
  /// Where in the packet the `protocol` octet lies (what code 1 of a parameter problem points at).
  std::uint16_t protocol_at = 6;
  std::optional<Fragment> fragment = std::nullopt;
  std::optional<Problem> problem = std::nullopt;

  /// Walks the extension headers of `packet`, whose first octets `view` was parsed from: `packet` is the
  /// first contiguous piece, `packet_length` octets of the whole, padding excluded. Stops behind a fragment
  /// header that is not atomic.
  static Ipv6Chain walk(ByteView packet, std::size_t packet_length, const Ipv6View& view) noexcept {
    // What nearly every packet is.
    const std::uint8_t next = view.next_header();
    if (next == 6 || next == 17 || next == 58) [[likely]]
      return {.protocol = next, .header_length = Ipv6View::header_size};
    return walk_extensions(packet, packet_length, next);
  }

  /// For a first fragment whose chain ended behind its fragment header: does the rest of `packet` hold every header
  /// up to and including the transport's (RFC 8200 4.5, RFC 7112 5)?
  bool has_transport_header(ByteView packet) const noexcept;

 private:
  static Ipv6Chain walk_extensions(ByteView packet, std::size_t packet_length, std::uint8_t next) noexcept;
};

struct Ipv6Fields {
  static constexpr std::size_t size = 40;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;  // 20 bits
  std::uint16_t payload_length = 0;
  std::uint8_t next_header = 0;
  std::uint8_t hop_limit = 64;
  IpAddress source;
  IpAddress destination;

  /// Writes 40 octets.
  void emit(std::uint8_t* out) const noexcept {
    store_be32(out, 0x60000000u | std::uint32_t{traffic_class} << 20 | (flow_label & 0xfffff));
    store_be16(out + 4, payload_length);
    out[6] = next_header;
    out[7] = hop_limit;
    std::memcpy(out + 8, source.octets().data(), 16);
    std::memcpy(out + 24, destination.octets().data(), 16);
  }
};

struct Ipv6FragmentFields {
  static constexpr std::size_t size = 8;
  std::uint8_t next_header = 0;
  std::uint16_t offset = 0;  // octets, a multiple of 8
  bool more = false;
  std::uint32_t identification = 0;

  /// Writes 8 octets.
  void emit(std::uint8_t* out) const noexcept {
    out[0] = next_header;
    out[1] = 0;
    store_be16(out + 2, static_cast<std::uint16_t>(offset | (more ? 1u : 0u)));
    store_be32(out + 4, identification);
  }
};

}  // namespace pollux
