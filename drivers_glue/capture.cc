#define ALLOW_EXPERIMENTAL_API  // rte_bpf_convert() is marked so in DPDK 22.11

#include "pollux/drivers_glue/capture.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pcap/pcap.h>
#include <rte_bpf.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_malloc.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include "pollux/drivers_glue/capture_file.h"
#include "pollux/drivers_glue/telemetry_value.h"

namespace pollux {
namespace {

constexpr std::uint32_t snap_length_max = 16'384;
constexpr auto look_period = std::chrono::milliseconds(2);
constexpr std::uint32_t tag_at = 12;  // in a frame, behind the two MAC addresses

std::uint64_t unix_ns() noexcept {
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return static_cast<std::uint64_t>(ts.tv_sec) * 1'000'000'000 + static_cast<std::uint64_t>(ts.tv_nsec);
}

/// Reasons that a packet of ours, or an answer, is dropped for while a received one is handled.
constexpr std::array output_reasons = {
    DropReason::neighbor_table_full, DropReason::neighbor_queue_full, DropReason::neighbor_unreachable,
    DropReason::ip_no_route,         DropReason::ip_too_big,          DropReason::icmp_rate_limited,
    DropReason::tx_batch_full,       DropReason::tx_prepare_failed,   DropReason::no_mbuf};

}  // namespace

DropReason input_drop(const Counters& before, const Counters& after) noexcept {
  for (std::size_t i = 1; i < drop_reason_count; ++i) {
    const auto reason = static_cast<DropReason>(i);
    if (before[reason] == after[reason]) continue;
    if (std::find(output_reasons.begin(), output_reasons.end(), reason) == output_reasons.end())
      return reason;
  }
  return DropReason::none;
}

struct Capture::Filter {
  explicit Filter(const CaptureOptions& options) {
    pcap_t* pcap = pcap_open_dead(DLT_EN10MB, static_cast<int>(options.snap_length));
    if (pcap == nullptr) throw TelemetryError("filter: no memory");
    bpf_program program{};
    std::string error;
    rte_bpf_prm* parameters = nullptr;
    if (pcap_compile(pcap, &program, options.filter.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0) {
      error = fmt::format("filter '{}': {}", options.filter, pcap_geterr(pcap));
    } else {
      parameters = rte_bpf_convert(&program);
      if (parameters != nullptr) bpf = rte_bpf_load(parameters);
      if (bpf == nullptr) error = fmt::format("filter '{}': {}", options.filter, rte_strerror(rte_errno));
      rte_free(parameters);
      pcap_freecode(&program);
    }
    pcap_close(pcap);
    if (bpf == nullptr) throw TelemetryError(error);
  }
  ~Filter() { rte_bpf_destroy(bpf); }
  Filter(const Filter&) = delete;
  Filter& operator=(const Filter&) = delete;
  bool takes(rte_mbuf* packet) const noexcept { return rte_bpf_exec(bpf, packet) != 0; }

  rte_bpf* bpf = nullptr;
};

/// One core's taps, and the ring between it (the only producer) and the capture's thread (the only consumer).
class Capture::Core final : public InputTap {
 public:
  struct Record {
    std::uint64_t unix_ns;
    std::uint32_t length;
    std::uint32_t captured;
    std::uint16_t port;
    PcapngWriter::Direction direction;
    DropReason reason;
  };

  Core(const CaptureOptions& options, const Filter& filter, std::size_t index,
       std::vector<std::uint16_t> port_ids)
      : options_(options),
        filter_(filter),
        index_(index),
        port_ids_(std::move(port_ids)),
        records_(slots),
        octets_(std::size_t{slots} * options.snap_length) {}

  /// On the core.
  void attach(PollingCore& core) noexcept {
    if (core.loop() != nullptr && (options_.rx || options_.drop)) core.loop()->set_tap(this);
    if (!options_.tx) return;
    for (const auto port : port_ids_) {
      rte_eth_dev_info info{};
      if (rte_eth_dev_info_get(port, &info) != 0 || index_ >= info.nb_tx_queues) continue;
      tx_taps_.push_back(
          {port, rte_eth_add_tx_callback(port, static_cast<std::uint16_t>(index_), on_tx, this)});
    }
  }
  /// On the core.
  void detach(PollingCore& core) noexcept {
    if (core.loop() != nullptr) core.loop()->set_tap(nullptr);
    for (const TxTap& tap : tx_taps_) {
      if (tap.callback == nullptr) continue;
      rte_eth_remove_tx_callback(tap.port, static_cast<std::uint16_t>(index_), tap.callback);
      rte_free(const_cast<rte_eth_rxtx_callback*>(tap.callback));  // between two turns nobody is inside
    }
    tx_taps_.clear();
  }

