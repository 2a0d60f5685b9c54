// A TCP sequence number: 32-bit modular arithmetic, RFC 9293 3.4. Ordering is defined only between numbers
// less than 2^31 apart, so there is no operator< to misuse in a container; use before()/after().
#pragma once

#include <cstdint>

namespace pollux {

class SeqNum {
 public:
  constexpr SeqNum() noexcept = default;
  explicit constexpr SeqNum(std::uint32_t value) noexcept : value_(value) {}

  constexpr std::uint32_t value() const noexcept { return value_; }
  constexpr bool operator==(const SeqNum&) const noexcept = default;

  constexpr SeqNum operator+(std::uint32_t n) const noexcept { return SeqNum(value_ + n); }
  constexpr SeqNum operator-(std::uint32_t n) const noexcept { return SeqNum(value_ - n); }
  constexpr SeqNum& operator+=(std::uint32_t n) noexcept { value_ += n; return *this; }
  /// Signed distance from `other` to this, in octets.
  constexpr std::int32_t operator-(SeqNum other) const noexcept {
    return static_cast<std::int32_t>(value_ - other.value_);
  }

  constexpr bool before(SeqNum other) const noexcept { return *this - other < 0; }
  constexpr bool before_eq(SeqNum other) const noexcept { return *this - other <= 0; }
  constexpr bool after(SeqNum other) const noexcept { return *this - other > 0; }
  constexpr bool after_eq(SeqNum other) const noexcept { return *this - other >= 0; }
  /// start <= this < start + length, modulo 2^32.
  constexpr bool in_window(SeqNum start, std::uint32_t length) const noexcept {
    return value_ - start.value_ < length;
  }

 private:
  std::uint32_t value_ = 0;
};

constexpr SeqNum seq_max(SeqNum a, SeqNum b) noexcept { return a.after(b) ? a : b; }
constexpr SeqNum seq_min(SeqNum a, SeqNum b) noexcept { return a.before(b) ? a : b; }

}  // namespace pollux
