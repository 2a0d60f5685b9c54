// Which core owns a flow. There is one answer, computed here in software; a network card's RSS, the local ports of
// connections that this side opens and the handing over between cores (handover.h) are all made to agree with it.
//
// The hash is Toeplitz (what network cards compute) with the key 0x6d5a repeated. That key has a period of 16 bits,
// so a hash depends only on the exclusive or of the 16-bit words that go into it: both directions of a flow hash
// alike, and the whole of it costs a fold and two table look-ups.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "pollux/wire/address.h"
#include "pollux/wire/ipv4.h"

namespace pollux {

/// What a frame's first octets say about its owner.
struct FrameOwner {
  enum class Kind : std::uint8_t {
    flow,      ///< belongs to one core by `hash`, the very hash that RSS computes
    /// The same, but RSS may bring it elsewhere: an ICMP error belongs to the core of the flow it quotes, what is sent
    /// to a group to the primary core, which has copies for the others.
    quoted,
    /// ARP and neighbour discovery: the primary core answers, every core learns. And what routers say about the path of
    /// datagrams, since any core may send to their destination.
    everyone,
    other,     ///< neither IP nor ARP, or cut short: the primary core's
  };
  Kind kind = Kind::other;
  std::uint16_t core = 0;
  std::uint32_t hash = 0;  ///< of `flow` and `quoted`
};

/// Hash fields of RSS besides the two addresses: a driver may hash the ports of some protocols only. Fragments and
/// other protocols are hashed by addresses alone, so all fragments of a packet reach one core.
struct HashFields {
  bool tcp_ports = true;
  bool udp_ports = true;
};

/// Ports of our own UDP sockets that are chosen for them; 0 to 0: none. Each belongs to one core, whoever the peer is.
struct ChosenUdpPorts {
  std::uint16_t first = 0;
  std::uint16_t last = 0;
};

/// Immutable; shared by all cores of a Runtime.
class Steering {
 public:
  static constexpr std::uint32_t buckets_max = 128;  ///< power of two; the indirection table's size on most cards
  static constexpr unsigned cores_max = 128;
  /// Answers ARP, and owns what belongs to no flow.
  static constexpr std::uint16_t primary_core = 0;

  /// Buckets go to `cores` (1..cores_max) in turn. `buckets`: a power of two, at least 2.
  explicit Steering(unsigned cores, std::uint32_t buckets = buckets_max, HashFields fields = {},
                    ChosenUdpPorts udp_ports = {});

  /// The Toeplitz key for a card that wants `octets.size()` of them.
  static void fill_key(std::span<std::uint8_t> octets) noexcept;
  /// The 32-bit Toeplitz hash of 16-bit words (in host order) whose exclusive or is `folded`.
  static std::uint32_t hash(std::uint16_t folded) noexcept;
  /// The exclusive or of an address's 16-bit words.
  static std::uint16_t fold(const IpAddress& address) noexcept;

  /// Reads the frame's headers (VLAN tags are skipped). `octets`: its first contiguous piece.
  FrameOwner owner_of_frame(std::span<const std::uint8_t> octets) const noexcept;
  /// Of the flow between two endpoints, in either order.
  std::uint16_t owner_of_flow(IpProtocol protocol, const Endpoint& one, const Endpoint& other) const noexcept;
  /// Whose socket a chosen port belongs to (see UdpPortShare).
  std::uint16_t owner_of_udp_port(std::uint16_t port) const noexcept {
    return static_cast<std::uint16_t>(port % cores_);
  }
  std::uint16_t owner_of_bucket(std::uint32_t bucket) const noexcept { return owners_[bucket & mask_]; }
  std::uint32_t bucket_of_hash(std::uint32_t hash) const noexcept { return hash & mask_; }

  unsigned cores() const noexcept { return cores_; }
  std::uint32_t buckets() const noexcept { return mask_ + 1; }
  HashFields fields() const noexcept { return fields_; }

 private:
  bool hashes_ports(std::uint8_t protocol) const noexcept {
    return (protocol == static_cast<std::uint8_t>(IpProtocol::tcp) && fields_.tcp_ports) ||
           (protocol == static_cast<std::uint8_t>(IpProtocol::udp) && fields_.udp_ports);
  }
  FrameOwner owned(FrameOwner::Kind kind, std::uint16_t folded) const noexcept;
  bool is_chosen(std::uint8_t protocol, const std::uint8_t* ports, bool quote) const noexcept;
  FrameOwner ipv4_owner(const std::uint8_t* ip, std::size_t size, FrameOwner::Kind kind) const noexcept;
  FrameOwner ipv6_owner(const std::uint8_t* ip, std::size_t size, FrameOwner::Kind kind) const noexcept;

  unsigned cores_;
  std::uint32_t mask_;
  HashFields fields_;
  ChosenUdpPorts udp_ports_;
  std::array<std::uint16_t, buckets_max> owners_{};
};

}  // namespace pollux
