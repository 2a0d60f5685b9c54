// Room for a header in front of a packet, whoever owns its buffer.
#pragma once

#include <cstdint>

#include "pollux/packet/packet.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// The cold half of prepend_header(): a fresh mbuf in front of the chain, which inherits the offload
/// requests.
std::uint8_t* prepend_new_mbuf(PacketPool& pool, Packet& packet, std::uint32_t n) noexcept;

/// Adds `n` octets in front of `packet` and returns their address: in place when the first segment is ours
/// alone and has the headroom, else in a fresh mbuf with RTE_PKTMBUF_HEADROOM octets left in front. nullptr,
/// with `packet` unchanged, when the pool is exhausted. n is at most the pool's room().
inline std::uint8_t* prepend_header(PacketPool& pool, Packet& packet, std::uint32_t n) noexcept {
  if (std::uint8_t* const at = packet.push_front(n); at != nullptr) [[likely]]
    return at;
  return prepend_new_mbuf(pool, packet, n);
}

}  // namespace pollux
