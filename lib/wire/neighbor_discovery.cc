#include "pollux/wire/neighbor_discovery.h"

namespace pollux {
namespace {

enum Option : std::uint8_t {
  source_link_address = 1,
  target_link_address = 2,
  prefix_information = 3,
  link_mtu = 5
};
constexpr std::size_t option_unit = 8;
constexpr std::size_t link_option_size = 8;

/// Calls visit(type, bytes) for each option, bytes from its type octet on; false when one has no length or
/// overruns the message (RFC 4861 4.6: such a message is discarded).
template <typename Visit>
bool for_each_option(ByteView options, Visit&& visit) noexcept {
  while (!options.empty()) {
    if (options.size() < option_unit) return false;
    const std::size_t length = options[1] * option_unit;
    if (length == 0 || length > options.size()) return false;
    visit(options[0], options.first(length));
    options = options.subspan(length);
  }
  return true;
}

MacAddress mac_of(ByteView option) noexcept {
  MacAddress mac;
  std::memcpy(mac.octets.data(), &option[2], mac.octets.size());
  return mac;
}

void emit_link_option(std::uint8_t* out, Option type, const MacAddress& mac) noexcept {
  out[0] = type;
  out[1] = 1;
  std::memcpy(out + 2, mac.octets.data(), mac.octets.size());
}

std::optional<AdvertisedPrefix> prefix_of(ByteView option) noexcept {
  constexpr std::size_t size = 32;
  if (option.size() != size || option[2] > 128) return std::nullopt;
  const IpAddress address = IpAddress::v6_from_wire(&option[16]);
  // RFC 4861 4.6.2: a link-local prefix is ignored; a group or a mapped IPv4 address makes no prefix either.
  if (address.is_link_local() || address.is_multicast() || address.is_v4()) return std::nullopt;
  return AdvertisedPrefix{.prefix = {address, option[2]},
                          .on_link = (option[3] & 0x80) != 0,
                          .autonomous = (option[3] & 0x40) != 0,
                          .valid_s = load_be32(&option[4]),
                          .preferred_s = load_be32(&option[8])};
}

}  // namespace

Parsed<NeighborMessage> NeighborMessage::parse(ByteView message) noexcept {
  constexpr std::size_t size_min = 24;
  if (message.size() < size_min || message[1] != 0) return reject(DropReason::nd_malformed);
  NeighborMessage parsed;
  parsed.is_solicitation = static_cast<Icmpv6Type>(message[0]) == Icmpv6Type::neighbor_solicitation;
  parsed.target = IpAddress::v6_from_wire(&message[8]);
  if (parsed.target.is_multicast() || parsed.target.is_v4()) return reject(DropReason::nd_malformed);
  if (!parsed.is_solicitation) {
    parsed.router = (message[4] & 0x80) != 0;
    parsed.solicited = (message[4] & 0x40) != 0;
    parsed.override_entry = (message[4] & 0x20) != 0;
  }
  const Option wanted = parsed.is_solicitation ? source_link_address : target_link_address;
  const bool ok = for_each_option(message.subspan(size_min), [&](std::uint8_t type, ByteView option) {
    if (type == wanted && option.size() == link_option_size) parsed.link_address = mac_of(option);
  });
  if (!ok) return reject(DropReason::nd_malformed);
  return parsed;
}

std::size_t NeighborMessage::emit(std::uint8_t* out) const noexcept {
  const std::uint32_t flags =
      (router ? 1u << 31 : 0) | (solicited ? 1u << 30 : 0) | (override_entry ? 1u << 29 : 0);
  Icmpv6Fields{
      .type = is_solicitation ? Icmpv6Type::neighbor_solicitation : Icmpv6Type::neighbor_advertisement,
      .rest = is_solicitation ? 0 : flags}
      .emit(out);
  std::memcpy(out + 8, target.octets().data(), 16);
  if (!link_address) return 24;
  emit_link_option(out + 24, is_solicitation ? source_link_address : target_link_address, *link_address);
  return size_max;
}

Parsed<RouterAdvertisement> RouterAdvertisement::parse(ByteView message) noexcept {
  constexpr std::size_t size_min = 16;
  if (message.size() < size_min || message[1] != 0) return reject(DropReason::nd_malformed);
  RouterAdvertisement parsed;
  parsed.hop_limit = message[4];
  parsed.router_lifetime_s = load_be16(&message[6]);
  const bool ok = for_each_option(message.subspan(size_min), [&](std::uint8_t type, ByteView option) {
    if (type == source_link_address && option.size() == link_option_size)
      parsed.link_address = mac_of(option);
    if (type == link_mtu && option.size() == option_unit) parsed.mtu = load_be32(&option[4]);
    if (type != prefix_information || parsed.prefix_count == prefixes_max) return;
    if (const auto prefix = prefix_of(option)) parsed.prefixes[parsed.prefix_count++] = *prefix;
  });
  if (!ok) return reject(DropReason::nd_malformed);
  return parsed;
}

std::size_t RouterSolicitation::emit(std::uint8_t* out) const noexcept {
  Icmpv6Fields{.type = Icmpv6Type::router_solicitation}.emit(out);
  if (!link_address) return 8;
  emit_link_option(out + 8, source_link_address, *link_address);
  return size_max;
}

}  // namespace pollux
