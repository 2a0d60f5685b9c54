// Raw IP: handlers for protocols that the stack does not speak itself (OSPF, GRE, ...), over both families.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/base/counters.h"
#include "pollux/base/result.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/ip/send_status.h"
#include "pollux/packet/bytes.h"

namespace pollux {

class Raw;

/// One received IP packet without its IP header. The handler may move `data` out.
struct RawPacket {
  IpAddress remote;
  IpAddress local;  ///< the destination address it was sent to
  InterfaceId interface = 0;
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 0;  ///< IPv6: the hop limit
  std::uint8_t tos = 0;  ///< IPv6: the traffic class
  TimePoint received;    ///< the time of the turn that took it from the port
  Bytes data;            ///< empty for an empty packet
};

/// Called on the owning core, during Stack::input, for each packet.
class RawHandler {
 public:
  virtual ~RawHandler() = default;
  virtual void on_packet(Raw& raw, RawPacket packet) noexcept = 0;
  /// An ICMP error quotes a packet of one of our addresses and this protocol.
  virtual void on_error(Raw& raw, const IcmpError& error) noexcept;
};

/// What to send, besides the octets.
struct RawSend {
  IpAddress remote;
  std::uint8_t protocol = 0;
  IpAddress local = {};   ///< unspecified: the address of the route
  std::uint8_t ttl = 0;   ///< 0: IpOptions::ttl; to groups 1 (RFC 1112 6.1)
  std::uint8_t tos = 0;
  bool dont_fragment = false;  ///< what does not reach its destination in one piece is refused (`too_large`), not cut
};

/// One core's. Not thread-safe. Each core's handlers get what reaches that core.
class Raw {
 public:
  Raw(Ip& ip, PacketPool pool, Counters& counters) noexcept : ip_(ip), pool_(pool), counters_(counters) {}

  /// Gives packets of `protocol` (both families) to `handler`, which must outlive the stack or close(). Without a
  /// handler they are answered by protocol unreachable. Errors: another handler has it, or it is one of the stack's
  /// own: ICMP, IGMP, TCP, UDP, ICMPv6, and IPv6's extension headers.
  Result<void> open(std::uint8_t protocol, RawHandler& handler);
  void close(std::uint8_t protocol) noexcept;

  /// Sends one packet: `data` behind an IP header, in fragments beyond the MTU of the port or the path. `data` is consumed when the result is ok, untouched otherwise.
  SendStatus send(const RawSend& to, Bytes&& data) noexcept;

  // --- For Stack ------------------------------------------------------------------------------------------
  /// A packet of a protocol with a handler.
  void input(RxPacket packet, TimePoint now) noexcept;
  /// An ICMP error that quotes a protocol of no other transport.
  DropReason icmp_error(const IcmpError& error) noexcept;

 private:
  Ip& ip_;
  PacketPool pool_;
  Counters& counters_;
  std::array<RawHandler*, 256> handlers_{};
};

}  // namespace pollux
