#include "pollux/drivers_glue/counters_text.h"

#include <fmt/format.h>

#include <iterator>

namespace pollux {
namespace {

using Out = std::back_insert_iterator<std::string>;

void add_counters(const Counters& counters, Out out) {
  for (std::size_t i = 0; i < counter_count; ++i) {
    const auto counter = static_cast<Counter>(i);
    if (counters[counter] != 0)
      fmt::format_to(out, "{:<32}{:>16}  {}\n", counter_label(counter), counters[counter],
                     counter_text(counter));
  }
}

void add_drops(const Counters& counters, Out out) {
  fmt::format_to(out, "{:<32}{:>16}  {}\n", "dropped", counters.drops(), "packets dropped, by reason:");
  for (std::size_t i = 1; i < drop_reason_count; ++i) {
    const auto reason = static_cast<DropReason>(i);
    if (counters[reason] != 0)
      fmt::format_to(out, "  {:<30}{:>16}  {}\n", drop_reason_name(reason), counters[reason],
                     drop_reason_text(reason));
  }
}

void add_port(const PortReport& port, Out out) {
  const rte_eth_stats& s = port.stats;
  fmt::format_to(out,
                 "port {}: received {} packets, {} octets, {} missed, {} bad, {} without mbuf; sent {} "
                 "packets, {} octets, {} failed\n",
                 port.name, s.ipackets, s.ibytes, s.imissed, s.ierrors, s.rx_nombuf, s.opackets, s.obytes,
                 s.oerrors);
}

/// Where a core's time went, and how long its turns were.
void add_loop(std::size_t index, const LoopCounters& loop, Out out) {
  constexpr double ns_per_us = 1e3, ns_per_s = 1e9;
  fmt::format_to(
      out,
      "core {} busy {:.3f} s, idle {:.3f} s; of {} busy turns half took at most {:.1f} us, 99 % {:.1f} us, "
      "99.9 % {:.1f} us, the longest {:.1f} us; busy time by stage:",
      index, static_cast<double>(loop.busy_ns) / ns_per_s, static_cast<double>(loop.idle_ns) / ns_per_s,
      loop.busy_turns.count(), static_cast<double>(loop.busy_turns.quantile(0.5)) / ns_per_us,
      static_cast<double>(loop.busy_turns.quantile(0.99)) / ns_per_us,
      static_cast<double>(loop.busy_turns.quantile(0.999)) / ns_per_us,
      static_cast<double>(loop.busy_turns.max_ns()) / ns_per_us);
  for (std::size_t i = 0; i < loop_stages; ++i)
    fmt::format_to(out, " {} {:.0f} %", loop_stage_names[i],
                   100 * loop.stage_share(static_cast<LoopStage>(i)));
  *out = '\n';
}

void add_core(std::size_t index, const CoreReport& core, Out out) {
  const CoreSnapshot& s = core.snapshot;
  fmt::format_to(out,
                 "core {} on CPU {}: {} connections, mbufs in use {} of {}, clones {}; fewest free mbufs {}, "
                 "clones {} of {}; "
                 "{} packets received, {} turns, {} idle, {} sleeps, {} squeezed, {} turns with a full transmit ring\n",
                 index, core.cpu, s.connections, s.packets_in_use, s.packets, s.clones_in_use,
                 s.packets_free_min, s.clones_free_min, s.clones,
                 s.counters[Counter::rx_packets], s.loop.turns, s.loop.idle_turns, s.loop.sleeps,
                 s.loop.time_squeeze, s.loop.tx_refused);
  add_loop(index, s.loop, out);
}

}  // namespace

Counters total_counters(std::span<const CoreReport> cores) noexcept {
  Counters total;
  for (const auto& core : cores) total += core.snapshot.counters;
  return total;
}

std::string counters_text(std::span<const PortReport> ports, std::span<const CoreReport> cores) {
  std::string text;
  const Out out(text);
  const Counters total = total_counters(cores);
  add_counters(total, out);
  add_drops(total, out);
  for (const auto& port : ports) add_port(port, out);
  for (std::size_t i = 0; i < cores.size(); ++i) add_core(i, cores[i], out);
  return text;
}

}  // namespace pollux
