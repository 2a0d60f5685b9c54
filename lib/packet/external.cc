#include "pollux/packet/external.h"

#include <rte_atomic.h>

#include <algorithm>

namespace pollux {
void ExternalSend::on_last_reference(void*, void* send) noexcept {
  rte_smp_wmb();  // the octets were read before
  rte_mbuf_ext_refcnt_set(&static_cast<ExternalSend*>(send)->shared_, nobody);
}

ExternalMemory::ExternalMemory(std::span<const std::uint8_t> region, std::size_t page_size, std::vector<rte_iova_t> pages)
    : region_(region), page_size_(page_size), pages_(std::move(pages)) {
  POLLUX_CHECK(page_size != 0 && region.size() <= page_size * pages_.size(), "%zu octets on %zu pages of %zu",
               region.size(), pages_.size(), page_size);
}

ExternalMemory::Piece ExternalMemory::piece_at(const std::uint8_t* at, std::uint32_t length) const noexcept {
  if (pages_.empty()) return {reinterpret_cast<rte_iova_t>(at), length};
  const auto offset = static_cast<std::size_t>(at - region_.data());
  std::size_t page = offset / page_size_;
  const Piece piece{pages_[page] + offset % page_size_, length};
  std::size_t contiguous = page_size_ - offset % page_size_;
  for (; contiguous < length && pages_[page] + page_size_ == pages_[page + 1]; ++page) contiguous += page_size_;
  return {piece.iova, static_cast<std::uint32_t>(std::min<std::size_t>(contiguous, length))};
}

void ExternalSends::complete_all() noexcept {
  for (std::uint32_t left = count_; left > 0; left -= std::min(left, polls_max)) poll();
}

ExternalSends::~ExternalSends() {
  // What a device still holds comes back when its port is closed, and nobody is left to tell.
  for (ExternalSend* send = head_; send != nullptr; send = send->next_) send->pending_ = false;
}

void ExternalSends::push(ExternalSend& send) noexcept {
  send.next_ = nullptr;
  if (tail_ == nullptr) {
    head_ = &send;
  } else {
    tail_->next_ = &send;
  }
  tail_ = &send;
  ++count_;
}

Packet ExternalSends::wrap(PacketPool& pool, const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
                           ExternalSend& send) noexcept {
  POLLUX_CHECK(!send.pending_, "this ExternalSend is being sent already");
  POLLUX_CHECK(memory.contains(bytes), "%zu octets at %p are not within the registered region", bytes.size(),
               static_cast<const void*>(bytes.data()));
  POLLUX_CHECK(!bytes.empty() && bytes.size() <= send_max, "%zu octets, expected 1 to %u", bytes.size(), send_max);
  send.shared_.free_cb = ExternalSend::on_last_reference;
  send.shared_.fcb_opaque = &send;
  rte_mbuf_ext_refcnt_set(&send.shared_, 1);  // our own, so that nothing is complete before all is wrapped
  Packet packet;
  while (!bytes.empty()) {
    constexpr std::uint32_t piece_max = 15 * 4096;  // an mbuf counts its octets in 16 bits
    const auto most = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), piece_max));
    const ExternalMemory::Piece piece = memory.piece_at(bytes.data(), most);
    Packet next = pool.external(bytes.data(), piece.iova, static_cast<std::uint16_t>(piece.length), send.shared_);
    if (!next || (packet && !packet.chain(next))) {
      next.reset();
      packet.reset();
      rte_mbuf_ext_refcnt_set(&send.shared_, ExternalSend::nobody);
      return packet;
    }
    if (!packet) packet = std::move(next);
    bytes = bytes.subspan(piece.length);
  }
  rte_mbuf_ext_refcnt_update(&send.shared_, -1);
  send.pending_ = true;
  push(send);
  return packet;
}

void ExternalSends::poll() noexcept {
  for (std::uint32_t n = std::min(count_, polls_max); n > 0; --n) {
    ExternalSend& send = *head_;
    head_ = send.next_;
    if (head_ == nullptr) tail_ = nullptr;
    --count_;
    if (rte_mbuf_ext_refcnt_read(&send.shared_) != ExternalSend::nobody) {
      push(send);
      continue;
    }
    rte_smp_rmb();
    send.pending_ = false;
    send.on_complete();  // it may be gone afterwards
  }
}

}  // namespace pollux
