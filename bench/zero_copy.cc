// What sending costs the sender, with and without a copy: cycles per GiB for writes of several sizes, laid out like the table
// of Linux's MSG_ZEROCOPY. One connection, two stacks in one process. The port between them is played by hand: what a card's
// DMA engine would do (reading the packets, and with offloads checksums and cutting) costs the sender nothing, giving its
// mbufs back does.
#include <CLI/CLI.hpp>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "common.h"
#include "pollux/stack/stack.h"

namespace pollux::bench {
namespace {

constexpr std::uint16_t port = 7;
constexpr std::size_t gib = std::size_t{1} << 30;

struct Options {
  std::vector<std::uint32_t> sizes = {4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20};
  std::uint32_t repetitions = 7;
  std::uint32_t mib = 256;  ///< in one measurement
  std::string json_path;
};

/// Larger than any cache, and walked through in order: what is sent comes from memory, as a file's pages do.
class Region {
 public:
  static constexpr std::size_t size = std::size_t{512} << 20;
  Region() : octets_(size) {
    for (std::size_t i = 0; i < size; i += 8) {
      const std::uint64_t word = i * 0x9e3779b97f4a7c15ull;
      std::memcpy(&octets_[i], &word, 8);
    }
  }
  std::span<const std::uint8_t> all() const { return octets_; }
  std::span<const std::uint8_t> next(std::uint32_t n) {
    if (at_ + n > size) at_ = 0;
    at_ += n;
    return all().subspan(at_ - n, n);
  }

 private:
  std::vector<std::uint8_t> octets_;
  std::size_t at_ = 0;
};

/// Keeps the connection's send buffer full with writes of one size.
class Sender final : public TcpHandler {
 public:
  Sender(Region& region, std::uint32_t size, bool zero_copy)
      : region_(region), memory_(region.all()), size_(size), zero_copy_(zero_copy) {
    if (!zero_copy) return;
    for (std::uint32_t i = 0; i < buffers_max; ++i) {
      sends_.push_back(std::make_unique<Send>());
      sends_.back()->owner = this;
      free_.push_back(sends_.back().get());
    }
  }
  void on_connected(TcpConn conn) noexcept override {
    conn_ = conn;
    fill();
  }
  void on_writable(TcpConn) noexcept override { fill(); }
  void on_data(TcpConn, Bytes) noexcept override {}
  void stop() {
    running_ = false;
    conn_.abort();
  }

 private:
  static constexpr std::uint32_t buffers_max = 4096;
  struct Send final : ExternalSend {
    Sender* owner = nullptr;
    void on_complete() noexcept override {
      owner->free_.push_back(this);
      owner->fill();
    }
  };
  // As an application writes: what of a write was not taken goes first the next time.
  void fill() noexcept {
    while (running_) {
      if (rest_.empty()) rest_ = region_.next(size_);
      SendResult result;
      if (zero_copy_) {
        if (free_.empty()) return;
        result = conn_.send_external(memory_, rest_, *free_.back());
        if (result.accepted != 0) free_.pop_back();
      } else {
        result = conn_.send(rest_);
      }
      rest_ = rest_.subspan(result.accepted);
      if (result.status != SendStatus::ok) return;
    }
  }
  std::span<const std::uint8_t> rest_;
  Region& region_;
  ExternalMemory memory_;
  std::uint32_t size_;
  bool zero_copy_;
  bool running_ = true;
  TcpConn conn_;
  std::vector<std::unique_ptr<Send>> sends_;
  std::vector<Send*> free_;
};

struct Receiver final : TcpHandler {
  void on_data(TcpConn, Bytes bytes) noexcept override { octets += bytes.size(); }
  std::uint64_t octets = 0;
};

/// Both stacks and what lies between them, for one way of sending.
class Pair {
 public:
  Pair(PacketPool sender_pool, PacketPool receiver_pool, bool offloads, TimePoint now)
      : receiver_mbufs_(receiver_pool.alloc().mbuf()->pool), offloads_(offloads) {
    StackOptions options;
    options.tcp.conn.send_buffer = 4 << 20;
    options.tcp.conn.receive_buffer = 4 << 20;
    options.tcp.initial_window_segments = 255;
    sender_ = make(options, sender_pool, 1, now);
    receiver_ = make(options, receiver_pool, 2, now);
  }
  Stack& sender() { return *sender_; }
  Stack& receiver() { return *receiver_; }

