#include "pollux/drivers_glue/steered_frames.h"

namespace pollux {

FrameSteering::Verdict SteeredFrames::steer(InterfaceId interface, Packet& frame) noexcept {
  Handover& handover = *handovers_[interface];
  const FrameOwner owner = handover.steering().owner_of_frame(frame.front());
  if (owner.core == core_ || owner.kind == FrameOwner::Kind::everyone) return Verdict::ours;
  return give(owner.core, interface, frame) ? Verdict::taken : Verdict::full;
}

bool SteeredFrames::give(std::uint16_t core, InterfaceId interface, Packet& frame) noexcept {
  Handover& handover = *handovers_[interface];
  if (rte_ring_sp_enqueue(&handover.to_owner(core_, core), frame.mbuf()) != 0) return false;
  (void)frame.release();
  handover.notify(core);
  return true;
}

}  // namespace pollux
