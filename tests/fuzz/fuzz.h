// What every fuzz target needs: exactly sized buffers and a reader that turns input octets into choices.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>

#include "pollux/base/check.h"

namespace pollux::fuzz {

/// A heap block of exactly `size` octets, so that AddressSanitizer sees the first octet touched behind it. An
/// empty one has no address at all.
class ExactBlock {
 public:
  explicit ExactBlock(std::size_t size)
      : size_(size), octets_(size != 0 ? std::make_unique<std::uint8_t[]>(size) : nullptr) {}
  explicit ExactBlock(std::span<const std::uint8_t> content) : ExactBlock(content.size()) {
    if (size_ != 0) std::memcpy(data(), content.data(), size_);
  }

  std::uint8_t* data() noexcept { return octets_.get(); }
  std::span<std::uint8_t> span() noexcept { return {data(), size_}; }
  bool operator==(const ExactBlock& other) const noexcept {
    return std::ranges::equal(std::span(octets_.get(), size_), std::span(other.octets_.get(), other.size_));
  }

 private:
  std::size_t size_;
  std::unique_ptr<std::uint8_t[]> octets_;
};

/// Takes choices from the front of the input; zeros when it is used up.
class Reader {
 public:
  explicit Reader(std::span<const std::uint8_t> input) noexcept : rest_(input) {}

  bool done() const noexcept { return rest_.empty(); }
  std::uint8_t u8() noexcept { return static_cast<std::uint8_t>(number(1)); }
  std::uint16_t u16() noexcept { return static_cast<std::uint16_t>(number(2)); }
  std::uint32_t u32() noexcept { return number(4); }
  /// At most `n` octets.
  std::span<const std::uint8_t> bytes(std::size_t n) noexcept {
    const auto taken = rest_.first(std::min(n, rest_.size()));
    rest_ = rest_.subspan(taken.size());
    return taken;
  }
  std::span<const std::uint8_t> rest() noexcept { return bytes(rest_.size()); }

 private:
  std::uint32_t number(std::size_t octets) noexcept {
    std::uint32_t value = 0;
    for (const std::uint8_t octet : bytes(octets)) value = value << 8 | octet;
    return value;
  }
  std::span<const std::uint8_t> rest_;
};

}  // namespace pollux::fuzz

/// A property that every input must show; its failure is a finding.
#define FUZZ_REQUIRE(condition) POLLUX_CHECK(condition, "property of the fuzz target")
