#include "pollux/drivers_glue/metrics_http.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <stdexcept>

#include "pollux/drivers_glue/telemetry_value.h"

namespace pollux {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  sockaddr* get() noexcept { return reinterpret_cast<sockaddr*>(&storage); }
};

std::optional<SocketAddress> socket_address(std::string_view text) noexcept {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  const auto port = telemetry_number(text.substr(colon + 1));
  if (!port || *port > 65535) return std::nullopt;
  std::array<char, INET6_ADDRSTRLEN> host{};
  std::string_view address = text.substr(0, colon);
  const bool v6 = address.starts_with('[') && address.ends_with(']');
  if (v6) address = address.substr(1, address.size() - 2);
  if (address.size() >= host.size()) return std::nullopt;
  std::copy(address.begin(), address.end(), host.begin());
  SocketAddress result;
  const auto network_port = htons(static_cast<std::uint16_t>(*port));
  if (v6) {
    auto& in6 = reinterpret_cast<sockaddr_in6&>(result.storage);
    in6.sin6_family = AF_INET6;
    in6.sin6_port = network_port;
    result.length = sizeof in6;
    if (inet_pton(AF_INET6, host.data(), &in6.sin6_addr) != 1) return std::nullopt;
  } else {
    auto& in = reinterpret_cast<sockaddr_in&>(result.storage);
    in.sin_family = AF_INET;
    in.sin_port = network_port;
    result.length = sizeof in;
    if (inet_pton(AF_INET, host.data(), &in.sin_addr) != 1) return std::nullopt;
  }
  return result;
}

std::string reply(std::string_view status, std::string_view type, std::string_view body,
                  bool with_body = true) {
  return fmt::format("HTTP/1.1 {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                     status, type, body.size(), with_body ? body : "");
}

}  // namespace

bool is_listen_address(std::string_view text) noexcept {
  return socket_address(text).has_value();
}

MetricsHttp::MetricsHttp(const std::string& address, std::function<std::string()> metrics)
    : metrics_(std::move(metrics)) {
  const auto fail = [&](const char* what) {
    const std::string text = fmt::format("telemetry.metrics: {} {}: {}", what, address, std::strerror(errno));
    if (listener_ >= 0) close(listener_);
    if (epoll_ >= 0) close(epoll_);
    throw std::runtime_error(text);
  };
  auto where = socket_address(address);
  if (!where)
    throw std::runtime_error(
        fmt::format("telemetry.metrics: expected an address and a port, found '{}'", address));
  listener_ = socket(where->storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (listener_ < 0) fail("socket for");
  const int on = 1;
  setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener_, where->get(), where->length) != 0) fail("cannot bind");
  if (listen(listener_, clients_max) != 0) fail("cannot listen on");
  epoll_ = epoll_create1(EPOLL_CLOEXEC);
  epoll_event event{.events = EPOLLIN, .data = {.ptr = nullptr}};
  if (epoll_ < 0 || epoll_ctl(epoll_, EPOLL_CTL_ADD, listener_, &event) != 0) fail("epoll for");
}

MetricsHttp::~MetricsHttp() {
  for (Client& client : clients_) close_client(client);
  close(listener_);
  close(epoll_);
}

std::string MetricsHttp::address() const {
  SocketAddress bound;
  bound.length = sizeof bound.storage;
  if (getsockname(listener_, bound.get(), &bound.length) != 0) return "";
  std::array<char, INET6_ADDRSTRLEN> host{};
  if (bound.storage.ss_family == AF_INET6) {
    const auto& in6 = reinterpret_cast<const sockaddr_in6&>(bound.storage);
    inet_ntop(AF_INET6, &in6.sin6_addr, host.data(), host.size());
    return fmt::format("[{}]:{}", host.data(), ntohs(in6.sin6_port));
  }
  const auto& in = reinterpret_cast<const sockaddr_in&>(bound.storage);
  inet_ntop(AF_INET, &in.sin_addr, host.data(), host.size());
  return fmt::format("{}:{}", host.data(), ntohs(in.sin_port));
}

