// Sockets and ports.
#include "pollux/udp/udp.h"

#include <string>

namespace pollux {

void UdpHandler::on_error(UdpSocket, const Endpoint&, UdpError) noexcept {}

void UdpSocket::close() noexcept {
  if (udp_ != nullptr) udp_->close(handle_);
}
bool UdpSocket::is_open() const noexcept {
  return udp_ != nullptr && udp_->sockets_.find(handle_) != nullptr;
}
std::uint16_t UdpSocket::local_port() const noexcept {
  const auto* const socket = udp_ != nullptr ? udp_->sockets_.find(handle_) : nullptr;
  return socket != nullptr ? socket->port : 0;
}

Udp::Udp(const UdpOptions& options, Ip& ip, PacketPool pool, Counters& counters, Rng& rng)
    : options_(options),
      ip_(ip),
      pool_(pool),
      counters_(counters),
      rng_(rng),
      sockets_(options.sockets_max),
      ports_(options.sockets_max) {
  POLLUX_CHECK(
      options.ephemeral_port_first != 0 && options.ephemeral_port_first <= options.ephemeral_port_last,
      "ephemeral UDP ports %u..%u", options.ephemeral_port_first, options.ephemeral_port_last);
}

Udp::~Udp() = default;

std::uint32_t Udp::hash(std::uint16_t port) noexcept {
  return port * 0x9e3779b1u >> 16;
}

std::uint32_t Udp::find(std::uint16_t port, const IpAddress& address) const noexcept {
  static_assert(HashIndex::not_found == Slab<Socket>::nil);
  return ports_.find(hash(port), [&](std::uint32_t i) {
    const Socket& socket = sockets_[i];
    return socket.port == port &&
           (socket.address.is_unspecified() || address.is_unspecified() || socket.address == address);
  });
}

Result<UdpSocket> Udp::bind(const UdpBindOptions& asked, UdpHandler& handler) {
  const std::string what = "UDP bind to " + Endpoint{asked.address, asked.port}.to_string() + ": ";
  UdpBindOptions options = asked;
  if (options.address.is_unspecified()) options.address = IpAddress();  // one way to say "any"
  if (!options.address.is_unspecified() && !ip_.is_local(options.address))
    return failure(ErrorCode::address_unavailable, what + "not an address of this stack");
  if (sockets_.full())
    return failure(ErrorCode::limit_reached, what + "all " + std::to_string(options_.sockets_max) +
                                                 " sockets are in use (sockets_max)");
  std::uint16_t port = options.port;
  if (port == 0) {
    port = unused_port(options.address);
    if (port == 0)
      return failure(ErrorCode::limit_reached,
                     what + "every port in " + std::to_string(options_.ephemeral_port_first) + ".." +
                         std::to_string(options_.ephemeral_port_last) + " is in use");
  } else if (find(port, options.address) != Slab<Socket>::nil) {
    return failure(ErrorCode::address_in_use, what + "another socket has this port");
  }
  const std::uint32_t index =
      sockets_.emplace(Socket{.handler = &handler, .address = options.address, .port = port});
  const bool inserted = ports_.insert(hash(port), index);
  POLLUX_CHECK(inserted, "UDP port index smaller than its %u sockets", options_.sockets_max);
  return UdpSocket(this, sockets_.handle(index));
}

// RFC 6056 3.3.1: a random start, then the next free one; at most the whole range is tried.
std::uint16_t Udp::unused_port(const IpAddress& address) noexcept {
  const std::uint32_t range = options_.ephemeral_port_last - options_.ephemeral_port_first + 1u;
  const std::uint32_t start = rng_.below(range);
  for (std::uint32_t i = 0; i < range; ++i) {
    const auto port = static_cast<std::uint16_t>(options_.ephemeral_port_first + (start + i) % range);
    if (find(port, address) == Slab<Socket>::nil) return port;
  }
  return 0;
}

void Udp::close(SlabHandle handle) noexcept {
  const Socket* const socket = sockets_.find(handle);
  if (socket == nullptr) return;
  ports_.erase(hash(socket->port), handle.index);
  sockets_.erase(handle.index);
}

}  // namespace pollux
