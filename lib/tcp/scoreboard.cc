#include "pollux/tcp/scoreboard.h"

namespace pollux {

void Scoreboard::count(const SentSegment& segment) noexcept {
  const std::uint32_t length = segment.length();
  outstanding_ += length;
  if (segment.sacked) sacked_ += length;
  if (segment.lost) lost_ += length;
  if (segment.in_flight_again) retransmitted_ += length;
}

void Scoreboard::uncount(const SentSegment& segment) noexcept {
  const std::uint32_t length = segment.length();
  outstanding_ -= length;
  if (segment.sacked) sacked_ -= length;
  if (segment.lost) lost_ -= length;
  if (segment.in_flight_again) retransmitted_ -= length;
}

bool Scoreboard::sent(SentSlab& slab, SeqNum start, SeqNum end, TimePoint now) noexcept {
  const std::uint32_t index = slab.emplace(start, end, now);
  if (index == nil) return false;
  SentSegment& segment = slab[index];
  segment.prev = tail_;
  if (tail_ != nil) {
    slab[tail_].next = index;
  } else {
    head_ = index;
  }
  tail_ = index;
  if (by_time_) link_sent_last(slab, index);
  outstanding_ += segment.length();
  return true;
}

void Scoreboard::sent_again(SentSlab& slab, std::uint32_t index, TimePoint now) noexcept {
  if (!by_time_) start_time_order(slab);
  SentSegment& segment = slab[index];
  uncount(segment);
  segment.sent_at = now;
  segment.retransmitted = true;
  segment.in_flight_again = segment.lost;
  count(segment);
  unlink_sent(slab, index);
  link_sent_last(slab, index);
}

void Scoreboard::deliver(const SentSlab& slab, const SentSegment& segment, Delivery& delivery) noexcept {
  delivery.octets += segment.length();
  delivery.retransmitted |= segment.retransmitted;
  if (!segment.retransmitted) {
    if (!delivery.has_sample || segment.sent_at < delivery.first_sent) delivery.first_sent = segment.sent_at;
    delivery.has_sample = true;
    if (sacked_ != 0 && segment.end.before(highest_sacked_)) delivery.below_highest = true;
  }
  const bool later = !delivery.has_last || segment.sent_at > delivery.last_sent ||
                     (segment.sent_at == delivery.last_sent && segment.end.after(delivery.last_end));
  if (!later) return;
  delivery.has_last = true;
  delivery.last_sent = segment.sent_at;
  delivery.last_end = segment.end;
  delivery.last_index = slab.index_of(segment);
  delivery.last_retransmitted = segment.retransmitted;
}

// Nothing is SACKed, lost or sent twice: what is acknowledged is a run of records in the order they were sent.
void Scoreboard::acknowledge_undisturbed(SentSlab& slab, SeqNum una, Delivery& delivery) noexcept {
  if (head_ == nil) return;
  SentSegment* segment = &slab[head_];
  if (segment->start.after_eq(una)) return;
  delivery.octets += static_cast<std::uint32_t>(una - segment->start);
  outstanding_ -= static_cast<std::uint32_t>(una - segment->start);
  if (segment->end.before_eq(una)) {
    delivery.has_sample = delivery.has_last = true;
    delivery.first_sent = segment->sent_at;
    do {
      delivery.last_sent = segment->sent_at;
      delivery.last_end = segment->end;
      delivery.last_index = head_;
      const std::uint32_t next = segment->next;
      slab.erase(head_);
      head_ = next;
      if (next == nil) {
        tail_ = lost_hint_ = sack_hint_ = nil;
        return;
      }
      segment = &slab[next];
    } while (segment->end.before_eq(una));
    segment->prev = nil;
    lost_hint_ = sack_hint_ = nil;
  }
  // Acknowledged in part: by a receiver short of space, or one that saw other segment boundaries.
  if (segment->start.before(una)) segment->start = una;
}

void Scoreboard::acknowledge_disturbed(SentSlab& slab, SeqNum una, Delivery& delivery) noexcept {
  while (head_ != nil) {
    SentSegment& segment = slab[head_];
    if (segment.end.after(una)) {
      if (segment.start.before(una)) {
        // Acknowledged in part: by a receiver short of space, or one that saw other segment boundaries.
        uncount(segment);
        if (!segment.sacked) delivery.octets += static_cast<std::uint32_t>(una - segment.start);
        segment.start = una;
        count(segment);
      }
      return;
    }
    if (!segment.sacked) deliver(slab, segment, delivery);
    remove(slab, head_);
  }
}

void Scoreboard::sack(SentSlab& slab, SeqNum left, SeqNum right, Delivery& delivery) noexcept {
  // Blocks grow at their ends, so the search starts where the last one ended.
  std::uint32_t i = sack_hint_ != nil ? sack_hint_ : head_;
  while (i != nil && slab[i].start.after(left) && slab[i].prev != nil) i = slab[i].prev;
  for (; i != nil && slab[i].end.before_eq(right); i = slab[i].next) {
    SentSegment& segment = slab[i];
    if (segment.start.before(left) || segment.sacked) continue;
    deliver(slab, segment, delivery);
    uncount(segment);
    segment.sacked = true;
    segment.lost = segment.in_flight_again = false;
    if (sacked_ == 0 || segment.end.after(highest_sacked_)) highest_sacked_ = segment.end;
    count(segment);
    sack_hint_ = i;
  }
}

void Scoreboard::mark_lost(SentSlab& slab, std::uint32_t index) noexcept {
  SentSegment& segment = slab[index];
  uncount(segment);
  segment.lost = true;
  segment.in_flight_again = false;
  count(segment);
  if (lost_hint_ != nil && segment.start.before(slab[lost_hint_].start)) lost_hint_ = index;
}

void Scoreboard::mark_all_lost(SentSlab& slab, bool renege) noexcept {
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) {
    SentSegment& segment = slab[i];
    uncount(segment);
    if (renege) segment.sacked = false;
    segment.lost = !segment.sacked;
    segment.in_flight_again = false;
    count(segment);
  }
  lost_hint_ = nil;
}

