// The load generators: what to send when, what to expect, what to measure. They know no transport.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "l4bench/results.h"
#include "l4bench/transport.h"

namespace pollux::app {

enum class Mode : std::uint8_t {
  rr,      ///< round trips: a message, its echo, the next message
  cec,     ///< connect, one round trip, close, again
  stream,  ///< as many octets as go, one way
};

struct LoadOptions {
  Mode mode = Mode::rr;
  std::uint32_t connections = 1;
  std::uint32_t size = 64;               ///< octets of a message (rr, cec), at least 1
  std::uint64_t bytes = 0;               ///< stream: octets for each connection; 0: until the time is up
  bool verify = false;                   ///< stream: the peer echoes, and every octet is compared
  bool reset_close = false;              ///< cec: close with RST, which leaves no TIME-WAIT
  std::int64_t warmup_ns = 500'000'000;  ///< after the first connection, not measured; unused with `bytes`
  std::int64_t duration_ns = 5'000'000'000;  ///< measured; with `bytes` the limit
  std::int64_t grace_ns = 3'000'000'000;     ///< to finish what is under way when the time is up
};

/// One thread's load over one transport. The transport calls the on_... functions.
class Load {
 public:
  static constexpr std::uint32_t connects_per_tick = 100;

  Load(const LoadOptions& options, Transport& transport);

  /// About every millisecond: opens connections, watches the time.
  void on_tick() noexcept;
  void on_connected(Slot slot) noexcept;
  void on_data(Slot slot, std::span<const std::uint8_t> bytes) noexcept;
  void on_writable(Slot slot) noexcept;
  void on_closed(Slot slot, CloseReason reason) noexcept;

  /// Everything is measured and every connection is closed.
  bool is_done() const noexcept { return stopping_ && active_ == 0; }
  const Results& results() const noexcept { return results_; }

 private:
  enum class Phase : std::uint8_t { idle, connecting, open, finishing };
  struct Connection {
    Phase phase = Phase::idle;
    std::uint64_t wanted = 0;  // octets to send so far
    std::uint64_t sent = 0;
    std::uint64_t received = 0;   // verified
    std::int64_t started_ns = 0;  // of the round trip or cycle under way
  };

  bool echoes() const noexcept { return options_.mode != Mode::stream || options_.verify; }
  bool is_bounded() const noexcept { return options_.bytes != 0; }
  void open(Slot slot) noexcept;
  void push(Slot slot) noexcept;
  bool matches(const Connection& connection, std::span<const std::uint8_t> bytes) const noexcept;
  void on_echo_complete(Slot slot) noexcept;
  void count_operation(const Connection& connection) noexcept;
  void finish(Slot slot) noexcept;
  void drop(Slot slot) noexcept;
  void reopen(Slot slot) noexcept;
  void retire(Slot slot) noexcept;
  void start_measuring(std::int64_t now) noexcept;
  void stop(std::int64_t now) noexcept;

  LoadOptions options_;
  Transport& transport_;
  std::vector<Connection> connections_;
  std::vector<Slot> idle_;       // waiting to be opened by a tick
  std::uint32_t active_ = 0;     // connections that are not idle
  std::uint32_t completed_ = 0;  // with `bytes`: connections that need nothing more
  bool measuring_ = false;
  bool stopping_ = false;
  std::int64_t begun_ns_ = 0;  // first tick
  std::int64_t up_ns_ = 0;     // first connection established
  std::int64_t measure_from_ns_ = 0;
  std::int64_t stopped_ns_ = 0;
  Results results_;
};

}  // namespace pollux::app
