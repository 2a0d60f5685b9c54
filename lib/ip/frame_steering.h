// Frames from core to core: a datagram that came in fragments belongs to the core that its ports say, which is known only once
// it is whole; and several cores may listen to one group.
#pragma once

#include <cstdint>

#include "pollux/ip/interface.h"
#include "pollux/packet/packet.h"

namespace pollux {

/// One core's, called by that core only.
class FrameSteering {
 public:
  enum class Verdict : std::uint8_t {
    ours,   ///< `frame` belongs to the asking core
    taken,  ///< it went to its owner; `frame` is null
    full,   ///< its owner cannot take it now; `frame` is untouched, to be dropped
  };
  /// `frame` is a whole Ethernet frame of port `interface`, longer than the MTU; a VLAN's tag is in its mbuf, as if stripped.
  virtual Verdict steer(InterfaceId interface, Packet& frame) noexcept = 0;
  /// Hands a frame of port `interface` to `core`, which takes it as if it had received it. False: not now; `frame` is untouched.
  virtual bool give(std::uint16_t core, InterfaceId interface, Packet& frame) noexcept = 0;

 protected:
  ~FrameSteering() = default;
};

}  // namespace pollux
