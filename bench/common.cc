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

namespace {

// As Runtime does without huge pages: rte_pktmbuf_pool_create() would put every mbuf into pages of its own.
rte_mempool* create_mempool(const std::string& name, std::uint32_t packets, std::uint16_t room) {
  constexpr unsigned cache = 256;
  rte_mempool* const mempool =
      rte_mempool_create_empty(name.c_str(), packets, static_cast<unsigned>(sizeof(rte_mbuf)) + room, cache,
                               sizeof(rte_pktmbuf_pool_private), SOCKET_ID_ANY, RTE_MEMPOOL_F_NO_IOVA_CONTIG);
  POLLUX_CHECK(mempool != nullptr, "mempool %s: %s", name.c_str(), rte_strerror(rte_errno));
  rte_pktmbuf_pool_private traits{};
  traits.mbuf_data_room_size = room;
  POLLUX_CHECK(rte_mempool_set_ops_byname(mempool, "stack", nullptr) == 0, "mempool ops");
  rte_pktmbuf_pool_init(mempool, &traits);
  POLLUX_CHECK(rte_mempool_populate_default(mempool) >= 0, "no memory for %u mbufs of %s", packets,
               name.c_str());
  rte_mempool_obj_iter(mempool, rte_pktmbuf_init, nullptr);
  return mempool;
}

}  // namespace

PacketPool create_pool(const std::string& name, std::uint32_t packets) {
  return {create_mempool(name + "_data", packets, RTE_MBUF_DEFAULT_BUF_SIZE),
          create_mempool(name + "_clones", packets, 0)};
}

std::uint64_t preemptions() {
  rusage usage{};
  getrusage(RUSAGE_THREAD, &usage);
  return static_cast<std::uint64_t>(usage.ru_nivcsw);
}

double timing_overhead() {
  std::vector<double> overheads;
  for (int i = 0; i < 10'001; ++i) {
    const std::uint64_t start = rte_rdtsc_precise();
    overheads.push_back(static_cast<double>(rte_rdtsc_precise() - start));
  }
  return median(overheads);
}

}  // namespace pollux::bench
