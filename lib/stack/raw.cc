#include "pollux/stack/raw.h"

#include <algorithm>
#include <string>
#include <utility>

#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/ipv6.h"

namespace pollux {
namespace {

constexpr std::uint32_t lower_headers_size = EthernetFields::size + Ipv6Fields::size;  // the larger family's
constexpr std::uint32_t length_max = 65535;  // of an IPv4 packet; of an IPv6 payload
constexpr std::uint8_t stack_protocols[] = {0, 1, 2, 6, 17, 43, 44, 50, 51, 58, 59, 60};

}  // namespace

Result<void> Raw::open(std::uint8_t protocol, RawHandler& handler) {
  POLLUX_CHECK(ip_.owner().is_here(), "open() of IP protocol %u: called on another core than the stack's", protocol);
  const std::string what = "IP protocol " + std::to_string(protocol) + ": ";
  if (std::ranges::find(stack_protocols, protocol) != std::end(stack_protocols))
    return failure(ErrorCode::invalid_argument, what + "is the stack's own");
  if (handlers_[protocol] != nullptr) return failure(ErrorCode::address_in_use, what + "has a handler");
  handlers_[protocol] = &handler;
  ip_.accept_protocol(protocol, true);
  return {};
}

void Raw::close(std::uint8_t protocol) noexcept {
  POLLUX_DCHECK(ip_.owner().is_here());
  if (handlers_[protocol] == nullptr) return;
  handlers_[protocol] = nullptr;
  ip_.accept_protocol(protocol, false);
}

void Raw::input(RxPacket in, TimePoint now) noexcept {
  RawHandler* const handler = handlers_[in.protocol];
  if (handler == nullptr)
    return counters_.drop(DropReason::ip_unknown_protocol);  // Ip accepts what open() said
  counters_.add(Counter::raw_in_packets);
  if (in.packet.size() == 0) in.packet.reset();
  handler->on_packet(*this, {.remote = in.source,
                             .local = in.destination,
                             .interface = in.interface,
                             .protocol = in.protocol,
                             .ttl = in.ttl,
                             .tos = in.tos,
                             .received = now,
                             .data = Bytes(std::move(in.packet))});
}

SendStatus Raw::send(const RawSend& to, Bytes&& data) noexcept {
  POLLUX_DCHECK(ip_.owner().is_here());
  const auto chosen = ip_.source_for(to.remote);
  RouteCache route;
  if (to.remote.is_unspecified() || !chosen || !ip_.resolve(to.remote, route, ip_.now()))
    return SendStatus::no_route;
  const bool v4 = to.remote.is_v4();
  IpAddress source = *chosen;
  if (!to.local.is_unspecified() && !ip_.is_group(to.local)) {
    if (to.local.is_v4() != v4 || !ip_.is_local(to.local)) return SendStatus::no_route;
    source = to.local;
  }
  const std::uint32_t header = v4 ? std::uint32_t{Ipv4Fields::size} : 0;  // that the length field counts
  if (data.size() + header > length_max) return SendStatus::too_large;
  const bool whole = ip_.leaves_whole(to.remote, data.size(), route.interface);
  if (!whole && to.dont_fragment) return SendStatus::too_large;
  if (ip_.tx(route.interface).room() < ip_.fragment_count(to.remote, data.size(), route.interface))
    return SendStatus::would_block;
  // The payload's own mbuf carries the headers where it may, as in lib/udp; else a fresh one in front does.
  Packet packet;
  const rte_mbuf* const head = data.packet().mbuf();
  if (!data.empty() && Packet::is_writable(head) && rte_pktmbuf_headroom(head) >= lower_headers_size) {
    packet = data.take_packet();
    packet.mbuf()->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  } else {
    packet = pool_.alloc();
    if (!packet) return SendStatus::no_memory;
    if (!data.empty()) {
      Packet payload = data.take_packet();
      const bool chained = packet.chain(payload);
      POLLUX_DCHECK(chained);  // fewer octets than segments allowed
      (void)chained;
    }
  }
  counters_.add(Counter::raw_out_packets);
  const std::uint8_t ttl = to.ttl != 0 ? to.ttl : to.remote.is_multicast() ? std::uint8_t{1} : ip_.ttl();
  // What IP drops from here on it counts; a packet was never promised to arrive.
  const IpSend send{.source = source,
                    .destination = to.remote,
                    .protocol = to.protocol,
                    .ttl = ttl,
                    .tos = to.tos,
                    .may_fragment = !to.dont_fragment};
  if (whole)
    (void)ip_.send(std::move(packet), send, route, ip_.now());
  else
    (void)ip_.send_fragmented(std::move(packet), send, route, ip_.now());
  return SendStatus::ok;
}

void RawHandler::on_error(Raw&, const IcmpError&) noexcept {}

DropReason Raw::icmp_error(const IcmpError& error) noexcept {
  RawHandler* const handler = handlers_[error.quoted.protocol];
  if (handler == nullptr || !ip_.is_local(error.quoted.source)) return DropReason::icmp_no_match;
  if (error.problem == IcmpProblem::packet_too_big)
    if (const DropReason reason = ip_.learn_path_mtu(error); reason != DropReason::none) return reason;
  handler->on_error(*this, error);
  return DropReason::none;
}

}  // namespace pollux
