#include "common/pattern.h"

#include <algorithm>
#include <array>

namespace pollux::app {
namespace {

constexpr std::size_t stored = pattern_chunk_min + pattern_cycle;

constexpr std::array<std::uint8_t, pattern_cycle> make_cycle() {
  std::array<std::uint8_t, pattern_cycle> cycle{};
  for (std::size_t line = 0; line < 95; ++line) {
    std::uint8_t* out = cycle.data() + line * pattern_line;
    for (std::size_t i = 0; i < 72; ++i) out[i] = static_cast<std::uint8_t>(' ' + (line + i) % 95);
    out[72] = '\r';
    out[73] = '\n';
  }
  return cycle;
}

const std::array<std::uint8_t, stored> pattern = [] {
  constexpr auto cycle = make_cycle();
  std::array<std::uint8_t, stored> repeated{};
  for (std::size_t at = 0; at < stored; at += pattern_cycle)
    std::copy(cycle.begin(), cycle.end(), repeated.begin() + static_cast<std::ptrdiff_t>(at));
  return repeated;
}();

}  // namespace

std::span<const std::uint8_t> pattern_at(std::uint64_t offset, std::uint64_t length) noexcept {
  const std::size_t start = static_cast<std::size_t>(offset % pattern_cycle);
  return std::span(pattern).subspan(
      start, static_cast<std::size_t>(std::min<std::uint64_t>(length, stored - start)));
}

}  // namespace pollux::app
