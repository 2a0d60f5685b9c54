#include "pollux/tcp/out_of_order_queue.h"

#include <algorithm>
#include <array>

namespace pollux {

OutOfOrderQueue::Insert OutOfOrderQueue::insert(OutOfOrderSlab& slab, Packet packet, SeqNum start,
                                                std::uint16_t limit, bool& overlapped) noexcept {
  overlapped = false;
  SeqNum end = start + packet.size();
  // The stretch behind which the new one belongs; the common case is the end of the list.
  std::uint32_t before = OutOfOrderSlab::nil;
  if (tail_ != OutOfOrderSlab::nil && slab[tail_].start.before_eq(start)) {
    before = tail_;
  } else {
    for (std::uint32_t i = head_; i != OutOfOrderSlab::nil && slab[i].start.before_eq(start); i = slab[i].next)
      before = i;
  }
  if (before != OutOfOrderSlab::nil && slab[before].end().after(start)) {
    overlapped = true;
    if (slab[before].end().after_eq(end)) return Insert::duplicate;
    packet.pull_front(static_cast<std::uint32_t>(slab[before].end() - start));
    start = slab[before].end();
  }
  // What follows: stretches that the new one covers are kept as they are only at its end; inside they are replaced.
  std::uint32_t after = before == OutOfOrderSlab::nil ? head_ : slab[before].next;
  while (after != OutOfOrderSlab::nil && slab[after].end().before_eq(end)) {
    const std::uint32_t covered = after;
    overlapped = true;
    after = slab[covered].next;
    if (tail_ == covered) tail_ = before;
    slab.erase(covered);
    --count_;
  }
  if (after != OutOfOrderSlab::nil && slab[after].start.before(end)) {
    overlapped = true;
    end = slab[after].start;
    packet.trim_to(static_cast<std::uint32_t>(end - start));
  }
  std::uint32_t added = OutOfOrderSlab::nil;
  if (count_ < limit)
    added = slab.emplace(std::move(packet), start, static_cast<std::uint32_t>(end - start));
  const bool kept = added != OutOfOrderSlab::nil;
  const std::uint32_t link = kept ? added : after;
  if (kept) {
    slab[added].next = after;
    slab[added].arrival = ++arrivals_;
    if (after == OutOfOrderSlab::nil) tail_ = added;
    ++count_;
  }
  if (before == OutOfOrderSlab::nil) {
    head_ = link;
  } else {
    slab[before].next = link;
  }
  return kept ? Insert::kept : Insert::refused;
}

Packet OutOfOrderQueue::take(OutOfOrderSlab& slab, SeqNum next) noexcept {
  while (head_ != OutOfOrderSlab::nil && slab[head_].end().before_eq(next)) erase_head(slab);
  if (head_ == OutOfOrderSlab::nil || slab[head_].start.after(next)) return {};
  Packet packet = std::move(slab[head_].packet);
  packet.pull_front(static_cast<std::uint32_t>(next - slab[head_].start));
  erase_head(slab);
  return packet;
}

std::size_t OutOfOrderQueue::latest(const OutOfOrderSlab& slab, std::span<SackBlock> blocks) const noexcept {
  std::array<std::uint16_t, TcpOptionValues::sack_blocks_max> arrivals;
  POLLUX_DCHECK(blocks.size() <= arrivals.size());
  std::size_t filled = 0;
  for (std::uint32_t i = head_; i != OutOfOrderSlab::nil;) {
    SackBlock range{slab[i].start, slab[i].end()};
    std::uint16_t arrival = slab[i].arrival;
    for (i = slab[i].next; i != OutOfOrderSlab::nil && slab[i].start == range.right; i = slab[i].next) {
      range.right = slab[i].end();
      if (static_cast<std::int16_t>(slab[i].arrival - arrival) > 0) arrival = slab[i].arrival;
    }
    std::size_t at = filled;
    while (at > 0 && static_cast<std::int16_t>(arrival - arrivals[at - 1]) > 0) --at;
    if (at == blocks.size()) continue;
    filled = std::min(filled + 1, blocks.size());
    for (std::size_t j = filled - 1; j > at; --j) {
      blocks[j] = blocks[j - 1];
      arrivals[j] = arrivals[j - 1];
    }
    blocks[at] = range;
    arrivals[at] = arrival;
  }
  return filled;
}

void OutOfOrderQueue::erase_head(OutOfOrderSlab& slab) noexcept {
  const std::uint32_t gone = head_;
  head_ = slab[gone].next;
  if (head_ == OutOfOrderSlab::nil) tail_ = OutOfOrderSlab::nil;
  slab.erase(gone);
  --count_;
}

void OutOfOrderQueue::clear(OutOfOrderSlab& slab) noexcept {
  while (!empty()) erase_head(slab);
}

}  // namespace pollux
