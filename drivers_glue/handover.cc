#include "pollux/drivers_glue/handover.h"

#include <fmt/core.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>

#include <stdexcept>
#include <utility>

namespace pollux {

const char* steering_mode_name(SteeringMode mode) noexcept {
  static constexpr const char* names[] = {"single", "rss", "software"};
  return names[static_cast<std::size_t>(mode)];
}

void Handover::FreeRing::operator()(rte_ring* ring) const noexcept {
  void* packet = nullptr;
  while (rte_ring_sc_dequeue(ring, &packet) == 0) rte_pktmbuf_free(static_cast<rte_mbuf*>(packet));
  rte_free(ring);
}

Handover::Ring Handover::make_ring(int socket) const {
  void* const memory =
      rte_zmalloc_socket("pollux_handover", static_cast<std::size_t>(rte_ring_get_memsize(ring_size)), 0, socket);
  if (memory == nullptr)
    throw std::runtime_error(
        fmt::format("port {}: no memory for the rings between {} cores; raise eal.memory_mb, or provide more huge pages",
                    port_, steering_.cores()));
  auto* const ring = static_cast<rte_ring*>(memory);
  rte_ring_init(ring, "pollux_handover", ring_size, RING_F_SP_ENQ | RING_F_SC_DEQ);
  return Ring(ring);
}

Handover::Handover(std::string port, const Steering& steering, unsigned queues, SteeringMode mode, int socket,
                   Doorbells doorbells)
    : port_(std::move(port)), steering_(steering), queues_(queues), mode_(mode), doorbells_(doorbells) {
  const unsigned cores = steering.cores();
  for (unsigned from = 0; from < cores; ++from)
    for (unsigned to = 0; to < cores; ++to) rings_.push_back(from == to ? Ring() : make_ring(socket));
  for (unsigned from = 0; from < cores; ++from) wire_rings_.push_back(from < queues ? Ring() : make_ring(socket));
}

Handover::~Handover() = default;

bool Handover::distrust_rss() noexcept {
  return mode_.exchange(SteeringMode::software, std::memory_order_relaxed) == SteeringMode::rss;
}

}  // namespace pollux
