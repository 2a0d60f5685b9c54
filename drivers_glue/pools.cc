#include "pollux/drivers_glue/pools.h"

#include <fmt/core.h>
#include <numa.h>
#include <rte_errno.h>
#include <rte_mbuf.h>
#include <rte_mbuf_pool_ops.h>

#include <cerrno>
#include <stdexcept>

#include "pollux/drivers_glue/eal.h"

namespace pollux {
namespace {

/// While it lives, the kernel takes this thread's fresh pages from one node if it can.
class PreferNode {
 public:
  explicit PreferNode(int node) noexcept {
    if (numa_available() >= 0) numa_set_preferred(node);
  }
  ~PreferNode() {
    if (numa_available() >= 0) numa_set_localalloc();
  }
  PreferNode(const PreferNode&) = delete;
  PreferNode& operator=(const PreferNode&) = delete;
};

std::uint64_t mempool_memory(std::uint64_t elements, std::uint64_t element_size) noexcept {
  rte_mempool_objsz size{};
  const auto object = rte_mempool_calc_obj_size(static_cast<std::uint32_t>(element_size), 0, &size);
  const auto ring = elements * 2 * sizeof(void*);  // the next power of two, at most double
  return elements * object + ring;
}

/// Last in, first out where nobody wants another order: the buffer that was let go last is still in the caches. Held by
/// many connections, the buffers of a first-in-first-out pool all pass through them.
const char* mempool_ops() noexcept {
  if (const char* const by_user = rte_mbuf_user_mempool_ops()) return by_user;
  if (const char* const by_platform = rte_mbuf_platform_mempool_ops()) return by_platform;
  return "stack";
}

/// rte_pktmbuf_pool_create, but for its flags: without huge pages it would put each packet in 4 KiB pages of
/// its own, although addresses are virtual then and a packet may cross pages.
rte_mempool* create_pktmbuf_pool(const char* name, std::uint32_t packets, std::uint32_t cache,
                                 std::uint16_t room, const Eal& eal, int node) {
  const unsigned flags = eal.has_huge_pages() ? 0 : RTE_MEMPOOL_F_NO_IOVA_CONTIG;
  auto* pool = rte_mempool_create_empty(name, packets, static_cast<unsigned>(sizeof(rte_mbuf)) + room, cache,
                                        sizeof(rte_pktmbuf_pool_private), eal.socket_for(node), flags);
  if (pool == nullptr) return nullptr;
  rte_pktmbuf_pool_private traits{};
  traits.mbuf_data_room_size = room;
  if (const int result = rte_mempool_set_ops_byname(pool, mempool_ops(), nullptr);
      result == 0) {
    rte_pktmbuf_pool_init(pool, &traits);
    if (rte_mempool_populate_default(pool) >= 0) {
      rte_mempool_obj_iter(pool, rte_pktmbuf_init, nullptr);
      return pool;
    }
    rte_errno = ENOMEM;
  }
  rte_mempool_free(pool);
  return nullptr;
}

rte_mempool* create_pool(const std::string& name, std::uint32_t packets, std::uint32_t cache,
                         std::uint16_t room, const Eal& eal, int node, const char* key) {
  auto* pool = create_pktmbuf_pool(name.c_str(), packets, cache, room, eal, node);
  if (pool == nullptr) {
    const auto need = mempool_memory(packets, sizeof(rte_mbuf) + room) >> 20;
    throw std::runtime_error(fmt::format(
        "pool.{}: cannot make the packet pool {} of {} packets ({} MiB): {}. Lower pool.{}, raise "
        "eal.memory_mb, or provide more huge pages",
        key, name, packets, need, rte_strerror(rte_errno), key));
  }
  return pool;
}

}  // namespace

std::uint64_t pool_memory(const PoolConfig& config) noexcept {
  return mempool_memory(config.packets, sizeof(rte_mbuf) + RTE_PKTMBUF_HEADROOM + config.packet_room) +
         mempool_memory(config.clones, sizeof(rte_mbuf));
}

int numa_node_of(unsigned cpu) noexcept {
  if (numa_available() < 0) return 0;
  const int node = numa_node_of_cpu(static_cast<int>(cpu));
  return node < 0 ? 0 : node;
}

CorePools::CorePools(const std::string& name, const PoolConfig& config, const Eal& eal, int node) {
  const PreferNode prefer(node);
  data_.reset(create_pool(name + "_data", config.packets, config.cache,
                          static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + config.packet_room), eal, node,
                          "packets"));
  clones_.reset(create_pool(name + "_clones", config.clones, config.cache, 0, eal, node, "clones"));
}

}  // namespace pollux
