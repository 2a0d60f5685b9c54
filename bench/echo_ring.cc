// TCP echo between two stacks in one process, joined by a pair of net_ring ports: what a round trip costs the
// server's core. Only the server's turns are timed; the client checks every octet that comes back.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>

#include "common.h"
#include "lwip_echo.h"
#include "ring_pair.h"

namespace pollux::bench {
namespace {

constexpr std::uint16_t echo_port = 7;

struct Options {
  std::vector<std::uint32_t> connections = {1, 64, 1000, 10000};
  std::uint32_t size = 64;
  std::uint32_t repetitions = 7;
  std::uint32_t round_trips = 50'000;
  bool lwip = false;
  std::string json_path;
};

struct Server final : TcpHandler {
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
};

// One message in flight per connection; the next one leaves when the last one came back right.
class Client final : public TcpHandler {
 public:
  Client(std::uint32_t connections, std::uint32_t size) : size_(size), peers_(connections) {}

  void connect(Stack& stack, std::uint32_t index) {
    auto conn = stack.tcp().connect({.remote = {IpAddress::v4(10, 0, 0, 1), echo_port}}, *this);
    POLLUX_CHECK(conn.has_value(), "connect %u: %s", index, conn.error().text.c_str());
    conn->set_user_data(index);
    peers_[index].conn = *conn;
  }
  void on_connected(TcpConn) noexcept override { ++connected; }
  void on_data(TcpConn conn, Bytes bytes) noexcept override {
    const auto index = static_cast<std::uint32_t>(conn.user_data());
    Peer& peer = peers_[index];
    const std::vector<std::uint8_t>& expected = message(index, peer.round);
    std::uint32_t at = peer.received;
    bytes.for_each_piece([&](std::span<const std::uint8_t> piece) {
      POLLUX_CHECK(at + piece.size() <= size_ && std::memcmp(piece.data(), &expected[at], piece.size()) == 0,
                   "connection %u, round %u: wrong octets came back", index, peer.round);
      at += static_cast<std::uint32_t>(piece.size());
    });
    peer.received = at;
    if (at < size_) return;
    peer.received = 0;
    ++peer.round;
    ++round_trips;
    --in_flight;
    if (is_running) send(index);
  }
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    POLLUX_CHECK(reason == CloseReason::normal, "a connection ended: %s", close_reason_name(reason));
    ++closed;
  }
  void send(std::uint32_t index) noexcept {
    const SendResult result = peers_[index].conn.send(message(index, peers_[index].round));
    POLLUX_CHECK(result.status == SendStatus::ok, "send status %d", static_cast<int>(result.status));
    ++in_flight;
  }
  void close_all() {
    for (Peer& peer : peers_) peer.conn.close();
  }

  std::uint32_t connected = 0;
  std::uint32_t closed = 0;
  std::uint32_t in_flight = 0;
  std::uint64_t round_trips = 0;
  bool is_running = true;

 private:
  struct Peer {
    TcpConn conn;
    std::uint32_t round = 0;
    std::uint32_t received = 0;
  };
  const std::vector<std::uint8_t>& message(std::uint32_t index, std::uint32_t round) noexcept {
    message_.resize(size_);
    std::uint32_t word = index * 0x9e3779b1u + round;
    for (std::uint8_t& octet : message_)
      octet = static_cast<std::uint8_t>((word = word * 1664525u + 1) >> 24);
    return message_;
  }
  std::uint32_t size_;
  std::vector<Peer> peers_;
  std::vector<std::uint8_t> message_;
};

// Of the server; sums over what was measured.
struct Sample {
  double cycles = 0;  // timing overhead taken off
  std::uint64_t round_trips = 0;
  std::uint64_t turns = 0;
  std::uint64_t packets = 0;
  std::uint64_t discarded = 0;  // pieces of work that the kernel interrupted

  Sample& operator+=(const Sample& other) {
    cycles += other.cycles;
    round_trips += other.round_trips;
    turns += other.turns;
    packets += other.packets;
    discarded += other.discarded;
    return *this;
  }
  double per_round_trip() const { return cycles / static_cast<double>(round_trips); }
  double packets_per_turn() const { return static_cast<double>(packets) / static_cast<double>(turns); }
};

class Bench {
 public:
  Bench(const Options& options, const RingPair& pair) : options_(options), pair_(pair) {
    overhead_ = timing_overhead();
  }
  double overhead() const { return overhead_; }

