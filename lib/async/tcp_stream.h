// TCP for coroutines: streams that are read and written, acceptors, connect.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "pollux/async/task.h"
#include "pollux/base/result.h"
#include "pollux/stack/stack.h"

namespace pollux::async {

class TcpStream;

namespace internal {

class StreamHandler;
class AcceptorState;
class ReadAwaiter;
class WriteAwaiter;

/// What has come and nobody has read yet; who waits. Outlives its TcpStream never.
struct StreamState {
  std::shared_ptr<StreamHandler> handler;  ///< the connection's
  TcpConn conn;
  std::vector<Bytes> received;  ///< bounded by the receive window
  std::size_t next = 0;         ///< of `received`
  bool connected = false;
  bool peer_closed = false;
  std::optional<CloseReason> end;
  Waiter* reader = nullptr;
  Waiter* writer = nullptr;

  bool can_read() const noexcept { return next < received.size() || peer_closed || end; }
  Bytes take() noexcept;
  ~StreamState();
};

class ReadAwaiter final : public Waiter {
 public:
  explicit ReadAwaiter(StreamState& state) noexcept : state_(state) {}
  ~ReadAwaiter() override { leave(); }
  bool await_ready() const noexcept { return state_.can_read(); }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    POLLUX_CHECK(state_.reader == nullptr, "two coroutines read from one stream");
    suspend(handle);
    state_.reader = this;
  }
  Bytes await_resume() noexcept {
    leave();
    return state_.take();
  }

 private:
  void leave() noexcept {
    if (state_.reader == this) state_.reader = nullptr;
  }
  bool is_done() noexcept override { return state_.can_read(); }
  StreamState& state_;
};
struct Read {
  StreamState* state;
  ReadAwaiter operator co_await() const noexcept { return ReadAwaiter(*state); }
};

class WriteAwaiter final : public Waiter, private AppTimer {
 public:
  WriteAwaiter(StreamState& state, Bytes bytes, std::span<const std::uint8_t> copied) noexcept
      : state_(state), bytes_(std::move(bytes)), copied_(copied) {}
  ~WriteAwaiter() override { leave(); }
  bool await_ready() noexcept {
    POLLUX_CHECK(state_.writer == nullptr, "two coroutines write to one stream");
    return push();
  }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    suspend(handle);
    state_.writer = this;
    retry_if_starved();
  }
  bool await_resume() noexcept {
    leave();
    return !failed_;
  }

 private:
  void leave() noexcept {
    if (state_.writer == this) state_.writer = nullptr;
  }
  bool is_done() noexcept override;
  void on_timer(TimePoint) noexcept override { wake(); }
  bool push() noexcept;
  void retry_if_starved() noexcept;

  StreamState& state_;
  Bytes bytes_;
  std::span<const std::uint8_t> copied_;
  bool failed_ = false;
  bool starved_ = false;  // no mbufs: nobody says when they are back
};
struct Write {
  StreamState* state;
  Bytes bytes;
  std::span<const std::uint8_t> copied;
  WriteAwaiter operator co_await() && noexcept { return {*state, std::move(bytes), copied}; }
};

class AcceptAwaiter final : public Waiter {
 public:
  explicit AcceptAwaiter(AcceptorState& state) noexcept : state_(state) {}
  ~AcceptAwaiter() override { leave(); }
  bool await_ready() const noexcept { return is_ready(); }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    suspend(handle);
    enter();
  }
  TcpStream await_resume() noexcept;

 private:
  bool is_ready() const noexcept;
  bool is_done() noexcept override { return is_ready(); }
  void enter() noexcept;
  void leave() noexcept;
  AcceptorState& state_;
};
struct Accept {
  AcceptorState* state;
  AcceptAwaiter operator co_await() const noexcept { return AcceptAwaiter(*state); }
};

}  // namespace internal

/// One connection. Move-only; destroying it closes the connection gracefully. Only its core may use it. One coroutine may
/// read while another writes, not two the same; a stream must not be destroyed while one waits on it.
class TcpStream {
 public:
  TcpStream() noexcept;
  TcpStream(TcpStream&&) noexcept;
  TcpStream& operator=(TcpStream&&) noexcept;
  ~TcpStream();

  explicit operator bool() const noexcept { return state_ != nullptr; }

  /// What has arrived, as soon as anything has, in the mbufs it came in. Empty at the end: the peer has closed its side, or
  /// the connection is over (end() says how). What is not read holds the receive window down.
  [[nodiscard]] internal::Read read() noexcept { return {state_.get()}; }
  /// Exactly `n` octets into `out`; false when the stream ended before.
  [[nodiscard]] Task<bool> read_exactly(std::span<std::uint8_t> out) noexcept;
  /// Returns once all of `bytes` was taken into the send buffer; false when the connection is over before. What this stream
  /// has read is taken at once, whatever its size, and without a copy.
  [[nodiscard]] internal::Write write(Bytes bytes) noexcept { return {state_.get(), std::move(bytes), {}}; }
  /// The same with a copy; `text` must stay until then.
  [[nodiscard]] internal::Write write(std::span<const std::uint8_t> bytes) noexcept { return {state_.get(), {}, bytes}; }
  [[nodiscard]] internal::Write write(std::string_view text) noexcept {
    return write(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
  }

  /// FIN after everything written; reading goes on.
  void shutdown_send() noexcept;
  /// RST; reads and writes end.
  void abort() noexcept;
  /// How the connection ended; nothing while it exists.
  std::optional<CloseReason> end() const noexcept;
  /// For options and addresses. Do not send on it while a coroutine writes.
  TcpConn conn() const noexcept;

 private:
  friend class internal::AcceptAwaiter;
  friend Task<Result<TcpStream>> connect(TcpConnectOptions options);
  explicit TcpStream(std::unique_ptr<internal::StreamState> state) noexcept;
  std::unique_ptr<internal::StreamState> state_;
};

/// Connections as they come. Move-only; destroying it ends listening, and connections that nobody has accepted are reset.
class TcpAcceptor {
 public:
  /// Connections that wait to be accepted; further ones are reset.
  static constexpr std::uint32_t waiting_max = 1024;

  TcpAcceptor(TcpAcceptor&&) noexcept;
  TcpAcceptor& operator=(TcpAcceptor&&) noexcept;
  ~TcpAcceptor();

  /// The next one, in the order in which their handshakes ended.
  [[nodiscard]] internal::Accept accept() noexcept { return {state_.get()}; }
  std::uint16_t local_port() const noexcept;

 private:
  friend Result<TcpAcceptor> listen(Stack& stack, const TcpListenOptions& options);
  explicit TcpAcceptor(std::shared_ptr<internal::AcceptorState> state) noexcept;
  std::shared_ptr<internal::AcceptorState> state_;
};

/// Opens a listener on the core's stack; errors as Tcp::listen has them.
Result<TcpAcceptor> listen(Stack& stack, const TcpListenOptions& options);
/// A connection once its handshake is over; errors as Tcp::connect has them, and refused, timed out or unreachable.
[[nodiscard]] Task<Result<TcpStream>> connect(TcpConnectOptions options);

}  // namespace pollux::async
