// Section: the descriptors of one YAML map, each bound to the field it fills. The loader, the error texts and
// the documented sample file all come from these descriptors. Programs describe their own `app:` map the same
// way.
#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

/// How one scalar is read and shown.
struct ScalarType {
  std::string expected;                         ///< completes "expected ..."
  std::function<bool(const std::string&)> set;  ///< false when the text is not what was expected
  std::function<std::string()> show;            ///< the field's value as the file would say it
};

class Section;

/// One key of a map.
struct ConfigKey {
  enum class Kind : std::uint8_t { scalar, scalars, section, sections };

  std::string name;
  std::string doc;
  Kind kind = Kind::scalar;
  bool required = false;
  bool live = false;  ///< may change while the program runs (live_config_file.h); of a map or a list: all that is in it
  ScalarType scalar;                          ///< Kind::scalar
  std::string expected_item;                  ///< Kind::scalars: completes "expected ..." for one item
  std::function<ScalarType()> append_scalar;  ///< Kind::scalars: a new last item
  /// Kind::scalars: one word that may stand in the list's place; `show` gives it, or nothing where there is a list.
  std::optional<ScalarType> word;
  std::function<void()> clear;                ///< Kind::scalars, sections
  std::function<std::vector<std::string>()> show_all;  ///< Kind::scalars
  std::shared_ptr<Section> section;                    ///< Kind::section
  std::function<Section()> append_section;             ///< Kind::sections: a new last item
  std::function<std::vector<Section>()> all_sections;  ///< Kind::sections
};

/// A rule over several keys of a map: what is wrong, reported at `key`; nullopt when nothing is.
struct ConfigRule {
  std::string key;
  std::function<std::optional<std::string>()> problem;
};

/// Fields must outlive the Section. Functions return the key, to be marked `required`.
class Section {
 public:
  template <std::integral T>
  ConfigKey& integer(std::string name, T& field, std::type_identity_t<T> min, std::type_identity_t<T> max,
                     std::string doc) {
    return add_scalar(std::move(name), std::move(doc),
                      integer_type(
                          static_cast<std::int64_t>(min), static_cast<std::int64_t>(max),
                          [&field](std::int64_t v) { field = static_cast<T>(v); },
                          [&field] { return static_cast<std::int64_t>(field); }));
  }
  ConfigKey& boolean(std::string name, bool& field, std::string doc);
  ConfigKey& text(std::string name, std::string& field, std::string expected, std::string doc);
  /// With a unit: ns, us, ms, s, m, h or d; "0" needs none.
  ConfigKey& duration(std::string name, Duration& field, Duration min, Duration max, std::string doc);
  /// Octets, or with a unit: KiB, MiB or GiB.
  ConfigKey& size(std::string name, std::uint32_t& field, std::uint32_t min, std::uint32_t max,
                  std::string doc);
  ConfigKey& prefix(std::string name, IpPrefix& field, std::string doc);
  ConfigKey& address(std::string name, IpAddress& field, std::string doc);
  ConfigKey& mac(std::string name, MacAddress& field, std::string doc);
  template <typename E>
  ConfigKey& choice(std::string name, E& field, std::vector<std::pair<std::string, E>> choices,
                    std::string doc) {
    ScalarType type;
    for (const auto& [word, value] : choices) type.expected += (type.expected.empty() ? "" : " | ") + word;
    type.expected = "one of " + type.expected;
    type.set = [&field, choices](const std::string& scalar) {
      for (const auto& [word, value] : choices)
        if (word == scalar) return field = value, true;
      return false;
    };
    type.show = [&field, choices] {
      for (const auto& [word, value] : choices)
        if (value == field) return word;
      return std::string();
    };
    return add_scalar(std::move(name), std::move(doc), std::move(type));
  }
  ConfigKey& integers(std::string name, std::vector<unsigned>& field, unsigned max, std::string doc);
  /// The same; `word` in the list's place sets `is_word`.
  ConfigKey& integers_or(std::string word, bool& is_word, std::string name, std::vector<unsigned>& field, unsigned max,
                         std::string doc);
  ConfigKey& texts(std::string name, std::vector<std::string>& field, std::string doc);
  ConfigKey& prefixes(std::string name, std::vector<IpPrefix>& field, std::string doc);

  ConfigKey& section(std::string name, Section section, std::string doc);
  /// A list of maps; `bind` describes one element.
  template <typename T>
  ConfigKey& sections(std::string name, std::vector<T>& field, Section (*bind)(T&), std::string doc) {
    ConfigKey& key = add(std::move(name), std::move(doc), ConfigKey::Kind::sections);
    key.clear = [&field] { field.clear(); };
    key.append_section = [&field, bind] { return bind(field.emplace_back()); };
    key.all_sections = [&field, bind] {
      std::vector<Section> all;
      for (auto& element : field) all.push_back(bind(element));
      return all;
    };
    return key;
  }
  /// Checked after the whole map has been read.
  void rule(std::string key, std::function<std::optional<std::string>()> problem) {
    rules_.push_back({std::move(key), std::move(problem)});
  }

  /// Every key may change while the program runs, except these.
  void mark_live_except(std::initializer_list<std::string_view> fixed);

  const std::vector<ConfigKey>& keys() const noexcept { return keys_; }
  const std::vector<ConfigRule>& rules() const noexcept { return rules_; }

 private:
  static ScalarType integer_type(std::int64_t min, std::int64_t max, std::function<void(std::int64_t)> set,
                                 std::function<std::int64_t()> get);
  static ScalarType prefix_type(IpPrefix& field);
  ConfigKey& add(std::string name, std::string doc, ConfigKey::Kind kind);
  ConfigKey& add_scalar(std::string name, std::string doc, ScalarType type);

  std::vector<ConfigKey> keys_;
  std::vector<ConfigRule> rules_;
};

/// "40ms", "2h", "0"; nullopt for anything else, overflow included.
std::optional<Duration> parse_duration(std::string_view text) noexcept;
std::string format_duration(Duration duration);
/// "1500", "256KiB"; nullopt for anything else.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;
std::string format_size(std::uint64_t octets);

}  // namespace pollux
