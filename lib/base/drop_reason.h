// Why a packet was dropped. Every dropped packet has exactly one reason and is counted under it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace pollux {

enum class DropReason : std::uint8_t {
  none = 0,  ///< Not dropped: handled, queued or delivered.
#define POLLUX_DROP(name, text) name,
#include "pollux/base/drop_reason.def"
#undef POLLUX_DROP
  count_
};

inline constexpr std::size_t drop_reason_count = static_cast<std::size_t>(DropReason::count_);

/// The identifier used in drop_reason.def, e.g. "tcp_bad_checksum".
const char* drop_reason_name(DropReason reason) noexcept;
/// The sentence for operators from drop_reason.def.
const char* drop_reason_text(DropReason reason) noexcept;

}  // namespace pollux
