// What an application sees of UDP: datagrams, handlers, sockets.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "pollux/base/result.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/filter/socket_filter.h"
#include "pollux/ip/group_table.h"
#include "pollux/ip/interface.h"
#include "pollux/ip/send_status.h"
#include "pollux/packet/bytes.h"
#include "pollux/wire/address.h"

namespace pollux {

class Udp;
class UdpSocket;

/// What one delivery brings: a datagram, or with UdpSocketOptions::coalesce several. The handler may move `data`
/// out (keep it, or send it straight back).
struct Datagram {
  Endpoint remote;
  Endpoint local;  ///< the address and port it was sent to
  InterfaceId interface = 0;
  std::uint8_t ttl = 0;  ///< IPv6: the hop limit
  std::uint8_t tos = 0;  ///< IPv6: the traffic class
  /// Not 0: `data` holds several datagrams of one peer, each of this many octets, the last perhaps of fewer.
  std::uint16_t segment_size = 0;
  TimePoint received;  ///< the time of the turn that took it from the port
  Bytes data;          ///< empty for an empty datagram

  /// How many datagrams `data` holds.
  std::uint32_t count() const noexcept {
    return segment_size == 0 ? 1 : (data.size() + segment_size - 1) / segment_size;
  }
};

/// One datagram to send, for UdpSocket::send_batch.
struct OutgoingDatagram {
  Endpoint remote;
  Bytes data;
  Endpoint local = {};  ///< as in UdpSocket::send_to
};

/// Why a datagram that was sent earlier did not arrive (from ICMP, RFC 1122 4.1.3.3).
enum class UdpError : std::uint8_t {
  port_unreachable,
  host_unreachable,
  network_unreachable,
  protocol_unreachable,
  message_too_large,  ///< for the path, which is known from now on: what follows is cut, see UdpSocket::payload_max
  time_exceeded,
  other
};

/// Callbacks of a socket, on the owning core, during Stack::input. Virtual, one call per burst and socket.
class UdpHandler {
 public:
  virtual ~UdpHandler() = default;
  /// Up to Udp::datagrams_per_call_max deliveries of one burst, in order.
  virtual void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept = 0;
  /// `remote`: where the datagram went that did not arrive.
  virtual void on_error(UdpSocket socket, const Endpoint& remote, UdpError error) noexcept;
};

/// What a socket may change at any time.
struct UdpSocketOptions {
  std::uint8_t ttl = 0;            ///< of datagrams to one host; IPv6: the hop limit; 0: IpOptions::ttl
  std::uint8_t multicast_ttl = 1;  ///< of datagrams to groups; 1: they stay on the link (RFC 1112 6.1); 0: on the host
  bool multicast_loop = true;      ///< what is sent to groups comes to our own sockets too, on whichever core
  std::uint8_t tos = 0;            ///< of what is sent; IPv6: the traffic class
  /// False: what is sent over IPv4 carries no checksum (RFC 768), and over IPv6 with zero_checksum6.
  bool send_checksum = true;
  /// Takes datagrams without a checksum over IPv6 too. For tunnels whose payload protects itself (RFC 6935 5).
  bool zero_checksum6 = false;
  /// A datagram that does not reach its destination in one piece, as far as is known, is refused (`too_large`) instead of
  /// cut into fragments (Linux: IP_PMTUDISC_DO). UdpSocket::payload_max says what fits.
  bool dont_fragment = false;
  /// Joins datagrams of one burst that have one peer and one size into one delivery (Linux: UDP_GRO).
  bool coalesce = false;
  /// Octets that were delivered and that the application still keeps; what arrives beyond them is dropped
  /// (udp_receive_buffer_full). 0: no limit.
  std::uint32_t receive_buffer = 4u << 20;
  /// Which datagrams arrive, the others are dropped (udp_filtered); it sees them from the IP header on. Must outlive
  /// the socket, or be taken away before. nullptr: all.
  const SocketFilter* filter = nullptr;
};

/// A handle: copyable, safe after close (calls then return `closed` or do nothing).
class UdpSocket {
 public:
  static constexpr std::uint32_t segments_max = 64;  ///< of one send_segmented

  UdpSocket() noexcept = default;
  UdpSocket(Udp* udp, SlabHandle handle) noexcept : udp_(udp), handle_(handle) {}

