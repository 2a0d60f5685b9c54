// An IPv6 header and its chain of extension headers. The first octet: how much of the packet lies in its first piece
// (upper half, in eighths), and whether padding follows (lowest bit).
#include "fuzz.h"
#include "pollux/wire/ipv6.h"

using namespace pollux;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  const std::uint8_t how = data[0];
  const std::size_t length = size - 1;
  fuzz::ExactBlock piece(std::span(data + 1, length - length * (how >> 5) / 8));
  const auto ip = Ipv6View::parse(piece.span(), length);
  if (!ip) {
    FUZZ_REQUIRE(ip.error() != DropReason::header_split || piece.span().size() < Ipv6View::header_size);
    return 0;
  }
  FUZZ_REQUIRE(Ipv6View::header_size + ip->payload_length() <= length);
  FUZZ_REQUIRE(!ip->source().is_v4() && !ip->destination().is_v4());
  fuzz::ExactBlock again(Ipv6Fields::size);
  Ipv6Fields{.traffic_class = ip->traffic_class(),
             .flow_label = ip->flow_label(),
             .payload_length = static_cast<std::uint16_t>(ip->payload_length()),
             .next_header = ip->next_header(),
             .hop_limit = ip->hop_limit(),
             .source = ip->source(),
             .destination = ip->destination()}
      .emit(again.data());
  FUZZ_REQUIRE(std::memcmp(again.data(), piece.data(), Ipv6Fields::size) == 0);

  const std::size_t packet_length = Ipv6View::header_size + ip->payload_length();
  const auto present = piece.span().first(std::min(piece.span().size(), packet_length));
  const Ipv6Chain chain = Ipv6Chain::walk(present, packet_length, *ip);
  if (chain.problem) FUZZ_REQUIRE(chain.reason != DropReason::none && chain.problem->pointer < present.size());
  if (chain.reason != DropReason::none) return 0;
  FUZZ_REQUIRE(chain.header_length >= Ipv6View::header_size && chain.header_length <= Ipv6Chain::length_max);
  FUZZ_REQUIRE(chain.header_length <= present.size());
  FUZZ_REQUIRE(piece.data()[chain.protocol_at] == chain.protocol);
  FUZZ_REQUIRE(chain.protocol_at < chain.header_length);
  if (chain.fragment) FUZZ_REQUIRE(piece.data()[chain.fragment->header_at + 7] == (chain.fragment->identification & 0xff));
  return 0;
}
