// The transmission control block of one connection (RFC 9293 3.3.1), grouped by who touches what on the
// established path.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/tcp/cc/congestion_control.h"
#include "pollux/tcp/cc/delivery_rate.h"
#include "pollux/tcp/cc/marked_share.h"
#include "pollux/tcp/conn.h"
#include "pollux/tcp/flow_key.h"
#include "pollux/tcp/options.h"
#include "pollux/tcp/out_of_order_queue.h"
#include "pollux/tcp/pacer.h"
#include "pollux/tcp/recovery.h"
#include "pollux/tcp/rtt_estimator.h"
#include "pollux/tcp/scoreboard.h"
#include "pollux/tcp/send_queue.h"
#include "pollux/tcp/sender_limits.h"
#include "pollux/timer/timer_wheel.h"

namespace pollux {

/// Send sequence space, RFC 9293 figure 3.
struct SendSpace {
  SeqNum una;            ///< oldest unacknowledged
  SeqNum nxt;            ///< next to send for the first time (a SYN: to una again when it is repeated)
  SeqNum max;            ///< highest ever sent plus one: what an ACK may acknowledge
  std::uint32_t wnd = 0;      ///< the peer's window, scaled
  SeqNum wl1;            ///< segment that last updated wnd: its sequence number ...
  SeqNum wl2;            ///< ... and acknowledgment
};

/// Receive sequence space, RFC 9293 figure 4.
struct RecvSpace {
  SeqNum nxt;
  SeqNum edge;           ///< right edge of the advertised window; never moves left (SHLD-14)
  std::uint32_t kept = 0;          ///< octets the application holds (charged Bytes)
  std::uint32_t unacked = 0;       ///< octets received since the last ACK was sent
  std::uint32_t window() const noexcept { return static_cast<std::uint32_t>(edge - nxt); }
};

/// What is to be sent in the next flush, and standing conditions. Bits, so that one load tells.
struct TcbFlags {
  bool dirty : 1 = false;            ///< in the flush list
  bool ack_now : 1 = false;          ///< an ACK is due in the next flush
  bool ack_pending : 1 = false;      ///< an ACK is owed, by the delayed-ACK deadline at the latest
  bool probe_due : 1 = false;        ///< send a zero-window probe
  bool keepalive_due : 1 = false;    ///< send a keepalive probe
  bool tail_probe_due : 1 = false;   ///< send a tail loss probe (RFC 8985 7.3)
  bool dsack_due : 1 = false;        ///< report `dsack` in the next ACK (RFC 2883)
  bool sack : 1 = false;             ///< negotiated (RFC 2018 2)
  bool fin_queued : 1 = false;       ///< the application closed its sending side
  bool app_closed : 1 = false;       ///< close(): no more on_data
  bool active_open : 1 = false;      ///< RFC 9293 MUST-11
  bool want_writable : 1 = false;    ///< a send() was cut short
  bool timestamps : 1 = false;       ///< negotiated (RFC 7323 3.2)
  bool window_scaling : 1 = false;   ///< negotiated (RFC 7323 2.2)
  bool nagle : 1 = false;
  bool keepalive : 1 = false;
  bool cwnd_limited : 1 = false;     ///< cwnd, not the application or the peer, stopped the last output
  bool defunct : 1 = false;          ///< closed; waits for flush to free it
  bool connected : 1 = false;        ///< on_connected was called
  bool soft_error_told : 1 = false;  ///< R1 was reported for this outage
  bool peer_fin_known : 1 = false;   ///< a FIN arrived ahead of missing data, at `peer_fin`
  bool urgent_in : 1 = false;        ///< the peer's urgent mark lies ahead of what was delivered
  bool urgent_out : 1 = false;       ///< ours has not been acknowledged
  bool ece_due : 1 = false;          ///< ACKs echo a congestion mark until the peer's CWR (RFC 3168 6.1.3)
  bool fast_open_pending : 1 = false;     ///< opened by its SYN; no ACK has come yet (RFC 7413 4.2)
  bool fast_open_cookie_due : 1 = false;  ///< the SYN-ACK brings a cookie
  bool syn_ack_due : 1 = false;      ///< send (again) the SYN-ACK of such a connection
  bool dctcp : 1 = false;            ///< RFC 8257, with ECN; ece_due is then DCTCP.CE: the last segment was marked
  bool ecn : 1 = false;              ///< negotiated (RFC 3168 6.1.1); until the handshake is over: offered
  bool cwr_due : 1 = false;          ///< the next new data says that the window was reduced (RFC 3168 6.1.2)
  bool paced : 1 = false;            ///< output is spaced by the pacer of `extras`
  bool cork : 1 = false;             ///< only full segments leave
};

/// Where a round trip's worth of arrivals is counted from, for the size of the receive buffer.
struct ReceiveRound {
  std::uint32_t start;  // a sequence number
  std::uint32_t since_ms;
};

/// ACKs of what came before marks began or ended, for the next flush (RFC 8257 3.2).
struct OwedAcks {
  static constexpr std::uint8_t max = 8;  ///< a turn; further ones count with the next
  std::array<SeqNum, max> ack;
  std::uint8_t count = 0;
  std::uint8_t echoes = 0;  ///< a bit for each, the first one's lowest: with ECE
  /// The first one was sent.
  void pop() noexcept {
    std::copy(ack.begin() + 1, ack.end(), ack.begin());
    echoes = static_cast<std::uint8_t>(echoes >> 1);
    --count;
  }
};

/// What a connection with BBR knows of its path.
struct PathModel {
  PathModel(std::uint32_t mss, std::uint32_t window, Duration srtt, std::uint32_t seed, TimePoint now) noexcept
      : bbr(mss, window, srtt, seed, now) {}
  DeliveryRate rate;
  Bbr bbr;
  std::uint64_t round_delivered = 0;  ///< where the round trip ends in which the window was in use or not
  bool limited = false;               ///< it was, in this one ...
  bool was_limited = false;           ///< ... or in the one before
  bool drained = false;               ///< all that was queued had been sent
};

/// What few connections have: made when it is first needed, and gone with the connection.
struct ConnExtras {
  TcpConnOptions options;  ///< of this connection alone, once it has changed one
  SeqNum send_urgent;      ///< SND.UP: behind the last urgent octet (RFC 9293 MUST-62); valid while urgent_out
  SeqNum recv_urgent;      ///< RCV.UP; valid while urgent_in
  SeqNum claim_quotes;     ///< the segment that an ICMP error quoted; valid while claimed_mtu != 0
  std::uint16_t claimed_mtu = 0;  ///< by that error, to be believed if the segment times out
  std::uint16_t full_mss = 0;     ///< before the path MTU was lowered; 0: it was not
  std::uint16_t mss_too_large = 0;  ///< the smallest that a probe found so; above full_mss: none yet
  std::uint16_t probe_mss = 0;    ///< of the segment that probes for a larger path MTU, at `probe_start`; 0: there is none
  SeqNum probe_start;
  TimePoint lower_mtu_until;      ///< then a larger one is tried
  Pacer pacer;             ///< while paced
  MarkedShare marks;       ///< while dctcp
  OwedAcks owed_acks;      ///< while dctcp
  std::uint32_t model = Slab<PathModel>::nil;  ///< index, with BBR
  std::uint32_t overdraft = 0;    ///< octets that an echo put into the send queue beyond its limit, until it has drained by as many
};

/// What a connection has from the first time that something of it is lost or out of order, or that a window or buffer of its
/// sender is full: made then, and gone with the connection. Most servers' connections never have one.
struct Disturbance {
  Disorder disorder;
  LossRecovery loss;
  CongestionControl cc;
  RoundRate rate;
  SenderLimits limits;
  std::uint32_t retransmits = 0;  ///< segments with data or a FIN that were sent again
  OutOfOrderQueue out_of_order;
  SeqNum peer_fin;         ///< valid while peer_fin_known
  SackBlock dsack;         ///< valid while dsack_due

