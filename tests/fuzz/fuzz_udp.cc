// A UDP header. The first octet says how many octets of the datagram lie in later pieces.
#include "fuzz.h"
#include "pollux/wire/udp.h"

using namespace pollux;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Reader reader({data, size});
  const std::size_t later = reader.u8();
  fuzz::ExactBlock datagram(reader.rest());
  const std::size_t datagram_length = datagram.span().size() + later;
  const auto view = UdpView::parse(datagram.span(), datagram_length);
  if (!view) {
    FUZZ_REQUIRE(view.error() == DropReason::udp_truncated);
    return 0;
  }
  FUZZ_REQUIRE(view->length() >= UdpView::header_size && view->length() <= datagram_length);
  fuzz::ExactBlock again(UdpFields::size);
  const std::uint16_t checksum = load_be16(datagram.data() + 6);
  FUZZ_REQUIRE(view->has_checksum() == (checksum != 0));
  UdpFields{.source_port = view->source_port(),
            .destination_port = view->destination_port(),
            .length = static_cast<std::uint16_t>(view->length()),
            .checksum = checksum}
      .emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), datagram.data(), UdpFields::size) == 0);
  return 0;
}