  /// Sends one datagram. `data` is consumed when the result is ok, untouched otherwise. Payload that was
  /// received here goes out in the same mbuf, without a copy. `local` picks the source: an address of ours, and
  /// for a socket on a range one of its ports; unspecified and 0 leave the choice to the socket.
  SendStatus send_to(const Endpoint& remote, Bytes&& data, const Endpoint& local = {}) noexcept;
  /// Copies `data` into the core's pool and sends it.
  SendStatus send_to(const Endpoint& remote, std::span<const std::uint8_t> data,
                     const Endpoint& local = {}) noexcept;
  SendStatus send_to(const Endpoint& remote, std::string_view data, const Endpoint& local = {}) noexcept;
  /// The same to the peer of a connected socket; `no_route` without one.
  SendStatus send(Bytes&& data) noexcept;
  SendStatus send(std::span<const std::uint8_t> data) noexcept;
  SendStatus send(std::string_view data) noexcept;
  /// Sends `data` as datagrams of `segment_size` octets, the last perhaps smaller (Linux: UDP_SEGMENT). Nothing is
  /// copied. `too_large`: a segment is, or there are more than segments_max; `would_block`: the port's batch has
  /// no room for all; both leave `data` untouched. After `no_memory` it holds what was not sent.
  SendStatus send_segmented(const Endpoint& remote, Bytes&& data, std::uint16_t segment_size,
                            const Endpoint& local = {}) noexcept;
  /// Sends datagrams in order until one is refused. Returns how many were sent; `status` (when given) says why
  /// the next was not.
  std::size_t send_batch(std::span<OutgoingDatagram> datagrams, SendStatus* status = nullptr) noexcept;
  /// Until uncork() what is sent gathers into one datagram, to where the first piece goes (Linux: UDP_CORK).
  /// `too_large`: the datagram would be, with this piece; what has gathered stays.
  void cork() noexcept;
  /// Sends what has gathered. `closed`, `ok`, or why it could not be sent: then it is still corked.
  SendStatus uncork() noexcept;

  /// From now on only datagrams of `remote` arrive, and its ICMP errors; a socket on every address takes the
  /// address that the route to it has. A connected socket leaves its port to others. Errors: no route to it, or
  /// another socket has this peer on this port. A socket on a range of ports cannot be connected.
  Result<void> connect(const Endpoint& remote);
  /// Undoes connect(). Error: meanwhile another socket has the port.
  Result<void> disconnect();
  /// Takes what is sent to `group` and arrives at port `interface`, from any source. Without joining, datagrams to
  /// groups other than all hosts' do not arrive, bound to the group's address or not. Errors: see Ip::set_membership.
  Result<void> join(const IpAddress& group, InterfaceId interface = 0);
  Result<void> leave(const IpAddress& group, InterfaceId interface = 0);
  /// The same from the listed sources only (include), or from all others (exclude): RFC 3376 2, RFC 3678. At most
  /// SourceList::capacity. Replaces what was said before about this group; include without a source leaves.
  Result<void> set_source_filter(const IpAddress& group, GroupMode mode, std::span<const IpAddress> sources,
                                 InterfaceId interface = 0);
  /// Octets of the largest datagram to `remote` that is not cut into fragments: by the port's MTU, or what routers said
  /// about the path in the last ten minutes (RFC 1191, RFC 8201). 0: closed, or no route.
  std::uint32_t payload_max(const Endpoint& remote) noexcept;
  void set_options(const UdpSocketOptions& options) noexcept;
  UdpSocketOptions options() const noexcept;

  /// Drops what is corked and leaves all groups.
  void close() noexcept;
  bool is_open() const noexcept;
  /// Host byte order; of a range the first; 0 when closed.
  std::uint16_t local_port() const noexcept;
  /// Unspecified address and port 0: not connected, or closed.
  Endpoint remote() const noexcept;
  bool operator==(const UdpSocket&) const noexcept = default;

 private:
  Udp* udp_ = nullptr;
  SlabHandle handle_;
};

struct UdpBindOptions {
  /// 0.0.0.0 or [::]: every local address of both families. A group's address: what is sent to that group only.
  IpAddress address;
  std::uint16_t port = 0;  ///< 0: an unused port from the ephemeral range
  /// Not 0: every port from `port` to this one, in one socket; Datagram::local says which it was.
  std::uint16_t port_last = 0;
  /// With a port: connected from the start, see UdpSocket::connect. Sockets that differ in their peer may share
  /// an address and port, with each other and with an unconnected one, which gets what they do not.
  Endpoint remote = {};
  /// With others that say so too (at most Udp::shared_max of a port) it may have the same address and port (Linux:
  /// SO_REUSEADDR): each hears the groups that it joined; what comes to one host's address, one of them.
  bool share = false;
  UdpSocketOptions socket = {};
};

}  // namespace pollux
