// The simulator: a virtual clock, an event queue, hosts on one switch. A run is a function of its seed.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <queue>
#include <string>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/base/time.h"
#include "support/packet_trace.h"
#include "support/sim_host.h"
#include "support/sim_link.h"

namespace pollux::test {

class World {
 public:
  /// Virtual time starts at `start`, not at 0: nothing may rely on a clock that is near its epoch.
  explicit World(std::uint64_t seed, TimePoint start = TimePoint::from_ns(1'000'000'000'000));
  /// Prints the seed and the last packets when the running test has failed.
  ~World();
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  std::uint64_t seed() const noexcept { return seed_; }
  TimePoint now() const noexcept { return now_; }
  Rng& rng() noexcept { return rng_; }
  PacketTrace& trace() noexcept { return trace_; }

  /// Hosts added from now on speak IPv6 too, as fd00::N/64, and talk over it: SimHost::ip() is that address. Also
  /// switched on by POLLUX_IPV6=1 in the environment.
  void use_ipv6() noexcept { ipv6_ = true; }

  // POLLUX_TSO=1 in the environment: hosts whose ports would do nothing make checksums and cut packets (TSO).

  /// A host on the switch; `up` is its cable towards the switch, `down` the way back.
  SimHost& add_host(HostOptions options = {}, LinkOptions up = {}, LinkOptions down = {});
  SimHost& host(std::size_t index) noexcept { return *ports_[index]->host; }
  std::size_t host_count() const noexcept { return ports_.size(); }
  SimLink& up(std::size_t index) noexcept { return *ports_[index]->up; }
  SimLink& down(std::size_t index) noexcept { return *ports_[index]->down; }
  /// A host without a cable: the caller takes its output by on_output() and feeds receive().
  SimHost& add_bare_host(HostOptions options = {});

  /// Application code at a moment. The stacks know the time when it runs.
  void at(TimePoint when, std::function<void()> action);
  void after(Duration delay, std::function<void()> action) { at(now_ + delay, std::move(action)); }

  /// Each runs virtual time and returns early, false, once an invariant broke.
  bool run_until(TimePoint deadline);
  bool run_for(Duration time) { return run_until(now_ + time); }
  /// Until `done()`, checked between moments; false also when `limit` passes first.
  bool run_until(const std::function<bool()>& done, Duration limit);
  /// Until no event and no stack deadline is left; false also when `limit` passes first.
  bool run_until_idle(Duration limit);
  /// The next moment at which something happens, if it is not after `deadline`: then true, and it has
  /// happened.
  bool step(TimePoint deadline);

  /// Records a broken invariant: the test fails and every run stops.
  void fail(std::string what);
  bool failed() const noexcept { return failed_; }
  /// More moments than this in one run are a failure (a storm of packets, say).
  void set_event_limit(std::uint64_t limit) noexcept { event_limit_ = limit; }

 private:
  struct Port {
    std::unique_ptr<SimHost> host;
    std::unique_ptr<SimLink> up;
    std::unique_ptr<SimLink> down;
  };
  struct Event {
    TimePoint when;
    std::uint64_t order;
    bool is_application;
    std::function<void()> action;
  };
  struct Later {
    bool operator()(const Event& a, const Event& b) const noexcept {
      return a.when != b.when ? a.when > b.when : a.order > b.order;
    }
  };

  SimHost& add_port(HostOptions options);
  void schedule(TimePoint when, bool is_application, std::function<void()> action);
  void switch_frame(std::size_t from, const Frame& frame);
  TimePoint next_moment() const;
  void run_events();
  void sync();

  std::uint64_t seed_;
  TimePoint now_;
  Rng rng_;
  PacketTrace trace_;
  std::vector<std::unique_ptr<Port>> ports_;
  std::priority_queue<Event, std::vector<Event>, Later>
      events_;  // may hold Bytes: gone before the stacks are
  std::uint64_t order_ = 0;
  std::uint64_t moments_ = 0;
  std::uint64_t event_limit_ = 50'000'000;
  bool failed_ = false;
  bool ipv6_ = false;
  bool tso_ = false;
};

/// The seeds to run: POLLUX_SEED=S gives just S, POLLUX_SEEDS=N gives 1..N, otherwise 1..default_count.
std::vector<std::uint64_t> seeds_to_run(std::uint64_t default_count);
/// The seed for a test that needs only one.
std::uint64_t one_seed();

}  // namespace pollux::test
