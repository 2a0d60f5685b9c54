// What an operator or application can set about TCP. Everything has Linux's or the RFC's default.
#pragma once

#include <cstdint>
#include <optional>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

/// Congestion controllers: RFC 5681 with 6582, RFC 9438, RFC 8257, draft-ietf-ccwg-bbr (version 3). DCTCP is for networks whose
/// queues mark early and whose senders all use it. It asks for ECN and agrees to it whatever `ecn` says; where the peer does
/// not, it is NewReno. BBR paces whatever `pacing` says.
enum class TcpCongestion : std::uint8_t { newreno, cubic, dctcp, bbr };

/// When a SYN is answered by a cookie instead of a half-open connection (RFC 4987 3.6).
enum class TcpSynCookies : std::uint8_t {
  off,       ///< never: SYNs beyond a listener's backlog are dropped
  pressure,  ///< beyond a listener's backlog
  on,        ///< always
};

/// Explicit congestion notification (RFC 3168): queues mark packets instead of dropping them.
enum class TcpEcn : std::uint8_t {
  off,      ///< neither asked for nor agreed to
  passive,  ///< agreed to when the peer asks (Linux's default)
  active,   ///< asked for by connect() too
};

/// Per stack; the connection-level part (TcpConnOptions) can be overridden per listener or connect().
struct TcpConnOptions {
  std::uint32_t receive_buffer = 256 * 1024;  ///< octets, 4 KiB..1 GiB: received and still kept by the application
  std::uint32_t receive_buffer_max = 6 << 20; ///< what it may grow to with what arrives in a round trip; 0: it does not
  std::uint32_t send_buffer = 256 * 1024;     ///< octets, 4 KiB..1 GiB: accepted by send() and not yet acknowledged
  std::uint32_t send_buffer_max = 4 << 20;    ///< what it may grow to, twice the congestion window; 0: it does not
  bool nagle = true;                          ///< RFC 9293 3.7.4
  bool timestamps = true;                     ///< offer RFC 7323 timestamps
  bool window_scaling = true;                 ///< offer RFC 7323 window scale
  bool sack = true;                           ///< offer selective acknowledgment, RFC 2018, and recover by RFC 8985
  TcpCongestion congestion = TcpCongestion::cubic;
  TcpEcn ecn = TcpEcn::passive;
  /// ECN++ (draft-ietf-tcpm-generalized-ecn): with ECN, SYN-ACKs, FINs, RSTs, retransmissions and window probes are ECN-capable
  /// too. SYNs and pure ACKs are not: only AccECN could tell of marks on them.
  bool ecn_plus_plus = false;
  bool pacing = false;                        ///< segments leave at the window's pace, in bursts of about 1 ms
  std::uint32_t pacing_rate_max = 0;          ///< payload octets a second at most while paced (SO_MAX_PACING_RATE); 0: no cap
  bool delayed_ack = true;                    ///< RFC 9293 3.8.6.3
  bool keepalive = false;                     ///< RFC 9293 3.8.4 (MUST-25: off)
  Duration keepalive_idle = Duration::from_s(7200);
  Duration keepalive_interval = Duration::from_s(75);
  std::uint8_t keepalive_count = 9;           ///< unanswered probes before the connection is given up
  /// R2 in time (RFC 9293 3.9.1, RFC 5482): how long sent data may stay unacknowledged. It also ends an idle connection
  /// whose keepalives stay unanswered that long, in place of keepalive_count. 0: retries decide.
  Duration user_timeout = Duration{};
  Duration linger = Duration{};               ///< after close(), what is not acknowledged in time is reset; 0: retries decide
  bool reset_on_close = false;                ///< close() is abort(), as SO_LINGER with time 0 has it
  std::uint16_t mss_max = 0;                  ///< clamps the MSS of both directions, 88..65535; 0: by the MTU
  std::uint32_t not_sent_low_water = 0;       ///< octets send() lets wait unsent (TCP_NOTSENT_LOWAT); 0: the send buffer
  /// Smaller packets after three timeouts, and probes for what the path carries (RFC 4821, RFC 8899); then a smaller size named by
  /// ICMP is left by probes too. Linux has it off, too.
  bool black_hole_detection = false;
  std::uint8_t retries_max = 15;              ///< R2 in retransmissions (about 15 minutes), 1..30
  std::uint8_t syn_retries_max = 7;           ///< R2 of a SYN, 1..30; 7 last the 3 minutes of MUST-23
  std::uint8_t syn_ack_retries_max = 5;       ///< of a SYN-ACK, 1..30
  /// TCP Fast Open (RFC 7413). connect(): what send() queues before the next flush goes with the SYN, once the server has
  /// given a cookie. listen(): such data is delivered, and answered, before the handshake is complete; it may come twice,
  /// on two connections, if the network duplicates the SYN.
  bool fast_open = false;
  std::uint8_t ttl = 64;                      ///< 1..255 (MUST-49)
  std::uint8_t tos = 0;                       ///< Diffserv octet (MUST-48); its two ECN bits are TCP's and count as 0

