// An IpHost with UDP on it, and a handler that records.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ip_host.h"
#include "pollux/udp/udp.h"

namespace pollux::test {

inline const Endpoint peer{peer_ip, 4000};

struct UdpHost : IpHost {
  explicit UdpHost(const UdpOptions& options = {}, const InterfaceConfig& port = our_port())
      : IpHost({}, port), udp(options, ip, heap.pool(), counters, rng) {}

  /// Gives one datagram to the stack as Stack does, without delivering what gathers.
  void receive(const Frame& frame) { receive(heap.exact_copy_of(frame)); }
  void receive(Packet packet) {
    if (input(std::move(packet))) udp.input(std::move(rx), now);
  }
  void receive(const Endpoint& from, std::uint16_t port, const Frame& payload) {
    receive(udp_frame(from, {our_ip, port}, payload));
  }
  UdpSocket bind(std::uint16_t port, UdpHandler& handler, const IpAddress& address = {}) {
    auto socket = udp.bind({.address = address, .port = port}, handler);
    EXPECT_TRUE(socket.has_value()) << (socket ? "" : socket.error().text);
    return socket.value_or(UdpSocket());
  }
  Udp udp;
};

/// Records each call; `keep` decides whether the payload's buffers are kept.
struct Recorder final : UdpHandler {
  struct Got {
    Endpoint remote;
    IpAddress local;
    std::uint8_t ttl, tos;
    std::string data;
    bool operator==(const Got&) const = default;
  };
  struct Failed {
    Endpoint remote;
    UdpError error;
    bool operator==(const Failed&) const = default;
  };
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    calls.push_back(datagrams.size());
    for (const Datagram& d : datagrams) got.push_back({d.remote, d.local.address, d.ttl, d.tos, d.data.to_string()});
  }
  void on_error(UdpSocket, const Endpoint& remote, UdpError error) noexcept override {
    errors.push_back({remote, error});
  }

  std::vector<std::size_t> calls;
  std::vector<Got> got;
  std::vector<Failed> errors;
};

struct Echo final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) results.push_back(socket.send_to(d.remote, std::move(d.data), d.local));
  }
  std::vector<SendStatus> results;
};

inline std::string text_of(const Frame& frame) {
  return std::string(frame.begin(), frame.end());
}
inline Frame bytes_of(const std::string& text) {
  return Frame(text.begin(), text.end());
}

}  // namespace pollux::test
