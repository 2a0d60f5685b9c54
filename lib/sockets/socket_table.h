// BSD-shaped sockets over one core's stack: descriptors, receive queues, readiness. px.h is its face; errors are errno values.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pollux/base/slab.h"
#include "pollux/sockets/px.h"
#include "pollux/stack/loop_driver.h"
#include "pollux/stack/stack.h"

namespace pollux {

/// One core's sockets: a part of its Stack. Every function returns 0 or more, or a negated errno.
class SocketTable final : public StackPart, public TcpHandler {
 public:
  explicit SocketTable(Stack& stack) : stack_(stack), sockets_(PX_FD_MAX) {}
  ~SocketTable() override;

  int open(int domain, int type, int protocol) noexcept;
  int bind(int fd, const Endpoint& local) noexcept;
  int listen(int fd, int backlog);
  int accept(int fd, Endpoint& remote) noexcept;
  int connect(int fd, const Endpoint& remote);
  int shutdown(int fd, int how) noexcept;
  int close(int fd) noexcept;

  /// `remote`: of the datagram, or of the stream's peer. `flags`: MSG_PEEK, MSG_TRUNC.
  ssize_t receive(int fd, std::span<const iovec> pieces, int flags, Endpoint* remote) noexcept;
  ssize_t send(int fd, std::span<const iovec> pieces, const Endpoint* remote);

  int local(int fd, Endpoint& endpoint) noexcept;
  int remote(int fd, Endpoint& endpoint) noexcept;
  int set_option(int fd, int level, int name, std::span<const std::uint8_t> value) noexcept;
  /// Fills `value` as far as it goes; returns how many octets the option has.
  int get_option(int fd, int level, int name, std::span<std::uint8_t> value) noexcept;
  /// AF_INET or AF_INET6.
  int domain(int fd) noexcept;

  void close_all() noexcept;

  int control(int fd, std::uint32_t events, std::uint64_t data) noexcept;
  int poll(LoopDriver& driver, std::span<px_event> events, int timeout_ms) noexcept;

 private:
  enum class Kind : std::uint8_t { fresh, listener, stream, datagram };
  struct Received {
    Endpoint remote;  // datagrams
    Bytes data;
  };
  struct Socket final : UdpHandler {
    SocketTable* table = nullptr;
    std::uint32_t index = 0;
    Kind kind = Kind::fresh;
    int domain = 0;
    int type = 0;
    Endpoint bound;
    TcpConn conn;
    TcpListener listener;
    UdpSocket udp;
    std::vector<Received> queue;  // streams: bounded by the receive window; datagrams: by receive_buffer
    std::size_t next = 0;         // of `queue`
    std::vector<std::uint32_t> waiting;  // sockets to be accepted
    std::uint32_t backlog = 0;
    int error = 0;
    bool connected = false;
    bool ended = false;
    bool peer_closed = false;
    bool read_shut = false;
    bool write_shut = false;
    bool v6_only = false;
    bool no_delay = false;
    bool keepalive = false;
    std::optional<linger> lingering;
    std::uint32_t interest = 0;
    std::uint64_t data = 0;
    bool listed = false;  // in the list of those that may be ready
    std::uint32_t ready_prev = Slab<int>::nil, ready_next = Slab<int>::nil;

    bool has_queued() const noexcept { return next < queue.size(); }
    void pop() noexcept;
    void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override;
    void on_error(UdpSocket, const Endpoint&, UdpError error) noexcept override;
  };

  // TcpHandler
  void on_connected(TcpConn conn) noexcept override;
  void on_data(TcpConn conn, Bytes bytes) noexcept override;
  void on_writable(TcpConn conn) noexcept override;
  void on_peer_closed(TcpConn conn) noexcept override;
  void on_closed(TcpConn conn, CloseReason reason) noexcept override;

  Socket* find(int fd) noexcept;
  Socket* socket_of(TcpConn conn) noexcept;
  Socket* add(int domain, int type) noexcept;
  void free(Socket& socket) noexcept;
  Socket* listener_of(TcpConn conn) noexcept;
  void tie(Socket& socket, TcpConn conn) noexcept;
  int bind_datagram(Socket& socket);
  int end_error(Socket& socket) noexcept;
  ssize_t receive_stream(Socket& socket, std::span<const iovec> pieces, bool peek) noexcept;
  ssize_t receive_datagram(Socket& socket, std::span<const iovec> pieces, int flags, Endpoint* remote) noexcept;
  ssize_t send_stream(Socket& socket, std::span<const iovec> pieces) noexcept;
  ssize_t send_datagram(Socket& socket, std::span<const iovec> pieces, const Endpoint* remote);
  std::uint32_t readiness(const Socket& socket) const noexcept;
  void may_be_ready(Socket& socket) noexcept;
  void unlist(Socket& socket) noexcept;
  int collect(std::span<px_event> events) noexcept;
  void apply_options(Socket& socket) noexcept;

  Stack& stack_;
  Slab<Socket> sockets_;
  std::vector<std::uint32_t> listeners_;
  std::uint32_t ready_head_ = Slab<int>::nil, ready_tail_ = Slab<int>::nil, ready_count_ = 0;
};

/// The calling core's, for the functions of px.h; nullptr: none of them works here.
struct CurrentSockets {
  SocketTable* table = nullptr;
  LoopDriver* driver = nullptr;
};
CurrentSockets& current_sockets() noexcept;

}  // namespace pollux
