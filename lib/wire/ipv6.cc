#include "pollux/wire/ipv6.h"

namespace pollux {
namespace {

enum ProblemCode : std::uint8_t { erroneous_field = 0, unknown_next_header = 1, unknown_option = 2 };

struct OptionsResult {
  DropReason reason = DropReason::none;
  std::optional<Ipv6Chain::Problem> problem = std::nullopt;
};

/// RFC 8200 4.2: walks the options of a hop-by-hop or destination options header. `first` is where they start
/// in the packet. The two upper bits of an unknown option's type say what becomes of the packet.
OptionsResult check_options(ByteView options, std::size_t first) noexcept {
  constexpr std::uint8_t pad1 = 0;
  constexpr std::uint8_t padn = 1;
  constexpr std::uint8_t router_alert = 5;  // RFC 2711: for routers, and in MLD
  for (std::size_t i = 0; i < options.size();) {
    if (options[i] == pad1) {
      ++i;
      continue;
    }
    const std::size_t left = options.size() - i;
    if (left < 2 || options[i + 1] + 2u > left) return {DropReason::ip_bad_extension};
    const std::uint8_t type = options[i];
    if (type != padn && type != router_alert) {
      const auto pointer = static_cast<std::uint32_t>(first + i);
      switch (type >> 6) {
        case 0:  // skip over
          break;
        case 1:  // discard silently
          return {DropReason::ip_unknown_option};
        case 2:  // discard and tell, even when the destination was a group
          return {DropReason::ip_unknown_option, Ipv6Chain::Problem{unknown_option, pointer, true}};
        default:  // discard and tell, unless the destination was a group
          return {DropReason::ip_unknown_option, Ipv6Chain::Problem{unknown_option, pointer, false}};
      }
    }
    i += options[i + 1] + 2u;
  }
  return {};
}

/// One header of a chain: its octets, where it lies, and where the octet that named it lies.
struct Header {
  ByteView bytes;  // from this header on
  std::size_t at;
  std::size_t named_at;
};

DropReason check_routing(const Header& header, Ipv6Chain& chain) noexcept {
  // RFC 8200 4.4: no routing type is known here (type 0 is refused by RFC 5095); one that has done its work
  // is skipped.
  const std::uint8_t segments_left = header.bytes[3];
  if (segments_left == 0) return DropReason::none;
  chain.problem = Ipv6Chain::Problem{erroneous_field, static_cast<std::uint32_t>(header.at + 2), false};
  return DropReason::ip_source_route;
}

}  // namespace

Parsed<Ipv6View> Ipv6View::parse(ByteView bytes, std::size_t packet_length) noexcept {
  if (bytes.size() < header_size)
    return reject(packet_length >= header_size ? DropReason::header_split : DropReason::ip_truncated);
  if (bytes[0] >> 4 != 6) return reject(DropReason::ip_bad_version);
  const Ipv6View view(bytes.data());
  if (header_size + view.payload_length() > packet_length) return reject(DropReason::ip_truncated);
  if (view.source().is_v4()) return reject(DropReason::ip_bad_source);
  if (view.destination().is_v4()) return reject(DropReason::ip_not_local);
  return view;
}

Ipv6Chain Ipv6Chain::walk_extensions(ByteView packet, std::size_t packet_length, std::uint8_t next) noexcept {
  Ipv6Chain chain;
  std::size_t at = Ipv6View::header_size;
  std::size_t named_at = 6;
  const auto stop = [&chain](DropReason reason) {
    chain.reason = reason;
    return chain;
  };
  for (std::size_t headers = 0;; ++headers) {
    chain.protocol = next;
    chain.header_length = static_cast<std::uint16_t>(at);
    chain.protocol_at = static_cast<std::uint16_t>(named_at);
    const auto kind = static_cast<Ipv6Extension>(next);
    switch (kind) {
      case Ipv6Extension::hop_by_hop:
        // RFC 8200 4.1: only right behind the fixed header; elsewhere its number is an unknown one.
        if (at != Ipv6View::header_size) {
          chain.problem = Problem{unknown_next_header, static_cast<std::uint32_t>(named_at), false};
          return stop(DropReason::ip_bad_extension);
        }
        break;
      case Ipv6Extension::routing:
      case Ipv6Extension::destination_options:
      case Ipv6Extension::fragment:
        break;
      case Ipv6Extension::none:
        return stop(DropReason::ip_no_next_header);
      case Ipv6Extension::encapsulation:
      case Ipv6Extension::authentication:
      default:
        return chain;  // a transport, known or not
    }
    if (headers == headers_max) return stop(DropReason::ip_extension_limit);
    constexpr std::size_t unit = 8;
    if (at + unit > packet_length) return stop(DropReason::ip_truncated);
    if (at + unit > length_max) return stop(DropReason::ip_extension_limit);
    if (at + unit > packet.size()) return stop(DropReason::header_split);
    const bool is_fragment = kind == Ipv6Extension::fragment;
    const std::size_t length = is_fragment ? unit : (packet[at + 1] + 1u) * unit;
    if (at + length > packet_length) return stop(DropReason::ip_truncated);
    if (at + length > length_max) return stop(DropReason::ip_extension_limit);
    if (at + length > packet.size()) return stop(DropReason::header_split);
    const Header header{packet.subspan(at, length), at, named_at};
    if (is_fragment) {
      const std::uint16_t field = load_be16(&header.bytes[2]);
      chain.fragment = Fragment{.identification = load_be32(&header.bytes[4]),
                                .offset = static_cast<std::uint16_t>(field & 0xfff8),
                                .more = (field & 1) != 0,
                                .header_at = static_cast<std::uint16_t>(at),
                                .named_at = static_cast<std::uint16_t>(named_at)};
    } else if (kind == Ipv6Extension::routing) {
      if (const DropReason reason = check_routing(header, chain); reason != DropReason::none)
        return stop(reason);
    } else {
      const OptionsResult result = check_options(header.bytes.subspan(2), at + 2);
      chain.problem = result.problem;
      if (result.reason != DropReason::none) return stop(result.reason);
    }
    next = header.bytes[0];
    named_at = at;
    at += length;
    if (is_fragment && !chain.fragment->is_atomic()) {
      chain.protocol = next;
      chain.header_length = static_cast<std::uint16_t>(at);
      chain.protocol_at = static_cast<std::uint16_t>(named_at);
      return chain;
    }
  }
}

bool Ipv6Chain::has_transport_header(ByteView packet) const noexcept {
  constexpr std::size_t unit = 8;
  std::size_t at = header_length;
  std::uint8_t next = protocol;
  for (std::size_t headers = 0; headers <= headers_max; ++headers) {
    std::size_t needed = 0;
    switch (next) {
      case 6:
        needed = 20;
        break;
      case 17:
      case 58:
        needed = unit;
        break;
      case static_cast<std::uint8_t>(Ipv6Extension::routing):
      case static_cast<std::uint8_t>(Ipv6Extension::destination_options):
        if (at + unit > packet.size()) return false;
        next = packet[at];
        at += (packet[at + 1] + 1u) * unit;
        continue;
      default:
        break;
    }
    return at + needed <= packet.size();
  }
  return false;
}

}  // namespace pollux
