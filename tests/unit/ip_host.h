// One Ip (and Udp) with one port on a heap pool, fed by frames that the test builds, in virtual time.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <vector>

#include "pollux/ip/ip.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/icmpv4.h"
#include "pollux/wire/ipv4.h"
#include "support/heap_pool.h"

namespace pollux::test {

using Frame = std::vector<std::uint8_t>;

inline constexpr MacAddress our_mac{{0x02, 0, 0, 0, 0, 0x01}};
inline constexpr MacAddress peer_mac{{0x02, 0, 0, 0, 0, 0x02}};
inline constexpr MacAddress other_mac{{0x02, 0, 0, 0, 0, 0x03}};
inline constexpr IpAddress our_ip = IpAddress::v4(192, 0, 2, 1);
inline constexpr IpAddress peer_ip = IpAddress::v4(192, 0, 2, 2);
inline constexpr IpAddress gateway_ip = IpAddress::v4(192, 0, 2, 254);
inline constexpr IpAddress subnet_broadcast = IpAddress::v4(192, 0, 2, 255);
inline constexpr IpAddress remote_ip = IpAddress::v4(198, 51, 100, 9);  // behind the gateway

inline InterfaceConfig our_port() {
  return {.name = "port0", .mac = our_mac, .address = {our_ip, 24}, .mtu = 1500, .offloads = {}};
}

struct Ipv4Spec {
  MacAddress mac_destination = our_mac;
  IpAddress source = peer_ip;
  IpAddress destination = our_ip;
  std::uint8_t protocol = 6;
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  Frame payload = Frame(20, 0);
  Frame options = {};                                // a multiple of 4 octets
  std::function<void(std::uint8_t* ip)> spoil = {};  // changes the header before its checksum is computed
};
Frame ipv4_frame(const Ipv4Spec& spec);
/// `rest` is octets 4..7 of the header; the checksum is right.
Frame icmp_message(Icmpv4Type type, std::uint8_t code, std::uint32_t rest, const Frame& body);
Frame icmp_frame(Icmpv4Type type, std::uint8_t code, std::uint32_t rest, const Frame& body);
Frame udp_datagram(const Endpoint& source, const Endpoint& destination, const Frame& payload,
                   bool checksum = true);
Frame udp_frame(const Endpoint& source, const Endpoint& destination, const Frame& payload);
Frame arp_frame(const ArpFields& arp, const MacAddress& mac_destination);
Frame arp_request(const MacAddress& mac, const IpAddress& from, const IpAddress& target);
Frame arp_reply(const MacAddress& mac, const IpAddress& from);  // to us
/// 0, 1, 2, ...
Frame pattern(std::size_t size);

/// Views of a frame that must be well-formed; checksums are verified.
EthernetView ethernet_of(const Frame& frame);
ArpView arp_of(const Frame& frame);
Ipv4View ipv4_of(const Frame& frame);
Frame ip_payload_of(const Frame& frame);

struct SentFrame {
  Frame bytes;
  std::uint64_t ol_flags = 0;
  std::uint16_t vlan_tci = 0;
  std::uint32_t l2_len = 0, l3_len = 0, l4_len = 0, segments = 0;
  const void* buffer = nullptr;  // of the first segment
};

class IpHost {
 public:
  explicit IpHost(const IpOptions& options = {}, const InterfaceConfig& port = our_port());

  /// Gives the frame to the stack; true when a packet for a transport came out, in `rx`.
  bool input(const Frame& frame) { return input(heap.exact_copy_of(frame)); }
  bool input(Packet packet) { return ip.input(0, std::move(packet), now, rx); }
  /// The same, in segments of the given sizes and a last one with the rest.
  bool input_split(const Frame& frame, const std::vector<std::size_t>& sizes);
  /// Takes the frames that wait for the port.
  std::vector<SentFrame> sent(InterfaceId id = 0);
  /// Lets time pass, timers firing when they are due.
  void run_for(Duration duration);
  /// Makes the peer (or another) a reachable neighbour by a real exchange; takes the frames it caused.
  void make_reachable(const IpAddress& address, const MacAddress& mac);
  DropReason send(const IpAddress& destination, const Frame& payload, std::uint8_t protocol = 17);
  NeighborState state_of(const IpAddress& address);
  bool knows(const IpAddress& address) { return ip.neighbors().find(0, address) != NeighborTable::nil; }
  std::uint64_t drops(DropReason reason) const { return counters[reason]; }
  Packet packet_of(const Frame& bytes);  // with headroom and tailroom

  HeapPool heap;  // first: outlives every packet
  Rng rng{42};
  TimePoint now = TimePoint::from_ns(1'000'000'000'000);
  Ip ip;
  Counters& counters = ip.counters();
  RxPacket rx;
};

}  // namespace pollux::test
