// The last events of one core, kept in a ring: what happened to which connection, and when. Written by the owning core
// with a few stores an event; events are rare (no event for a segment that just flows), so the data path does not feel it.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

#include "pollux/base/check.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"

namespace pollux {

enum class FlightEvent : std::uint8_t {
  state,           ///< a connection entered a state: code is TcpState
  closed,          ///< a connection ended: code is CloseReason
  retransmission,  ///< a segment was sent again: detail is its sequence number relative to the initial one
  tail_probe,      ///< RFC 8985 7: detail as for retransmission
  marked,          ///< the peer echoes congestion marks: the window is reduced
  fast_recovery,   ///< loss was detected: detail is the octets held for lost
  recovered,       ///< loss recovery ended
  timeout,         ///< the retransmission timer expired: code is how often in a row
  reset_sent,      ///< we sent RST on a connection
  long_turn,       ///< a turn took longer than it should: code is the stage that took most of it, detail its microseconds
  drops,           ///< packets were dropped since the last look: code is DropReason, detail how many
};
inline constexpr std::uint8_t flight_event_count = 11;

struct FlightRecord {
  TimePoint at;
  SlabHandle connection;  ///< generation 0: concerns none
  std::uint32_t detail = 0;
  FlightEvent event = FlightEvent::state;
  std::uint8_t code = 0;
};
static_assert(sizeof(FlightRecord) == 24);

/// Not thread-safe: one core's. Memory is taken at construction.
class FlightRecorder {
 public:
  /// Keeps `capacity` records, a power of two; 0 keeps none.
  explicit FlightRecorder(std::uint32_t capacity)
      : records_(capacity == 0 ? nullptr : std::make_unique<FlightRecord[]>(capacity)), capacity_(capacity) {
    POLLUX_CHECK(capacity == 0 || std::has_single_bit(capacity), "flight recorder of %u records", capacity);
  }

  void record(const FlightRecord& record) noexcept {
    if (capacity_ != 0) records_[count_++ & (capacity_ - 1)] = record;
  }
  std::uint32_t capacity() const noexcept { return capacity_; }
  /// Records ever made; those before count() - capacity() are gone.
  std::uint64_t count() const noexcept { return count_; }
  std::uint64_t first() const noexcept { return count_ > capacity_ ? count_ - capacity_ : 0; }
  /// Record `number`, first() <= number < count().
  const FlightRecord& operator[](std::uint64_t number) const noexcept { return records_[number & (capacity_ - 1)]; }

 private:
  std::unique_ptr<FlightRecord[]> records_;
  std::uint32_t capacity_;
  std::uint64_t count_ = 0;
};

}  // namespace pollux
