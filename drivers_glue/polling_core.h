// One polling core: its stack, its loop over the ports' queues, its mailbox, and its life from set-up to
// drain.
#pragma once

#include <atomic>
#include <exception>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pollux/drivers_glue/control.h"
#include "pollux/drivers_glue/core_clock.h"
#include "pollux/drivers_glue/core_loop.h"
#include "pollux/drivers_glue/hand_over.h"
#include "pollux/drivers_glue/live_config.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/port.h"
#include "pollux/drivers_glue/telemetry_drops.h"
#include "pollux/drivers_glue/steered_frames.h"
#include "pollux/drivers_glue/steered_port.h"
#include "pollux/drivers_glue/waiter.h"
#include "pollux/stack/loop_driver.h"

namespace pollux {

/// The application's part, set before launch.
struct CoreCallbacks {
  struct Tick {
    Duration period;
    std::function<void(Stack&, TimePoint now)> call;
  };
  std::vector<std::function<void(Stack&)>> setup;
  std::vector<std::function<void(Stack&)>> teardown;
  std::vector<Tick> ticks;
  /// Drives the loop itself; when it returns the core drains.
  std::function<void(Stack&, LoopDriver&)> main;
};

/// A copy of what one core counted.
struct CoreSnapshot {
  /// A queue pair that the core serves.
  struct Queue {
    std::uint16_t port = 0;  ///< among the ports of the configuration, exception ports after them
    std::uint16_t queue = 0;
    std::uint64_t rx_packets = 0;
    std::uint64_t tx_packets = 0;  ///< those it sent for other cores included
  };

  Counters counters;
  LoopCounters loop;
  std::array<Queue, ports_max> queues{};  ///< the first queue_count
  std::size_t queue_count = 0;
  std::uint32_t connections = 0;
  std::uint32_t packets_in_use = 0;    ///< data mbufs, those in the ports' rings included
  std::uint32_t packets = 0;           ///< data mbufs in all
  std::uint32_t packets_free_min = 0;  ///< fewest data mbufs that were free, looked at every 10 ms
  std::uint32_t clones_in_use = 0;
  std::uint32_t clones = 0;
  std::uint32_t clones_free_min = 0;
  TcpUsage tcp;
  std::uint32_t neighbors = 0;
  std::uint32_t neighbors_max = 0;
};

/// What one core needs to build its stack.
struct CorePlan {
  unsigned lcore = 0;
  unsigned cpu = 0;
  int numa_node = 0;
  std::uint16_t index = 0;  ///< among the polling cores
  Doorbell* doorbell = nullptr;  ///< this core's
  /// One per port; no queue: the port has fewer than there are cores. No handover: this is the only core.
  struct PortShare {
    std::optional<PortQueue> queue;
    Handover* handover = nullptr;
  };
  std::vector<PortShare> ports;
  std::vector<InterfaceConfig> interfaces;  ///< one per port, then the VLANs
  std::vector<RouteConfig> routes;
  std::vector<NeighborConfig> neighbors;
  StackOptions stack;
  IdleOptions idle;
  Duration drain_timeout;  ///< after CoreCallbacks::main
  Duration long_turn;
};

/// Owned by Runtime. Functions marked "core" run on the polling core; the others on the control thread.
class PollingCore final : private LoopDriver {
 public:
  PollingCore(CorePlan plan, PacketPool pool);

  /// Builds the stack on its own core and waits for it, so that its memory is that core's. Throws
  /// std::runtime_error.
  void build();
  /// Starts polling on its core. `callbacks` must outlive the core; `on_finished` is called from the core
  /// once its stack is gone.
  void launch(const CoreCallbacks& callbacks, std::function<void()> on_finished);
  /// Waits until the core has left run(); it leaves after release() was called on it.
  void join() noexcept;
  /// After every core was joined: what is left in use of this core's pools, which others may have used too.
  void count_pools() noexcept;

