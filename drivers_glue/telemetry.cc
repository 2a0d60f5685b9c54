#include "pollux/drivers_glue/telemetry.h"

#include <fmt/core.h>
#include <rte_telemetry.h>

#include <mutex>
#include <stdexcept>

#include "pollux/base/check.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/telemetry_answers.h"

namespace pollux {
namespace {

// DPDK 22.11 hands a callback no context of its own. Held while a question is answered, so that the source
// stays.
std::mutex source_mutex;
TelemetrySource* current_source = nullptr;

int answer(const char* name, const char* parameters, rte_tel_data* data) noexcept {
  try {
    const std::lock_guard lock(source_mutex);
    const TelemetryDict value =
        current_source == nullptr
            ? TelemetryDict().add("error", "nothing runs")
            : telemetry_answer(*current_source, name, parameters == nullptr ? "" : parameters);
    if (!value.fill(data)) log_warning("telemetry: DPDK did not take the whole answer to {}", name);
    return 0;
  } catch (const std::exception& error) {
    log_warning("telemetry: {}: {}", name, error.what());
    return -1;
  }
}

}  // namespace

Telemetry::Telemetry(TelemetrySource& source) {
  const std::lock_guard lock(source_mutex);
  POLLUX_CHECK(current_source == nullptr, "telemetry answers for another runtime");
  for (const auto& command : telemetry_commands())
    if (rte_telemetry_register_cmd(command.name, answer, command.help) != 0)
      throw std::runtime_error(fmt::format("telemetry: DPDK refused the command {}", command.name));
  current_source = &source;
}

Telemetry::~Telemetry() {
  const std::lock_guard lock(source_mutex);
  current_source = nullptr;
}

}  // namespace pollux
