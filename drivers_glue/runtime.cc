#include "pollux/drivers_glue/runtime.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_lcore.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <vector>

#include "pollux/base/check.h"
#include "pollux/base/check_hook.h"
#include "pollux/drivers_glue/capture.h"
#include "pollux/drivers_glue/check_config.h"
#include "pollux/drivers_glue/control.h"
#include "pollux/drivers_glue/counters_text.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/handover.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/metrics_http.h"
#include "pollux/drivers_glue/metrics_text.h"
#include "pollux/drivers_glue/polling_core.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/port.h"
#include "pollux/drivers_glue/random.h"
#include "pollux/drivers_glue/registered_memory.h"
#include "pollux/drivers_glue/steered_ports.h"
#include "pollux/drivers_glue/steering.h"
#include "pollux/drivers_glue/take_over.h"
#include "pollux/drivers_glue/telemetry.h"
#include "pollux/drivers_glue/telemetry_flight.h"

namespace pollux {
namespace {

const Config& checked(const Config& config) {
  if (const auto problem = check_config(config))
    throw std::runtime_error(fmt::format("{}: {}", problem->key, problem->text));
  set_log_level(*log_level_from(config.log_level));
  return config;
}

std::string v4_text(const InterfaceConfig& interface) {
  if (interface.address.address.is_unspecified()) return "none of IPv4";
  std::string text = interface.address.to_string();
  for (const IpPrefix& prefix : interface.more_v4_addresses) text += ", " + prefix.to_string();
  return text;
}

void log_v6(const InterfaceConfig& interface) {
  for (const IpPrefix& prefix : interface.v6_addresses)
    log_info("port {}: address {}, once nobody else is found to have it", interface.name, prefix.to_string());
  if (interface.router_advertisements)
    log_info("port {}: routers may advertise further IPv6 addresses and routes", interface.name);
}

}  // namespace

// Members are released from the last to the first: stacks, then ports, then the pools their rings hold mbufs
// of.
struct Runtime::Impl final : TelemetrySource {
  enum class Phase : std::uint8_t { built, running, stopped };

  explicit Impl(const Config& config_);
  ~Impl() { set_check_hook(nullptr); }
  void open_ports();
  void choose_cores();
  void warn_of_far_cpus() const;
  void make_pools();
  void start_ports();
  void make_steering();
  void build_cores();
  CorePlan plan_of(std::size_t core, const StackSecrets& secrets);

  int run();
  void launch();
  void begin_take_over();
  void handle_events();
  void reload();
  void drain(Duration timeout);
  void release_cores();
  bool all_finished() const noexcept;
  std::exception_ptr first_failure() const noexcept;

  std::vector<CoreReport> core_reports() const override;
  std::string text() const;
  std::string metrics() const;
  PollingCore* calling_core() const noexcept;

  // TelemetrySource
  std::size_t core_count() const noexcept override { return cores.size(); }
  bool on_core(std::size_t core, const std::function<void(PollingCore&)>& f) const override;
  std::span<const std::unique_ptr<Port>> port_list() const noexcept override { return ports; }
  ConfigListing config_listing() const override {
    const std::lock_guard lock(phase_mutex);
    return listing;
  }
  /// After a failed CHECK, on whatever thread: what each core did last. The others may go on writing meanwhile.
  static void write_flights() noexcept;
  static inline Impl* failing = nullptr;

  std::vector<ConfigChange> change_config(const std::optional<std::pair<std::string, std::string>>& set) override;
  std::vector<MacAddress> offer_hand_over() override;
  void hand_over(const std::vector<MacAddress>& successor) override;
  std::unique_ptr<Capture>& capture() noexcept override { return active_capture; }
  void drain_within(Duration timeout) noexcept override;

