// The configuration of a running program: its file read anew, or one key set.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pollux/config/load.h"
#include "pollux/drivers_glue/live_config.h"

namespace pollux {

/// How a program's own settings (the map `app`) take part.
struct AppSettings {
  /// Describes those in force. With `fresh` or not at all.
  std::function<Section()> present = {};
  /// Sets the program's proposed settings to their defaults and describes them. None: the map is not looked into.
  std::function<Section()> fresh = {};
  /// After a file was read into them: what the command line says goes before it.
  std::function<void()> complete = {};
  /// The proposed settings are in force.
  std::function<void()> adopt = {};
};

class LiveConfigFile final : public ConfigSource {
 public:
  using Keys = std::vector<std::pair<std::string, std::string>>;

  /// Of `path`; `in_force` and what `app` describes are what runs now. `overrides`: keys that the command line has set, whatever
  /// the file says.
  LiveConfigFile(std::string path, const Config& in_force, AppSettings app = {}, Keys overrides = {});

  ConfigProposal reload() override;
  ConfigProposal set(const std::string& key, const std::string& value) override;
  void adopt() noexcept override;

 private:
  static YamlValue with_keys(const std::string& yaml, const Keys& keys);
  ConfigProposal propose(const std::string& name, YamlValue tree, bool complete);

  std::string path_;
  AppSettings app_;
  Keys overrides_;
  std::string yaml_;  // what is in force
  ConfigListing listing_;
  std::string proposed_yaml_;
  ConfigListing proposed_listing_;
};

}  // namespace pollux
