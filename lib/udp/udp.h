// UDP (RFC 768, RFC 1122 4.1): sockets of one core, batched receive, zero-copy replies.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/base/counters.h"
#include "pollux/base/hash_index.h"
#include "pollux/base/result.h"
#include "pollux/base/siphash.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/ip/send_status.h"
#include "pollux/packet/bytes.h"
#include "pollux/packet/compactor.h"
#include "pollux/udp/socket.h"
#include "pollux/wire/udp.h"

namespace pollux {

struct UdpOptions {
  std::uint32_t sockets_max = 1024;
  std::uint16_t ephemeral_port_first = 32768;
  std::uint16_t ephemeral_port_last = 60999;
  /// Packets of the core's pool that applications may keep of what they received; beyond, datagrams that are small for the
  /// packet they lie in are copied together. 0: a quarter of the pool.
  std::uint32_t kept_packets_max = 0;
};

/// Several cores share our addresses: of the ports that are chosen (port 0 in bind), those with port % cores
/// == core are this core's, and what comes for them is brought here. The default: all.
struct UdpPortShare {
  std::uint16_t core = 0;
  std::uint16_t cores = 1;
};

/// One core's UDP. Not thread-safe.
class Udp {
 public:
  static constexpr std::size_t datagrams_per_call_max = 64;
  static constexpr std::size_t port_ranges_max = 16;  ///< sockets on a range of ports
  static constexpr std::size_t shared_max = 32;       ///< sockets that share a port
  static constexpr std::size_t looped_max =
      32;  ///< own datagrams to groups that wait for the next turn's timers

  Udp(const UdpOptions& options, Ip& ip, PacketPool pool, Counters& counters, Rng& rng,
      UdpPortShare share = {});
  ~Udp();

  /// Opens a socket. `handler` must outlive it. Errors: port taken, address not ours, no route to the peer,
  /// limit reached.
  Result<UdpSocket> bind(const UdpBindOptions& options, UdpHandler& handler);

  /// Calls f(local endpoint) for every socket. Off the data path.
  template <typename F>
  void for_each_socket(F&& f) {
    sockets_.for_each([&](std::uint32_t, Socket& socket) { f(Endpoint{socket.address, socket.port}); });
  }

  // --- For Stack ------------------------------------------------------------------------------------------
  /// One validated IP packet with a UDP header. Datagrams gather until deliver() or a full group.
  void input(RxPacket packet, TimePoint now) noexcept;
  /// End of a burst: hands what has gathered to the handlers.
  void deliver() noexcept;
  /// Delivers what was sent to groups that sockets here have joined.
  void advance(TimePoint now) noexcept {
    if (looped_count_ != 0) [[unlikely]]
      deliver_looped(now);
  }
  /// When advance() has something to do; never() when nothing waits.
  TimePoint next_deadline() const noexcept { return looped_count_ == 0 ? TimePoint::never() : TimePoint(); }
  /// An ICMP error that quotes one of our datagrams.
  DropReason icmp_error(const IcmpError& error) noexcept;
  /// False: a datagram, as it comes out of Ip::input(), for no socket here.
  bool owns(const RxPacket& packet) const noexcept;

 private:
  friend class UdpSocket;
  struct Socket {
    UdpHandler* handler;
    IpAddress address;        // unspecified: every local address
    IpAddress bound_address;  // what bind() was told: disconnect() goes back to it
    std::uint16_t port;
    std::uint16_t port_last;  // == port but for a range
    Endpoint remote = {};     // port 0: not connected
    UdpSocketOptions options = {};
    std::uint32_t kept = 0;  // octets that were delivered and still are with the application
    bool share = false;
    bool corked = false;
    // The last destination: most sockets answer one peer many times.
    IpAddress route_to = {};
    IpAddress route_source = {};
    RouteCache route = {};
    // While corked: what has gathered, and where it goes.
    Bytes gathered = {};
    Endpoint gathered_to = {};
    Endpoint gathered_from = {};

    bool is_connected() const noexcept { return remote.port != 0; }
    bool is_range() const noexcept { return port != port_last; }
  };
  /// nullptr: closed.
  Socket* find(SlabHandle handle) noexcept {
    POLLUX_DCHECK(ip_.owner().is_here());
    return sockets_.find(handle);
  }
  struct Source {
    IpAddress address;
    std::uint16_t port;
  };
  struct Ledger : ChargeLedger {
    explicit Ledger(Udp& u) noexcept : udp(u) {}
    Udp& udp;
  };

