#include "pollux/drivers_glue/check_config.h"

#include <fmt/core.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>

#include <algorithm>

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
  const auto is_v4 = [](const IpPrefix& prefix) { return prefix.address.is_v4(); };
  const auto v4_count = static_cast<std::size_t>(std::ranges::count_if(port.addresses, is_v4));
  const std::size_t v6_count = port.addresses.size() - v4_count;
  if (v4_count != 1)
    return ConfigProblem{port_key(i, "addresses"),
                         fmt::format("expected exactly one IPv4 address, found {}", v4_count)};
  if (v6_count > v6_addresses_max - 1)
    return ConfigProblem{port_key(i, "addresses"), fmt::format("expected at most {} IPv6 addresses, found {}",
                                                               v6_addresses_max - 1, v6_count)};
  if ((v6_count != 0 || port.router_advertisements) && port.mtu < v6_mtu_min)
    return ConfigProblem{port_key(i, "mtu"),
                         fmt::format("expected at least {} on a port with IPv6, found {}", v6_mtu_min, port.mtu)};
  if (port.mtu < 576 || port.mtu > 9000)
    return ConfigProblem{port_key(i, "mtu"), fmt::format("expected 576 to 9000, found {}", port.mtu)};
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
  for (const PortConfig& port : config.ports) rings += std::uint64_t{port.rx_ring} + port.tx_ring;
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
  if (config.ports.size() > interfaces_max)
    return ConfigProblem{"ports",
                         fmt::format("expected at most {}, found {}", interfaces_max, config.ports.size())};
  for (std::size_t i = 0; i < config.ports.size(); ++i)
    if (auto problem = check_port(config, i)) return problem;
  if (auto problem = check_cores(config)) return problem;
  if (auto problem = check_pool(config)) return problem;
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
