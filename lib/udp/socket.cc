// The handle that applications hold.
#include "pollux/udp/socket.h"

#include <string>
#include <utility>

#include "pollux/udp/udp.h"

namespace pollux {

void UdpHandler::on_error(UdpSocket, const Endpoint&, UdpError) noexcept {}

void UdpSocket::close() noexcept {
  if (udp_ != nullptr) udp_->close(handle_);
}
bool UdpSocket::is_open() const noexcept {
  return udp_ != nullptr && udp_->find(handle_) != nullptr;
}
std::uint16_t UdpSocket::local_port() const noexcept {
  const auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr;
  return socket != nullptr ? socket->port : 0;
}
Endpoint UdpSocket::remote() const noexcept {
  const auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr;
  return socket != nullptr ? socket->remote : Endpoint{};
}
UdpSocketOptions UdpSocket::options() const noexcept {
  const auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr;
  return socket != nullptr ? socket->options : UdpSocketOptions{};
}
std::uint32_t UdpSocket::payload_max(const Endpoint& remote) noexcept {
  auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr;
  if (socket == nullptr || udp_->choose_route(*socket, remote.address) != SendStatus::ok) return 0;
  return udp_->payload_max(*socket, remote);
}
void UdpSocket::set_options(const UdpSocketOptions& options) noexcept {
  if (auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr) socket->options = options;
}

Result<void> UdpSocket::connect(const Endpoint& remote) {
  if (udp_ == nullptr)
    return failure(ErrorCode::invalid_argument, "UDP connect to " + remote.to_string() + ": there is no socket");
  return udp_->connect(handle_, remote);
}
Result<void> UdpSocket::disconnect() {
  return udp_ != nullptr ? udp_->disconnect(handle_) : Result<void>{};
}

Result<void> UdpSocket::join(const IpAddress& group, InterfaceId interface) {
  return set_source_filter(group, GroupMode::exclude, {}, interface);
}
Result<void> UdpSocket::leave(const IpAddress& group, InterfaceId interface) {
  return set_source_filter(group, GroupMode::include, {}, interface);
}
Result<void> UdpSocket::set_source_filter(const IpAddress& group, GroupMode mode, std::span<const IpAddress> sources,
                                          InterfaceId interface) {
  const std::string what = "group " + group.to_string() + ": ";
  if (!is_open()) return failure(ErrorCode::invalid_argument, what + "the socket is closed");
  GroupFilter filter{mode, {}};
  for (const IpAddress& source : sources) {
    if (source.is_v4() != group.is_v4() || source.is_unspecified() || source.is_multicast())
      return failure(ErrorCode::invalid_argument, what + source.to_string() + " is not a host of its family");
    if (!filter.sources.add(source))
      return failure(ErrorCode::limit_reached, what + "at most " + std::to_string(SourceList::capacity) + " sources");
  }
  return udp_->ip_.set_membership(handle_, interface, group, filter);
}

SendStatus UdpSocket::send_to(const Endpoint& remote, Bytes&& data, const Endpoint& local) noexcept {
  return udp_ == nullptr ? SendStatus::closed : udp_->send_to(handle_, remote, std::move(data), local);
}

SendStatus UdpSocket::send_to(const Endpoint& remote, std::span<const std::uint8_t> data,
                              const Endpoint& local) noexcept {
  if (!is_open()) return SendStatus::closed;
  if (data.size() > 0xffff) return SendStatus::too_large;
  Bytes bytes = Bytes::copy_of(udp_->pool_, data);
  if (bytes.size() != data.size()) return udp_->refuse(SendStatus::no_memory);
  return udp_->send_to(handle_, remote, std::move(bytes), local);
}

SendStatus UdpSocket::send_to(const Endpoint& remote, std::string_view data, const Endpoint& local) noexcept {
  return send_to(remote, std::span(reinterpret_cast<const std::uint8_t*>(data.data()), data.size()), local);
}

SendStatus UdpSocket::send(Bytes&& data) noexcept {
  return send_to(remote(), std::move(data));
}
SendStatus UdpSocket::send(std::span<const std::uint8_t> data) noexcept {
  return send_to(remote(), data);
}
SendStatus UdpSocket::send(std::string_view data) noexcept {
  return send_to(remote(), data);
}

SendStatus UdpSocket::send_segmented(const Endpoint& remote, Bytes&& data, std::uint16_t segment_size,
                                     const Endpoint& local) noexcept {
  if (udp_ == nullptr) return SendStatus::closed;
  return udp_->send_segmented(handle_, remote, std::move(data), segment_size, local);
}

std::size_t UdpSocket::send_batch(std::span<OutgoingDatagram> datagrams, SendStatus* status) noexcept {
  std::size_t sent = 0;
  SendStatus last = SendStatus::ok;
  for (OutgoingDatagram& datagram : datagrams) {
    last = send_to(datagram.remote, std::move(datagram.data), datagram.local);
    if (last != SendStatus::ok) break;
    ++sent;
  }
  if (status != nullptr) *status = last;
  return sent;
}

void UdpSocket::cork() noexcept {
  if (auto* const socket = udp_ != nullptr ? udp_->find(handle_) : nullptr) socket->corked = true;
}

SendStatus UdpSocket::uncork() noexcept {
  return udp_ != nullptr ? udp_->uncork(handle_) : SendStatus::closed;
}

}  // namespace pollux
