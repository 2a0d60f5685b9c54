#include "pollux/tcp/segment_burst.h"

#include <utility>

namespace pollux {

// Only what a receiver of both could not tell from one segment: no flag but ACK, or PSH at the end; the same
// acknowledgment, window and timestamps, no other option, no gap, and the same word about congestion (RFC 3168 5).
bool SegmentBurst::continues(const Entry& first, const Entry& next) noexcept {
  const Segment& a = first.seg;
  const Segment& b = next.seg;
  return b.seq == a.seq + a.length && a.length != 0 && b.length != 0 && a.flags.bits == TcpFlags::ack &&
         (b.flags.bits & ~TcpFlags::psh) == TcpFlags::ack && a.ack == b.ack && a.window == b.window &&
         a.ecn == b.ecn && a.has_timestamp == b.has_timestamp && a.ts_value == b.ts_value && a.ts_echo == b.ts_echo &&
         a.options == nullptr && b.options == nullptr && a.length + b.length <= merged_octets_max &&
         a.payload.segment_count() + b.payload.segment_count() <= merged_mbufs_max && first.key == next.key;
}

bool SegmentBurst::add() noexcept {
  Entry& entry = entries_[size_];
  std::uint8_t& latest = latest_[entry.hash % slots];
  if (latest < size_ && entries_[latest].hash == entry.hash && continues(entries_[latest], entry)) {
    Entry& first = entries_[latest];
    rte_mbuf* const head = first.seg.payload.mbuf();
    rte_mbuf* const tail = entry.seg.payload.release();
    if (first.last == nullptr) first.last = rte_pktmbuf_lastseg(head);
    first.last->next = tail;
    first.last = rte_pktmbuf_lastseg(tail);
    head->pkt_len += tail->pkt_len;
    head->nb_segs = static_cast<std::uint16_t>(head->nb_segs + tail->nb_segs);
    first.seg.length += entry.seg.length;
    first.seg.flags = entry.seg.flags;
    ++first.seg.merged;
    return true;
  }
  entry.last = nullptr;
  latest = static_cast<std::uint8_t>(size_++);
  return false;
}

}  // namespace pollux
