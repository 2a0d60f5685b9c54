#include "pollux/drivers_glue/polling_core.h"

#include <fmt/core.h>
#include <rte_launch.h>
#include <rte_pause.h>
#include <sys/prctl.h>

#include <algorithm>
#include <ctime>
#include <stdexcept>

namespace pollux {
namespace {

/// Turns that may follow the last one to get RSTs and last ACKs out, when the port does not take them sooner.
constexpr int farewell_turns_max = 10'000;
constexpr Duration look_period = Duration::from_ms(10);
/// A hand-over's predecessor passes on for so long at least: the successor's second announcement comes after 2 s.
constexpr Duration hand_over_min = Duration::from_ms(2500);

void sleep_for(Duration duration) noexcept {
  const timespec ts = {static_cast<std::time_t>(duration.ns() / 1'000'000'000),
                       static_cast<long>(duration.ns() % 1'000'000'000)};
  nanosleep(&ts, nullptr);  // a signal ends it early: net_tap has a packet
}

/// What the port counted for this core, under the names that operators know.
void add_port_counters(const SteeredPort& port, Counters& counters) noexcept {
  const SteeringCounters steering = port.counters();
  counters.drop(DropReason::tx_prepare_failed, port.refused());
  counters.drop(DropReason::handover_full, steering.handover_full);
  counters.drop(DropReason::no_mbuf, steering.copies_lost);
  counters.add(Counter::handed_over, steering.handed_over);
  counters.add(Counter::taken_over, steering.taken_over);
  counters.add(Counter::wrong_core, steering.wrong_core);
  counters.add(Counter::rss_hash_checked, steering.hash_checked);
  counters.add(Counter::rss_hash_wrong, steering.hash_wrong);
  counters.add(Counter::tx_relayed, steering.tx_relayed);
}

void add_queues(std::span<const SteeredPort> ports, CoreSnapshot& snapshot) noexcept {
  for (std::size_t i = 0; i < ports.size(); ++i)
    if (const auto& queue = ports[i].queue())
      snapshot.queues.at(snapshot.queue_count++) = {.port = static_cast<std::uint16_t>(i),
                                                    .queue = queue->queue(),
                                                    .rx_packets = queue->received(),
                                                    .tx_packets = queue->sent()};
}

}  // namespace

PollingCore::PollingCore(CorePlan plan, PacketPool pool)
    : plan_(std::move(plan)),
      pool_(pool),
      mailbox_(fmt::format("pollux_mailbox_{}", plan_.lcore), plan_.numa_node, *plan_.doorbell),
      clock_(rte_get_tsc_hz()),
      packets_free_min_(pool.available()),
      clones_free_min_(pool.clones_available()) {}

int PollingCore::build_entry(void* self) {
  auto& core = *static_cast<PollingCore*>(self);
  if (auto built = core.build_stack(); !built) {
    core.build_error_ = built.error();
    return -1;
  }
  return 0;
}

Result<void> PollingCore::build_stack() {
  const TimePoint now = clock_.now();
  auto stack = Stack::create(plan_.stack, pool_, now);
  if (!stack) return tl::unexpected(stack.error());
  stack_ = std::move(*stack);
  for (const auto& interface : plan_.interfaces)
    if (auto id = stack_->add_interface(interface, now); !id)
      return pollux::failure(id.error().code, fmt::format("port {}: {}", interface.name, id.error().text));
  if (plan_.ports[0].handover != nullptr) {
    std::vector<Handover*> handovers;
    for (const auto& share : plan_.ports) handovers.push_back(share.handover);
    steered_frames_ = std::make_unique<SteeredFrames>(std::move(handovers), plan_.index);
    stack_->ip().set_steering(steered_frames_.get(), plan_.index,
                              static_cast<std::uint16_t>(plan_.ports[0].handover->steering().cores()));
  }
  for (const auto& route : plan_.routes)
    if (auto added = stack_->add_route(route.prefix, route.gateway); !added)
      return pollux::failure(added.error().code,
                             fmt::format("route to {}: {}", route.prefix.to_string(), added.error().text));
  for (const auto& neighbor : plan_.neighbors)
    if (auto added = stack_->ip().add_neighbor(neighbor.address, neighbor.mac); !added)
      return pollux::failure(added.error().code, fmt::format("neighbors: {}", added.error().text));
  return {};
}

void PollingCore::build() {
  POLLUX_CHECK(rte_eal_remote_launch(build_entry, this, plan_.lcore) == 0, "lcore %u is busy", plan_.lcore);
  if (rte_eal_wait_lcore(plan_.lcore) != 0) throw std::runtime_error(build_error_.text);
}

void PollingCore::launch(const CoreCallbacks& callbacks, std::function<void()> on_finished) {
  callbacks_ = &callbacks;
  on_finished_ = std::move(on_finished);
  POLLUX_CHECK(rte_eal_remote_launch(run_entry, this, plan_.lcore) == 0, "lcore %u is busy", plan_.lcore);
}

void PollingCore::join() noexcept {
  rte_eal_wait_lcore(plan_.lcore);
}

int PollingCore::run_entry(void* self) {
  static_cast<PollingCore*>(self)->run();
  return 0;
}

void PollingCore::run() noexcept {
  prctl(PR_SET_TIMERSLACK, 1UL);  // sleeps of some 10 us shall not become 50 us longer
  try {
    const PollingSignals signals;
    set_up();
    poll();
  } catch (...) {
    failure_ = std::current_exception();
  }
  reset_connections();
  finished_ = true;
  on_finished_();
  help_others();
  tear_down();
}

/// This core's queue may still receive for others, its listeners refuse already, and others may ask for its counters.
void PollingCore::help_others() noexcept {
  while (!released_) {
    if (loop_ != nullptr) loop_->turn(clock_.now());
    mailbox_.serve();
    sleep_for(loop_ != nullptr && plan_.ports[0].handover != nullptr ? Duration::from_us(50) : Duration::from_ms(1));
  }
}

void PollingCore::set_up() {
  std::vector<SteeredPort> ports;
  waiter_ = std::make_unique<Waiter>(*plan_.doorbell);
  packets_end_sleeps_ = plan_.idle.policy == IdlePolicy::adaptive;
  for (const auto& [queue, handover] : plan_.ports) {
    if (plan_.idle.policy == IdlePolicy::adaptive && queue && !waiter_->watch(queue->port(), queue->queue()))
      packets_end_sleeps_ = false;
    if (handover == nullptr)
      ports.emplace_back(*queue);
    else
      ports.emplace_back(queue, *handover, plan_.index, pool_);
  }
  plan_.idle.woken = packets_end_sleeps_;
  loop_ = std::make_unique<CoreLoop<SteeredPort>>(*stack_, std::move(ports), plan_.idle);
  loop_->set_long_turn(plan_.long_turn);
  stack_->take_core();
  for (const auto& setup : callbacks_->setup) setup(*stack_);
  const TimePoint now = clock_.now();
  for (const auto& tick : callbacks_->ticks) loop_->add_tick(tick.period, tick.call, now);
  loop_->add_tick(
      look_period,
      [this](Stack&, TimePoint at) {
        note_pool_use();
        note_drops(at);
      },
      now);
}

void PollingCore::note_pool_use() noexcept {
  packets_free_min_ = std::min(packets_free_min_, pool_.available());
  clones_free_min_ = std::min(clones_free_min_, pool_.clones_available());
}

void PollingCore::poll() {
  if (callbacks_->main) {
    callbacks_->main(*stack_, *this);
    drain(plan_.drain_timeout);
  }
  while (step(TimePoint::never())) {
  }
}

/// A turn, and the wait after it. False: drained.
bool PollingCore::step(TimePoint until) {
  const TimePoint now = clock_.now();
  loop_->turn(now);
  loop_->run_ticks(now);
  mailbox_.serve();
  if (draining_ && now >= linger_until_ && (stack_->connection_count() == 0 || now >= drain_deadline_)) return false;
  wait(loop_->idle_step(now), now, until);
  return true;
}

void PollingCore::wait(const IdleStep& step, TimePoint now, TimePoint until) noexcept {
  if (until <= now) return;
  switch (step.kind) {
    case IdleStep::Kind::spin:
      return;
    case IdleStep::Kind::pause:
      rte_pause();
      return;
    case IdleStep::Kind::sleep:
      sleep(std::min(step.sleep, until - now));
      return;
  }
}

void PollingCore::sleep(Duration duration) noexcept {
  waiter_->arm();
  // What came between the last turn and arming rings no bell: one more look.
  const TimePoint now = clock_.now();
  if (!loop_->turn(now) && !loop_->has_waiting() && !mailbox_.has_waiting())
    waiter_->sleep(std::clamp(loop_->next_due() - now, Duration{}, duration));
  waiter_->disarm();
}

void PollingCore::drain(Duration timeout) noexcept {
  if (stack_ == nullptr) return;
  if (!draining_) stack_->start_drain();
  draining_ = true;
  drain_deadline_ = std::min(drain_deadline_, clock_.now() + timeout);
  linger_until_ = std::min(linger_until_, drain_deadline_);
}

void PollingCore::drain_to_successor(Duration timeout) noexcept {
  if (stack_ == nullptr) return;
  draining_ = true;
  const TimePoint now = clock_.now();
  linger_until_ = now + hand_over_min;
  drain_deadline_ = std::min(drain_deadline_, now + std::max(timeout, hand_over_min));
}

void PollingCore::start_hand_over(HandOverRole role, const std::vector<MacAddress>& own,
                                  const std::vector<MacAddress>& other) {
  if (loop_ == nullptr) return;
  hand_over_ = std::make_unique<HandOverTap>(role, own, other);
  loop_->set_tap(hand_over_.get());
}

void PollingCore::end_hand_over() noexcept {
  if (hand_over_ == nullptr) return;
  loop_->set_tap(nullptr);
  relayed_ += hand_over_->relayed();
  relay_lost_ += hand_over_->lost();
  hand_over_.reset();
}

void PollingCore::set_primary(bool primary) noexcept {
  for (InterfaceConfig& interface : plan_.interfaces) interface.primary = primary;
  stack_->ip().set_primary(primary, clock_.now());
}

void PollingCore::change(IpPlan& plan, const Config& config, const std::vector<ChangeCallbacks>& callbacks) {
  for (std::size_t i = 0; i < plan_.interfaces.size(); ++i)
    plan.settings.interfaces[i].primary = plan_.interfaces[i].primary;
  stack_->ip().change(plan, clock_.now());
  stack_->tcp().change(config.tcp);
  if (loop_ != nullptr)
    loop_->set_idle({config.idle, config.idle_polls, Duration::from_us(config.idle_sleep_us_max),
                     config.idle == IdlePolicy::adaptive && packets_end_sleeps_});
  if (loop_ != nullptr) loop_->set_long_turn(config.telemetry.long_turn);
  for (const auto& callback : callbacks) callback.finish(*stack_, true);
}

void PollingCore::reset_connections() noexcept {
  if (loop_ == nullptr) return;
  connections_reset_ = stack_->connection_count();
  stack_->abort_all(clock_.now());
  for (int i = 0; i < farewell_turns_max; ++i) {
    const TimePoint now = clock_.now();
    loop_->turn(now);
    if (!loop_->tx_waiting() && stack_->next_deadline() > now) return;
    rte_pause();
  }
}

void PollingCore::tear_down() noexcept {
  try {
    for (const auto& teardown : callbacks_->teardown) teardown(*stack_);
  } catch (...) {
    if (failure_ == nullptr) failure_ = std::current_exception();
  }
  last_ = snapshot();
  waiter_.reset();
  loop_.reset();
  stack_.reset();
  count_pools();
}

void PollingCore::count_pools() noexcept {
  last_.packets_in_use = pool_.in_use();
  last_.clones_in_use = pool_.clones_in_use();
}

CoreSnapshot PollingCore::snapshot() const noexcept {
  if (stack_ == nullptr) return last_;
  CoreSnapshot snapshot;
  snapshot.counters = stack_->counters();
  if (loop_ != nullptr) {
    snapshot.loop = loop_->counters();
    for (const auto& port : loop_->ports()) add_port_counters(port, snapshot.counters);
    add_queues(loop_->ports(), snapshot);
    snapshot.counters.add(Counter::hand_over_relayed, relayed_ + (hand_over_ == nullptr ? 0 : hand_over_->relayed()));
    snapshot.counters.drop(DropReason::tx_batch_full, relay_lost_ + (hand_over_ == nullptr ? 0 : hand_over_->lost()));
  }
  snapshot.connections = stack_->connection_count();
  snapshot.tcp = stack_->tcp().usage();
  snapshot.neighbors = stack_->ip().neighbors().size();
  snapshot.neighbors_max = stack_->ip().neighbors().capacity();
  snapshot.packets_in_use = pool_.in_use();
  snapshot.packets = pool_.size();
  snapshot.packets_free_min = std::min(packets_free_min_, pool_.available());
  snapshot.clones_in_use = pool_.clones_in_use();
  snapshot.clones = pool_.clones_size();
  snapshot.clones_free_min = std::min(clones_free_min_, pool_.clones_available());
  return snapshot;
}

}  // namespace pollux