  std::vector<Sample> measure(std::uint32_t connections, std::uint32_t repetitions) {
    Host server_host(pair_.server(), stack_options(connections), clock_.now());
    Server server;
    auto listener = server_host.stack().tcp().listen({.port = echo_port}, server);
    POLLUX_CHECK(listener.has_value(), "%s", listener.error().text.c_str());
    return measure_server(server_host, connections, repetitions);
  }
  /// The same client, lwIP as the server.
  std::vector<Sample> measure_lwip(std::uint32_t connections, std::uint32_t repetitions) {
    return measure_server(LwipEcho::on(pair_.server(), echo_port), connections, repetitions);
  }
  /// Cycles of a turn in which nothing came in, after the last measurement: what polling costs.
  double empty_turn() const { return empty_turn_; }

 private:
  static StackOptions stack_options(std::uint32_t connections) {
    StackOptions options;
    options.tcp.connections_max = connections + 16;
    return options;
  }

  // `Peer`: what serves, Host or LwipEcho.
  template <typename Peer>
  std::vector<Sample> measure_server(Peer& server_host, std::uint32_t connections, std::uint32_t repetitions) {
    Host client_host(pair_.client(), stack_options(connections), clock_.now());
    Client client(connections, options_.size);
    open(client_host, server_host, client, connections);
    for (std::uint32_t i = 0; i < connections; ++i) client.send(i);
    echo(client_host, server_host, client, std::max(options_.round_trips / 4, 4 * connections));  // warms up
    std::vector<Sample> samples;
    for (std::uint32_t i = 0; i < repetitions; ++i)
      samples.push_back(echo_undisturbed(client_host, server_host, client, connections));
    empty_turn_ = measure_empty_turn(server_host);
    close(client_host, server_host, client, connections);
    return samples;
  }
  template <typename Peer>
  void open(Host& client_host, Peer& server_host, Client& client, std::uint32_t connections) {
    constexpr std::uint32_t at_once = 256;
    const TimePoint give_up = clock_.now() + 60_s;
    for (std::uint32_t next = 0; client.connected < connections;) {
      for (; next < connections && next < client.connected + at_once; ++next)
        client.connect(client_host.stack(), next);
      client_host.run_dry(clock_);
      server_host.run_dry(clock_);
      POLLUX_CHECK(clock_.now() < give_up, "only %u of %u connections opened", client.connected, connections);
    }
  }

  template <typename Peer>
  Sample echo(Host& client_host, Peer& server_host, Client& client, std::uint64_t round_trips) {
    const std::uint64_t first = client.round_trips;
    std::uint64_t cycles = 0;
    Sample sample;
    while (client.round_trips - first < round_trips) {
      client_host.run_dry(clock_);
      POLLUX_CHECK(server_host.has_input(), "the echo stopped after %lu round trips", client.round_trips);
      while (server_host.has_input()) {
        const TimePoint now = clock_.now();
        const std::uint64_t start = rte_rdtsc_precise();
        sample.packets += server_host.turn(now);
        cycles += rte_rdtsc_precise() - start;
        ++sample.turns;
      }
    }
    sample.round_trips = client.round_trips - first;
    sample.cycles = static_cast<double>(cycles) - static_cast<double>(sample.turns) * overhead_;
    return sample;
  }

  // A repetition, in pieces of a few milliseconds: a piece during which the kernel gave our core to someone
  // else says nothing about us and is run again, within limits.
  template <typename Peer>
  Sample echo_undisturbed(Host& client_host, Peer& server_host, Client& client, std::uint32_t connections) {
    const std::uint64_t piece = std::max(1000u, connections);
    const std::uint64_t discarded_max = 4 * options_.round_trips / piece + 4;
    Sample sum;
    while (sum.round_trips < options_.round_trips) {
      const std::uint64_t before = preemptions();
      const Sample sample = echo(client_host, server_host, client, piece);
      if (preemptions() != before && sum.discarded < discarded_max) {
        ++sum.discarded;
      } else {
        sum += sample;
      }
    }
    return sum;
  }

  template <typename Peer>
  double measure_empty_turn(Peer& server_host) {
    std::vector<double> turns;
    for (int i = 0; i < 10'001; ++i) {
      const TimePoint now = clock_.now();
      const std::uint64_t start = rte_rdtsc_precise();
      server_host.turn(now);
      turns.push_back(static_cast<double>(rte_rdtsc_precise() - start) - overhead_);
    }
    return median(turns);
  }

  template <typename Peer>
  void close(Host& client_host, Peer& server_host, Client& client, std::uint32_t connections) {
    client.is_running = false;
    const TimePoint give_up = clock_.now() + 60_s;
    while (client.in_flight != 0) {
      client_host.run_dry(clock_);
      server_host.run_dry(clock_);
      POLLUX_CHECK(clock_.now() < give_up, "%u messages did not come back", client.in_flight);
    }
    client.close_all();
    while (client.closed < connections || server_host.connection_count() != 0) {
      client_host.run_dry(clock_);
      server_host.run_dry(clock_);
      POLLUX_CHECK(clock_.now() < give_up, "only %u of %u connections closed", client.closed, connections);
    }
  }

