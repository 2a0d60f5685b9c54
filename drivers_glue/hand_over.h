// Two processes with the same addresses, while the first drains: each keeps the segments of its own connections and passes
// the others on to the other's MAC address. Between a port's frames and the stack, in place only while a hand-over lasts.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "pollux/drivers_glue/core_loop.h"

namespace pollux {

/// Which of the two this process is.
enum class HandOverRole : std::uint8_t {
  predecessor,  ///< passes on new connections, and what belongs to none of its own
  successor,    ///< takes every new connection, and passes on what belongs to none of its own
};

/// One core's. Frames of a TCP segment in one piece, addressed to this port, are looked at; all others go to the stack. What
/// the other process has passed on stays here, whatever it is, so that nothing goes round in circles.
class HandOverTap final : public InputTap {
 public:
  /// `own` and `other`: MAC addresses, one a port.
  HandOverTap(HandOverRole role, std::vector<MacAddress> own, std::vector<MacAddress> other)
      : role_(role), own_(std::move(own)), other_(std::move(other)) {}

  void input(Stack& stack, InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept override;
  std::uint64_t relayed() const noexcept { return relayed_; }
  /// Frames that found the port's batch full, or whose tag the port takes off and cannot write.
  std::uint64_t lost() const noexcept { return lost_; }

 private:
  bool is_for_the_other(Stack& stack, InterfaceId interface, const rte_mbuf& frame) const noexcept;
  void relay(Stack& stack, InterfaceId interface, rte_mbuf* frame) noexcept;

  HandOverRole role_;
  std::vector<MacAddress> own_;
  std::vector<MacAddress> other_;
  std::uint64_t relayed_ = 0;
  std::uint64_t lost_ = 0;
};

}  // namespace pollux
