// How a polling core sleeps: until a packet (by receive interrupt, where the driver has them), a message, or a time.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/drivers_glue/doorbell.h"

namespace pollux {

/// True when the device has one interrupt for this queue and others (net_e1000_igb_vf): it can end one core's sleep only.
bool shares_rx_interrupt(std::uint16_t port, std::uint16_t queue) noexcept;

/// One polling core's; used by that core only.
class Waiter {
 public:
  /// `doorbell` must outlive it. Throws std::runtime_error.
  explicit Waiter(Doorbell& doorbell);
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  /// From now on a packet in this queue ends a sleep. False when the driver has no receive interrupts for it.
  bool watch(std::uint16_t port, std::uint16_t queue) noexcept;

  /// From here on packets and messages end the next sleep(), even if they come before it. The caller looks once more
  /// for both between the two.
  void arm() noexcept;
  /// At most `duration`; a signal ends it early too. Needs arm().
  void sleep(Duration duration) noexcept;
  /// Ends what arm() began.
  void disarm() noexcept;

 private:
  struct Queue {
    std::uint16_t port;
    std::uint16_t queue;
  };

  Doorbell& doorbell_;
  int epoll_ = -1;
  std::vector<Queue> queues_;
};

}  // namespace pollux
