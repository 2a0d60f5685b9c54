// The character generator (RFC 864): as many lines as a TCP peer takes, one line for each datagram.
#pragma once

#include <span>

#include "common/retry_list.h"
#include "pollux/tcp/conn.h"
#include "pollux/udp/udp.h"

namespace pollux::app {

/// A connection's only state is its position in the pattern: its user data, below pattern_cycle.
class TcpChargen final : public TcpHandler {
 public:
  explicit TcpChargen(std::size_t connections_max) : retry_(connections_max) {}
  void on_connected(TcpConn conn) noexcept override { generate(conn); }
  void on_data(TcpConn, Bytes) noexcept override {}  // RFC 864: thrown away
  void on_writable(TcpConn conn) noexcept override { generate(conn); }
  /// From the core's tick: goes on where an empty packet pool stopped it.
  void tick() noexcept {
    retry_.retry_all([this](TcpConn conn) { generate(conn); });
  }

 private:
  void generate(TcpConn conn) noexcept;
  RetryList retry_;
};

class UdpChargen final : public UdpHandler {
 public:
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override;
};

}  // namespace pollux::app
