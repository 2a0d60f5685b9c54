#include "l4top/view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "l4ctl/print.h"

namespace pollux::app {
namespace {

std::uint64_t number(const Json& dict, const std::string& name) {
  return dict.contains(name) && dict[name].is_number() ? dict[name].get<std::uint64_t>() : 0;
}

/// How much a counter grew; one that was reset counts from zero.
std::uint64_t grown(const Json& before, const Json& after, const std::string& name) {
  const std::uint64_t a = number(before, name), b = number(after, name);
  return b >= a ? b - a : b;
}

double tenths(double value) {
  return std::round(value * 10) / 10;
}

const Json& inner(const Json& dict, const std::string& name) {
  static const Json nothing = Json::object();
  return dict.contains(name) ? dict[name] : nothing;
}

Json core_rows(const Sample& before, const Sample& after, double seconds) {
  Json rows = Json::array();
  for (const auto& [name, now] : after.cores.items()) {
    const Json& then = inner(before.cores, name);
    const auto busy = static_cast<double>(grown(then, now, "busy_ns"));
    const auto all = busy + static_cast<double>(grown(then, now, "idle_ns"));
    rows.push_back({{"core", name},
                    {"cpu", number(now, "cpu")},
                    {"busy_percent", all == 0 ? 0 : tenths(100 * busy / all)},
                    {"turns_per_s", std::round(static_cast<double>(grown(then, now, "turns")) / seconds)},
                    {"connections", number(now, "connections")},
                    {"buffers_used", number(now, "packets_in_use")},
                    {"buffers_free_min", number(now, "packets_free_min")},
                    {"drops_per_s", tenths(static_cast<double>(grown(then, now, "drops")) / seconds)}});
  }
  return rows;
}

Json port_rows(const Sample& before, const Sample& after, double seconds) {
  constexpr double bits_per_megabit_octet = 8e-6;
  Json rows = Json::array();
  for (const auto& [name, now] : after.ports.items()) {
    const Json& then = inner(before.ports, name);
    const auto rate = [&, &port = now](const char* field) {
      return static_cast<double>(grown(then, port, field)) / seconds;
    };
    rows.push_back({{"port", now["name"]},
                    {"rx_packets_per_s", std::round(rate("rx_packets"))},
                    {"rx_mbit_per_s", tenths(rate("rx_bytes") * bits_per_megabit_octet)},
                    {"rx_missed_per_s", tenths(rate("rx_missed"))},
                    {"tx_packets_per_s", std::round(rate("tx_packets"))},
                    {"tx_mbit_per_s", tenths(rate("tx_bytes") * bits_per_megabit_octet)},
                    {"tx_errors_per_s", tenths(rate("tx_errors"))}});
  }
  return rows;
}

Json queue_rows(const Sample& before, const Sample& after, double seconds) {
  Json rows = Json::array();
  for (const auto& [name, now] : after.queues.items()) {
    const Json& then = inner(before.queues, name);
    const auto rate = [&, &queue = now](const char* field) {
      return std::round(static_cast<double>(grown(then, queue, field)) / seconds);
    };
    rows.push_back({{"port", now["port"]},
                    {"queue", now["queue"]},
                    {"core", now["core"]},
                    {"rx_packets_per_s", rate("rx_packets")},
                    {"tx_packets_per_s", rate("tx_packets")}});
  }
  return rows;
}

Json drop_rows(const Sample& before, const Sample& after, double seconds) {
  std::vector<std::pair<double, std::string>> rates;
  for (const auto& [reason, count] : inner(after.counters, "drops").items()) {
    const auto more = grown(inner(before.counters, "drops"), inner(after.counters, "drops"), reason);
    if (more != 0) rates.emplace_back(static_cast<double>(more) / seconds, reason);
  }
  std::sort(rates.rbegin(), rates.rend());
  Json rows = Json::array();
  for (const auto& [rate, reason] : rates) rows.push_back({{"reason", reason}, {"per_s", tenths(rate)}});
  return rows;
}

Json tcp_row(const Sample& before, const Sample& after, double seconds) {
  Json row = Json::object();
  for (const auto& [label, name] : {std::pair{"accepted_per_s", "TcpPassiveOpens"},
                                    {"opened_per_s", "TcpActiveOpens"},
                                    {"segments_in_per_s", "TcpInSegs"},
                                    {"segments_out_per_s", "TcpOutSegs"},
                                    {"retransmitted_per_s", "TcpRetransSegs"},
                                    {"timeouts_per_s", "TcpExtTCPTimeouts"},
                                    {"resets_out_per_s", "TcpOutRsts"}})
    row[label] = tenths(static_cast<double>(grown(inner(before.counters, "counters"),
                                                  inner(after.counters, "counters"), name)) /
                        seconds);
  return row;
}

Json connection_rows(const Sample& after, const std::string& sort) {
  std::vector<Json> rows;
  for (const auto& [id, connection] : after.connections.items()) {
    Json row = connection;
    row["id"] = id;
    rows.push_back(std::move(row));
  }
  std::sort(rows.begin(), rows.end(), [&](const Json& a, const Json& b) {
    const auto x = number(a, sort), y = number(b, sort);
    return x != y ? x > y : cell(a["id"]) < cell(b["id"]);
  });
  return rows;
}

/// Rows with equal fields as a table.
void add_table(const Json& rows, std::size_t rows_max, std::vector<std::string>& out) {
  if (rows.empty()) return;
  std::vector<std::string> head;
  for (const auto& [name, value] : rows.front().items()) head.push_back(name);
  Table table(head);
  for (std::size_t i = 0; i < std::min(rows.size(), rows_max); ++i) {
    std::vector<std::string> cells;
    for (const auto& name : head) cells.push_back(rows[i].contains(name) ? cell(rows[i][name]) : "");
    table.add(std::move(cells));
  }
  const std::string text = table.text();
  for (std::size_t start = 0; start < text.size();) {
    const auto end = text.find('\n', start);
    out.push_back(text.substr(start, end - start));
    start = end + 1;
  }
}

}  // namespace

Sample take_sample(TelemetryClient& client) {
  Sample sample;
  sample.cores = client.ask("/pollux/cores");
  sample.at = std::chrono::steady_clock::now();
  sample.ports = client.ask("/pollux/ports");
  sample.queues = client.ask("/pollux/queues");
  sample.counters = client.ask("/pollux/counters");
  sample.connections = Json::object();
  std::string question = "/pollux/connections";
  while (sample.connections.size() < connections_max) {
    const Json answer = client.ask(question);
    sample.connections.update(answer["connections"]);
    if (!answer.contains("next")) break;
    question = "/pollux/connections,cursor=" + cell(answer["next"]);
  }
  return sample;
}

Json make_view(const Sample& before, const Sample& after, const std::string& sort) {
  const double seconds = std::max(std::chrono::duration<double>(after.at - before.at).count(), 1e-3);
  return {{"interval_s", std::round(seconds * 1000) / 1000}, {"cores", core_rows(before, after, seconds)},
          {"ports", port_rows(before, after, seconds)},      {"queues", queue_rows(before, after, seconds)},
          {"tcp", tcp_row(before, after, seconds)},          {"drops", drop_rows(before, after, seconds)},      {"connections", connection_rows(after, sort)}};
}

const std::vector<std::string>& sort_fields() {
  static const std::vector<std::string> fields = {"send_q", "recv_q", "in_flight", "cwnd", "srtt_us"};
  return fields;
}

std::vector<std::string> view_lines(const Json& view, const std::string& title, const std::string& sort,
                                    std::size_t connections) {
  std::vector<std::string> out = {title, ""};
  constexpr std::size_t all = ~std::size_t{0};
  constexpr std::size_t drops_shown = 5, queues_shown = 16;
  add_table(view["cores"], all, out);
  out.emplace_back();
  add_table(view["ports"], all, out);
  out.emplace_back();
  add_table(view["queues"], queues_shown, out);
  out.emplace_back();
  add_table(Json::array({view["tcp"]}), 1, out);
  out.emplace_back();
  if (view["drops"].empty()) out.emplace_back("no drops");
  add_table(view["drops"], drops_shown, out);
  out.push_back("");
  out.push_back(fmt::format("connections: {} seen, by {}", view["connections"].size(), sort));
  add_table(view["connections"], connections, out);
  return out;
}

}  // namespace pollux::app
