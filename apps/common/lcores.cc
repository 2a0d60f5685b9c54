#include "common/lcores.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <charconv>
#include <optional>
#include <stdexcept>
#include <vector>

namespace pollux::app {
namespace {

constexpr unsigned cpu_max = 1023;

std::optional<unsigned> cpu_from(std::string_view text) {
  unsigned cpu = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), cpu);
  if (error != std::errc() || end != text.data() + text.size() || cpu > cpu_max) return std::nullopt;
  return cpu;
}

}  // namespace

std::string lcores_as_yaml(std::string_view text) {
  if (text == "auto") return "auto";
  std::vector<unsigned> cpus;
  for (std::string_view rest = text;;) {
    const std::string_view item = rest.substr(0, rest.find(','));
    const auto dash = item.find('-');
    const auto first = cpu_from(item.substr(0, dash));
    const auto last = dash == std::string_view::npos ? first : cpu_from(item.substr(dash + 1));
    if (!first || !last || *last < *first)
      throw std::invalid_argument(fmt::format(
          "expected auto, or CPUs from 0 to {} like 1,2 or 2-5, found '{}'", cpu_max, item.empty() ? text : item));
    for (unsigned cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    if (item.size() == rest.size()) break;
    rest.remove_prefix(item.size() + 1);
  }
  return fmt::format("[{}]", fmt::join(cpus, ", "));
}

}  // namespace pollux::app
