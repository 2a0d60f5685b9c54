#include "pollux/packet/tx_batch.h"

#include <algorithm>

namespace pollux {

void TxBatch::consume(std::uint32_t n) noexcept {
  POLLUX_DCHECK(n <= count_);
  std::copy(packets_.begin() + n, packets_.begin() + count_, packets_.begin());
  count_ -= n;
}

void TxBatch::clear() noexcept {
  for (rte_mbuf* packet : pending()) rte_pktmbuf_free(packet);
  count_ = 0;
}

}  // namespace pollux
