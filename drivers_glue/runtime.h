// Runtime: EAL, ports, pools, one core loop and one Stack per polling core, signals, drain, shutdown.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/config.h"
#include "pollux/drivers_glue/live_config.h"
#include "pollux/stack/loop_driver.h"
#include "pollux/stack/stack.h"

namespace pollux {

/// One per process (EAL is). The thread that creates it is the control thread: it handles signals and waits;
/// the polling cores are EAL worker lcores, pinned.
class Runtime {
 public:
  /// Starts EAL, ports and pools, and builds one Stack per core; nothing polls yet. Throws std::runtime_error
  /// with a text that names the port, key or permission at fault; whatever was started is released again.
  explicit Runtime(const Config& config);
  /// Loads a YAML file (config/) first. Throws ConfigError ("file:line: key: what was expected").
  static Runtime from_file(const std::string& path);
  Runtime(Runtime&&) noexcept;
  Runtime& operator=(Runtime&&) = delete;
  ~Runtime();

  /// Runs `setup` once for every core's stack before its loop starts, on the polling core itself: listeners,
  /// sockets, connects. An exception from it stops run() and is rethrown there.
  void on_each_core(std::function<void(Stack&)> setup);
  /// Runs `teardown` on the polling core after its loop ended and before its stack goes: drop kept Bytes
  /// here.
  void on_each_core_stopped(std::function<void(Stack&)> teardown);
  /// For applications that are a loop of their own: runs `main` on every polling core, which moves packets by
  /// LoopDriver::turn; when it returns, that core drains. Instead of the loop that calls handlers only; run() as usual.
  void on_each_core_main(std::function<void(Stack&, LoopDriver&)> main);
  /// Runs `tick` on the polling core about every `period`, from the loop (for clients and statistics).
  void on_each_core_tick(Duration period, std::function<void(Stack&, TimePoint now)> tick);

  /// Key and value of the configuration in force, for telemetry; config_listing() of config/load.h makes it. Before run().
  void describe_config(ConfigListing listing);
  /// Where the next configuration comes from when SIGHUP or telemetry asks for it; none: it cannot change. Before run().
  void change_config_from(std::unique_ptr<ConfigSource> source);
  /// What the program does about its own part of a change. Before run().
  void on_each_core_change(ChangeCallbacks callbacks);

  /// Lets stacks send from memory of the application's without copying it (TcpConn::send_external): whole pages, which are
  /// locked and stay registered until the Runtime is gone; they must stay mapped until then. Control thread, before run().
  /// Throws std::runtime_error: not whole pages, limits of the process, overlap with what is registered.
  const ExternalMemory& register_memory(std::span<std::uint8_t> region);

  /// Polls until SIGINT or SIGTERM or stop(), then drains: no new connections, open ones may finish until
  /// drain_timeout, the rest is reset. SIGUSR1 prints the counters. Returns 0, or 1 when connections had to
  /// be reset. SIGHUP reads the
  /// configuration anew (change_config_from). Call it once.
  int run();
  /// Asks run() to drain and return; from any thread or a callback on a polling core.
  void stop() noexcept;
  /// The sum of all cores' counters; safe while running (a snapshot by message) and after run().
  Counters counters() const;
  /// A table of non-zero counters and drops with their meaning, one per line, with device statistics and
  /// mbufs in use per core.
  std::string counters_text() const;
  std::size_t core_count() const noexcept;
  /// A table for every port: what its driver offers and what of it is used.
  std::string ports_text() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux
