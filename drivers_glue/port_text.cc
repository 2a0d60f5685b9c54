#include "pollux/drivers_glue/port_text.h"

#include <fmt/format.h>

#include <bit>
#include <iterator>

namespace pollux {
namespace {

using Out = std::back_insert_iterator<std::string>;

void add(Out out, const char* name, const std::string& value) {
  fmt::format_to(out, "  {:<20}{}\n", name, value);
}

/// One line per offload that the driver has; those in use are marked.
void add_offloads(Out out, const char* title, std::uint64_t offered, std::uint64_t used,
                  const char* (*name_of)(std::uint64_t)) {
  if (offered == 0) add(out, title, "none");
  const char* heading = title;
  for (std::uint64_t left = offered; left != 0; left &= left - 1) {
    const std::uint64_t offload = std::uint64_t{1} << std::countr_zero(left);
    add(out, heading, fmt::format("{:<18} {}", name_of(offload), (used & offload) != 0 ? "used" : "-"));
    heading = "";
  }
}

std::string hash_types(std::uint64_t types) {
  struct Name {
    std::uint64_t type;
    const char* text;
  };
  static constexpr Name names[] = {
      {RTE_ETH_RSS_IPV4 | RTE_ETH_RSS_NONFRAG_IPV4_OTHER, "IPv4"}, {RTE_ETH_RSS_FRAG_IPV4, "IPv4 fragments"},
      {RTE_ETH_RSS_NONFRAG_IPV4_TCP, "IPv4 TCP"},                  {RTE_ETH_RSS_NONFRAG_IPV4_UDP, "IPv4 UDP"},
      {RTE_ETH_RSS_IPV6 | RTE_ETH_RSS_NONFRAG_IPV6_OTHER, "IPv6"}, {RTE_ETH_RSS_FRAG_IPV6, "IPv6 fragments"},
      {RTE_ETH_RSS_NONFRAG_IPV6_TCP, "IPv6 TCP"},                  {RTE_ETH_RSS_NONFRAG_IPV6_UDP, "IPv6 UDP"}};
  std::string text;
  for (const auto& [type, name] : names)
    if ((types & type) != 0) text += (text.empty() ? "" : ", ") + std::string(name);
  return text.empty() ? "nothing that is of use" : text;
}

}  // namespace

std::string port_text(const PortDescription& port) {
  std::string text;
  const Out out(text);
  const rte_eth_dev_info& info = port.info;
  fmt::format_to(out, "port {}\n", port.name);
  add(out, "driver", info.driver_name == nullptr ? "unknown" : info.driver_name);
  if (!port.kernel_interface.empty()) add(out, "kernel interface", port.kernel_interface);
  add(out, "NUMA node", port.numa_node < 0 ? "none" : std::to_string(port.numa_node));
  add(out, "queues",
      fmt::format("{} receive, {} transmit; {} of each used", info.max_rx_queues, info.max_tx_queues, port.queues));
  add(out, "descriptors",
      fmt::format("receive {} to {}, transmit {} to {}; {} and {} used", info.rx_desc_lim.nb_min,
                  info.rx_desc_lim.nb_max, info.tx_desc_lim.nb_min, info.tx_desc_lim.nb_max, port.rx_ring,
                  port.tx_ring));
  add(out, "mtu", fmt::format("{} to {}; {} used", info.min_mtu, info.max_mtu, port.mtu));
  add_offloads(out, "receive offloads", info.rx_offload_capa, port.rx_offloads, rte_eth_dev_rx_offload_name);
  add_offloads(out, "transmit offloads", info.tx_offload_capa, port.tx_offloads, rte_eth_dev_tx_offload_name);
  if (info.reta_size == 0)
    add(out, "RSS", "no indirection table");
  else
    add(out, "RSS", fmt::format("table of {} entries, key of {} octets, hashes {}", info.reta_size, info.hash_key_size,
                                hash_types(info.flow_type_rss_offloads)));
  add(out, "steering", port.steering.empty() ? "one core" : port.steering);
  add(out, "receive interrupts", port.rx_interrupts ? "used (idle: adaptive)" : "not used, or none");
  if (!port.remarks.empty()) add(out, "remarks", port.remarks);
  return text;
}

}  // namespace pollux
