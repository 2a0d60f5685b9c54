// DPDK's telemetry socket: registers our commands and hands questions to a Runtime.
#pragma once

#include "pollux/drivers_glue/telemetry_source.h"

namespace pollux {

/// While it lives, `source` answers the commands under /pollux/ (telemetry_answers.h). One at a time in a
/// process. DPDK keeps the commands registered; afterwards they answer that nothing runs.
class Telemetry {
 public:
  /// `source` outlives it. Throws std::runtime_error when DPDK refuses a command.
  explicit Telemetry(TelemetrySource& source);
  ~Telemetry();
  Telemetry(const Telemetry&) = delete;
  Telemetry& operator=(const Telemetry&) = delete;
};

}  // namespace pollux
