// An ICMP message and the packet that an error quotes.
#include "fuzz.h"
#include "pollux/wire/icmpv4.h"
#include "pollux/wire/ipv4.h"

using namespace pollux;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock message({data, size});
  const auto icmp = Icmpv4View::parse(message.span());
  FUZZ_REQUIRE(icmp.has_value() == (size >= Icmpv4View::header_size));
  if (!icmp) return 0;
  FUZZ_REQUIRE(icmp->next_hop_mtu() == icmp->echo_sequence());
  FUZZ_REQUIRE(icmp->quoted().size() == size - Icmpv4View::header_size);
  fuzz::ExactBlock again(Icmpv4Fields::size);
  Icmpv4Fields{.type = icmp->type(),
               .code = icmp->code(),
               .rest = std::uint32_t{icmp->echo_id()} << 16 | icmp->echo_sequence()}
      .emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), data, 2) == 0 && std::memcmp(again.data() + 4, data + 4, 4) == 0);

  fuzz::ExactBlock quoted(icmp->quoted());
  const auto packet = QuotedPacket::parse(quoted.span());
  if (!packet) {
    FUZZ_REQUIRE(packet.error() == DropReason::icmp_truncated || packet.error() == DropReason::icmp_no_match);
    return 0;
  }
  FUZZ_REQUIRE(packet->source.is_v4() && packet->destination.is_v4());
  FUZZ_REQUIRE(packet->tcp_sequence == load_be32(quoted.data() + (quoted.data()[0] & 0x0f) * 4 + 4));
  return 0;
}