  // One packet at a time, so that what was counted meanwhile tells what became of it.
  void input(Stack& stack, InterfaceId interface, std::span<rte_mbuf* const> burst,
             TimePoint now) noexcept override {
    for (rte_mbuf* const& packet : burst) {
      const bool kept = filter_.takes(packet) && fill(*packet, interface, PcapngWriter::Direction::in);
      if (!kept) {
        stack.input(interface, {&packet, 1}, now);
        continue;
      }
      const Counters before = stack.counters();
      stack.input(interface, {&packet, 1}, now);
      const DropReason reason = options_.drop ? input_drop(before, stack.counters()) : DropReason::none;
      if (options_.rx || reason != DropReason::none) commit(reason);
    }
  }

  /// The consumer's side: the oldest record; nullptr when there is none.
  const Record* front() const noexcept {
    const std::uint64_t next = taken_.load(std::memory_order_relaxed);
    return next == filled_.load(std::memory_order_acquire) ? nullptr : &records_[next % slots];
  }
  std::span<const std::uint8_t> front_octets() const noexcept {
    const std::uint64_t next = taken_.load(std::memory_order_relaxed);
    return {&octets_[next % slots * options_.snap_length], records_[next % slots].captured};
  }
  void pop() noexcept { taken_.fetch_add(1, std::memory_order_release); }
  std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

 private:
  struct TxTap {
    std::uint16_t port;
    const rte_eth_rxtx_callback* callback;
  };

  static std::uint16_t on_tx(std::uint16_t port, std::uint16_t, rte_mbuf** packets, std::uint16_t count,
                             void* self) {
    auto& core = *static_cast<Core*>(self);
    const auto found = std::find(core.port_ids_.begin(), core.port_ids_.end(), port);
    const auto index = static_cast<std::uint16_t>(found - core.port_ids_.begin());
    for (std::uint16_t i = 0; i < count; ++i)
      if (core.filter_.takes(packets[i]) && core.fill(*packets[i], index, PcapngWriter::Direction::out))
        core.commit(DropReason::none);
    return count;
  }

  /// Copies the packet into the next slot; false when the file does not keep up.
  bool fill(const rte_mbuf& packet, std::uint16_t port, PcapngWriter::Direction direction) noexcept {
    const std::uint64_t next = filled_.load(std::memory_order_relaxed);
    if (next - taken_.load(std::memory_order_acquire) == slots) {
      lost_.fetch_add(1, std::memory_order_relaxed);
      return false;
    }
    std::uint8_t* const out = &octets_[next % slots * options_.snap_length];
    std::uint32_t captured = 0;
    const auto add = [&](const void* octets, std::uint32_t size) {
      const std::uint32_t n = std::min(size, options_.snap_length - captured);
      std::memcpy(out + captured, octets, n);
      captured += n;
    };
    // The file shows the wire, where the VLAN tag is that the card took off or will write.
    const std::uint64_t tag_flag =
        direction == PcapngWriter::Direction::in ? RTE_MBUF_F_RX_VLAN_STRIPPED : RTE_MBUF_F_TX_VLAN;
    const bool tagged = (packet.ol_flags & tag_flag) != 0 && packet.data_len >= tag_at;
    std::uint32_t skipped = 0;
    if (tagged) {
      const std::array<std::uint8_t, 4> tag = {0x81, 0, static_cast<std::uint8_t>(packet.vlan_tci >> 8),
                                               static_cast<std::uint8_t>(packet.vlan_tci)};
      add(rte_pktmbuf_mtod(&packet, const std::uint8_t*), tag_at);
      add(tag.data(), tag.size());
      skipped = tag_at;
    }
    for (const rte_mbuf* m = &packet; m != nullptr && captured < options_.snap_length; m = m->next) {
      add(rte_pktmbuf_mtod_offset(m, const std::uint8_t*, skipped), m->data_len - skipped);
      skipped = 0;
    }
    records_[next % slots] = {unix_ns(), packet.pkt_len + (tagged ? 4u : 0u), captured, port, direction, DropReason::none};
    return true;
  }
  void commit(DropReason reason) noexcept {
    const std::uint64_t next = filled_.load(std::memory_order_relaxed);
    records_[next % slots].reason = reason;
    filled_.store(next + 1, std::memory_order_release);
  }

