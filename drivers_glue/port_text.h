// A port as text for people: what its driver offers, and what of it is used.
#pragma once

#include <rte_ethdev.h>

#include <string>

namespace pollux {

/// What the table is made of. After Port::start().
struct PortDescription {
  std::string name;
  rte_eth_dev_info info{};
  std::string kernel_interface;  ///< empty: none
  int numa_node = -1;            ///< -1: none
  unsigned queues = 0;           ///< pairs in use
  std::uint16_t rx_ring = 0;     ///< descriptors per queue, as are the next
  std::uint16_t tx_ring = 0;
  std::uint16_t mtu = 0;
  std::uint64_t rx_offloads = 0;  ///< in use, RTE_ETH_RX_OFFLOAD_*
  std::uint64_t tx_offloads = 0;
  bool rx_interrupts = false;
  std::string steering;  ///< how packets reach their core; empty: there is one core
  std::string remarks;   ///< what the driver's description of itself does not say; empty: nothing known
};

/// Lines that end in \n.
std::string port_text(const PortDescription& port);

}  // namespace pollux
