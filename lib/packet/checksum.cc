#include "pollux/packet/checksum.h"

#include <algorithm>
#include <span>

namespace pollux::internal {

ChecksumSum sum_segments(const rte_mbuf* head, std::uint32_t offset, std::uint32_t length) noexcept {
  ChecksumSum sum;
  const rte_mbuf* m = head;
  while (m != nullptr && offset >= m->data_len) {
    offset -= m->data_len;
    m = m->next;
  }
  bool at_odd_offset = false;
  while (length != 0) {
    POLLUX_DCHECK(m != nullptr);
    const std::uint32_t n = std::min<std::uint32_t>(length, m->data_len - offset);
    const std::span<const std::uint8_t> piece(rte_pktmbuf_mtod_offset(m, const std::uint8_t*, offset), n);
    if (at_odd_offset) {
      sum.add_at_odd_offset(piece);
    } else {
      sum.add(piece);
    }
    at_odd_offset ^= (n & 1) != 0;
    length -= n;
    offset = 0;
    m = m->next;
  }
  return sum;
}

}  // namespace pollux::internal
