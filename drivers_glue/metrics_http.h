// A small HTTP/1.1 listener on a kernel socket, for Prometheus: GET /metrics. Runs on the control thread,
// never blocks it.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace pollux {

/// Not thread-safe. At most clients_max connections of one request each; a newcomer takes the place of the
/// one that has waited longest, so that silent clients hold nothing for long.
class MetricsHttp {
 public:
  static constexpr std::size_t clients_max = 16;
  static constexpr std::size_t request_max = 8192;  ///< octets of a request with its headers

  /// Listens on `address`, "127.0.0.1:9464" or "[::1]:9464"; port 0 takes a free one. `metrics` makes the
  /// text of each scrape. Throws std::runtime_error with a text that names the address.
  MetricsHttp(const std::string& address, std::function<std::string()> metrics);
  ~MetricsHttp();
  MetricsHttp(const MetricsHttp&) = delete;
  MetricsHttp& operator=(const MetricsHttp&) = delete;

  /// Readable when serve() has something to do.
  int fd() const noexcept { return epoll_; }
  /// Where it listens, with the real port.
  std::string address() const;
  /// Handles what is ready, and returns.
  void serve();

 private:
  struct Client {
    int fd = -1;
    std::uint64_t since = 0;  // in order of arrival
    std::string request;
    std::string reply;
    std::size_t sent = 0;
  };

  void accept_clients();
  void serve_client(Client& client, std::uint32_t events);
  /// The reply to a complete request; empty when more of it must come.
  std::string reply_to(std::string_view request) const;
  void send_reply(Client& client);
  void close_client(Client& client) noexcept;
  Client& free_client() noexcept;

  std::function<std::string()> metrics_;
  int listener_ = -1;
  int epoll_ = -1;
  std::uint64_t arrivals_ = 0;
  std::array<Client, clients_max> clients_;
};

/// True for "address:port" as MetricsHttp takes it.
bool is_listen_address(std::string_view text) noexcept;

}  // namespace pollux
