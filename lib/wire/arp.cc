#include "pollux/wire/arp.h"

namespace pollux {
namespace {

constexpr std::uint16_t hardware_ethernet = 1;
constexpr std::uint16_t protocol_ipv4 = 0x0800;

}  // namespace

Parsed<ArpView> ArpView::parse(ByteView bytes) noexcept {
  if (bytes.size() < size) return reject(DropReason::arp_malformed);
  // RFC 826, packet reception: "do I have the hardware type", "do I speak the protocol", and the lengths.
  if (load_be16(&bytes[0]) != hardware_ethernet || load_be16(&bytes[2]) != protocol_ipv4 || bytes[4] != 6 ||
      bytes[5] != 4)
    return reject(DropReason::arp_malformed);
  const ArpView view(bytes.data());
  if (view.operation() != ArpOperation::request && view.operation() != ArpOperation::reply)
    return reject(DropReason::arp_malformed);
  return view;
}

void ArpFields::emit(std::uint8_t* out) const noexcept {
  store_be16(out, hardware_ethernet);
  store_be16(out + 2, protocol_ipv4);
  out[4] = 6;
  out[5] = 4;
  store_be16(out + 6, static_cast<std::uint16_t>(operation));
  std::memcpy(out + 8, sender_mac.octets.data(), 6);
  std::memcpy(out + 14, sender_ip.v4_octets(), 4);
  std::memcpy(out + 18, target_mac.octets.data(), 6);
  std::memcpy(out + 24, target_ip.v4_octets(), 4);
}

}  // namespace pollux
