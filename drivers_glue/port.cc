#include "pollux/drivers_glue/port.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <net/if.h>
#include <rte_bus.h>
#include <rte_dev.h>
#include <rte_errno.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "pollux/base/check.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/log.h"
#include "pollux/drivers_glue/random.h"
#include "pollux/drivers_glue/waiter.h"

namespace pollux {
namespace {

/// What a driver's own description of itself does not say.
struct DriverFacts {
  std::string_view name;
  /// Its "checksum offload" is a loop in the driver: no faster than the stack's, and net_tap's transmit side
  /// (22.11) sums each segment of a chain as if it began at an even octet, so odd-sized segments come out
  /// wrong.
  bool checksums_in_software = false;
  /// The kernel's end of the wire has the very MAC address that the driver reports as the port's.
  bool mac_is_the_kernels = false;
  /// It reports RSS, and accepts key and table, but hashes nothing.
  bool rss_is_pretence = false;
  std::string_view remarks;  ///< for operators
};
constexpr std::array<DriverFacts, 10> driver_facts = {{
    {.name = "net_tap",
     .checksums_in_software = true,
     .mac_is_the_kernels = true,
     .rss_is_pretence = true,
     .remarks = "checksum and TSO offloads are software in the driver (not used); hashes only by rte_flow rules; the "
                "kernel chooses the queue"},
    {.name = "net_null", .rss_is_pretence = true, .remarks = "receives empty packets for ever, hashes nothing"},
    {.name = "net_ring", .remarks = "passes mbufs by pointer; no interrupts, no offloads"},
    {.name = "net_pcap", .remarks = "one queue per file or interface; copies every packet"},
    {.name = "net_memif", .remarks = "shared memory; copies every packet; no offloads, no RSS"},
    {.name = "net_af_packet", .remarks = "one queue unless qpairs= is given; copies every packet; no interrupts"},
    {.name = "net_af_xdp", .remarks = "one queue of the kernel's interface; no offloads"},
    {.name = "net_virtio_user", .remarks = "what it offers depends on the backend"},
    {.name = "net_e1000_igb", .remarks = "82576, I350, I210: 8 or 16 queues, no LRO, no vector receive"},
    {.name = "net_e1000_igb_vf", .remarks = "two queues, one interrupt for both; its RSS cannot be configured"},
}};

DriverFacts facts_of(std::string_view driver) noexcept {
  for (const auto& facts : driver_facts)
    if (facts.name == driver) return facts;
  return {.name = driver};
}

constexpr auto link_wait_max = std::chrono::seconds(5);
constexpr auto link_wait_step = std::chrono::milliseconds(20);
/// What a device that cuts has to take: 64 KiB lie in 33 mbufs, or in more where the application sent less at once.
constexpr std::uint16_t cut_mbufs_min = 40;
constexpr std::uint32_t frame_overhead = 14 + 4;  // Ethernet header and one VLAN tag

bool has_net_admin() {
  std::ifstream status("/proc/self/status");
  std::string line;
  constexpr int cap_net_admin = 12;
  while (std::getline(status, line))
    if (line.starts_with("CapEff:"))
      return (std::stoull(line.substr(7), nullptr, 16) >> cap_net_admin & 1) != 0;
  return true;
}

/// Why net_tap could not make its interface, as far as can be told from here; empty: no idea.
std::string tap_advice() {
  const int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
  if (fd < 0)
    return fmt::format(
        ": /dev/net/tun cannot be opened: {} (run as root, or give access to it and CAP_NET_ADMIN)",
        std::strerror(errno));
  close(fd);
  if (!has_net_admin()) return ": no permission to make a TAP interface (run as root or with CAP_NET_ADMIN)";
  return ": is the interface name free and at most 15 characters long?";
}

std::string pci_advice(const std::string& name) {
  const std::string address = name.size() == 7 ? "0000:" + name : name;
  const std::filesystem::path device = "/sys/bus/pci/devices/" + address;
  std::error_code error;
  if (!std::filesystem::exists(device, error)) return ": this machine has no such PCI device (see lspci)";
  const auto driver = std::filesystem::read_symlink(device / "driver", error).filename().string();
  return fmt::format(
      ": DPDK found no port there; the kernel driver in charge is {}. Bind it by dpdk-devbind.py "
      "--bind=vfio-pci {}",
      driver.empty() ? "none" : driver, address);
}

void set_addresses(InterfaceConfig& to, const std::vector<IpPrefix>& addresses) {
  to.address = {};
  to.more_v4_addresses.clear();
  to.v6_addresses.clear();
  for (const IpPrefix& prefix : addresses) {
    if (!prefix.address.is_v4())
      to.v6_addresses.push_back(prefix);
    else if (to.address.address.is_unspecified())
      to.address = prefix;
    else
      to.more_v4_addresses.push_back(prefix);
  }
}

[[noreturn]] void fail_probe(const PortConfig& config, const std::string& name, int error,
                             const std::string& log) {
  std::string advice;
  if (is_pci_address(name)) {
    advice = pci_advice(name);
  } else if (name.starts_with("net_tap")) {
    advice = tap_advice();
  } else if (error == -ENOENT || error == -ENODEV) {
    advice = ": no driver for a virtual device of this name, or its arguments are wrong";
  }
  throw std::runtime_error(fmt::format("port {}: cannot be created ({}){}{}{}", config.device,
                                       rte_strerror(-error), advice,
                                       log.empty() ? "" : "; DPDK says: ", log));
}

}  // namespace

std::uint16_t PortQueue::prepared_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
  const std::uint16_t good = rte_eth_tx_prepare(port_, queue_, packets, n);
  const std::uint16_t sent = good == 0 ? 0 : rte_eth_tx_burst(port_, queue_, packets, good);
  if (sent < good || good == n) return sent;
  // packets[good] is the one the driver will never take.
  rte_pktmbuf_free(packets[good]);
  ++refused_;
  return static_cast<std::uint16_t>(good + 1);
}

