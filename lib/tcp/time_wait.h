// Connections in TIME-WAIT, in compact form: what is needed to answer, not to send (RFC 9293 3.6, RFC 7323).
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/tcp/flow_key.h"

namespace pollux {

struct TimeWait {
  FlowKey key;
  std::uint32_t hash = 0;
  SeqNum snd_nxt;
  SeqNum rcv_nxt;
  std::uint32_t ts_recent = 0;
  std::uint32_t ts_offset = 0;
  std::uint16_t window = 0;  ///< as last advertised, scaled down
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  bool timestamps = false;
  RouteCache route;
  TimePoint expiry;
  std::uint32_t older = Slab<int>::nil;
  std::uint32_t newer = Slab<int>::nil;
};

/// A bounded FIFO: every entry waits equally long, so the oldest is always the next to expire.
class TimeWaitTable {
 public:
  static constexpr std::uint32_t nil = Slab<TimeWait>::nil;

  explicit TimeWaitTable(std::uint32_t max) : slab_(max) {}

  std::uint32_t size() const noexcept { return slab_.size(); }
  bool full() const noexcept { return slab_.full(); }
  TimeWait& operator[](std::uint32_t index) noexcept { return slab_[index]; }
  const TimeWait& operator[](std::uint32_t index) const noexcept { return slab_[index]; }
  std::uint32_t oldest() const noexcept { return oldest_; }
  const Slab<TimeWait>& slab() const noexcept { return slab_; }

  /// The entry's expiry must not be before that of any other entry. The table must not be full.
  std::uint32_t add(const TimeWait& entry) noexcept;
  void remove(std::uint32_t index) noexcept;
  /// Restarts the wait of an entry.
  void restart(std::uint32_t index, TimePoint expiry) noexcept;

 private:
  void link_newest(std::uint32_t index) noexcept;
  void unlink(std::uint32_t index) noexcept;

  Slab<TimeWait> slab_;
  std::uint32_t oldest_ = nil;
  std::uint32_t newest_ = nil;
};

}  // namespace pollux
