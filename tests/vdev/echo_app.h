// The smallest applications: TCP and UDP echo on port 7.
#pragma once

#include <stdexcept>

#include "pollux/drivers_glue/runtime.h"

namespace pollux::test {

struct TcpEcho final : TcpHandler {
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
};

struct UdpEcho final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) socket.send_to(d.remote, std::move(d.data), d.local);
  }
};

/// Opens both on `stack`; throws when it cannot.
struct EchoApp {
  TcpEcho tcp;
  UdpEcho udp;

  void open(Stack& stack) {
    if (auto listener = stack.tcp().listen({.port = 7}, tcp); !listener)
      throw std::runtime_error(listener.error().text);
    if (auto socket = stack.udp().bind({.port = 7}, udp); !socket)
      throw std::runtime_error(socket.error().text);
  }
};

}  // namespace pollux::test
