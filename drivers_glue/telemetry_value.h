// What telemetry answers: a small tree of named numbers and texts, and the parameters of a question.
#pragma once

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

struct rte_tel_data;

namespace pollux {

/// A dictionary in the order it was filled. Names are letters, digits, '_' and '/' (rte_telemetry allows no
/// others), at most 256 of them; texts have at most 127 characters; an answer as a whole 16 KiB.
class TelemetryDict {
 public:
  using Value = std::variant<std::uint64_t, std::string, TelemetryDict>;
  struct Entry;

  TelemetryDict& add(std::string name, std::uint64_t value);
  TelemetryDict& add(std::string name, std::string value);
  TelemetryDict& add(std::string name, TelemetryDict value);
  const std::vector<Entry>& entries() const noexcept { return entries_; }
  /// The entry called `name`; nullptr when there is none.
  const Value* find(std::string_view name) const noexcept;
  /// Fills DPDK's form of it. False when DPDK refused an entry.
  bool fill(rte_tel_data* data) const;

 private:
  std::vector<Entry> entries_;
};

struct TelemetryDict::Entry {
  std::string name;
  Value value;
};

/// A question that cannot be answered as it stands; the text says what was expected.
class TelemetryError : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The parameters of a command: "word,key=value,...". Each must be looked at, or finish() complains.
class TelemetryParameters {
 public:
  explicit TelemetryParameters(std::string_view text);

  /// The value of `key`, once; nullopt when it is not there.
  std::optional<std::string> take(std::string_view key);
  /// The next word that has no key.
  std::optional<std::string> take_word();
  /// All that was not taken, commas and all.
  std::string take_all();
  /// A number from `min` to `max`; throws TelemetryError for anything else.
  std::optional<std::uint64_t> take_number(std::string_view key, std::uint64_t min, std::uint64_t max);
  /// Throws TelemetryError for what nobody took; `expected` lists what there is.
  void finish(std::string_view expected) const;

 private:
  std::vector<std::pair<std::string, std::string>> parts_;  // words have an empty key
};

/// A number in decimal digits, whole; nullopt for anything else.
std::optional<std::uint64_t> telemetry_number(std::string_view text) noexcept;

}  // namespace pollux