void MetricsHttp::serve() {
  std::array<epoll_event, clients_max + 1> events;
  const int count = epoll_wait(epoll_, events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    auto* client = static_cast<Client*>(event.data.ptr);
    if (client != nullptr) serve_client(*client, event.events);
  }
  accept_clients();
}

MetricsHttp::Client& MetricsHttp::free_client() noexcept {
  Client* oldest = &clients_[0];
  for (Client& client : clients_) {
    if (client.fd < 0) return client;
    if (client.since < oldest->since) oldest = &client;
  }
  close_client(*oldest);
  return *oldest;
}

void MetricsHttp::accept_clients() {
  for (std::size_t i = 0; i < clients_max; ++i) {
    const int fd = accept4(listener_, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd < 0) return;
    Client& client = free_client();
    client.fd = fd;
    client.since = ++arrivals_;
    epoll_event event{.events = EPOLLIN, .data = {.ptr = &client}};
    if (epoll_ctl(epoll_, EPOLL_CTL_ADD, fd, &event) != 0) close_client(client);
  }
}

void MetricsHttp::serve_client(Client& client, std::uint32_t events) {
  if ((events & EPOLLIN) != 0 && client.reply.empty()) {
    std::array<char, 2048> piece;
    const ssize_t n = recv(client.fd, piece.data(), piece.size(), 0);
    if (n <= 0) {
      if (n == 0 || (errno != EAGAIN && errno != EINTR)) close_client(client);
      return;
    }
    client.request.append(piece.data(), static_cast<std::size_t>(n));
    client.reply = reply_to(client.request);
    if (client.reply.empty()) return;
  } else if ((events & (EPOLLOUT | EPOLLIN)) == 0) {
    return close_client(client);  // EPOLLHUP or EPOLLERR alone
  }
  send_reply(client);
}

std::string MetricsHttp::reply_to(std::string_view request) const {
  constexpr std::string_view text = "text/plain; charset=utf-8";
  if (request.find("\r\n\r\n") == std::string_view::npos) {
    if (request.size() < request_max) return "";
    return reply("431 Request Header Fields Too Large", text, "the request is too long\n");
  }
  const auto first_space = request.find(' ');
  const auto second_space = request.find(' ', first_space + 1);
  const auto line_end = request.find("\r\n");
  if (second_space == std::string_view::npos || second_space > line_end ||
      !request.substr(second_space + 1, line_end - second_space - 1).starts_with("HTTP/1."))
    return reply("400 Bad Request", text, "expected GET /metrics HTTP/1.1\n");
  const std::string_view method = request.substr(0, first_space);
  const std::string_view target = request.substr(first_space + 1, second_space - first_space - 1);
  const bool head = method == "HEAD";
  if (method != "GET" && !head)
    return reply("405 Method Not Allowed\r\nAllow: GET, HEAD", text, "only GET and HEAD\n");
  if (target.substr(0, target.find('?')) != "/metrics")
    return reply("404 Not Found", text, "only /metrics\n", !head);
  return reply("200 OK", "text/plain; version=0.0.4; charset=utf-8", metrics_(), !head);
}

void MetricsHttp::send_reply(Client& client) {
  while (client.sent < client.reply.size()) {
    const ssize_t n =
        send(client.fd, client.reply.data() + client.sent, client.reply.size() - client.sent, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      epoll_event event{.events = EPOLLOUT, .data = {.ptr = &client}};
      if (epoll_ctl(epoll_, EPOLL_CTL_MOD, client.fd, &event) == 0) return;
    }
    if (n <= 0) break;
    client.sent += static_cast<std::size_t>(n);
  }
  close_client(client);
}

void MetricsHttp::close_client(Client& client) noexcept {
  if (client.fd >= 0) close(client.fd);
  client = Client{};
}

}  // namespace pollux
