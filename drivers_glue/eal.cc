#include "pollux/drivers_glue/eal.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_lcore.h>
#include <rte_log.h>
#include <rte_memory.h>
#include <rte_pdump.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

#include "pollux/base/check.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/steering.h"

namespace pollux {
namespace {

constexpr std::uint64_t mebi = 1024 * 1024;
/// For queues, rings, drivers and EAL itself, besides the pools.
constexpr std::uint64_t base_memory = 64 * mebi;

std::uint64_t read_number(const std::filesystem::path& file) {
  std::uint64_t value = 0;
  std::ifstream(file) >> value;
  return value;
}

std::uint64_t free_huge_bytes() {
  std::uint64_t sum = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator("/sys/kernel/mm/hugepages", error)) {
    unsigned long kib = 0;
    if (std::sscanf(entry.path().filename().c_str(), "hugepages-%lukB", &kib) == 1)
      sum += read_number(entry.path() / "free_hugepages") * kib * 1024;
  }
  return sum;
}

/// The ports' NUMA nodes first of all: a packet that crosses nodes costs more than a core less.
std::vector<unsigned> auto_cpus(const MachineFacts& facts) {
  std::vector<unsigned> near;
  for (std::size_t i = 0; i < facts.cpu_nodes.size(); ++i)
    if (std::ranges::count(facts.port_nodes, facts.cpu_nodes[i]) != 0) near.push_back(facts.cpus[i]);
  std::vector<unsigned> cpus = near.empty() ? facts.cpus : near;
  std::ranges::reverse(cpus);  // CPU 0 has most of the kernel's own work
  cpus.resize(std::min<std::size_t>(cpus.size(), Steering::cores_max));
  return cpus;
}

std::vector<unsigned> polling_cpus(const Config& config, const MachineFacts& facts) {
  if (config.auto_cores) return auto_cpus(facts);
  if (config.cores.empty()) return {facts.cpus.back()};
  for (const unsigned cpu : config.cores)
    if (!std::binary_search(facts.cpus.begin(), facts.cpus.end(), cpu))
      throw std::runtime_error(
          fmt::format("cores: CPU {} does not exist or is not allowed for this process, which may "
                      "run on {}",
                      cpu, fmt::join(facts.cpus, ", ")));
  return config.cores;
}

/// The control thread floats over the CPUs that do not poll, or over all when every one of them does.
std::vector<unsigned> floating_cpus(const std::vector<unsigned>& polling, const MachineFacts& facts) {
  std::vector<unsigned> floating;
  for (const unsigned cpu : facts.cpus)
    if (std::find(polling.begin(), polling.end(), cpu) == polling.end()) floating.push_back(cpu);
  return floating.empty() ? facts.cpus : floating;
}

std::string lcore_map(const std::vector<unsigned>& polling, const MachineFacts& facts) {
  std::string map = fmt::format("0@({})", fmt::join(floating_cpus(polling, facts), ","));
  for (std::size_t i = 0; i < polling.size(); ++i) map += fmt::format(",{}@{}", Eal::lcore_of(i), polling[i]);
  return map;
}

std::string huge_page_advice(std::uint64_t need) {
  return fmt::format("to have them: echo {} > /proc/sys/vm/nr_hugepages", (need + 2 * mebi - 1) / (2 * mebi));
}

/// Decides on huge pages for `need` octets; appends EAL's arguments.
void plan_memory(const Config& config, const MachineFacts& facts, std::uint64_t need, EalPlan& plan) {
  const bool enough = facts.free_huge_bytes >= need;
  const auto have = facts.free_huge_bytes / mebi;
  if (config.eal.huge_pages == HugePages::required && !enough)
    throw std::runtime_error(
        fmt::format("eal.huge_pages: required, but {} MiB of huge pages are free and {} MiB are "
                    "needed; {}",
                    have, need / mebi, huge_page_advice(need)));
  plan.huge_pages = enough && config.eal.huge_pages != HugePages::off;
  if (plan.huge_pages) {
    plan.pdump = config.eal.multi_process;
    if (!config.eal.multi_process) plan.arguments.push_back("--in-memory");
    return;
  }
  if (config.eal.multi_process)
    throw std::runtime_error(fmt::format(
        "eal.multi_process: processes share huge pages only; {} MiB of them are free and {} MiB are needed; {}", have,
        need / mebi, huge_page_advice(need)));
  if (config.eal.huge_pages == HugePages::automatic)
    plan.warning =
        fmt::format("running without huge pages (slower): {} MiB of them are free and {} MiB are needed; {}",
                    have, need / mebi, huge_page_advice(need));
  // EAL refuses --in-memory beside --no-huge; --no-shconf is the part of it that matters then.
  plan.arguments.insert(plan.arguments.end(),
                        {"--no-huge", "--no-shconf", "-m", fmt::format("{}", need / mebi)});
}

/// The kernel's word on a PCI device; nothing for others, and where it does not know.
std::vector<int> node_of_device(const std::string& device) {
  std::string address = device.substr(0, device.find(','));
  if (!is_pci_address(address)) return {};
  if (address.size() < std::string_view("dddd:bb:dd.f").size()) address.insert(0, "0000:");
  int node = -1;
  std::ifstream("/sys/bus/pci/devices/" + address + "/numa_node") >> node;
  return node < 0 ? std::vector<int>{} : std::vector<int>{node};
}

std::atomic<bool> eal_was_started = false;

}  // namespace