  const Options& options_;
  const RingPair& pair_;
  TscClock clock_;
  double overhead_ = 0;
  double empty_turn_ = 0;
};

// The measurements of one server with one number of connections.
struct Runs {
  Sample sum;
  std::vector<double> cycles;
  std::vector<double> empty_turns;

  void add(const Bench& bench, const std::vector<Sample>& samples) {
    for (const Sample& sample : samples) {
      sum += sample;
      cycles.push_back(sample.per_round_trip());
    }
    empty_turns.push_back(bench.empty_turn());
  }
  nlohmann::json report(std::uint32_t connections, const char* server) const {
    std::string all;
    for (const double c : cycles) all += (all.empty() ? "" : " ") + std::to_string(std::lround(c));
    const auto [low, high] = std::minmax_element(cycles.begin(), cycles.end());
    std::printf("%11u %6s %14.0f %8.0f %8.0f %10.1f %12.0f   %s\n", connections, server, median(cycles), *low, *high,
                sum.packets_per_turn(), median(empty_turns), all.c_str());
    std::fflush(stdout);
    return {{"connections", connections},
            {"cycles_per_round_trip", median(cycles)},
            {"runs", cycles},
            {"packets_per_turn", sum.packets_per_turn()},
            {"empty_turn_cycles", median(empty_turns)},
            {"discarded_pieces", sum.discarded}};
  }
};

int run(const Options& options, const char* program) {
  const unsigned core = start_eal(program, 1024);
  RingPair pair;
  PacketPool(&pools)[2] = pair.pools;

  Bench bench(options, pair);
  std::printf(
      "TCP echo of %u octets over net_ring, server side; core %u, TSC %.0f MHz, timing overhead %.0f "
      "cycles\n",
      options.size, core, static_cast<double>(rte_get_tsc_hz()) / 1e6, bench.overhead());
  std::printf("%11s %6s %14s %8s %8s %10s %12s   %s\n", "connections", "server", "cycles/round", "min", "max", "pkts/turn", "empty turn",
              "all runs");
  nlohmann::json rows = nlohmann::json::array();
  for (const std::uint32_t connections : options.connections) {
    Runs ours, lwip;
    if (!options.lwip) ours.add(bench, bench.measure(connections, options.repetitions));
    for (std::uint32_t i = 0; options.lwip && i < options.repetitions; ++i) {  // in turns
      ours.add(bench, bench.measure(connections, 1));
      lwip.add(bench, bench.measure_lwip(connections, 1));
    }
    nlohmann::json row = ours.report(connections, "pollux");
    if (options.lwip) {
      row["lwip"] = lwip.report(connections, "lwip");
      row["lwip_over_pollux"] = median(lwip.cycles) / median(ours.cycles);
      std::printf("%11u lwIP takes %.2f times the cycles\n", connections, row["lwip_over_pollux"].get<double>());
    }
    rows.push_back(std::move(row));
    for (PacketPool& pool : pools)
      POLLUX_CHECK(pool.in_use() + pool.clones_in_use() == 0, "leak: %u mbufs, %u clones", pool.in_use(),
                   pool.clones_in_use());
  }
  if (!options.json_path.empty()) {
    std::ofstream(options.json_path) << nlohmann::json{{"benchmark", "echo_ring"},
                                                       {"payload_octets", options.size},
                                                       {"tsc_hz", rte_get_tsc_hz()},
                                                       {"rows", rows}}
                                            .dump(2)
                                     << '\n';
  }
  return 0;
}

}  // namespace
}  // namespace pollux::bench

int main(int argc, char** argv) {
  pollux::bench::Options options;
  CLI::App app("Server cycles per TCP echo round trip between two in-process stacks over net_ring");
  app.add_option("--connections", options.connections, "connections with one message in flight each")
      ->delimiter(',')
      ->check(CLI::Range(1, 25000))
      ->capture_default_str();
  app.add_option("--size", options.size, "octets of a message")
      ->check(CLI::Range(1, 1400))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measurements for each number of connections")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--round-trips", options.round_trips, "round trips in one measurement, at least")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  app.add_flag("--lwip", options.lwip, "measure lwIP as the server too, the two in turns");
  app.add_option("--json", options.json_path, "write the results here too");
  CLI11_PARSE(app, argc, argv);
  return pollux::bench::run(options, argv[0]);
}
