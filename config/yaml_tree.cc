#include "pollux/config/yaml_tree.h"

#include <fmt/core.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>

namespace pollux {
namespace {

constexpr int depth_max = 32;
constexpr std::size_t file_size_max = 1 << 20;

YamlValue convert(const std::string& path, const YAML::Node& node, int depth) {
  YamlValue value;
  value.line = node.Mark().line + 1;
  if (depth > depth_max)
    throw ConfigError(fmt::format("{}:{}: YAML: nested more than {} deep", path, value.line, depth_max));
  switch (node.Type()) {
    case YAML::NodeType::Undefined:
    case YAML::NodeType::Null:
      break;
    case YAML::NodeType::Scalar:
      value.kind = YamlValue::Kind::scalar;
      value.scalar = node.Scalar();
      break;
    case YAML::NodeType::Sequence:
      value.kind = YamlValue::Kind::list;
      for (const auto& item : node) value.items.push_back(convert(path, item, depth + 1));
      break;
    case YAML::NodeType::Map:
      value.kind = YamlValue::Kind::map;
      for (const auto& entry : node) {
        if (!entry.first.IsScalar())
          throw ConfigError(
              fmt::format("{}:{}: YAML: a key must be a word", path, entry.first.Mark().line + 1));
        value.entries.push_back(
            {entry.first.Scalar(), entry.first.Mark().line + 1, convert(path, entry.second, depth + 1)});
      }
      break;
  }
  return value;
}

std::string read_text(const std::string& path) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  // A directory opens, and fails only when it is read.
  if (!file || file.bad() || errno == EISDIR)
    throw ConfigError(fmt::format("{}: cannot be read: {}", path, std::strerror(errno != 0 ? errno : EIO)));
  if (text.view().size() > file_size_max)
    throw ConfigError(fmt::format("{}: larger than {} octets", path, file_size_max));
  return text.str();
}

}  // namespace

YamlValue read_yaml_file(const std::string& path) {
  return read_yaml_text(path, read_text(path));
}

YamlValue read_yaml_text(const std::string& path, const std::string& text) {
  try {
    const auto documents = YAML::LoadAll(text);
    if (documents.empty()) return {.line = 1};
    if (documents.size() > 1)
      throw ConfigError(fmt::format("{}:{}: YAML: expected one document, found {}", path,
                                    documents[1].Mark().line + 1, documents.size()));
    return convert(path, documents[0], 0);
  } catch (const YAML::Exception& error) {
    throw ConfigError(fmt::format("{}:{}: YAML: {}", path, error.mark.line + 1, error.msg));
  }
}

}  // namespace pollux
