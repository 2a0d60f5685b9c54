#include "l4bench/load.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "common/pattern.h"

namespace pollux::app {

Load::Load(const LoadOptions& options, Transport& transport)
    : options_(options), transport_(transport), connections_(options.connections) {
  for (Slot slot = options.connections; slot > 0; --slot) idle_.push_back(slot - 1);
}

void Load::on_tick() noexcept {
  const std::int64_t now = transport_.now_ns();
  if (begun_ns_ == 0) begun_ns_ = now;
  if (stopping_) {
    if (now - stopped_ns_ < options_.grace_ns) return;
    for (Slot slot = 0; slot < connections_.size(); ++slot) {
      if (connections_[slot].phase == Phase::idle) continue;
      ++results_.unfinished;
      drop(slot);
    }
    return;
  }
  const bool all_complete = is_bounded() && completed_ == options_.connections;
  const std::int64_t limit = (up_ns_ == 0 ? begun_ns_ : up_ns_) + options_.warmup_ns + options_.duration_ns;
  if (all_complete || now >= limit) return stop(now);
  if (up_ns_ != 0 && !measuring_ && now - up_ns_ >= options_.warmup_ns) start_measuring(now);

  // Until the first connection is up only one is tried: the others' SYNs would queue for the same ARP reply.
  const std::uint32_t most = up_ns_ != 0 ? connects_per_tick : active_ == 0 ? 1 : 0;
  for (std::uint32_t n = 0; n < most && !idle_.empty(); ++n) {
    const Slot slot = idle_.back();
    idle_.pop_back();
    open(slot);
  }
}

void Load::open(Slot slot) noexcept {
  Connection& connection = connections_[slot];
  connection = Connection{.phase = Phase::connecting, .started_ns = transport_.now_ns()};
  ++active_;
  if (transport_.connect(slot)) return;
  ++results_.no_connection;
  retire(slot);
}

void Load::on_connected(Slot slot) noexcept {
  Connection& connection = connections_[slot];
  if (stopping_) return drop(slot);
  ++results_.connections;
  if (up_ns_ == 0) {
    up_ns_ = transport_.now_ns();
    if (is_bounded() || options_.warmup_ns == 0) start_measuring(up_ns_);
  }
  connection.phase = Phase::open;
  if (options_.mode == Mode::stream) {
    connection.wanted = is_bounded() ? options_.bytes : std::numeric_limits<std::uint64_t>::max();
  } else {
    connection.wanted = options_.size;
    if (options_.mode == Mode::rr) connection.started_ns = transport_.now_ns();
  }
  push(slot);
}

/// Sends up to `wanted`, or until the transport is full: then on_writable continues.
void Load::push(Slot slot) noexcept {
  Connection& connection = connections_[slot];
  while (connection.sent < connection.wanted) {
    const auto chunk = pattern_at(connection.sent, connection.wanted - connection.sent);
    const std::uint32_t taken = transport_.send(slot, chunk);
    connection.sent += taken;
    if (measuring_) results_.octets_sent += taken;
    if (taken < chunk.size()) return;
  }
  if (options_.mode == Mode::stream && connection.phase == Phase::open) finish(slot);
}

void Load::on_writable(Slot slot) noexcept {
  if (connections_[slot].phase == Phase::open) push(slot);
}

bool Load::matches(const Connection& connection, std::span<const std::uint8_t> bytes) const noexcept {
  if (connection.received + bytes.size() > connection.sent) return false;
  for (std::uint64_t at = connection.received; !bytes.empty();) {
    const auto expected = pattern_at(at, bytes.size());
    if (std::memcmp(expected.data(), bytes.data(), expected.size()) != 0) return false;
    at += expected.size();
    bytes = bytes.subspan(expected.size());
  }
  return true;
}

void Load::on_data(Slot slot, std::span<const std::uint8_t> bytes) noexcept {
  Connection& connection = connections_[slot];
  if (connection.phase == Phase::idle) return;
  if (measuring_) results_.octets_received += bytes.size();
  if (!echoes()) return;
  if (!matches(connection, bytes)) {
    ++results_.mismatches;
    return drop(slot);
  }
  connection.received += bytes.size();
  if (options_.mode != Mode::stream && connection.received == connection.wanted) on_echo_complete(slot);
}

void Load::on_echo_complete(Slot slot) noexcept {
  Connection& connection = connections_[slot];
  if (options_.mode == Mode::rr) {
    count_operation(connection);
    if (stopping_) return finish(slot);
    connection.wanted += options_.size;
    connection.started_ns = transport_.now_ns();
    return push(slot);
  }
  if (!options_.reset_close) return finish(slot);
  count_operation(connection);
  connection.phase = Phase::idle;
  transport_.abort(slot);
  reopen(slot);
}

void Load::count_operation(const Connection& connection) noexcept {
  if (!measuring_) return;
  ++results_.operations;
  results_.latency.record(static_cast<std::uint64_t>(transport_.now_ns() - connection.started_ns));
}

void Load::finish(Slot slot) noexcept {
  connections_[slot].phase = Phase::finishing;
  transport_.finish(slot);
}

/// Resets a connection that is not idle. The phase says to on_closed that it has no news.
void Load::drop(Slot slot) noexcept {
  connections_[slot].phase = Phase::idle;
  transport_.abort(slot);
  retire(slot);
}

void Load::on_closed(Slot slot, CloseReason reason) noexcept {
  Connection& connection = connections_[slot];
  if (connection.phase == Phase::idle) return;
  const bool finished = connection.phase == Phase::finishing && reason == CloseReason::normal;
  if (!finished) {
    ++results_.closed_early[static_cast<std::size_t>(reason)];
  } else if (echoes() && connection.received != connection.sent) {
    ++results_.mismatches;
  } else if (options_.mode == Mode::cec) {
    count_operation(connection);
    return reopen(slot);
  }
  retire(slot);
}

/// The next cycle of a connection that has just ended as it should.
void Load::reopen(Slot slot) noexcept {
  if (stopping_) return retire(slot);
  --active_;
  open(slot);
}

/// A slot whose connection is gone: done with, or to be opened again by a later tick.
void Load::retire(Slot slot) noexcept {
  connections_[slot].phase = Phase::idle;
  --active_;
  if (is_bounded()) {
    ++completed_;
  } else if (!stopping_) {
    idle_.push_back(slot);
  }
}

void Load::start_measuring(std::int64_t now) noexcept {
  measuring_ = true;
  measure_from_ns_ = now;
}

void Load::stop(std::int64_t now) noexcept {
  if (measuring_) results_.measured_ns = now - measure_from_ns_;
  measuring_ = false;
  stopping_ = true;
  stopped_ns_ = now;
  if (is_bounded()) results_.unfinished += idle_.size();
  for (Slot slot = 0; slot < connections_.size(); ++slot) {
    Connection& connection = connections_[slot];
    if (connection.phase == Phase::connecting) {
      if (options_.mode != Mode::cec || results_.connections == 0) ++results_.unfinished;
      drop(slot);
    } else if (connection.phase == Phase::open && options_.mode == Mode::stream && !is_bounded()) {
      connection.wanted = connection.sent;
      finish(slot);
    }
  }
}

}  // namespace pollux::app
