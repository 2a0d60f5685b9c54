// One core's set of l4echo's services.
#pragma once

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
  /// Periodic work, every 10 ms or so.
  void tick(TimePoint now) noexcept;

 private:
  TcpEcho tcp_echo_;
  TcpDiscard tcp_discard_;
  TcpChargen tcp_chargen_;
  HttpServer http_;
  UdpEcho udp_echo_;
  UdpDiscard udp_discard_;
  UdpChargen udp_chargen_;
};

}  // namespace pollux::app
