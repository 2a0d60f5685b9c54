// The text that chargen, HTTP bodies and load are made of: RFC 864's rotating lines, from any position on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace pollux::app {

inline constexpr std::size_t pattern_line = 74;                  ///< 72 characters, CR, LF
inline constexpr std::size_t pattern_cycle = 95 * pattern_line;  ///< every printable character has led once

/// Octets [offset, offset + length) of the endless pattern, at least one and as many of `length` (>= 1) as
/// are contiguous: pattern_chunk_min or more when there are so many.
std::span<const std::uint8_t> pattern_at(std::uint64_t offset, std::uint64_t length) noexcept;
inline constexpr std::size_t pattern_chunk_min = 8 * pattern_cycle;

}  // namespace pollux::app
