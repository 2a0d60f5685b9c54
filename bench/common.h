// What the benchmarks share: an EAL without huge pages or devices, pools, statistics.
#pragma once

#include <rte_cycles.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/packet/pool.h"

namespace pollux::bench {

/// Starts the EAL on the last core that this process may use (the first one is where interrupts usually go),
/// and pins the calling thread to it. Exits with a message when that fails. Returns the core.
unsigned start_eal(const char* program, unsigned memory_mib);

/// A data and a clone mempool of `packets` mbufs each, as Runtime creates them. Aborts when memory is short.
PacketPool create_pool(const std::string& name, std::uint32_t packets);

/// Involuntary context switches of this thread so far: a measurement across one is worthless.
std::uint64_t preemptions();

/// Cycles between two serialised readings of the time stamp counter with nothing between them, median.
double timing_overhead();

/// Time as a core loop derives it from the time stamp counter.
class TscClock {
 public:
  TscClock() : start_(rte_rdtsc()), ns_per_cycle_(1e9 / static_cast<double>(rte_get_tsc_hz())) {}
  TimePoint now() const {
    return TimePoint::from_ns(
        static_cast<std::int64_t>(static_cast<double>(rte_rdtsc() - start_) * ns_per_cycle_));
  }

 private:
  std::uint64_t start_;
  double ns_per_cycle_;
};

/// `values` is not empty.
inline double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t half = values.size() / 2;
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

}  // namespace pollux::bench
