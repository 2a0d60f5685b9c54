#include "support/eal.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>
#include <sched.h>
#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "pollux/base/check.h"

namespace pollux::test {
namespace {

/// "0@(0,1)": EAL would pin this thread to one CPU, and with it every test that runs at the same time.
std::string lcores() {
  cpu_set_t set;
  POLLUX_CHECK(sched_getaffinity(0, sizeof set, &set) == 0, "sched_getaffinity");
  std::string cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) cpus += (cpus.empty() ? "" : ",") + std::to_string(cpu);
  return "0@(" + cpus + ")";
}

/// EAL's memory without huge pages is shared with forked processes: a death test would spoil its parent's. Of the new memory
/// only those pages are touched that have been.
int make_private(const rte_memseg_list* list, const rte_memseg* segment, std::size_t length, void*) {
  if (list->external != 0) return 0;
  constexpr std::size_t page = 4096;
  auto* const begin = static_cast<std::uint8_t*>(segment->addr);
  std::vector<std::uint8_t> resident(length / page);
  POLLUX_CHECK(mincore(begin, length, resident.data()) == 0, "mincore");
  std::vector<std::uint8_t> content;
  for (std::size_t i = 0; i < resident.size(); ++i)
    if ((resident[i] & 1) != 0) content.insert(content.end(), begin + i * page, begin + (i + 1) * page);
  void* const again = mmap(begin, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  POLLUX_CHECK(again == begin, "mmap");
  const std::uint8_t* from = content.data();
  for (std::size_t i = 0; i < resident.size(); ++i) {
    if ((resident[i] & 1) == 0) continue;
    std::memcpy(begin + i * page, from, page);
    from += page;
  }
  return 0;
}

bool start() {
  std::vector<std::string> words = {
      "test",        "--no-huge", "--no-shconf",       "--no-telemetry", "--no-pci", "--file-prefix",
      "pollux_test", "-m",        "256", "--lcores",       lcores(),   "--log-level=error"};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  POLLUX_CHECK(rte_eal_init(static_cast<int>(words.size()), argv.data()) >= 0, "EAL did not start: %s",
               rte_strerror(rte_errno));
  POLLUX_CHECK(rte_memseg_contig_walk(make_private, nullptr) == 0, "no private memory");
  return true;
}

}  // namespace

void ensure_eal() {
  static const bool started = start();
  POLLUX_CHECK(started, "no EAL");
}

}  // namespace pollux::test
