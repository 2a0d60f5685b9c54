// RACK (RFC 8985 6): a segment is lost when one sent sufficiently later was delivered.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/time.h"
#include "pollux/tcp/rtt_estimator.h"
#include "pollux/tcp/scoreboard.h"

namespace pollux {

/// The state of RFC 8985 5.2, per connection.
class Rack {
 public:
  /// Takes in what an ACK delivered (6.2 steps 1 to 3), its round trip into `rtt`'s minimum too.
  void on_delivery(const Delivery& delivery, TimePoint now, RttEstimator& rtt) noexcept;
  /// A D-SACK arrived: the reordering window was too small (6.2 step 4).
  void on_dsack(SeqNum una, SeqNum nxt) noexcept;
  /// Recovery ended: one less round with a widened window.
  void on_recovery_exit() noexcept;
  void note_reordering() noexcept { reordering_seen_ = true; }

  /// 6.2 step 5. Marks lost segments; returns how long to wait for the first that is not lost yet but will be,
  /// or zero when there is none. `newest_lost`: the last one it marked; left alone when it marked none.
  Duration detect(Scoreboard& board, Disorder& disorder, SentSlab& slab, TimePoint now, const RttEstimator& rtt, bool in_recovery,
                  std::uint32_t mss, std::uint32_t& newest_lost) const noexcept;

  bool reordering_seen() const noexcept { return reordering_seen_; }
  std::uint8_t window_steps() const noexcept { return window_steps_; }

 private:
  Duration reordering_window(const Disorder& disorder, const RttEstimator& rtt, bool in_recovery, std::uint32_t mss) const noexcept;

  TimePoint sent_at_;            // RACK.xmit_ts
  SeqNum end_;                   // RACK.end_seq
  std::uint32_t rtt_us_ = 0;     // RACK.rtt
  SeqNum dsack_round_end_;
  std::uint8_t window_steps_ = 1;  // RACK.reo_wnd_mult, in quarters of the minimum round trip
  std::uint8_t window_persist_ = 0;
  bool dsack_round_open_ = false;
  bool reordering_seen_ = false;
};

}  // namespace pollux
