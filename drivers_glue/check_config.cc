#include "pollux/drivers_glue/check_config.h"

#include <fmt/core.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>

#include <algorithm>

#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/metrics_http.h"
#include "pollux/drivers_glue/steering.h"

namespace pollux {
namespace {

using Problem = std::optional<ConfigProblem>;

std::string port_key(std::size_t i, std::string_view field) {
  return fmt::format("ports[{}].{}", i, field);
}

/// The name that EAL will know the port by: what precedes the vdev's arguments.
std::string_view device_name(std::string_view device) {
  return device.substr(0, device.find(','));
}

/// Of a port or a VLAN, whose keys begin with `where`. A port that has VLANs may have no address of its own.
Problem check_addresses(const std::string& where, const std::vector<IpPrefix>& addresses, std::uint16_t mtu,
                        bool router_advertisements, bool may_have_none) {
  const auto is_v4 = [](const IpPrefix& prefix) { return prefix.address.is_v4(); };
  const auto v4_count = static_cast<std::size_t>(std::ranges::count_if(addresses, is_v4));
  const std::size_t v6_count = addresses.size() - v4_count;
  if (addresses.empty() && !router_advertisements && !may_have_none)
    return ConfigProblem{where + "addresses", "expected at least one address"};
  if (v4_count > v4_addresses_max)
    return ConfigProblem{where + "addresses",
                         fmt::format("expected at most {} IPv4 addresses, found {}", v4_addresses_max, v4_count)};
  if (v6_count > v6_addresses_max - 1)
    return ConfigProblem{where + "addresses",
                         fmt::format("expected at most {} IPv6 addresses, found {}", v6_addresses_max - 1, v6_count)};
  if ((v6_count != 0 || router_advertisements) && mtu < v6_mtu_min)
    return ConfigProblem{where + "mtu", fmt::format("expected at least {} with IPv6, found {}", v6_mtu_min, mtu)};
  return std::nullopt;
}

Problem check_vlans(const PortConfig& port, std::size_t i) {
  for (std::size_t j = 0; j < port.vlans.size(); ++j) {
    const VlanConfig& vlan = port.vlans[j];
    const std::string where = fmt::format("ports[{}].vlans[{}].", i, j);
    if (vlan.id < 1 || vlan.id > vlan_id_max)
      return ConfigProblem{where + "id", fmt::format("expected 1 to {}, found {}", vlan_id_max, vlan.id)};
    for (std::size_t k = 0; k < j; ++k)
      if (port.vlans[k].id == vlan.id)
        return ConfigProblem{where + "id", fmt::format("{} is vlans[{}] already", vlan.id, k)};
    const std::uint16_t mtu = vlan.mtu == 0 ? port.mtu : vlan.mtu;
    if (mtu < 576 || mtu > port.mtu)
      return ConfigProblem{where + "mtu", fmt::format("expected 576 to the port's mtu, {}, or 0; found {}", port.mtu, mtu)};
    if (auto problem = check_addresses(where, vlan.addresses, mtu, vlan.router_advertisements, false)) return problem;
  }
  return std::nullopt;
}

Problem check_exception(const Config& config, std::size_t i) {
  const std::string& device = config.ports[i].exception;
  if (device.empty()) return std::nullopt;
  const std::string_view name = device_name(device);
  if (name.empty() || is_pci_address(name))
    return ConfigProblem{port_key(i, "exception"), "expected a virtual device like net_tap1,iface=host0, or nothing"};
  if (name.size() >= RTE_ETH_NAME_MAX_LEN)
    return ConfigProblem{port_key(i, "exception"),
                         fmt::format("expected a device name of at most {} characters", RTE_ETH_NAME_MAX_LEN - 1)};
  for (std::size_t j = 0; j < config.ports.size(); ++j)
    if (device_name(config.ports[j].device) == name || (j < i && device_name(config.ports[j].exception) == name))
      return ConfigProblem{port_key(i, "exception"), fmt::format("{} is ports[{}]'s already", name, j)};
  return std::nullopt;
}

Problem check_port(const Config& config, std::size_t i) {
  const PortConfig& port = config.ports[i];
  if (device_name(port.device).empty())
    return ConfigProblem{
        port_key(i, "device"),
        "expected a PCI address like 0000:01:00.0 or a virtual device like net_tap0,iface=px0"};
  if (device_name(port.device).size() >= RTE_ETH_NAME_MAX_LEN)
    return ConfigProblem{port_key(i, "device"), fmt::format("expected a device name of at most {} characters",
                                                            RTE_ETH_NAME_MAX_LEN - 1)};
  for (std::size_t j = 0; j < i; ++j)
    if (device_name(config.ports[j].device) == device_name(port.device))
      return ConfigProblem{port_key(i, "device"),
                           fmt::format("{} is ports[{}] already", device_name(port.device), j)};
  if (port.mtu < 576 || port.mtu > 9000)
    return ConfigProblem{port_key(i, "mtu"), fmt::format("expected 576 to 9000, found {}", port.mtu)};
  const bool is_trunk = !port.vlans.empty();
  if (auto problem = check_addresses(fmt::format("ports[{}].", i), port.addresses, port.mtu,
                                     port.router_advertisements, is_trunk))
    return problem;
  if (auto problem = check_vlans(port, i)) return problem;
  if (auto problem = check_exception(config, i)) return problem;
  if (port.rx_ring == 0 || port.tx_ring == 0)
    return ConfigProblem{port_key(i, port.rx_ring == 0 ? "rx_ring" : "tx_ring"),
                         "expected at least 1 descriptor"};
  return std::nullopt;
}

Problem check_pool(const Config& config) {
  const PoolConfig& pool = config.pool;
  if (pool.cache > RTE_MEMPOOL_CACHE_MAX_SIZE)
    return ConfigProblem{
        "pool.cache", fmt::format("expected at most {}, found {}", RTE_MEMPOOL_CACHE_MAX_SIZE, pool.cache)};
  // Full rings and the core's cache must leave a burst for the stack, or receiving stops for good.
  std::uint64_t rings = 0;
  for (const PortConfig& port : config.ports)
    rings += (std::uint64_t{port.rx_ring} + port.tx_ring) * (port.exception.empty() ? 1 : 2);
  const std::uint64_t need = rings + 2 * pool.cache + TxBatch::capacity;
  if (pool.packets < need)
    return ConfigProblem{
        "pool.packets",
        fmt::format("expected at least {} (rings of all ports, twice pool.cache and a transmit "
                    "batch), found {}",
                    need, pool.packets)};
  if (pool.clones < 2 * pool.cache + TxBatch::capacity)
    return ConfigProblem{"pool.clones",
                         fmt::format("expected at least {} (twice pool.cache and a transmit batch), found {}",
                                     2 * pool.cache + TxBatch::capacity, pool.clones)};
  if (pool.packet_room < 256 || pool.packet_room > 16384)
    return ConfigProblem{"pool.packet_room",
                         fmt::format("expected 256 to 16384 octets, found {}", pool.packet_room)};
  return std::nullopt;
}

Problem check_cores(const Config& config) {
  if (config.auto_cores && !config.cores.empty())
    return ConfigProblem{"cores", "expected either auto or a list of CPUs"};
  if (config.auto_cores && config.share_cpus)
    return ConfigProblem{"share_cpus", "expected false with cores: auto, which takes every CPU once"};
  if (config.cores.size() > Steering::cores_max)
    return ConfigProblem{"cores", fmt::format("expected at most {}, found {}", Steering::cores_max, config.cores.size())};
  if (config.share_cpus) return std::nullopt;
  for (std::size_t i = 0; i < config.cores.size(); ++i)
    if (std::count(config.cores.begin(), config.cores.begin() + static_cast<std::ptrdiff_t>(i),
                   config.cores[i]) != 0)
      return ConfigProblem{fmt::format("cores[{}]", i),
                           fmt::format("CPU {} is listed twice (share_cpus: true allows it)", config.cores[i])};
  return std::nullopt;
}

}  // namespace

std::optional<ConfigProblem> check_config(const Config& config) {
  if (config.ports.empty()) return ConfigProblem{"ports", "expected at least one port"};
  const auto has_exception = [](const PortConfig& port) { return !port.exception.empty(); };
  const std::size_t ports =
      config.ports.size() + static_cast<std::size_t>(std::ranges::count_if(config.ports, has_exception));
  if (ports > ports_max)
    return ConfigProblem{"ports", fmt::format("expected at most {}, those of exceptions included, found {}", ports_max, ports)};
  std::size_t interfaces = ports;
  for (const PortConfig& port : config.ports) interfaces += port.vlans.size();
  if (interfaces > interfaces_max)
    return ConfigProblem{"ports", fmt::format("expected at most {} ports and VLANs together, found {}", interfaces_max,
                                              interfaces)};
  for (std::size_t i = 0; i < config.ports.size(); ++i)
    if (auto problem = check_port(config, i)) return problem;
  if (auto problem = check_cores(config)) return problem;
  if (auto problem = check_pool(config)) return problem;
  if (config.eal.multi_process && config.eal.file_prefix.empty())
    return ConfigProblem{"eal.multi_process", "expected a file_prefix beside it, by which others find this program"};
  if (config.eal.multi_process && config.eal.huge_pages == HugePages::off)
    return ConfigProblem{"eal.multi_process", "expected huge pages, the memory that processes can share; found huge_pages: off"};
  if (!config.take_over.empty() && config.take_over == config.eal.file_prefix)
    return ConfigProblem{"take_over", "expected another program's file_prefix, found our own"};
  if (!config.take_over.empty() && !config.telemetry.socket)
    return ConfigProblem{"take_over", "expected telemetry.socket: true beside it"};
  if (config.drain_timeout < Duration{}) return ConfigProblem{"drain_timeout", "expected 0 or more"};
  if (!config.telemetry.metrics.empty() && !is_listen_address(config.telemetry.metrics))
    return ConfigProblem{"telemetry.metrics",
                         fmt::format("expected an address and a port, like 127.0.0.1:9464 or [::1]:9464, found '{}'",
                                     config.telemetry.metrics)};
  if (!log_level_from(config.log_level))
    return ConfigProblem{"log_level",
                         fmt::format("expected error, warning, info or debug, found '{}'", config.log_level)};
  return std::nullopt;
}

}  // namespace pollux
