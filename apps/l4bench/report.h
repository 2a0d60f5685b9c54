// Results for people and for programs.
#pragma once

#include <string>

#include "l4bench/load.h"

namespace pollux::app {

/// What was run, for the report's head.
struct Subject {
  std::string via;     ///< "pollux" or "kernel"
  std::string remote;  ///< "192.0.2.2:7"
};

const char* mode_name(Mode mode) noexcept;
/// A table, a line for each figure.
std::string report_text(const Subject& subject, const LoadOptions& options, const Results& results);
/// The same as one JSON object; times in microseconds, rates per second.
std::string report_json(const Subject& subject, const LoadOptions& options, const Results& results);

}  // namespace pollux::app