Port::Port(const PortConfig& config)
    : config_(config), name_(config.device.substr(0, config.device.find(','))) {
  if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) != 0) {
    const DpdkLogCapture log;
    const int result = is_pci_address(name_) ? -ENODEV : rte_dev_probe(config.device.c_str());
    if (result != 0) fail_probe(config, name_, result, log.last_lines());
    if (rte_eth_dev_get_port_by_name(name_.c_str(), &id_) != 0)
      fail_probe(config, name_, -ENODEV, log.last_lines());
    created_ = true;
  }
  if (rte_eth_dev_info_get(id_, &info_) != 0) {
    release();
    throw std::runtime_error(fmt::format("port {}: its driver gives no information", name_));
  }
}

Port::~Port() {
  release();
}

void Port::stop() noexcept {
  if (std::exchange(started_, false)) rte_eth_dev_stop(id_);
}

void Port::release() noexcept {
  stop();
  rte_device* device = info_.device;
  rte_eth_dev_close(id_);
  if (created_ && device != nullptr) rte_dev_remove(device);
}

int Port::numa_node() const noexcept {
  return rte_eth_dev_socket_id(id_);
}

RssPlan Port::rss_plan(unsigned cores) const {
  return plan_rss(info_, cores, !facts_of(info_.driver_name).rss_is_pretence);
}

void Port::check(int result, std::string_view action) const {
  if (result < 0)
    throw std::runtime_error(fmt::format("port {}: {} failed: {}", name_, action, rte_strerror(-result)));
}

void Port::start(std::span<rte_mempool* const> pools, std::uint16_t packet_room, int socket,
                 const Steering* steering) {
  const auto cores = static_cast<unsigned>(pools.size());
  POLLUX_CHECK(cores == 1 || steering != nullptr, "port %s: %u cores without steering", name_.c_str(), cores);
  choose_steering(cores);
  const DpdkLogCapture log;
  try {
    start_device(pools.first(queues_), packet_room, socket);
  } catch (const std::runtime_error& error) {
    const auto lines = log.last_lines();
    throw std::runtime_error(lines.empty() ? error.what()
                                           : fmt::format("{}; DPDK says: {}", error.what(), lines));
  }
  started_ = true;
  rx_interrupts_ = rx_interrupts_ && rte_eth_dev_rx_intr_ctl_q_get_fd(id_, 0) >= 0 && !shares_rx_interrupt(id_, 0);
  if (cores > 1) apply_steering(cores, *steering);
  if (config_.promiscuous) check(rte_eth_promiscuous_enable(id_), "switching promiscuous mode on");
  if (interface_.exception) take_mac();
  wait_for_link();
  interface_.name = name_;
  interface_.mtu = config_.mtu;
  const std::vector<InterfaceConfig> all = interfaces_with(config_);
  interface_ = all.front();
  vlans_.assign(all.begin() + 1, all.end());
}

