#include "l4ctl/print.h"

#include <fmt/format.h>

#include <algorithm>

namespace pollux::app {
namespace {

bool is_number(const std::string& text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return (c >= '0' && c <= '9') || c == '.'; });
}

bool is_zero(const Json& value) {
  return value.is_number() && value == 0;
}

}  // namespace

std::string cell(const Json& value) {
  return value.is_string() ? value.get<std::string>() : value.dump();
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_)
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i == widths.size()) widths.push_back(0);
      widths[i] = std::max(widths[i], row[i].size());
    }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i != 0) line += "  ";
      line += is_number(row[i]) ? fmt::format("{:>{}}", row[i], widths[i])
                                : fmt::format("{:<{}}", row[i], widths[i]);
    }
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

std::string lines(const Json& value, bool with_zeros, const std::string& indent) {
  std::size_t width = 0;
  for (const auto& [name, inner] : value.items())
    if (!inner.is_object() && (with_zeros || !is_zero(inner))) width = std::max(width, name.size());
  std::string out;
  for (const auto& [name, inner] : value.items()) {
    if (inner.is_object())
      out += fmt::format("{}{}:\n{}", indent, name, lines(inner, with_zeros, indent + "  "));
    else if (with_zeros || !is_zero(inner))
      out += fmt::format("{}{:<{}}  {}\n", indent, name, width, cell(inner));
  }
  return out;
}

std::string table_of(const Json& value, const std::string& key) {
  if (value.empty()) return "";
  std::vector<std::string> head = {key};
  for (const auto& [name, inner] : value.begin()->items()) head.push_back(name);
  Table table(head);
  for (const auto& [name, row] : value.items()) {
    std::vector<std::string> cells = {name};
    for (std::size_t i = 1; i < head.size(); ++i)
      cells.push_back(row.contains(head[i]) ? cell(row[head[i]]) : "");
    table.add(std::move(cells));
  }
  return table.text();
}

std::string connections_table(const Json& connections) {
  Table table({"state", "recv-q", "send-q", "local", "remote", "srtt-us", "cwnd", "in-flight", "id", ""});
  for (const auto& [id, c] : connections.items()) {
    std::string note = c.contains("recovery") ? cell(c["recovery"]) : "";
    if (c.contains("retries"))
      note += fmt::format("{}retries {}", note.empty() ? "" : ", ", cell(c["retries"]));
    table.add({cell(c["state"]), cell(c["recv_q"]), cell(c["send_q"]), cell(c["local"]), cell(c["remote"]),
               cell(c["srtt_us"]), cell(c["cwnd"]), cell(c["in_flight"]), id, note});
  }
  return table.text();
}

}  // namespace pollux::app
