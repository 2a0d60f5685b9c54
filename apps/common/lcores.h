// --lcores on the command line: the same as the file's `cores`.
#pragma once

#include <string>
#include <string_view>

namespace pollux::app {

inline constexpr const char* lcores_help =
    "CPUs that poll, whatever cores in the file says: auto, or numbers and ranges like 1,2 or 2-5";

/// What `cores` would be in the file: "auto", or "2,4-6" as "[2, 4, 5, 6]". Throws std::invalid_argument with a text for
/// the user; a CPU given twice is the configuration's mistake to find.
std::string lcores_as_yaml(std::string_view text);

}  // namespace pollux::app
