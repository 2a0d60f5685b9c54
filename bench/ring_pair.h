// Two stacks in one process, joined by a pair of net_ring ports: what the in-process benchmarks run on.
#pragma once

#include <rte_ring.h>

#include <cstdint>
#include <memory>

#include "common.h"
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

/// A stack on its end: does what a core loop does each turn.
class Host {
 public:
  static constexpr std::uint16_t burst_max = 32;

  Host(const RingEnd& end, const StackOptions& options, TimePoint now, const TxOffloads& offloads = {});

  Stack& stack() { return *stack_; }
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
  InterfaceId interface_ = 0;
};

}  // namespace pollux::bench
