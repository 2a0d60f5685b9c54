// The discard service (RFC 863).
#pragma once

#include <span>

#include "pollux/tcp/conn.h"
#include "pollux/udp/udp.h"

namespace pollux::app {

class TcpDiscard final : public TcpHandler {
 public:
  void on_data(TcpConn, Bytes) noexcept override {}
};

class UdpDiscard final : public UdpHandler {
 public:
  void on_datagrams(UdpSocket, std::span<Datagram>) noexcept override {}
};

}  // namespace pollux::app
