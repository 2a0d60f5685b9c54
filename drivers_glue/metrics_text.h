// What Prometheus scrapes: text exposition format 0.0.4, names and units by its conventions.
#pragma once

#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/counters_text.h"

namespace pollux {

/// What a port's driver counts, beside PortReport.
struct PortMetrics {
  PortReport report;
  std::vector<std::pair<std::string, std::uint64_t>> xstats;
};

/// Every counter, drop reason, loop, pool and table, with a `core` label, and every port, with a `port`
/// label.
std::string metrics_text(std::span<const PortMetrics> ports, std::span<const CoreReport> cores);

}  // namespace pollux
