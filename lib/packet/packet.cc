#include "pollux/packet/packet.h"

#include <algorithm>
#include <cstring>

namespace pollux {
namespace {

constexpr std::uint64_t attachment_flags = RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL;

// What the device said about the packet is kept in its first mbuf: hand it on when that mbuf goes.
void inherit_packet_fields(rte_mbuf& new_head, const rte_mbuf& old_head) noexcept {
  new_head.port = old_head.port;
  new_head.packet_type = old_head.packet_type;
  new_head.hash = old_head.hash;
  new_head.vlan_tci = old_head.vlan_tci;
  new_head.ol_flags = (old_head.ol_flags & ~attachment_flags) | (new_head.ol_flags & attachment_flags);
}

}  // namespace

void Packet::pull_segments(std::uint32_t n) noexcept {
  POLLUX_DCHECK(n <= head_->pkt_len);
  while (n >= head_->data_len && head_->next != nullptr) {
    rte_mbuf* const next = head_->next;
    next->pkt_len = head_->pkt_len - head_->data_len;
    next->nb_segs = static_cast<std::uint16_t>(head_->nb_segs - 1);
    inherit_packet_fields(*next, *head_);
    n -= head_->data_len;
    rte_pktmbuf_free_seg(head_);
    head_ = next;
  }
  pull_from_head(n);
}

void Packet::trim_to(std::uint32_t n) noexcept {
  POLLUX_DCHECK(n <= head_->pkt_len);
  head_->pkt_len = n;
  std::uint16_t kept = 1;
  rte_mbuf* last = head_;
  while (n > last->data_len) {
    n -= last->data_len;
    last = last->next;
    ++kept;
  }
  last->data_len = static_cast<std::uint16_t>(n);
  head_->nb_segs = kept;
  // rte_pktmbuf_free() follows `next` only, so a bare tail needs no counts of its own.
  if (last->next != nullptr) rte_pktmbuf_free(std::exchange(last->next, nullptr));
}

void Packet::copy_out(std::uint32_t offset, std::span<std::uint8_t> out) const noexcept {
  const rte_mbuf* m = head_;
  while (!out.empty()) {
    POLLUX_DCHECK(m != nullptr);
    if (offset < m->data_len) {
      const std::size_t n = std::min<std::size_t>(out.size(), m->data_len - offset);
      std::memcpy(out.data(), rte_pktmbuf_mtod_offset(m, const std::uint8_t*, offset), n);
      out = out.subspan(n);
      offset = 0;
    } else {
      offset -= m->data_len;
    }
    m = m->next;
  }
}

}  // namespace pollux
