// A configuration that changes while cores poll: where it comes from, what the program does about its own part, and how
// it is applied, on all cores or on none.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "pollux/base/result.h"
#include "pollux/drivers_glue/config.h"

namespace pollux {

/// Key and value as the configuration file says them.
using ConfigListing = std::vector<std::pair<std::string, std::string>>;

/// One key that would change.
struct ConfigChange {
  std::string key;     ///< by its full name: "tcp.nagle", "ports[0].addresses"
  std::string before;  ///< as the file says it; empty: there was none
  std::string after;
  bool live = false;   ///< may change while the program runs

  std::string text() const;  ///< "tcp.nagle: true -> false"
};

/// A configuration that passed the checks of its file.
struct ConfigProposal {
  Config config;
  ConfigListing listing;              ///< every key
  std::vector<ConfigChange> changes;  ///< against the one in force
};

/// Where a running program's next configuration comes from (config/live_config_file.h). One call at a time, from any
/// thread; exceptions say what is wrong, as at start.
class ConfigSource {
 public:
  virtual ~ConfigSource() = default;
  /// Reads the configuration anew.
  virtual ConfigProposal reload() = 0;
  /// The one in force with one key set: `value` as the file would say it.
  virtual ConfigProposal set(const std::string& key, const std::string& value) = 0;
  /// The last proposal is in force.
  virtual void adopt() noexcept = 0;
};

/// The program's part of a change, on every core between two turns.
struct ChangeCallbacks {
  /// Opens what is new and says what is wrong; changes nothing else. Must not throw.
  std::function<Result<void>(Stack&)> prepare;
  /// After every core has prepared: `committed`, closes what is gone; else, some core refused, closes what `prepare` opened.
  /// Must not throw or fail.
  std::function<void(Stack&, bool committed)> finish;
};

class TelemetrySource;

/// Changes what is live in `proposal`, on every core of `source` or, throwing std::runtime_error that says why, on none.
/// Keys that are not live are a reason.
void apply_change(TelemetrySource& source, const ConfigProposal& proposal, const std::vector<ChangeCallbacks>& callbacks);

}  // namespace pollux