  /// A turn of the sender's; returns its cycles.
  std::uint64_t sender_turn(TimePoint now) {
    std::uint64_t start = rte_rdtsc_precise();
    if (!to_sender_.empty()) sender_->input(0, to_sender_, now);
    to_sender_.clear();
    sender_->advance(now);
    sender_->flush(now);
    std::uint64_t cycles = rte_rdtsc_precise() - start;
    const auto sent = sender_->tx(0).pending();
    for (rte_mbuf* m : sent) to_receiver_.push_back(read_by_device(m));
    start = rte_rdtsc_precise();
    rte_pktmbuf_free_bulk(sent.data(), static_cast<unsigned>(sent.size()));
    sender_->tx(0).consume(static_cast<std::uint32_t>(sent.size()));
    return cycles + rte_rdtsc_precise() - start;
  }
  void receiver_turn(TimePoint now) {
    if (!to_receiver_.empty()) receiver_->input(0, to_receiver_, now);
    to_receiver_.clear();
    receiver_->advance(now);
    receiver_->flush(now);
    const auto sent = receiver_->tx(0).pending();
    for (rte_mbuf* m : sent) to_sender_.push_back(received(m));
    receiver_->tx(0).consume(static_cast<std::uint32_t>(sent.size()));
  }
  ~Pair() {
    for (auto* list : {&to_sender_, &to_receiver_})
      for (rte_mbuf* m : *list) rte_pktmbuf_free(m);
  }

 private:
  std::unique_ptr<Stack> make(const StackOptions& options, PacketPool pool, std::uint8_t number, TimePoint now) const {
    auto stack = Stack::create(options, pool, now);
    POLLUX_CHECK(stack.has_value(), "%s", stack.error().text.c_str());
    InterfaceConfig interface;
    interface.name = "side" + std::to_string(number);
    interface.mac = MacAddress{{0x02, 0, 0, 0, 0, number}};
    interface.address = {IpAddress::v4(10, 0, 0, number), 24};
    if (offloads_)
      interface.offloads = {.ipv4_checksum = true, .tcp_checksum = true, .udp_checksum = true, .tcp_segmentation = true};
    POLLUX_CHECK((*stack)->add_interface(interface, now).has_value(), "add_interface");
    return std::move(*stack);
  }
  // A segment that the card would cut stays whole: the receiver takes it as one that a card has merged.
  rte_mbuf* read_by_device(rte_mbuf* m) {
    rte_mbuf* const copy = rte_pktmbuf_copy(m, receiver_mbufs_, 0, UINT32_MAX);
    POLLUX_CHECK(copy != nullptr, "the receiver's pool is exhausted");
    return received(copy);
  }
  rte_mbuf* received(rte_mbuf* m) const {
    m->ol_flags = offloads_ ? RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD : 0;
    return m;
  }
  rte_mempool* receiver_mbufs_;
  bool offloads_;
  std::unique_ptr<Stack> sender_, receiver_;
  std::vector<rte_mbuf*> to_sender_, to_receiver_;
};

class Run {
 public:
  Run(Region& region, std::array<PacketPool, 2>& pools, bool offloads, std::uint32_t size, bool zero_copy)
      : pair_(pools[0], pools[1], offloads, clock_.now()), sender_(region, size, zero_copy) {
    const auto listener = pair_.receiver().tcp().listen({.port = port}, receiver_);
    POLLUX_CHECK(listener.has_value(), "%s", listener.error().text.c_str());
    const auto conn = pair_.sender().tcp().connect({.remote = {IpAddress::v4(10, 0, 0, 2), port}}, sender_);
    POLLUX_CHECK(conn.has_value(), "%s", conn.error().text.c_str());
  }
  /// Cycles of the sender per GiB, over `octets`.
  double measure(std::uint64_t octets, double overhead) {
    const std::uint64_t first = receiver_.octets;
    std::uint64_t cycles = 0, turns = 0;
    const TimePoint give_up = clock_.now() + 60_s;
    while (receiver_.octets - first < octets) {
      cycles += pair_.sender_turn(clock_.now());
      ++turns;
      pair_.receiver_turn(clock_.now());
      POLLUX_CHECK(clock_.now() < give_up, "only %lu octets arrived", receiver_.octets - first);
    }
    const double net = static_cast<double>(cycles) - 2 * overhead * static_cast<double>(turns);
    return net / static_cast<double>(receiver_.octets - first) * static_cast<double>(gib);
  }
  ~Run() {
    sender_.stop();
    for (int i = 0; i < 1000; ++i) {
      pair_.sender_turn(clock_.now());
      pair_.receiver_turn(clock_.now());
    }
  }

