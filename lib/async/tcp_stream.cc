#include "pollux/async/tcp_stream.h"

#include <algorithm>
#include <utility>

namespace pollux::async {
namespace internal {

/// Callbacks of a stream's connection, found by its user data; 0 once its TcpStream is gone.
class StreamHandler : public TcpHandler {
 public:
  void on_connected(TcpConn conn) noexcept override {
    StreamState* const state = state_of(conn);
    if (state == nullptr) return;
    state->connected = true;
    if (state->writer != nullptr) state->writer->wake();
  }
  void on_data(TcpConn conn, Bytes bytes) noexcept override {
    StreamState* const state = state_of(conn);
    if (state == nullptr) return;
    state->received.push_back(std::move(bytes));
    if (state->reader != nullptr) state->reader->wake();
  }
  void on_writable(TcpConn conn) noexcept override {
    StreamState* const state = state_of(conn);
    if (state != nullptr && state->writer != nullptr) state->writer->wake();
  }
  void on_peer_closed(TcpConn conn) noexcept override {
    StreamState* const state = state_of(conn);
    if (state == nullptr) return;
    state->peer_closed = true;
    if (state->reader != nullptr) state->reader->wake();
  }
  void on_closed(TcpConn conn, CloseReason reason) noexcept override {
    StreamState* const state = state_of(conn);
    if (state == nullptr) return;
    state->end = reason;
    conn.set_user_data(0);
    if (state->reader != nullptr) state->reader->wake();
    if (state->writer != nullptr) state->writer->wake();
  }

 protected:
  static StreamState* state_of(TcpConn conn) noexcept {
    return reinterpret_cast<StreamState*>(static_cast<std::uintptr_t>(conn.user_data()));
  }
};

void tie(TcpConn conn, StreamState& state) noexcept {
  state.conn = conn;
  conn.set_user_data(reinterpret_cast<std::uintptr_t>(&state));
}

/// Streams that wait to be accepted, and the handler of all that this listener has brought. It stays while any of them lives,
/// be it only to say goodbye.
class AcceptorState final : public StreamHandler, public Deferred, public std::enable_shared_from_this<AcceptorState> {
 public:
  explicit AcceptorState(Stack& s) : stack(s) {}
  void on_connected(TcpConn conn) noexcept override {
    ++connections;
    if (waiting.size() - next == TcpAcceptor::waiting_max || !listener.is_open()) {
      conn.abort();
      return;
    }
    add(conn);
    if (acceptor != nullptr) acceptor->wake();
  }
  void on_closed(TcpConn conn, CloseReason reason) noexcept override {
    StreamHandler::on_closed(conn, reason);
    --connections;
    forget_if_idle();
  }
  bool has_waiting() const noexcept { return next < waiting.size(); }
  std::unique_ptr<StreamState> take() noexcept {
    std::unique_ptr<StreamState> state = std::move(waiting[next]);
    if (++next == waiting.size()) {
      waiting.clear();
      next = 0;
    }
    return state;
  }
  void close() noexcept {
    listener.close();
    while (has_waiting()) take()->conn.abort();
    forget_if_idle();
  }

  Stack& stack;
  TcpListener listener;
  std::vector<std::unique_ptr<StreamState>> waiting;
  std::size_t next = 0;  // of `waiting`
  std::uint32_t connections = 0;
  Waiter* acceptor = nullptr;

