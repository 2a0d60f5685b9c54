#include "l4echo/services.h"

#include <fmt/format.h>

#include <ctime>
#include <stdexcept>

namespace pollux::app {
namespace {

void listen(Stack& stack, std::uint16_t port, std::uint32_t backlog, TcpHandler& handler) {
  if (port == 0) return;
  if (const auto listener = stack.tcp().listen({.port = port, .backlog = backlog}, handler); !listener)
    throw std::runtime_error(fmt::format("TCP port {}: {}", port, listener.error().text));
}

void bind(Stack& stack, std::uint16_t port, UdpHandler& handler) {
  if (port == 0) return;
  if (const auto socket = stack.udp().bind({.port = port}, handler); !socket)
    throw std::runtime_error(fmt::format("UDP port {}: {}", port, socket.error().text));
}

}  // namespace

Services::Services(Stack& stack, const ServiceOptions& options, std::uint32_t connections_max)
    : tcp_chargen_(connections_max), http_(connections_max, options.http_size) {
  listen(stack, options.tcp_echo_port, options.backlog, tcp_echo_);
  listen(stack, options.tcp_discard_port, options.backlog, tcp_discard_);
  listen(stack, options.tcp_chargen_port, options.backlog, tcp_chargen_);
  listen(stack, options.http_port, options.backlog, http_);
  bind(stack, options.udp_echo_port, udp_echo_);
  bind(stack, options.udp_discard_port, udp_discard_);
  bind(stack, options.udp_chargen_port, udp_chargen_);
}

void Services::tick(TimePoint now) noexcept {
  tcp_chargen_.tick();
  http_.tick(now, std::time(nullptr));
}

}  // namespace pollux::app
