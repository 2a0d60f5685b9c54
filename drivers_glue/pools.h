// One core's mempools, on the NUMA node where they belong.
#pragma once

#include <rte_mempool.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "pollux/drivers_glue/config.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Octets of memory that one core's pools take, bookkeeping included.
std::uint64_t pool_memory(const PoolConfig& config) noexcept;

/// The NUMA node of a CPU; 0 on machines without NUMA.
int numa_node_of(unsigned cpu) noexcept;

/// Owns a data and a clone mempool. Every packet must be back before it is destroyed.
class CorePools {
 public:
  /// `name` is unique in the process. Memory is asked for on `socket` (EAL's, may be SOCKET_ID_ANY), and
  /// pages come from `node` wherever EAL leaves that to the kernel. Throws std::runtime_error.
  CorePools(const std::string& name, const PoolConfig& config, int socket, int node);

  PacketPool pool() const noexcept { return PacketPool(data_.get(), clones_.get()); }
  rte_mempool* data() const noexcept { return data_.get(); }

 private:
  struct FreePool {
    void operator()(rte_mempool* pool) const noexcept { rte_mempool_free(pool); }
  };
  std::unique_ptr<rte_mempool, FreePool> data_;
  std::unique_ptr<rte_mempool, FreePool> clones_;
};

}  // namespace pollux