void Port::lead_to_kernel(InterfaceId port, const MacAddress& mac) noexcept {
  interface_.exception = true;
  interface_.port = port;
  interface_.mac = mac;
}

/// The kernel answers for the port's MAC on its own end.
void Port::take_mac() {
  rte_ether_addr address{};
  std::memcpy(address.addr_bytes, interface_.mac.octets.data(), sizeof address.addr_bytes);
  if (const int result = rte_eth_dev_default_mac_addr_set(id_, &address); result != 0)
    log_warning("port {}: its driver does not give {} to the kernel's end ({}): ip link set ... address {}", name_,
                interface_.mac.to_string(), rte_strerror(-result), interface_.mac.to_string());
}

std::vector<InterfaceConfig> Port::interfaces_with(const PortConfig& config) const {
  std::vector<InterfaceConfig> all = {interface_};
  set_addresses(all.front(), config.addresses);
  all.front().router_advertisements = config.router_advertisements;
  for (const VlanConfig& vlan : config.vlans) {
    InterfaceConfig& to = all.emplace_back();
    to.name = fmt::format("{}.{}", name_, vlan.id);
    to.mac = interface_.mac;
    to.offloads = interface_.offloads;
    to.vlan = vlan.id;
    to.mtu = vlan.mtu == 0 ? config_.mtu : vlan.mtu;
    to.router_advertisements = vlan.router_advertisements;
    set_addresses(to, vlan.addresses);
  }
  const auto speaks_v6 = [](const InterfaceConfig& i) { return !i.v6_addresses.empty() || i.router_advertisements; };
  if (std::any_of(all.begin(), all.end(), speaks_v6) || !config_.exception.empty()) hear_groups();
  return all;
}

// The groups that neighbour discovery asks (RFC 4861 7.2.1), and those that the kernel has joined; the stack drops what it has not joined.
void Port::hear_groups() const {
  const int all = rte_eth_allmulticast_enable(id_);
  if (all != -ENOTSUP) check(all, "receiving multicast frames");
}

void Port::start_device(std::span<rte_mempool* const> pools, std::uint16_t packet_room, int socket) {
  configure(packet_room);
  set_up_queues(pools, socket);
  if (!interface_.exception) choose_mac();
  const int result = rte_eth_dev_start(id_);
  if (result == 0 || !rx_interrupts_) return check(result, "start");
  // A device without interrupts for its queues may refuse to start with them; it starts without.
  rx_interrupts_ = false;
  configure(packet_room);
  set_up_queues(pools, socket);
  check(rte_eth_dev_start(id_), "start");
}

unsigned Port::queues_max() const noexcept {
  return std::min(info_.max_rx_queues, info_.max_tx_queues);
}

void Port::choose_steering(unsigned cores) {
  if (cores == 1) return;
  rss_ = rss_plan(cores);
  mode_ = rss_.usable ? SteeringMode::rss : SteeringMode::software;
  queues_ = static_cast<std::uint16_t>(std::min(cores, queues_max()));
}

void Port::apply_steering(unsigned cores, const Steering& steering) {
  if (mode_ == SteeringMode::rss) {
    rss_.reason = program_rss(id_, info_, rss_, steering);
    if (!rss_.reason.empty()) mode_ = SteeringMode::software;
  }
  const std::string queues = fmt::format("{} queue{}", queues_, queues_ == 1 ? "" : "s");
  if (mode_ == SteeringMode::rss)
    steering_text_ = fmt::format("{} cores over {} by RSS (symmetric key, {} buckets, TCP by {}, UDP by {})", cores,
                                 queues, steering.buckets(), steering.fields().tcp_ports ? "ports" : "addresses",
                                 steering.fields().udp_ports ? "ports" : "addresses");
  else
    steering_text_ = fmt::format("{} cores over {}; flows are handed to their core in software: {}", cores, queues,
                                 rss_.reason);
}

