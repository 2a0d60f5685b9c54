#include "pollux/drivers_glue/telemetry_value.h"

#include <fmt/format.h>
#include <rte_telemetry.h>

#include <algorithm>
#include <charconv>

namespace pollux {

TelemetryDict& TelemetryDict::add(std::string name, std::uint64_t value) {
  entries_.push_back({std::move(name), value});
  return *this;
}
TelemetryDict& TelemetryDict::add(std::string name, std::string value) {
  entries_.push_back({std::move(name), std::move(value)});
  return *this;
}
TelemetryDict& TelemetryDict::add(std::string name, TelemetryDict value) {
  entries_.push_back({std::move(name), std::move(value)});
  return *this;
}

const TelemetryDict::Value* TelemetryDict::find(std::string_view name) const noexcept {
  for (const Entry& entry : entries_)
    if (entry.name == name) return &entry.value;
  return nullptr;
}

bool TelemetryDict::fill(rte_tel_data* data) const {
  bool good = rte_tel_data_start_dict(data) == 0;
  for (const Entry& entry : entries_) {
    const char* name = entry.name.c_str();
    if (const auto* number = std::get_if<std::uint64_t>(&entry.value)) {
      good &= rte_tel_data_add_dict_u64(data, name, *number) == 0;
    } else if (const auto* text = std::get_if<std::string>(&entry.value)) {
      good &=
          rte_tel_data_add_dict_string(data, name, text->substr(0, RTE_TEL_MAX_STRING_LEN - 1).c_str()) == 0;
    } else {
      rte_tel_data* inner = rte_tel_data_alloc();
      if (inner == nullptr) return false;
      good &= std::get<TelemetryDict>(entry.value).fill(inner);
      if (rte_tel_data_add_dict_container(data, name, inner, 0) != 0) {
        rte_tel_data_free(inner);
        good = false;
      }
    }
  }
  return good;
}

std::optional<std::uint64_t> telemetry_number(std::string_view text) noexcept {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

TelemetryParameters::TelemetryParameters(std::string_view text) {
  while (!text.empty()) {
    const auto end = std::min(text.find(','), text.size());
    const std::string_view part = text.substr(0, end);
    const auto equals = part.find('=');
    if (equals == std::string_view::npos)
      parts_.emplace_back("", part);
    else
      parts_.emplace_back(part.substr(0, equals), part.substr(equals + 1));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::optional<std::string> TelemetryParameters::take(std::string_view key) {
  const auto found =
      std::find_if(parts_.begin(), parts_.end(), [&](const auto& part) { return part.first == key; });
  if (found == parts_.end()) return std::nullopt;
  std::string value = std::move(found->second);
  parts_.erase(found);
  return value;
}

std::optional<std::string> TelemetryParameters::take_word() {
  return take("");
}

std::string TelemetryParameters::take_all() {
  std::string text;
  for (const auto& [key, value] : parts_)
    text += (text.empty() ? "" : ",") + (key.empty() ? value : key + "=" + value);
  parts_.clear();
  return text;
}

std::optional<std::uint64_t> TelemetryParameters::take_number(std::string_view key, std::uint64_t min,
                                                              std::uint64_t max) {
  const auto text = take(key);
  if (!text) return std::nullopt;
  const auto value = telemetry_number(*text);
  if (!value || *value < min || *value > max)
    throw TelemetryError(
        fmt::format("{}: expected a number from {} to {}, found '{}'", key, min, max, *text));
  return value;
}

void TelemetryParameters::finish(std::string_view expected) const {
  if (parts_.empty()) return;
  const auto& [key, value] = parts_.front();
  throw TelemetryError(
      fmt::format("'{}': unknown parameter; expected {}", key.empty() ? value : key, expected));
}

}  // namespace pollux
