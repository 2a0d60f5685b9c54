// Stack: one core's whole TCP/UDP/IP stack. Pure: time, packets and randomness come in as arguments, packets
// go out through batches. A core loop (drivers_glue) drives it; so may a simulator or any other loop:
//
//   stack.input(port, burst, now);   // packets from a port
//   stack.advance(now);              // timers
//   stack.flush(now);                // everything that became due is now in tx(port)
//   sent = device.send(stack.tx(port).pending()); stack.tx(port).consume(sent);
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pollux/base/counters.h"
#include "pollux/base/result.h"
#include "pollux/base/siphash.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/packet/pool.h"
#include "pollux/packet/write_buffer.h"
#include "pollux/stack/app_work.h"
#include "pollux/stack/raw.h"
#include "pollux/tcp/tcp.h"
#include "pollux/udp/udp.h"

namespace pollux {

using StackSecrets = TcpSecrets;

/// Something that lives on a core's stack and goes first when that ends, while calls still work.
class StackPart {
 public:
  virtual ~StackPart() = default;
};

struct StackOptions {
  IpOptions ip;
  TcpOptions tcp;
  UdpOptions udp;
  StackSecrets secrets;
  std::uint32_t flight_records = 1024;  ///< last events that are kept (base/flight_recorder.h): 0 or a power of two
  std::uint64_t seed = 1;      ///< of the stack's one random generator (ports, ids, jitter): a run replays from it
  /// For active opens when other cores share our addresses; must outlive the stack. nullptr: the ephemeral range.
  const LocalPorts* local_ports = nullptr;
  UdpPortShare udp_ports = {};  ///< of the ephemeral UDP ports, those that other cores bring here
};

/// One core's stack. All calls come from the owning core: the thread that called take_core(), or where DCHECKs are compiled
/// in the first that called input(), advance() or flush(). Before, set-up may come from any one thread. Application callbacks run inside input(), advance(), at the
/// start of flush() and inside the application's own calls.
class Stack {
 public:
  /// Checks the options; Errors name the option, its value and what is allowed. `pool` must outlive the stack.
  static Result<std::unique_ptr<Stack>> create(const StackOptions& options, PacketPool pool, TimePoint now);
  /// Frees every queued packet. Bytes that the application kept must be gone before.
  ~Stack();
  Stack(const Stack&) = delete;
  Stack& operator=(const Stack&) = delete;

  /// The calling thread is the owning core from now on: calls of others abort, the rare ones (listen, connect, bind, drain)
  /// always, the rest where DCHECKs are compiled in. A core loop calls it before its first turn.
  void take_core() noexcept { ip_.owner().take(); }
  /// The loop is over: any one thread may use, drive or destroy the stack next.
  void leave_core() noexcept { ip_.owner().leave(); }

  /// See Ip::add_interface; a port's id is the `interface` of input() and tx(), which carry its VLANs too.
  Result<InterfaceId> add_interface(const InterfaceConfig& config, TimePoint now) { return ip_.add_interface(config, now); }
  Result<void> add_route(const IpPrefix& prefix, const IpAddress& gateway) { return ip_.add_route(prefix, gateway); }

