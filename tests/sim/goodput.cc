// How much of a path bulk transfers use: each row a path and a number of flows, once with CUBIC and once with
// NewReno, against what the link carries and what the controllers' own models promise. Virtual time, so a run
// is exact; where chance has a part, the middle one of five runs counts. Prints a table that goodput.py reads.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstdio>
#include <cstring>
#include <memory>
#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "support/world.h"

namespace pollux::test {
namespace {

constexpr double frame_octets =
    1500 + 14 + 24;  // Ethernet header, and what a frame takes of the wire besides
constexpr double segment_payload = 1500 - 40 - 12;

struct Path {
  double mbit_per_second = 10;
  double rtt_ms = 20;
  std::uint32_t queue = 0;     ///< frames; 0: a bandwidth-delay product, at least 20
  double loss = 0;             ///< of data, probability per frame
  std::uint32_t loss_run = 1;  ///< frames that each loss takes
  double reorder = 0;
  double reorder_ms = 0;
  double duplicate = 0;
  double ack_loss = 0;

  bool by_chance() const { return loss + reorder + duplicate + ack_loss > 0; }
  double bdp_frames() const { return mbit_per_second * 1e6 / 8 * rtt_ms * 1e-3 / frame_octets; }
  std::uint32_t queue_frames() const {
    return queue != 0 ? queue : std::max<std::uint32_t>(20, static_cast<std::uint32_t>(bdp_frames()));
  }
};

/// Percent of the bound that each controller must reach.
struct Floor {
  double cubic, newreno, bbr;
};

struct Row {
  const char* group;
  const char* name;
  Path path;
  std::uint32_t flows = 1;
  double seconds = 60;
  Floor floor;
  double jain_floor = 0;
  TcpCongestion other = TcpCongestion::newreno;  ///< shared: who is beside CUBIC
};

struct Outcome {
  double waiting = 0;  ///< frames in the queue, as those that arrive find it
  double mbit_per_second = 0;
  double jain = 1;
  double retransmitted = 0;  ///< percent of the segments sent
  std::uint64_t timeouts = 0;
  std::vector<double> rates;  ///< Mbit/s of each flow
};

/// Sends for ever.
struct Source final : TcpHandler {
  void fill(TcpConn conn) noexcept {
    static const std::array<std::uint8_t, 65536> octets{};
    while (conn.send(octets).status == SendStatus::ok) {
    }
  }
  void on_connected(TcpConn conn) noexcept override { fill(conn); }
  void on_writable(TcpConn conn) noexcept override { fill(conn); }
  void on_data(TcpConn, Bytes) noexcept override {}
};

/// Counts what each connection delivers.
struct Sink final : TcpHandler {
  explicit Sink(std::size_t flows) : received(flows) {}
  void on_connected(TcpConn conn) noexcept override { conn.set_user_data(connected++); }
  void on_data(TcpConn conn, Bytes bytes) noexcept override { received[conn.user_data()] += bytes.size(); }
  std::vector<std::uint64_t> received;
  std::uint64_t connected = 0;
};

double jain(const std::vector<double>& shares) {
  const double sum = std::accumulate(shares.begin(), shares.end(), 0.0);
  double squares = 0;
  for (const double share : shares) squares += share * share;
  return squares == 0 ? 0 : sum * sum / (static_cast<double>(shares.size()) * squares);
}

HostOptions host_options(const Path& path) {
  HostOptions host;
  host.offloads.tcp_checksum = host.offloads.ipv4_checksum = true;
  host.pool_packets = 1u << 20;
  const double window = 4 * (path.bdp_frames() + path.queue_frames()) * 1500;
  auto& conn = host.stack.tcp.conn;
  conn.receive_buffer = conn.send_buffer = static_cast<std::uint32_t>(std::clamp(window, 65536.0, 8e6));
  conn.receive_buffer_max = conn.send_buffer_max = 0;  // they stay as they are: the controller is what is measured
  host.stack.tcp.connections_max = host.stack.tcp.time_wait_max = 1024;
  return host;
}

LinkOptions data_link(const Path& path) {
  LinkOptions link;
  link.bits_per_second = static_cast<std::uint64_t>(path.mbit_per_second * 1e6);
  link.delay = Duration::from_us(static_cast<std::int64_t>(path.rtt_ms * 500) - 50);
  link.queue_max = path.queue_frames();
  link.loss = path.loss;
  link.loss_run = path.loss_run;
  link.reorder = path.reorder;
  link.reorder_delay = Duration::from_us(static_cast<std::int64_t>(path.reorder_ms * 1000));
  link.duplicate = path.duplicate;
  return link;
}

/// `congestion` per flow, taken in turn. The seed is that of every fault, and moves the flows' beginnings a little.
Outcome run(const Row& row, const std::vector<TcpCongestion>& congestion, std::uint64_t seed) {
  World world(seed);
  const HostOptions options = host_options(row.path);
  const LinkOptions data = data_link(row.path);
  LinkOptions back;
  back.delay = data.delay;
  back.loss = row.path.ack_loss;
  back.queue_max = 1'000'000;
  SimHost& sender = world.add_host(options, data, {});
  SimHost& receiver = world.add_host(options, back, {});
  Source source;
  Sink sink(row.flows);
  if (!receiver.tcp().listen({.port = 7}, sink)) std::abort();
  for (std::uint32_t i = 0; i < row.flows; ++i) {
    TcpConnOptions conn = options.stack.tcp.conn;
    conn.congestion = congestion[i % congestion.size()];
    // Not all in one moment, or they would stay in step.
    const std::uint64_t start_ms = (i * 97 + (seed - 1) * 31 * i) % 1000;
    world.after(Duration::from_ms(static_cast<std::int64_t>(start_ms)), [&, conn] {
      if (!sender.tcp().connect({.remote = {receiver.ip(), 7}, .conn = conn}, source)) std::abort();
    });
  }
  world.run_for(Duration::from_ms(static_cast<std::int64_t>(row.seconds * 200)));  // the start is left out
  const auto before = sink.received;
  const LinkCounts counts = world.up(0).counts();
  const double measured = row.seconds * 0.8;
  world.run_for(Duration::from_ms(static_cast<std::int64_t>(measured * 1000)));
  Outcome outcome;
  std::vector<double>& rates = outcome.rates;
  for (std::size_t i = 0; i < sink.received.size(); ++i)
    rates.push_back(static_cast<double>(sink.received[i] - before[i]) * 8e-6 / measured);
  outcome.mbit_per_second = std::accumulate(rates.begin(), rates.end(), 0.0);
  outcome.jain = jain(rates);
  const LinkCounts& now = world.up(0).counts();
  outcome.waiting = static_cast<double>(now.waiting - counts.waiting) / static_cast<double>(now.sent - counts.sent);
  const Counters& c = sender.counters();
  outcome.retransmitted = 100.0 * static_cast<double>(c[Counter::tcp_retrans_segs]) /
                          static_cast<double>(c[Counter::tcp_out_segs] + c[Counter::tcp_retrans_segs]);
  outcome.timeouts = c[Counter::tcp_timeouts];
  return outcome;
}

/// The run in the middle of five by the goodput of flow `of`, or of all.
Outcome median_run(const Row& row, const std::vector<TcpCongestion>& congestion, std::optional<std::size_t> of = {}) {
  constexpr std::uint64_t runs = 5;
  std::vector<Outcome> outcomes;
  for (std::uint64_t seed = 1; seed <= runs; ++seed) outcomes.push_back(run(row, congestion, seed));
  const auto goodput = [&](const Outcome& o) { return of ? o.rates[*of] : o.mbit_per_second; };
  std::sort(outcomes.begin(), outcomes.end(), [&](const Outcome& a, const Outcome& b) { return goodput(a) < goodput(b); });
  if (std::getenv("POLLUX_RUNS") != nullptr)
    for (const Outcome& o : outcomes)
      std::fprintf(stderr, "%s: %.3f Mbit/s, %llu timeouts\n", row.name, goodput(o), static_cast<unsigned long long>(o.timeouts));
  return outcomes[runs / 2];
}

Outcome measure(const Row& row, TcpCongestion congestion) {
  return row.path.by_chance() ? median_run(row, {congestion}) : run(row, {congestion}, 1);
}

// --- Bounds
// ----------------------------------------------------------------------------------------------------

double link_bound(const Path& path) {
  const double arrives = 1 - path.loss * path.loss_run;
  return path.mbit_per_second * segment_payload / frame_octets * arrives;
}

/// Padhye et al. 1998: Reno with loss p, each loss a halving, or a timeout when the window is small.
double reno_model(const Path& path) {
  const double p = path.loss;
  if (p == 0) return 1e9;
  const double rtt = path.rtt_ms * 1e-3;
  const double rto = std::max(0.2, rtt);
  const double per_segment =
      rtt * std::sqrt(2 * p / 3) + rto * std::min(1.0, 3 * std::sqrt(3 * p / 8)) * p * (1 + 32 * p * p);
  return segment_payload * 8e-6 / per_segment;
}

/// RFC 9438 5.1, equation 6; never less than Reno, whose friendly region it has.
double cubic_model(const Path& path) {
  if (path.loss == 0) return 1e9;
  const double rtt = path.rtt_ms * 1e-3;
  const double window = std::pow(0.4 * 3.7 / (4 * 0.3), 0.25) * std::pow(rtt / path.loss, 0.75);
  return std::max(reno_model(path), window * segment_payload * 8e-6 / rtt);
}

// --- The table
// -------------------------------------------------------------------------------------------------

// Floors are nine tenths of what is reached now, or less.
const Row rows[] = {
    {"loss, 20 ms", "0", {.rtt_ms = 20}, 1, 60, {90, 85, 85}},
    {"loss, 20 ms", "0.01 %", {.rtt_ms = 20, .loss = 0.0001}, 1, 120, {90, 85, 85}},
    {"loss, 20 ms", "0.1 %", {.rtt_ms = 20, .loss = 0.001}, 1, 60, {90, 85, 85}},
    {"loss, 20 ms", "1 %", {.rtt_ms = 20, .loss = 0.01}, 1, 60, {95, 85, 80}},
    {"loss, 20 ms", "3 %", {.rtt_ms = 20, .loss = 0.03}, 1, 60, {135, 110, 60}},
    {"loss, 20 ms", "10 %", {.rtt_ms = 20, .loss = 0.1}, 1, 60, {140, 140, 20}},
    {"loss, 100 ms", "0", {.rtt_ms = 100}, 1, 60, {90, 85, 85}},
    {"loss, 100 ms", "0.01 %", {.rtt_ms = 100, .loss = 0.0001}, 1, 120, {90, 85, 85}},
    {"loss, 100 ms", "0.1 %", {.rtt_ms = 100, .loss = 0.001}, 1, 120, {115, 80, 85}},
    {"loss, 100 ms", "1 %", {.rtt_ms = 100, .loss = 0.01}, 1, 120, {105, 85, 70}},
    {"loss, 100 ms", "3 %", {.rtt_ms = 100, .loss = 0.03}, 1, 120, {90, 85, 16}},
    {"loss, 100 ms", "10 %", {.rtt_ms = 100, .loss = 0.1}, 1, 240, {100, 95, 4}},
    {"round trip", "1 ms", {.rtt_ms = 1}, 1, 30, {90, 90, 85}},
    {"round trip", "5 ms", {.rtt_ms = 5}, 1, 30, {85, 85, 85}},
    {"round trip", "50 ms", {.rtt_ms = 50}, 1, 60, {90, 85, 85}},
    {"round trip", "300 ms", {.rtt_ms = 300}, 1, 120, {90, 85, 80}},
    {"round trip, 0.1 % loss", "1 ms", {.rtt_ms = 1, .loss = 0.001}, 1, 30, {90, 90, 90}},
    {"round trip, 0.1 % loss", "5 ms", {.rtt_ms = 5, .loss = 0.001}, 1, 30, {90, 90, 85}},
    {"round trip, 0.1 % loss", "50 ms", {.rtt_ms = 50, .loss = 0.001}, 1, 60, {85, 75, 80}},
    {"round trip, 0.1 % loss", "300 ms", {.rtt_ms = 300, .loss = 0.001}, 1, 120, {85, 90, 65}},
    {"queue", "2 frames", {.queue = 2}, 1, 30, {7, 7, 60}},
    {"queue", "5 frames", {.queue = 5}, 1, 30, {85, 75, 85}},
    {"queue", "half a bandwidth-delay product", {.queue = 8}, 1, 30, {85, 80, 85}},
    {"queue", "four of them", {.queue = 65}, 1, 30, {85, 90, 85}},
    {"queue", "thirty of them", {.queue = 490}, 1, 30, {90, 90, 85}},
    {"reordering", "1 % by up to 5 ms", {.reorder = 0.01, .reorder_ms = 5}, 1, 30, {85, 85, 85}},
    {"reordering", "10 % by up to 5 ms", {.reorder = 0.1, .reorder_ms = 5}, 1, 30, {85, 85, 85}},
    {"reordering", "1 % by up to 20 ms", {.reorder = 0.01, .reorder_ms = 20}, 1, 30, {85, 85, 85}},
    {"reordering", "10 % by up to 20 ms", {.reorder = 0.1, .reorder_ms = 20}, 1, 30, {85, 80, 85}},
    {"reordering", "1 % duplicated", {.reorder_ms = 5, .duplicate = 0.01}, 1, 30, {85, 85, 85}},
    {"bursts of loss", "3 frames, every 1,000", {.loss = 0.001, .loss_run = 3}, 1, 60, {90, 85, 85}},
    {"bursts of loss", "10 frames, every 1,000", {.loss = 0.001, .loss_run = 10}, 1, 60, {85, 85, 85}},
    {"bursts of loss", "20 frames, every 2,000", {.loss = 0.0005, .loss_run = 20}, 1, 60, {85, 75, 80}},
    {"lost ACKs", "10 %", {.ack_loss = 0.1}, 1, 30, {90, 85, 85}},
    {"lost ACKs", "30 %", {.ack_loss = 0.3}, 1, 30, {85, 85, 85}},
    {"lost ACKs", "50 %", {.ack_loss = 0.5}, 1, 30, {50, 75, 80}},
    {"lost ACKs", "30 %, and 1 % of the data", {.loss = 0.01, .ack_loss = 0.3}, 1, 60, {85, 55, 75}},
    {"flows", "2", {.mbit_per_second = 20, .rtt_ms = 40}, 2, 60, {90, 85, 85}, 0.9},
    {"flows", "4", {.mbit_per_second = 20, .rtt_ms = 40}, 4, 60, {90, 85, 85}, 0.9},
    {"flows", "8", {.mbit_per_second = 20, .rtt_ms = 40}, 8, 60, {90, 85, 85}, 0.9},
    {"flows", "16", {.mbit_per_second = 20, .rtt_ms = 40}, 16, 60, {90, 90, 85}, 0.9},
    {"flows", "32", {.mbit_per_second = 20, .rtt_ms = 40}, 32, 60, {90, 90, 85}, 0.9},
    {"flows", "64", {.mbit_per_second = 20, .rtt_ms = 40}, 64, 60, {90, 90, 85}, 0.9},
    {"shared", "CUBIC and NewReno, 20 ms", {.rtt_ms = 20}, 2, 120, {95, 70}},
    {"shared", "CUBIC and NewReno, 100 ms", {.rtt_ms = 100}, 2, 120, {95, 50}},
    {"shared", "CUBIC and BBR, 20 ms", {.rtt_ms = 20}, 2, 120, {70, 0, 85}, 0, TcpCongestion::bbr},
    {"shared", "CUBIC and BBR, 100 ms", {.rtt_ms = 100}, 2, 120, {75, 0, 80}, 0, TcpCongestion::bbr},
    {"shared", "CUBIC and BBR, queue of eight times 20 ms", {.rtt_ms = 20, .queue = 130}, 2, 120, {85, 0, 70}, 0, TcpCongestion::bbr},
};

void print(const Row& row, const char* controller, double bound, double floor, const Outcome& outcome) {
  std::printf("%s\t%s\t%u\t%s\t%.3f\t%.0f\t%.3f\t%.3f\t%.2f\t%.2f\t%llu\t%.1f\n", row.group, row.name, row.flows,
              controller, bound, floor, outcome.mbit_per_second, outcome.jain, row.jain_floor,
              outcome.retransmitted, static_cast<unsigned long long>(outcome.timeouts), outcome.waiting);
  std::fflush(stdout);
}

int run_all(const char* only) {
  for (const Row& row : rows) {
    if (only != nullptr && std::strstr(row.name, only) == nullptr && std::strstr(row.group, only) == nullptr)
      continue;
    if (std::strcmp(row.group, "shared") == 0) {
      const Outcome both = median_run(row, {TcpCongestion::cubic, row.other}, 1);
      const bool bbr = row.other == TcpCongestion::bbr;
      Outcome each;
      for (std::size_t i = 0; i < both.rates.size(); ++i) {
        each.mbit_per_second = both.rates[i];
        each.waiting = both.waiting;
        print(row, i % 2 == 0 ? "cubic" : bbr ? "bbr" : "newreno", link_bound(row.path) / row.flows,
              i % 2 == 0 ? row.floor.cubic : bbr ? row.floor.bbr : row.floor.newreno, each);
      }
      continue;
    }
    print(row, "cubic", std::min(link_bound(row.path), row.flows * cubic_model(row.path)), row.floor.cubic,
          measure(row, TcpCongestion::cubic));
    print(row, "newreno", std::min(link_bound(row.path), row.flows * reno_model(row.path)), row.floor.newreno,
          measure(row, TcpCongestion::newreno));
    print(row, "bbr", link_bound(row.path), row.floor.bbr, measure(row, TcpCongestion::bbr));
  }
  return 0;
}

}  // namespace
}  // namespace pollux::test

int main(int argc, char** argv) {
  return pollux::test::run_all(argc > 1 ? argv[1] : nullptr);
}
