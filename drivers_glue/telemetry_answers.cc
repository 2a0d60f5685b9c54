// Counters, cores, ports, addresses: what is counted, configured and learnt. Connections:
// telemetry_connections.cc.
#include "pollux/drivers_glue/telemetry_answers.h"

#include <fmt/format.h>
#include <rte_malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>

#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/telemetry_capture.h"
#include "pollux/drivers_glue/telemetry_connections.h"
#include "pollux/drivers_glue/telemetry_flight.h"

namespace pollux {
namespace {

std::size_t take_core(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto core = parameters.take_word();
  if (!core)
    throw TelemetryError(fmt::format("expected the number of a core, 0 to {}", source.core_count() - 1));
  const auto number = telemetry_number(*core);
  if (!number || *number >= source.core_count())
    throw TelemetryError(
        fmt::format("expected a core from 0 to {}, found '{}'", source.core_count() - 1, *core));
  return static_cast<std::size_t>(*number);
}

TelemetryDict counters(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto core = parameters.take_number("core", 0, source.core_count() - 1);
  parameters.finish("core=N");
  const auto reports = source.core_reports();
  return counters_value(core ? reports.at(*core).snapshot.counters : total_counters(reports));
}

TelemetryDict cores(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  TelemetryDict all;
  const auto reports = source.core_reports();
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const CoreSnapshot& s = reports[i].snapshot;
    all.add(fmt::format("{}", i), TelemetryDict()
                                      .add("cpu", reports[i].cpu)
                                      .add("connections", s.connections)
                                      .add("turns", s.loop.turns)
                                      .add("idle_turns", s.loop.idle_turns)
                                      .add("busy_ns", s.loop.busy_ns)
                                      .add("idle_ns", s.loop.idle_ns)
                                      .add("packets_in_use", s.packets_in_use)
                                      .add("packets_free_min", s.packets_free_min)
                                      .add("drops", s.counters.drops()));
  }
  return all;
}

TelemetryDict core(TelemetrySource& source, TelemetryParameters& parameters) {
  const std::size_t index = take_core(source, parameters);
  parameters.finish("none");
  return core_value(source.core_reports().at(index));
}

TelemetryDict ports(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  TelemetryDict all;
  InterfaceId interface = 0;
  for (const auto& port : source.port_list()) {
    const rte_eth_stats s = port->stats();
    InterfaceConfig i = port->interface();  // but for the addresses, which may have changed since
    source.on_core(0, [&](PollingCore& on) { i = on.stack()->ip().interface(interface); });
    ++interface;
    all.add(fmt::format("{}", port->id()), TelemetryDict()
                                               .add("name", port->name())
                                               .add("kernel_interface", port->kernel_interface())
                                               .add("mac", i.mac.to_string())
                                               .add("address", i.address.to_string())
                                               .add("vlans", port->vlans().size())
                                               .add("mtu", i.mtu)
                                               .add("rx_packets", s.ipackets)
                                               .add("rx_bytes", s.ibytes)
                                               .add("rx_missed", s.imissed)
                                               .add("rx_errors", s.ierrors)
                                               .add("rx_nombuf", s.rx_nombuf)
                                               .add("tx_packets", s.opackets)
                                               .add("tx_bytes", s.obytes)
                                               .add("tx_errors", s.oerrors));
  }
  return all;
}

TelemetryDict queues(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  TelemetryDict all;
  const auto ports = source.port_list();
  const auto reports = source.core_reports();
  for (std::size_t core = 0; core < reports.size(); ++core) {
    const CoreSnapshot& s = reports[core].snapshot;
    for (std::size_t i = 0; i < s.queue_count; ++i) {
      const CoreSnapshot::Queue& q = s.queues[i];
      all.add(fmt::format("{}/{}", q.port, q.queue), TelemetryDict()
                                                         .add("port", ports[q.port]->name())
                                                         .add("queue", q.queue)
                                                         .add("core", core)
                                                         .add("rx_packets", q.rx_packets)
                                                         .add("tx_packets", q.tx_packets));
    }
  }
  return all;
}

TelemetryDict xstats(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto wanted = parameters.take_word();
  parameters.finish("a port's name or number");
  constexpr std::size_t entries_max = 256;
  for (const auto& port : source.port_list()) {
    if (wanted && *wanted != port->name() && *wanted != fmt::format("{}", port->id())) continue;
    TelemetryDict all;
    for (const auto& [name, value] : port->xstats())
      if (all.entries().size() < entries_max) all.add(name, value);
    return all;
  }
  throw TelemetryError(fmt::format("no port '{}'; /pollux/ports lists them", *wanted));
}

TelemetryDict neighbors(TelemetrySource& source, TelemetryParameters& parameters) {
  const std::size_t index = parameters.take_number("core", 0, source.core_count() - 1).value_or(0);
  const std::uint64_t from = parameters.take_number("cursor", 0, ~std::uint32_t{0}).value_or(0);
  parameters.finish("core=N, cursor=N");
  struct Entry {
    IpAddress address;
    MacAddress mac;
    NeighborState state;
    InterfaceId interface;
    std::uint32_t queued;
  };
  constexpr std::size_t page = 100;
  std::array<Entry, page> entries;
  std::uint64_t total = 0;
  source.on_core(index, [&](PollingCore& on) {
    on.stack()->ip().neighbors().for_each([&](Neighbor& n) {
      if (total >= from && total - from < page)
        entries[total - from] = {n.address, n.mac(), n.state, n.interface, n.queued};
      ++total;
    });
  });
  const std::size_t count = total > from ? std::min<std::uint64_t>(total - from, page) : 0;
  TelemetryDict listed;
  for (const Entry& entry : std::span(entries).first(count))
    listed.add(fmt::format("{}", from + listed.entries().size()),
               TelemetryDict()
                   .add("address", entry.address.to_string())
                   .add("mac", entry.mac.to_string())
                   .add("state", neighbor_state_name(entry.state))
                   .add("interface", entry.interface)
                   .add("queued", entry.queued));
  TelemetryDict answer;
  answer.add("total", total);
  if (from + count < total) answer.add("next", from + count);
  return answer.add("neighbors", std::move(listed));
}

TelemetryDict routes(TelemetrySource& source, TelemetryParameters& parameters) {
  const std::uint64_t from = parameters.take_number("cursor", 0, ~std::uint32_t{0}).value_or(0);
  parameters.finish("cursor=N");
  constexpr std::size_t page = 100;
  std::array<Route, page> routes;
  std::size_t count = 0, total = 0;
  std::vector<std::string> names(interfaces_max);
  source.on_core(0, [&](PollingCore& on) {
    for (std::size_t i = 0; i < on.stack()->ip().interface_count(); ++i)
      names[i] = on.stack()->ip().interface(static_cast<InterfaceId>(i)).name;
    const RouteTable& table = on.stack()->ip().routes();
    const auto v4 = table.routes(), v6 = table.v6_routes();  // the one listed before the other
    total = v4.size() + v6.size();
    for (std::size_t i = from; i < total && count < page; ++i) routes[count++] = i < v4.size() ? v4[i] : v6[i - v4.size()];
  });
  TelemetryDict listed;
  for (const Route& route : std::span(routes).first(count))
    listed.add(fmt::format("{}", from + listed.entries().size()),
               TelemetryDict()
                   .add("prefix", route.prefix().to_string())
                   .add("gateway", route.is_connected() ? "on link" : route.gateway.to_string())
                   .add("port", names.at(route.interface)));
  TelemetryDict answer;
  answer.add("total", total);
  if (from + count < total) answer.add("next", from + count);
  return answer.add("routes", std::move(listed));
}

TelemetryDict config(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  TelemetryDict all;
  for (const auto& [key, value] : source.config_listing()) {
    std::string name = key;  // ports[0].mtu -> ports/0/mtu
    name.erase(std::remove(name.begin(), name.end(), ']'), name.end());
    for (char& c : name)
      if (c == '.' || c == '[') c = '/';
    all.add(std::move(name), value);
  }
  return all;
}

/// What a change did, or with a text as long as it takes why it did nothing: DPDK cuts texts at 127 characters.
TelemetryDict changed(TelemetrySource& source, const std::optional<std::pair<std::string, std::string>>& set) {
  constexpr std::size_t text_max = 127, named_max = 64;
  TelemetryDict answer;
  try {
    const std::vector<ConfigChange> changes = source.change_config(set);
    TelemetryDict named;
    for (const ConfigChange& change : std::span(changes).first(std::min(changes.size(), named_max)))
      named.add(fmt::format("{}", named.entries().size()), change.text());
    return answer.add("changed", changes.size()).add("changes", std::move(named));
  } catch (const std::exception& error) {
    const std::string text = error.what();
    for (std::size_t at = 0; at < text.size(); at += text_max)
      answer.add(at == 0 ? "error" : fmt::format("error_{}", at / text_max), text.substr(at, text_max));
  }
  return answer;
}

TelemetryDict reload(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  return changed(source, std::nullopt);
}

TelemetryDict set(TelemetrySource& source, TelemetryParameters& parameters) {
  const std::string given = parameters.take_all();
  const auto equals = given.find('=');
  if (equals == std::string::npos || equals == 0) throw TelemetryError("expected KEY=VALUE, like tcp.nagle=false");
  return changed(source, std::pair(given.substr(0, equals), given.substr(equals + 1)));
}

TelemetryDict level(TelemetrySource&, TelemetryParameters& parameters) {
  if (const auto name = parameters.take_word()) {
    const auto wanted = log_level_from(*name);
    if (!wanted)
      throw TelemetryError(fmt::format("expected error, warning, info or debug, found '{}'", *name));
    set_log_level(*wanted);
    log_info("log level set to {}", *name);
  }
  parameters.finish("error, warning, info or debug");
  return TelemetryDict().add("log_level", std::string(log_level_name(log_level())));
}

TelemetryDict memory(TelemetrySource& source, TelemetryParameters& parameters) {
  parameters.finish("none");
  TelemetryDict all;
  std::uint64_t pages = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> pages >> resident;
  all.add("process_resident_bytes", resident * static_cast<std::uint64_t>(sysconf(_SC_PAGESIZE)));
  rte_malloc_socket_stats heap{};
  if (rte_malloc_get_socket_stats(0, &heap) == 0)
    all.add("dpdk_heap_bytes", heap.heap_totalsz_bytes).add("dpdk_heap_free_bytes", heap.heap_freesz_bytes);
  const auto reports = source.core_reports();
  for (std::size_t i = 0; i < reports.size(); ++i) {
    const TcpUsage& tcp = reports[i].snapshot.tcp;
    all.add(fmt::format("core{}_connection_bytes", i), tcp.connections.octets_touched)
        .add(fmt::format("core{}_disturbed_bytes", i), tcp.disturbed.octets_touched)
        .add(fmt::format("core{}_time_wait_bytes", i), tcp.time_wait.octets_touched)
        .add(fmt::format("core{}_out_of_order_bytes", i), tcp.out_of_order.octets_touched)
        .add(fmt::format("core{}_outstanding_bytes", i), tcp.outstanding.octets_touched);
  }
  return all;
}

TelemetryDict hand_over(TelemetrySource& source, TelemetryParameters& parameters) {
  std::vector<MacAddress> successor;
  while (const auto text = parameters.take(fmt::format("mac_{}", successor.size()))) {
    const auto mac = MacAddress::from_string(*text);
    if (!mac) throw TelemetryError(fmt::format("expected MAC addresses, found '{}'", *text));
    successor.push_back(*mac);
  }
  parameters.finish("mac_0=MAC, mac_1=MAC, ...");
  TelemetryDict answer;
  try {
    for (const MacAddress& mac : source.offer_hand_over())
      answer.add(fmt::format("mac_{}", answer.entries().size()), mac.to_string());
    if (!successor.empty()) source.hand_over(successor);
  } catch (const std::runtime_error& error) {
    throw TelemetryError(error.what());
  }
  return answer;
}

TelemetryDict drain(TelemetrySource& source, TelemetryParameters& parameters) {
  constexpr std::uint64_t day_ms = 86'400'000;
  const auto timeout = parameters.take_number("timeout_ms", 0, day_ms);
  parameters.finish("timeout_ms=N");
  if (!timeout) throw TelemetryError("expected timeout_ms=N, after which open connections are reset");
  log_info("asked by telemetry to drain within {} ms", *timeout);
  source.drain_within(Duration::from_ms(static_cast<std::int64_t>(*timeout)));
  return TelemetryDict().add("draining", 1).add("timeout_ms", *timeout);
}

// DPDK takes at most 127 characters of help.
constexpr std::array commands = {
    TelemetryCommand{"/pollux/counters",
                     "All counters, and drops by reason. Parameters: core=N, else all cores", counters},
    TelemetryCommand{"/pollux/cores", "One line for each polling core. No parameters", cores},
    TelemetryCommand{"/pollux/core", "Loop, pools and tables of one core. Parameter: its number", core},
    TelemetryCommand{"/pollux/ports", "Addresses and statistics of the ports. No parameters", ports},
    TelemetryCommand{"/pollux/queues", "Queue pairs, the core that serves each, and their packets. No parameters", queues},
    TelemetryCommand{"/pollux/xstats", "Everything a port's driver counts. Parameter: its name or number",
                     xstats},
    TelemetryCommand{
        "/pollux/connections",
        "TCP connections. [core|state|local|remote|local_port|remote_port|troubled|limit|cursor]=V,...",
        answer_connections},
    TelemetryCommand{"/pollux/connection",
                     "All about one connection. Parameter: core/slot/generation, as listed",
                     answer_connection},
    TelemetryCommand{"/pollux/listeners", "TCP listeners and UDP sockets of core 0, or core=N",
                     answer_listeners},
    TelemetryCommand{"/pollux/close", "Resets a connection. Parameter: core/slot/generation", answer_close},
    TelemetryCommand{"/pollux/neighbors", "Neighbours (ARP). Parameters: core=N, cursor=N", neighbors},
    TelemetryCommand{"/pollux/routes", "Routes. No parameters", routes},
    TelemetryCommand{"/pollux/memory", "Memory of the process, of DPDK and of the tables. No parameters",
                     memory},
    TelemetryCommand{"/pollux/config", "The configuration in force. No parameters", config},
    TelemetryCommand{"/pollux/reload", "Reads the configuration file anew and takes it over, whole or not at all. No parameters",
                     reload},
    TelemetryCommand{"/pollux/set", "Sets one key of the configuration in force. Parameter: KEY=VALUE as the file has them", set},
    TelemetryCommand{"/pollux/log_level", "Says, and with a parameter sets, the log level", level},
    TelemetryCommand{"/pollux/events", "Last events of a core. Parameters: core=N, connection=ID, last=N (100)",
                     answer_events},
    TelemetryCommand{"/pollux/capture", "How the present or last capture does. No parameters", answer_capture},
    TelemetryCommand{"/pollux/capture/start",
                     "Captures packets: file=PATH [count=N|filter=PCAP|seconds=N|snap_length=N|points=rx+tx+drop]",
                     answer_capture_start},
    TelemetryCommand{"/pollux/capture/stop", "Ends the capture. No parameters", answer_capture_stop},
    TelemetryCommand{"/pollux/hand_over", "Asked by a successor: our ports' MAC addresses; with its own, mac_0=MAC,..., drains to it",
                     hand_over},
    TelemetryCommand{"/pollux/drain", "Stops accepting, resets what is open after timeout_ms=N, and ends",
                     drain},
};

}  // namespace

