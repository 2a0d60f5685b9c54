#include "l4bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

namespace pollux::app {
namespace {

double seconds(const Results& results) {
  return static_cast<double>(results.measured_ns) * 1e-9;
}

double per_second(std::uint64_t count, const Results& results) {
  return results.measured_ns == 0 ? 0.0 : static_cast<double>(count) / seconds(results);
}

double mbit_per_second(std::uint64_t octets, const Results& results) {
  return per_second(octets, results) * 8e-6;
}

double microseconds(std::uint64_t ns) {
  return static_cast<double>(ns) * 1e-3;
}

}  // namespace

const char* mode_name(Mode mode) noexcept {
  switch (mode) {
    case Mode::rr:
      return "rr";
    case Mode::cec:
      return "cec";
    case Mode::stream:
      return "stream";
  }
  return "?";
}

std::string report_text(const Subject& subject, const LoadOptions& options, const Results& results) {
  std::string text =
      fmt::format("{} to {} via {}, {} connection{}\n", mode_name(options.mode), subject.remote, subject.via,
                  options.connections, options.connections == 1 ? "" : "s");
  const auto line = [&text](const char* name, const std::string& value) {
    text += fmt::format("  {:<22}{:>16}\n", name, value);
  };
  line("measured s", fmt::format("{:.3f}", seconds(results)));
  line("connections opened", fmt::format("{}", results.connections));
  if (options.mode != Mode::stream) {
    line(options.mode == Mode::rr ? "round trips" : "cycles", fmt::format("{}", results.operations));
    line("per second", fmt::format("{:.0f}", per_second(results.operations, results)));
  }
  line("sent octets", fmt::format("{}", results.octets_sent));
  line("sent Mbit/s", fmt::format("{:.1f}", mbit_per_second(results.octets_sent, results)));
  line("received octets", fmt::format("{}", results.octets_received));
  line("received Mbit/s", fmt::format("{:.1f}", mbit_per_second(results.octets_received, results)));
  if (results.latency.count() != 0) {
    const Histogram& h = results.latency;
    line("latency us p50", fmt::format("{:.1f}", microseconds(h.quantile(0.5))));
    line("latency us p90", fmt::format("{:.1f}", microseconds(h.quantile(0.9))));
    line("latency us p99", fmt::format("{:.1f}", microseconds(h.quantile(0.99))));
    line("latency us max", fmt::format("{:.1f}", microseconds(h.max())));
  }
  line("errors", fmt::format("{}", results.errors()));
  for (std::size_t i = 0; i < Results::reasons; ++i)
    if (results.closed_early[i] != 0)
      line(fmt::format("  ended early: {}", close_reason_name(static_cast<CloseReason>(i))).c_str(),
           fmt::format("{}", results.closed_early[i]));
  if (results.no_connection != 0) line("  no port or memory", fmt::format("{}", results.no_connection));
  if (results.mismatches != 0) line("  wrong echo", fmt::format("{}", results.mismatches));
  if (results.unfinished != 0) line("  unfinished", fmt::format("{}", results.unfinished));
  return text;
}

std::string report_json(const Subject& subject, const LoadOptions& options, const Results& results) {
  nlohmann::ordered_json json = {
      {"mode", mode_name(options.mode)},
      {"via", subject.via},
      {"remote", subject.remote},
      {"connections", options.connections},
      {"size", options.size},
      {"seconds", seconds(results)},
      {"connections_opened", results.connections},
      {"operations", results.operations},
      {"operations_per_second", per_second(results.operations, results)},
      {"octets_sent", results.octets_sent},
      {"octets_received", results.octets_received},
      {"sent_mbit_per_second", mbit_per_second(results.octets_sent, results)},
      {"received_mbit_per_second", mbit_per_second(results.octets_received, results)},
  };
  const Histogram& h = results.latency;
  json["latency_us"] = {{"count", h.count()},
                        {"p50", microseconds(h.quantile(0.5))},
                        {"p90", microseconds(h.quantile(0.9))},
                        {"p99", microseconds(h.quantile(0.99))},
                        {"max", microseconds(h.max())}};
  auto& early = json["ended_early"] = nlohmann::ordered_json::object();
  for (std::size_t i = 0; i < Results::reasons; ++i) {
    std::string key = close_reason_name(static_cast<CloseReason>(i));
    std::replace(key.begin(), key.end(), ' ', '_');
    early[key] = results.closed_early[i];
  }
  json["no_connection"] = results.no_connection;
  json["mismatches"] = results.mismatches;
  json["unfinished"] = results.unfinished;
  json["errors"] = results.errors();
  return json.dump(2) + "\n";
}

}  // namespace pollux::app
