// ARP for IPv4 over Ethernet (RFC 826, RFC 5227 for announcements).
#pragma once

#include "pollux/wire/address.h"
#include "pollux/wire/parsed.h"

namespace pollux {

enum class ArpOperation : std::uint16_t { request = 1, reply = 2 };

/// A checked ARP packet: Ethernet hardware, IPv4 protocol, operation request or reply.
class ArpView {
 public:
  static constexpr std::size_t size = 28;

  /// `bytes` starts behind the Ethernet header; trailing padding is ignored.
  static Parsed<ArpView> parse(ByteView bytes) noexcept;
  ArpOperation operation() const noexcept { return static_cast<ArpOperation>(load_be16(data_ + 6)); }
  MacAddress sender_mac() const noexcept { return mac_at(8); }
  IpAddress sender_ip() const noexcept { return IpAddress::v4_from_wire(data_ + 14); }
  MacAddress target_mac() const noexcept { return mac_at(18); }
  IpAddress target_ip() const noexcept { return IpAddress::v4_from_wire(data_ + 24); }

 private:
  explicit ArpView(const std::uint8_t* data) noexcept : data_(data) {}
  MacAddress mac_at(std::size_t offset) const noexcept {
    MacAddress mac;
    std::memcpy(mac.octets.data(), data_ + offset, 6);
    return mac;
  }
  const std::uint8_t* data_;
};

struct ArpFields {
  static constexpr std::size_t size = ArpView::size;
  ArpOperation operation = ArpOperation::request;
  MacAddress sender_mac;
  IpAddress sender_ip;
  MacAddress target_mac;
  IpAddress target_ip;

  void emit(std::uint8_t* out) const noexcept;
};

}  // namespace pollux
