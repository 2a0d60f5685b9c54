#include "pollux/drivers_glue/telemetry_capture.h"

#include <fmt/format.h>

#include "pollux/drivers_glue/capture.h"

namespace pollux {
namespace {

TelemetryDict status_value(const Capture* capture) {
  if (capture == nullptr) return TelemetryDict().add("running", std::uint64_t{0});
  const Capture::Status status = capture->status();
  TelemetryDict value;
  value.add("running", status.running).add("written", status.written).add("lost", status.lost);
  if (!status.error.empty()) value.add("error", "cannot write the file: " + status.error);
  return value;
}

/// "rx+tx+drop", any of them.
void take_points(TelemetryParameters& parameters, CaptureOptions& options) {
  const auto text = parameters.take("points");
  if (!text) return;
  options.rx = options.tx = options.drop = false;
  std::string_view rest = *text;
  while (true) {
    const std::string_view point = rest.substr(0, rest.find('+'));
    if (point == "rx")
      options.rx = true;
    else if (point == "tx")
      options.tx = true;
    else if (point == "drop")
      options.drop = true;
    else
      throw TelemetryError(fmt::format("points: expected rx, tx and drop joined by +, found '{}'", *text));
    if (point.size() == rest.size()) return;
    rest.remove_prefix(point.size() + 1);
  }
}

}  // namespace

TelemetryDict answer_capture(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  return status_value(source.capture().get());
}

TelemetryDict answer_capture_start(TelemetrySource& source, TelemetryParameters& parameters) {
  constexpr std::uint64_t count_max = 1'000'000'000;
  constexpr std::uint64_t seconds_max = 7 * 86'400;
  bool handing_over = false;
  source.on_core(0, [&](PollingCore& on) { handing_over = on.is_handing_over(); });
  if (handing_over) throw TelemetryError("not while connections are handed over between two programs");
  CaptureOptions options;
  options.file = parameters.take("file").value_or("");
  if (!options.file.starts_with('/')) throw TelemetryError("file: expected an absolute path");
  options.filter = parameters.take("filter").value_or("");
  options.count = parameters.take_number("count", 1, count_max).value_or(0);
  if (const auto seconds = parameters.take_number("seconds", 1, seconds_max))
    options.time_max = Duration::from_s(static_cast<std::int64_t>(*seconds));
  options.snap_length = static_cast<std::uint32_t>(
      parameters.take_number("snap_length", 1, 16'384).value_or(options.snap_length));
  take_points(parameters, options);
  parameters.finish("file, filter, count, seconds, snap_length, points");
  auto& capture = source.capture();
  if (capture != nullptr && capture->status().running)
    throw TelemetryError("a capture is running; /pollux/capture/stop ends it");
  capture.reset();
  capture = std::make_unique<Capture>(source, options);
  return status_value(capture.get());
}

TelemetryDict answer_capture_stop(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  if (source.capture() == nullptr) throw TelemetryError("no capture was started");
  source.capture()->stop();
  return status_value(source.capture().get());
}

}  // namespace pollux