MachineFacts machine_facts(const Config& config) {
  MachineFacts facts;
  cpu_set_t set;
  POLLUX_CHECK(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) facts.cpus.push_back(cpu);
  facts.free_huge_bytes = free_huge_bytes();
  facts.pid = getpid();
  for (const unsigned cpu : facts.cpus) facts.cpu_nodes.push_back(numa_node_of(cpu));
  for (const PortConfig& port : config.ports)
    for (const int node : node_of_device(port.device)) facts.port_nodes.push_back(node);
  return facts;
}

bool is_pci_address(std::string_view device) noexcept {
  // [dddd:]bb:dd.f in hexadecimal digits; x stands for one.
  const auto matches = [&](std::string_view shape) {
    return device.size() == shape.size() &&
           std::equal(device.begin(), device.end(), shape.begin(), [](char c, char s) {
             return s == 'x' ? std::isxdigit(static_cast<unsigned char>(c)) != 0 : c == s;
           });
  };
  return matches("xxxx:xx:xx.x") || matches("xx:xx.x");
}

EalPlan plan_eal(const Config& config, const MachineFacts& facts) {
  EalPlan plan;
  plan.cpus = polling_cpus(config, facts);
  const auto prefix =
      config.eal.file_prefix.empty() ? fmt::format("pollux-{}", facts.pid) : config.eal.file_prefix;
  plan.arguments = {
      "pollux", "--lcores", lcore_map(plan.cpus, facts), "--main-lcore=0", "--file-prefix=" + prefix};
  if (!config.telemetry.socket) plan.arguments.push_back("--no-telemetry");
  plan.arguments.push_back(config.log_level == "debug" ? "--log-level=debug" : "--log-level=warning");

  // A reload has the routes of before and of afterwards at once.
  const std::uint64_t core_need = pool_memory(config.pool) + 2 * RouteTable::memory(config.ip.routes_max);
  std::uint64_t need = base_memory + plan.cpus.size() * core_need;
  need = (need + mebi - 1) / mebi * mebi;
  if (config.eal.memory_mb != 0) need = config.eal.memory_mb * mebi;
  plan_memory(config, facts, need, plan);

  bool any_pci = false;
  for (const PortConfig& port : config.ports) {
    if (!is_pci_address(port.device.substr(0, port.device.find(',')))) continue;
    any_pci = true;
    plan.arguments.insert(plan.arguments.end(), {"-a", port.device});
  }
  // Virtual devices do not care about physical addresses, and looking for PCI devices would only cost time.
  if (!any_pci) plan.arguments.insert(plan.arguments.end(), {"--no-pci", "--iova-mode=va"});
  plan.arguments.insert(plan.arguments.end(), config.eal.extra.begin(), config.eal.extra.end());
  return plan;
}

