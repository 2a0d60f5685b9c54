#include "pollux/drivers_glue/metrics_text.h"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <string_view>

namespace pollux {
namespace {

using Out = std::back_insert_iterator<std::string>;

constexpr const char* counter_names[] = {
#define POLLUX_COUNTER(name, label, text) #name,
#include "pollux/base/counter.def"
#undef POLLUX_COUNTER
};

constexpr double ns_per_s = 1e9;

double seconds(std::uint64_t ns) noexcept {
  return static_cast<double>(ns) / ns_per_s;
}

/// Escapes a label's value or a help text.
std::string escaped(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    if (c == '\\' || c == '"') out += '\\';
    out += c;
  }
  return out;
}

void head(Out out, std::string_view name, std::string_view type, std::string_view help) {
  fmt::format_to(out, "# HELP pollux_{} {}\n# TYPE pollux_{} {}\n", name, help, name, type);
}

/// One metric with a line for each core; `value` takes a CoreSnapshot.
template <typename F>
void per_core(Out out, std::span<const CoreReport> cores, std::string_view name, std::string_view type,
              std::string_view help, F value) {
  head(out, name, type, help);
  for (std::size_t i = 0; i < cores.size(); ++i)
    fmt::format_to(out, "pollux_{}{{core=\"{}\"}} {}\n", name, i, value(cores[i].snapshot));
}

void add_counters(Out out, std::span<const CoreReport> cores) {
  for (std::size_t c = 0; c < counter_count; ++c) {
    const auto counter = static_cast<Counter>(c);
    per_core(out, cores, fmt::format("{}_total", counter_names[c]), "counter",
             fmt::format("{} ({}).", counter_text(counter), counter_label(counter)),
             [&](const CoreSnapshot& s) { return s.counters[counter]; });
  }
  head(out, "dropped_packets_total", "counter", "Packets dropped, by reason.");
  for (std::size_t i = 0; i < cores.size(); ++i)
    for (std::size_t r = 1; r < drop_reason_count; ++r) {
      const auto reason = static_cast<DropReason>(r);
      fmt::format_to(out, "pollux_dropped_packets_total{{core=\"{}\",reason=\"{}\"}} {}\n", i,
                     drop_reason_name(reason), cores[i].snapshot.counters[reason]);
    }
}

void add_loops(Out out, std::span<const CoreReport> cores) {
  using S = const CoreSnapshot&;
  per_core(out, cores, "loop_turns_total", "counter", "Turns of the core loop.",
           [](S s) { return s.loop.turns; });
  per_core(out, cores, "loop_idle_turns_total", "counter", "Turns that neither received nor sent.",
           [](S s) { return s.loop.idle_turns; });
  per_core(out, cores, "loop_sleeps_total", "counter", "Sleeps between turns.",
           [](S s) { return s.loop.sleeps; });
  per_core(out, cores, "loop_full_bursts_total", "counter", "Receive bursts as large as allowed.",
           [](S s) { return s.loop.rx_full; });
  per_core(out, cores, "loop_time_squeeze_total", "counter",
           "Budgets of packets or of timers that a turn used up.",
           [](S s) { return s.loop.time_squeeze; });
  per_core(out, cores, "loop_transmit_refused_total", "counter",
           "Turns in which a port did not take all packets.", [](S s) { return s.loop.tx_refused; });
  per_core(out, cores, "loop_idle_seconds_total", "counter",
           "Time in turns that found nothing, sleeps included; of turns below 4 us one in 509 counts, for all.", [](S s) { return seconds(s.loop.idle_ns); });

  head(out, "loop_stage_ratio", "gauge",
       "Part of the busy time that each stage takes (sampled since the start).");
  for (std::size_t i = 0; i < cores.size(); ++i)
    for (std::size_t stage = 0; stage < loop_stages; ++stage)
      fmt::format_to(out, "pollux_loop_stage_ratio{{core=\"{}\",stage=\"{}\"}} {:.4f}\n", i,
                     loop_stage_names[stage],
                     cores[i].snapshot.loop.stage_share(static_cast<LoopStage>(stage)));

  head(out, "loop_long_turns_total", "counter", "Busy turns longer than telemetry.long_turn, by what took longest.");
  for (std::size_t i = 0; i < cores.size(); ++i)
    for (std::size_t cause = 0; cause < long_turn_causes; ++cause)
      fmt::format_to(out, "pollux_loop_long_turns_total{{core=\"{}\",stage=\"{}\"}} {}\n", i, long_turn_names[cause],
                     cores[i].snapshot.loop.long_turns[cause]);

  head(out, "loop_busy_turn_seconds", "histogram",
       "Duration of turns that received or sent, callbacks included; of those below 4 us one in 509 counts, for all.");
  for (std::size_t i = 0; i < cores.size(); ++i) {
    const LoopCounters& loop = cores[i].snapshot.loop;
    constexpr unsigned first_bit = 8, last_bit = 30;  // 256 ns to 1 s
    for (unsigned bit = first_bit; bit <= last_bit; bit += 2) {
      const std::uint64_t bound = std::uint64_t{1} << bit;
      fmt::format_to(out, "pollux_loop_busy_turn_seconds_bucket{{core=\"{}\",le=\"{}\"}} {}\n", i,
                     seconds(bound), loop.busy_turns.at_most(bound - 1));
    }
    fmt::format_to(out,
                   "pollux_loop_busy_turn_seconds_bucket{{core=\"{0}\",le=\"+Inf\"}} {1}\n"
                   "pollux_loop_busy_turn_seconds_sum{{core=\"{0}\"}} {2}\n"
                   "pollux_loop_busy_turn_seconds_count{{core=\"{0}\"}} {1}\n",
                   i, loop.busy_turns.count(), seconds(loop.busy_ns));
  }
}

void add_pools_and_tables(Out out, std::span<const CoreReport> cores) {
  using S = const CoreSnapshot&;
  per_core(out, cores, "packet_buffers", "gauge", "Packet buffers in all.", [](S s) { return s.packets; });
  per_core(out, cores, "packet_buffers_used", "gauge",
           "Packet buffers in use, those in the ports' rings included.",
           [](S s) { return s.packets_in_use; });
  per_core(out, cores, "packet_buffers_free_min", "gauge", "Fewest packet buffers that were ever free.",
           [](S s) { return s.packets_free_min; });
  per_core(out, cores, "clone_buffers", "gauge", "Clone buffers in all.", [](S s) { return s.clones; });
  per_core(out, cores, "clone_buffers_used", "gauge", "Clone buffers in use.",
           [](S s) { return s.clones_in_use; });
  per_core(out, cores, "clone_buffers_free_min", "gauge", "Fewest clone buffers that were ever free.",
           [](S s) { return s.clones_free_min; });
  per_core(out, cores, "timers_armed", "gauge", "TCP timers that are running.",
           [](S s) { return s.tcp.timers_armed; });
  per_core(out, cores, "neighbors", "gauge", "Entries in the neighbour table.",
           [](S s) { return s.neighbors; });
  per_core(out, cores, "neighbors_limit", "gauge", "Room in the neighbour table.",
           [](S s) { return s.neighbors_max; });
  struct Named {
    const char* name;
    const char* what;
    TcpUsage::Table TcpUsage::* table;
  };
  constexpr std::array tables = {
      Named{"tcp_connections", "open TCP connections, TIME-WAIT not included", &TcpUsage::connections},
      Named{"tcp_disturbed", "TCP connections with state of losses, reordering or full windows", &TcpUsage::disturbed},
      Named{"tcp_time_wait", "connections in TIME-WAIT", &TcpUsage::time_wait},
      Named{"tcp_listeners", "TCP listeners", &TcpUsage::listeners},
      Named{"tcp_out_of_order", "stretches of data that wait for a gap to fill", &TcpUsage::out_of_order},
      Named{"tcp_kept_packets", "packets in deliveries that applications keep", &TcpUsage::kept},
      Named{"tcp_outstanding", "segments sent and not yet acknowledged", &TcpUsage::outstanding}};
  for (const Named& t : tables) {
    per_core(out, cores, t.name, "gauge", fmt::format("Number of {}.", t.what),
             [&](S s) { return (s.tcp.*t.table).used; });
    per_core(out, cores, fmt::format("{}_limit", t.name), "gauge", fmt::format("Most {}.", t.what),
             [&](S s) { return (s.tcp.*t.table).max; });
    per_core(out, cores, fmt::format("{}_memory_bytes", t.name), "gauge",
             fmt::format("Memory touched by the table of {}.", t.what),
             [&](S s) { return (s.tcp.*t.table).octets_touched; });
  }
}

void add_ports(Out out, std::span<const PortMetrics> ports, std::span<const CoreReport> cores) {
  struct Named {
    const char* name;
    const char* help;
    std::uint64_t rte_eth_stats::* field;
  };
  constexpr std::array fields = {
      Named{"port_receive_packets_total", "Packets that the device received.", &rte_eth_stats::ipackets},
      Named{"port_receive_bytes_total", "Octets of those packets.", &rte_eth_stats::ibytes},
      Named{"port_receive_missed_total", "Packets that found the receive ring full.",
            &rte_eth_stats::imissed},
      Named{"port_receive_errors_total", "Packets received in error.", &rte_eth_stats::ierrors},
      Named{"port_receive_nombuf_total", "Packets lost because no buffer was free.",
            &rte_eth_stats::rx_nombuf},
      Named{"port_transmit_packets_total", "Packets that the device sent.", &rte_eth_stats::opackets},
      Named{"port_transmit_bytes_total", "Octets of those packets.", &rte_eth_stats::obytes},
      Named{"port_transmit_errors_total", "Packets that the device failed to send.",
            &rte_eth_stats::oerrors}};
  for (const Named& f : fields) {
    head(out, f.name, "counter", f.help);
    for (const auto& port : ports)
      fmt::format_to(out, "pollux_{}{{port=\"{}\"}} {}\n", f.name, escaped(port.report.name),
                     port.report.stats.*f.field);
  }
  struct Direction {
    const char* name;
    const char* help;
    std::uint64_t CoreSnapshot::Queue::* field;
  };
  for (const Direction& d : {Direction{"queue_receive_packets_total", "Packets that a core received from its queue.",
                                       &CoreSnapshot::Queue::rx_packets},
                             Direction{"queue_transmit_packets_total", "Packets that a core sent by its queue.",
                                       &CoreSnapshot::Queue::tx_packets}}) {
    head(out, d.name, "counter", d.help);
    for (std::size_t core = 0; core < cores.size(); ++core)
      for (const auto& q : std::span(cores[core].snapshot.queues).first(cores[core].snapshot.queue_count))
        fmt::format_to(out, "pollux_{}{{port=\"{}\",queue=\"{}\",core=\"{}\"}} {}\n", d.name,
                       escaped(ports[q.port].report.name), q.queue, core, q.*d.field);
  }
  head(out, "port_driver_stat", "untyped", "Everything the port's driver counts, by the driver's names.");
  for (const auto& port : ports)
    for (const auto& [name, value] : port.xstats)
      fmt::format_to(out, "pollux_port_driver_stat{{port=\"{}\",stat=\"{}\"}} {}\n",
                     escaped(port.report.name), escaped(name), value);
}

}  // namespace

std::string metrics_text(std::span<const PortMetrics> ports, std::span<const CoreReport> cores) {
  std::string text;
  const Out out(text);
  add_counters(out, cores);
  add_loops(out, cores);
  add_pools_and_tables(out, cores);
  add_ports(out, ports, cores);
  return text;
}

}  // namespace pollux
