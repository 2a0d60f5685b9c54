// Secrets and seeds from the kernel's random source. Start-up only.
#pragma once

#include <cstdint>
#include <span>

#include "pollux/stack/stack.h"

namespace pollux {

/// Fills `out` by getrandom(2). Throws std::runtime_error when the kernel has none.
void fill_random(std::span<std::uint8_t> out);
std::uint64_t random_u64();
StackSecrets random_secrets();

}  // namespace pollux
