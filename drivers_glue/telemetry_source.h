// What telemetry, metrics and captures may ask of a Runtime.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/counters_text.h"
#include "pollux/drivers_glue/live_config.h"
#include "pollux/drivers_glue/polling_core.h"
#include "pollux/drivers_glue/port.h"

namespace pollux {

class Capture;

/// Implemented by Runtime. Called from threads that are no polling cores, any number at a time.
class TelemetrySource {
 public:
  virtual std::size_t core_count() const noexcept = 0;
  /// Runs `f` on a core between two turns, or while nothing polls, and waits for it. `f` must not throw.
  /// False, and nothing was run, when that core's stack is gone.
  virtual bool on_core(std::size_t core, const std::function<void(PollingCore&)>& f) const = 0;
  virtual std::vector<CoreReport> core_reports() const = 0;
  virtual std::span<const std::unique_ptr<Port>> port_list() const noexcept = 0;
  virtual ConfigListing config_listing() const = 0;
  /// Reads the configuration anew and takes it over, or, with a key, sets that one; returns what changed. Throws
  /// std::exception that says why nothing did.
  virtual std::vector<ConfigChange> change_config(const std::optional<std::pair<std::string, std::string>>& set) = 0;
  /// The capture that runs, or ran last; empty before the first. Only for one thread at a time (telemetry's).
  virtual std::unique_ptr<Capture>& capture() noexcept = 0;
  /// The MAC addresses of our ports, for a program that wants to take over from this one. Throws std::runtime_error that
  /// says why it cannot; "not yet ..." when it can later.
  virtual std::vector<MacAddress> offer_hand_over() = 0;
  /// Passes new connections on to `successor`, one MAC address a port, and drains. Throws as offer_hand_over().
  virtual void hand_over(const std::vector<MacAddress>& successor) = 0;
  /// Begins a drain, as SIGTERM does, that lasts at most `timeout`.
  virtual void drain_within(Duration timeout) noexcept = 0;

 protected:
  ~TelemetrySource() = default;
};

}  // namespace pollux