 private:
  void add(TcpConn conn);
  // In a callback of its own it must not go: in the next flush.
  void forget_if_idle() noexcept {
    if (connections == 0 && !listener.is_open()) stack.defer(*this);
  }
  void run() noexcept override;
};

namespace {

/// The core's handlers: of connect() once, of each acceptor as long as there is anything to handle.
struct Handlers final : StackPart {
  explicit Handlers(Stack&) : connector(std::make_shared<StreamHandler>()) {}
  std::shared_ptr<StreamHandler> connector;
  std::vector<std::shared_ptr<AcceptorState>> acceptors;
};

}  // namespace

void AcceptorState::add(TcpConn conn) {
  auto state = std::make_unique<StreamState>();
  state->handler = shared_from_this();
  state->connected = true;
  tie(conn, *state);
  waiting.push_back(std::move(state));
}

void AcceptorState::run() noexcept {
  std::erase_if(stack.part<Handlers>().acceptors, [this](const auto& other) { return other.get() == this; });
}

Bytes StreamState::take() noexcept {
  if (next == received.size()) return {};
  Bytes bytes = std::move(received[next]);
  if (++next == received.size()) {
    received.clear();
    next = 0;
  }
  return bytes;
}

StreamState::~StreamState() {
  POLLUX_CHECK(reader == nullptr && writer == nullptr, "a stream is destroyed while a coroutine waits on it");
  if (conn == TcpConn() || end) return;
  conn.set_user_data(0);
  received.clear();
  conn.close();
}

// True when there is nothing more to push.
bool WriteAwaiter::push() noexcept {
  starved_ = false;
  while (bytes_ || !copied_.empty()) {
    const SendResult result = bytes_ ? state_.conn.send(std::move(bytes_)) : state_.conn.send(copied_);
    if (!copied_.empty()) copied_ = copied_.subspan(result.accepted);
    if (result.status == SendStatus::ok) continue;
    if (result.status == SendStatus::closed) return failed_ = true;
    starved_ = result.status == SendStatus::no_memory;
    return false;
  }
  return true;
}

bool WriteAwaiter::is_done() noexcept {
  if (push()) return true;
  retry_if_starved();
  return false;
}

void WriteAwaiter::retry_if_starved() noexcept {
  constexpr Duration retry_after = Duration::from_ms(1);
  if (starved_) stack().arm(*this, stack().now() + retry_after);
}

bool AcceptAwaiter::is_ready() const noexcept { return state_.has_waiting(); }
void AcceptAwaiter::enter() noexcept {
  POLLUX_CHECK(state_.acceptor == nullptr, "two coroutines accept from one listener");
  state_.acceptor = this;
}
void AcceptAwaiter::leave() noexcept {
  if (state_.acceptor == this) state_.acceptor = nullptr;
}
TcpStream AcceptAwaiter::await_resume() noexcept {
  leave();
  return TcpStream(state_.take());
}

}  // namespace internal

using internal::StreamState;

TcpStream::TcpStream() noexcept = default;
TcpStream::TcpStream(std::unique_ptr<StreamState> state) noexcept : state_(std::move(state)) {}
TcpStream::TcpStream(TcpStream&&) noexcept = default;
TcpStream& TcpStream::operator=(TcpStream&&) noexcept = default;
TcpStream::~TcpStream() = default;

Task<bool> TcpStream::read_exactly(std::span<std::uint8_t> out) noexcept {
  StreamState& state = *state_;
  while (!out.empty()) {
    Bytes bytes = co_await internal::Read{&state};
    if (!bytes) co_return false;
    const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(bytes.size(), out.size()));
    bytes.copy_out(0, out.first(n));
    out = out.subspan(n);
    bytes.remove_prefix(n);
    if (!bytes) continue;
    // The rest is read next.
    if (state.next > 0)
      state.received[--state.next] = std::move(bytes);
    else
      state.received.insert(state.received.begin(), std::move(bytes));
  }
  co_return true;
}

void TcpStream::shutdown_send() noexcept { state_->conn.shutdown_send(); }
void TcpStream::abort() noexcept { state_->conn.abort(); }
std::optional<CloseReason> TcpStream::end() const noexcept { return state_->end; }
TcpConn TcpStream::conn() const noexcept { return state_->conn; }

TcpAcceptor::TcpAcceptor(std::shared_ptr<internal::AcceptorState> state) noexcept : state_(std::move(state)) {}
TcpAcceptor::TcpAcceptor(TcpAcceptor&&) noexcept = default;
TcpAcceptor& TcpAcceptor::operator=(TcpAcceptor&& other) noexcept {
  std::swap(state_, other.state_);
  return *this;
}
TcpAcceptor::~TcpAcceptor() {
  if (state_) state_->close();
}
std::uint16_t TcpAcceptor::local_port() const noexcept { return state_->listener.local_port(); }

Result<TcpAcceptor> listen(Stack& stack, const TcpListenOptions& options) {
  auto state = std::make_shared<internal::AcceptorState>(stack);
  auto listener = stack.tcp().listen(options, *state);
  if (!listener) return tl::unexpected(listener.error());
  state->listener = *listener;
  stack.part<internal::Handlers>().acceptors.push_back(state);
  return TcpAcceptor(std::move(state));
}

namespace {

/// Until the handshake is over, one way or the other.
class ConnectAwaiter final : public internal::Waiter {
 public:
  explicit ConnectAwaiter(StreamState& state) noexcept : state_(state) {}
  ~ConnectAwaiter() override { state_.writer = nullptr; }
  bool await_ready() const noexcept { return false; }
  template <typename P>
  void await_suspend(std::coroutine_handle<P> handle) noexcept {
    suspend(handle);
    state_.writer = this;
  }
  void await_resume() const noexcept {}

 private:
  bool is_done() noexcept override { return state_.connected || state_.end; }
  StreamState& state_;
};

struct Connected {
  StreamState* state;
  ConnectAwaiter operator co_await() const noexcept { return ConnectAwaiter(*state); }
};

}  // namespace

Task<Result<TcpStream>> connect(TcpConnectOptions options) {
  Stack& stack = co_await current_stack();
  auto state = std::make_unique<StreamState>();
  state->handler = stack.part<internal::Handlers>().connector;
  auto conn = stack.tcp().connect(options, *state->handler);
  if (!conn) co_return tl::unexpected(conn.error());
  internal::tie(*conn, *state);
  co_await Connected{state.get()};
  if (state->end)
    co_return failure(ErrorCode::no_route, std::string("the connection was not opened: ") + close_reason_name(*state->end));
  co_return TcpStream(std::move(state));
}

}  // namespace pollux::async