  const Config config;  // as it was at start
  ControlSignals signals;  // before EAL and so in every thread it starts
  ControlEvents events;
  Eal eal;
  std::vector<CorePools> pools;
  std::vector<std::unique_ptr<Port>> ports;
  std::vector<std::unique_ptr<RegisteredMemory>> memory;  // of the application
  struct PortStopper {  // before `memory` is released, which a device may be reading
    std::vector<std::unique_ptr<Port>>& ports;
    ~PortStopper() {
      for (const auto& port : ports) port->stop();
    }
  } port_stopper{ports};
  std::vector<std::unique_ptr<Doorbell>> doorbells;  // one per core
  std::optional<Steering> steering;                  // with several cores
  std::vector<std::unique_ptr<Handover>> handovers;  // one per port, with several cores
  std::vector<std::unique_ptr<SteeredPorts>> local_ports;  // one per core, with several
  CoreCallbacks callbacks;
  std::vector<std::unique_ptr<PollingCore>> cores;
  std::atomic<bool> stop_asked = false;
  std::atomic<bool> handed_over = false;  // stop_asked then means to drain to a successor
  std::atomic<std::int64_t> drain_ns = config.drain_timeout.ns();  // of the drain that stop_asked asks for
  ConfigListing listing;           // under phase_mutex
  std::mutex change_mutex;         // one change at a time, taken before phase_mutex
  std::unique_ptr<ConfigSource> config_source;
  std::vector<ChangeCallbacks> change_callbacks;
  mutable std::mutex phase_mutex;  // held while cores are asked for something, so that none leaves meanwhile
  Phase phase = Phase::built;
  // Last: they ask all of the above.
  std::unique_ptr<Capture> active_capture;
  std::optional<Telemetry> telemetry;
  std::optional<MetricsHttp> metrics_http;
  std::optional<TakeOver> take_over;  // while run()
  std::string take_over_error;        // under phase_mutex
};

Runtime::Impl::Impl(const Config& config_) : config(checked(config_)), eal(config) {
  open_ports();
  if (config.auto_cores) choose_cores();
  warn_of_far_cpus();
  for (std::size_t i = 0; i < eal.cpus().size(); ++i) doorbells.push_back(std::make_unique<Doorbell>());
  make_pools();
  make_steering();
  start_ports();
  build_cores();
  failing = this;
  set_check_hook(write_flights);
  if (config.telemetry.socket) telemetry.emplace(*this);
  if (config.telemetry.metrics.empty()) return;
  metrics_http.emplace(config.telemetry.metrics, [this] { return metrics(); });
  events.watch(metrics_http->fd());
  log_info("metrics for Prometheus at http://{}/metrics", metrics_http->address());
}

void Runtime::Impl::open_ports() {
  for (const auto& port : config.ports) ports.push_back(std::make_unique<Port>(port));
  for (const auto& port : config.ports)
    if (!port.exception.empty())
      ports.push_back(std::make_unique<Port>(
          PortConfig{.device = port.exception, .mtu = port.mtu, .rx_ring = port.rx_ring, .tx_ring = port.tx_ring}));
}

/// `cores: auto`: a core without a queue of its own on some port would live on what others hand to it.
void Runtime::Impl::choose_cores() {
  const auto fewest = std::min_element(ports.begin(), ports.begin() + static_cast<std::ptrdiff_t>(config.ports.size()),
                                       [](const auto& a, const auto& b) { return a->queues_max() < b->queues_max(); });
  const std::size_t cpus = eal.cpus().size();
  eal.poll_only_first((*fewest)->queues_max());
  log_info("cores: auto: {} of {} CPUs: {}, port {} having {} queues", eal.cpus().size(), cpus, fmt::join(eal.cpus(), ", "),
           (*fewest)->name(), (*fewest)->queues_max());
}

void Runtime::Impl::warn_of_far_cpus() const {
  for (const auto& port : ports) {
    if (port->numa_node() < 0) continue;
    for (const unsigned cpu : eal.cpus())
      if (numa_node_of(cpu) != port->numa_node())
        log_warning(
            "port {} is on NUMA node {} and CPU {} that polls it on node {}: every packet crosses between "
            "them",
            port->name(), port->numa_node(), cpu, numa_node_of(cpu));
  }
}

void Runtime::Impl::make_pools() {
  for (std::size_t i = 0; i < eal.cpus().size(); ++i) {
    const int port_node = ports.front()->numa_node();
    const int node = port_node >= 0 ? port_node : numa_node_of(eal.cpus()[i]);
    pools.emplace_back(fmt::format("pollux_core{}", i), config.pool, eal, node);
  }
}

/// One answer for all ports: what every card that does RSS can hash, in as many buckets as the smallest has.
void Runtime::Impl::make_steering() {
  const auto count = static_cast<unsigned>(eal.cpus().size());
  if (count == 1) return;
  HashFields fields;
  std::uint32_t buckets = Steering::buckets_max;
  for (const auto& port : ports) {
    const RssPlan plan = port->rss_plan(count);
    if (!plan.usable) continue;
    fields.tcp_ports &= plan.fields.tcp_ports;
    fields.udp_ports &= plan.fields.udp_ports;
    buckets = std::min(buckets, plan.buckets);
  }
  steering.emplace(count, buckets, fields,
                   ChosenUdpPorts{config.udp.ephemeral_port_first, config.udp.ephemeral_port_last});
}

void Runtime::Impl::start_ports() {
  std::vector<rte_mempool*> data;
  for (const auto& pool : pools) data.push_back(pool.data());
  std::size_t next_exception = config.ports.size();
  for (std::size_t i = 0; i < ports.size(); ++i) {
    auto& port = ports[i];
    const int socket = eal.socket_for(std::max(port->numa_node(), 0));
    if (config.idle == IdlePolicy::adaptive) port->want_rx_interrupts();
    port->start(data, config.pool.packet_room, socket, steering ? &*steering : nullptr);
    const auto& interface = port->interface();
    // Ports come before their exception ports, in the same order.
    if (i < config.ports.size() && !config.ports[i].exception.empty())
      ports[next_exception++]->lead_to_kernel(static_cast<InterfaceId>(i), interface.mac);
    const std::string kernel = port->kernel_interface();
    if (port->leads_to_kernel())
      log_info("port {}: {}gives the kernel what is nobody's on {}", port->name(),
               kernel.empty() ? "" : fmt::format("kernel interface {}, ", kernel), ports[interface.port]->name());
    else
      log_info("port {}: {}address {}, MAC {}, mtu {}, checksums by the {}", port->name(),
               kernel.empty() ? "" : fmt::format("kernel interface {}, ", kernel), v4_text(interface),
               interface.mac.to_string(), interface.mtu, interface.offloads.tcp_checksum ? "card" : "CPU");
    log_v6(interface);
    for (const InterfaceConfig& vlan : port->vlans()) {
      log_info("port {}: VLAN {}, address {}, mtu {}, tags by the {}", port->name(), vlan.vlan, v4_text(vlan), vlan.mtu,
               vlan.offloads.vlan_insert ? "card" : "CPU");
      log_v6(vlan);
    }
    if (!steering) continue;
    log_info("port {}: {}", port->name(), port->steering_text());
    handovers.push_back(
        std::make_unique<Handover>(port->name(), *steering, port->queues(), port->steering_mode(), socket, doorbells));
  }
}

void Runtime::Impl::build_cores() {
  const StackSecrets secrets = random_secrets();
  for (std::size_t i = 0; i < eal.cpus().size(); ++i) {
    cores.push_back(std::make_unique<PollingCore>(plan_of(i, secrets), pools[i].pool()));
    cores.back()->build();
  }
}

CorePlan Runtime::Impl::plan_of(std::size_t core, const StackSecrets& secrets) {
  CorePlan plan;
  plan.lcore = Eal::lcore_of(core);
  plan.cpu = eal.cpus()[core];
  plan.index = static_cast<std::uint16_t>(core);
  plan.doorbell = doorbells[core].get();
  plan.numa_node = eal.socket_for(numa_node_of(plan.cpu));
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const Port& port = *ports[i];
    plan.ports.push_back({.queue = core < port.queues() ? std::optional(port.queue(core)) : std::nullopt,
                          .handover = steering ? handovers[i].get() : nullptr});
    plan.interfaces.push_back(port.interface());
  }
  for (std::size_t i = 0; i < ports.size(); ++i)
    for (const InterfaceConfig& vlan : ports[i]->vlans()) {
      plan.interfaces.push_back(vlan);
      plan.interfaces.back().port = static_cast<InterfaceId>(i);
    }
  // One that takes over answers for the addresses once its predecessor no longer does.
  for (InterfaceConfig& interface : plan.interfaces)
    interface.primary = core == Steering::primary_core && config.take_over.empty();
  plan.routes = config.routes;
  plan.neighbors = config.neighbors;
  plan.stack = {
      .ip = config.ip, .tcp = config.tcp, .udp = config.udp, .secrets = secrets,
                .flight_records = config.telemetry.flight_records, .seed = random_u64()};
  if (steering) {
    local_ports.push_back(std::make_unique<SteeredPorts>(*steering, plan.index, config.tcp.ephemeral_port_first,
                                                         config.tcp.ephemeral_port_last));
    plan.stack.local_ports = local_ports.back().get();
    plan.stack.udp_ports = {.core = plan.index, .cores = static_cast<std::uint16_t>(eal.cpus().size())};
  }
  plan.drain_timeout = config.drain_timeout;
  plan.long_turn = config.telemetry.long_turn;
  plan.idle = {config.idle, config.idle_polls, Duration::from_us(config.idle_sleep_us_max)};
  return plan;
}

