#include "pollux/wire/ipv4.h"

namespace pollux {
namespace {

enum Option : std::uint8_t {
  end_of_list = 0,
  no_operation = 1,
  loose_source_route = 131,
  strict_source_route = 137
};

[[gnu::cold]] DropReason check_options(ByteView options) noexcept {
  for (std::size_t i = 0; i < options.size();) {
    // RFC 791 3.1: two options are a single octet; every other has a length that counts its two leading
    // octets.
    if (options[i] == end_of_list) break;
    if (options[i] == no_operation) {
      ++i;
      continue;
    }
    const std::size_t left = options.size() - i;
    if (left < 2 || options[i + 1] < 2 || options[i + 1] > left) return DropReason::ip_bad_option;
    // RFC 7126 4.3.5, 4.4.5: a host drops source-routed packets by default.
    if (options[i] == loose_source_route || options[i] == strict_source_route)
      return DropReason::ip_source_route;
    i += options[i + 1];
  }
  return DropReason::none;
}

/// The first `needed` octets are not in `bytes`: does the packet lack them, or only its first piece?
DropReason missing(std::size_t needed, std::size_t packet_length, DropReason when_beyond_packet) noexcept {
  return needed <= packet_length ? DropReason::header_split : when_beyond_packet;
}

}  // namespace

Parsed<Ipv4View> Ipv4View::parse(ByteView bytes, std::size_t packet_length,
                                 bool checksum_known_good) noexcept {
  if (bytes.size() < header_size_min)
    return reject(missing(header_size_min, packet_length, DropReason::ip_truncated));
  // RFC 1122 3.2.1.1: a datagram whose version number is not 4 MUST be silently discarded.
  if (bytes[0] >> 4 != 4) return reject(DropReason::ip_bad_version);
  const Ipv4View view(bytes.data());
  const std::size_t header_length = view.header_length();
  if (header_length < header_size_min) return reject(DropReason::ip_bad_header_length);
  if (header_length > bytes.size())
    return reject(missing(header_length, packet_length, DropReason::ip_bad_header_length));
  // RFC 1122 3.2.1.2: a host MUST verify the header checksum. Before the lengths, so that a corrupted length
  // counts as what it is.
  if (!checksum_known_good && !checksum_ok(bytes.first(header_length)))
    return reject(DropReason::ip_bad_checksum);
  if (view.total_length() > packet_length) return reject(DropReason::ip_truncated);
  if (view.total_length() < header_length) return reject(DropReason::ip_bad_header_length);
  if (header_length > header_size_min) [[unlikely]] {
    const DropReason drop = check_options(bytes.subspan(header_size_min, header_length - header_size_min));
    if (drop != DropReason::none) return reject(drop);
  }
  return view;
}

}  // namespace pollux
