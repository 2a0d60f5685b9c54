// Answers as tables for people.
#pragma once

#include <string>
#include <vector>

#include "l4ctl/telemetry_client.h"

namespace pollux::app {

/// Columns as wide as their widest cell, two spaces between them; numbers to the right.
class Table {
 public:
  explicit Table(std::vector<std::string> head) : rows_{std::move(head)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string text() const;

 private:
  std::vector<std::vector<std::string>> rows_;
};

/// A scalar without quotes.
std::string cell(const Json& value);

/// Dictionaries as indented "name  value" lines.
std::string lines(const Json& value, bool with_zeros = true, const std::string& indent = "");

/// A dictionary of equal dictionaries as a table; the names are the first column, called `key`.
std::string table_of(const Json& value, const std::string& key);

/// What /pollux/connections lists, as `ss` does.
std::string connections_table(const Json& connections);

}  // namespace pollux::app
