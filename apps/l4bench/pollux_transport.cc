#include "l4bench/pollux_transport.h"

#include <chrono>

namespace pollux::app {

bool PolluxTransport::connect(Slot slot) noexcept {
  auto conn = stack_.tcp().connect({.remote = remote_}, *this);
  if (!conn) return false;
  conns_[slot] = *conn;
  conn->set_user_data(slot);
  conn->set_nagle(false);
  return true;
}

std::uint32_t PolluxTransport::send(Slot slot, std::span<const std::uint8_t> bytes) noexcept {
  const SendResult sent = conns_[slot].send(bytes);
  if (sent.status == SendStatus::no_memory) retry_.add(conns_[slot]);
  return sent.accepted;
}

void PolluxTransport::tick() noexcept {
  retry_.retry_all([this](TcpConn conn) {
    if (conn.is_open()) load_->on_writable(slot_of(conn));
  });
}

std::int64_t PolluxTransport::now_ns() const noexcept {
  return std::chrono::nanoseconds(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void PolluxTransport::on_connected(TcpConn conn) noexcept {
  load_->on_connected(slot_of(conn));
}

void PolluxTransport::on_data(TcpConn conn, Bytes bytes) noexcept {
  const Slot slot = slot_of(conn);
  bytes.for_each_piece([&](std::span<const std::uint8_t> piece) { load_->on_data(slot, piece); });
}

void PolluxTransport::on_writable(TcpConn conn) noexcept {
  load_->on_writable(slot_of(conn));
}

void PolluxTransport::on_closed(TcpConn conn, CloseReason reason) noexcept {
  load_->on_closed(slot_of(conn), reason);
}

}  // namespace pollux::app
