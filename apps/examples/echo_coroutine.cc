// The same echo server in coroutines: a loop per connection, and a time limit that costs one line.
#include <pollux/async/tcp_stream.h>
#include <pollux/pollux.h>

#include <cstdio>
#include <exception>
#include <utility>

using namespace pollux;

async::Task<> echo(async::TcpStream stream) {
  for (;;) {
    auto bytes = co_await async::with_timeout(stream.read(), 60_s);
    if (!bytes || bytes->empty()) co_return;  // silent for too long, or at its end: the stream closes as it goes
    if (!co_await stream.write(std::move(*bytes))) co_return;
  }
}

async::Task<> serve(async::TcpAcceptor acceptor) {
  Stack& stack = co_await async::current_stack();
  for (;;) async::spawn(stack, echo(co_await acceptor.accept()));
}

int main(int argc, char** argv) try {
  auto runtime = Runtime::from_file(argc > 1 ? argv[1] : "l4echo.yaml");
  runtime.on_each_core([](Stack& stack) { async::spawn(stack, serve(async::listen(stack, {.port = 7}).value())); });
  return runtime.run();
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_coroutine: %s\n", error.what());
  return 1;
}
