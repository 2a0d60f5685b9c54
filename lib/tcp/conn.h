// What an application sees of TCP: handles and callbacks.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "pollux/base/slab.h"
#include "pollux/ip/send_status.h"
#include "pollux/packet/bytes.h"
#include "pollux/packet/external.h"
#include "pollux/tcp/options.h"
#include "pollux/wire/address.h"

namespace pollux {

class Tcp;
struct Tcb;
struct TcpInfo;

/// RFC 9293 3.3.2.
enum class TcpState : std::uint8_t {
  closed, listen, syn_sent, syn_received, established, fin_wait_1, fin_wait_2, close_wait, closing, last_ack,
  time_wait,
};
const char* tcp_state_name(TcpState state) noexcept;

/// Why a connection ended (RFC 9293 MUST-12: normal and aborted are told apart).
enum class CloseReason : std::uint8_t {
  normal,         ///< both directions finished by FIN
  reset_by_peer,  ///< RST on a synchronized connection
  refused,        ///< RST in answer to our SYN
  timed_out,      ///< retransmission, keepalive or user timeout
  unreachable,    ///< hard ICMP error
  aborted,        ///< abort(), or close() with data still arriving
  stack_stopped,  ///< the stack was shut down
};
const char* close_reason_name(CloseReason reason) noexcept;

/// A handle on a connection: 16 octets, copyable, hashable by value, safe after close (calls then do nothing and
/// return `closed` / false / 0). Only the owning core may use it.
class TcpConn {
 public:
  TcpConn() noexcept = default;
  TcpConn(Tcp* tcp, SlabHandle handle) noexcept : tcp_(tcp), handle_(handle) {}
  bool operator==(const TcpConn&) const noexcept = default;

  /// Queues bytes without copying payload. Takes what it accepts out of `bytes`; the rest stays there.
  /// Bytes that this same connection delivered are always accepted whole: beyond the send buffer they stay
  /// charged to its receive window, so an echo needs no buffering of its own. Other bytes are accepted up to
  /// the send buffer, and on_writable follows a would_block. Nothing is transmitted before the next flush.
  SendResult send(Bytes&& bytes) noexcept;
  /// Queues octets of the application's own memory, up to the free send buffer and ExternalSends::send_max, without
  /// copying them. `send` and the octets accepted must stay as they are until send.on_complete(); when none was accepted it
  /// is not called. on_writable follows a would_block. A stack whose port cannot send chains copies after all.
  [[nodiscard]] SendResult send_external(const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
                                         ExternalSend& send) noexcept;
  /// Copies up to the free send buffer into the core's pool.
  [[nodiscard]] SendResult send(std::span<const std::uint8_t> bytes) noexcept;
  [[nodiscard]] SendResult send(std::string_view text) noexcept;

  /// The same, with the urgent mark set behind what was accepted (RFC 9293 3.8.5). The peer hears of it at once, even
  /// when its window is closed. New applications should not need it (RFC 6093).
  [[nodiscard]] SendResult send_urgent(std::span<const std::uint8_t> bytes) noexcept;
  /// Octets from the end of what was delivered to the peer's urgent mark; 0: none are to come. In on_data the delivery
  /// at hand counts as delivered; it never goes beyond the mark, so after on_urgent the one with 0 ends there.
  std::uint32_t urgent_remaining() const noexcept;

  /// FIN after everything queued; receiving goes on (half close, RFC 9293 MAY-1).
  void shutdown_send() noexcept;
  /// Graceful close: FIN after everything queued, and no more on_data; data that still arrives resets the
  /// connection (SHLD-3). on_closed follows once the peer is done too, or on a timeout. See also the options linger and
  /// reset_on_close.
  void close() noexcept;
  /// RST, queues dropped, on_closed(aborted) from within this call.
  void abort() noexcept;