int Runtime::Impl::run() {
  launch();
  std::exception_ptr not_taken_over;
  try {
    begin_take_over();
  } catch (...) {
    not_taken_over = std::current_exception();
    stop_asked = true;
  }
  handle_events();
  if (take_over) take_over->stop();
  release_cores();
  if (auto failure = first_failure()) std::rethrow_exception(failure);
  if (not_taken_over != nullptr) std::rethrow_exception(not_taken_over);
  if (!take_over_error.empty()) throw std::runtime_error(take_over_error);
  std::uint32_t reset = 0;
  for (const auto& core : cores) reset += core->connections_reset();
  if (reset != 0) log_warning("{} connections were still open after the drain and were reset", reset);
  return reset == 0 ? 0 : 1;
}

void Runtime::Impl::launch() {
  const std::lock_guard lock(phase_mutex);
  if (phase != Phase::built) throw std::logic_error("Runtime::run() was called twice");
  phase = Phase::running;
  for (auto& core : cores) core->launch(callbacks, [this] { events.wake(); });
}

void Runtime::Impl::begin_take_over() {
  if (config.take_over.empty()) return;
  const std::lock_guard building(phase_mutex);
  take_over.emplace(*this, config.take_over, [this](const std::string& error) {
    const std::lock_guard lock(phase_mutex);
    take_over_error = error;
    stop_asked = true;
    events.wake();
  });
}

