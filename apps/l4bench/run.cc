#include "l4bench/run.h"

#include <fmt/format.h>

#include <atomic>
#include <csignal>
#include <stdexcept>

#include "common/per_core.h"
#include "l4bench/kernel_transport.h"
#include "l4bench/pollux_transport.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux::app {
namespace {

/// What one polling core runs.
struct Core {
  Core(Stack& stack, const LoadOptions& options, const Endpoint& remote)
      : transport(stack, remote, options.connections), load(options, transport) {
    transport.set_load(load);
  }
  PolluxTransport transport;
  Load load;
  bool reported = false;
};

std::atomic<bool> interrupted{false};

}  // namespace

Results run_over_pollux(const Config& config, const LoadOptions& options, const Endpoint& remote) {
  PerCore<Core> cores;
  Runtime runtime(config);
  const auto core_count = static_cast<std::uint32_t>(runtime.core_count());
  if (options.connections < core_count)
    throw std::runtime_error(fmt::format("--connections {}: at least one for each of the {} cores",
                                         options.connections, core_count));
  std::atomic<std::uint32_t> next_core{0};
  std::atomic<std::uint32_t> cores_running{core_count};
  runtime.on_each_core([&](Stack& stack) {
    const std::uint32_t index = next_core++;
    LoadOptions share = options;
    share.connections = options.connections / core_count + (index < options.connections % core_count ? 1 : 0);
    cores.emplace(stack, stack, share, remote);
  });
  runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack& stack, TimePoint) {
    if (!stack.ip().addresses_settled()) return;  // connections need a source address
    Core& core = cores.of(stack);
    core.transport.tick();
    core.load.on_tick();
    if (!core.load.is_done() || core.reported) return;
    core.reported = true;
    if (--cores_running == 0) runtime.stop();
  });
  runtime.run();
  Results results;
  cores.for_each([&](Core& core) { results += core.load.results(); });
  return results;
}

Results run_over_kernel(const LoadOptions& options, const Endpoint& remote) {
  std::signal(SIGINT, [](int) { interrupted = true; });
  std::signal(SIGTERM, [](int) { interrupted = true; });
  KernelTransport transport(remote, options.connections);
  Load load(options, transport);
  transport.run(load, interrupted);
  return load.results();
}

}  // namespace pollux::app
