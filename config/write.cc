// to_yaml: the documented file that belongs to a Section.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include "pollux/config/load.h"

namespace pollux {
namespace {

constexpr std::size_t width_max = 100;

bool is_plain(const std::string& word) {
  static constexpr std::string_view allowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./:=+-";
  return !word.empty() && word.find_first_not_of(allowed) == std::string::npos && word.front() != '-' &&
         word.back() != ':';
}

std::string quoted(const std::string& word) {
  if (is_plain(word)) return word;
  std::string text = "\"";
  for (const char c : word) {
    if (c == '"' || c == '\\') text += '\\';
    text += c;
  }
  return text + '"';
}

void write_section(const Section& section, const std::string& indent, std::string& out);

void write_comment(const std::string& text, const std::string& indent, std::string& out) {
  std::string line = indent + "#";
  std::size_t start = 0;
  while (start < text.size()) {
    const std::size_t end = std::min(text.find(' ', start), text.size());
    if (line.size() + 1 + end - start > width_max) {
      out += line + "\n";
      line = indent + "#";
    }
    line += ' ';
    line.append(text, start, end - start);
    start = end + 1;
  }
  out += line + "\n";
}

/// What stands in the list's place; empty: a list.
std::string word_of(const ConfigKey& key) {
  return key.word ? key.word->show() : std::string();
}

std::string comment_of(const ConfigKey& key) {
  std::string text = key.doc + ".";
  const std::string& expected = key.kind == ConfigKey::Kind::scalar ? key.scalar.expected : key.expected_item;
  if (!expected.empty())
    text += fmt::format(" Expected: {}{}{}.", key.word ? key.word->expected + " or " : "",
                        key.kind == ConfigKey::Kind::scalars ? "a list, each item " : "", expected);
  if (key.required) text += " Required.";
  if (key.live) text += " Live.";
  return text;
}

void write_key(const ConfigKey& key, const std::string& indent, std::string& out) {
  write_comment(comment_of(key), indent, out);
  out += indent + key.name + ":";
  switch (key.kind) {
    case ConfigKey::Kind::scalar:
      out += fmt::format(" {}\n", quoted(key.scalar.show()));
      break;
    case ConfigKey::Kind::scalars: {
      if (const auto word = word_of(key); !word.empty()) {
        out += fmt::format(" {}\n", word);
        break;
      }
      auto words = key.show_all();
      for (auto& word : words) word = quoted(word);
      out += fmt::format(" [{}]\n", fmt::join(words, ", "));
      break;
    }
    case ConfigKey::Kind::section:
      out += "\n";
      write_section(*key.section, indent + "  ", out);
      break;
    case ConfigKey::Kind::sections: {
      const auto all = key.all_sections();
      out += all.empty() ? " []\n" : "\n";
      for (const Section& element : all) {
        out += indent + "  -\n";
        write_section(element, indent + "    ", out);
      }
      break;
    }
  }
}

void write_section(const Section& section, const std::string& indent, std::string& out) {
  for (const ConfigKey& key : section.keys()) {
    if (indent.empty() && !out.empty()) out += "\n";
    write_key(key, indent, out);
  }
}

using Listing = std::vector<std::pair<std::string, std::string>>;

void list_section(const Section& section, const std::string& prefix, Listing& out) {
  for (const ConfigKey& key : section.keys()) {
    const std::string name = prefix + key.name;
    switch (key.kind) {
      case ConfigKey::Kind::scalar:
        out.emplace_back(name, key.scalar.show());
        break;
      case ConfigKey::Kind::scalars:
        out.emplace_back(name, fmt::format("{}{}", word_of(key), fmt::join(key.show_all(), " ")));
        break;
      case ConfigKey::Kind::section:
        list_section(*key.section, name + ".", out);
        break;
      case ConfigKey::Kind::sections: {
        const auto all = key.all_sections();
        for (std::size_t i = 0; i < all.size(); ++i) list_section(all[i], fmt::format("{}[{}].", name, i), out);
        break;
      }
    }
  }
}

}  // namespace

Listing config_listing(const Config& config, const Section& app) {
  Config copy = config;
  Listing all;
  list_section(config_section(copy), "", all);
  list_section(app, "app.", all);
  return all;
}

std::string to_yaml(Section section) {
  std::string out;
  write_section(section, "", out);
  return out;
}

std::string to_yaml(const Config& config, const Section& app) {
  Config copy = config;  // sections are bound to fields that may be written
  Section section = config_section(copy);
  if (!app.keys().empty()) section.section("app", app, "The program's own settings");
  return to_yaml(std::move(section));
}

}  // namespace pollux