 private:
  TscClock clock_;
  Pair pair_;
  Sender sender_;
  Receiver receiver_;
};

int run(const Options& options, const char* program) {
  const unsigned core = start_eal(program, 1024);
  std::array pools = {create_pool("sender", 65535), create_pool("receiver", 65535)};
  Region region;
  const double overhead = timing_overhead();
  std::printf("one TCP connection, sender's cycles per GiB; core %u, TSC %.0f MHz; medians of %u\n", core,
              static_cast<double>(rte_get_tsc_hz()) / 1e6, options.repetitions);
  std::printf("%-22s %8s %14s %14s %7s   %s\n", "port", "write", "copy", "zero-copy", "ratio", "all ratios");
  nlohmann::json rows = nlohmann::json::array();
  for (const bool offloads : {true, false}) {
    for (const std::uint32_t size : options.sizes) {
      std::array<std::vector<double>, 2> cycles;
      std::vector<double> ratios;
      std::string all;
      for (std::uint32_t i = 0; i < options.repetitions; ++i) {
        for (const bool zero_copy : {false, true}) {
          Run measured(region, pools, offloads, size, zero_copy);
          measured.measure(16 << 20, overhead);  // slow start is over
          cycles[zero_copy].push_back(measured.measure(std::uint64_t{options.mib} << 20, overhead));
        }
        ratios.push_back(cycles[1].back() / cycles[0].back());
        all += " " + std::to_string(std::lround(ratios.back() * 100)) + "%";
      }
      const char* const name = offloads ? "checksums and TSO" : "no offload";
      std::printf("%-22s %7uK %14.4g %14.4g %6.0f%%  %s\n", name, size >> 10, median(cycles[0]), median(cycles[1]),
                  median(ratios) * 100, all.c_str());
      std::fflush(stdout);
      rows.push_back({{"offloads", offloads}, {"write_octets", size}, {"copy", cycles[0]}, {"zero_copy", cycles[1]},
                      {"ratio", median(ratios)}});
      for (PacketPool& pool : pools)
        POLLUX_CHECK(pool.in_use() + pool.clones_in_use() == 0, "leak: %u mbufs, %u clones", pool.in_use(),
                     pool.clones_in_use());
    }
  }
  if (!options.json_path.empty())
    std::ofstream(options.json_path) << nlohmann::json{{"benchmark", "zero_copy"}, {"rows", rows}}.dump(2) << '\n';
  return 0;
}

}  // namespace
}  // namespace pollux::bench

int main(int argc, char** argv) {
  pollux::bench::Options options;
  CLI::App app("Sender's cycles per GiB over TCP: copied, and from the application's own memory");
  app.add_option("--sizes", options.sizes, "octets of a write")->delimiter(',')->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app.add_option("--repetitions", options.repetitions, "measurements of each")->check(CLI::Range(1, 1000))
      ->capture_default_str();
  app.add_option("--mib", options.mib, "octets of one measurement, in MiB")->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  app.add_option("--json", options.json_path, "write the results here too");
  CLI11_PARSE(app, argc, argv);
  return pollux::bench::run(options, argv[0]);
}
