// Log lines of the control thread on standard error: "pollux: warning: text". Not for the data path, which
// counts and stays silent.
#pragma once

#include <fmt/core.h>

#include <cstdint>
#include <optional>
#include <string_view>

namespace pollux {

enum class LogLevel : std::uint8_t { error, warning, info, debug };

/// The level called `name` in Config::log_level.
std::optional<LogLevel> log_level_from(std::string_view name) noexcept;
/// Lines above this level are not written. Default: info. Set by Runtime at start-up.
void set_log_level(LogLevel level) noexcept;
LogLevel log_level() noexcept;
/// The name that log_level_from() knows.
std::string_view log_level_name(LogLevel level) noexcept;
/// Writes one line, in one write.
void log_line(LogLevel level, std::string_view text);

template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::warning, fmt::format(format, std::forward<Args>(args)...));
}
template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
  log_line(LogLevel::info, fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace pollux
