#include "pollux/config/load.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "pollux/drivers_glue/check_config.h"

namespace pollux {
namespace {

/// Edits (insert, remove, replace, swap neighbours) that turn one word into the other, case and "-" ignored.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const auto at = [](std::string_view s, std::size_t i) {
    return s[i] == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(s[i])));
  };
  std::vector<std::vector<std::size_t>> d(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (std::size_t i = 0; i <= a.size(); ++i) d[i][0] = i;
  for (std::size_t j = 0; j <= b.size(); ++j) d[0][j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i)
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t differs = at(a, i - 1) == at(b, j - 1) ? 0 : 1;
      d[i][j] = std::min({d[i - 1][j] + 1, d[i][j - 1] + 1, d[i - 1][j - 1] + differs});
      if (i > 1 && j > 1 && at(a, i - 1) == at(b, j - 2) && at(a, i - 2) == at(b, j - 1))
        d[i][j] = std::min(d[i][j], d[i - 2][j - 2] + 1);
    }
  return d[a.size()][b.size()];
}

/// Fills Sections from one file.
class Loader {
 public:
  explicit Loader(std::string path) : path_(std::move(path)) {}

  /// `where` is the map's own key path, "" at the top.
  void read(const Section& section, const std::string& where, const YamlValue& map, int line) {
    if (map.kind != YamlValue::Kind::map && map.kind != YamlValue::Kind::null)
      fail(line, where.empty() ? "file" : where, "expected a map of settings");
    std::map<std::string_view, int> seen;
    for (const YamlEntry& entry : map.entries) {
      const std::string key_path = join(where, entry.key);
      const auto key = std::find_if(section.keys().begin(), section.keys().end(),
                                    [&](const ConfigKey& k) { return k.name == entry.key; });
      if (key == section.keys().end()) fail(entry.line, key_path, unknown_text(section, entry.key));
      if (const auto [first, fresh] = seen.emplace(entry.key, entry.line); !fresh)
        fail(entry.line, key_path, fmt::format("given twice, first in line {}", first->second));
      lines_[key_path] = entry.line;
      read_key(*key, key_path, entry);
    }
    for (const ConfigKey& key : section.keys())
      if (key.required && !seen.contains(key.name))
        fail(line, join(where, key.name), fmt::format("is missing; expected {}", expected_of(key)));
    for (const ConfigRule& rule : section.rules())
      if (const auto problem = rule.problem()) fail_at_key(join(where, rule.key), *problem);
  }

  /// Reports at the key's line, or at that of the nearest map around it that the file has.
  [[noreturn]] void fail_at_key(const std::string& key, const std::string& text) const {
    for (std::string_view part = key;; part = part.substr(0, part.find_last_of(".["))) {
      if (const auto line = lines_.find(std::string(part)); line != lines_.end())
        fail(line->second, key, text);
      if (part.find_last_of(".[") == std::string_view::npos) fail(1, key, text);
    }
  }
  [[noreturn]] void fail(int line, const std::string& key, const std::string& text) const {
    throw ConfigError(path_.empty() ? fmt::format("{}: {}", key, text)
                                    : fmt::format("{}:{}: {}: {}", path_, line, key, text));
  }

 private:
  static std::string join(const std::string& where, const std::string& name) {
    return where.empty() ? name : where + "." + name;
  }
  static std::string expected_of(const ConfigKey& key) {
    switch (key.kind) {
      case ConfigKey::Kind::scalar:
        return key.scalar.expected;
      case ConfigKey::Kind::scalars:
        return fmt::format("{}a list [...] of items, each {}", key.word ? key.word->expected + " or " : "", key.expected_item);
      case ConfigKey::Kind::section:
        return "a map of settings";
      case ConfigKey::Kind::sections:
        return "a list of maps, each item introduced by '-'";
    }
    return {};
  }
  static std::string unknown_text(const Section& section, const std::string& word) {
    const ConfigKey* nearest = nullptr;
    std::size_t least = std::max<std::size_t>(2, word.size() / 3) + 1;
    for (const ConfigKey& key : section.keys())
      if (const auto distance = edit_distance(word, key.name); distance < least) {
        least = distance;
        nearest = &key;
      }
    if (nearest != nullptr) return fmt::format("unknown key; did you mean '{}'?", nearest->name);
    std::vector<std::string_view> names;
    for (const ConfigKey& key : section.keys()) names.push_back(key.name);
    return fmt::format("unknown key; expected one of {}", fmt::join(names, ", "));
  }
  static std::string found(const YamlValue& value) {
    switch (value.kind) {
      case YamlValue::Kind::null:
        return "nothing";
      case YamlValue::Kind::scalar:
        return "'" + value.scalar + "'";
      case YamlValue::Kind::list:
        return "a list";
      case YamlValue::Kind::map:
        return "a map";
    }
    return {};
  }

  void read_scalar(const ScalarType& type, const std::string& path, const YamlValue& value, int line) const {
    if (value.kind != YamlValue::Kind::scalar || !type.set(value.scalar))
      fail(line, path, fmt::format("expected {}, found {}", type.expected, found(value)));
  }

  void read_key(const ConfigKey& key, const std::string& path, const YamlEntry& entry) {
    const YamlValue& value = entry.value;
    if (key.kind == ConfigKey::Kind::scalar) return read_scalar(key.scalar, path, value, entry.line);
    if (key.kind == ConfigKey::Kind::section) return read(*key.section, path, value, entry.line);
    if (key.word && value.kind == YamlValue::Kind::scalar && key.word->set(value.scalar)) return;
    if (value.kind != YamlValue::Kind::list)
      fail(entry.line, path, fmt::format("expected {}, found {}", expected_of(key), found(value)));
    key.clear();
    for (std::size_t i = 0; i < value.items.size(); ++i) {
      const YamlValue& item = value.items[i];
      const std::string item_path = fmt::format("{}[{}]", path, i);
      lines_[item_path] = item.line;
      if (key.kind == ConfigKey::Kind::scalars)
        read_scalar(key.append_scalar(), item_path, item, item.line);
      else
        read(key.append_section(), item_path, item, item.line);
    }
  }

  std::string path_;
  std::map<std::string, int> lines_;  // of every key the file has
};

}  // namespace

Config load_config(const std::string& name, YamlValue root, const Section* app) {
  Config config;
  Loader loader(name);
  Section section = config_section(config);
  if (app != nullptr) {
    section.section("app", *app, "The program's own settings");
  } else {
    std::erase_if(root.entries, [](const YamlEntry& entry) { return entry.key == "app"; });
  }
  loader.read(section, "", root, root.line);
  if (const auto problem = check_config(config)) loader.fail_at_key(problem->key, problem->text);
  return config;
}

Config load_config(const std::string& path) {
  return load_config(path, read_yaml_file(path), nullptr);
}
Config load_config(const std::string& path, const Section& app) {
  return load_config(path, read_yaml_file(path), &app);
}

}  // namespace pollux