  /// What connections have that have none of their own.
  static const Disturbance none;
};
inline constinit const Disturbance Disturbance::none{};

/// What the retransmission deadline stands for.
enum class TimerKind : std::uint8_t {
  retransmission,  ///< RFC 6298 after a timeout or probe; persist; the handshake
  flight,          ///< tail loss probe (RFC 8985 7.2) or retransmission, whichever is due first when it fires
  reordering,      ///< RFC 8985 6.3
};

/// What an echo touches comes first and fits four cache lines (tests/unit/tcp_layout_test.cc); what few segments need is behind.
struct Tcb : TimerNode {
  /// Short stays may fall into no tick or one: on average what is counted is right, and an echo mostly writes nothing.
  static constexpr int busy_tick_shift = 20;
  static constexpr Duration busy_tick = Duration::from_ns(1 << busy_tick_shift);

  // --- every segment
  StoredKey key;                     ///< Tcp::key_of() has it in full
  TcpState state = TcpState::closed;
  std::uint8_t send_scale = 0;       ///< shift of windows the peer sends
  std::uint8_t recv_scale = 0;       ///< shift of windows we send
  std::uint8_t dup_acks_due = 0;     ///< duplicates to send in the next flush (RFC 5681 4.2: one per segment)
  std::uint8_t backoff = 0;          ///< doublings of the RTO
  std::uint8_t retries = 0;          ///< of the segment at una, or unanswered probes
  std::uint8_t keepalives_sent = 0;
  TimerKind timer_kind = TimerKind::retransmission;
  TcbFlags is;
  RecvSpace rcv;
  SendSpace snd;
  std::uint32_t ts_recent = 0;       ///< RFC 7323 4.3
  std::uint32_t ts_offset = 0;       ///< added to our clock in TSval
  std::uint8_t tos = 0;
  std::uint16_t advertised_mss = 0;  ///< the MSS we offered, options deducted
  std::uint16_t mss = 0;             ///< payload octets of a full segment to send, options deducted
  std::uint16_t recv_mss = 0;        ///< what we take for a full-sized segment from the peer: the largest seen
  std::uint32_t next_dirty = Slab<int>::nil;
  std::uint32_t last_received_ms = 0;  ///< an acceptable segment: for keepalive, and the age of ts_recent
  std::uint32_t last_sent_ms = 0;      ///< data: for the idle restart (RFC 5681 4.1)
  std::uint32_t first_cwnd = 0;      ///< octets; the congestion window until `disturbance` has a controller of it
  SendQueue queue;
  TcpHandler* handler = nullptr;
  RouteCache route;
  std::uint32_t extras = Slab<int>::nil;    ///< index of ConnExtras, which few connections have
  // Deadlines; never() when off. TimerNode holds the earliest or an earlier moment.
  TimePoint rto_deadline = TimePoint::never();         ///< what timer_kind says
  TimePoint ack_deadline = TimePoint::never();         ///< delayed ACK
  TimePoint progress;                ///< when the oldest outstanding octet was first sent or una last moved
  RttEstimator rtt;
  Scoreboard board;
  const TcpConnOptions* options = nullptr;  ///< interned, or those of `extras`
  const Disturbance* disturbance = &Disturbance::none;  ///< changed by Tcp::make_disturbance() only

