// One core's set of l4echo's services.
#pragma once

#include <array>
#include <cstdint>

#include "l4echo/chargen.h"
#include "l4echo/discard.h"
#include "l4echo/echo.h"
#include "l4echo/http.h"
#include "l4echo/options.h"
#include "pollux/stack/stack.h"

namespace pollux::app {

/// One core's services. Lives as long as that core's stack.
class Services {
 public:
  /// Opens the ports on `stack`, which allows `connections_max`. Throws std::runtime_error that names the
  /// port at fault.
  Services(Stack& stack, const ServiceOptions& options, std::uint32_t connections_max);
  /// Opens what `options` adds; nothing else changes before finish().
  Result<void> prepare(Stack& stack, const ServiceOptions& options) noexcept;
  /// Closes what the options of prepare() no longer have, or, when they are not to be, what it opened.
  void finish(bool committed) noexcept;
  /// Periodic work, every 10 ms or so.
  void tick(TimePoint now) noexcept;

 private:
  struct Listening {
    TcpHandler* handler;
    std::uint16_t ServiceOptions::* port;
    TcpListener open = {};
    TcpListener next = {};
  };
  struct Bound {
    UdpHandler* handler;
    std::uint16_t ServiceOptions::* port;
    UdpSocket open = {};
    UdpSocket next = {};
  };

  ServiceOptions options_;
  ServiceOptions next_options_;
  TcpEcho tcp_echo_;
  TcpDiscard tcp_discard_;
  TcpChargen tcp_chargen_;
  HttpServer http_;
  UdpEcho udp_echo_;
  UdpDiscard udp_discard_;
  UdpChargen udp_chargen_;
  std::array<Listening, 4> listeners_;
  std::array<Bound, 3> sockets_;
};

}  // namespace pollux::app
