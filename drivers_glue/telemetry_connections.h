// Questions about connections and listeners.
#pragma once

#include "pollux/drivers_glue/telemetry_answers.h"

namespace pollux {

TelemetryDict answer_connections(TelemetrySource& source, TelemetryParameters& parameters);
TelemetryDict answer_connection(TelemetrySource& source, TelemetryParameters& parameters);
TelemetryDict answer_listeners(TelemetrySource& source, TelemetryParameters& parameters);
TelemetryDict answer_close(TelemetrySource& source, TelemetryParameters& parameters);

}  // namespace pollux
