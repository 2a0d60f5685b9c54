// Time as the core sees it: signed 64-bit nanoseconds since an epoch that the caller of Stack chooses.
// Nothing under lib/ reads a clock; `now` is an argument everywhere (the simulator's clock is exact).
#pragma once

#include <compare>
#include <cstdint>
#include <limits>

namespace pollux {

/// A length of time, nanosecond resolution, +-292 years.
class Duration {
 public:
  constexpr Duration() noexcept = default;
  static constexpr Duration from_ns(std::int64_t ns) noexcept { return Duration(ns); }
  static constexpr Duration from_us(std::int64_t us) noexcept { return Duration(us * 1'000); }
  static constexpr Duration from_ms(std::int64_t ms) noexcept { return Duration(ms * 1'000'000); }
  static constexpr Duration from_s(std::int64_t s) noexcept { return Duration(s * 1'000'000'000); }
  static constexpr Duration max() noexcept { return Duration(std::numeric_limits<std::int64_t>::max()); }

  constexpr std::int64_t ns() const noexcept { return ns_; }
  constexpr std::int64_t us() const noexcept { return ns_ / 1'000; }
  constexpr std::int64_t ms() const noexcept { return ns_ / 1'000'000; }
  constexpr double seconds() const noexcept { return static_cast<double>(ns_) * 1e-9; }

  constexpr auto operator<=>(const Duration&) const noexcept = default;
  constexpr Duration operator+(Duration other) const noexcept { return Duration(ns_ + other.ns_); }
  constexpr Duration operator-(Duration other) const noexcept { return Duration(ns_ - other.ns_); }
  constexpr Duration operator*(std::int64_t factor) const noexcept { return Duration(ns_ * factor); }
  constexpr Duration operator/(std::int64_t divisor) const noexcept { return Duration(ns_ / divisor); }
  constexpr Duration& operator+=(Duration other) noexcept { ns_ += other.ns_; return *this; }

 private:
  explicit constexpr Duration(std::int64_t ns) noexcept : ns_(ns) {}
  std::int64_t ns_ = 0;
};

/// A point in time. `TimePoint::never()` is later than every deadline.
class TimePoint {
 public:
  constexpr TimePoint() noexcept = default;
  static constexpr TimePoint from_ns(std::int64_t ns) noexcept { return TimePoint(ns); }
  static constexpr TimePoint never() noexcept { return TimePoint(std::numeric_limits<std::int64_t>::max()); }

  constexpr std::int64_t ns() const noexcept { return ns_; }
  constexpr std::int64_t us() const noexcept { return ns_ / 1'000; }
  constexpr std::int64_t ms() const noexcept { return ns_ / 1'000'000; }
  constexpr bool is_never() const noexcept { return *this == never(); }

  constexpr auto operator<=>(const TimePoint&) const noexcept = default;
  constexpr TimePoint operator+(Duration d) const noexcept { return TimePoint(ns_ + d.ns()); }
  constexpr TimePoint operator-(Duration d) const noexcept { return TimePoint(ns_ - d.ns()); }
  constexpr Duration operator-(TimePoint other) const noexcept { return Duration::from_ns(ns_ - other.ns_); }

 private:
  explicit constexpr TimePoint(std::int64_t ns) noexcept : ns_(ns) {}
  std::int64_t ns_ = 0;
};

inline namespace literals {
constexpr Duration operator""_ns(unsigned long long v) noexcept { return Duration::from_ns(static_cast<std::int64_t>(v)); }
constexpr Duration operator""_us(unsigned long long v) noexcept { return Duration::from_us(static_cast<std::int64_t>(v)); }
constexpr Duration operator""_ms(unsigned long long v) noexcept { return Duration::from_ms(static_cast<std::int64_t>(v)); }
constexpr Duration operator""_s(unsigned long long v) noexcept { return Duration::from_s(static_cast<std::int64_t>(v)); }
}  // namespace literals

}  // namespace pollux