  /// Core: no new connections; stop when none is left, or at `timeout` from now with the rest reset. A later
  /// call only ever makes the deadline earlier.
  void drain(Duration timeout) noexcept;
  /// Core: the same for the predecessor in a hand-over: new connections are passed on, half-open ones go on, and even without
  /// any it goes on for a while for peers that have not heard of the successor's MAC address.
  void drain_to_successor(Duration timeout) noexcept;
  /// Core: takes over what was prepared on every core (apply_change).
  void change(IpPlan& plan, const Config& config, const std::vector<ChangeCallbacks>& callbacks);
  /// Core: from now on frames pass a HandOverTap. `own` and `other`: MAC addresses, one a port.
  void start_hand_over(HandOverRole role, const std::vector<MacAddress>& own, const std::vector<MacAddress>& other);
  /// Core: all frames are for this process again.
  void end_hand_over() noexcept;
  bool is_handing_over() const noexcept { return hand_over_ != nullptr; }
  /// Core: whether this process answers for its addresses; the first core only.
  void set_primary(bool primary) noexcept;
  /// Core: a copy of the counters.
  CoreSnapshot snapshot() const noexcept;
  /// Core: leave run() once finished; until then it goes on moving packets for others.
  void release() noexcept { released_ = true; }

  /// Core: for questions between two turns; nullptr once it has ended.
  Stack* stack() noexcept { return stack_.get(); }
  CoreLoop<SteeredPort>* loop() noexcept { return loop_.get(); }

  Mailbox& mailbox() noexcept { return mailbox_; }
  bool is_finished() const noexcept { return finished_; }
  /// After is_finished(): what a callback threw, if any, and how many connections the drain reset.
  std::exception_ptr failure() const noexcept { return failure_; }
  std::uint32_t connections_reset() const noexcept { return connections_reset_; }
  unsigned lcore() const noexcept { return plan_.lcore; }
  unsigned cpu() const noexcept { return plan_.cpu; }

 private:
  // LoopDriver
  bool turn(TimePoint until) noexcept override { return step(until); }
  TimePoint now() noexcept override { return clock_.now(); }
  bool is_draining() const noexcept override { return draining_; }

  static int build_entry(void* self);
  static int run_entry(void* self);
  Result<void> build_stack();
  void run() noexcept;
  void set_up();
  void poll();
  bool step(TimePoint until);
  void wait(const IdleStep& step, TimePoint now, TimePoint until) noexcept;
  void sleep(Duration duration) noexcept;
  void reset_connections() noexcept;
  void help_others() noexcept;
  void tear_down() noexcept;
  void note_pool_use() noexcept;
  void note_drops(TimePoint now) noexcept { drop_watch_.look(stack_->counters(), stack_->flight(), now); }

  CorePlan plan_;
  PacketPool pool_;
  Mailbox mailbox_;
  CoreClock clock_;
  std::unique_ptr<SteeredFrames> steered_frames_;  // none: the only core
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<CoreLoop<SteeredPort>> loop_;
  std::unique_ptr<Waiter> waiter_;
  Error build_error_;
  const CoreCallbacks* callbacks_ = nullptr;
  std::function<void()> on_finished_;
  TimePoint drain_deadline_ = TimePoint::never();
  bool draining_ = false;
  TimePoint linger_until_;  // no end of a drain before
  std::unique_ptr<HandOverTap> hand_over_;
  std::uint64_t relayed_ = 0;  // by those that have ended
  std::uint64_t relay_lost_ = 0;
  bool packets_end_sleeps_ = false;  // every port's, under IdlePolicy::adaptive
  bool released_ = false;
  DropWatch drop_watch_;
  std::uint32_t packets_free_min_;
  std::uint32_t clones_free_min_;
  CoreSnapshot last_;  // taken when the stack went
  std::uint32_t connections_reset_ = 0;
  std::exception_ptr failure_;
  std::atomic<bool> finished_ = false;
};

}  // namespace pollux