std::vector<MacAddress> Runtime::Impl::offer_hand_over() {
  {
    const std::lock_guard lock(phase_mutex);
    if (take_over && take_over->is_running()) throw std::runtime_error("not yet: it still takes over itself");
    if (phase != Phase::running) throw std::runtime_error("not yet: it does not run");
  }
  if (stop_asked) throw std::runtime_error("it is draining already");
  if (active_capture != nullptr && active_capture->status().running)
    throw std::runtime_error("not yet: a capture runs; l4ctl capture ends it");
  std::vector<MacAddress> macs;
  for (const auto& port : ports) macs.push_back(port->interface().mac);
  return macs;
}

void Runtime::Impl::hand_over(const std::vector<MacAddress>& successor) {
  const std::vector<MacAddress> own = offer_hand_over();
  if (successor.size() != own.size())
    throw std::runtime_error(fmt::format("expected {} MAC addresses, found {}", own.size(), successor.size()));
  for (std::size_t core = 0; core < cores.size(); ++core)
    on_core(core, [&](PollingCore& on) { on.start_hand_over(HandOverRole::predecessor, own, successor); });
  on_core(0, [](PollingCore& on) { on.set_primary(false); });
  log_info("handing over to {}: new connections are passed on, open ones may finish", successor.front().to_string());
  handed_over = true;
  stop_asked = true;
  events.wake();
}

