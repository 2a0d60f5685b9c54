#include "common.h"

#include <rte_eal.h>
#include <rte_errno.h>
#include <sched.h>
#include <sys/resource.h>

#include <cstdio>
#include <cstdlib>

namespace pollux::bench {

unsigned start_eal(const char* program, unsigned memory_mib) {
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  unsigned core = 0;
  if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) {
    for (unsigned i = 0; i < CPU_SETSIZE; ++i)
      if (CPU_ISSET(i, &allowed)) core = i;
  }
  std::vector<std::string> words = {program,
                                    "--no-huge",
                                    "--no-shconf",
                                    "--no-telemetry",
                                    "--no-pci",
                                    "--log-level=error",
                                    "--lcores=0@" + std::to_string(core),
                                    "-m",
                                    std::to_string(memory_mib)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  if (rte_eal_init(static_cast<int>(words.size()), argv.data()) < 0) {
    std::fprintf(stderr, "EAL did not start: %s\n", rte_strerror(rte_errno));
    std::exit(1);
  }
  return core;
}

PacketPool create_pool(const std::string& name, std::uint32_t packets) {
  constexpr unsigned cache = 256;
  rte_mempool* const data = rte_pktmbuf_pool_create((name + "_data").c_str(), packets, cache, 0,
                                                    RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  rte_mempool* const clones =
      rte_pktmbuf_pool_create((name + "_clones").c_str(), packets, cache, 0, 0, SOCKET_ID_ANY);
  POLLUX_CHECK(data != nullptr && clones != nullptr, "no memory for two pools of %u mbufs: %s", packets,
               rte_strerror(rte_errno));
  return {data, clones};
}

std::uint64_t preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nivcsw);
}

}  // namespace pollux::bench
