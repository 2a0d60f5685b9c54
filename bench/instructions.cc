// One workload on an in-process pair of stacks in virtual time, so that every run executes the same instructions of
// the stack. bench/instructions.py runs it under callgrind, which counts those of the server's turns.
#include <arpa/inet.h>
#include <netinet/in.h>

#include <CLI/CLI.hpp>
#include <array>
#include <cerrno>
#include <cstdio>
#include <memory>
#include <vector>

#include "pollux/async/tcp_stream.h"
#include "pollux/sockets/socket_table.h"
#include "ring_pair.h"

namespace pollux::bench {

/// What the server does once a turn; returns how many packets came in.
class ServerTurn {
 public:
  virtual ~ServerTurn() = default;
  virtual std::uint16_t run(TimePoint now) noexcept = 0;
};

/// What callgrind collects. Its name is known to instructions.py.
extern "C" [[gnu::noinline, gnu::used]] std::uint16_t pollux_bench_counted_turn(ServerTurn& turn, TimePoint now) {
  return turn.run(now);
}

namespace {

/// Handlers and coroutines: the loop calls them.
class HostTurn final : public ServerTurn {
 public:
  explicit HostTurn(Host& host) : host_(host) {}
  std::uint16_t run(TimePoint now) noexcept override { return host_.turn(now); }

 private:
  Host& host_;
};

constexpr std::uint16_t port = 7;
constexpr std::uint32_t segment_octets = 1448;  // of an Ethernet frame, timestamps on

/// A microsecond passes whenever somebody looks.
class StepClock {
 public:
  TimePoint now() { return now_ = now_ + 1_us; }

 private:
  TimePoint now_ = TimePoint::from_ns(1'000'000'000);
};

struct Echo final : TcpHandler {
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
  void on_peer_closed(TcpConn conn) noexcept override { conn.close(); }
};

async::Task<> echo(async::TcpStream stream) {
  for (;;) {
    Bytes bytes = co_await stream.read();
    if (!bytes) co_return;
    if (!co_await stream.write(std::move(bytes))) co_return;
  }
}

async::Task<> serve(async::TcpAcceptor acceptor) {
  Stack& stack = co_await async::current_stack();
  for (;;) async::spawn(stack, echo(co_await acceptor.accept()));
}

/// The C API: the application calls the loop.
class SocketEcho final : public ServerTurn, private LoopDriver {
 public:
  explicit SocketEcho(Host& host) : host_(host) {
    current_sockets() = {&host.stack().part<SocketTable>(), this};
    listener_ = px_socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(port);
    POLLUX_CHECK(px_bind(listener_, reinterpret_cast<const sockaddr*>(&any), sizeof any) == 0 && px_listen(listener_, 4096) == 0 &&
                     px_ctl(listener_, PX_IN, static_cast<std::uint64_t>(listener_)) == 0,
                 "px_listen: errno %d", errno);
  }
  ~SocketEcho() override {
    current_sockets().table->close_all();
    current_sockets() = {};
  }
  std::uint16_t run(TimePoint now) noexcept override {
    now_ = now;
    packets_ = 0;
    std::array<px_event, 64> events;
    const int n = px_poll(events.data(), events.size(), 0);
    for (int i = 0; i < n; ++i) {
      const int fd = static_cast<int>(events[static_cast<std::size_t>(i)].data);
      if (fd == listener_)
        accept_all();
      else
        echo_all(fd);
    }
    return packets_;
  }

 private:
  void accept_all() noexcept {
    for (int fd; (fd = px_accept(listener_, nullptr, nullptr)) >= 0;) px_ctl(fd, PX_IN, static_cast<std::uint64_t>(fd));
  }
  static void echo_all(int fd) noexcept {
    std::array<char, 4096> buffer;
    ssize_t got;
    while ((got = px_read(fd, buffer.data(), buffer.size())) > 0)
      POLLUX_CHECK(px_write(fd, buffer.data(), static_cast<std::size_t>(got)) == got, "px_write: errno %d", errno);
    if (got == 0 || errno != EAGAIN) px_close(fd);
  }
  bool turn(TimePoint) noexcept override {
    packets_ = static_cast<std::uint16_t>(packets_ + host_.turn(now_));
    return true;
  }
  TimePoint now() noexcept override { return now_; }
  bool is_draining() const noexcept override { return false; }

