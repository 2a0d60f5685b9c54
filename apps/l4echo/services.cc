#include "l4echo/services.h"

#include <fmt/format.h>

#include <ctime>
#include <stdexcept>

namespace pollux::app {

Services::Services(Stack& stack, const ServiceOptions& options, std::uint32_t connections_max)
    : tcp_chargen_(connections_max),
      http_(connections_max, options.http_size),
      listeners_{{{&tcp_echo_, &ServiceOptions::tcp_echo_port},
                  {&tcp_discard_, &ServiceOptions::tcp_discard_port},
                  {&tcp_chargen_, &ServiceOptions::tcp_chargen_port},
                  {&http_, &ServiceOptions::http_port}}},
      sockets_{{{&udp_echo_, &ServiceOptions::udp_echo_port},
                {&udp_discard_, &ServiceOptions::udp_discard_port},
                {&udp_chargen_, &ServiceOptions::udp_chargen_port}}} {
  for (auto& l : listeners_) options_.*l.port = 0;  // nothing is open yet
  for (auto& s : sockets_) options_.*s.port = 0;
  if (const auto opened = prepare(stack, options); !opened) throw std::runtime_error(opened.error().text);
  finish(true);
}

Result<void> Services::prepare(Stack& stack, const ServiceOptions& options) noexcept {
  next_options_ = options;
  const auto refused = [&](const char* protocol, std::uint16_t port, const Error& error) {
    finish(false);
    return failure(error.code, fmt::format("{} port {}: {}", protocol, port, error.text));
  };
  for (auto& l : listeners_) {
    const std::uint16_t port = options.*l.port;
    if (port == 0 || port == options_.*l.port) continue;
    const auto opened = stack.tcp().listen({.port = port, .backlog = options.backlog}, *l.handler);
    if (!opened) return refused("TCP", port, opened.error());
    l.next = *opened;
  }
  for (auto& s : sockets_) {
    const std::uint16_t port = options.*s.port;
    if (port == 0 || port == options_.*s.port) continue;
    const auto opened = stack.udp().bind({.port = port}, *s.handler);
    if (!opened) return refused("UDP", port, opened.error());
    s.next = *opened;
  }
  return {};
}

void Services::finish(bool committed) noexcept {
  const auto settle = [&](auto& service) {
    const bool stays = next_options_.*service.port == options_.*service.port;
    if (committed && !stays) std::swap(service.open, service.next);
    service.next.close();
    service.next = {};
  };
  for (auto& l : listeners_) {
    settle(l);
    if (committed) l.open.set_backlog(next_options_.backlog);
  }
  for (auto& s : sockets_) settle(s);
  if (!committed) return;
  http_.set_size(next_options_.http_size);
  options_ = next_options_;
}

void Services::tick(TimePoint now) noexcept {
  tcp_chargen_.tick();
  http_.tick(now, std::time(nullptr));
}

}  // namespace pollux::app
