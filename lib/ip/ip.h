// The IP layer of one core: link demultiplexing, ARP, neighbour discovery, IPv4 and IPv6 input and output,
// ICMP, routes. Transports hand it packets; it hands validated packets back to Stack, never calling up
// itself.
#pragma once

#include <algorithm>
#include <array>
#include <bitset>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/base/core_owner.h"
#include "pollux/base/counters.h"
#include "pollux/base/result.h"
#include "pollux/base/rng.h"
#include "pollux/base/time.h"
#include "pollux/ip/autoconf.h"
#include "pollux/ip/frame_steering.h"
#include "pollux/ip/group_table.h"
#include "pollux/ip/header_template.h"
#include "pollux/ip/interface.h"
#include "pollux/ip/neighbor_table.h"
#include "pollux/ip/path_mtu.h"
#include "pollux/ip/reassembler.h"
#include "pollux/ip/route_table.h"
#include "pollux/ip/rx_packet.h"
#include "pollux/ip/token_bucket.h"
#include "pollux/ip/v6_address.h"
#include "pollux/packet/pool.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/icmp_error.h"
#include "pollux/wire/icmpv4.h"
#include "pollux/wire/icmpv6.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"
#include "pollux/wire/neighbor_discovery.h"

namespace pollux {

struct IpOptions {
  std::uint32_t neighbors_max = 1024;        ///< entries per core
  std::uint32_t neighbor_queue_max = 16;     ///< packets kept per unresolved neighbour; then oldest dropped
  Duration arp_retry = Duration::from_s(1);  ///< between requests (ARP) or solicitations (ND) for one address
  std::uint32_t arp_attempts_max = 3;        ///< requests before the neighbour counts as unreachable
  Duration neighbor_reachable = Duration::from_s(30);  ///< trusted this long after a confirmation
  Duration neighbor_delay = Duration::from_s(5);  ///< traffic may confirm a stale one before a probe does
  Duration neighbor_stale_max = Duration::from_s(300);  ///< an unused entry is forgotten after this long
  std::uint32_t icmp_errors_per_second = 1000;          ///< ICMP errors sent, RFC 1812 4.3.2.8; 0: none
  std::uint8_t ttl = 64;                                ///< of ICMP and UDP packets; IPv6: the hop limit
  std::uint8_t dad_solicitations = 1;  ///< before an IPv6 address is used, RFC 4862 5.4; 0: used at once
  std::uint32_t reassembly_datagrams_max = 256;   ///< incomplete datagrams per core; then the oldest is given up
  std::uint32_t reassembly_fragments_max = 2048;  ///< fragments kept per core, at most a quarter of the packet pool
  std::uint32_t reassembly_source_max = 512;      ///< fragments kept of one source
  Duration reassembly_timeout = Duration::from_s(60);  ///< RFC 1122 3.3.2, RFC 8200 4.5
  std::uint32_t routes_max = RouteTable::routes_max_default;  ///< of each family, per core; at most RouteTable::routes_limit
};

/// All that an operator sets about IP.
struct IpSettings {
  IpOptions options;
  std::vector<InterfaceConfig> interfaces;
  std::vector<StaticRoute> routes;
  std::vector<StaticNeighbor> neighbors;
};

/// Settings that passed every check, ready to be taken over by one Ip while packets flow. Made by plan_ip().
struct IpPlan {
  struct Neighbor {
    InterfaceId interface;
    IpAddress address;
    MacAddress mac;
  };
  IpSettings settings;
  RouteTable routes;
  std::vector<Neighbor> neighbors;
};

/// Checks settings as the set-up of an Ip does, with the same errors. Any thread; `pool` is only asked for its sizes.
Result<IpPlan> plan_ip(const IpSettings& settings, PacketPool pool);

/// What a transport asks for one packet. Both addresses are of one family.
struct IpSend {
  IpAddress source;
  IpAddress destination;
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  bool may_fragment = false;  ///< cut it if it exceeds the MTU: then its checksum is complete, none asked of the NIC
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
  Ip(const IpOptions& options, PacketPool pool, Rng& rng);
  ~Ip();

