// A TcpHandler that records what it is told and does what a test asks of it.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "pollux/stack/stack.h"

namespace pollux::test {

class TestApp final : public TcpHandler {
 public:
  // What happened.
  TcpConn conn;                      ///< the last connection that was established
  std::vector<TcpConn> connections;  ///< all of them, in order
  std::string received;
  std::vector<Bytes> kept;  ///< deliveries, while `keep` is set
  std::uint32_t deliveries = 0;
  std::uint32_t writable = 0;
  std::uint32_t peer_closed = 0;
  std::uint32_t soft_errors = 0;
  std::uint32_t urgent = 0;
  std::vector<CloseReason> closed;
  std::uint64_t user_data_at_close = 0;
  std::uint32_t callbacks_after_close = 0;  ///< must stay 0

  // What to do.
  bool keep = false;  ///< hold the receive window down
  bool echo = false;
  bool close_with_peer = false;  ///< close() when the peer does
  std::function<void(TcpConn)> when_connected;
  std::function<void(TcpConn, Bytes)> when_data;  ///< instead of recording
  std::function<void(TcpConn)> when_writable;
  std::function<void(TcpConn)> when_urgent;
  std::function<void(TcpConn)> when_peer_closed;
  std::function<void(TcpConn, CloseReason)> when_closed;

  void on_connected(TcpConn c) noexcept override {
    conn = c;
    connections.push_back(c);
    if (when_connected) when_connected(c);
  }
  void on_data(TcpConn c, Bytes bytes) noexcept override {
    ++deliveries;
    if (!closed.empty() && c == conn) ++callbacks_after_close;
    if (when_data) return when_data(c, std::move(bytes));
    received += bytes.to_string();
    if (echo) {
      c.send(std::move(bytes));
    } else if (keep) {
      kept.push_back(std::move(bytes));
    }
  }
  void on_writable(TcpConn c) noexcept override {
    ++writable;
    if (when_writable) when_writable(c);
  }
  void on_urgent(TcpConn c) noexcept override {
    ++urgent;
    if (when_urgent) when_urgent(c);
  }
  void on_peer_closed(TcpConn c) noexcept override {
    ++peer_closed;
    if (when_peer_closed) return when_peer_closed(c);
    if (close_with_peer) c.close();
  }
  void on_closed(TcpConn c, CloseReason reason) noexcept override {
    closed.push_back(reason);
    user_data_at_close = c.user_data();
    if (when_closed) when_closed(c, reason);
  }
  void on_soft_error(TcpConn) noexcept override { ++soft_errors; }
};

}  // namespace pollux::test
