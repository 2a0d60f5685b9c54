// Connections of one Pollux stack.
#pragma once

#include <cstdint>
#include <vector>

#include "common/retry_list.h"
#include "l4bench/load.h"
#include "pollux/stack/stack.h"

namespace pollux::app {

/// One core's; lives as long as its stack. A connection's user data is its slot.
class PolluxTransport final : public Transport, public TcpHandler {
 public:
  PolluxTransport(Stack& stack, const Endpoint& remote, std::uint32_t connections)
      : stack_(stack), remote_(remote), conns_(connections), retry_(connections) {}
  void set_load(Load& load) noexcept { load_ = &load; }
  /// From the core's tick, before the load's: sends again where the packet pool was empty.
  void tick() noexcept;

  bool connect(Slot slot) noexcept override;
  std::uint32_t send(Slot slot, std::span<const std::uint8_t> bytes) noexcept override;
  void finish(Slot slot) noexcept override { conns_[slot].shutdown_send(); }
  void abort(Slot slot) noexcept override { conns_[slot].abort(); }
  std::int64_t now_ns() const noexcept override;

  void on_connected(TcpConn conn) noexcept override;
  void on_data(TcpConn conn, Bytes bytes) noexcept override;
  void on_writable(TcpConn conn) noexcept override;
  void on_closed(TcpConn conn, CloseReason reason) noexcept override;

 private:
  static Slot slot_of(TcpConn conn) noexcept { return static_cast<Slot>(conn.user_data()); }

  Stack& stack_;
  Endpoint remote_;
  std::vector<TcpConn> conns_;
  RetryList retry_;
  Load* load_ = nullptr;
};

}  // namespace pollux::app
