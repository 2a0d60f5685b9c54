// A complete TCP echo server: every byte goes back in the mbuf it came in.
#include <pollux/pollux.h>

#include <cstdio>
#include <exception>
#include <utility>

struct Echo final : pollux::TcpHandler {
  void on_data(pollux::TcpConn conn, pollux::Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
  void on_peer_closed(pollux::TcpConn conn) noexcept override { conn.close(); }
};

int main(int argc, char** argv) try {
  Echo echo;                                                               // outlives the stacks that call it
  auto runtime = pollux::Runtime::from_file(argc > 1 ? argv[1] : "l4echo.yaml");  // EAL, ports, pools, steering
  runtime.on_each_core([&](pollux::Stack& stack) { stack.tcp().listen({.port = 7}, echo).value(); });
  return runtime.run();                                                    // until SIGTERM, then drains
} catch (const std::exception& error) {
  std::fprintf(stderr, "echo_server: %s\n", error.what());
  return 1;
}
