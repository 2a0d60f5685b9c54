// The peer of the echo benchmark: lwIP, Debian's build of it, serving TCP echo on one end of a RingPair.
#pragma once

#include "ring_pair.h"

namespace pollux::bench {

/// lwIP by its raw API, one thread, no copy on the way in. It is global: one a process, for as long as that lives. What Host is for our
/// stack.
class LwipEcho {
 public:
  /// Serves TCP `port` on `end`. The first call decides.
  static LwipEcho& on(const RingEnd& end, std::uint16_t port);

  bool has_input() const { return rte_ring_count(rx_) != 0; }
  /// Receives a burst, gives it to lwIP, sends what it has sent. Returns how many packets came in.
  std::uint16_t turn(TimePoint now) noexcept;
  template <typename Clock>
  void run_dry(Clock& clock) {
    do turn(clock.now());
    while (has_input());
  }
  std::uint32_t connection_count() const;

 private:
  LwipEcho(const RingEnd& end, std::uint16_t port);

  std::uint16_t port_id_;
  rte_ring* rx_;
  TimePoint timers_due_;
};

}  // namespace pollux::bench
