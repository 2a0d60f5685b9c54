#include "pollux/config/section.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace pollux {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
// Largest first: values are shown in the largest unit that divides them.
constexpr std::array<Unit, 7> time_units = {{{"d", 86'400'000'000'000},
                                             {"h", 3'600'000'000'000},
                                             {"m", 60'000'000'000},
                                             {"s", 1'000'000'000},
                                             {"ms", 1'000'000},
                                             {"us", 1'000},
                                             {"ns", 1}}};
constexpr std::array<Unit, 4> size_units = {{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"", 1}}};

std::optional<std::int64_t> parse_integer(std::string_view text) noexcept {
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

template <std::size_t N>
std::optional<std::int64_t> parse_with_unit(std::string_view text,
                                            const std::array<Unit, N>& units) noexcept {
  const auto digits = std::min(text.find_first_not_of("0123456789"), text.size());
  const auto number = parse_integer(text.substr(0, digits));
  if (!number) return std::nullopt;
  for (const Unit& unit : units) {
    if (unit.name != text.substr(digits)) continue;
    std::int64_t value = 0;
    if (__builtin_mul_overflow(*number, unit.factor, &value)) return std::nullopt;
    return value;
  }
  return std::nullopt;
}

template <std::size_t N>
std::string format_with_unit(std::int64_t value, const std::array<Unit, N>& units) {
  for (const Unit& unit : units)
    if (value % unit.factor == 0) return fmt::format("{}{}", value / unit.factor, unit.name);
  return {};
}

}  // namespace

std::optional<Duration> parse_duration(std::string_view text) noexcept {
  if (text == "0") return Duration{};
  const auto ns = parse_with_unit(text, time_units);
  return ns ? std::optional(Duration::from_ns(*ns)) : std::nullopt;
}

std::string format_duration(Duration duration) {
  return duration == Duration{} ? "0" : format_with_unit(duration.ns(), time_units);
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
  const auto octets = parse_with_unit(text, size_units);
  return octets ? std::optional(static_cast<std::uint64_t>(*octets)) : std::nullopt;
}

std::string format_size(std::uint64_t octets) {
  return octets == 0 ? "0" : format_with_unit(static_cast<std::int64_t>(octets), size_units);
}

void Section::mark_live_except(std::initializer_list<std::string_view> fixed) {
  for (ConfigKey& key : keys_) key.live = std::find(fixed.begin(), fixed.end(), key.name) == fixed.end();
}

ConfigKey& Section::add(std::string name, std::string doc, ConfigKey::Kind kind) {
  ConfigKey& key = keys_.emplace_back();
  key.name = std::move(name);
  key.doc = std::move(doc);
  key.kind = kind;
  return key;
}

ConfigKey& Section::add_scalar(std::string name, std::string doc, ScalarType type) {
  ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::scalar);
  key.scalar = std::move(type);
  return key;
}

ScalarType Section::integer_type(std::int64_t min, std::int64_t max, std::function<void(std::int64_t)> set,
                                 std::function<std::int64_t()> get) {
  return {fmt::format("an integer from {} to {}", min, max),
          [min, max, set = std::move(set)](const std::string& text) {
            const auto value = parse_integer(text);
            if (!value || *value < min || *value > max) return false;
            set(*value);
            return true;
          },
          [get = std::move(get)] { return fmt::format("{}", get()); }};
}

ConfigKey& Section::boolean(std::string name, bool& field, std::string doc) {
  return add_scalar(std::move(name), std::move(doc),
                    {"true or false",
                     [&field](const std::string& text) {
                       if (text != "true" && text != "false") return false;
                       field = text == "true";
                       return true;
                     },
                     [&field] { return std::string(field ? "true" : "false"); }});
}

ConfigKey& Section::text(std::string name, std::string& field, std::string expected, std::string doc) {
  return add_scalar(std::move(name), std::move(doc),
                    {std::move(expected), [&field](const std::string& text) { return field = text, true; },
                     [&field] { return field; }});
}

ConfigKey& Section::duration(std::string name, Duration& field, Duration min, Duration max, std::string doc) {
  return add_scalar(
      std::move(name), std::move(doc),
      {fmt::format("a duration from {} to {}, with its unit", format_duration(min), format_duration(max)),
       [&field, min, max](const std::string& text) {
         const auto value = parse_duration(text);
         if (!value || *value < min || *value > max) return false;
         field = *value;
         return true;
       },
       [&field] { return format_duration(field); }});
}

ConfigKey& Section::size(std::string name, std::uint32_t& field, std::uint32_t min, std::uint32_t max,
                         std::string doc) {
  return add_scalar(std::move(name), std::move(doc),
                    {fmt::format("a size from {} to {}", format_size(min), format_size(max)),
                     [&field, min, max](const std::string& text) {
                       const auto value = parse_size(text);
                       if (!value || *value < min || *value > max) return false;
                       field = static_cast<std::uint32_t>(*value);
                       return true;
                     },
                     [&field] { return format_size(field); }});
}

ScalarType Section::prefix_type(IpPrefix& field) {
  return {"an address with a prefix length, like 192.0.2.2/24 or 2001:db8::2/64",
          [&field](const std::string& text) {
            const auto value = IpPrefix::from_string(text);
            if (!value) return false;
            field = *value;
            return true;
          },
          [&field] { return field.to_string(); }};
}

ConfigKey& Section::prefix(std::string name, IpPrefix& field, std::string doc) {
  return add_scalar(std::move(name), std::move(doc), prefix_type(field));
}

ConfigKey& Section::address(std::string name, IpAddress& field, std::string doc) {
  return add_scalar(std::move(name), std::move(doc),
                    {"an address, like 192.0.2.1 or 2001:db8::1",
                     [&field](const std::string& text) {
                       const auto value = IpAddress::from_string(text);
                       if (!value) return false;
                       field = *value;
                       return true;
                     },
                     [&field] { return field.to_string(); }});
}

ConfigKey& Section::mac(std::string name, MacAddress& field, std::string doc) {
  return add_scalar(std::move(name), std::move(doc),
                    {"a MAC address, like 02:00:00:00:00:01",
                     [&field](const std::string& text) {
                       const auto value = MacAddress::from_string(text);
                       if (!value) return false;
                       field = *value;
                       return true;
                     },
                     [&field] { return field.to_string(); }});
}

ConfigKey& Section::integers(std::string name, std::vector<unsigned>& field, unsigned max, std::string doc) {
  ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::scalars);
  key.expected_item = fmt::format("an integer from 0 to {}", max);
  key.clear = [&field] { field.clear(); };
  key.append_scalar = [&field, max] {
    unsigned& item = field.emplace_back();
    return integer_type(
        0, max, [&item](std::int64_t v) { item = static_cast<unsigned>(v); },
        [&item] { return std::int64_t{item}; });
  };
  key.show_all = [&field] {
    std::vector<std::string> all;
    for (const unsigned item : field) all.push_back(fmt::format("{}", item));
    return all;
  };
  return key;
}