std::span<const TelemetryCommand> telemetry_commands() noexcept {
  return commands;
}

TelemetryDict telemetry_answer(TelemetrySource& source, std::string_view name, std::string_view parameters) {
  for (const auto& command : commands) {
    if (command.name != name) continue;
    try {
      TelemetryParameters given(parameters);
      return command.answer(source, given);
    } catch (const TelemetryError& error) {
      return TelemetryDict().add("error", error.what());
    }
  }
  return TelemetryDict().add("error", fmt::format("no command {}", name));
}

TelemetryDict counters_value(const Counters& counters) {
  TelemetryDict values, drops;
  for (std::size_t i = 0; i < counter_count; ++i) {
    const auto counter = static_cast<Counter>(i);
    values.add(counter_label(counter), counters[counter]);
  }
  for (std::size_t i = 1; i < drop_reason_count; ++i) {
    const auto reason = static_cast<DropReason>(i);
    drops.add(drop_reason_name(reason), counters[reason]);
  }
  return TelemetryDict().add("counters", std::move(values)).add("drops", std::move(drops));
}

namespace {

TelemetryDict loop_value(const LoopCounters& loop) {
  TelemetryDict value;
  value.add("turns", loop.turns)
      .add("idle_turns", loop.idle_turns)
      .add("sleeps", loop.sleeps)
      .add("rx_full", loop.rx_full)
      .add("time_squeeze", loop.time_squeeze)
      .add("tx_refused", loop.tx_refused)
      .add("busy_ns", loop.busy_ns)
      .add("idle_ns", loop.idle_ns)
      .add("busy_turns", loop.busy_turns.count())
      .add("busy_turn_p50_ns", loop.busy_turns.quantile(0.5))
      .add("busy_turn_p99_ns", loop.busy_turns.quantile(0.99))
      .add("busy_turn_p999_ns", loop.busy_turns.quantile(0.999))
      .add("busy_turn_max_ns", loop.busy_turns.max_ns());
  for (std::size_t i = 0; i < long_turn_causes; ++i)
    value.add(fmt::format("long_turns_{}", long_turn_names[i]), loop.long_turns[i]);
  for (std::size_t i = 0; i < loop_stages; ++i) {
    const double share = loop.stage_share(static_cast<LoopStage>(i));
    value.add(fmt::format("{}_permille", loop_stage_names[i]),
              static_cast<std::uint64_t>(std::lround(share * 1000)));
  }
  return value;
}

TelemetryDict tables_value(const CoreSnapshot& s) {
  TelemetryDict value;
  const auto add = [&](const char* name, const TcpUsage::Table& table) {
    value.add(name, table.used).add(fmt::format("{}_max", name), table.max);
  };
  add("connections", s.tcp.connections);
  add("disturbed", s.tcp.disturbed);
  add("time_wait", s.tcp.time_wait);
  add("listeners", s.tcp.listeners);
  add("out_of_order", s.tcp.out_of_order);
  add("outstanding", s.tcp.outstanding);
  add("kept_packets", s.tcp.kept);
  return value.add("timers_armed", s.tcp.timers_armed)
      .add("neighbors", s.neighbors)
      .add("neighbors_max", s.neighbors_max);
}

}  // namespace

TelemetryDict core_value(const CoreReport& core) {
  const CoreSnapshot& s = core.snapshot;
  return TelemetryDict()
      .add("cpu", core.cpu)
      .add("loop", loop_value(s.loop))
      .add("pools", TelemetryDict()
                        .add("packets", s.packets)
                        .add("packets_in_use", s.packets_in_use)
                        .add("packets_free_min", s.packets_free_min)
                        .add("clones", s.clones)
                        .add("clones_in_use", s.clones_in_use)
                        .add("clones_free_min", s.clones_free_min))
      .add("tables", tables_value(s));
}

}  // namespace pollux
