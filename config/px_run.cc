// px_run: a Runtime from a YAML file, with px.h's sockets on each of its cores.
#include <fmt/core.h>

#include <atomic>
#include <cstdio>
#include <exception>

#include "pollux/drivers_glue/runtime.h"
#include "pollux/sockets/socket_table.h"

extern "C" int px_run(const char* config_file, int (*core_main)(void* arg), void* arg) try {
  using namespace pollux;
  Runtime runtime = Runtime::from_file(config_file);
  std::atomic<bool> failed = false;
  runtime.on_each_core_main([&](Stack& stack, LoopDriver& driver) {
    SocketTable& table = stack.part<SocketTable>();
    current_sockets() = {&table, &driver};
    if (core_main(arg) != 0) failed = true;
    current_sockets() = {};
    table.close_all();
  });
  return runtime.run() == 0 && !failed ? 0 : -1;
} catch (const std::exception& error) {
  fmt::print(stderr, "pollux: {}\n", error.what());
  return -1;
}
