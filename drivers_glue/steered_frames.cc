#include "pollux/drivers_glue/steered_frames.h"

namespace pollux {

FrameSteering::Verdict SteeredFrames::steer(InterfaceId interface, Packet& frame) noexcept {
  Handover& handover = *handovers_[interface];
  const FrameOwner owner = handover.steering().owner_of_frame(frame.front());
  if (owner.core == core_ || owner.kind == FrameOwner::Kind::everyone) return Verdict::ours;
  if (rte_ring_sp_enqueue(&handover.to_owner(core_, owner.core), frame.mbuf()) != 0) return Verdict::full;
  (void)frame.release();
  handover.notify(owner.core);
  return Verdict::taken;
}

}  // namespace pollux
