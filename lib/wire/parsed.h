// What parsers return: a checked view, or the reason to drop the packet.
#pragma once

#include <cstdint>
#include <span>
#include <tl/expected.hpp>

#include "pollux/base/drop_reason.h"

namespace pollux {

using ByteView = std::span<const std::uint8_t>;
using MutableByteView = std::span<std::uint8_t>;

template <typename View>
using Parsed = tl::expected<View, DropReason>;

inline tl::unexpected<DropReason> reject(DropReason reason) noexcept {
  return tl::unexpected<DropReason>(reason);
}

}  // namespace pollux
