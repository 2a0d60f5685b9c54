// Packet captures from a running stack: what comes in, what leaves, and what is dropped with its reason,
// through a BPF filter, into a pcapng file. While none runs, no trace of it is on the data path but a pointer
// compared once a burst.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/drivers_glue/telemetry_source.h"

namespace pollux {

struct CaptureOptions {
  std::string file;         ///< created or overwritten, readable by its owner only
  std::string filter;       ///< pcap-filter(7); empty: everything
  std::uint64_t count = 0;  ///< packets to write; 0: until stopped
  Duration time_max = Duration::from_s(3600);
  std::uint32_t snap_length = 2048;  ///< octets kept of a packet, at most 16,384
  bool rx = true;                    ///< every packet received; dropped ones say why in their comment
  bool tx = true;    ///< every packet given to the device; again when the device refused it before
  bool drop = true;  ///< without rx: only received packets that were dropped
};

/// One capture, from construction until it has what it was asked for or is stopped. Called from threads that
/// poll nothing.
class Capture {
 public:
  static constexpr std::uint32_t slots =
      1024;  ///< packets a core may be ahead of the file; more are lost, and counted

  struct Status {
    bool running = false;
    std::uint64_t written = 0;
    std::uint64_t lost = 0;
    std::string error;  ///< why the file could not be written; empty: nothing went wrong
  };

  /// Starts it. `source` must outlive it. Throws TelemetryError: bad filter, bad length, file that cannot be
  /// made.
  Capture(TelemetrySource& source, const CaptureOptions& options);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  /// Ends it; what was seen until now is in the file when this returns.
  void stop();
  Status status() const;

 private:
  class Core;
  struct Filter;

  void run();
  bool write_waiting(class PcapngWriter& writer);
  void attach();
  void detach();

  TelemetrySource& source_;
  CaptureOptions options_;
  std::unique_ptr<Filter> filter_;
  std::vector<std::unique_ptr<Core>> cores_;
  int fd_ = -1;
  std::atomic<bool> stop_asked_ = false;
  std::atomic<bool> running_ = true;
  std::atomic<std::uint64_t> written_ = 0;
  std::atomic<int> write_errno_ = 0;
  std::thread thread_;
};

/// Why a received packet went no further: the reason whose count grew from `before` to `after`, unless it is
/// one that packets of our own are dropped for; none when there is no such.
DropReason input_drop(const Counters& before, const Counters& after) noexcept;

}  // namespace pollux
