#include "pollux/packet/compactor.h"

#include <algorithm>

namespace pollux {

Packet Compactor::copy_of(PacketPool& pool, const Packet& payload) noexcept {
  Packet copy;
  for (std::uint32_t at = 0; at < payload.size();) {
    const std::uint32_t rest = payload.size() - at;
    // What fits into one mbuf is not cut in two for the sake of another's last octets.
    if (!open_ || rte_pktmbuf_tailroom(open_.mbuf()) < std::min<std::uint32_t>(rest, open_.mbuf()->buf_len)) {
      open_ = pool.alloc();
      if (!open_) return Packet();
      open_.mbuf()->data_off = 0;  // nobody writes headers in front
    }
    rte_mbuf& m = *open_.mbuf();
    const auto size = static_cast<std::uint16_t>(std::min<std::uint32_t>(rest, rte_pktmbuf_tailroom(&m)));
    const std::uint32_t start = m.data_len;
    // Others point into this mbuf, but not at what lies behind data_len.
    payload.copy_out(at, {rte_pktmbuf_mtod_offset(&m, std::uint8_t*, start), size});
    m.data_len = static_cast<std::uint16_t>(start + size);
    m.pkt_len = m.data_len;
    Packet piece = pool.reference(m, start, size);
    if (!piece) return Packet();
    if (!copy)
      copy = std::move(piece);
    else if (!copy.chain(piece))
      return Packet();
    at += size;
  }
  return copy;
}

}  // namespace pollux