void Port::configure(std::uint16_t packet_room) {
  // Drivers that do not state an MTU state a frame size (with header and FCS).
  const auto mtu_max =
      std::min<std::uint32_t>(info_.max_mtu, info_.max_rx_pktlen - RTE_ETHER_HDR_LEN - RTE_ETHER_CRC_LEN);
  if (config_.mtu < info_.min_mtu || config_.mtu > mtu_max)
    throw std::runtime_error(fmt::format("port {}: mtu {} is out of its driver's range {} to {}", name_,
                                         config_.mtu, info_.min_mtu, mtu_max));
  const bool hardware = !facts_of(info_.driver_name).checksums_in_software;
  rte_eth_conf conf{};
  conf.rxmode.mtu = config_.mtu;
  if (hardware) conf.rxmode.offloads |= info_.rx_offload_capa & RTE_ETH_RX_OFFLOAD_CHECKSUM;
  if (!config_.vlans.empty()) conf.rxmode.offloads |= info_.rx_offload_capa & RTE_ETH_RX_OFFLOAD_VLAN_STRIP;
  if (config_.mtu + frame_overhead > packet_room) {
    if ((info_.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) == 0)
      throw std::runtime_error(
          fmt::format("port {}: its driver cannot scatter a packet over mbufs, so mtu {} needs "
                      "pool.packet_room of at least {}",
                      name_, config_.mtu, config_.mtu + frame_overhead));
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
  }
  if (mode_ == SteeringMode::rss) {
    Steering::fill_key({rss_key_.data(), rss_.key_size});
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rxmode.offloads |= info_.rx_offload_capa & RTE_ETH_RX_OFFLOAD_RSS_HASH;  // reported, so that it is checked
    conf.rx_adv_conf.rss_conf = {.rss_key = rss_key_.data(), .rss_key_len = rss_.key_size, .rss_hf = rss_.hash_types};
  }
  conf.intr_conf.rxq = rx_interrupts_ ? 1 : 0;
  std::uint64_t tx_wanted = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if (hardware)
    tx_wanted |= RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM |
                 RTE_ETH_TX_OFFLOAD_TCP_TSO;
  if (!config_.vlans.empty()) tx_wanted |= RTE_ETH_TX_OFFLOAD_VLAN_INSERT;
  conf.txmode.offloads = info_.tx_offload_capa & tx_wanted;
  rx_offloads_ = conf.rxmode.offloads;
  tx_offloads_ = conf.txmode.offloads;
  // TSO takes what goes with it, and long chains.
  constexpr std::uint64_t for_cutting = RTE_ETH_TX_OFFLOAD_TCP_TSO | RTE_ETH_TX_OFFLOAD_TCP_CKSUM |
                                        RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  const std::uint16_t limit = info_.tx_desc_lim.nb_seg_max == 0 ? UINT16_MAX : info_.tx_desc_lim.nb_seg_max;
  const auto mbufs_max = std::min<std::uint16_t>(limit, RTE_MBUF_MAX_NB_SEGS);
  const bool can_cut = (tx_offloads_ & for_cutting) == for_cutting && mbufs_max >= cut_mbufs_min;
  interface_.offloads = {.ipv4_checksum = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_IPV4_CKSUM) != 0,
                         .tcp_checksum = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0,
                         .udp_checksum = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_UDP_CKSUM) != 0,
                         .tcp_segmentation = can_cut,
                         .mbufs_max = mbufs_max,
                         .multi_segment = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0,
                         .vlan_insert = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_VLAN_INSERT) != 0};
  check(rte_eth_dev_configure(id_, queues_, queues_, &conf), "configuring");
  const int mtu = rte_eth_dev_set_mtu(id_, config_.mtu);
  if (mtu != -ENOTSUP) check(mtu, fmt::format("setting the mtu {}", config_.mtu));
}

