// A client of a Pollux program's telemetry socket.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace pollux::app {

/// Keeps the order in which the program answered.
using Json = nlohmann::ordered_json;

/// One connection to one program. All functions throw std::runtime_error with a text for the operator.
class TelemetryClient {
 public:
  /// Connects to the program whose eal.file_prefix is `prefix`; empty: to the only Pollux program that runs.
  explicit TelemetryClient(const std::string& prefix);
  ~TelemetryClient();
  TelemetryClient(const TelemetryClient&) = delete;
  TelemetryClient& operator=(const TelemetryClient&) = delete;

  /// The answer to a command, "/pollux/core,0", without its name around it. An answer that is an error is
  /// thrown.
  Json ask(const std::string& command);
  /// The same, but an error is an answer: {"error": text}.
  Json ask_softly(const std::string& command);
  const std::string& prefix() const noexcept { return prefix_; }

 private:
  bool connect_to(const std::string& path);
  std::string receive();

  std::string prefix_;
  int fd_ = -1;
  std::size_t reply_max_ = 0;
};

/// Where DPDK puts the sockets of this user's programs.
std::string runtime_folder();

}  // namespace pollux::app
