// The IP layer of one core: link demultiplexing, ARP and neighbours, IPv4 input and output, ICMPv4, routes.
// Transports hand it packets; it hands validated packets back to Stack, never calling up itself.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "pollux/base/counters.h"
#include "pollux/base/result.h"
#include "pollux/base/rng.h"
#include "pollux/base/time.h"
#include "pollux/ip/interface.h"
#include "pollux/ip/neighbor_table.h"
#include "pollux/ip/route_table.h"
#include "pollux/ip/rx_packet.h"
#include "pollux/ip/token_bucket.h"
#include "pollux/packet/pool.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/icmpv4.h"

namespace pollux {

struct IpOptions {
  std::uint32_t neighbors_max = 1024;        ///< entries per core
  std::uint32_t neighbor_queue_max = 16;     ///< packets kept per unresolved neighbour; then oldest dropped
  Duration arp_retry = Duration::from_s(1);  ///< between requests while resolving
  std::uint32_t arp_attempts_max = 3;        ///< requests before the neighbour counts as unreachable
  Duration neighbor_reachable = Duration::from_s(30);   ///< trusted this long after a confirmation
  Duration neighbor_stale_max = Duration::from_s(300);  ///< an unused entry is forgotten after this long
  std::uint32_t icmp_errors_per_second = 1000;          ///< ICMP errors sent, RFC 1812 4.3.2.8; 0: none
  std::uint8_t ttl = 64;                                ///< of ICMP and UDP packets
};

/// What a transport asks for one packet.
struct IpSend {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
};

/// A flow's cached next hop: valid while `generation` equals Ip::route_generation(). Zero-initialised: unset.
struct RouteCache {
  std::uint32_t generation = 0;
  std::uint32_t neighbor = 0;  // index in the neighbour table
  InterfaceId interface = 0;
};

/// Not thread-safe: one core's. Everything noexcept after set-up.
class Ip {
 public:
  Ip(const IpOptions& options, PacketPool pool, Counters& counters, Rng& rng);
  ~Ip();

  // --- Set-up ---------------------------------------------------------------------------------------------
  /// Adds a port with its connected route and announces the address by gratuitous ARP (RFC 5227 2.3).
  /// Ids count from 0 in the order of the calls. Errors: address not a usable unicast, more than
  /// interfaces_max, MTU out of range, address or subnet already present.
  Result<InterfaceId> add_interface(const InterfaceConfig& config, TimePoint now);
  /// Adds a route through `gateway`, which must lie in an interface's subnet ("0.0.0.0/0" is the default).
  Result<void> add_route(const IpPrefix& prefix, const IpAddress& gateway);

  // --- Input ----------------------------------------------------------------------------------------------
  /// Takes one received frame. True: `out` holds a packet for a transport (TCP, UDP, or an ICMP error: then
  /// protocol is ICMP and packet starts at the ICMP header, checksum verified). False: handled here (ARP,
  /// echo) or dropped and counted.
  [[nodiscard]] bool input(InterfaceId interface, Packet frame, TimePoint now, RxPacket& out) noexcept;
  /// Sends destination unreachable for `offender` (RFC 1122 3.2.2: never for broadcasts, ICMP errors,
  /// fragments; rate limited). Consumes nothing: `offender` may be dropped afterwards.
  void send_unreachable(const RxPacket& offender, UnreachableCode code, TimePoint now) noexcept;

