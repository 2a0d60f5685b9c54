#include "pollux/tcp/scoreboard.h"

#include <utility>

namespace pollux {

void Disorder::count(const SentSegment& segment) noexcept {
  const std::uint32_t length = segment.length();
  if (segment.sacked) sacked_ += length;
  if (segment.lost) lost_ += length;
  if (segment.in_flight_again) retransmitted_ += length;
}

void Disorder::uncount(const SentSegment& segment) noexcept {
  const std::uint32_t length = segment.length();
  if (segment.sacked) sacked_ -= length;
  if (segment.lost) lost_ -= length;
  if (segment.in_flight_again) retransmitted_ -= length;
}

bool Scoreboard::sent(SentSlab& slab, Disorder* disorder, SeqNum start, SeqNum end, TimePoint now) noexcept {
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
  if (disorder != nullptr && disorder->by_time_) disorder->link_last(slab, index);
  outstanding_ += segment.length();
  return true;
}

void Scoreboard::sent_again(SentSlab& slab, Disorder& disorder, std::uint32_t index, TimePoint now) noexcept {
  if (!disorder.by_time_) start_time_order(slab, disorder);
  SentSegment& segment = slab[index];
  disorder.uncount(segment);
  segment.sent_at = now;
  segment.retransmitted = true;
  segment.in_flight_again = segment.lost;
  disorder.count(segment);
  disorder.unlink(slab, index);
  disorder.link_last(slab, index);
}

void Scoreboard::deliver(const SentSlab& slab, const Disorder& disorder, const SentSegment& segment,
                         Delivery& delivery) noexcept {
  delivery.octets += segment.length();
  delivery.retransmitted |= segment.retransmitted;
  if (!segment.retransmitted) {
    if (!delivery.has_sample || segment.sent_at < delivery.first_sent) delivery.first_sent = segment.sent_at;
    delivery.has_sample = true;
    if (disorder.sacked_ != 0 && segment.end.before(disorder.highest_sacked_)) delivery.below_highest = true;
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
        tail_ = nil;
        return;
      }
      segment = &slab[next];
    } while (segment->end.before_eq(una));
    segment->prev = nil;
  }
  // Acknowledged in part: by a receiver short of space, or one that saw other segment boundaries.
  if (segment->start.before(una)) segment->start = una;
}

void Scoreboard::acknowledge_disturbed(SentSlab& slab, Disorder& disorder, SeqNum una, Delivery& delivery) noexcept {
  while (head_ != nil) {
    SentSegment& segment = slab[head_];
    if (segment.end.after(una)) {
      if (segment.start.before(una)) {
        // Acknowledged in part: by a receiver short of space, or one that saw other segment boundaries.
        disorder.uncount(segment);
        const auto part = static_cast<std::uint32_t>(una - segment.start);
        outstanding_ -= part;
        if (!segment.sacked) delivery.octets += part;
        segment.start = una;
        disorder.count(segment);
      }
      break;
    }
    if (!segment.sacked) deliver(slab, disorder, segment, delivery);
    remove(slab, disorder, head_);
  }
  // The undisturbed path frees records without a look at these.
  if (disorder.undisturbed()) disorder.lost_hint_ = disorder.sack_hint_ = nil;
}

void Scoreboard::sack(SentSlab& slab, Disorder& disorder, SeqNum left, SeqNum right, Delivery& delivery) noexcept {
  // Blocks grow at their ends, so the search starts where the last one ended.
  std::uint32_t i = disorder.sack_hint_ != nil ? disorder.sack_hint_ : head_;
  while (i != nil && slab[i].start.after(left) && slab[i].prev != nil) i = slab[i].prev;
  for (; i != nil && slab[i].end.before_eq(right); i = slab[i].next) {
    SentSegment& segment = slab[i];
    if (segment.start.before(left) || segment.sacked) continue;
    deliver(slab, disorder, segment, delivery);
    disorder.uncount(segment);
    segment.sacked = true;
    segment.lost = segment.in_flight_again = false;
    if (disorder.sacked_ == 0 || segment.end.after(disorder.highest_sacked_)) disorder.highest_sacked_ = segment.end;
    disorder.count(segment);
    disorder.sack_hint_ = i;
  }
}

void Scoreboard::mark_lost(SentSlab& slab, Disorder& disorder, std::uint32_t index) noexcept {
  SentSegment& segment = slab[index];
  disorder.uncount(segment);
  segment.lost = true;
  segment.in_flight_again = false;
  disorder.count(segment);
  std::uint32_t& hint = disorder.lost_hint_;
  if (hint != nil && segment.start.before(slab[hint].start)) hint = index;
}

void Scoreboard::mark_all_lost(SentSlab& slab, Disorder& disorder, bool renege) noexcept {
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) {
    SentSegment& segment = slab[i];
    disorder.uncount(segment);
    if (renege) segment.sacked = false;
    segment.lost = !segment.sacked;
    segment.in_flight_again = false;
    disorder.count(segment);
  }
  disorder.lost_hint_ = nil;
}

void Scoreboard::unmark_all_lost(SentSlab& slab, Disorder& disorder) noexcept {
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) {
    SentSegment& segment = slab[i];
    disorder.uncount(segment);
    segment.lost = segment.in_flight_again = false;
    disorder.count(segment);
  }
  if (disorder.undisturbed()) disorder.lost_hint_ = disorder.sack_hint_ = nil;
}

bool Scoreboard::split(SentSlab& slab, Disorder& disorder, std::uint32_t index, std::uint32_t length) noexcept {
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
  if (!disorder.by_time_) return true;
  second.prev_sent = index;
  first.next_sent = rest;
  if (second.next_sent != nil) {
    slab[second.next_sent].prev_sent = rest;
  } else {
    disorder.tail_sent_ = rest;
  }
  return true;
}

std::uint32_t Scoreboard::find_lost(const SentSlab& slab, Disorder& disorder) const noexcept {
  std::uint32_t i = disorder.lost_hint_ != nil ? disorder.lost_hint_ : head_;
  while (i != nil && !(slab[i].lost && !slab[i].in_flight_again)) i = slab[i].next;
  disorder.lost_hint_ = i;
  return i;
}

void Scoreboard::remove(SentSlab& slab, Disorder& disorder, std::uint32_t index) noexcept {
  const SentSegment& segment = slab[index];
  disorder.uncount(segment);
  outstanding_ -= segment.length();
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
  if (disorder.lost_hint_ == index) disorder.lost_hint_ = segment.next;
  if (disorder.sack_hint_ == index) disorder.sack_hint_ = segment.next;
  if (disorder.by_time_) disorder.unlink(slab, index);
  slab.erase(index);
  if (head_ == nil) disorder.by_time_ = false;
}

void Scoreboard::start_time_order(SentSlab& slab, Disorder& disorder) const noexcept {
  disorder.by_time_ = true;
  disorder.head_sent_ = disorder.tail_sent_ = nil;
  for (std::uint32_t i = head_; i != nil; i = slab[i].next) disorder.link_last(slab, i);
}

void Disorder::link_last(SentSlab& slab, std::uint32_t index) noexcept {
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

void Disorder::unlink(SentSlab& slab, std::uint32_t index) noexcept {
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

void Scoreboard::clear(SentSlab& slab, Disorder* disorder) noexcept {
  while (head_ != nil) slab.erase(std::exchange(head_, slab[head_].next));
  tail_ = nil;
  outstanding_ = 0;
  if (disorder != nullptr) *disorder = Disorder();
}

}  // namespace pollux
