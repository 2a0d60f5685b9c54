// Receive side scaling: what a port's driver can do, decided before it is configured, and the key and indirection
// table that make the card agree with Steering.
#pragma once

#include <rte_ethdev.h>

#include <cstdint>
#include <string>

#include "pollux/drivers_glue/steering.h"

namespace pollux {

struct RssPlan {
  static constexpr std::uint8_t key_size_max = 64;

  bool usable = false;
  std::string reason;           ///< why not; empty when usable
  std::uint64_t hash_types = 0;  ///< RTE_ETH_RSS_*, to be asked for
  HashFields fields;            ///< what these mean
  std::uint32_t buckets = Steering::buckets_max;
  std::uint8_t key_size = 40;
};

/// Can this driver spread flows over `cores` queues the way Steering does? `hashes`: it really computes a hash
/// (net_null only says so).
RssPlan plan_rss(const rte_eth_dev_info& info, unsigned cores, bool hashes);

/// After the port was started with the plan's hash types and Steering's key: writes the indirection table and reads
/// table and key back. Empty when the card has them; else what is wrong.
std::string program_rss(std::uint16_t port, const rte_eth_dev_info& info, const RssPlan& plan,
                        const Steering& steering);

}  // namespace pollux
