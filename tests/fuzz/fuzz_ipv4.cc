// An IPv4 header. The first octet says what else the caller knows: bit 0, the NIC has verified the checksum;
// bit 1, mend the checksum first (so that the walk behind it is reached); bits 2..7, octets of the packet in
// later pieces.
#include "fuzz.h"
#include "pollux/wire/ipv4.h"

using namespace pollux;

namespace {

void mend_checksum(std::span<std::uint8_t> packet) {
  if (packet.size() < Ipv4View::header_size_min) return;
  const std::size_t header =
      std::min<std::size_t>(packet.size(), static_cast<std::size_t>(packet[0] & 0x0f) * 4);
  if (header < Ipv4View::header_size_min) return;
  store_be16(&packet[10], 0);
  ChecksumSum sum;
  sum.add(packet.first(header));
  store_be16(&packet[10], sum.finish());
}

bool is_a_reason_of_the_parser(DropReason reason) {
  switch (reason) {
    case DropReason::ip_truncated:
    case DropReason::ip_bad_version:
    case DropReason::ip_bad_header_length:
    case DropReason::ip_bad_checksum:
    case DropReason::ip_bad_option:
    case DropReason::ip_source_route:
    case DropReason::header_split:
      return true;
    default:
      return false;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Reader reader({data, size});
  const std::uint8_t how = reader.u8();
  fuzz::ExactBlock packet(reader.rest());
  const ByteView bytes = packet.span();
  if ((how & 2) != 0) mend_checksum(packet.span());
  const std::size_t packet_length = bytes.size() + (how >> 2);
  const bool checksum_known_good = (how & 1) != 0;

  const auto view = Ipv4View::parse(bytes, packet_length, checksum_known_good);
  if (!view) {
    FUZZ_REQUIRE(is_a_reason_of_the_parser(view.error()));
    FUZZ_REQUIRE(view.error() != DropReason::ip_bad_checksum || !checksum_known_good);
    FUZZ_REQUIRE(view.error() != DropReason::header_split || packet_length > bytes.size());
    return 0;
  }
  FUZZ_REQUIRE(view->header_length() >= Ipv4View::header_size_min && view->header_length() <= bytes.size());
  FUZZ_REQUIRE(view->total_length() >= view->header_length() && view->total_length() <= packet_length);
  FUZZ_REQUIRE(view->fragment_offset() % 8 == 0);
  FUZZ_REQUIRE(view->is_fragment() == (view->more_fragments() || view->fragment_offset() != 0));
  FUZZ_REQUIRE(view->source().is_v4() && view->destination().is_v4());
  FUZZ_REQUIRE(Ipv4View::parse(bytes, packet_length, true).has_value());

  const bool emitted_alike =
      view->header_length() == Ipv4Fields::size && !view->is_fragment() && (bytes[6] & 0x80) == 0;
  if (checksum_known_good || !emitted_alike) return 0;
  fuzz::ExactBlock again(Ipv4Fields::size);
  Ipv4Fields{.tos = view->tos(),
             .total_length = static_cast<std::uint16_t>(view->total_length()),
             .identification = view->identification(),
             .dont_fragment = view->dont_fragment(),
             .ttl = view->ttl(),
             .protocol = view->protocol(),
             .source = view->source(),
             .destination = view->destination()}
      .emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), bytes.data(), 10) == 0);
  FUZZ_REQUIRE(std::memcmp(again.data() + 12, bytes.data() + 12, 8) == 0);
  FUZZ_REQUIRE(checksum_ok(again.span()));  // one's complement has two zeros, so the field itself may differ
  return 0;
}
