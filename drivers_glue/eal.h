// Starting and ending DPDK's EAL: arguments from a Config, huge pages or not, its log kept for error texts.
#pragma once

#include <sched.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/drivers_glue/config.h"

namespace pollux {

/// What start-up needs to know about the machine and the process; a value, so that decisions are testable.
struct MachineFacts {
  std::vector<unsigned> cpus;         ///< that the process may run on, ascending
  std::uint64_t free_huge_bytes = 0;  ///< in free huge pages of all sizes
  int pid = 0;
  std::vector<int> cpu_nodes = {};   ///< NUMA node of each of `cpus`; empty: there is but one
  std::vector<int> port_nodes = {};  ///< of those ports' devices that have one
};
MachineFacts machine_facts(const Config& config);

/// EAL's arguments and what they imply.
struct EalPlan {
  std::vector<std::string> arguments;  ///< argv, program name included
  /// Of the polling cores; polling core i is lcore i + 1. With Config::auto_cores the most that there can be.
  std::vector<unsigned> cpus;
  bool huge_pages = false;
  bool pdump = false;    ///< others may capture packets (dpdk-dumpcap)
  std::string warning;  ///< to be logged; empty: none
};

/// Decides. Throws std::runtime_error with a text that names the key at fault.
EalPlan plan_eal(const Config& config, const MachineFacts& facts);

/// True for "0000:01:00.0" and "01:00.0".
bool is_pci_address(std::string_view device) noexcept;

/// EAL, started once in a process's life. The calling thread becomes lcore 0 and floats over its CPUs.
class Eal {
 public:
  /// Throws std::runtime_error with EAL's own words when it does not start.
  explicit Eal(const Config& config);
  /// Ends EAL and gives the calling thread its CPUs back.
  ~Eal();
  Eal(const Eal&) = delete;
  Eal& operator=(const Eal&) = delete;

  bool has_huge_pages() const noexcept { return plan_.huge_pages; }
  /// CPUs of the polling cores.
  const std::vector<unsigned>& cpus() const noexcept { return plan_.cpus; }
  /// Only the first `count` of them, at least one, will poll; the calling thread, the control thread, gets the others too.
  void poll_only_first(std::size_t count);
  static unsigned lcore_of(std::size_t core) noexcept { return static_cast<unsigned>(core) + 1; }
  /// Where memory for `node` is to be asked for: without huge pages EAL has one node only.
  int socket_for(int node) const noexcept;

 private:
  MachineFacts facts_;
  EalPlan plan_;
  cpu_set_t previous_cpus_;
};

/// Collects what DPDK logs while it lives, instead of printing it (except at log level debug): the reason
/// behind an error code is often only there.
class DpdkLogCapture {
 public:
  DpdkLogCapture();
  ~DpdkLogCapture();
  DpdkLogCapture(const DpdkLogCapture&) = delete;
  DpdkLogCapture& operator=(const DpdkLogCapture&) = delete;
  /// The last lines, joined by "; "; empty when there were none.
  std::string last_lines() const;
  /// Appends a log line's bytes; at most text_max are kept.
  void add(std::string_view text);

 private:
  static constexpr std::size_t text_max = 16 * 1024;
  std::string text_;
  void* stream_ = nullptr;  // FILE*
};

}  // namespace pollux
