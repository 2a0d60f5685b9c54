// The successor's side of a hand-over: asks a running program for its connections' place, over its telemetry socket, and
// tells when it has ended.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "pollux/drivers_glue/telemetry_source.h"

namespace pollux {

/// A connection to another program's telemetry socket. One thread uses it; cancel() may come from any.
class TelemetryPeer {
 public:
  /// The program with that eal.file_prefix. Throws std::runtime_error when there is none.
  explicit TelemetryPeer(const std::string& file_prefix);
  ~TelemetryPeer();
  TelemetryPeer(const TelemetryPeer&) = delete;
  TelemetryPeer& operator=(const TelemetryPeer&) = delete;

  /// The JSON that answers `question`. Throws std::runtime_error when the program is gone, or after cancel().
  std::string ask(const std::string& question);
  /// Returns when the program has ended, or after cancel().
  void wait_for_end() noexcept;
  void cancel() noexcept;

 private:
  std::string receive();

  int fd_ = -1;
};

/// The text of `name` in a flat part of an answer; nullopt when it is not there.
std::optional<std::string> json_text(const std::string& json, const std::string& name);

/// Runs beside the cores of the successor until its predecessor has ended.
class TakeOver {
 public:
  /// Begins at once, in a thread of its own; `failed` hears why it could not, once. `source` outlives it.
  TakeOver(TelemetrySource& source, const std::string& file_prefix, std::function<void(const std::string&)> failed);
  ~TakeOver() { stop(); }
  /// Ends it.
  void stop() noexcept;
  TakeOver(const TakeOver&) = delete;
  TakeOver& operator=(const TakeOver&) = delete;
  /// The predecessor still lives.
  bool is_running() const noexcept { return running_; }

 private:
  void run();
  std::vector<MacAddress> ask_for_offer();

  TelemetrySource& source_;
  std::string file_prefix_;
  std::function<void(const std::string&)> failed_;
  TelemetryPeer peer_;
  std::atomic<bool> running_ = true;
  std::atomic<bool> cancelled_ = false;
  std::thread thread_;
};

}  // namespace pollux
