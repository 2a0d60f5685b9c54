// Datagrams that arrive in fragments, of both families (RFC 791 3.2, RFC 815, RFC 8200 4.5, RFC 5722): keeps what
// came until a datagram is whole. lib/ip/fragment_input.cc decides what becomes of both.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/base/counters.h"
#include "pollux/base/hash_index.h"
#include "pollux/base/intrusive_list.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/interface.h"
#include "pollux/packet/packet.h"
#include "pollux/wire/address.h"

namespace pollux {

/// What the headers of a fragment say.
struct FragmentInfo {
  IpAddress source;
  IpAddress destination;
  std::uint32_t identification = 0;
  std::uint8_t protocol = 0;  ///< part of an IPv4 datagram's name (RFC 791); 0 for IPv6
  bool more = false;
  bool to_group = false;
  std::uint8_t ecn = 0;             ///< the two lower bits of TOS or traffic class
  InterfaceId interface = 0;
  std::uint32_t offset = 0;         ///< octets, a multiple of 8
  std::uint16_t header_length = 0;  ///< octets of IP headers in front of the packet's data()
};

/// Not thread-safe; one per core. Memory is taken at construction.
class Reassembler {
 public:
  /// Fragments of one datagram: enough for 65,535 octets over links with the smallest MTU that IPv4 hosts may count on.
  static constexpr std::uint32_t fragments_per_datagram_max = 128;

  struct Limits {
    std::uint32_t datagrams_max = 256;   ///< incomplete at a time; then the oldest is given up
    std::uint32_t fragments_max = 2048;  ///< kept in all; then the oldest datagram is given up
    std::uint32_t source_max = 512;      ///< kept of one source (of 256 groups of sources); then its oldest is given up
    Duration timeout = Duration::from_s(60);
  };

  /// A datagram whose time is over.
  struct Expired {
    FragmentInfo info;
    Packet first;  ///< its fragment at offset 0, which `info` is about; null when that never came
  };
  struct Added {
    DropReason reason = DropReason::none;  ///< why this fragment was not kept
    Packet whole;           ///< the payload of the datagram that this fragment completed, in order; else null
    FragmentInfo first;     ///< of `whole`; its header still lies in front of its data()
    std::uint8_t ecn_seen = 0;  ///< of `whole`, bit n: a fragment had ECN field n (RFC 3168 5.3)
  };

  /// Counts in `counters` what it drops of what it has kept, and every failure.
  Reassembler(const Limits& limits, std::uint32_t hash_seed, Counters& counters);
  ~Reassembler();

  /// Takes a fragment: `packet` is its payload, not empty, within 65,535 octets from offset 0, and a multiple of 8
  /// octets unless it is the last. RFC 5722 3: one that overlaps another condemns the datagram; what is kept of it and
  /// what still comes of it until its time is over is dropped. The exact repetition of a fragment is dropped
  /// alone (RFC 8200 4.5 allows it). Bounded work: a walk over the datagram's fragments, none when they come in
  /// order; over the datagrams when the source has reached its limit.
  Added add(const FragmentInfo& info, Packet packet, TimePoint now) noexcept;

  /// Gives up one datagram whose time is over at `now` and returns true with it in `out`.
  bool expire_one(TimePoint now, Expired& out) noexcept;
  /// When the oldest datagram's time is over.
  TimePoint next_deadline() const noexcept { return oldest_expiry_; }

  std::uint32_t datagrams() const noexcept { return datagrams_.size(); }
  std::uint32_t fragments() const noexcept { return fragments_.size(); }

 private:
  struct Fragment {
    Packet packet;
    std::uint32_t offset;
    std::uint32_t end;
    std::uint32_t next;  // in order of offset
  };
  struct Datagram {
    FragmentInfo info;  // of the first fragment once that came; before, of the one that came first
    std::uint32_t hash = 0;
    TimePoint expires;
    std::uint32_t head = nil;  // fragments in order of offset
    std::uint32_t tail = nil;
    std::uint32_t count = 0;
    std::uint32_t received = 0;  // octets
    std::uint32_t length = 0;    // octets of the whole; 0 until its last fragment came
    std::uint8_t ecn_seen = 0;
    bool condemned = false;
    ListNode age;
  };
  static constexpr std::uint32_t nil = Slab<Fragment>::nil;

  std::uint32_t hash(const FragmentInfo& info) const noexcept;
  std::uint8_t bucket_of(const IpAddress& source) const noexcept;
  Datagram* find_or_make(const FragmentInfo& info, TimePoint now) noexcept;
  DropReason check(const Datagram& datagram, const FragmentInfo& info, std::uint32_t end,
                   std::uint32_t& before) const noexcept;
  DropReason make_room(const Datagram& keep) noexcept;
  void insert(Datagram& datagram, const FragmentInfo& info, Packet packet, std::uint32_t before) noexcept;
  void take_whole(Datagram& datagram, Added& added) noexcept;
  void drop_fragments(Datagram& datagram, DropReason reason) noexcept;
  void free_fragments(Datagram& datagram) noexcept;
  void give_up(Datagram& datagram, DropReason reason) noexcept;
  void forget(Datagram& datagram) noexcept;
  void count_failure(const Datagram& datagram) noexcept;

  Limits limits_;
  std::uint32_t hash_seed_;
  Counters& counters_;
  TimePoint oldest_expiry_ = TimePoint::never();
  IntrusiveList<Datagram, &Datagram::age> ages_;  // oldest first; all live equally long
  std::array<std::uint32_t, 256> kept_of_source_{};  // fragments, by bucket_of()
  HashIndex index_;
  Slab<Fragment> fragments_;
  Slab<Datagram> datagrams_;
};

}  // namespace pollux
