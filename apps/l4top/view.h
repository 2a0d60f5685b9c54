// What l4top shows: rates between two samples of a program's telemetry.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "l4ctl/telemetry_client.h"

namespace pollux::app {

struct Sample {
  std::chrono::steady_clock::time_point at;
  Json cores;
  Json ports;
  Json queues;
  Json counters;
  Json connections;  ///< of the first connections_max
};

inline constexpr std::size_t connections_max = 400;

Sample take_sample(TelemetryClient& client);

/// Rates from `before` to `after`: {interval_s, cores: [...], ports: [...], queues: [...], tcp: {...}, drops: [...],
/// connections: [...]}. Connections come in descending order of `sort`, a field of theirs; the largest drops
/// first.
Json make_view(const Sample& before, const Sample& after, const std::string& sort);

/// Fields that connections can be sorted by.
const std::vector<std::string>& sort_fields();

/// The view as lines of text, at most `connections` connections.
std::vector<std::string> view_lines(const Json& view, const std::string& title, const std::string& sort,
                                    std::size_t connections);

}  // namespace pollux::app
