// Compactor: copies small payloads side by side into mbufs, so that who keeps many of them keeps few mbufs.
#pragma once

#include "pollux/packet/packet.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Holds at most one data mbuf that is not yet full. One core's; gone before the pool is.
class Compactor {
 public:
  /// A copy of `payload` (not empty) in mbufs that it shares with other copies: clones that point into them, each of which
  /// keeps its whole mbuf until it is dropped. Never writable. Null when a pool is exhausted.
  Packet copy_of(PacketPool& pool, const Packet& payload) noexcept;

 private:
  Packet open_;
};

}  // namespace pollux
