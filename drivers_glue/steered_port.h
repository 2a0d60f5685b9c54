// SteeredPort: one core's view of a port, whatever the port can do: the BurstPort of polling cores. What it receives
// is the core's own; the rest goes to its owner, and what others received for this core comes in.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "pollux/drivers_glue/handover.h"
#include "pollux/drivers_glue/port.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Plain numbers of the owning core; lib/base/counter.def has their meaning.
struct SteeringCounters {
  std::uint64_t handed_over = 0;
  std::uint64_t taken_over = 0;
  std::uint64_t handover_full = 0;  ///< packets dropped
  std::uint64_t copies_lost = 0;    ///< of what every core is to see, for want of an mbuf
  std::uint64_t wrong_core = 0;
  std::uint64_t hash_checked = 0;
  std::uint64_t hash_wrong = 0;
  std::uint64_t tx_relayed = 0;
};

/// Movable; one core's.
class SteeredPort {
 public:
  static constexpr std::uint16_t burst_max = 64;

  /// The port's only core.
  explicit SteeredPort(PortQueue queue) noexcept : queue_(queue) {}
  /// One of several. `queue`: none when the port has fewer queues than there are cores. `pool`: for copies of what
  /// every core must see. `handover` must outlive it.
  SteeredPort(std::optional<PortQueue> queue, Handover& handover, std::uint16_t core, PacketPool pool);

  std::uint16_t rx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    if (shared_ == nullptr) [[likely]]
      return queue_->rx_burst(packets, n);
    return shared_->rx_burst(queue_, packets, n);
  }
  std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    if (queue_) [[likely]]
      return queue_->tx_burst(packets, n);
    return shared_->tx_burst(packets, n);
  }
  /// See PortQueue::reap.
  void reap() noexcept {
    if (queue_) queue_->reap();
  }
  /// True when packets moved on behalf of other cores since the last call.
  bool helped_others() noexcept { return shared_ != nullptr && std::exchange(shared_->moved, false); }
  /// True when another core left something for this one: it must not sleep.
  bool has_waiting() const noexcept { return shared_ != nullptr && shared_->has_waiting(); }

  /// This core's queue pair; none when the port has fewer than there are cores.
  const std::optional<PortQueue>& queue() const noexcept { return queue_; }
  std::uint64_t refused() const noexcept { return queue_ ? queue_->refused() : 0; }
  SteeringCounters counters() const noexcept { return shared_ == nullptr ? SteeringCounters{} : shared_->counters; }

 private:
  /// Packets collected for one other core during a burst.
  struct Outbox {
    std::uint16_t count = 0;
    std::array<rte_mbuf*, burst_max> packets;
  };
  struct Shared {
    Shared(Handover& h, std::uint16_t c, PacketPool p);
    ~Shared();

    std::uint16_t rx_burst(std::optional<PortQueue>& queue, rte_mbuf** packets, std::uint16_t n) noexcept;
    std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept;
    bool has_waiting() const noexcept;
    std::uint16_t take_over(rte_mbuf** packets, std::uint16_t n) noexcept;
    std::uint16_t sort(rte_mbuf** packets, std::uint16_t n) noexcept;
    void check_rss(const rte_mbuf& packet, const FrameOwner& owner) noexcept;
    rte_mbuf* share(rte_mbuf* packet) noexcept;
    void post(std::uint16_t to, rte_mbuf* packet) noexcept;
    void deliver() noexcept;
    void relay(PortQueue& queue) noexcept;

    Handover& handover;
    const Steering& steering;
    PacketPool pool;
    std::uint16_t core;
    std::uint16_t next_source = 0;  // whose ring is looked at first, in turn
    bool moved = false;
    SteeringCounters counters;
    std::uint32_t relay_count = 0;  // packets of others that the device has not taken yet
    std::array<rte_mbuf*, burst_max> relayed;
    std::vector<Outbox> outboxes;  // one per core
  };

  std::optional<PortQueue> queue_;
  std::unique_ptr<Shared> shared_;  // none: the port's only core
};

}  // namespace pollux
