#include "pollux/tcp/rack.h"

#include <algorithm>

namespace pollux {

void Rack::on_delivery(const Delivery& delivery, TimePoint now, RttEstimator& rtt) noexcept {
  if (delivery.below_highest) reordering_seen_ = true;
  if (!delivery.has_last) return;
  const std::int64_t rtt_us = std::clamp<std::int64_t>((now - delivery.last_sent).us(), 1, 0x7fffffff);
  const std::int64_t min_us = rtt.min_rtt().us();
  // RFC 8985 6.2 step 2: an ACK that comes too soon for the retransmission is of the original, and says nothing about
  // it. An eighth is allowed for the path's jitter: a true answer that is ignored costs a timeout.
  if (delivery.last_retransmitted && rtt_us < min_us - min_us / 8) return;
  if (!delivery.last_retransmitted) rtt.note_min(now - delivery.last_sent);
  rtt_us_ = static_cast<std::uint32_t>(rtt_us);
  if (delivery.last_sent > sent_at_ || (delivery.last_sent == sent_at_ && delivery.last_end.after(end_))) {
    sent_at_ = delivery.last_sent;
    end_ = delivery.last_end;
  }
}

void Rack::on_dsack(SeqNum una, SeqNum nxt) noexcept {
  // Once a round trip the window grows by a quarter of the minimum round trip, for 16 recoveries.
  if (dsack_round_open_ && una.before(dsack_round_end_)) return;
  dsack_round_open_ = true;
  dsack_round_end_ = nxt;
  window_steps_ = static_cast<std::uint8_t>(std::min(window_steps_ + 1, 255));
  window_persist_ = 16;
}

void Rack::on_recovery_exit() noexcept {
  if (window_persist_ > 0 && --window_persist_ == 0) window_steps_ = 1;
}

Duration Rack::reordering_window(const Disorder& disorder, const RttEstimator& rtt, bool in_recovery,
                                 std::uint32_t mss) const noexcept {
  // RFC 8985 6.2 step 4: none while nothing was ever reordered and there is reason enough to believe in loss.
  constexpr std::uint32_t dup_threshold = 3;
  if (!reordering_seen_ && (in_recovery || disorder.sacked() >= dup_threshold * mss)) return Duration{};
  return std::min(Duration::from_us(window_steps_ * rtt.min_rtt().us() / 4), rtt.srtt());
}

Duration Rack::detect(Scoreboard& board, Disorder& disorder, SentSlab& slab, TimePoint now, const RttEstimator& rtt,
                      bool in_recovery, std::uint32_t mss, std::uint32_t& newest_lost) const noexcept {
  if (rtt_us_ == 0) return Duration{};  // nothing was delivered yet
  const Duration wait = Duration::from_us(rtt_us_) + reordering_window(disorder, rtt, in_recovery, mss);
  Duration first_timeout{};
  for (std::uint32_t i = board.oldest_sent(disorder); i != Scoreboard::nil;) {
    const SentSegment& segment = slab[i];
    if (segment.sent_at > sent_at_) break;  // it, and all behind it in this list, may still arrive
    const std::uint32_t next = Scoreboard::next_sent(slab, disorder, i);
    const bool sent_before = segment.sent_at < sent_at_ || segment.end.before(end_);
    if (sent_before && !segment.sacked && (!segment.lost || segment.in_flight_again)) {
      const Duration remaining = segment.sent_at + wait - now;
      if (remaining <= Duration{}) {
        board.mark_lost(slab, disorder, i);
        newest_lost = i;
      } else {
        first_timeout = std::max(first_timeout, remaining);
      }
    }
    i = next;
  }
  return first_timeout;
}

}  // namespace pollux
