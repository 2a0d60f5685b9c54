// UDP (RFC 768, RFC 1122 4.1): sockets of one core, batched receive, zero-copy replies.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "pollux/base/counters.h"
#include "pollux/base/hash_index.h"
#include "pollux/base/result.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/ip/send_status.h"
#include "pollux/packet/bytes.h"

namespace pollux {

class Udp;
class UdpSocket;

/// One received datagram. The handler may move `data` out (keep it, or send it straight back).
struct Datagram {
  Endpoint remote;
  IpAddress local;  ///< the destination address it was sent to
  std::uint8_t ttl = 0;
  std::uint8_t tos = 0;
  Bytes data;  ///< empty for an empty datagram
};

/// Why a datagram that was sent earlier did not arrive (from ICMP, RFC 1122 4.1.3.3).
enum class UdpError : std::uint8_t {
  port_unreachable,
  host_unreachable,
  network_unreachable,
  protocol_unreachable,
  message_too_large,
  other
};

/// Callbacks of a socket, on the owning core, during Stack::input. Virtual, one call per burst and socket.
class UdpHandler {
 public:
  virtual ~UdpHandler() = default;
  /// Up to Udp::datagrams_per_call_max datagrams of one burst, in order.
  virtual void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept = 0;
  virtual void on_error(UdpSocket socket, const Endpoint& remote, UdpError error) noexcept;
};

/// A handle: copyable, safe after close (calls then return `closed` or do nothing).
class UdpSocket {
 public:
  UdpSocket() noexcept = default;
  UdpSocket(Udp* udp, SlabHandle handle) noexcept : udp_(udp), handle_(handle) {}

  /// Sends one datagram. `data` is consumed when the result is ok, untouched otherwise. Payload that was
  /// received here goes out in the same mbuf, without a copy. `local` (optional) picks the source address.
  SendStatus send_to(const Endpoint& remote, Bytes&& data, IpAddress local = {}) noexcept;
  /// Copies `data` into the core's pool and sends it.
  SendStatus send_to(const Endpoint& remote, std::span<const std::uint8_t> data,
                     IpAddress local = {}) noexcept;
  SendStatus send_to(const Endpoint& remote, std::string_view data, IpAddress local = {}) noexcept;
  void close() noexcept;
  bool is_open() const noexcept;
  /// Host byte order; 0 when closed.
  std::uint16_t local_port() const noexcept;
  bool operator==(const UdpSocket&) const noexcept = default;

 private:
  Udp* udp_ = nullptr;
  SlabHandle handle_;
};

struct UdpBindOptions {
  IpAddress address;       ///< 0.0.0.0 or [::]: every local address of both families
  std::uint16_t port = 0;  ///< 0: an unused port from the ephemeral range
};

struct UdpOptions {
  std::uint32_t sockets_max = 1024;
  std::uint16_t ephemeral_port_first = 32768;
  std::uint16_t ephemeral_port_last = 60999;
};

/// One core's UDP. Not thread-safe.
class Udp {
 public:
  static constexpr std::size_t datagrams_per_call_max = 64;

  Udp(const UdpOptions& options, Ip& ip, PacketPool pool, Counters& counters, Rng& rng);
  ~Udp();

  /// Opens a socket. `handler` must outlive it. Errors: port taken, address not ours, limit reached.
  Result<UdpSocket> bind(const UdpBindOptions& options, UdpHandler& handler);

  /// Calls f(endpoint) for every socket. Off the data path.
  template <typename F>
  void for_each_socket(F&& f) {
    sockets_.for_each([&](std::uint32_t, Socket& socket) { f(Endpoint{socket.address, socket.port}); });
  }

  // --- For Stack ------------------------------------------------------------------------------------------
  /// One validated IP packet with a UDP header. Datagrams gather until deliver() or a full group.
  void input(RxPacket packet, TimePoint now) noexcept;
  /// End of a burst: hands what has gathered to the handlers.
  void deliver() noexcept;
  /// An ICMP error that quotes one of our datagrams.
  DropReason icmp_error(const IcmpError& error) noexcept;

 private:
  friend class UdpSocket;
  struct Socket {
    UdpHandler* handler;
    IpAddress address;  // unspecified: every local address
    std::uint16_t port;
    // The last destination: most sockets answer one peer many times.
    IpAddress route_to;
    IpAddress route_source;
    RouteCache route;
  };

  // udp.cc
  static std::uint32_t hash(std::uint16_t port) noexcept;
  /// A socket on `port` that `address` would reach or collide with; nil when there is none.
  std::uint32_t find(std::uint16_t port, const IpAddress& address) const noexcept;
  std::uint16_t unused_port(const IpAddress& address) noexcept;
  void close(SlabHandle handle) noexcept;

  // udp_input.cc
  DropReason accept(RxPacket& packet, TimePoint now) noexcept;
  void deliver_group(SlabHandle owner, std::span<Datagram> group) noexcept;

  // udp_output.cc
  SendStatus send_to(SlabHandle handle, const Endpoint& remote, Bytes&& data,
                     const IpAddress& local) noexcept;
  SendStatus choose_route(Socket& socket, const IpAddress& remote, const IpAddress& local,
                          IpAddress& source) noexcept;
  Packet add_header_room(Bytes& data) noexcept;

  UdpOptions options_;
  Ip& ip_;
  PacketPool pool_;
  Counters& counters_;
  Rng& rng_;
  Slab<Socket> sockets_;
  HashIndex ports_;
  std::size_t gathered_ = 0;
  bool delivering_ = false;
  std::array<Datagram, datagrams_per_call_max> datagrams_;  // [0, gathered_), in order of arrival
  std::array<SlabHandle, datagrams_per_call_max> owners_;   // of datagrams_
  std::array<Datagram, datagrams_per_call_max> group_;      // one socket's share while it is delivered
};

}  // namespace pollux