  const CaptureOptions& options_;
  const Filter& filter_;
  std::size_t index_;
  std::vector<std::uint16_t> port_ids_;
  std::vector<TxTap> tx_taps_;
  std::vector<Record> records_;
  std::vector<std::uint8_t> octets_;
  std::atomic<std::uint64_t> filled_ = 0;
  std::atomic<std::uint64_t> taken_ = 0;
  std::atomic<std::uint64_t> lost_ = 0;
};

Capture::Capture(TelemetrySource& source, const CaptureOptions& options)
    : source_(source), options_(options) {
  if (options.snap_length == 0 || options.snap_length > snap_length_max)
    throw TelemetryError(
        fmt::format("snap_length: expected 1 to {}, found {}", snap_length_max, options.snap_length));
  filter_ = std::make_unique<Filter>(options_);
  std::vector<std::uint16_t> port_ids;
  for (const auto& port : source.port_list()) port_ids.push_back(port->id());
  for (std::size_t i = 0; i < source.core_count(); ++i)
    cores_.push_back(std::make_unique<Core>(options_, *filter_, i, port_ids));
  fd_ = open(options.file.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd_ < 0) throw TelemetryError(fmt::format("file {}: {}", options.file, std::strerror(errno)));
  thread_ = std::thread([this] { run(); });
}

Capture::~Capture() {
  stop();
  close(fd_);
}

void Capture::stop() {
  stop_asked_ = true;
  if (thread_.joinable()) thread_.join();
}

Capture::Status Capture::status() const {
  Status status{.running = running_, .written = written_, .lost = 0, .error = {}};
  for (const auto& core : cores_) status.lost += core->lost();
  if (const int error = write_errno_; error != 0) status.error = std::strerror(error);
  return status;
}

void Capture::attach() {
  for (std::size_t i = 0; i < cores_.size(); ++i)
    source_.on_core(i, [&](PollingCore& core) { cores_[i]->attach(core); });
}

void Capture::detach() {
  for (std::size_t i = 0; i < cores_.size(); ++i)
    source_.on_core(i, [&](PollingCore& core) { cores_[i]->detach(core); });
}

void Capture::run() {
  std::vector<std::string> names;
  for (const auto& port : source_.port_list()) names.push_back(port->name());
  PcapngWriter writer("Pollux", names, options_.snap_length);
  attach();
  const auto end = std::chrono::steady_clock::now() + std::chrono::nanoseconds(options_.time_max.ns());
  while (write_waiting(writer) && !stop_asked_ && std::chrono::steady_clock::now() < end)
    std::this_thread::sleep_for(look_period);
  detach();
  write_waiting(writer);
  running_ = false;
}

/// Writes what the cores have put into their rings. False when the capture is complete or the file fails.
bool Capture::write_waiting(PcapngWriter& writer) {
  const auto complete = [this] { return options_.count != 0 && written_ >= options_.count; };
  for (const auto& core : cores_) {
    while (const Core::Record* record = complete() ? nullptr : core->front()) {
      std::string comment;
      if (record->reason != DropReason::none)
        comment = fmt::format("dropped: {}: {}", drop_reason_name(record->reason),
                              drop_reason_text(record->reason));
      writer.add(record->port, record->unix_ns, core->front_octets(), record->length, record->direction,
                 comment);
      core->pop();
      ++written_;
    }
  }
  for (auto left = writer.data(); !left.empty();) {
    const ssize_t n = write(fd_, left.data(), left.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      write_errno_ = errno;
      writer.clear();
      return false;
    }
    left = left.subspan(static_cast<std::size_t>(n));
  }
  writer.clear();
  return !complete();
}

}  // namespace pollux
