// The applications in fuzz_stack: what they do in each callback is chosen by the input.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "fuzz.h"
#include "pollux/stack/stack.h"
#include "stack_peer.h"

namespace pollux::fuzz {

/// Serves every TCP connection and every UDP socket of the stack under test.
class StackApps final : public TcpHandler, public UdpHandler {
 public:
  static constexpr std::size_t kept_max = 64;

  StackApps(Stack& stack, StackPeer& peer) noexcept : stack_(stack), peer_(peer) {}

  /// How the callbacks behave from now on.
  void set_reaction(std::uint8_t reaction) noexcept { reaction_ = reaction; }
  void connect(std::uint8_t choice);
  /// One call on one connection, or on something it once was.
  void act(Reader& in);
  void drop_kept() noexcept { kept_.clear(); }
  void close_all();
  /// Every handle that on_closed() named is stale, and every other is open.
  void check_handles() const;

  void on_connected(TcpConn conn) noexcept override;
  void on_data(TcpConn conn, Bytes bytes) noexcept override;
  void on_writable(TcpConn conn) noexcept override;
  void on_peer_closed(TcpConn conn) noexcept override;
  void on_closed(TcpConn conn, CloseReason reason) noexcept override;
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override;

 private:
  void remember(TcpConn conn);
  void keep(Bytes bytes);
  void check_order(TcpConn conn, const Bytes& bytes);
  void send_filler(TcpConn conn, std::size_t size) noexcept;
  void send_bytes(TcpConn conn, Bytes& bytes) noexcept;
  template <typename Send>
  void send_and_record(TcpConn conn, std::span<const std::uint8_t> octets, Send&& send) noexcept;

  Stack& stack_;
  StackPeer& peer_;
  std::uint8_t reaction_ = 0;
  std::vector<TcpConn> conns_;
  std::vector<TcpConn> closed_;
  std::vector<Bytes> kept_;
};

}  // namespace pollux::fuzz