void Scoreboard::unmark_all_lost(SentSlab& slab) noexcept {
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) {
    SentSegment& segment = slab[i];
    uncount(segment);
    segment.lost = segment.in_flight_again = false;
    count(segment);
  }
}

bool Scoreboard::split(SentSlab& slab, std::uint32_t index, std::uint32_t length) noexcept {
  POLLUX_DCHECK(length > 0 && length < slab[index].length());
  const std::uint32_t rest = slab.emplace(slab[index]);
  if (rest == nil) return false;
  SentSegment& first = slab[index];
  SentSegment& second = slab[rest];
  first.end = second.start = first.start + length;
  second.prev = index;
  first.next = rest;
  if (second.next != nil) {
    slab[second.next].prev = rest;
  } else {
    tail_ = rest;
  }
  if (!by_time_) return true;
  second.prev_sent = index;
  first.next_sent = rest;
  if (second.next_sent != nil) {
    slab[second.next_sent].prev_sent = rest;
  } else {
    tail_sent_ = rest;
  }
  return true;
}

std::uint32_t Scoreboard::find_lost(const SentSlab& slab) noexcept {
  std::uint32_t i = lost_hint_ != nil ? lost_hint_ : head_;
  while (i != nil && !(slab[i].lost && !slab[i].in_flight_again)) i = slab[i].next;
  lost_hint_ = i;
  return i;
}

void Scoreboard::remove(SentSlab& slab, std::uint32_t index) noexcept {
  const SentSegment& segment = slab[index];
  uncount(segment);
  if (segment.prev != nil) {
    slab[segment.prev].next = segment.next;
  } else {
    head_ = segment.next;
  }
  if (segment.next != nil) {
    slab[segment.next].prev = segment.prev;
  } else {
    tail_ = segment.prev;
  }
  if (lost_hint_ == index) lost_hint_ = segment.next;
  if (sack_hint_ == index) sack_hint_ = segment.next;
  if (by_time_) unlink_sent(slab, index);
  slab.erase(index);
  if (head_ == nil) by_time_ = false;
}

void Scoreboard::start_time_order(SentSlab& slab) noexcept {
  by_time_ = true;
  head_sent_ = tail_sent_ = nil;
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) link_sent_last(slab, i);
}

void Scoreboard::link_sent_last(SentSlab& slab, std::uint32_t index) noexcept {
  SentSegment& segment = slab[index];
  segment.prev_sent = tail_sent_;
  segment.next_sent = nil;
  if (tail_sent_ != nil) {
    slab[tail_sent_].next_sent = index;
  } else {
    head_sent_ = index;
  }
  tail_sent_ = index;
}

void Scoreboard::unlink_sent(SentSlab& slab, std::uint32_t index) noexcept {
  const SentSegment& segment = slab[index];
  if (segment.prev_sent != nil) {
    slab[segment.prev_sent].next_sent = segment.next_sent;
  } else {
    head_sent_ = segment.next_sent;
  }
  if (segment.next_sent != nil) {
    slab[segment.next_sent].prev_sent = segment.prev_sent;
  } else {
    tail_sent_ = segment.prev_sent;
  }
}

void Scoreboard::clear(SentSlab& slab) noexcept {
  while (head_ != nil) remove(slab, head_);
}

}  // namespace pollux
