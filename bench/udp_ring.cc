// UDP echo between two stacks in one process, joined by a pair of net_ring ports: what a datagram costs the server's core,
// in and out. Only the server's turns are timed; the client checks every octet that comes back.
#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common.h"
#include "ring_pair.h"

namespace pollux::bench {
namespace {

constexpr std::uint16_t echo_port = 7;

struct Options {
  std::vector<std::uint32_t> flights = {1, 32, 1024};
  std::uint32_t size = 18;  // a frame of 60 octets, 64 with the check sequence: what testpmd sends
  std::uint32_t repetitions = 7;
  std::uint32_t datagrams = 100'000;
  bool v6 = false;
  std::string json_path;
};

/// As l4echo: what arrives goes back in its mbuf.
struct Server final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      const SendStatus status = socket.send_to(d.remote, std::move(d.data), d.local);
      POLLUX_CHECK(status == SendStatus::ok, "server: send status %d", static_cast<int>(status));
    }
  }
};

/// Keeps `in_flight` datagrams under way on one socket, each with a number and octets that follow from it.
class Client final : public UdpHandler {
 public:
  Client(const Endpoint& server, std::uint32_t size) : server_(server), message_(size) {}

  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      POLLUX_CHECK(d.data.size() == message_.size(), "%u octets came back", d.data.size());
      fill(received_++);
      const std::span<const std::uint8_t> front = d.data.front();
      POLLUX_CHECK(std::memcmp(front.data(), message_.data(), message_.size()) == 0, "wrong octets came back");
    }
  }
  void send(UdpSocket& socket) noexcept {
    fill(sent_++);
    const SendStatus status = socket.send_to(server_, std::span<const std::uint8_t>(message_));
    POLLUX_CHECK(status == SendStatus::ok, "client: send status %d", static_cast<int>(status));
  }
  std::uint64_t received() const { return received_; }
  std::uint64_t in_flight() const { return sent_ - received_; }

 private:
  void fill(std::uint64_t number) noexcept {
    for (std::size_t i = 0; i < message_.size(); ++i) message_[i] = static_cast<std::uint8_t>(number * 31 + i * 7);
  }
  Endpoint server_;
  std::vector<std::uint8_t> message_;
  std::uint64_t sent_ = 0;
  std::uint64_t received_ = 0;
};

struct Sample {
  double cycles = 0;  // timing overhead taken off
  std::uint64_t datagrams = 0;
  std::uint64_t turns = 0;
  double per_datagram() const { return cycles / static_cast<double>(datagrams); }
};

class Bench {
 public:
  Bench(const Options& options, const RingPair& pair) : options_(options) {
    const TimePoint now = clock_.now();
    client_host_.emplace(pair.client(), StackOptions{}, now);
    server_host_.emplace(pair.server(), StackOptions{}, now);
    overhead_ = timing_overhead();
    const IpAddress address = options.v6 ? IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1) : IpAddress::v4(10, 0, 0, 1);
    client_.emplace(Endpoint{address, echo_port}, options.size);
    auto listening = server_host_->stack().udp().bind({.port = echo_port}, server_);
    auto sending = client_host_->stack().udp().bind({}, *client_);
    POLLUX_CHECK(listening && sending, "cannot bind");
    socket_ = *sending;
    const TimePoint give_up = clock_.now() + 10_s;
    while (!server_host_->stack().ip().addresses_settled() || !client_host_->stack().ip().addresses_settled()) {
      turn_both();
      POLLUX_CHECK(clock_.now() < give_up, "duplicate address detection does not end");
    }
    client_->send(socket_);  // neighbours learn of each other
    drain();
  }

  std::vector<Sample> measure(std::uint32_t in_flight) {
    std::vector<Sample> samples;
    (void)echo(in_flight, options_.datagrams / 4);
    for (std::uint32_t i = 0; i < options_.repetitions; ++i) samples.push_back(echo_undisturbed(in_flight));
    drain();
    return samples;
  }

 private:
  void turn_both() {
    client_host_->run_dry(clock_);
    server_host_->run_dry(clock_);
  }
  void drain() {
    const TimePoint give_up = clock_.now() + 10_s;
    while (client_->in_flight() != 0) {
      turn_both();
      POLLUX_CHECK(clock_.now() < give_up, "%lu datagrams did not come back", client_->in_flight());
    }
  }

  Sample echo(std::uint32_t in_flight, std::uint64_t datagrams) {
    const std::uint64_t first = client_->received();
    std::uint64_t cycles = 0;
    Sample sample;
    while (client_->received() - first < datagrams) {
      while (client_->in_flight() < in_flight && client_host_->stack().tx(0).room() != 0) client_->send(socket_);
      client_host_->turn(clock_.now());
      while (server_host_->has_input()) {
        const TimePoint now = clock_.now();
        const std::uint64_t start = rte_rdtsc_precise();
        server_host_->turn(now);
        cycles += rte_rdtsc_precise() - start;
        ++sample.turns;
      }
      client_host_->run_dry(clock_);
    }
    sample.datagrams = client_->received() - first;
    sample.cycles = static_cast<double>(cycles) - static_cast<double>(sample.turns) * overhead_;
    return sample;
  }

  /// In pieces: one during which the kernel gave our core to someone else is run again, within limits.
  Sample echo_undisturbed(std::uint32_t in_flight) {
    const std::uint64_t piece = std::max(2000u, 2 * in_flight);
    std::uint64_t may_discard = 4 * options_.datagrams / piece + 4;
    Sample sum;
    while (sum.datagrams < options_.datagrams) {
      const std::uint64_t before = preemptions();
      const Sample sample = echo(in_flight, piece);
      if (preemptions() != before && may_discard != 0) {
        --may_discard;
        continue;
      }
      sum.cycles += sample.cycles;
      sum.datagrams += sample.datagrams;
      sum.turns += sample.turns;
    }
    return sum;
  }

  const Options& options_;
  TscClock clock_;
  double overhead_ = 0;
  Server server_;
  std::optional<Client> client_;
  std::optional<Host> client_host_;
  std::optional<Host> server_host_;
  UdpSocket socket_;
};

