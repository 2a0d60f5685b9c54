// Memory of the application's, registered with a Runtime and sent without a copy to a kernel that checks it.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <thread>

#include "child.h"
#include "kernel_socket.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {
namespace {

using test::expect_in_child;
using test::KernelSocket;
using test::tap_config;

/// Pages with a pattern.
struct Region {
  explicit Region(std::size_t octets) : size(octets) {
    void* const at = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) throw std::runtime_error("mmap");
    start = static_cast<std::uint8_t*>(at);
    for (std::size_t i = 0; i < size; ++i) start[i] = static_cast<std::uint8_t>(i * 131 >> 5);
  }
  ~Region() { munmap(start, size); }
  Region(const Region&) = delete;
  Region& operator=(const Region&) = delete;
  std::span<std::uint8_t> span() const { return {start, size}; }
  std::uint8_t* start;
  std::size_t size;
};

/// Sends the whole region to whoever connects, as much at a time as is taken, and closes.
struct Server final : TcpHandler, ExternalSend {
  const ExternalMemory* memory = nullptr;
  TcpConn conn;
  std::size_t sent = 0;
  std::size_t next = 0;
  int completed = 0;
  void send_more() noexcept {
    while (!is_pending() && sent < memory->region().size()) {
      const SendResult result = conn.send_external(*memory, memory->region().subspan(sent), *this);
      if (result.accepted == 0) return;
      next = sent + result.accepted;
    }
    if (sent == memory->region().size()) conn.close();
  }
  void on_connected(TcpConn c) noexcept override {
    conn = c;
    send_more();
  }
  void on_writable(TcpConn) noexcept override { send_more(); }
  void on_data(TcpConn, Bytes) noexcept override {}
  void on_complete() noexcept override {
    ++completed;
    sent = next;
    send_more();
  }
};

TEST(RegisteredMemory, ReachesTheKernelAndComesBack) {
  expect_in_child([] {
    Region region(3 << 20);
    Server server;
    Runtime runtime(tap_config());
    server.memory = &runtime.register_memory(region.span());
    runtime.on_each_core([&](Stack& stack) {
      if (!stack.tcp().listen({.port = 7}, server)) throw std::runtime_error("listen");
    });
    test::raise_kernel_side();
    std::string heard;
    std::thread peer([&] {
      KernelSocket socket(SOCK_STREAM, 7);
      EXPECT_TRUE(socket.is_open());
      heard = socket.receive(region.size + 1);
      runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    peer.join();
    EXPECT_TRUE(heard == std::string(reinterpret_cast<const char*>(region.start), region.size)) << heard.size();
    EXPECT_EQ(server.sent, region.size);
    EXPECT_GT(server.completed, 1);
  });
}

std::string refusal(Runtime& runtime, std::span<std::uint8_t> region) {
  try {
    runtime.register_memory(region);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "taken";
}

TEST(RegisteredMemory, WhatCannotBeRegisteredIsRefusedWithAReason) {
  expect_in_child([] {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    Region region(4 * page);
    Runtime runtime(tap_config());
    EXPECT_NE(refusal(runtime, {}).find("expected whole pages of"), std::string::npos);
    EXPECT_NE(refusal(runtime, region.span().subspan(1)).find("expected whole pages of"), std::string::npos);
    EXPECT_NE(refusal(runtime, region.span().first(page + 1)).find("expected whole pages of"), std::string::npos);
    EXPECT_EQ(refusal(runtime, region.span()), "taken");
    EXPECT_NE(refusal(runtime, region.span().first(2 * page)).find("overlap with 16384 octets that are registered"), std::string::npos);
  });
}

}  // namespace
}  // namespace pollux
