// A TCP header with its options. Options that parse are emitted and parsed again without a change, except
// that SACK blocks may be left out where the aligned layout has no room for all that a peer squeezed in.
#include "fuzz.h"
#include "pollux/wire/tcp.h"

using namespace pollux;

namespace {

bool same_options(const TcpOptionValues& a, const TcpOptionValues& b) {
  return a.has_mss == b.has_mss && a.mss == b.mss && a.has_window_scale == b.has_window_scale &&
         a.window_scale == b.window_scale && a.has_timestamp == b.has_timestamp && a.ts_value == b.ts_value &&
         a.ts_echo == b.ts_echo && a.sack_permitted == b.sack_permitted;
}

bool same_sacks(const TcpOptionValues& a, const TcpOptionValues& b, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i)
    if (a.sacks[i].left != b.sacks[i].left || a.sacks[i].right != b.sacks[i].right) return false;
  return true;
}

fuzz::ExactBlock emitted(const TcpFields& fields) {
  fuzz::ExactBlock out(fields.header_length());
  FUZZ_REQUIRE(fields.emit(out.data()) == out.span().size());
  return out;
}

void check_options(const TcpOptionValues& options, const TcpView& view) {
  FUZZ_REQUIRE(options.window_scale <= 14);
  FUZZ_REQUIRE(options.sack_count <= TcpOptionValues::sack_blocks_max);
  FUZZ_REQUIRE(options.emitted_size() % 4 == 0 && options.emitted_size() <= 40);
  if (!view.has_only_timestamp()) return;
  FUZZ_REQUIRE(options.has_timestamp && options.emitted_size() == TcpOptionValues::timestamp_size);
  FUZZ_REQUIRE(options.ts_value == view.fast_ts_value() && options.ts_echo == view.fast_ts_echo());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock segment({data, size});
  const auto view = TcpView::parse(segment.span());
  if (!view) {
    FUZZ_REQUIRE(view.error() ==
                 (size < TcpView::header_size_min ? DropReason::tcp_truncated : DropReason::tcp_bad_offset));
    return 0;
  }
  FUZZ_REQUIRE(view->header_length() >= TcpView::header_size_min && view->header_length() <= size);
  fuzz::ExactBlock option_octets(view->options());
  const auto options = TcpOptionValues::parse(option_octets.span());
  if (!options) {
    FUZZ_REQUIRE(options.error() == DropReason::tcp_bad_option && !view->has_only_timestamp());
    return 0;
  }
  check_options(*options, *view);

  const TcpFields fields{.source_port = view->source_port(),
                         .destination_port = view->destination_port(),
                         .sequence = view->sequence(),
                         .acknowledgment = view->acknowledgment(),
                         .flags = view->flags(),
                         .window = view->window(),
                         .urgent_pointer = view->urgent_pointer(),
                         .options = *options};
  fuzz::ExactBlock first = emitted(fields);
  const auto second_view = TcpView::parse(first.span());
  FUZZ_REQUIRE(second_view && second_view->header_length() == first.span().size());
  FUZZ_REQUIRE(std::memcmp(first.data(), data, 12) == 0 && std::memcmp(first.data() + 13, data + 13, 3) == 0);
  const auto second_options = TcpOptionValues::parse(second_view->options());
  FUZZ_REQUIRE(second_options && same_options(*options, *second_options));
  FUZZ_REQUIRE(second_options->sack_count <= options->sack_count);
  FUZZ_REQUIRE(same_sacks(*options, *second_options, second_options->sack_count));
  TcpFields again = fields;
  again.options = *second_options;
  FUZZ_REQUIRE(emitted(again) == first);
  return 0;
}
