#include "pollux/packet/pool.h"

#include <algorithm>
#include <cstring>

namespace pollux {

Packet PacketPool::reference(rte_mbuf& of, std::uint32_t offset, std::uint32_t length) noexcept {
  POLLUX_DCHECK(offset + length <= of.data_len);
  rte_mbuf* const clone = rte_pktmbuf_alloc(clones_);
  if (clone == nullptr) return Packet();
  rte_pktmbuf_attach(clone,
                     &of);  // takes its reference on the mbuf that owns the buffer, not on another clone
  clone->data_off = static_cast<std::uint16_t>(of.data_off + offset);
  clone->data_len = static_cast<std::uint16_t>(length);
  clone->pkt_len = length;
  // Receive or transmit offload flags of the original say nothing about a piece of it.
  clone->ol_flags &= RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;
  return Packet(clone);
}

Packet PacketPool::split_front(Packet& packet, std::uint32_t n) noexcept {
  POLLUX_DCHECK(n > 0 && n < packet.size());
  rte_mbuf* const head = packet.mbuf();
  rte_mbuf* before_cut = nullptr;  // the last mbuf that lies in front of the cut as a whole
  rte_mbuf* cut = head;            // the first mbuf that does not
  std::uint16_t whole = 0;
  std::uint32_t into_cut = n;
  while (into_cut >= cut->data_len) {
    into_cut -= cut->data_len;
    before_cut = cut;
    cut = cut->next;
    ++whole;
  }

  Packet piece;  // the part of `cut` that goes to the front
  if (into_cut != 0) {
    piece = reference(*cut, 0, into_cut);
    if (!piece) return piece;
    cut->data_off = static_cast<std::uint16_t>(cut->data_off + into_cut);
    cut->data_len = static_cast<std::uint16_t>(cut->data_len - into_cut);
  }
  cut->pkt_len = head->pkt_len - n;  // `cut` may be `head`: read first
  cut->nb_segs = static_cast<std::uint16_t>(head->nb_segs - whole);
  static_cast<void>(packet.release());
  packet = Packet(cut);
  if (before_cut == nullptr) return piece;

  before_cut->next = piece ? piece.release() : nullptr;
  head->pkt_len = n;
  head->nb_segs = static_cast<std::uint16_t>(whole + (into_cut != 0 ? 1 : 0));
  return Packet(head);
}

Packet PacketPool::copy_of(std::span<const std::uint8_t> bytes) noexcept {
  Packet packet = alloc();
  if (!packet) return packet;
  rte_mbuf* const head = packet.mbuf();
  rte_mbuf* last = head;
  for (;;) {
    const std::size_t n = std::min<std::size_t>(bytes.size(), rte_pktmbuf_tailroom(last));
    if (n != 0) std::memcpy(rte_pktmbuf_mtod(last, void*), bytes.data(), n);
    last->data_len = static_cast<std::uint16_t>(n);
    head->pkt_len += static_cast<std::uint32_t>(n);
    bytes = bytes.subspan(n);
    if (bytes.empty()) return packet;
    if (head->nb_segs == RTE_MBUF_MAX_NB_SEGS) return Packet();
    last->next = rte_pktmbuf_alloc(data_);
    if (last->next == nullptr) return Packet();
    last = last->next;
    // Only a head needs room for headers; behind it the whole buffer is payload's.
    last->data_off = 0;
    ++head->nb_segs;
  }
}

}  // namespace pollux