  // --- Output ---------------------------------------------------------------------------------------------
  /// Fills `cache` for a destination; false when there is no route. Creates the neighbour entry (unresolved
  /// ones are queried by the first send). Call it when cache.generation != route_generation().
  [[nodiscard]] bool resolve(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept;
  std::uint32_t route_generation() const noexcept { return route_generation_; }
  /// Prepends IP and Ethernet headers to `packet` (data() at the transport header, its checksum done or
  /// requested through ol_flags and l4_len) and queues it on the interface's batch, or on the neighbour until
  /// ARP answers. Always consumes the packet. `none`: sent or queued; anything else has been counted.
  /// Refreshes a cache of an older generation.
  DropReason send(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept;
  /// A reply's or progress' proof that the neighbour behind `cache` is reachable (RFC 4861 7.3.1).
  void confirm(const RouteCache& cache, TimePoint now) noexcept;

  const TxOffloads& offloads(InterfaceId id) const noexcept { return interfaces_[id]->config.offloads; }
  std::uint16_t mtu(InterfaceId id) const noexcept { return interfaces_[id]->config.mtu; }
  TxBatch& tx(InterfaceId id) noexcept { return interfaces_[id]->tx; }
  std::size_t interface_count() const noexcept { return interface_count_; }
  std::uint8_t ttl() const noexcept { return options_.ttl; }
  const InterfaceConfig& interface(InterfaceId id) const noexcept { return interfaces_[id]->config; }

  // --- Addresses ------------------------------------------------------------------------------------------
  bool is_local(const IpAddress& address) const noexcept;
  /// Limited or directed broadcast of an interface, or multicast.
  bool is_group(const IpAddress& address) const noexcept;
  /// The address to use towards `destination` (RFC 9293 MUST-44); nullopt without a route.
  std::optional<IpAddress> source_for(const IpAddress& destination) const noexcept;

  // --- Time -----------------------------------------------------------------------------------------------
  /// ARP retries, expiry, deferred ARP output. Bounded work.
  void advance(TimePoint now) noexcept;
  TimePoint next_deadline() const noexcept;

  /// The latest time this core was given: what an application's call outside a callback counts as now.
  TimePoint now() const noexcept { return now_; }

  NeighborTable& neighbors() noexcept { return neighbors_; }
  const RouteTable& routes() const noexcept { return routes_; }

 private:
  struct Interface {
    Interface(const InterfaceConfig& c, InterfaceId interface_id);

    InterfaceConfig config;
    InterfaceId id;
    std::uint32_t address;  ///< host byte order, as are the next two
    std::uint32_t mask;
    std::uint32_t broadcast;  ///< directed; 255.255.255.255 where the subnet has none (RFC 3021)
    TimePoint announce_at = TimePoint::never();  ///< next announcement (RFC 5227 2.3)
    TimePoint defend_after;                      ///< no defence of our address before this (RFC 5227 2.4)
    TxBatch tx;
  };
  enum class Target : std::uint8_t { other, local, group };

  // ip.cc
  std::optional<Error> config_error(const InterfaceConfig& config) const;
  bool is_local(std::uint32_t address) const noexcept;
  bool is_broadcast(std::uint32_t address) const noexcept;
  const Interface* output_interface(const IpAddress& destination, const Route** route) const noexcept;
  DropReason drop(DropReason reason) noexcept {
    counters_.drop(reason);
    return reason;
  }

  // ip_input.cc: each returns why the packet stopped, or `none` (consumed, or `out.packet` is set).
  DropReason link_input(InterfaceId id, Packet& frame, TimePoint now, RxPacket& out) noexcept;
  DropReason ipv4_input(InterfaceId id, Packet& frame, bool group_frame, TimePoint now,
                        RxPacket& out) noexcept;
  bool is_bad_source(std::uint32_t source) const noexcept;
  Target classify(const Interface& interface, std::uint32_t destination) const noexcept;
  bool gather_headers(Packet& frame) noexcept;

  // icmp.cc
  DropReason icmp_input(RxPacket& packet, TimePoint now) noexcept;
  DropReason echo_reply(RxPacket& request, TimePoint now) noexcept;

  // arp.cc
  DropReason arp_input(InterfaceId id, ByteView packet, TimePoint now) noexcept;
  void learn(Neighbor& neighbor, const MacAddress& mac, bool solicited, TimePoint now) noexcept;
  void send_queue(Neighbor& neighbor, TimePoint now) noexcept;
  void send_arp(Interface& interface, const MacAddress& frame_destination, const ArpFields& arp) noexcept;
  void announce(Interface& interface) noexcept;
  void query(Neighbor& neighbor, TimePoint now) noexcept;
  void start_probe(Neighbor& neighbor, TimePoint now) noexcept;
  void set_reachable(Neighbor& neighbor, TimePoint now) noexcept;
  void neighbor_expired(Neighbor& neighbor, TimePoint now) noexcept;

  // ip_output.cc
  DropReason find_next_hop(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept;
  DropReason send_unconfirmed(Neighbor& neighbor, Packet packet, TimePoint now) noexcept;
  DropReason transmit(Interface& interface, Packet packet) noexcept;
  bool linearise(Packet& packet) noexcept;

  IpOptions options_;
  PacketPool pool_;
  Counters& counters_;
  TimePoint now_;
  std::array<std::unique_ptr<Interface>, interfaces_max> interfaces_;
  std::size_t interface_count_ = 0;
  std::uint32_t route_generation_ = 1;  // before neighbors_, which bumps it
  RouteTable routes_;
  TokenBucket icmp_errors_;
  NeighborTable neighbors_;
};

inline void Ip::confirm(const RouteCache& cache, TimePoint now) noexcept {
  if (cache.generation != route_generation_) return;
  Neighbor& neighbor = neighbors_[cache.neighbor];
  if (neighbor.state == NeighborState::reachable) [[likely]]
    neighbor.reachable_until = now + options_.neighbor_reachable;
  else if (neighbor.state == NeighborState::stale || neighbor.state == NeighborState::probe)
    set_reachable(neighbor, now);
}

}  // namespace pollux
