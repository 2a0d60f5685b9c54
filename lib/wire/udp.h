// UDP header (RFC 768).
#pragma once

#include "pollux/base/byte_order.h"
#include "pollux/wire/parsed.h"

namespace pollux {

class UdpView {
 public:
  static constexpr std::size_t header_size = 8;
  /// `datagram_length`: octets from the UDP header to the end of the IP payload. A UDP length beyond it or
  /// below 8 is udp_truncated; a smaller one is legal (the rest is padding to cut off).
  static Parsed<UdpView> parse(ByteView bytes, std::size_t datagram_length) noexcept {
    if (bytes.size() < header_size) return reject(DropReason::udp_truncated);
    const std::size_t length = load_be16(&bytes[4]);
    if (length < header_size || length > datagram_length) return reject(DropReason::udp_truncated);
    return UdpView(bytes.data());
  }
  std::uint16_t source_port() const noexcept { return load_be16(data_); }
  std::uint16_t destination_port() const noexcept { return load_be16(data_ + 2); }
  /// Header plus payload, octets.
  std::size_t length() const noexcept { return load_be16(data_ + 4); }
  /// RFC 768: an all-zero checksum field means the sender computed none: legal over IPv4 only (RFC 8200 8.1).
  bool has_checksum() const noexcept { return load_be16(data_ + 6) != 0; }

 private:
  explicit UdpView(const std::uint8_t* data) noexcept : data_(data) {}
  const std::uint8_t* data_;
};

struct UdpFields {
  static constexpr std::size_t size = 8;
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  std::uint16_t length = 0;    // header plus payload
  std::uint16_t checksum = 0;  // host order; RFC 768: a computed 0 is sent as 0xffff

  void emit(std::uint8_t* out) const noexcept {
    store_be16(out, source_port);
    store_be16(out + 2, destination_port);
    store_be16(out + 4, length);
    store_be16(out + 6, checksum);
  }
};

}  // namespace pollux
