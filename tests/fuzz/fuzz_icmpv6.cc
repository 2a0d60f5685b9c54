// An ICMPv6 message: its header, the packet that an error quotes, neighbour discovery and router advertisements.
#include "fuzz.h"
#include "pollux/wire/neighbor_discovery.h"

using namespace pollux;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock message({data, size});
  const auto icmp = Icmpv6View::parse(message.span());
  FUZZ_REQUIRE(icmp.has_value() == (size >= Icmpv6View::header_size));
  if (!icmp) return 0;
  (void)icmp->problem();
  fuzz::ExactBlock again(Icmpv6Fields::size);
  Icmpv6Fields{.type = icmp->type(), .code = icmp->code(), .rest = icmp->rest()}.emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), data, 2) == 0 && std::memcmp(again.data() + 4, data + 4, 4) == 0);

  fuzz::ExactBlock quoted(icmp->body());
  if (const auto packet = QuotedPacket::parse_v6(quoted.span())) {
    FUZZ_REQUIRE(!packet->source.is_v4() && !packet->destination.is_v4());
  } else {
    FUZZ_REQUIRE(packet.error() == DropReason::icmp_truncated || packet.error() == DropReason::icmp_no_match);
  }

  if (const auto neighbor = NeighborMessage::parse(message.span())) {
    fuzz::ExactBlock emitted(NeighborMessage::size_max);
    const std::size_t length = neighbor->emit(emitted.data());
    const auto same = NeighborMessage::parse(emitted.span().first(length));
    FUZZ_REQUIRE(same && same->target == neighbor->target && same->link_address == neighbor->link_address);
    FUZZ_REQUIRE(same->solicited == neighbor->solicited && same->override_entry == neighbor->override_entry);
  }
  if (const auto router = RouterAdvertisement::parse(message.span())) {
    FUZZ_REQUIRE(router->prefix_count <= RouterAdvertisement::prefixes_max);
    for (std::size_t i = 0; i < router->prefix_count; ++i)
      FUZZ_REQUIRE(router->prefixes[i].prefix.length <= 128 && !router->prefixes[i].prefix.address.is_v4());
  }
  return 0;
}
