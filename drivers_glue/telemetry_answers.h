// The questions that telemetry answers, without the socket they come from.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "pollux/drivers_glue/telemetry_source.h"
#include "pollux/drivers_glue/telemetry_value.h"

namespace pollux {

struct TelemetryCommand {
  const char* name;  ///< "/pollux/..."
  const char* help;  ///< one sentence, with its parameters
  TelemetryDict (*answer)(TelemetrySource& source, TelemetryParameters& parameters);
};

/// Every command.
std::span<const TelemetryCommand> telemetry_commands() noexcept;

/// Answers `name` with `parameters`, as text behind the first comma. A mistake is an answer too: {"error":
/// text}.
TelemetryDict telemetry_answer(TelemetrySource& source, std::string_view name, std::string_view parameters);

/// A connection's name: core/slot/generation.
struct ConnectionId {
  std::size_t core = 0;
  SlabHandle handle;
  static std::optional<ConnectionId> from_string(std::string_view text) noexcept;
  std::string to_string() const;
};

/// Pieces of answers, for tests.
TelemetryDict counters_value(const Counters& counters);
TelemetryDict core_value(const CoreReport& core);
TelemetryDict connection_summary(const TcpInfo& info);
TelemetryDict connection_value(const TcpInfo& info);
/// Takes the parameters of a listing that choose connections. Throws TelemetryError.
TcpFilter take_filter(TelemetryParameters& parameters);

}  // namespace pollux
