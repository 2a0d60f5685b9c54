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

Packet PacketPool::external(const std::uint8_t* at, rte_iova_t iova, std::uint16_t length,
                            rte_mbuf_ext_shared_info& shared) noexcept {
  rte_mbuf* const m = rte_pktmbuf_alloc(clones_);
  if (m == nullptr) return Packet();
  rte_mbuf_ext_refcnt_update(&shared, 1);
  // Nobody writes there: an external buffer is never is_writable().
  rte_pktmbuf_attach_extbuf(m, const_cast<std::uint8_t*>(at), iova, length, &shared);
  m->data_len = length;
  m->pkt_len = length;
  return Packet(m);
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

Packet PacketPool::alloc(std::uint32_t size) noexcept {
  if (size > alloc_max) return Packet();
  Packet packet = alloc();
  if (!packet) return packet;
  rte_mbuf* const head = packet.mbuf();
  rte_mbuf* last = head;
  head->pkt_len = size;
  for (;;) {
    last->data_len = static_cast<std::uint16_t>(std::min<std::uint32_t>(size, rte_pktmbuf_tailroom(last)));
    size -= last->data_len;
    if (size == 0) return packet;
    POLLUX_DCHECK(head->nb_segs < RTE_MBUF_MAX_NB_SEGS);
    last->next = rte_pktmbuf_alloc(data_);
    if (last->next == nullptr) return Packet();
    last = last->next;
    // Only a head needs room for headers; behind it the whole buffer is payload's.
    last->data_off = 0;
    ++head->nb_segs;
  }
}

Packet PacketPool::copy_of(std::span<const std::uint8_t> bytes) noexcept {
  if (bytes.size() > alloc_max) return Packet();
  Packet packet = alloc(static_cast<std::uint32_t>(bytes.size()));
  if (!packet) return packet;
  for (rte_mbuf* m = packet.mbuf(); !bytes.empty(); m = m->next) {
    std::memcpy(rte_pktmbuf_mtod(m, void*), bytes.data(), m->data_len);
    bytes = bytes.subspan(m->data_len);
  }
  return packet;
}

Packet PacketPool::copy_of(const Packet& packet, std::uint32_t front) noexcept {
  Packet copy = alloc(front + packet.size());
  if (!copy) return copy;
  std::uint32_t at = 0;  // of `front` and `packet` together
  for (rte_mbuf* m = copy.mbuf(); m != nullptr; m = m->next) {
    std::uint8_t* to = rte_pktmbuf_mtod(m, std::uint8_t*);
    std::uint32_t size = m->data_len;
    const std::uint32_t of_front = std::min(size, front - std::min(at, front));
    if (of_front != 0) std::memcpy(to, packet.data() - front + at, of_front);
    at += of_front;
    size -= of_front;
    if (size != 0) packet.copy_out(at - front, {to + of_front, size});
    at += size;
  }
  return copy;
}

}  // namespace pollux
