// The echo service (RFC 862). What arrives is sent back in the same mbufs.
#pragma once

#include <span>
#include <utility>

#include "pollux/tcp/conn.h"
#include "pollux/udp/udp.h"

namespace pollux::app {

class TcpEcho final : public TcpHandler {
 public:
  void on_connected(TcpConn conn) noexcept override { conn.set_nagle(false); }
  /// Octets that the peer does not read stay charged to its own send window: that is the back-pressure.
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
};

/// Ports of the small services: a datagram from one of them may be an answer, and answering it could start an
/// endless exchange between two servers (CERT CA-1996-01).
inline bool is_small_service(std::uint16_t port) noexcept {
  return port == 7 || port == 9 || port == 19;
}

class UdpEcho final : public UdpHandler {
 public:
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams)
      if (!is_small_service(d.remote.port)) socket.send_to(d.remote, std::move(d.data), d.local);
  }
};

}  // namespace pollux::app