ConfigKey& Section::integers_or(std::string word, bool& is_word, std::string name, std::vector<unsigned>& field, unsigned max,
                                std::string doc) {
  ConfigKey& key = integers(std::move(name), field, max, std::move(doc));
  key.clear = [&field, &is_word] {
    field.clear();
    is_word = false;
  };
  key.word = ScalarType{.expected = word,
                        .set =
                            [&field, &is_word, word](const std::string& text) {
                              if (text != word) return false;
                              field.clear();
                              return is_word = true;
                            },
                        .show = [&is_word, word] { return is_word ? word : std::string(); }};
  return key;
}

ConfigKey& Section::texts(std::string name, std::vector<std::string>& field, std::string doc) {
  ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::scalars);
  key.expected_item = "a word";
  key.clear = [&field] { field.clear(); };
  key.append_scalar = [&field] {
    std::string& item = field.emplace_back();
    return ScalarType{"a word", [&item](const std::string& text) { return item = text, true; },
                      [&item] { return item; }};
  };
  key.show_all = [&field] { return field; };
  return key;
}

ConfigKey& Section::prefixes(std::string name, std::vector<IpPrefix>& field, std::string doc) {
  ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::scalars);
  IpPrefix example;
  key.expected_item = prefix_type(example).expected;
  key.clear = [&field] { field.clear(); };
  key.append_scalar = [&field] { return prefix_type(field.emplace_back()); };
  key.show_all = [&field] {
    std::vector<std::string> all;
    for (const auto& item : field) all.push_back(item.to_string());
    return all;
  };
  return key;
}

ConfigKey& Section::section(std::string name, Section section, std::string doc) {
  ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::section);
  key.section = std::make_shared<Section>(std::move(section));
  return key;
}

}  // namespace pollux