  bool is_open() const noexcept;        ///< the connection still exists (in whatever state)
  TcpState state() const noexcept;      ///< `closed` for a stale handle
  std::uint32_t send_space() const noexcept;  ///< octets send() would accept now
  std::uint32_t unacknowledged() const noexcept;  ///< octets queued and not yet acknowledged
  Endpoint local() const noexcept;
  Endpoint remote() const noexcept;
  SlabHandle handle() const noexcept { return handle_; }
  /// A snapshot of the connection's state (info.h), as TCP_INFO is; off the data path.
  TcpInfo info() const noexcept;

  /// A word of the application's, e.g. a pointer to its own per-connection object; 0 at first. Still readable in
  /// on_closed.
  void set_user_data(std::uint64_t value) noexcept;
  std::uint64_t user_data() const noexcept;

  /// Options that may change on a live connection, with the meaning and range they have in TcpConnOptions. False, and
  /// nothing changed, for a stale handle or a value out of range. What was set before applies until its next use: a
  /// running keepalive starts anew.
  bool set_nagle(bool on) noexcept;
  bool set_keepalive(bool on) noexcept;
  bool set_keepalive_times(Duration idle, Duration interval, std::uint8_t count) noexcept;
  bool set_user_timeout(Duration timeout) noexcept;  ///< 0: retries decide
  bool set_tos(std::uint8_t tos) noexcept;
  bool set_delayed_ack(bool on) noexcept;            ///< off: every segment is acknowledged at once
  bool set_linger(Duration time) noexcept;           ///< 0: retries decide
  bool set_reset_on_close(bool on) noexcept;
  bool set_not_sent_low_water(std::uint32_t octets) noexcept;  ///< 0: the send buffer
  /// Segments are spaced: at most `rate_max` payload octets a second, 0 for no cap but the window's (SO_MAX_PACING_RATE).
  bool set_pacing(bool on, std::uint32_t rate_max = 0) noexcept;
  /// While on, only full segments leave, and a FIN. What is less waits for more, for off, or for a retransmission timeout.
  bool set_cork(bool on) noexcept;

 private:
  Tcb* live() const noexcept;
  bool change(const TcpConnOptions& options) noexcept;

  Tcp* tcp_ = nullptr;
  SlabHandle handle_;
};

/// Callbacks of connections, on the owning core, from Stack::input, advance, or a call of the application.
/// Any TcpConn call is allowed inside, abort() included.
class TcpHandler {
 public:
  virtual ~TcpHandler() = default;
  /// The handshake is complete (accepted or connected).
  virtual void on_connected(TcpConn conn) noexcept;
  /// In-order payload, never empty. Keep, drop, or send it; what is kept holds the receive window down.
  virtual void on_data(TcpConn conn, Bytes bytes) noexcept = 0;
  /// RFC 9293 MUST-32: the peer has set an urgent mark ahead of what was delivered, or moved it on. The octets before it
  /// may still be on their way; they come by on_data, in their place.
  virtual void on_urgent(TcpConn conn) noexcept;
  /// Send buffer space came free after a would_block.
  virtual void on_writable(TcpConn conn) noexcept;
  /// The peer's FIN, after all of its data. Default: close().
  virtual void on_peer_closed(TcpConn conn) noexcept;
  /// The last callback for `conn`; its handle is stale once this returns. Also for failed connects.
  virtual void on_closed(TcpConn conn, CloseReason reason) noexcept;
  /// RFC 9293 MUST-47, SHLD-25: an ICMP soft error (unreachable, time exceeded) or R1 exceeded. The connection
  /// lives on.
  virtual void on_soft_error(TcpConn conn) noexcept;
};

/// A handle on a listener; like TcpConn it is safe after close.
class TcpListener {
 public:
  TcpListener() noexcept = default;
  TcpListener(Tcp* tcp, SlabHandle handle) noexcept : tcp_(tcp), handle_(handle) {}
  /// Stops listening; half-open connections are dropped, accepted ones live on.
  void close() noexcept;
  bool is_open() const noexcept;
  std::uint16_t local_port() const noexcept;
  /// Half-open connections from now on, at least 1.
  void set_backlog(std::uint32_t backlog) noexcept;

 private:
  Tcp* tcp_ = nullptr;
  SlabHandle handle_;
};

}  // namespace pollux
