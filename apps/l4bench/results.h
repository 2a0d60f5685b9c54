// What a run measured.
#pragma once

#include <array>
#include <cstdint>

#include "l4bench/histogram.h"
#include "pollux/tcp/conn.h"

namespace pollux::app {

/// Counts are of the measured interval, except errors, which are of the whole run.
struct Results {
  static constexpr std::size_t reasons = static_cast<std::size_t>(CloseReason::stack_stopped) + 1;

  std::uint64_t operations = 0;   ///< round trips, or connect-echo-close cycles
  std::uint64_t octets_sent = 0;  ///< taken by the transport
  std::uint64_t octets_received = 0;
  std::int64_t measured_ns = 0;
  Histogram latency;  ///< ns

  std::uint64_t connections = 0;  ///< established in the whole run
  std::array<std::uint64_t, reasons>
      closed_early{};               ///< connections that ended before their time, by CloseReason
  std::uint64_t no_connection = 0;  ///< connect attempts refused locally (ports or memory used up)
  std::uint64_t mismatches = 0;     ///< connections that echoed something else than was sent
  std::uint64_t unfinished = 0;     ///< connections that had not finished when the time was up

  std::uint64_t errors() const noexcept {
    std::uint64_t sum = no_connection + mismatches + unfinished;
    for (const std::uint64_t n : closed_early) sum += n;
    return sum;
  }
  Results& operator+=(const Results& other) noexcept {
    operations += other.operations;
    octets_sent += other.octets_sent;
    octets_received += other.octets_received;
    measured_ns = std::max(measured_ns, other.measured_ns);  // cores measure side by side
    latency += other.latency;
    connections += other.connections;
    for (std::size_t i = 0; i < reasons; ++i) closed_early[i] += other.closed_early[i];
    no_connection += other.no_connection;
    mismatches += other.mismatches;
    unfinished += other.unfinished;
    return *this;
  }
};

}  // namespace pollux::app
