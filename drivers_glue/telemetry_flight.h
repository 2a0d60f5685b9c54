// Flight records as text, for telemetry and for the end of a program that failed.
#pragma once

#include <cstdint>
#include <string>

#include "pollux/base/flight_recorder.h"
#include "pollux/drivers_glue/telemetry_answers.h"

namespace pollux {

/// "2026-01-31 08:21:33.123456 0/17/3 state ESTABLISHED": UTC, connection, what. `to_unix_ns` is the
/// difference between the wall clock and the records'.
std::string flight_line(const FlightRecord& record, std::size_t core, std::int64_t to_unix_ns);
/// The difference now, for clocks like CoreClock.
std::int64_t to_unix_ns() noexcept;

TelemetryDict answer_events(TelemetrySource& source, TelemetryParameters& parameters);

/// Writes the last records of a core to standard error, without allocating. For CHECK failures.
void write_flight(const FlightRecorder& recorder, std::size_t core) noexcept;

}  // namespace pollux