  /// What this layer counts, and those that share its counters; Tcp has its own.
  Counters& counters() noexcept { return counters_; }
  const Counters& counters() const noexcept { return counters_; }

  // --- Set-up ---------------------------------------------------------------------------------------------
  /// Adds a port, or a VLAN of one, with its connected routes and announces its IPv4 addresses by gratuitous ARP (RFC 5227 2.3).
  /// Its IPv6 addresses are used once duplicate address detection has found nobody else with them (RFC
  /// 4862 5.4). Ids count from 0 in the order of the calls, and all ports come before the first VLAN. Errors: address not a
  /// usable unicast, more than ports_max or interfaces_max, MTU out of range, address, subnet or VLAN already present.
  Result<InterfaceId> add_interface(const InterfaceConfig& config, TimePoint now);
  /// Adds a route through `gateway`, which must lie in an interface's subnet ("0.0.0.0/0" and "::/0" are the
  /// defaults). A link-local gateway is taken to be behind the only port with IPv6.
  Result<void> add_route(const IpPrefix& prefix, const IpAddress& gateway);

  /// Says who sits behind `address`, which must lie in an interface's subnet: never asked for, never believed otherwise,
  /// never forgotten. Errors: no such subnet, not another host's address, bad MAC, table full.
  Result<void> add_neighbor(const IpAddress& address, const MacAddress& mac);
  /// Takes over what may change while it runs: addresses, routes, static neighbours, and of the options those that are no
  /// sizes of tables. `plan` has the interfaces it was set up with, in their order. New IPv4 addresses are announced, new
  /// IPv6 ones are looked for duplicates first; what is no longer an address of ours is no longer answered for. `plan` has the
  /// routes of before then, so that its owner gives their memory back.
  void change(IpPlan& plan, TimePoint now);
  /// Whether this is the core that announces, answers for and defends the addresses (InterfaceConfig::primary). One that
  /// becomes it announces them all.
  void set_primary(bool primary, TimePoint now) noexcept;
  /// With several cores: who asks for the owner of what this core has put together. It must outlive the stack.
  /// `core` of `cores`: so that identifications of fragments differ between them.
  void set_steering(FrameSteering* steering, std::uint16_t core = 0, std::uint16_t cores = 1) noexcept {
    steering_ = steering;
    core_ = core;
    cores_ = cores;
    listeners_told_.assign(cores, {});
  }

  /// The core that all calls come from, of this and of the layers above (see Stack::take_core).
  CoreOwner& owner() noexcept { return owner_; }

  // --- Exceptions (exception.cc) ------------------------------------------------------------------------------
  /// Some port has an exception port.
  bool has_exceptions() const noexcept { return has_exceptions_; }
  bool is_exception(InterfaceId id) const noexcept { return interfaces_[id]->config.exception; }
  /// What an exception port received leaves through its port, as it is.
  void send_from_kernel(InterfaceId id, Packet frame, TimePoint now) noexcept;
  /// A copy for the kernel of what both have to hear: ARP and neighbour discovery that is not about our addresses, answers
  /// included. Call it before input().
  void copy_to_kernel(InterfaceId id, const Packet& frame) noexcept;
  /// True: the packet, as it came out of input(), is the kernel's now. False: its port has no exception port.
  [[nodiscard]] bool give_to_kernel(RxPacket& packet) noexcept;

  // --- Input ----------------------------------------------------------------------------------------------
  /// Takes one received frame. True: `out` holds a packet for a transport (TCP, UDP, or an ICMP error: then
  /// protocol is ICMP or ICMPv6 and packet starts at the ICMP header, checksum verified). False: handled here
  /// (ARP, ND, echo) or dropped and counted.
  [[nodiscard]] bool input(InterfaceId interface, Packet frame, TimePoint now, RxPacket& out) noexcept;
  /// Sends destination unreachable for `offender` (RFC 1122 3.2.2, RFC 4443 2.4: never for broadcasts, ICMP
  /// errors, fragments; rate limited), or what ICMPv6 has in its place. Consumes nothing: `offender` may be
  /// dropped afterwards.
  void send_unreachable(const RxPacket& offender, UnreachableCode code, TimePoint now) noexcept;