  static constexpr std::uint8_t diffserv_mask = 0xfc;  ///< of `tos`
  bool operator==(const TcpConnOptions&) const noexcept = default;
};

struct TcpOptions {
  TcpConnOptions conn;
  std::uint32_t connections_max = 65536;      ///< per core, TIME-WAIT not included
  std::uint32_t time_wait_max = 65536;        ///< per core; beyond it the oldest ends early
  std::uint32_t listeners_max = 1024;
  Duration msl = Duration::from_s(30);        ///< TIME-WAIT lasts twice this (Linux: 60 s in all)
  Duration time_wait_reuse_after = Duration::from_s(1);  ///< connect() may take such ports, RFC 6191; 0: never
  bool rfc1337 = false;                       ///< a RST does not end TIME-WAIT (RFC 1337), which Linux has off too
  Duration rto_min = Duration::from_ms(200);  ///< Linux's; RFC 6298 2.4 says 1 s
  Duration rto_max = Duration::from_s(120);
  Duration rto_initial = Duration::from_s(1); ///< RFC 6298 2.1
  Duration delayed_ack_max = Duration::from_ms(40);  ///< below 500 ms (MUST-40)
  TcpSynCookies syn_cookies = TcpSynCookies::pressure;
  std::uint32_t fast_open_pending_max = 256;  ///< connections opened by a SYN alone and not yet acknowledged, RFC 7413 5.1
  Duration fast_open_key_lifetime = Duration::from_s(3600);  ///< then the server's key changes; the last one stays good
  std::uint8_t initial_window_segments = 10;  ///< RFC 6928
  std::uint32_t challenge_acks_per_second = 1000;  ///< RFC 5961 7
  Duration fin_wait_2_max = Duration::from_s(60);  ///< how long a close()d connection waits for the peer's FIN
  std::uint16_t out_of_order_segments_max = 1024;  ///< per connection
  std::uint32_t out_of_order_total_max = 65536;    ///< per core
  /// Packets of the core's pool that applications may keep of what they received; beyond, what is small for the packets it
  /// lies in is copied together with others like it. 0: a quarter of the pool.
  std::uint32_t kept_packets_max = 0;
  std::uint32_t outstanding_segments_max = 1u << 18;  ///< sent and unacknowledged, per core
  std::uint16_t ephemeral_port_first = 32768;
  std::uint16_t ephemeral_port_last = 60999;
};

struct TcpListenOptions {
  IpAddress address;          ///< 0.0.0.0 or [::]: every local address, of both families
  std::uint16_t port = 0;     ///< host byte order, 1..65535
  std::uint32_t backlog = 4096;  ///< half-open connections; for more SYNs see TcpSynCookies
  std::optional<TcpConnOptions> conn = {};  ///< for accepted connections; default: the stack's
};

struct TcpConnectOptions {
  Endpoint remote;
  Endpoint local;             ///< 0.0.0.0 / 0: chosen by route and from the ephemeral range
  std::optional<TcpConnOptions> conn = {};  ///< default: the stack's
};

}  // namespace pollux
