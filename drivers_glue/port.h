// One ethdev port: found or created, set up with what its driver really has, started, and released again.
#pragma once

#include <rte_ethdev.h>

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/config.h"
#include "pollux/drivers_glue/handover.h"
#include "pollux/drivers_glue/port_rss.h"
#include "pollux/drivers_glue/port_text.h"

namespace pollux {

/// One core's queue pair on a port: the BurstPort of the real world. Copyable; only the owning core may use
/// it.
class PortQueue {
 public:
  /// `prepare`: packets ask for offloads, so the driver must look at them first (rte_eth_tx_prepare).
  PortQueue(std::uint16_t port, std::uint16_t queue, bool prepare) noexcept
      : port_(port), queue_(queue), prepare_(prepare) {}

  std::uint16_t rx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    const std::uint16_t received = rte_eth_rx_burst(port_, queue_, packets, n);
    received_ += received;
    return received;
  }
  std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    const std::uint16_t sent = prepare_ ? prepared_burst(packets, n) : rte_eth_tx_burst(port_, queue_, packets, n);
    sent_ += sent;
    return sent;
  }
  /// Makes the driver free what the device has sent, which many do only when they send more.
  void reap() noexcept { rte_eth_tx_done_cleanup(port_, queue_, 0); }
  std::uint16_t port() const noexcept { return port_; }
  std::uint16_t queue() const noexcept { return queue_; }
  /// Packets that the device gave us, and that it took.
  std::uint64_t received() const noexcept { return received_; }
  std::uint64_t sent() const noexcept { return sent_; }
  /// Packets freed here because the driver refused their offload request (DropReason::tx_prepare_failed).
  std::uint64_t refused() const noexcept { return refused_; }

 private:
  std::uint16_t prepared_burst(rte_mbuf** packets, std::uint16_t n) noexcept;

  std::uint16_t port_;
  std::uint16_t queue_;
  bool prepare_;
  std::uint64_t received_ = 0;
  std::uint64_t sent_ = 0;
  std::uint64_t refused_ = 0;
};

/// Not movable: it owns the device. Control thread only.
class Port {
 public:
  /// Finds the device EAL knows by that name, or creates the virtual device described. Needs EAL. Throws
  /// std::runtime_error with a text that names the device and what to do.
  explicit Port(const PortConfig& config);
  /// Stops and closes the port; a virtual device goes away.
  ~Port();
  Port(const Port&) = delete;
  Port& operator=(const Port&) = delete;

  /// Of the device; -1 when it has none (virtual devices).
  int numa_node() const noexcept;
  /// Before start(): this is the exception port of the stack's port `port`, whose MAC is `mac`; the kernel's end gets it too.
  void lead_to_kernel(InterfaceId port, const MacAddress& mac) noexcept;
  bool leads_to_kernel() const noexcept { return interface_.exception; }
  /// Before start(): queues shall raise interrupts, as far as the driver can.
  void want_rx_interrupts() noexcept { rx_interrupts_ = true; }
  /// Queue pairs that the driver offers, at least one.
  unsigned queues_max() const noexcept;
  /// Whether RSS can bring the packets of `cores` cores to their queues.
  RssPlan rss_plan(unsigned cores) const;
  /// Sets up one queue pair per pool, in order, as far as the driver has them, and starts the port; waits a
  /// bounded time for its link. `packet_room`: octets one mbuf of the pools holds. `steering`: needed when there is
  /// more than one pool. Throws like the constructor.
  void start(std::span<rte_mempool* const> pools, std::uint16_t packet_room, int socket,
             const Steering* steering = nullptr);

  /// Receives and sends nothing from now on; the driver lets go of what it has sent. Harmless when it is not started.
  void stop() noexcept;

  /// After start(): how packets reach their core, and a sentence for the operator that says why.
  SteeringMode steering_mode() const noexcept { return mode_; }
  const std::string& steering_text() const noexcept { return steering_text_; }
  std::uint16_t queues() const noexcept { return queues_; }
  /// Of core `core` < queues().
  PortQueue queue(std::size_t core) const noexcept;
  /// What the stack is told about this port; after start().
  const InterfaceConfig& interface() const noexcept { return interface_; }
  /// And about its VLANs, but for the number of this port.
  const std::vector<InterfaceConfig>& vlans() const noexcept { return vlans_; }
  /// The port, and its VLANs behind it, with the addresses of `config`, whose VLANs are this port's; makes the device hear
  /// what they need. Throws like the constructor.
  std::vector<InterfaceConfig> interfaces_with(const PortConfig& config) const;
  const std::string& name() const noexcept { return name_; }
  /// As DPDK counts ports.
  std::uint16_t id() const noexcept { return id_; }
  /// The kernel's interface that the device is tied to (net_tap, net_af_packet, ...); empty: none.
  std::string kernel_interface() const;
  /// For people; after start().
  PortDescription describe() const;
  /// Of the whole device, all cores.
  rte_eth_stats stats() const noexcept;
  /// Everything the driver counts, by its own names.
  std::vector<std::pair<std::string, std::uint64_t>> xstats() const;

 private:
  void choose_steering(unsigned cores);
  void apply_steering(unsigned cores, const Steering& steering);
  void start_device(std::span<rte_mempool* const> pools, std::uint16_t packet_room, int socket);
  void configure(std::uint16_t packet_room);
  void set_up_queues(std::span<rte_mempool* const> pools, int socket);
  void choose_mac();
  void take_mac();
  void hear_groups() const;
  void wait_for_link() const;
  void check(int result, std::string_view action) const;
  void release() noexcept;

  PortConfig config_;
  std::string name_;  // without arguments
  std::uint16_t id_ = 0;
  rte_eth_dev_info info_{};
  std::uint16_t rx_ring_ = 0;  // descriptors, as the driver takes them
  std::uint16_t tx_ring_ = 0;
  std::uint64_t tx_offloads_ = 0;
  std::uint64_t rx_offloads_ = 0;
  InterfaceConfig interface_;
  std::vector<InterfaceConfig> vlans_;
  RssPlan rss_;
  std::array<std::uint8_t, RssPlan::key_size_max> rss_key_{};  // drivers keep a pointer to it until they start
  SteeringMode mode_ = SteeringMode::single;
  std::string steering_text_;
  std::uint16_t queues_ = 1;
  bool rx_interrupts_ = false;
  bool created_ = false;
  bool started_ = false;
};

}  // namespace pollux