  // --- Output ---------------------------------------------------------------------------------------------
  /// Fills `cache` for a destination; false when there is no route. Creates the neighbour entry (unresolved
  /// ones are queried by the first send). Call it when cache.generation != route_generation().
  [[nodiscard]] bool resolve(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept;
  std::uint32_t route_generation() const noexcept { return route_generation_; }
  /// Prepends IP and Ethernet headers to `packet` (data() at the transport header, its checksum done or
  /// requested through ol_flags and l4_len) and queues it on the interface's batch, or on the neighbour until
  /// it answers. Always consumes the packet. `none`: sent or queued; anything else has been counted.
  /// Refreshes a cache of an older generation.
  DropReason send(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept {
    return send.destination.is_v4() ? send_v4(std::move(packet), send, cache, now)
                                    : send_v6(std::move(packet), send, cache, now);
  }
  /// The same for a caller that knows the family.
  DropReason send_v4(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept;
  DropReason send_v6(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept;
  /// The same for a packet that does not leave whole (see leaves_whole): in fragments, and over IPv4 without DF.
  DropReason send_fragmented(Packet packet, const IpSend& send, RouteCache& cache, TimePoint now) noexcept;
  /// Makes the headers of packets with `payload_length` octets behind the IP header, which are to leave this
  /// turn: false when they cannot leave just so (an old cache, a neighbour to ask first, too long). Then
  /// send() does what is to be done.
  [[nodiscard]] bool prepare(const IpSend& send, const RouteCache& cache, std::uint32_t payload_length,
                             HeaderTemplate& out) const noexcept;
  /// Queues a whole frame that begins with the octets of `headers`, in an mbuf that was never received.
  void send_prepared(Packet frame, const HeaderTemplate& headers) noexcept;
  /// A reply's or progress' proof that the neighbour behind `cache` is reachable (RFC 4861 7.3.1).
  void confirm(const RouteCache& cache, TimePoint now) noexcept;

  /// A router's word that a packet of ours, which the caller has recognised, was too large for its path. From now on what
  /// may be cut is cut to that size for PathMtuTable::lifetime. Refused: what no router says of such a packet.
  DropReason learn_path_mtu(const IcmpError& error) noexcept;
  /// Octets of the largest packet that reaches `destination` in one piece, as far as is known. TCP has its own estimates.
  std::uint16_t path_mtu(const IpAddress& destination, InterfaceId id) const noexcept {
    const std::uint16_t link = mtu(id, destination.is_v4());
    if (!paths_.in_use(now_)) [[likely]]
      return link;
    const PathMtuTable::Path* const path = paths_.find(destination, now_);
    return path == nullptr ? link : std::min(link, path->mtu);
  }
  /// False: `payload` octets behind an IP header are for send_fragmented().
  bool leaves_whole(const IpAddress& destination, std::uint32_t payload, InterfaceId id) const noexcept {
    const bool v4 = destination.is_v4();
    const std::uint32_t size = payload + (v4 ? std::uint32_t{Ipv4Fields::size} : std::uint32_t{Ipv6Fields::size});
    if (!paths_.in_use(now_)) [[likely]]
      return size <= mtu(id, v4);
    const PathMtuTable::Path* const path = paths_.find(destination, now_);
    return size <= mtu(id, v4) && (path == nullptr || (size <= path->mtu && !(v4 && path->smaller)));
  }
  /// Packets that `payload` octets behind an IP header of the destination's family become on this port.
  std::uint32_t fragment_count(const IpAddress& destination, std::uint32_t payload, InterfaceId id) const noexcept;
  const TxOffloads& offloads(InterfaceId id) const noexcept { return interfaces_[id]->config.offloads; }
  /// Octets of the largest IP packet; routers may have advertised less for IPv6.
  std::uint16_t mtu(InterfaceId id, bool v4) const noexcept { return interfaces_[id]->mtu(v4); }
  /// What waits for the port's driver; a VLAN shares its port's.
  TxBatch& tx(InterfaceId id) noexcept { return interfaces_[id]->tx; }
  std::size_t interface_count() const noexcept { return interface_count_; }
  /// Interfaces below this are ports, the others VLANs.
  std::size_t port_count() const noexcept { return port_count_; }
  std::uint8_t ttl() const noexcept { return options_.ttl; }
  const InterfaceConfig& interface(InterfaceId id) const noexcept { return interfaces_[id]->config; }

  // --- Addresses ------------------------------------------------------------------------------------------
  bool is_local(const IpAddress& address) const noexcept;
  /// Limited or directed broadcast of an interface, or multicast.
  bool is_group(const IpAddress& address) const noexcept;
  /// The address to use towards `destination` (RFC 9293 MUST-44); nullopt without a route.
  std::optional<IpAddress> source_for(const IpAddress& destination) const noexcept;

  /// No IPv6 address is being checked for duplicates: whatever can be a source is one.
  bool addresses_settled() const noexcept;

  // --- Groups (groups.cc) -----------------------------------------------------------------------------------
  static constexpr std::size_t memberships_max = 256;  ///< of all sockets
  /// `owner` listens to `group` on a port as `filter` says from now on; a filter that is no member leaves. The next
  /// advance() reports what that changes for the port, or has the primary core do so, which has room for as many groups as
  /// one core (PxGroupsRefused). Errors: not a group or one that every host is in, a port without the family, leaving what
  /// was not joined, a limit.
  Result<void> set_membership(SlabHandle owner, InterfaceId interface, const IpAddress& group, const GroupFilter& filter);
  /// Ends every membership of `owner`.
  void leave_groups(SlabHandle owner) noexcept;
  /// What `source` sends to `group` is for `owner`.
  bool is_wanted(SlabHandle owner, InterfaceId interface, const IpAddress& group, const IpAddress& source) const noexcept;
  /// Another core has joined a group: copy_to_members() has something to do.
  bool has_remote_members() const noexcept { return has_remote_members_; }
  /// Hands a copy of what was sent to a group to each other core that has joined it. `packet` came out of input(). False: none
  /// has.
  bool copy_to_members(const RxPacket& packet) noexcept;
  bool is_wanted_elsewhere(const RxPacket& packet) const noexcept;
  /// False: no other core listens to `group`. True: share_own() brings it a copy of what this core sends there.
  bool may_be_heard_elsewhere(InterfaceId interface, const IpAddress& group) const noexcept;
  /// `packet` as it would come out of input(), with its headers in front.
  void share_own(const RxPacket& packet) noexcept;
  /// Somebody here, or on a core that this one speaks for, listens to `group`.
  bool is_member(InterfaceId interface, const IpAddress& group) const noexcept;

  // --- Protocols ------------------------------------------------------------------------------------------
  /// Whether packets of `protocol` come out of input(), besides those of the transports.
  void accept_protocol(std::uint8_t protocol, bool accept) noexcept { accepted_.set(protocol, accept); }

  // --- Time -----------------------------------------------------------------------------------------------
  /// ARP retries, expiry, deferred ARP output. Bounded work.
  void advance(TimePoint now) noexcept;
  TimePoint next_deadline() const noexcept;

  /// The latest time this core was given: what an application's call outside a callback counts as now.
  TimePoint now() const noexcept { return now_; }

  // --- Neighbours -----------------------------------------------------------------------------------------
  NeighborTable& neighbors() noexcept { return neighbors_; }
  /// The IPv6 addresses of a port with their state, the link-local one first; empty: it does not speak IPv6.
  std::span<const V6Address> v6_addresses(InterfaceId id) const noexcept {
    const Interface& port = *interfaces_[id];
    return {port.v6.data(), port.v6_count};
  }
  const RouteTable& routes() const noexcept { return routes_; }

 private:
  /// One IPv4 address; host byte order.
  struct V4Address {
    std::uint32_t address = 0;
    std::uint32_t mask = 0;
    std::uint32_t broadcast = 0;  ///< directed; 255.255.255.255 where the subnet has none (RFC 3021)

    bool contains(std::uint32_t other) const noexcept { return ((other ^ address) & mask) == 0; }
    IpAddress ip() const noexcept { return IpAddress::v4(address); }
  };
  struct Interface {
    /// `port`: of a VLAN; nullptr: it is a port itself.
    Interface(const InterfaceConfig& c, InterfaceId interface_id, Interface* port);

    InterfaceConfig config;
    InterfaceId id;
    bool plain;  ///< frames leave as they are: no tag, and chains as they come
    std::size_t v4_count = 0;
    std::array<V4Address, v4_addresses_max> ipv4{};
    std::array<V6Address, v6_addresses_max> v6;
    std::size_t v6_count = 0;
    std::uint16_t v6_mtu;  ///< octets, config.mtu or what a router advertised
    Autoconf autoconf;
    TimePoint announce_at = TimePoint::never();  ///< next announcement (RFC 5227 2.3)
    TimePoint due = TimePoint::never();          ///< the earliest of announce_at and every address' next_at
    TimePoint defend_after;                      ///< no defence of our addresses before this (RFC 5227 2.4)
    std::unique_ptr<TxBatch> own_tx;             ///< of a port
    TxBatch& tx;                                 ///< the port's
    Interface* partner = nullptr;                ///< a port's exception port, an exception port's port
    std::vector<InterfaceId> vlans;              ///< of a port, by VLAN id; 0: unknown. Empty: none
    GroupTable v4_groups{true};
    GroupTable v6_groups{false};

    void set_v4(const InterfaceConfig& from) noexcept;
    GroupTable& groups(const IpAddress& group) noexcept { return group.is_v4() ? v4_groups : v6_groups; }
    bool speaks_v4() const noexcept { return v4_count != 0; }
    bool speaks_v6() const noexcept { return v6_count != 0; }
    std::span<const V4Address> v4_addresses() const noexcept { return {ipv4.data(), v4_count}; }
    const V4Address* find_v4(std::uint32_t wanted) const noexcept;
    /// The first address in whose subnet `other` lies.
    const V4Address* v4_on_link(std::uint32_t other) const noexcept;
    std::uint16_t mtu(bool v4) const noexcept { return v4 ? config.mtu : v6_mtu; }
    TimePoint autoconf_due() const noexcept;
    const V6Address* find_v6(const IpAddress& wanted) const noexcept;
    V6Address* find_v6(const IpAddress& wanted) noexcept;
    void update_due() noexcept;
  };
  enum class Target : std::uint8_t { other, local, group };
  // RFC 5227 1.1: ANNOUNCE_INTERVAL; ANNOUNCE_NUM is 2, the first is sent at once.
  static constexpr Duration announce_interval = Duration::from_s(2);

  // ip.cc
  std::optional<Error> config_error(const InterfaceConfig& config) const;
  void run_due(Interface& port, TimePoint now) noexcept;
  bool is_local(std::uint32_t address) const noexcept {
    for (const V4Address& ours : all_v4_)
      if (ours.address == address) return true;
    return false;
  }
  bool is_broadcast(std::uint32_t address) const noexcept {
    for (const V4Address& ours : all_v4_)
      if (ours.broadcast == address) return true;
    return address == 0xffffffffu;
  }
  const Interface* output_interface(const IpAddress& destination, const Route** route) const noexcept;
  DropReason drop(DropReason reason) noexcept {
    counters_.drop(reason);
    return reason;
  }

  // change.cc
  friend Result<IpPlan> plan_ip(const IpSettings& settings, PacketPool pool);
  void change_v4_addresses(Interface& port, const InterfaceConfig& wanted, TimePoint now);
  void change_v6_addresses(Interface& port, const std::vector<IpPrefix>& wanted, TimePoint now) noexcept;
  void change_routes(RouteTable& configured) noexcept;
  void change_neighbors(const std::vector<IpPlan::Neighbor>& wanted, TimePoint now) noexcept;

  // v4_set_up.cc
  std::optional<Error> v4_config_error(const InterfaceConfig& config) const;
  std::optional<Error> v4_address_error(const IpPrefix& prefix) const;
  Result<void> add_v4_addresses(Interface& port, TimePoint now);
  void gather_v4_addresses() noexcept;
  const V4Address* v4_source_on(const Interface& port, std::uint32_t destination, std::uint32_t next_hop) const noexcept;

  // exception.cc
  std::optional<std::string> exception_config_error(const InterfaceConfig& config) const;
  [[gnu::cold]] bool dropped_to_kernel(DropReason reason, InterfaceId id, Packet& frame, RxPacket& out) noexcept;
  bool hand_to_kernel(const Interface& in, Packet& frame, std::uint32_t pulled) noexcept;

  // vlan.cc
  std::optional<std::string> vlan_config_error(const InterfaceConfig& config) const;
  DropReason tagged_input(InterfaceId id, Packet& frame, TimePoint now, RxPacket& out) noexcept;
  static DropReason enter_vlan(const Interface& port, const Packet& frame, InterfaceId& id) noexcept;
  DropReason finish_frame(const Interface& port, Packet& frame) noexcept;
  bool write_tag(Packet& frame, std::uint16_t vlan) noexcept;

  // v6_set_up.cc
  V6Address& add_v6_address(Interface& port, const IpPrefix& prefix, TimePoint now) noexcept;
  std::optional<std::string> v6_config_error(const InterfaceConfig& config) const;
  Result<void> add_v6_addresses(Interface& port, TimePoint now);
  Result<void> add_v6_route(const IpPrefix& prefix, const IpAddress& gateway);

  // ip_input.cc: each returns why the packet stopped, or `none` (consumed, or `out.packet` is set).
  DropReason link_input(InterfaceId id, Packet& frame, TimePoint now, RxPacket& out) noexcept;
  DropReason ipv4_input(InterfaceId id, Packet& frame, bool group_frame, TimePoint now,
                        RxPacket& out) noexcept;
  bool is_bad_source(std::uint32_t source) const noexcept;
  Target classify(const Interface& interface, std::uint32_t destination) const noexcept;
  bool gather_headers(Packet& frame) noexcept;

  // ipv6_input.cc
  DropReason ipv6_input(InterfaceId id, Packet& frame, bool group_frame, TimePoint now,
                        RxPacket& out) noexcept;
  bool is_local_v6(const IpAddress& address) const noexcept;
  Target classify_v6(const Interface& port, const IpAddress& destination) const noexcept;

  // fragment_input.cc
  DropReason ipv4_fragment(InterfaceId id, Packet& frame, const RxPacket& header, bool group_frame, TimePoint now,
                           RxPacket& out) noexcept;
  DropReason ipv6_fragment(InterfaceId id, Packet& frame, const Ipv6Chain& chain, RxPacket& out, bool group_frame,
                           TimePoint now) noexcept;
  DropReason ipv6_whole(InterfaceId id, Reassembler::Added& added, Packet& frame, bool group_frame, TimePoint now,
                        RxPacket& out) noexcept;
  DropReason restore_header(Reassembler::Added& added, std::uint32_t header_length) noexcept;
  std::optional<DropReason> steer(InterfaceId id, Packet& frame) noexcept;
  void expire_fragments(TimePoint now) noexcept;

  // icmp.cc
  void send_icmp_error(const RxPacket& offender, const Icmpv4Fields& fields, Counter counter, TimePoint now) noexcept;
  DropReason icmp_input(RxPacket& packet, TimePoint now) noexcept;
  DropReason echo_reply(RxPacket& request, std::uint8_t reply_type, Counter counter, TimePoint now) noexcept;
  Packet quote(const RxPacket& offender, std::uint32_t quoted_max) noexcept;

  // icmpv6.cc
  DropReason icmpv6_input(RxPacket& packet, TimePoint now) noexcept;
  void send_icmpv6_unreachable(const RxPacket& offender, UnreachableCode code, TimePoint now) noexcept;
  void send_icmpv6_error(const RxPacket& offender, Icmpv6Fields fields, Counter counter,
                         TimePoint now) noexcept;

  // nd.cc
  DropReason nd_input(const RxPacket& packet, TimePoint now) noexcept;
  DropReason solicitation_input(const RxPacket& packet, const NeighborMessage& message,
                                TimePoint now) noexcept;
  DropReason advertisement_input(const RxPacket& packet, const NeighborMessage& message,
                                 TimePoint now) noexcept;
  void apply_advertisement(Neighbor& neighbor, const NeighborMessage& message, TimePoint now) noexcept;
  bool is_looped(const Interface& port, const RxPacket& packet) const noexcept;
  void send_nd(Interface& port, const MacAddress& frame_destination, const IpAddress& source,
               const IpAddress& destination, const NeighborMessage& message) noexcept;
  void solicit(Interface& port, Neighbor& neighbor) noexcept;
  void detect_duplicates(Interface& port, V6Address& address, TimePoint now) noexcept;
  void assign(Interface& port, V6Address& address) noexcept;
  void give_up(const Interface& port, V6Address& address) noexcept;

  // core_groups.cc
  static constexpr std::uint16_t primary_core = 0;
  using ListenerBits = std::array<std::uint64_t, 4>;
  bool tell_primary(const Interface& port, const IpAddress& group, const GroupFilter& filter) noexcept;
  void tell_listeners(TimePoint now) noexcept;
  bool give_copy(std::uint16_t core, const RxPacket& packet) noexcept;
  std::optional<std::uint16_t> core_behind(const rte_mbuf* m) const noexcept;
  /// Whom has listens to what has changed: the other cores are to be told.
  void listeners_changed() noexcept {
    if (cores_ > 1 && core_ == primary_core) listeners_due_ = now_;
  }
  DropReason core_message_input(const Packet& frame) noexcept;

  // groups.cc
  struct Refusal {
    ErrorCode code;
    const char* why;
  };
  std::optional<Refusal> try_membership(SlabHandle owner, InterfaceId id, const IpAddress& group,
                                        const GroupFilter& filter) noexcept;
  static bool is_permanent_group(const IpAddress& group) noexcept;
  std::optional<GroupFilter> sum_of(InterfaceId id, const IpAddress& group) const noexcept;
  DropReason igmp_input(const RxPacket& packet, TimePoint now) noexcept;
  DropReason mld_input(const RxPacket& packet, TimePoint now) noexcept;
  DropReason group_query(InterfaceId id, const GroupQuery& query, TimePoint now) noexcept;
  void report_groups(Interface& port, GroupTable& table, TimePoint now) noexcept;
  Packet group_message(bool v4, std::uint32_t size) noexcept;
  void send_group_message(Interface& port, const IpAddress& destination, Packet packet) noexcept;

  // autoconf.cc
  DropReason router_advertisement_input(const RxPacket& packet, TimePoint now) noexcept;
  void note_router(Interface& port, const IpAddress& address, TimePoint until, bool is_default) noexcept;
  void note_on_link(Interface& port, const AdvertisedPrefix& advertised, TimePoint now) noexcept;
  void note_autonomous(Interface& port, const AdvertisedPrefix& advertised, TimePoint now) noexcept;
  void remove_on_link(Autoconf& autoconf, std::size_t index) noexcept;
  bool is_probably_reachable(InterfaceId id, const IpAddress& address) const noexcept;
  void select_router(bool leave_present) noexcept;
  void leave_router(InterfaceId id, const IpAddress& address) noexcept;
  void start_router_discovery(Interface& port) noexcept;
  void solicit_routers(Interface& port, TimePoint now) noexcept;
  void run_autoconf(Interface& port, TimePoint now) noexcept;

  // arp.cc
  DropReason arp_input(InterfaceId id, ByteView packet, TimePoint now) noexcept;
  void send_arp(Interface& interface, const MacAddress& frame_destination, const ArpFields& arp) noexcept;
  void announce(Interface& interface, const V4Address& address) noexcept;
  void announce_all(Interface& interface) noexcept;
  void request(Interface& port, Neighbor& neighbor) noexcept;

  // neighbor.cc
  void learn(Neighbor& neighbor, const MacAddress& mac, bool solicited, TimePoint now) noexcept;
  void send_queue(Neighbor& neighbor, TimePoint now) noexcept;
  void query(Neighbor& neighbor, TimePoint now) noexcept;
  void start_delay(Neighbor& neighbor, TimePoint now) noexcept;
  void set_reachable(Neighbor& neighbor, TimePoint now) noexcept;
  void neighbor_expired(Neighbor& neighbor, TimePoint now) noexcept;

  // ip_output.cc
  DropReason find_next_hop(const IpAddress& destination, RouteCache& cache, TimePoint now) noexcept;
  bool find_neighbor(const Interface& port, const IpAddress& next_hop, bool to_group, TimePoint now,
                     RouteCache& cache) noexcept;
  DropReason send_unconfirmed(Neighbor& neighbor, Packet packet, TimePoint now) noexcept;
  DropReason transmit(Interface& interface, Packet packet) noexcept;
  DropReason hand_to_batch(Interface& interface, Packet& packet) noexcept;
  bool linearise(Packet& packet) noexcept;

  // fragment_output.cc
  [[gnu::cold]] DropReason send_oversized(Packet packet, const IpSend& send, const RouteCache& cache,
                                          TimePoint now) noexcept;
  DropReason transmit_whole_or_cut(Interface& port, Packet packet) noexcept;
  bool must_be_cut(const Interface& port, const Packet& packet) const noexcept;
  DropReason transmit_fragments(Interface& port, Packet packet) noexcept;
  std::uint32_t next_identification(const IpAddress& destination) noexcept;

  // ipv6_output.cc
  DropReason find_next_hop_v6(const IpAddress& destination, const Interface* port, RouteCache& cache,
                              TimePoint now) noexcept;
  const Interface* output_interface_v6(const IpAddress& destination, const Route** route) const noexcept;
  const Interface* link_of(const IpAddress& link_local) const noexcept;
  const V6Address* source_on(const Interface& port, const IpAddress& destination) const noexcept;

  IpOptions options_;
  PacketPool pool_;
  Counters counters_;
  CoreOwner owner_;
  Rng& rng_;
  TimePoint now_;
  std::array<std::unique_ptr<Interface>, interfaces_max> interfaces_;
  std::size_t interface_count_ = 0;
  std::size_t port_count_ = 0;
  bool has_exceptions_ = false;
  std::vector<V4Address> all_v4_;             // of every interface; has room for all
  std::uint32_t route_generation_ = 1;  // before neighbors_, which bumps it
  RouteTable routes_;
  TokenBucket icmp_errors_;
  std::vector<GroupMembership> memberships_;  // room for memberships_max
  bool has_remote_members_ = false;           // some of memberships_ are other cores'
  TimePoint listeners_due_ = TimePoint::never();  // on the primary core: when others are told who listens
  std::vector<ListenerBits> listeners_told_;      // the same: what each core was told last
  ListenerBits listeners_elsewhere_{};            // on the others: what the primary said
  std::bitset<256> accepted_;                 // protocols that somebody above handles
  NeighborTable neighbors_;
  Reassembler reassembler_;
  FrameSteering* steering_ = nullptr;
  std::uint16_t core_ = 0;
  std::uint16_t cores_ = 1;
  std::uint64_t identification_seed_;
  PathMtuTable paths_;
  std::array<std::uint32_t, 64> identifications_;  // of fragmented packets, by a hash of their destination
};

inline void Ip::confirm(const RouteCache& cache, TimePoint now) noexcept {
  if (cache.generation != route_generation_) return;
  Neighbor& neighbor = neighbors_[cache.neighbor];
  if (neighbor.state == NeighborState::reachable) [[likely]]
    neighbor.reachable_until = now + options_.neighbor_reachable;
  else if (neighbor.state != NeighborState::incomplete && neighbor.state != NeighborState::failed)
    set_reachable(neighbor, now);
}

}  // namespace pollux
