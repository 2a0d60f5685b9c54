// A YAML document as a plain tree with line numbers. The only user of yaml-cpp is yaml_tree.cc.
#pragma once

#include <stdexcept>
#include <string>
#include <vector>

namespace pollux {

/// A mistake in a configuration file; what() is "file:line: key: what was expected".
class ConfigError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

struct YamlEntry;

struct YamlValue {
  enum class Kind : unsigned char { null, scalar, list, map } kind = Kind::null;
  int line = 0;                    ///< from 1
  std::string scalar;              ///< of a scalar, quotes removed
  std::vector<YamlValue> items;    ///< of a list
  std::vector<YamlEntry> entries;  ///< of a map, in the file's order, duplicates included
};

struct YamlEntry {
  std::string key;
  int line = 0;
  YamlValue value;
};

/// Reads `path`, which must hold one YAML document. Throws ConfigError when it cannot be read or is not YAML.
YamlValue read_yaml_file(const std::string& path);
/// The same for a text; messages call it `name`.
YamlValue read_yaml_text(const std::string& name, const std::string& text);

}  // namespace pollux
