// The seed of a random test. A failing run prints it; POLLUX_SEED=<that> replays the run.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace pollux::test {

/// POLLUX_SEED (decimal or 0x...) when the environment has it, `usual` otherwise; printed either way.
inline std::uint64_t seed_from_environment(std::uint64_t usual) {
  const char* text = std::getenv("POLLUX_SEED");
  const std::uint64_t seed = text != nullptr ? std::strtoull(text, nullptr, 0) : usual;
  std::printf("POLLUX_SEED=%llu\n", static_cast<unsigned long long>(seed));
  return seed;
}

}  // namespace pollux::test
