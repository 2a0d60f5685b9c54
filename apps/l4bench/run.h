// Runs one load over one transport to its end.
#pragma once

#include "l4bench/load.h"
#include "pollux/drivers_glue/config.h"

namespace pollux::app {

/// Over the ports of a configuration; connections are divided among its cores. Throws what Runtime throws.
Results run_over_pollux(const Config& config, const LoadOptions& options, const Endpoint& remote);
/// Over kernel sockets in this thread; SIGINT and SIGTERM end it early.
Results run_over_kernel(const LoadOptions& options, const Endpoint& remote);

}  // namespace pollux::app
