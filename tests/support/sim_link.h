// One direction of a simulated cable: bandwidth, delay, a queue, and faults drawn from the world's seed.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>

#include "pollux/base/rng.h"
#include "pollux/base/time.h"
#include "support/frame.h"

namespace pollux::test {

struct LinkOptions {
  std::uint64_t bits_per_second = 0;  ///< 0: serialising takes no time
  Duration delay = Duration::from_us(50);
  Duration jitter = {};            ///< up to this much more delay per frame; the order is kept
  std::uint32_t queue_max = 1000;  ///< frames waiting for the wire or on it; further ones are lost
  std::uint32_t mark_above = 0xffffffff;  ///< ECN-capable frames that find so many waiting are marked CE (RFC 3168)
  double loss = 0;                 ///< probabilities per frame, 0..1
  std::uint32_t loss_run = 1;      ///< frames in a row that one loss takes
  double reorder = 0;              ///< the frame is held back by up to reorder_delay and overtaken
  double duplicate = 0;
  double corrupt = 0;  ///< one octet of the frame changes; no checksum misses that
  Duration reorder_delay = Duration::from_ms(1);
  bool corrupt_arp = false;  ///< ARP has no checksum of its own, so it is spared by default
};

struct LinkCounts {
  std::uint64_t sent = 0, delivered = 0, lost = 0, overflowed = 0, reordered = 0, duplicated = 0,
                corrupted = 0, marked = 0;
  std::uint64_t waiting = 0;  ///< frames that each one found waiting, summed
};

class SimLink {
 public:
  /// Called for each frame (and copy) that will arrive, with its arrival time.
  using Deliver = std::function<void(TimePoint, Frame)>;

  SimLink(LinkOptions options, Deliver deliver) : options_(options), deliver_(std::move(deliver)) {}

  /// False when the frame was lost here.
  bool transmit(Frame frame, TimePoint now, Rng& rng);

  /// May change while running: cutting the cable is loss = 1.
  LinkOptions& options() noexcept { return options_; }
  const LinkCounts& counts() const noexcept { return counts_; }
  /// Test hook: returns true to lose this very frame.
  std::function<bool(const Decoded&)> drop_if;

 private:
  TimePoint serialise(std::size_t octets, TimePoint now);

  LinkOptions options_;
  Deliver deliver_;
  LinkCounts counts_;
  std::uint32_t losing_ = 0;  // frames that the present loss still takes
  std::deque<TimePoint> leaving_;  // when each frame that waits or is being sent will have left
  TimePoint busy_until_;
  TimePoint last_arrival_;
};

}  // namespace pollux::test
