// A latency histogram with log-linear buckets, as HDR histograms have: constant time, constant memory, and a
// value's bucket is at most 1/64 of the value wide.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>

namespace pollux::app {

/// Of values 0 .. value_max (nanoseconds here); larger ones count as value_max.
class Histogram {
 public:
  static constexpr unsigned linear_bits = 6;  ///< 64 buckets for each power of two
  static constexpr unsigned value_bits = 40;  ///< 2^40 ns: 18 minutes
  static constexpr std::uint64_t value_max = (std::uint64_t{1} << value_bits) - 1;

  void record(std::uint64_t value) noexcept {
    value = std::min(value, value_max);
    ++buckets_[bucket_of(value)];
    ++count_;
    max_ = std::max(max_, value);
  }
  Histogram& operator+=(const Histogram& other) noexcept {
    for (std::size_t i = 0; i < buckets_.size(); ++i) buckets_[i] += other.buckets_[i];
    count_ += other.count_;
    max_ = std::max(max_, other.max_);
    return *this;
  }

  std::uint64_t count() const noexcept { return count_; }
  /// Exact; 0 when empty.
  std::uint64_t max() const noexcept { return max_; }
  /// The smallest recorded value that at least `q` (0..1) of all values do not exceed, rounded up to its
  /// bucket's end but never above max(); 0 when empty.
  std::uint64_t quantile(double q) const noexcept {
    const auto wanted = static_cast<std::uint64_t>(std::ceil(q * static_cast<double>(count_)));
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (seen >= std::max<std::uint64_t>(wanted, 1)) return std::min(last_of(i), max_);
    }
    return max_;
  }

 private:
  static constexpr std::uint64_t linear = std::uint64_t{1} << linear_bits;

  /// Values below 64 have a bucket each; above, the 7 leading bits choose it.
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    if (value < linear) return static_cast<std::size_t>(value);
    const unsigned shift = static_cast<unsigned>(std::bit_width(value)) - 1 - linear_bits;
    return static_cast<std::size_t>((shift + 1) * linear + (value >> shift) - linear);
  }
  static constexpr std::uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < linear) return bucket;
    const auto shift = static_cast<unsigned>(bucket / linear - 1);
    return (((bucket % linear) + linear + 1) << shift) - 1;
  }

  std::array<std::uint64_t, (value_bits - linear_bits + 1) * linear> buckets_{};
  std::uint64_t count_ = 0;
  std::uint64_t max_ = 0;
};

}  // namespace pollux::app
