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

class Eal;

/// Octets of memory that one core's pools take, bookkeeping included.
std::uint64_t pool_memory(const PoolConfig& config) noexcept;

/// The NUMA node of a CPU; 0 on machines without NUMA.
int numa_node_of(unsigned cpu) noexcept;

/// Owns a data and a clone mempool. Every packet must be back before it is destroyed.
class CorePools {
 public:
  /// `name` is unique in the process; memory comes from NUMA node `node` where the machine lets it. Throws
  /// std::runtime_error.
  CorePools(const std::string& name, const PoolConfig& config, const Eal& eal, int node);

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
