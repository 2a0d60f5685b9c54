// Frames that a core hands to another: datagrams that it put together from fragments (which are steered by addresses alone,
// datagrams by their ports too), copies of what another core's sockets have joined, and what those have joined.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/handover.h"
#include "pollux/ip/frame_steering.h"

namespace pollux {

/// One core's; called by that core only, which is the producer of the rings it uses.
class SteeredFrames final : public FrameSteering {
 public:
  /// `handovers`: one per interface; they must outlive it.
  SteeredFrames(std::vector<Handover*> handovers, std::uint16_t core) : handovers_(std::move(handovers)), core_(core) {}

  Verdict steer(InterfaceId interface, Packet& frame) noexcept override;
  bool give(std::uint16_t core, InterfaceId interface, Packet& frame) noexcept override;

 private:
  std::vector<Handover*> handovers_;
  std::uint16_t core_;
};

}  // namespace pollux
