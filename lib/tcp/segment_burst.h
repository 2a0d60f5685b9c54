// The segments of one receive burst, between the checks of their headers and the connections they are for. Segments that
// continue each other become one here (GRO), so that a connection handles a burst's worth of data once.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/tcp/flow_key.h"
#include "pollux/tcp/segment.h"

namespace pollux {

/// One core's; filled and emptied within one Stack::input().
class SegmentBurst {
 public:
  static constexpr std::uint32_t capacity = 32;
  /// Octets of a merged segment, and mbufs of its chain.
  static constexpr std::uint32_t merged_octets_max = 65535;
  static constexpr std::uint32_t merged_mbufs_max = 64;

  struct Entry {
    FlowKey key;
    std::uint32_t hash = 0;
    Segment seg;
    TcpOptionValues options;  ///< where seg.options points to
    rte_mbuf* last = nullptr;  ///< of the payload's chain
  };

  bool empty() const noexcept { return size_ == 0; }
  bool full() const noexcept { return size_ == capacity; }
  std::uint32_t size() const noexcept { return size_; }
  Entry& operator[](std::uint32_t i) noexcept { return entries_[i]; }

  /// Where the next segment is parsed to; not full(). It counts from add() on.
  Entry& next() noexcept { return entries_[size_]; }
  /// Takes next() up: as an entry, or as the continuation of the latest one of its flow. Tells which: true when it
  /// was merged.
  bool add() noexcept;
  void clear() noexcept { size_ = 0; }

 private:
  static constexpr std::uint32_t slots = 64;

  static bool continues(const Entry& first, const Entry& next) noexcept;

  std::uint32_t size_ = 0;
  std::array<std::uint8_t, slots> latest_{};  // by hash: the latest entry of a flow, if it is that flow's
  std::array<Entry, capacity> entries_;
};

}  // namespace pollux
