// The rules that tie a Config's fields together, one place for programs and for the YAML loader.
#pragma once

#include <optional>
#include <string>

#include "pollux/drivers_glue/config.h"

namespace pollux {

/// A key as in YAML ("ports[0].addresses") and what was expected of it.
struct ConfigProblem {
  std::string key;
  std::string text;
};

/// The first thing wrong with `config`; nullopt when Runtime may try. Ranges of IP, TCP and UDP options are
/// Stack::create's to judge.
std::optional<ConfigProblem> check_config(const Config& config);

}  // namespace pollux
