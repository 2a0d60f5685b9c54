// What is outstanding, segment by segment: when each was last sent, whether the peer has it (SACK, RFC 2018), whether it
// is held for lost. The basis of RACK (RFC 8985) and of the pipe that congestion control bounds (RFC 6675).
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"

namespace pollux {

/// One transmitted stretch of sequence numbers, a FIN included.
struct SentSegment {
  SentSegment(SeqNum s, SeqNum e, TimePoint at) noexcept : start(s), end(e), sent_at(at) {}
  SeqNum start;
  SeqNum end;
  TimePoint sent_at;            ///< of its last transmission
  std::uint32_t prev = 0xffffffffu, next = 0xffffffffu;              // by sequence number
  std::uint32_t prev_sent = 0xffffffffu, next_sent = 0xffffffffu;    // by time of transmission, once it differs
  bool sacked = false;          ///< the peer has it, above a gap
  bool lost = false;            ///< to be sent again
  bool retransmitted = false;   ///< sent more than once: gives no round-trip sample (Karn)
  bool in_flight_again = false; ///< the retransmission is outstanding

  std::uint32_t length() const noexcept { return static_cast<std::uint32_t>(end - start); }
};

/// All connections of a core share one slab: an idle connection has no records.
using SentSlab = Slab<SentSegment>;

/// What an ACK newly delivered, for RTT, RACK and congestion control.
struct Delivery {
  std::uint32_t octets = 0;            ///< acknowledged or SACKed for the first time
  TimePoint first_sent;                ///< of the earliest never-retransmitted segment among them, for the RTO ...
  TimePoint last_sent;                 ///< ... and of the latest sent one of all, with its end: RFC 8985's RACK.segment
  SeqNum last_end;
  std::uint32_t last_index = 0;        ///< where its record is or was: what lies beside it (DeliveryRate) is still there
  bool has_sample = false;             ///< first_sent is valid
  bool has_last = false;               ///< last_sent is valid
  bool last_retransmitted = false;
  bool retransmitted = false;          ///< at least one of them was sent more than once
  bool below_highest = false;          ///< a never-retransmitted one lay below what was SACKed before: reordering
};

/// What a flight needs beyond the order of its records once one of them was SACKed, held for lost or sent again: counts of
/// octets, and the order of transmission. Most connections never have one.
class Disorder {
 public:
  std::uint32_t sacked() const noexcept { return sacked_; }
  std::uint32_t lost() const noexcept { return lost_; }
  /// Lost, and not on its way again.
  std::uint32_t to_repair() const noexcept { return lost_ - retransmitted_; }

 private:
  friend class Scoreboard;
  static constexpr std::uint32_t nil = SentSlab::nil;

  bool undisturbed() const noexcept { return !by_time_ && (sacked_ | lost_) == 0; }
  void count(const SentSegment& segment) noexcept;
  void uncount(const SentSegment& segment) noexcept;
  void link_last(SentSlab& slab, std::uint32_t index) noexcept;
  void unlink(SentSlab& slab, std::uint32_t index) noexcept;

  // By time of the last transmission. Kept from the first retransmission until nothing is outstanding: before it, both
  // orders are the same.
  std::uint32_t head_sent_ = nil, tail_sent_ = nil;
  std::uint32_t lost_hint_ = nil;                    // no lost segment lies before it (nil: unknown, start at the first)
  std::uint32_t sack_hint_ = nil;                    // where the last SACK block ended
  std::uint32_t sacked_ = 0, lost_ = 0, retransmitted_ = 0;  // octets
  SeqNum highest_sacked_;                            // valid while sacked_ != 0
  bool by_time_ = false;
};

/// The records of one connection. Functions that can meet disorder are given the connection's, null while it has none.
class Scoreboard {
 public:
  static constexpr std::uint32_t nil = SentSlab::nil;

  bool empty() const noexcept { return head_ == nil; }
  std::uint32_t outstanding() const noexcept { return outstanding_; }
  /// RFC 6675's pipe: octets that are believed to be in the network.
  std::uint32_t in_flight(const Disorder& disorder) const noexcept {
    return outstanding_ - disorder.sacked_ - disorder.lost_ + disorder.retransmitted_;
  }

  /// A new segment was sent; it starts where the last one ended. False when the slab is full (then do not send).
  [[nodiscard]] bool sent(SentSlab& slab, Disorder* disorder, SeqNum start, SeqNum end, TimePoint now) noexcept;
  /// A segment was sent again.
  void sent_again(SentSlab& slab, Disorder& disorder, std::uint32_t index, TimePoint now) noexcept;
  /// Cumulative acknowledgment: forgets what lies before `una`.
  void acknowledge(SentSlab& slab, Disorder* disorder, SeqNum una, Delivery& delivery) noexcept {
    if (disorder == nullptr || disorder->undisturbed()) [[likely]] {
      acknowledge_undisturbed(slab, una, delivery);
    } else {
      acknowledge_disturbed(slab, *disorder, una, delivery);
    }
  }
  /// A SACK block. Segments that lie wholly inside are marked.
  void sack(SentSlab& slab, Disorder& disorder, SeqNum left, SeqNum right, Delivery& delivery) noexcept;
  /// Marks one segment lost, or its retransmission lost again.
  void mark_lost(SentSlab& slab, Disorder& disorder, std::uint32_t index) noexcept;
  /// After a timeout: everything that was not SACKed is lost, retransmissions included. With `renege`, SACKs are
  /// forgotten too (RFC 2018 8).
  void mark_all_lost(SentSlab& slab, Disorder& disorder, bool renege) noexcept;
  /// Takes a loss mark back: the original arrived after all, or the timeout was spurious.
  void unmark_all_lost(SentSlab& slab, Disorder& disorder) noexcept;
  /// Cuts a segment so that its first part has `length` octets (a smaller MSS). False when the slab is full.
  [[nodiscard]] bool split(SentSlab& slab, Disorder& disorder, std::uint32_t index, std::uint32_t length) noexcept;

  /// The first lost segment that is not on its way again, by sequence number; nil when there is none.
  std::uint32_t next_lost(const SentSlab& slab, Disorder& disorder) const noexcept {
    return disorder.to_repair() == 0 ? nil : find_lost(slab, disorder);
  }
  std::uint32_t first() const noexcept { return head_; }
  std::uint32_t last() const noexcept { return tail_; }
  /// The segment sent longest ago, and the one sent after `index`.
  std::uint32_t oldest_sent(const Disorder& disorder) const noexcept { return disorder.by_time_ ? disorder.head_sent_ : head_; }
  static std::uint32_t next_sent(const SentSlab& slab, const Disorder& disorder, std::uint32_t index) noexcept {
    return disorder.by_time_ ? slab[index].next_sent : slab[index].next;
  }

  void clear(SentSlab& slab, Disorder* disorder) noexcept;

 private:
  void acknowledge_undisturbed(SentSlab& slab, SeqNum una, Delivery& delivery) noexcept;
  void acknowledge_disturbed(SentSlab& slab, Disorder& disorder, SeqNum una, Delivery& delivery) noexcept;
  std::uint32_t find_lost(const SentSlab& slab, Disorder& disorder) const noexcept;
  void remove(SentSlab& slab, Disorder& disorder, std::uint32_t index) noexcept;
  void start_time_order(SentSlab& slab, Disorder& disorder) const noexcept;
  static void deliver(const SentSlab& slab, const Disorder& disorder, const SentSegment& segment, Delivery& delivery) noexcept;

  std::uint32_t head_ = nil, tail_ = nil;            // by sequence number
  std::uint32_t outstanding_ = 0;                    // octets
};

}  // namespace pollux