void Runtime::Impl::handle_events() {
  bool draining = false;
  for (;;) {
    if (stop_asked && !draining) {
      draining = true;
      if (handed_over)
        for (auto& core : cores) core->mailbox().call([&]() noexcept { core->drain_to_successor(Duration::from_ns(drain_ns)); });
      else
        drain(Duration::from_ns(drain_ns));
    }
    if (first_failure() != nullptr) {
      draining = true;
      drain(Duration{});
    }
    if (all_finished()) return;
    switch (events.wait()) {
      case ControlEvents::Kind::terminate:
        // The first signal is a request, the second an order.
        if (draining)
          drain(Duration{});
        else
          stop_asked = true;
        break;
      case ControlEvents::Kind::print:
        std::fputs(text().c_str(), stderr);
        break;
      case ControlEvents::Kind::reload:
        // Without a file to read, it says what it says to any program: the terminal is gone.
        if (config_source != nullptr)
          reload();
        else
          stop_asked = true;
        break;
      case ControlEvents::Kind::watched:
        metrics_http->serve();
        break;
      case ControlEvents::Kind::wake:
        break;
    }
  }
}

void Runtime::Impl::reload() {
  try {
    log_info("configuration read anew: {} keys changed", change_config(std::nullopt).size());
  } catch (const std::exception& error) {
    log_line(LogLevel::error, fmt::format("the configuration stays as it is: {}", error.what()));
  }
}

void Runtime::Impl::drain(Duration timeout) {
  for (auto& core : cores) core->mailbox().call([&]() noexcept { core->drain(timeout); });
}

void Runtime::Impl::release_cores() {
  const std::lock_guard lock(phase_mutex);
  for (auto& core : cores) {
    core->mailbox().call([&]() noexcept { core->release(); });
    core->join();
  }
  for (auto& core : cores) core->count_pools();
  phase = Phase::stopped;
}

std::vector<ConfigChange> Runtime::Impl::change_config(const std::optional<std::pair<std::string, std::string>>& set) {
  const std::lock_guard lock(change_mutex);
  if (config_source == nullptr) throw std::runtime_error("this program's configuration comes from no file");
  if (stop_asked) throw std::runtime_error("the program is draining");
  ConfigProposal proposal = set ? config_source->set(set->first, set->second) : config_source->reload();
  apply_change(*this, proposal, change_callbacks);
  config_source->adopt();
  drain_ns = proposal.config.drain_timeout.ns();
  const std::lock_guard listing_lock(phase_mutex);
  listing = std::move(proposal.listing);
  for (const ConfigChange& change : proposal.changes) log_info("configuration: {}", change.text());
  return std::move(proposal.changes);
}

void Runtime::Impl::write_flights() noexcept {
  for (std::size_t i = 0; i < failing->cores.size(); ++i)
    if (Stack* stack = failing->cores[i]->stack()) write_flight(stack->flight(), i);
}

void Runtime::Impl::drain_within(Duration timeout) noexcept {
  drain_ns = timeout.ns();
  stop_asked = true;
  events.wake();
}

bool Runtime::Impl::on_core(std::size_t core, const std::function<void(PollingCore&)>& f) const {
  const std::lock_guard lock(phase_mutex);
  PollingCore& on = *cores.at(core);
  bool ran = false;
  const auto run_there = [&]() noexcept {
    if (on.stack() == nullptr) return;
    f(on);
    ran = true;
  };
  if (phase == Phase::running)
    on.mailbox().call(run_there);
  else
    run_there();
  return ran;
}

bool Runtime::Impl::all_finished() const noexcept {
  for (const auto& core : cores)
    if (!core->is_finished()) return false;
  return true;
}

std::exception_ptr Runtime::Impl::first_failure() const noexcept {
  for (const auto& core : cores)
    if (core->is_finished() && core->failure() != nullptr) return core->failure();
  return nullptr;
}

