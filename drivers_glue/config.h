// What a Runtime needs to know, as plain structs. config/ fills it from YAML; programs and tests may fill it
// by hand. Every field's YAML key is the same word; config/l4echo.yaml documents each.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/stack/stack.h"

namespace pollux {

/// A VLAN of a port: an interface of its own.
struct VlanConfig {
  std::uint16_t id = 0;              ///< 1..vlan_id_max
  std::vector<IpPrefix> addresses;   ///< as PortConfig's
  std::uint16_t mtu = 0;             ///< at most the port's; 0: the same
  bool router_advertisements = false;
};

struct PortConfig {
  /// A PCI address ("0000:01:00.0") or a vdev string as EAL takes it ("net_tap0,iface=px0").
  std::string device;
  std::vector<IpPrefix> addresses;  ///< up to v4_addresses_max of IPv4, and up to v6_addresses_max - 1 of IPv6
  std::uint16_t mtu = 1500;
  std::uint16_t rx_ring = 1024;  ///< descriptors, rounded by the driver's limits
  std::uint16_t tx_ring = 1024;
  bool promiscuous = false;
  bool router_advertisements = false;  ///< see InterfaceConfig
  std::vector<VlanConfig> vlans = {};
  /// A virtual device that leads to the kernel ("net_tap1,iface=host0"): it gets what belongs to nobody here, and what it
  /// sends leaves through this port. Empty: none.
  std::string exception = {};
};

using RouteConfig = StaticRoute;
using NeighborConfig = StaticNeighbor;

struct PoolConfig {
  std::uint32_t packets = 65535;     ///< data mbufs per core
  std::uint32_t clones = 65535;      ///< reference mbufs per core
  std::uint32_t cache = 256;         ///< per-core mempool cache
  std::uint16_t packet_room = 2048;  ///< payload octets of one mbuf, headroom not included
};

enum class IdlePolicy : std::uint8_t {
  spin,   ///< never give the CPU up
  pause,  ///< CPU pause instruction between empty polls
  /// Spin, then pause, then after idle_polls empty polls wait for a packet, a timer or a message. Where a driver has no
  /// receive interrupts: sleeps that double from 10 us to idle_sleep_us_max.
  adaptive,
  sleep,  ///< pause, then bounded sleeps (idle_sleep_us_max) after idle_polls empty polls
};

enum class HugePages : std::uint8_t {
  automatic,  ///< use them when there are any, else warn and run without
  required,
  off,
};

struct EalConfig {
  std::string file_prefix;  ///< empty: "pollux-<pid>"
  HugePages huge_pages = HugePages::automatic;
  /// dpdk-dumpcap and other secondary processes may attach; needs huge pages and a file_prefix.
  bool multi_process = false;
  std::uint32_t memory_mb = 0;     ///< without huge pages; 0: enough for the pools
  std::vector<std::string> extra;  ///< further EAL arguments, word by word
};

struct TelemetryConfig {
  bool socket = true;   ///< DPDK's telemetry socket answers commands under /pollux/
  std::uint32_t flight_records = 4096;  ///< last events kept per core; 0 or a power of two
  Duration long_turn = Duration::from_ms(10);  ///< busy turns that take longer are recorded with their stage; 0: none
  std::string metrics;  ///< kernel address and port where Prometheus may scrape; empty: nowhere
};

struct Config {
  std::vector<PortConfig> ports;
  std::vector<RouteConfig> routes;
  std::vector<NeighborConfig> neighbors;
  std::vector<unsigned> cores = {};  ///< CPUs that poll, one stack each; empty: the last CPU of the process
  /// Instead of `cores`: the CPUs that the process may run on, those on the ports' NUMA nodes if there are such, from the
  /// last downwards, as many as the port with the fewest queues has.
  bool auto_cores = false;
  bool share_cpus = false;           ///< `cores` may name a CPU more than once: slow, for tests
  PoolConfig pool;
  EalConfig eal;
  IdlePolicy idle = IdlePolicy::adaptive;
  std::uint32_t idle_polls = 1000;
  std::uint32_t idle_sleep_us_max = 1000;
  Duration drain_timeout = Duration::from_s(5);
  IpOptions ip;
  TcpOptions tcp;
  UdpOptions udp;
  TelemetryConfig telemetry;
  /// eal.file_prefix of a running program with the same addresses whose connections this one shall accept from now on,
  /// while that one drains; empty: none.
  std::string take_over;
  std::string log_level = "info";  ///< error, warning, info, debug
};

}  // namespace pollux
