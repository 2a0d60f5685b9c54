// Addresses as text, which come from configuration files and command lines. What is accepted is printed in a
// form that is accepted again, means the same and is printed the same.
#include <string>
#include <string_view>

#include "fuzz.h"
#include "pollux/wire/address.h"

using namespace pollux;

namespace {

template <typename T, typename Same>
void check_round_trip(std::string_view text, Same&& same) {
  const auto value = T::from_string(text);
  if (!value) return;
  const std::string printed = value->to_string();
  const auto again = T::from_string(printed);
  FUZZ_REQUIRE(again && same(*value, *again));
  FUZZ_REQUIRE(again->to_string() == printed);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock copy({data, size});
  const std::string_view text(reinterpret_cast<const char*>(copy.data()), size);
  check_round_trip<MacAddress>(text, [](auto& a, auto& b) { return a == b; });
  check_round_trip<IpAddress>(text, [](auto& a, auto& b) { return a == b; });
  check_round_trip<IpPrefix>(text, [](auto& a, auto& b) {
    return a.address == b.address && a.length == b.length && a.contains(b.address);
  });
  return 0;
}
