// Where a connection stands in loss recovery, how much it may send meanwhile (PRR, RFC 9937), and its tail loss probe
// (RFC 8985 7).
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/tcp/rack.h"

namespace pollux {

/// Proportional Rate Reduction, RFC 9937 6: spreads the reduction of the window over the recovery's round trip.
class ProportionalRate {
 public:
  /// `flight`: octets outstanding and not SACKed when loss was detected (RecoverFS).
  void start(std::uint32_t flight) noexcept {
    recover_flight_ = std::max(flight, 1u);
    delivered_ = sent_ = 0;
  }
  void on_sent(std::uint32_t octets) noexcept { sent_ += octets; }
  /// The window for what an ACK that newly delivered `delivered` octets allows. `safe`: it advanced SND.UNA and showed no
  /// further loss (SafeACK).
  std::uint32_t window(std::uint32_t delivered, std::uint32_t pipe, std::uint32_t ssthresh, std::uint32_t mss,
                       bool safe) noexcept {
    delivered_ += delivered;
    std::int64_t allowance;
    if (pipe > ssthresh) {
      const std::uint64_t share = (std::uint64_t{delivered_} * ssthresh + recover_flight_ - 1) / recover_flight_;
      allowance = static_cast<std::int64_t>(share) - sent_;
    } else {
      allowance = std::max<std::int64_t>(std::int64_t{delivered_} - sent_, delivered);
      if (safe) allowance += mss;
      allowance = std::min<std::int64_t>(allowance, ssthresh - pipe);
    }
    if (sent_ == 0) allowance = std::max<std::int64_t>(allowance, mss);  // the fast retransmit itself
    return pipe + static_cast<std::uint32_t>(std::max<std::int64_t>(allowance, 0));
  }

 private:
  std::uint32_t recover_flight_ = 1;  // RecoverFS
  std::uint32_t delivered_ = 0;       // prr_delivered
  std::uint32_t sent_ = 0;            // prr_out
};

enum class RecoveryMode : std::uint8_t {
  open,      ///< no loss known
  recovery,  ///< fast recovery, until `recover` is acknowledged
  loss,      ///< after a retransmission timeout, until `recover` is acknowledged
};

/// Was the retransmission timeout needless? RFC 5682 2.1.
enum class TimeoutCheck : std::uint8_t {
  none,
  first_ack,   ///< the first segment was sent again: what does the next ACK say?
  second_ack,  ///< that one advanced, and new data went out: the one after it decides
};

struct LossRecovery {
  Rack rack;
  ProportionalRate prr;
  SeqNum recover;              ///< SND.NXT when the loss was detected (RFC 6582, RFC 6675 RecoveryPoint)
  /// While probe_sent: RFC 8985 TLP.end_seq. While may_undo: SND.UNA when the episode of loss began. Never both.
  SeqNum mark;
  SeqNum cwr_end;              ///< SND.MAX when marks reduced the window (RFC 3168 6.1.2); valid while in_cwr
  std::uint16_t unproven = 0;  ///< retransmissions of the episode that no D-SACK has shown needless; while may_undo
  RecoveryMode mode = RecoveryMode::open;
  TimeoutCheck timeout_check = TimeoutCheck::none;
  std::uint8_t dup_acks = 0;   ///< consecutive duplicates received, without SACK
  bool probe_sent : 1 = false;     ///< a tail loss probe is unanswered
  bool probe_was_retransmission : 1 = false;
  bool recover_valid : 1 = false;  ///< `recover` bars another reaction to duplicate ACKs (RFC 6582 3.2 step 1)
  bool may_undo : 1 = false;       ///< the last reduction can be taken back
  bool in_cwr : 1 = false;         ///< the window shrinks because of congestion marks; it does once until `cwr_end`
  bool by_model : 1 = false;       ///< BBR: a model of the path says what may be sent, in recovery too

  /// The congestion window is about to be reduced; `una`: SND.UNA.
  void begin_episode(SeqNum una) noexcept {
    probe_sent = false;
    may_undo = true;
    unproven = 0;
    mark = una;
  }
  void begin_probe(SeqNum nxt, bool retransmission) noexcept {
    may_undo = false;
    probe_sent = true;
    probe_was_retransmission = retransmission;
    mark = nxt;
  }
};

}  // namespace pollux
