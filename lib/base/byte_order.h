// Unaligned big-endian loads and stores: network headers have no alignment guarantee.
#pragma once

#include <cstdint>
#include <cstring>

namespace pollux {

inline std::uint16_t load_be16(const std::uint8_t* from) noexcept {
  std::uint16_t v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_bswap16(v);
}
inline std::uint32_t load_be32(const std::uint8_t* from) noexcept {
  std::uint32_t v;
  std::memcpy(&v, from, sizeof v);
  return __builtin_bswap32(v);
}
inline void store_be16(std::uint8_t* to, std::uint16_t value) noexcept {
  value = __builtin_bswap16(value);
  std::memcpy(to, &value, sizeof value);
}
inline void store_be32(std::uint8_t* to, std::uint32_t value) noexcept {
  value = __builtin_bswap32(value);
  std::memcpy(to, &value, sizeof value);
}

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "big-endian hosts are not supported");

}  // namespace pollux
