#include "pollux/tcp/send_queue.h"

#include <algorithm>
#include <cstring>

namespace pollux {

bool SendQueue::tail_takes(std::uint32_t n) const noexcept {
  // A buffer that anyone else refers to is left alone: a device may be reading it, and a sibling made by a split
  // may own the octets behind ours.
  return tail_ != nullptr && RTE_MBUF_DIRECT(tail_) && rte_mbuf_refcnt_read(tail_) == 1 &&
         rte_pktmbuf_tailroom(tail_) >= n;
}

void SendQueue::append(Packet payload) noexcept {
  const std::uint32_t length = payload.size();
  if (length == 0) return;
  // External memory stays referred to until it is acknowledged: its owner waits for that.
  if (length <= copy_max && payload.segment_count() == 1 && !RTE_MBUF_HAS_EXTBUF(payload.mbuf()) && tail_takes(length)) {
    std::memcpy(rte_pktmbuf_mtod_offset(tail_, std::uint8_t*, tail_->data_len), payload.data(), length);
    tail_->data_len = static_cast<std::uint16_t>(tail_->data_len + length);
    size_ += length;
    return;
  }
  rte_mbuf* first = payload.release();
  if (tail_ == nullptr) {
    head_ = first;
  } else {
    tail_->next = first;
  }
  // Empty segments would stop the cursor: unlink them here, once.
  rte_mbuf** link = tail_ == nullptr ? &head_ : &tail_->next;
  while (*link != nullptr) {
    rte_mbuf* m = *link;
    if (m->data_len == 0) {
      *link = m->next;
      m->next = nullptr;
      m->nb_segs = 1;
      rte_pktmbuf_free_seg(m);
    } else {
      tail_ = m;
      link = &m->next;
    }
  }
  size_ += length;
}

std::uint32_t SendQueue::append_copy(PacketPool& pool, std::span<const std::uint8_t> bytes) noexcept {
  std::uint32_t taken = 0;
  if (tail_takes(1)) {
    taken = std::min<std::uint32_t>(rte_pktmbuf_tailroom(tail_), static_cast<std::uint32_t>(bytes.size()));
    std::memcpy(rte_pktmbuf_mtod_offset(tail_, std::uint8_t*, tail_->data_len), bytes.data(), taken);
    tail_->data_len = static_cast<std::uint16_t>(tail_->data_len + taken);
    size_ += taken;
  }
  while (taken < bytes.size()) {
    Packet packet = pool.alloc();
    if (!packet) break;
    const auto n = std::min<std::uint32_t>(pool.room(), static_cast<std::uint32_t>(bytes.size()) - taken);
    std::memcpy(packet.push_back(n), bytes.data() + taken, n);
    rte_mbuf* m = packet.release();
    if (tail_ == nullptr) {
      head_ = m;
    } else {
      tail_->next = m;
    }
    tail_ = m;
    size_ += n;
    taken += n;
  }
  return taken;
}

void SendQueue::acknowledge(std::uint32_t n) noexcept {
  POLLUX_DCHECK(n <= size_);
  size_ -= n;
  if (cursor_.position < n) {
    cursor_ = {};
  } else {
    cursor_.position -= n;
  }
  while (n > 0) {
    rte_mbuf* m = head_;
    if (n < m->data_len) {
      // References to this buffer carry their own offset and length, so ours may move.
      m->data_off = static_cast<std::uint16_t>(m->data_off + n);
      m->data_len = static_cast<std::uint16_t>(m->data_len - n);
      if (cursor_.mbuf == m) cursor_.offset -= n;
      return;
    }
    n -= m->data_len;
    head_ = m->next;
    if (cursor_.mbuf == m) cursor_ = {};  // it stood at this mbuf's end
    m->next = nullptr;
    m->nb_segs = 1;
    rte_pktmbuf_free_seg(m);
  }
  if (head_ == nullptr) {
    tail_ = nullptr;
    cursor_ = {};
  }
}

SendQueue::Place SendQueue::locate(std::uint32_t position) const noexcept {
  Place place{head_, 0, 0};
  if (cursor_.mbuf != nullptr && cursor_.position <= position) place = cursor_;
  while (place.mbuf != nullptr) {
    const std::uint32_t left = place.mbuf->data_len - place.offset;
    const std::uint32_t ahead = position - place.position;
    if (ahead < left) {
      place.offset += ahead;
      place.position = position;
      return place;
    }
    place = {place.mbuf->next, 0, place.position + left};
  }
  return place;
}

std::uint32_t SendQueue::piece_count(Place from, std::uint32_t length, std::uint32_t most) noexcept {
  std::uint32_t seen = from.mbuf->data_len - from.offset;
  std::uint32_t pieces = 1;
  for (const rte_mbuf* m = from.mbuf->next; seen < length && pieces <= most; m = m->next, ++pieces)
    seen += m->data_len;
  return pieces;
}

Packet SendQueue::segment(PacketPool& pool, std::uint32_t position, std::uint32_t length, std::uint32_t pieces) noexcept {
  POLLUX_DCHECK(position + length <= size_ && length > 0);
  Packet packet = pool.alloc();
  if (!packet) return packet;
  Place place = locate(position);
  if (length <= copy_max && length <= place.mbuf->data_len - place.offset) [[likely]] {
    rte_mbuf* const m = packet.mbuf();  // fresh, and with room for copy_max
    std::memcpy(rte_pktmbuf_mtod(m, void*), rte_pktmbuf_mtod_offset(place.mbuf, const void*, place.offset), length);
    m->pkt_len = m->data_len = static_cast<std::uint16_t>(length);
    cursor_ = {place.mbuf, place.offset + length, position + length};
    return packet;
  }

  const bool copy = length <= copy_max || piece_count(place, length, pieces) > pieces;
  for (std::uint32_t done = 0; done < length;) {
    const std::uint32_t n = std::min<std::uint32_t>(place.mbuf->data_len - place.offset, length - done);
    if (copy) {
      std::uint32_t room = rte_pktmbuf_tailroom(rte_pktmbuf_lastseg(packet.mbuf()));
      if (room == 0) {
        Packet more = pool.alloc();
        if (!more || !packet.chain(more)) return {};
        room = pool.room();
      }
      const std::uint32_t part = std::min(n, room);
      std::memcpy(packet.push_back(part), rte_pktmbuf_mtod_offset(place.mbuf, std::uint8_t*, place.offset), part);
      place.offset += part;
      done += part;
    } else {
      Packet piece = pool.reference(*place.mbuf, place.offset, n);
      if (!piece || !packet.chain(piece)) return {};
      place.offset += n;
      done += n;
    }
    if (place.offset == place.mbuf->data_len && done < length) place = {place.mbuf->next, 0, 0};
  }
  place.position = position + length;
  cursor_ = place;
  return packet;
}

void SendQueue::clear() noexcept {
  while (head_ != nullptr) {
    rte_mbuf* m = head_;
    head_ = m->next;
    m->next = nullptr;
    m->nb_segs = 1;
    rte_pktmbuf_free_seg(m);
  }
  tail_ = nullptr;
  cursor_ = {};
  size_ = 0;
}

}  // namespace pollux
