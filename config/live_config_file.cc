#include "pollux/config/live_config_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>

namespace pollux {
namespace {

/// The first part of "ports[0].mtu": a name, and the number behind it if there is one. The rest stays in `path`.
struct Step {
  std::string name;
  std::optional<std::size_t> item;
};

Step take_step(std::string_view& path) {
  const std::string_view part = path.substr(0, path.find('.'));
  path.remove_prefix(std::min(part.size() + 1, path.size()));
  Step step{std::string(part.substr(0, part.find('['))), std::nullopt};
  if (step.name.size() == part.size()) return step;
  const std::string_view number = part.substr(step.name.size() + 1);
  std::size_t item = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), item);
  if (error == std::errc() && std::string_view(end, number.data() + number.size()) == "]") step.item = item;
  return step;
}

[[noreturn]] void fail(const std::string& key, const std::string& text) {
  throw ConfigError(fmt::format("{}: {}", key, text));
}

/// The value that `key` names in a file that has every key; one that does not exist is added, and reading complains.
YamlValue& find_value(YamlValue& root, const std::string& key) {
  YamlValue* at = &root;
  std::string_view path = key;
  do {
    const Step step = take_step(path);
    if (at->kind != YamlValue::Kind::map) fail(key, "unknown key: what it is in is a value, no map");
    auto entry = std::find_if(at->entries.begin(), at->entries.end(), [&](const YamlEntry& e) { return e.key == step.name; });
    if (entry == at->entries.end()) {
      at->entries.push_back({step.name, 0, {}});
      return at->entries.back().value;
    }
    at = &entry->value;
    if (!step.item) continue;
    if (at->kind != YamlValue::Kind::list || *step.item >= at->items.size())
      fail(key, at->kind == YamlValue::Kind::list ? fmt::format("{} has {} items, counted from 0", step.name, at->items.size())
                                                  : fmt::format("{} is no list", step.name));
    at = &at->items[*step.item];
  } while (!path.empty());
  return *at;
}

/// Whether the schema marks `path` as one that may change; lists of maps as a whole, or their items' keys.
bool is_live(const Section& section, std::string_view path) {
  const Step step = take_step(path);
  for (const ConfigKey& key : section.keys()) {
    if (key.name != step.name) continue;
    if (key.live || path.empty()) return key.live;
    if (key.kind == ConfigKey::Kind::section) return is_live(*key.section, path);
    if (key.kind != ConfigKey::Kind::sections) return false;
    const auto all = key.all_sections();
    return step.item && *step.item < all.size() && is_live(all[*step.item], path);
  }
  return false;
}

/// An item that there was not before, or is no longer, of a list that is not live as a whole: none of its keys is live.
std::vector<ConfigChange> differences(const ConfigListing& before, const ConfigListing& after, const Section& section) {
  const std::map<std::string, std::string> old(before.begin(), before.end()), fresh(after.begin(), after.end());
  const auto list_is_live = [&](const std::string& key) {
    const std::string::size_type bracket = key.find('[');
    return bracket != std::string::npos && is_live(section, std::string_view(key).substr(0, bracket));
  };
  std::vector<ConfigChange> changes;
  for (const auto& [key, value] : after) {
    const auto present = old.find(key);
    if (present == old.end())
      changes.push_back({key, "", value, list_is_live(key)});
    else if (present->second != value)
      changes.push_back({key, present->second, value, is_live(section, key)});
  }
  for (const auto& [key, value] : before)
    if (!fresh.contains(key)) changes.push_back({key, value, "", list_is_live(key)});
  return changes;
}

}  // namespace

LiveConfigFile::LiveConfigFile(std::string path, const Config& in_force, AppSettings app, Keys overrides)
    : path_(std::move(path)), app_(std::move(app)), overrides_(std::move(overrides)) {
  const Section section = app_.present ? app_.present() : Section();
  yaml_ = to_yaml(in_force, section);
  listing_ = config_listing(in_force, section);
}

ConfigProposal LiveConfigFile::reload() {
  ConfigProposal proposal = propose(path_, read_yaml_file(path_), true);
  return overrides_.empty() ? proposal : propose("", with_keys(proposed_yaml_, overrides_), false);
}

YamlValue LiveConfigFile::with_keys(const std::string& yaml, const Keys& keys) {
  YamlValue tree = read_yaml_text("the configuration in force", yaml);
  for (const auto& [key, value] : keys) find_value(tree, key) = read_yaml_text(key, value);
  return tree;
}

ConfigProposal LiveConfigFile::set(const std::string& key, const std::string& value) {
  return propose("", with_keys(yaml_, {{key, value}}), false);
}

ConfigProposal LiveConfigFile::propose(const std::string& name, YamlValue tree, bool complete) {
  ConfigProposal proposal;
  const Section app = app_.fresh ? app_.fresh() : Section();
  proposal.config = load_config(name, std::move(tree), app_.fresh ? &app : nullptr);
  if (complete && app_.complete) app_.complete();
  proposal.listing = config_listing(proposal.config, app);
  Config bound = proposal.config;
  Section section = config_section(bound);
  section.section("app", app, "The program's own settings");
  proposal.changes = differences(listing_, proposal.listing, section);
  proposed_yaml_ = to_yaml(proposal.config, app);
  proposed_listing_ = proposal.listing;
  return proposal;
}

void LiveConfigFile::adopt() noexcept {
  yaml_ = std::move(proposed_yaml_);
  listing_ = std::move(proposed_listing_);
  if (app_.adopt) app_.adopt();
}

}  // namespace pollux