  /// Takes ownership of a burst (any size; 32 is usual) that `interface` received.
  void input(InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept;
  /// Runs timers that are due at `now`, at most a stated number a call. `now` never goes back.
  void advance(TimePoint now) noexcept;
  /// Lets every connection with something to send put it into its interface's batch, until the batch is full.
  void flush(TimePoint now) noexcept;
  /// What waits for the port's driver. The caller sends from pending() and consume()s what was taken.
  TxBatch& tx(InterfaceId interface) noexcept { return ip_.tx(interface); }
  std::size_t port_count() const noexcept { return ip_.port_count(); }
  /// When advance() or flush() next has something to do without new input: `now` or earlier when work is
  /// waiting, never() when nothing is. A loop may sleep until then if no packet comes.
  TimePoint next_deadline() const noexcept;

  /// What the last input(), advance() or flush() was given.
  TimePoint now() const noexcept { return now_; }
  /// Calls timer.on_timer at `when`; an armed timer is moved, never() cancels it. O(1).
  void arm(AppTimer& timer, TimePoint when) noexcept {
    POLLUX_DCHECK(ip_.owner().is_here());
    work_.arm(timer, when);
  }
  /// Calls deferred.run at the start of the next flush, which is this turn's inside a callback. O(1).
  void defer(Deferred& deferred) noexcept {
    POLLUX_DCHECK(ip_.owner().is_here());
    work_.defer(deferred);
  }
  /// The part of type T, made from this stack when it is first asked for. One of each type; off the data path.
  template <typename T>
  T& part() {
    for (const auto& entry : parts_)
      if (entry.type == &part_type<T>) return static_cast<T&>(*entry.part);
    parts_.push_back({&part_type<T>, std::make_unique<T>(*this)});
    return static_cast<T&>(*parts_.back().part);
  }

  Tcp& tcp() noexcept { return tcp_; }
  Udp& udp() noexcept { return udp_; }
  Raw& raw() noexcept { return raw_; }
  Ip& ip() noexcept { return ip_; }
  PacketPool& pool() noexcept { return pool_; }
  /// Room for a message of `size` octets (1 to WriteBuffer::size_max) to write into and then send; null when the pool is
  /// exhausted.
  WriteBuffer alloc(std::uint32_t size) noexcept {
    POLLUX_DCHECK(ip_.owner().is_here());
    return WriteBuffer::alloc(pool_, size);
  }
  /// `bytes` (1 to ExternalSends::send_max octets of `memory`) to be sent by whatever takes Bytes. `send` and the octets must
  /// stay as they are until send.on_complete(). Empty, and `send` not pending, when the pool is exhausted.
  Bytes external(const ExternalMemory& memory, std::span<const std::uint8_t> bytes, ExternalSend& send) noexcept {
    POLLUX_DCHECK(ip_.owner().is_here());
    return Bytes(tcp_.external().wrap(pool_, memory, bytes, send));
  }
  /// True while a device may hold octets of the application's memory: a loop with nothing to do should make it let go of
  /// what it has sent.
  bool has_external_sends() const noexcept { return tcp_.external().pending() != 0; }
  /// A snapshot.
  Counters counters() const noexcept;
  FlightRecorder& flight() noexcept { return flight_; }
  /// How many advance() ran out of their budget of timers (Counter::timers_behind).
  std::uint64_t timers_behind() const noexcept { return tcp_.counters()[Counter::timers_behind]; }

  /// Stops accepting connections (SYNs are dropped and counted) and closes listeners' half-open ones.
  void start_drain() noexcept { tcp_.start_drain(); }
  /// Open connections, TIME-WAIT not included: 0 means a drain is complete.
  std::uint32_t connection_count() const noexcept { return tcp_.connection_count(); }
  /// Resets every connection with on_closed(stack_stopped); the RSTs leave with the next flush.
  void abort_all(TimePoint now) noexcept { tcp_.abort_all(now); }

 private:
  struct Part {
    const char* type;
    std::unique_ptr<StackPart> part;
  };
  template <typename T>
  static constexpr char part_type = 0;  // its address tells types apart

  Stack(const StackOptions& options, PacketPool pool, TimePoint now);
  void enter(TimePoint now) noexcept;
  void dispatch(RxPacket& packet, TimePoint now) noexcept;
  [[gnu::cold]] void input_beside_kernel(InterfaceId interface, std::span<rte_mbuf* const> burst, TimePoint now) noexcept;
  bool is_kernels(RxPacket& packet, TimePoint now) noexcept;
  DropReason icmp_error(const RxPacket& packet, TimePoint now) noexcept;

  TimePoint now_;
  AppWork work_;  // outlives what may cancel it
  PacketPool pool_;
  Rng rng_;
  FlightRecorder flight_;
  Ip ip_;
  Udp udp_;
  Raw raw_;
  Tcp tcp_;
  std::vector<Part> parts_;
};

}  // namespace pollux
