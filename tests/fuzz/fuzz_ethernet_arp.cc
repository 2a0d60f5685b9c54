// A frame's Ethernet header and, behind it, ARP. What parses is emitted again to the same octets.
#include "fuzz.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/ethernet.h"

using namespace pollux;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock frame({data, size});
  const auto ethernet = EthernetView::parse(frame.span());
  FUZZ_REQUIRE(ethernet.has_value() == (size >= EthernetView::header_size));
  if (!ethernet) return 0;
  fuzz::ExactBlock header(EthernetFields::size);
  EthernetFields{
      .destination = ethernet->destination(), .source = ethernet->source(), .type = ethernet->type()}
      .emit(header.data());
  FUZZ_REQUIRE(std::memcmp(header.data(), data, EthernetFields::size) == 0);

  fuzz::ExactBlock payload(std::span(data, size).subspan(EthernetView::header_size));
  const auto arp = ArpView::parse(payload.span());
  if (!arp) {
    FUZZ_REQUIRE(arp.error() == DropReason::arp_malformed);
    return 0;
  }
  fuzz::ExactBlock again(ArpFields::size);
  ArpFields{.operation = arp->operation(),
            .sender_mac = arp->sender_mac(),
            .sender_ip = arp->sender_ip(),
            .target_mac = arp->target_mac(),
            .target_ip = arp->target_ip()}
      .emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), payload.data(), ArpFields::size) == 0);
  return 0;
}