int run(const Options& options, const char* program) {
  const unsigned core = start_eal(program, 1024);
  RingPair pair;
  nlohmann::json rows = nlohmann::json::array();
  {
    Bench bench(options, pair);
    std::printf("UDP echo of %u octets over net_ring and IPv%d, server side; core %u, TSC %.0f MHz\n", options.size,
                options.v6 ? 6 : 4, core, static_cast<double>(rte_get_tsc_hz()) / 1e6);
    std::printf("%10s %16s %14s   %s\n", "in flight", "cycles/datagram", "datagrams/turn", "all runs");
    for (const std::uint32_t in_flight : options.flights) {
      std::vector<double> cycles;
      std::uint64_t datagrams = 0, turns = 0;
      std::string all;
      for (const Sample& sample : bench.measure(in_flight)) {
        cycles.push_back(sample.per_datagram());
        datagrams += sample.datagrams;
        turns += sample.turns;
        all += (all.empty() ? "" : " ") + std::to_string(std::lround(cycles.back()));
      }
      std::printf("%10u %16.0f %14.1f   %s\n", in_flight, median(cycles),
                  static_cast<double>(datagrams) / static_cast<double>(turns), all.c_str());
      std::fflush(stdout);
      rows.push_back({{"in_flight", in_flight}, {"cycles_per_datagram", median(cycles)}, {"runs", cycles}});
    }
  }
  for (PacketPool& pool : pair.pools)
    POLLUX_CHECK(pool.in_use() + pool.clones_in_use() == 0, "leak: %u mbufs", pool.in_use());
  if (!options.json_path.empty())
    std::ofstream(options.json_path) << nlohmann::json{{"benchmark", "udp_ring"},
                                                       {"payload_octets", options.size},
                                                       {"tsc_hz", rte_get_tsc_hz()},
                                                       {"rows", rows}}
                                            .dump(2)
                                     << '\n';
  return 0;
}

}  // namespace
}  // namespace pollux::bench

int main(int argc, char** argv) {
  pollux::bench::Options options;
  CLI::App app("Server cycles per echoed UDP datagram between two in-process stacks over net_ring");
  app.add_option("--in-flight", options.flights, "datagrams under way")
      ->delimiter(',')
      ->check(CLI::Range(1, 16384))
      ->capture_default_str();
  app.add_option("--size", options.size, "octets of payload")->check(CLI::Range(1, 1400))->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measurements for each number")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--datagrams", options.datagrams, "datagrams in one measurement, at least")
      ->check(CLI::Range(1, 100'000'000))
      ->capture_default_str();
  app.add_flag("--v6", options.v6, "over IPv6");
  app.add_option("--json", options.json_path, "write the results here too");
  CLI11_PARSE(app, argc, argv);
  return pollux::bench::run(options, argv[0]);
}