  // --- few
  SeqNum iss;
  std::uint32_t wnd_max = 0;         ///< the peer's largest window ever (RFC 5961 5, sender SWS)
  std::uint64_t user_data = 0;
  TimePoint idle_deadline = TimePoint::never();        ///< keepalive, or FIN-WAIT-2 of an abandoned connection
  union {
    SlabHandle listener = {};        ///< while SYN-RECEIVED from a passive open
    ReceiveRound round;              ///< afterwards
  };
  std::uint32_t busy_ticks = 0;      ///< in which something was outstanding, of busy_tick each

  bool synchronized() const noexcept { return state >= TcpState::established; }
  bool is_undisturbed() const noexcept { return disturbance == &Disturbance::none; }
  const LossRecovery& loss() const noexcept { return disturbance->loss; }
  const Disorder& disorder() const noexcept { return disturbance->disorder; }
  const OutOfOrderQueue& out_of_order() const noexcept { return disturbance->out_of_order; }
  /// Octets that may be outstanding, by congestion control.
  std::uint32_t cwnd() const noexcept { return is_undisturbed() ? first_cwnd : disturbance->cc.cwnd(); }
  std::uint32_t ssthresh() const noexcept { return is_undisturbed() ? no_ssthresh : disturbance->cc.ssthresh(); }
  /// Octets believed to be in the network: RFC 6675's pipe; without SACK each duplicate ACK stands for a segment.
  std::uint32_t in_flight() const noexcept {
    const std::uint32_t pipe = board.in_flight(disorder());
    const std::uint32_t arrived = loss().dup_acks * std::uint32_t{mss};
    return pipe > arrived ? pipe - arrived : 0;
  }
  /// Our FIN is queued and not acknowledged: it belongs behind the last octet.
  bool fin_outstanding() const noexcept {
    return is.fin_queued && (state == TcpState::fin_wait_1 || state == TcpState::closing || state == TcpState::last_ack);
  }
};

}  // namespace pollux
