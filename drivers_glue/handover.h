// Packets on their way between the cores of one port: from the core that received them to the core that owns their
// flow (what Linux calls RPS), and from cores without a transmit queue to one that has one. Single-producer,
// single-consumer rings, one for every pair of cores; a full ring drops, counted.
#pragma once

#include <rte_ring.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "pollux/drivers_glue/doorbell.h"
#include "pollux/drivers_glue/steering.h"

namespace pollux {

/// How packets of a port reach their core.
enum class SteeringMode : std::uint8_t {
  single,    ///< there is one core
  rss,       ///< the card spreads flows; every packet's core is still checked, and corrected
  software,  ///< the receiving core hands packets to their owner
};
const char* steering_mode_name(SteeringMode mode) noexcept;

/// One per port when there are several cores. Made and destroyed by the control thread while no core polls.
class Handover {
 public:
  /// Of packets that may wait between two cores; further ones are dropped (rx) or refused (tx).
  static constexpr unsigned ring_size = 1024;

  using Doorbells = std::span<const std::unique_ptr<Doorbell>>;

  /// `queues`: of the port, at most one a core; core i has queue i. `doorbells`: one per core; none when cores never
  /// sleep. Both must outlive it. Throws std::runtime_error when there is no memory on `socket`.
  Handover(std::string port, const Steering& steering, unsigned queues, SteeringMode mode, int socket,
           Doorbells doorbells = {});
  /// Frees packets that are still on their way.
  ~Handover();
  Handover(const Handover&) = delete;
  Handover& operator=(const Handover&) = delete;

  const Steering& steering() const noexcept { return steering_; }
  const std::string& port() const noexcept { return port_; }
  unsigned queues() const noexcept { return queues_; }
  /// The core that transmits for `core`.
  unsigned transmitter_of(unsigned core) const noexcept { return core % queues_; }
  SteeringMode mode() const noexcept { return mode_.load(std::memory_order_relaxed); }
  /// The card's RSS is not what was asked for. From any core; true for the first that says so.
  bool distrust_rss() noexcept;

  /// After something was left in a ring for `core`.
  void notify(unsigned core) noexcept {
    if (!doorbells_.empty()) doorbells_[core]->ring();
  }
  /// Producer: core `from`; consumer: core `to`.
  rte_ring& to_owner(unsigned from, unsigned to) noexcept { return *rings_[from * steering_.cores() + to]; }
  /// Producer: core `from`, which has no queue; consumer: transmitter_of(from).
  rte_ring& to_wire(unsigned from) noexcept { return *wire_rings_[from]; }

 private:
  struct FreeRing {
    void operator()(rte_ring* ring) const noexcept;
  };
  using Ring = std::unique_ptr<rte_ring, FreeRing>;
  Ring make_ring(int socket) const;

  std::string port_;
  const Steering& steering_;
  unsigned queues_;
  std::atomic<SteeringMode> mode_;
  Doorbells doorbells_;
  std::vector<Ring> rings_;       // [from][to]; none where both are the same
  std::vector<Ring> wire_rings_;  // [from]; none for cores with a queue
};

}  // namespace pollux
