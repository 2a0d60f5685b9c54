// What an operator or application can ask about connections and listeners, as Linux's TCP_INFO and `ss -ti` tell it.
// Everything is derived from the control block when asked; the data path keeps nothing for it.
#pragma once

#include <cstdint>

#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/tcp/cc/bbr.h"
#include "pollux/tcp/conn.h"
#include "pollux/tcp/options.h"
#include "pollux/tcp/recovery.h"
#include "pollux/wire/address.h"

namespace pollux {

/// What runs against a connection; the earliest of several.
enum class TcpTimer : std::uint8_t { none, retransmission, persist, tail_probe, reordering, delayed_ack, keepalive, fin_wait_2, pacing };
const char* tcp_timer_name(TcpTimer timer) noexcept;
const char* tcp_congestion_name(TcpCongestion congestion) noexcept;
const char* recovery_mode_name(RecoveryMode mode) noexcept;

/// A copy of one connection's state; sizes in octets. `state` is closed, and nothing else set, for a connection that is
/// gone.
struct TcpInfo {
  SlabHandle handle;
  TcpState state = TcpState::closed;
  Endpoint local;
  Endpoint remote;
  bool active_open = false;          ///< opened by connect()
  // Negotiated
  bool timestamps = false;           ///< RFC 7323
  bool sack = false;                 ///< RFC 2018
  bool window_scaling = false;       ///< RFC 7323
  bool ecn = false;                  ///< RFC 3168
  std::uint8_t send_scale = 0;       ///< shift of windows that the peer sends
  std::uint8_t receive_scale = 0;    ///< shift of windows that we send
  std::uint16_t mss = 0;             ///< payload of a full segment that we send
  std::uint16_t receive_mss = 0;     ///< largest payload received
  std::uint16_t advertised_mss = 0;  ///< as offered
  // Round trips, RFC 6298; zero before the first sample
  Duration srtt;
  Duration rttvar;
  Duration min_rtt;
  Duration rto;                      ///< with its back-off
  std::uint8_t backoff = 0;          ///< doublings of the RTO
  std::uint8_t retries = 0;          ///< of the oldest segment, or unanswered zero-window probes
  std::uint8_t keepalives = 0;       ///< unanswered keepalive probes
  TcpTimer timer = TcpTimer::none;
  Duration timer_in;                 ///< until it expires
  // Congestion and recovery
  TcpCongestion congestion = TcpCongestion::cubic;
  RecoveryMode recovery = RecoveryMode::open;
  bool reducing = false;             ///< the window shrinks because of congestion marks (RFC 3168 6.1.2)
  std::uint32_t cwnd = 0;            ///< may be in flight
  std::uint32_t ssthresh = 0;        ///< 0xffffffff or so: none yet
  std::uint64_t pacing_rate = 0;     ///< payload octets a second; 0: not paced
  /// Payload octets a second: with BBR what the path is believed to carry, else what it delivered in the last whole round trip
  /// with data outstanding; 0: not known, since the congestion window was never in use.
  std::uint64_t delivery_rate = 0;
  BbrState bbr_state = BbrState::startup;  ///< with BBR
  std::uint32_t in_flight = 0;       ///< believed to be in the network (RFC 6675 pipe)
  std::uint32_t sacked = 0;          ///< received above a gap
  std::uint32_t lost = 0;            ///< held for lost and not yet acknowledged
  std::uint8_t duplicate_acks = 0;   ///< in a row, without SACK
  bool reordering_seen = false;      ///< RFC 8985 6.2
  std::uint8_t reordering_steps = 1; ///< reordering window in quarters of min_rtt (RFC 8985 RACK.reo_wnd_mult)
  // Sending
  std::uint32_t send_queue = 0;      ///< accepted from the application and not acknowledged (ss: Send-Q)
  std::uint32_t not_sent = 0;        ///< the part of it that was never sent
  std::uint32_t send_buffer = 0;     ///< its limit
  std::uint32_t peer_window = 0;     ///< that the peer offers
  std::uint32_t acknowledged = 0;    ///< payload acknowledged so far, modulo 2^32
  std::uint32_t retransmits = 0;     ///< segments with data or a FIN that were sent again, in all
  Duration busy;                     ///< in which something was outstanding, in all; short stays are right on average
  Duration window_limited;           ///< in which the peer's window, not congestion control, held data back (rwnd_limited)
  Duration buffer_limited;           ///< in which the application had more than the send buffer takes (sndbuf_limited)
  // Receiving
  std::uint32_t receive_kept = 0;    ///< delivered and held by the application (ss: Recv-Q)
  std::uint32_t receive_buffer = 0;  ///< its limit
  std::uint32_t receive_window = 0;  ///< that we offer
  std::uint32_t out_of_order = 0;    ///< stretches that wait for a gap to fill
  // Since when
  Duration last_received;            ///< since the last acceptable segment
  Duration last_sent;                ///< since data was last sent; since it was opened when none was
};

/// Which connections to list. What is unspecified, zero or empty matches all.
struct TcpFilter {
  std::uint16_t states = 0xffff;  ///< bit (1 << TcpState)
  IpAddress local;
  IpAddress remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;
  bool only_troubled = false;     ///< in recovery, retransmitting, probing, or with data waiting for a closed window
  bool matches(const TcpInfo& info) const noexcept;
};

/// A listing in steps, so that a core with a million connections is never held up: each step looks at no more than
/// slots_max slots. Connections that come or go between two steps may be missed.
struct TcpScan {
  static constexpr std::uint32_t slots_max = 4096;
  TcpFilter filter;
  std::uint32_t next_slot = 0;  ///< where the next step begins
  bool done = false;
};

struct TcpListenerInfo {
  Endpoint local;
  std::uint32_t backlog = 0;
  std::uint32_t half_open = 0;
};

/// How full one core's tables are.
struct TcpUsage {
  struct Table {
    std::uint32_t used = 0;
    std::uint32_t max = 0;
    std::uint64_t octets_touched = 0;  ///< of memory ever used
  };
  Table connections;
  Table disturbed;     ///< those that have the state of losses, reordering or full windows
  Table time_wait;
  Table listeners;
  Table out_of_order;  ///< stretches that wait for a gap, of all connections
  Table kept;          ///< mbufs in deliveries that applications keep; max: before small ones are copied together
  Table outstanding;   ///< segments sent and not acknowledged, of all connections
  std::uint32_t timers_armed = 0;
};

}  // namespace pollux
