// The counters of a Runtime as text for people.
#pragma once

#include <rte_ethdev.h>

#include <span>
#include <string>

#include "pollux/drivers_glue/polling_core.h"

namespace pollux {

struct PortReport {
  std::string name;
  rte_eth_stats stats;
};

struct CoreReport {
  unsigned cpu = 0;
  CoreSnapshot snapshot;
};

/// The sum over `cores`.
Counters total_counters(std::span<const CoreReport> cores) noexcept;

/// Counters that are not zero with their meaning, drops by reason, every port and every core; lines end in
/// \n.
std::string counters_text(std::span<const PortReport> ports, std::span<const CoreReport> cores);

}  // namespace pollux
