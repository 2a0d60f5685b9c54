// Two stacks in one process, joined by a pair of net_ring ports: what the in-process benchmarks run on.
#pragma once

#include <rte_ethdev.h>
#include <rte_ring.h>

#include <cstdint>
#include <memory>

#include "common.h"
#include "pollux/drivers_glue/core_loop.h"
#include "pollux/stack/stack.h"

namespace pollux::bench {

/// One end: a port, its mbufs and its address, 10.0.0.`last_octet` and fd00::`last_octet`.
struct RingEnd {
  std::uint16_t port;
  rte_ring* rx;
  PacketPool pool;
  std::uint8_t last_octet;
};

/// The ports and pools. Needs a started EAL; one a process.
class RingPair {
 public:
  RingPair();
  ~RingPair();
  RingPair(const RingPair&) = delete;
  RingPair& operator=(const RingPair&) = delete;

  RingEnd client() const { return {client_port_, to_client_, pools[0], 2}; }
  RingEnd server() const { return {server_port_, to_server_, pools[1], 1}; }

  PacketPool pools[2];  ///< the client's, the server's

 private:
  rte_ring* to_server_;
  rte_ring* to_client_;
  std::uint16_t client_port_;
  std::uint16_t server_port_;
};

/// The port of one end, as a core loop sees ports.
class RingPort {
 public:
  explicit RingPort(std::uint16_t id) : id_(id) {}
  std::uint16_t rx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
    const std::uint16_t received = rte_eth_rx_burst(id_, 0, packets, n);
    received_ += received;
    return received;
  }
  std::uint16_t tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept { return rte_eth_tx_burst(id_, 0, packets, n); }
  std::uint64_t received() const noexcept { return received_; }

 private:
  std::uint16_t id_;
  std::uint64_t received_ = 0;
};

/// A stack on its end, and the loop that drives it: the one of a polling core.
class Host {
 public:
  Host(const RingEnd& end, const StackOptions& options, TimePoint now, const TxOffloads& offloads = {});

  Stack& stack() { return *stack_; }
  std::uint32_t connection_count() const { return stack_->connection_count(); }
  bool has_input() const { return rte_ring_count(end_.rx) != 0; }
  /// Returns how many packets came in.
  std::uint16_t turn(TimePoint now) noexcept;
  /// Turns until nothing comes in and nothing is waiting to go out.
  template <typename Clock>
  void run_dry(Clock& clock) {
    do turn(clock.now());
    while (has_input() || stack_->next_deadline() <= clock.now());
  }

 private:
  RingEnd end_;
  std::unique_ptr<Stack> stack_;
  std::unique_ptr<CoreLoop<RingPort>> loop_;
};

}  // namespace pollux::bench