PollingCore* Runtime::Impl::calling_core() const noexcept {
  for (const auto& core : cores)
    if (core->lcore() == rte_lcore_id()) return core.get();
  return nullptr;
}

std::vector<CoreReport> Runtime::Impl::core_reports() const {
  // A polling core may ask too, from a callback. While it waits it must answer others, or two would wait for
  // each other for ever.
  PollingCore* own = calling_core();
  const auto serve_own = [](void* core) noexcept { static_cast<PollingCore*>(core)->mailbox().serve(); };
  std::unique_lock lock(phase_mutex, std::defer_lock);
  if (own == nullptr)
    lock.lock();
  else
    while (!lock.try_lock()) serve_own(own);

  std::vector<CoreReport> reports;
  for (const auto& core : cores) {
    CoreReport report{core->cpu(), {}};
    if (phase != Phase::running || core.get() == own) {
      report.snapshot = core->snapshot();
    } else {
      core->mailbox().call([&]() noexcept { report.snapshot = core->snapshot(); },
                           own != nullptr ? +serve_own : nullptr, own);
    }
    reports.push_back(report);
  }
  return reports;
}

std::string Runtime::Impl::text() const {
  std::vector<PortReport> reports;
  for (const auto& port : ports) reports.push_back({port->name(), port->stats()});
  return pollux::counters_text(reports, core_reports());
}

std::string Runtime::Impl::metrics() const {
  std::vector<PortMetrics> reports;
  for (const auto& port : ports) reports.push_back({{port->name(), port->stats()}, port->xstats()});
  return metrics_text(reports, core_reports());
}

Runtime::Runtime(const Config& config) : impl_(std::make_unique<Impl>(config)) {}
Runtime::Runtime(Runtime&&) noexcept = default;
Runtime::~Runtime() = default;

void Runtime::on_each_core(std::function<void(Stack&)> setup) {
  impl_->callbacks.setup.push_back(std::move(setup));
}

void Runtime::on_each_core_stopped(std::function<void(Stack&)> teardown) {
  impl_->callbacks.teardown.push_back(std::move(teardown));
}

void Runtime::on_each_core_main(std::function<void(Stack&, LoopDriver&)> main) { impl_->callbacks.main = std::move(main); }

void Runtime::on_each_core_tick(Duration period, std::function<void(Stack&, TimePoint now)> tick) {
  if (period <= Duration{})
    throw std::invalid_argument("on_each_core_tick: the period must be greater than 0");
  impl_->callbacks.ticks.push_back({period, std::move(tick)});
}

void Runtime::change_config_from(std::unique_ptr<ConfigSource> source) {
  const std::lock_guard lock(impl_->change_mutex);
  impl_->config_source = std::move(source);
}

void Runtime::on_each_core_change(ChangeCallbacks callbacks) {
  impl_->change_callbacks.push_back(std::move(callbacks));
}

void Runtime::describe_config(ConfigListing listing) {
  const std::lock_guard lock(impl_->phase_mutex);
  impl_->listing = std::move(listing);
}

const ExternalMemory& Runtime::register_memory(std::span<std::uint8_t> region) {
  for (const auto& other : impl_->memory) {
    const auto known = other->memory().region();
    if (region.data() < known.data() + known.size() && known.data() < region.data() + region.size())
      throw std::runtime_error(fmt::format("{} octets of memory overlap with {} octets that are registered", region.size(),
                                           known.size()));
  }
  impl_->memory.push_back(std::make_unique<RegisteredMemory>(region, impl_->ports));
  return impl_->memory.back()->memory();
}

int Runtime::run() {
  return impl_->run();
}

void Runtime::stop() noexcept {
  impl_->stop_asked = true;
  impl_->events.wake();
}

Counters Runtime::counters() const {
  return total_counters(impl_->core_reports());
}
std::string Runtime::counters_text() const {
  return impl_->text();
}
std::string Runtime::ports_text() const {
  std::string text;
  for (const auto& port : impl_->ports) text += port_text(port->describe());
  return text;
}
std::size_t Runtime::core_count() const noexcept {
  return impl_->cores.size();
}

}  // namespace pollux
