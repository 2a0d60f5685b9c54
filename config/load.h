// Reading a YAML file into a Config, and writing a Config as documented YAML.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "pollux/config/section.h"
#include "pollux/config/yaml_tree.h"
#include "pollux/drivers_glue/config.h"

namespace pollux {

/// Describes every key of a Config; binds to its fields.
Section config_section(Config& config);

/// Reads `path`. Keys that are absent keep their defaults. Throws ConfigError for the first mistake, unknown
/// keys included. The top-level map `app`, if any, is the program's own and is not looked into.
Config load_config(const std::string& path);
/// The same; `app` describes and receives the map `app`, where unknown keys are mistakes too.
Config load_config(const std::string& path, const Section& app);

/// The same from a tree that was read already; `app` null: its map is not looked into. Messages begin with `name` and a
/// line, or, when it is empty, with the key.
Config load_config(const std::string& name, YamlValue root, const Section* app);

/// Every key with its description and present value: a file that loads to these values again.
std::string to_yaml(Section section);
/// The same for a whole file; `app` may be empty.
std::string to_yaml(const Config& config, const Section& app = {});

/// Every key by its full name ("tcp.nagle", "ports[0].mtu") with its present value.
std::vector<std::pair<std::string, std::string>> config_listing(const Config& config, const Section& app = {});

}  // namespace pollux
