#include "pollux/drivers_glue/live_config.h"

#include <fmt/format.h>

#include <stdexcept>

#include "pollux/drivers_glue/check_config.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/telemetry_source.h"

namespace pollux {
namespace {

/// Keys that are named in one message.
constexpr std::size_t named_max = 8;

void refuse_what_needs_a_restart(const ConfigProposal& proposal) {
  std::string keys;
  std::size_t count = 0;
  for (const ConfigChange& change : proposal.changes) {
    if (change.live || ++count > named_max) continue;
    keys += (keys.empty() ? "" : "; ") + change.text();
  }
  if (count > named_max) keys += fmt::format("; and {} more", count - named_max);
  if (count != 0) throw std::runtime_error("needs a restart, so nothing was changed: " + keys);
}

IpSettings ip_settings(TelemetrySource& source, const Config& config) {
  IpSettings settings{config.ip, {}, config.routes, config.neighbors};
  const auto ports = source.port_list();
  std::vector<InterfaceConfig> vlans;  // behind all ports, as in the stack
  for (std::size_t i = 0; i < ports.size(); ++i) {
    if (ports[i]->leads_to_kernel()) {
      settings.interfaces.push_back(ports[i]->interface());
      continue;
    }
    const std::vector<InterfaceConfig> all = ports[i]->interfaces_with(config.ports.at(i));
    settings.interfaces.push_back(all.front());
    for (auto vlan = all.begin() + 1; vlan != all.end(); ++vlan) {
      vlans.push_back(*vlan);
      vlans.back().port = static_cast<InterfaceId>(i);
    }
  }
  settings.interfaces.insert(settings.interfaces.end(), vlans.begin(), vlans.end());
  return settings;
}

/// One core's first step; what it did when it fails is undone.
Result<void> prepare(Stack& stack, const Config& config, const std::vector<ChangeCallbacks>& callbacks) {
  for (std::size_t i = 0; i < callbacks.size(); ++i) {
    auto prepared = callbacks[i].prepare(stack);
    if (prepared) continue;
    while (i-- > 0) callbacks[i].finish(stack, false);
    return prepared;
  }
  auto prepared = stack.tcp().prepare(config.tcp);
  if (!prepared)
    for (const auto& callback : callbacks) callback.finish(stack, false);
  return prepared;
}

void prepare_all(TelemetrySource& source, const Config& config, const std::vector<ChangeCallbacks>& callbacks) {
  for (std::size_t core = 0; core < source.core_count(); ++core) {
    Result<void> prepared;
    const bool ran = source.on_core(core, [&](PollingCore& on) { prepared = prepare(*on.stack(), config, callbacks); });
    if (ran && prepared) continue;
    for (std::size_t i = 0; i < core; ++i)
      source.on_core(i, [&](PollingCore& on) {
        for (const auto& callback : callbacks) callback.finish(*on.stack(), false);
      });
    throw std::runtime_error(fmt::format("core {} refuses, so nothing was changed: {}", core,
                                         ran ? prepared.error().text : "it has ended"));
  }
}

}  // namespace

std::string ConfigChange::text() const {
  const auto shown = [](const std::string& value) { return value.empty() ? std::string("(none)") : value; };
  return fmt::format("{}: {} -> {}", key, shown(before), shown(after));
}

void apply_change(TelemetrySource& source, const ConfigProposal& proposal, const std::vector<ChangeCallbacks>& callbacks) {
  const Config& config = proposal.config;
  if (const auto problem = check_config(config)) throw std::runtime_error(fmt::format("{}: {}", problem->key, problem->text));
  refuse_what_needs_a_restart(proposal);
  const IpSettings settings = ip_settings(source, config);
  std::vector<IpPlan> plans;  // one a core: each takes the routes out of its own
  for (std::size_t core = 0; core < source.core_count(); ++core) {
    PacketPool* pool = nullptr;
    if (!source.on_core(core, [&](PollingCore& on) { pool = &on.stack()->pool(); }))
      throw std::runtime_error("the program is ending");
    auto planned = plan_ip(settings, *pool);
    if (!planned) throw std::runtime_error(planned.error().text);
    plans.push_back(std::move(*planned));
  }
  prepare_all(source, config, callbacks);
  for (std::size_t core = 0; core < source.core_count(); ++core)
    source.on_core(core, [&](PollingCore& on) { on.change(plans[core], config, callbacks); });
  set_log_level(*log_level_from(config.log_level));
}

}  // namespace pollux
