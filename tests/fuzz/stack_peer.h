// The other end of the wire in fuzz_stack: knows from what the stack sent where each flow stands, so that a
// few input octets make a segment that the stack accepts, or one that is off by a little. Also judges what
// the stack sends.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "fuzz.h"
#include "support/frame.h"

namespace pollux::fuzz {

/// The TCP connection between two ports, as seen on the wire.
struct Flow {
  std::uint16_t local_port = 0;   // the stack's
  std::uint16_t remote_port = 0;  // the peer's
  bool syn_seen = false;
  std::uint32_t isn = 0;           // of the stack
  std::uint32_t next = 0;          // behind the last octet the stack sent: what the peer acknowledges
  std::uint32_t wanted = 0;        // what the stack acknowledged last: what the peer sends next
  std::uint32_t acknowledged = 0;  // by the peer's last segment
  std::uint32_t ts_value = 0;      // the stack's last timestamp
};

/// What applications gave to each connection to send: the stream that the wire must show.
class SentStreams {
 public:
  /// `connection` names one connection between the two ports; another one starts an empty stream.
  void append(std::uint16_t local_port, std::uint16_t remote_port, std::uint64_t connection,
              std::span<const std::uint8_t> octets);
  /// True when `octets` are those at `offset` of the ports' latest stream.
  bool holds(std::uint16_t local_port, std::uint16_t remote_port, std::uint32_t offset,
             std::span<const std::uint8_t> octets) const;

 private:
  struct Stream {
    std::uint64_t connection = 0;
    std::vector<std::uint8_t> octets;
  };
  std::map<std::pair<std::uint16_t, std::uint16_t>, Stream> streams_;
};

class StackPeer {
 public:
  static constexpr std::uint16_t mtu = 1500;
  static constexpr std::size_t flows_max = 16;
  static constexpr std::uint16_t v6_ports = 45000;  ///< the peer's ports of flows over IPv6: this and 999 more

  static const test::LinkIds to_stack;
  static const test::LinkIds to_stack_v6;
  /// The octet that the peer sends at sequence number `seq`: what arrives at an application counts up by one.
  static std::uint8_t payload_octet(std::uint32_t seq) noexcept { return static_cast<std::uint8_t>(seq); }

  /// Learns from a frame that the stack sent; aborts when a correct stack cannot have sent it.
  void observe(test::FrameView frame);
  /// What the peer's link answers by itself (ARP replies), to be fed to the stack.
  std::vector<test::Frame> take_answers() { return std::exchange(answers_, {}); }

  SentStreams& sent_streams() noexcept { return sent_; }

  /// What follows goes over IPv6, as do new flows; a flow keeps its family.
  void use_v6(bool v6) noexcept { v6_ = v6; }
  test::Frame tcp_segment(Reader& in);
  test::Frame udp_datagram(Reader& in);
  test::Frame icmp_echo(Reader& in);
  test::Frame icmp_error(Reader& in);
  /// ARP, or neighbour discovery.
  test::Frame arp(Reader& in);
  /// Right Ethernet and IP headers around whatever the input says.
  test::Frame ip_packet(Reader& in);
  /// A piece, wherever the input cuts it, of one of four datagrams that are right as a whole.
  test::Frame fragment(Reader& in);

  /// True once a frame was made whose TCP payload need not follow payload_octet().
  bool may_have_forged() const noexcept { return forged_; }
  void note_forgery() noexcept { forged_ = true; }

 private:
  const test::LinkIds& ids() const noexcept { return v6_ ? to_stack_v6 : to_stack; }
  test::Frame neighbor_discovery(Reader& in);
  test::Frame router_advertisement(Reader& in);
  Flow& flow(std::uint16_t local_port, std::uint16_t remote_port);
  Flow& choose_flow(std::uint8_t selector);
  void observe_tcp(const test::Decoded& segment);

  SentStreams sent_;
  std::vector<Flow> flows_;
  std::size_t oldest_ = 0;
  std::vector<test::Frame> answers_;
  std::uint32_t ts_clock_ = 1;
  bool forged_ = false;
  bool v6_ = false;
};

}  // namespace pollux::fuzz