void Port::set_up_queues(std::span<rte_mempool* const> pools, int socket) {
  std::uint16_t rx_ring = config_.rx_ring;
  std::uint16_t tx_ring = config_.tx_ring;
  check(rte_eth_dev_adjust_nb_rx_tx_desc(id_, &rx_ring, &tx_ring), "sizing rings");
  if (rx_ring != config_.rx_ring || tx_ring != config_.tx_ring)
    log_info("port {}: its driver takes rings of {} rx and {} tx descriptors", name_, rx_ring, tx_ring);
  rx_ring_ = rx_ring;
  tx_ring_ = tx_ring;
  rte_eth_rxconf rx = info_.default_rxconf;
  rx.offloads = rx_offloads_;
  // Drivers give descriptors back to the device so many at a time. net_e1000_igb's 32 are more than a small ring ever has.
  rx.rx_free_thresh = std::min<std::uint16_t>(rx.rx_free_thresh, std::max(rx_ring / 4, 1));
  rte_eth_txconf tx = info_.default_txconf;
  tx.offloads = tx_offloads_;
  const auto node = static_cast<unsigned>(socket);
  for (std::uint16_t i = 0; i < pools.size(); ++i) {
    check(rte_eth_rx_queue_setup(id_, i, rx_ring, node, &rx, pools[i]), "setting a receive queue up");
    check(rte_eth_tx_queue_setup(id_, i, tx_ring, node, &tx), "setting a transmit queue up");
  }
  // A chain has to fit into an empty ring, beside what says how to cut it: net_e1000_igb would write over the chain's own head.
  TxOffloads& offloads = interface_.offloads;
  offloads.mbufs_max = std::min<std::uint16_t>(offloads.mbufs_max, std::max(tx_ring - 2, 8));
  offloads.tcp_segmentation = offloads.tcp_segmentation && offloads.mbufs_max >= cut_mbufs_min;
}

void Port::choose_mac() {
  rte_ether_addr address{};
  check(rte_eth_macaddr_get(id_, &address), "reading the MAC address");
  MacAddress& mac = interface_.mac;
  std::memcpy(mac.octets.data(), address.addr_bytes, mac.octets.size());
  if (mac.is_zero())
    fill_random(mac.octets);
  else if (!facts_of(info_.driver_name).mac_is_the_kernels)
    return;
  // A unicast address of our own, from the locally administered range; these drivers do not filter by it.
  mac.octets[0] = static_cast<std::uint8_t>((mac.octets[0] & 0xfe) | 0x02);
  mac.octets[5] ^= 0x80;
}

std::string Port::kernel_interface() const {
  std::array<char, IF_NAMESIZE> name{};
  return info_.if_index != 0 && if_indextoname(info_.if_index, name.data()) != nullptr ? name.data() : "";
}

void Port::wait_for_link() const {
  rte_eth_link link{};
  for (auto waited = link_wait_step * 0; waited < link_wait_max; waited += link_wait_step) {
    if (rte_eth_link_get_nowait(id_, &link) != 0 || link.link_status == RTE_ETH_LINK_UP) return;
    std::this_thread::sleep_for(link_wait_step);
  }
  log_warning("port {}: no link after {} s; starting anyway, check the cable or the peer", name_,
              link_wait_max.count());
}

PortQueue Port::queue(std::size_t core) const noexcept {
  const auto& offloads = interface_.offloads;
  return {id_, static_cast<std::uint16_t>(core),
          offloads.ipv4_checksum || offloads.tcp_checksum || offloads.udp_checksum || offloads.vlan_insert};
}

std::vector<std::pair<std::string, std::uint64_t>> Port::xstats() const {
  const int count = rte_eth_xstats_get(id_, nullptr, 0);
  if (count <= 0) return {};
  std::vector<rte_eth_xstat> values(static_cast<std::size_t>(count));
  std::vector<rte_eth_xstat_name> names(values.size());
  if (rte_eth_xstats_get(id_, values.data(), static_cast<unsigned>(count)) != count ||
      rte_eth_xstats_get_names(id_, names.data(), static_cast<unsigned>(count)) != count)
    return {};
  std::vector<std::pair<std::string, std::uint64_t>> all;
  for (const rte_eth_xstat& value : values) all.emplace_back(names.at(value.id).name, value.value);
  return all;
}

PortDescription Port::describe() const {
  return {.name = name_,
          .info = info_,
          .kernel_interface = kernel_interface(),
          .numa_node = numa_node(),
          .queues = queues_,
          .rx_ring = rx_ring_,
          .tx_ring = tx_ring_,
          .mtu = config_.mtu,
          .rx_offloads = rx_offloads_,
          .tx_offloads = tx_offloads_,
          .rx_interrupts = rx_interrupts_,
          .steering = steering_text_,
          .remarks = std::string(facts_of(info_.driver_name).remarks)};
}

rte_eth_stats Port::stats() const noexcept {
  rte_eth_stats stats{};
  rte_eth_stats_get(id_, &stats);
  return stats;
}

}  // namespace pollux