Eal::Eal(const Config& config) : facts_(machine_facts(config)), plan_(plan_eal(config, facts_)) {
  if (eal_was_started.exchange(true))
    throw std::runtime_error(
        "a Runtime was started in this process before; DPDK's EAL starts once in a process");
  POLLUX_CHECK(sched_getaffinity(0, sizeof previous_cpus_, &previous_cpus_) == 0, "sched_getaffinity");
  if (!plan_.warning.empty()) log_warning("{}", plan_.warning);
  log_line(LogLevel::debug, fmt::format("EAL arguments: {}", fmt::join(plan_.arguments, " ")));

  std::vector<char*> argv;
  for (auto& argument : plan_.arguments) argv.push_back(argument.data());
  const DpdkLogCapture capture;
  optind = 1;  // EAL parses by getopt, which the program may have used before
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    const int error = rte_errno;
    sched_setaffinity(0, sizeof previous_cpus_, &previous_cpus_);
    throw std::runtime_error(fmt::format("eal: DPDK did not start: {} ({}); its arguments: {}",
                                         rte_strerror(error), capture.last_lines(),
                                         fmt::join(plan_.arguments, " ")));
  }
  if (plan_.pdump && rte_pdump_init() != 0)
    throw std::runtime_error(fmt::format("eal.multi_process: packet capture framework: {}", rte_strerror(rte_errno)));
}

Eal::~Eal() {
  if (plan_.pdump) rte_pdump_uninit();
  rte_eal_cleanup();
  sched_setaffinity(0, sizeof previous_cpus_, &previous_cpus_);
}

void Eal::poll_only_first(std::size_t count) {
  plan_.cpus.resize(std::clamp<std::size_t>(count, 1, plan_.cpus.size()));
  rte_cpuset_t floating;
  CPU_ZERO(&floating);
  for (const unsigned cpu : floating_cpus(plan_.cpus, facts_)) CPU_SET(cpu, &floating);
  POLLUX_CHECK(rte_thread_set_affinity(&floating) == 0, "rte_thread_set_affinity");
}

int Eal::socket_for(int node) const noexcept {
  return plan_.huge_pages ? node : SOCKET_ID_ANY;
}

namespace {

ssize_t capture_write(void* cookie, const char* data, std::size_t size) {
  if (log_level() == LogLevel::debug) std::fwrite(data, 1, size, stderr);
  static_cast<DpdkLogCapture*>(cookie)->add({data, size});
  return static_cast<ssize_t>(size);
}

}  // namespace

DpdkLogCapture::DpdkLogCapture() {
  cookie_io_functions_t functions{};
  functions.write = capture_write;
  FILE* stream = fopencookie(this, "w", functions);
  POLLUX_CHECK(stream != nullptr, "fopencookie");
  setvbuf(stream, nullptr, _IOLBF, 0);
  stream_ = stream;
  rte_openlog_stream(stream);
}

DpdkLogCapture::~DpdkLogCapture() {
  rte_openlog_stream(stderr);
  std::fclose(static_cast<FILE*>(stream_));
}

void DpdkLogCapture::add(std::string_view text) {
  if (text_.size() + text.size() > text_max) text_.clear();
  text_.append(text.substr(0, text_max));
}

std::string DpdkLogCapture::last_lines() const {
  std::fflush(static_cast<FILE*>(stream_));
  constexpr std::size_t lines_max = 4;
  std::vector<std::string> lines;
  std::size_t start = 0;
  while (start < text_.size()) {
    const auto end = std::min(text_.find('\n', start), text_.size());
    if (end > start) lines.push_back(text_.substr(start, end - start));
    start = end + 1;
  }
  if (lines.size() > lines_max) lines.erase(lines.begin(), lines.end() - lines_max);
  return fmt::format("{}", fmt::join(lines, "; "));
}

}  // namespace pollux
