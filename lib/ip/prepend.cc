#include "pollux/ip/prepend.h"

#include <utility>

namespace pollux {

std::uint8_t* prepend_new_mbuf(PacketPool& pool, Packet& packet, std::uint32_t n) noexcept {
  Packet head = pool.alloc();
  if (!head) return nullptr;
  std::uint8_t* const at = head.push_back(n);
  if (at == nullptr) return nullptr;
  head.mbuf()->ol_flags |= packet.mbuf()->ol_flags & RTE_MBUF_F_TX_OFFLOAD_MASK;
  head.mbuf()->tx_offload = packet.mbuf()->tx_offload;
  // Some drivers refuse empty segments.
  if (packet.size() != 0 && !head.chain(packet)) return nullptr;
  packet = std::move(head);
  return at;
}

}  // namespace pollux
