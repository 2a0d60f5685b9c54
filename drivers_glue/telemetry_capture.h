// Commands that start, stop and watch a capture.
#pragma once

#include "pollux/drivers_glue/telemetry_answers.h"

namespace pollux {

TelemetryDict answer_capture(TelemetrySource& source, TelemetryParameters& parameters);
TelemetryDict answer_capture_start(TelemetrySource& source, TelemetryParameters& parameters);
TelemetryDict answer_capture_stop(TelemetrySource& source, TelemetryParameters& parameters);

}  // namespace pollux
