// Segments that arrived ahead of a gap, kept in sequence order without overlaps until the gap fills.
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/slab.h"
#include "pollux/packet/packet.h"
#include "pollux/wire/tcp.h"

namespace pollux {

/// One kept stretch of the peer's octets.
struct OutOfOrderSegment {
  OutOfOrderSegment(Packet p, SeqNum s, std::uint32_t l) noexcept : packet(std::move(p)), start(s), length(l) {}
  Packet packet;
  SeqNum start;
  std::uint32_t length;
  std::uint32_t next = 0xffffffffu;
  std::uint16_t arrival = 0;  ///< counts up within the connection: what came latest is reported first

  SeqNum end() const noexcept { return start + length; }
};

/// The segments of all connections of a core come from one slab, so that memory is bounded per core.
using OutOfOrderSlab = Slab<OutOfOrderSegment>;

/// A connection's list within that slab: 12 octets, empty on nearly every connection. Stretches are disjoint and
/// ascending. Octets that arrived first are kept; later copies of them are cut off.
class OutOfOrderQueue {
 public:
  enum class Insert : std::uint8_t { kept, duplicate, refused };

  bool empty() const noexcept { return head_ == OutOfOrderSlab::nil; }
  std::uint32_t count() const noexcept { return count_; }
  SeqNum first_start(const OutOfOrderSlab& slab) const noexcept { return slab[head_].start; }

  /// Adds `packet` (payload only) at `start`; `limit` is the most stretches this connection may keep. `overlapped`
  /// is set when part of it was there already. On `duplicate` and `refused` the packet is dropped.
  Insert insert(OutOfOrderSlab& slab, Packet packet, SeqNum start, std::uint16_t limit, bool& overlapped) noexcept;
  /// Takes the first stretch if it starts at or before `next`, cut to begin there; null otherwise. Stretches that
  /// end at or before `next` are dropped.
  Packet take(OutOfOrderSlab& slab, SeqNum next) noexcept;
  /// Fills `blocks` with the contiguous ranges that are kept, the one with the latest arrival first (RFC 2018 4);
  /// returns how many.
  std::size_t latest(const OutOfOrderSlab& slab, std::span<SackBlock> blocks) const noexcept;
  void clear(OutOfOrderSlab& slab) noexcept;

 private:
  void erase_head(OutOfOrderSlab& slab) noexcept;

  std::uint32_t head_ = OutOfOrderSlab::nil;
  std::uint32_t tail_ = OutOfOrderSlab::nil;
  std::uint16_t count_ = 0;
  std::uint16_t arrivals_ = 0;
};

}  // namespace pollux