  // udp.cc
  static std::uint32_t hash(std::uint16_t port) noexcept;
  std::uint32_t hash(std::uint16_t port, const Endpoint& remote) const noexcept;
  /// An unconnected socket on `port` that `address` would reach or collide with; nil when there is none.
  std::uint32_t find(std::uint16_t port, const IpAddress& address) const noexcept;
  std::uint32_t find_in_ranges(std::uint16_t port, const IpAddress& address) const noexcept;
  std::uint32_t find_connected(std::uint16_t port, const IpAddress& address,
                               const Endpoint& remote) const noexcept;
  /// Who gets what `remote` sends to `port` at `address`.
  std::uint32_t find_receiver(std::uint16_t port, const IpAddress& address,
                              const Endpoint& remote) const noexcept {
    if (flows_.size() != 0)
      if (const std::uint32_t index = find_connected(port, address, remote); index != Slab<Socket>::nil)
        return index;
    return find(port, address);
  }
  Result<void> check(const UdpBindOptions& options) const;
  Result<IpAddress> address_towards(const Endpoint& remote, const IpAddress& bound) const;
  /// Nobody has one of the ports `port` to `last`, or only who shares it with a socket that does so too.
  bool is_free(std::uint16_t port, std::uint16_t last, const IpAddress& address, bool share) const noexcept;
  /// Everybody who gets what was sent to a group or broadcast address; how many.
  using Receivers = std::array<SlabHandle, shared_max + port_ranges_max>;
  std::size_t find_receivers(const RxPacket& packet, std::uint16_t port, Receivers& receivers) const noexcept;
  std::uint16_t unused_port() noexcept;
  void enter(std::uint32_t index) noexcept;
  void leave(std::uint32_t index) noexcept;
  Result<void> connect(SlabHandle handle, const Endpoint& remote);
  Result<void> disconnect(SlabHandle handle);
  void close(SlabHandle handle) noexcept;
  static void release(ChargeLedger& ledger, SlabHandle owner, std::uint32_t octets) noexcept;

  // udp_input.cc
  void take(RxPacket& packet, TimePoint now, bool wanted_elsewhere) noexcept;
  DropReason accept(RxPacket& packet, TimePoint now) noexcept;
  DropReason accept_shared(RxPacket& packet, const UdpView& udp, TimePoint now) noexcept;
  DropReason hand_to(std::uint32_t index, RxPacket& packet, const UdpView& udp, TimePoint now) noexcept;
  void count(DropReason reason) noexcept;
  void deliver_looped(TimePoint now) noexcept;
  static bool passes(const SocketFilter& filter, RxPacket& in) noexcept;
  bool coalesce(SlabHandle owner, const Datagram& datagram, Packet& payload) noexcept;
  void deliver_group(SlabHandle owner, std::span<Datagram> group) noexcept;

  // udp_output.cc
  SendStatus send_to(SlabHandle handle, const Endpoint& remote, Bytes&& data, const Endpoint& local) noexcept;
  SendStatus send_now(Socket& socket, const Endpoint& remote, Bytes&& data, const Endpoint& local) noexcept;
  SendStatus send_segmented(SlabHandle handle, const Endpoint& remote, Bytes&& data,
                            std::uint16_t segment_size, const Endpoint& local) noexcept;
  SendStatus gather(Socket& socket, const Endpoint& remote, Bytes&& data, const Endpoint& local) noexcept;
  SendStatus uncork(SlabHandle handle) noexcept;
  SendStatus choose_source(Socket& socket, const Endpoint& remote, const Endpoint& local,
                           Source& source) noexcept;
  SendStatus choose_route(Socket& socket, const IpAddress& remote) noexcept;
  SendStatus transmit(Socket& socket, const Endpoint& remote, const Source& source, Bytes&& data) noexcept;
  void transmit(Socket& socket, const Endpoint& remote, const Source& source, Packet packet) noexcept;
  std::uint32_t payload_max(const Socket& socket, const Endpoint& remote) const noexcept;
  static void give_back(Bytes& data, Bytes&& front) noexcept;
  SendStatus refuse(SendStatus status) noexcept;
  void loop_back(const Packet& packet, const IpSend& send, InterfaceId interface) noexcept;
  Packet add_header_room(Bytes& data) noexcept;
  void compact(Packet& payload) noexcept;

  UdpOptions options_;
  UdpPortShare share_;
  Ip& ip_;
  PacketPool pool_;
  Counters& counters_;
  Rng& rng_;
  Ledger ledger_;
  Compactor compactor_;
  std::uint32_t kept_max_;                 // mbufs that applications may keep before small datagrams are copied
  SipKey flow_key_;
  Slab<Socket> sockets_;
  HashIndex ports_;                        // unconnected sockets on one port, by port
  HashIndex flows_;                        // connected ones, by port and peer
  std::vector<std::uint32_t> ranges_;      // unconnected ones on a range; room for port_ranges_max
  std::vector<std::uint16_t> port_users_;  // sockets of each port, those on ranges not counted
  std::uint32_t shared_count_ = 0;         // sockets that share their port
  std::size_t gathered_ = 0;
  bool delivering_ = false;
  std::array<Datagram, datagrams_per_call_max> datagrams_;  // [0, gathered_), in order of arrival
  std::array<SlabHandle, datagrams_per_call_max> owners_;   // of datagrams_
  std::array<Datagram, datagrams_per_call_max> group_;      // one socket's share while it is delivered
  std::size_t looped_count_ = 0;
  std::array<RxPacket, looped_max> looped_;  // [0, looped_count_), in order of sending
};

}  // namespace pollux
