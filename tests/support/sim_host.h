// One simulated machine: a Stack, its pool, and a cable. It is driven like a core loop drives a stack, by a
// World.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "pollux/stack/stack.h"
#include "support/frame.h"
#include "support/heap_pool.h"
#include "support/tcp_monitor.h"

namespace pollux::test {

class World;

struct HostOptions {
  std::string name = {};    ///< default: "h1", "h2", ...
  StackOptions stack = {};  ///< secrets and seed are set from the world's seed
  std::optional<SipKey> isn_key = {};
  IpPrefix address = {};  ///< default: 10.0.0.N/24
  IpPrefix v6_address = {};  ///< length 0: the host does not speak IPv6 (but see World::use_ipv6)
  std::uint16_t mtu = 1500;
  TxOffloads offloads = {};  ///< what the simulated port computes for the stack
  std::uint32_t pool_packets = 65536;
  std::uint16_t pool_room = 2048;  ///< smaller than a frame: frames arrive as chains
  std::uint32_t burst = 32;        ///< frames per Stack::input
  std::uint32_t tx_ring = 0;       ///< frames the port takes per turn; 0: all
  Duration turn = {};              ///< up to this long between turns of the loop (drawn each time)
};

class SimHost {
 public:
  SimHost(World& world, const HostOptions& options, MacAddress mac);
  ~SimHost();

  const std::string& name() const noexcept { return options_.name; }
  Stack& stack() noexcept { return *stack_; }
  Tcp& tcp() noexcept { return stack_->tcp(); }
  Udp& udp() noexcept { return stack_->udp(); }
  HeapPool& pool() noexcept { return pool_; }
  Counters counters() const noexcept { return stack_->counters(); }
  /// The address that tests talk to: of IPv6 where the host has one.
  IpAddress ip() const noexcept {
    return options_.v6_address.length != 0 ? options_.v6_address.address : options_.address.address;
  }
  MacAddress mac() const noexcept { return mac_; }
  const HostOptions& options() const noexcept { return options_; }

  /// A frame reaches the port; the stack sees it in the next turn.
  void receive(Frame frame) { arrived_.push_back(std::move(frame)); }
  /// While on, the port goes on reading what it has sent, as one does that gives mbufs back late. Off: it lets go of them.
  void keep_sent(bool on) {
    keeps_sent_ = on;
    if (!on) sent_.clear();
  }
  const std::vector<Packet>& sent() const noexcept { return sent_; }
  /// Where frames that leave go.
  void on_output(std::function<void(Frame)> output) { output_ = std::move(output); }

  /// When the next turn is due.
  TimePoint wake() const;
  /// One turn of the loop at the world's now: input, advance, flush, transmit.
  void turn();
  /// Tells the stack the time before an application calls it from outside of a callback.
  void sync();
  /// Frames the port could not take for want of mbufs.
  std::uint64_t frames_missed() const noexcept { return frames_missed_; }

 private:
  void take_input(TimePoint now);
  bool give_output();
  Frame finish_frame(const rte_mbuf& packet) const;
  std::vector<Frame> cut(const rte_mbuf& packet) const;
  void watch_progress(bool progress, TimePoint now);

  static constexpr std::uint32_t turns_without_progress_max = 1000;

  World& world_;
  HostOptions options_;
  MacAddress mac_;
  HeapPool pool_;
  std::vector<Packet> sent_;  // while keeps_sent_
  bool keeps_sent_ = false;
  std::unique_ptr<Stack> stack_;
  TcpMonitor monitor_;
  std::function<void(Frame)> output_;
  std::deque<Frame> arrived_;
  TimePoint not_before_;
  TimePoint last_turn_;
  std::uint32_t idle_turns_ = 0;
  std::uint32_t turns_ = 0;
  std::uint64_t frames_missed_ = 0;
};

}  // namespace pollux::test
