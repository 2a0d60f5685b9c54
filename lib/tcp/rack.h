// RACK (RFC 8985 6): a segment is lost when one sent sufficiently later was delivered.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/time.h"
#include "pollux/tcp/scoreboard.h"

namespace pollux {

/// The state of RFC 8985 5.2, per connection.
class Rack {
 public:
  /// Takes in what an ACK delivered (6.2 steps 1 to 3).
  void on_delivery(const Delivery& delivery, TimePoint now) noexcept;
  /// A D-SACK arrived: the reordering window was too small (6.2 step 4).
  void on_dsack(SeqNum una, SeqNum nxt) noexcept;
  /// Recovery ended: one less round with a widened window.
  void on_recovery_exit() noexcept;
  void note_reordering() noexcept { reordering_seen_ = true; }

  /// 6.2 step 5. Marks lost segments in `board`; returns how long to wait for the first that is not lost yet but will be,
  /// or zero when there is none. `newest_lost`: the last one it marked; left alone when it marked none.
  Duration detect(Scoreboard& board, SentSlab& slab, TimePoint now, Duration srtt, bool in_recovery, std::uint32_t mss,
                  std::uint32_t& newest_lost) noexcept;

  /// Zero: no round trip yet.
  Duration min_rtt() const noexcept { return Duration::from_us(min_rtt_us_); }
  bool reordering_seen() const noexcept { return reordering_seen_; }
  std::uint8_t window_steps() const noexcept { return window_steps_; }
  /// A round trip measured otherwise: the handshake's.
  void note_rtt(Duration rtt) noexcept {
    min_rtt_us_ = static_cast<std::uint32_t>(std::clamp<std::int64_t>(rtt.us(), 1, 0x7fffffff));
  }

 private:
  Duration reordering_window(const Scoreboard& board, Duration srtt, bool in_recovery, std::uint32_t mss) const noexcept;

  TimePoint sent_at_;            // RACK.xmit_ts
  SeqNum end_;                   // RACK.end_seq
  std::uint32_t rtt_us_ = 0;     // RACK.rtt
  std::uint32_t min_rtt_us_ = 0; // smallest ever seen; 0: none yet
  SeqNum dsack_round_end_;
  std::uint8_t window_steps_ = 1;  // RACK.reo_wnd_mult, in quarters of the minimum round trip
  std::uint8_t window_persist_ = 0;
  bool dsack_round_open_ = false;
  bool reordering_seen_ = false;
};

}  // namespace pollux
