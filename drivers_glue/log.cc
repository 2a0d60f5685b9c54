#include "pollux/drivers_glue/log.h"

#include <unistd.h>

#include <array>
#include <atomic>
#include <string>

namespace pollux {
namespace {

constexpr std::array<std::string_view, 4> names = {"error", "warning", "info", "debug"};
std::atomic<LogLevel> current_level = LogLevel::info;

}  // namespace

std::optional<LogLevel> log_level_from(std::string_view name) noexcept {
  for (std::size_t i = 0; i < names.size(); ++i)
    if (names[i] == name) return static_cast<LogLevel>(i);
  return std::nullopt;
}

void set_log_level(LogLevel level) noexcept {
  current_level = level;
}
LogLevel log_level() noexcept {
  return current_level;
}

std::string_view log_level_name(LogLevel level) noexcept {
  return names[static_cast<std::size_t>(level)];
}

void log_line(LogLevel level, std::string_view text) {
  if (level > current_level) return;
  const std::string line =
      level == LogLevel::info ? fmt::format("pollux: {}\n", text)
                              : fmt::format("pollux: {}: {}\n", names[static_cast<std::size_t>(level)], text);
  // A log line that standard error does not take has nowhere else to go.
  [[maybe_unused]] const auto written = write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace pollux