  Host& host_;
  int listener_;
  TimePoint now_;
  std::uint16_t packets_ = 0;
};

/// Takes whatever comes and counts it.
struct Sink : TcpHandler {
  void on_data(TcpConn, Bytes bytes) noexcept override { octets += bytes.size(); }
  std::uint64_t octets = 0;
};

/// Keeps the send buffer of every connection full.
struct Source : TcpHandler {
  void on_connected(TcpConn conn) noexcept override { fill(conn); }
  void on_writable(TcpConn conn) noexcept override { fill(conn); }
  void on_data(TcpConn, Bytes) noexcept override {}
  void fill(TcpConn conn) noexcept {
    static constexpr std::array<std::uint8_t, 16 * 1024> block{};
    while (conn.send(block).status == SendStatus::ok) {
    }
  }
};

/// The other end of an Echo: one message of 64 octets in flight a connection; with `once`, one message a connection.
struct Pinger final : TcpHandler {
  void on_connected(TcpConn conn) noexcept override {
    send(conn);
  }
  void on_data(TcpConn conn, Bytes bytes) noexcept override {
    POLLUX_CHECK(bytes.size() == message.size(), "an echo of %u octets", bytes.size());
    if (once) return conn.close();
    ++round_trips;
    send(conn);
  }
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    if (reason == CloseReason::stack_stopped) return;  // the end of the run
    POLLUX_CHECK(reason == CloseReason::normal, "a connection ended: %s", close_reason_name(reason));
    ++round_trips;
    ++closed;
  }
  void send(TcpConn conn) const noexcept {
    POLLUX_CHECK(conn.send(message).status == SendStatus::ok, "a message of %zu octets was refused", message.size());
  }
  std::array<std::uint8_t, 64> message{};
  bool once = false;
  std::uint32_t closed = 0;
  std::uint64_t round_trips = 0;
};

struct Workload {
  const char* name;
  const char* unit;
  enum class Kind { echo, coroutines, sockets, open_close, receive, send } kind;
  std::uint32_t connections;
  std::uint64_t units;  ///< that are measured, at least
  bool v6 = false;
};

constexpr std::array workloads = {
    Workload{"echo-1", "round trip of 64 octets", Workload::Kind::echo, 1, 20'000},
    Workload{"echo-64", "round trip of 64 octets", Workload::Kind::echo, 64, 50'000},
    Workload{"echo-1000", "round trip of 64 octets", Workload::Kind::echo, 1000, 50'000},
    Workload{"echo-64-v6", "round trip of 64 octets", Workload::Kind::echo, 64, 50'000, true},
    Workload{"echo-64-async", "round trip of 64 octets", Workload::Kind::coroutines, 64, 50'000},
    Workload{"echo-64-px", "round trip of 64 octets", Workload::Kind::sockets, 64, 50'000},
    Workload{"open-close-64", "connection, one echo in it", Workload::Kind::open_close, 64, 10'000},
    Workload{"receive-1", "segment of 1,448 octets", Workload::Kind::receive, 1, 50'000},
    Workload{"send-1", "segment of 1,448 octets", Workload::Kind::send, 1, 50'000},
};

class Run {
 public:
  Run(const Workload& workload, const RingPair& pair)
      : workload_(workload),
        // A device writes a packet into one mbuf: the server gets them so.
        client_(pair.client(), options(), clock_.now(), {.multi_segment = false}),
        server_(pair.server(), options(), clock_.now()) {
    listen();
    pinger_.once = workload.kind == Workload::Kind::open_close;
  }

  void operator()() {
    go(std::max<std::uint64_t>(workload_.units / 4, 4 * workload_.connections), [this] { return turn_->run(clock_.now()); });
    const std::uint64_t first = units();
    std::uint64_t turns = 0;
    std::uint64_t packets = 0;
    go(workload_.units, [&] {
      ++turns;
      const std::uint16_t n = pollux_bench_counted_turn(*turn_, clock_.now());
      packets += n;
      return n;
    });
    std::printf("%s: %llu units, %llu packets in %llu turns\n", workload_.name,
                static_cast<unsigned long long>(units() - first), static_cast<unsigned long long>(packets),
                static_cast<unsigned long long>(turns));
    client_.stack().abort_all(clock_.now());
    client_.run_dry(clock_);
    server_.run_dry(clock_);
  }

 private:
  void listen() {
    turn_ = std::make_unique<HostTurn>(server_);
    Stack& stack = server_.stack();
    if (workload_.kind == Workload::Kind::sockets) {
      turn_ = std::make_unique<SocketEcho>(server_);
      return;
    }
    if (workload_.kind == Workload::Kind::coroutines) {
      auto acceptor = async::listen(stack, {.port = port});
      POLLUX_CHECK(acceptor.has_value(), "%s", acceptor.error().text.c_str());
      return async::spawn(stack, serve(std::move(*acceptor)));
    }
    TcpHandler& handler = workload_.kind == Workload::Kind::receive ? static_cast<TcpHandler&>(sink_)
                          : workload_.kind == Workload::Kind::send  ? static_cast<TcpHandler&>(source_)
                                                                    : echo_;
    const auto listener = stack.tcp().listen({.port = port}, handler);
    POLLUX_CHECK(listener.has_value(), "%s", listener.error().text.c_str());
  }
  StackOptions options() const {
    StackOptions options;
    options.ip.dad_solicitations = 0;
    options.tcp.connections_max = 2 * workload_.connections + 16;
    options.tcp.time_wait_max = 16384;
    options.tcp.time_wait_reuse_after = 1_ms;
    return options;
  }
  std::uint64_t units() const {
    if (workload_.kind == Workload::Kind::receive) return sink_.octets / segment_octets;
    if (workload_.kind == Workload::Kind::send) return client_sink_.octets / segment_octets;
    return pinger_.round_trips;
  }
  void connect() {
    const IpAddress server = workload_.v6 ? IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1) : IpAddress::v4(10, 0, 0, 1);
    TcpHandler& handler = workload_.kind == Workload::Kind::receive ? static_cast<TcpHandler&>(client_source_)
                          : workload_.kind == Workload::Kind::send  ? static_cast<TcpHandler&>(client_sink_)
                                                                    : pinger_;
    const auto conn = client_.stack().tcp().connect({.remote = {server, port}}, handler);
    POLLUX_CHECK(conn.has_value(), "connect: %s", conn.error().text.c_str());
    ++opened_;
  }
  /// Both sides take turns until `count` more units are done.
  template <typename ServerTurn>
  void go(std::uint64_t count, ServerTurn server_turn) {
    const std::uint64_t goal = units() + count;
    std::uint64_t idle = 0;
    while (units() < goal) {
      while (opened_ - pinger_.closed < workload_.connections) connect();
      bool any = client_.turn(clock_.now()) != 0;
      if (server_.has_input() || server_.stack().next_deadline() <= clock_.now()) any |= server_turn() != 0;
      idle = any ? 0 : idle + 1;
      POLLUX_CHECK(idle < 10'000'000, "%s stopped after %llu units", workload_.name,
                   static_cast<unsigned long long>(units()));
    }
  }

  const Workload& workload_;
  StepClock clock_;
  Echo echo_;
  Sink sink_, client_sink_;
  Source source_, client_source_;
  Pinger pinger_;
  Host client_;
  Host server_;
  std::unique_ptr<ServerTurn> turn_;
  std::uint32_t opened_ = 0;
};

}  // namespace
}  // namespace pollux::bench

int main(int argc, char** argv) {
  using namespace pollux::bench;
  std::string name;
  bool list = false;
  CLI::App app("One workload between two in-process stacks over net_ring, in virtual time; for callgrind");
  app.add_option("workload", name, "its name");
  app.add_flag("--list", list, "print the names, and what each counts");
  CLI11_PARSE(app, argc, argv);
  for (const Workload& workload : workloads) {
    if (list) std::printf("%s\t%s\n", workload.name, workload.unit);
    if (name != workload.name) continue;
    start_eal(argv[0], 1024);
    const RingPair pair;
    Run(workload, pair)();
    return 0;
  }
  if (list) return 0;
  std::fprintf(stderr, "no workload '%s'; --list prints them\n", name.c_str());
  return 1;
}
