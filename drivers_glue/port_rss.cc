#include "pollux/drivers_glue/port_rss.h"

#include <fmt/core.h>
#include <rte_errno.h>

#include <algorithm>
#include <array>
#include <bit>
#include <vector>

namespace pollux {
namespace {

constexpr std::uint64_t ipv4_types = RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_FRAG_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER;
constexpr std::uint64_t ipv6_types = RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_FRAG_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER;
constexpr std::uint64_t tcp_types = RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV6_TCP;
constexpr std::uint64_t udp_types = RTE_ETH_RSS_NONFRAG_IPV4_UDP | RTE_ETH_RSS_NONFRAG_IPV6_UDP;
constexpr std::uint32_t reta_max = 4096;
constexpr std::uint8_t key_min = 40;  // what two IPv6 addresses and two ports need

using RetaGroups = std::vector<rte_eth_rss_reta_entry64>;

RetaGroups reta_groups(std::uint32_t size) {
  RetaGroups groups((size + RTE_ETH_RETA_GROUP_SIZE - 1) / RTE_ETH_RETA_GROUP_SIZE);
  for (auto& group : groups) group.mask = ~std::uint64_t{0};
  if (size < RTE_ETH_RETA_GROUP_SIZE) groups[0].mask = (std::uint64_t{1} << size) - 1;
  return groups;
}

/// All of the wanted types that the driver has, and whether that covers both IP versions if it knows both at all.
bool covers(std::uint64_t has, std::uint64_t wanted) noexcept {
  const bool knows_ipv6 = (has & ipv6_types) != 0;
  const std::uint64_t needed =
      knows_ipv6 ? wanted : wanted & (RTE_ETH_RSS_NONFRAG_IPV4_TCP | RTE_ETH_RSS_NONFRAG_IPV4_UDP);
  return (has & needed) == needed;
}

}  // namespace

RssPlan plan_rss(const rte_eth_dev_info& info, unsigned cores, bool hashes) {
  RssPlan plan;
  const std::uint64_t has = info.flow_type_rss_offloads;
  const unsigned queues = std::min(info.max_rx_queues, info.max_tx_queues);
  if (info.reta_size == 0 || (has & ipv4_types) == 0) {
    plan.reason = fmt::format("its driver {} has no RSS", info.driver_name);
  } else if (!hashes) {
    plan.reason = fmt::format("its driver {} computes no hash, although it says so", info.driver_name);
  } else if (queues < cores) {
    plan.reason = fmt::format("its driver {} has {} queue{} for {} cores", info.driver_name, queues,
                              queues == 1 ? "" : "s", cores);
  } else if (!std::has_single_bit(info.reta_size) || info.reta_size > reta_max || info.reta_size < 2) {
    plan.reason = fmt::format("its driver {} has an indirection table of {} entries", info.driver_name, info.reta_size);
  } else if (info.hash_key_size != 0 && (info.hash_key_size < key_min || info.hash_key_size > RssPlan::key_size_max)) {
    plan.reason = fmt::format("its driver {} has a hash key of {} octets", info.driver_name, info.hash_key_size);
  } else {
    plan.usable = true;
    plan.buckets = std::min<std::uint32_t>(Steering::buckets_max, info.reta_size);
    plan.key_size = info.hash_key_size != 0 ? info.hash_key_size : key_min;
    plan.fields = {.tcp_ports = covers(has, tcp_types), .udp_ports = covers(has, udp_types)};
    plan.hash_types = has & (ipv4_types | ipv6_types | (plan.fields.tcp_ports ? tcp_types : 0) |
                             (plan.fields.udp_ports ? udp_types : 0));
  }
  return plan;
}

std::string program_rss(std::uint16_t port, const rte_eth_dev_info& info, const RssPlan& plan,
                        const Steering& steering) {
  RetaGroups table = reta_groups(info.reta_size);
  for (std::uint32_t i = 0; i < info.reta_size; ++i)
    table[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE] = steering.owner_of_bucket(i);
  if (const int result = rte_eth_dev_rss_reta_update(port, table.data(), info.reta_size); result != 0)
    return fmt::format("its driver does not take an indirection table ({})", rte_strerror(-result));

  RetaGroups read = reta_groups(info.reta_size);
  if (rte_eth_dev_rss_reta_query(port, read.data(), info.reta_size) == 0)
    for (std::uint32_t i = 0; i < info.reta_size; ++i) {
      const auto queue = read[i / RTE_ETH_RETA_GROUP_SIZE].reta[i % RTE_ETH_RETA_GROUP_SIZE];
      if (queue != steering.owner_of_bucket(i))
        return fmt::format("entry {} of its indirection table is {} after {} was written", i, queue,
                           steering.owner_of_bucket(i));
    }
  std::array<std::uint8_t, RssPlan::key_size_max> wanted{};
  std::array<std::uint8_t, RssPlan::key_size_max> key{};
  Steering::fill_key({wanted.data(), plan.key_size});
  rte_eth_rss_conf conf{.rss_key = key.data(), .rss_key_len = plan.key_size, .rss_hf = 0};
  if (rte_eth_dev_rss_hash_conf_get(port, &conf) == 0 && key != wanted) return "its driver did not take the hash key";
  return "";
}

}  // namespace pollux
