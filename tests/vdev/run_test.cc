// A Runtime at work, with the kernel on the other side of a TAP interface: signals, drain, callbacks,
// counters.
#include <gtest/gtest.h>
#include <sys/types.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <mutex>
#include <set>
#include <thread>

#include "child.h"
#include "echo_app.h"
#include "kernel_socket.h"
#include "pollux/base/check.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {
namespace {

using namespace std::chrono_literals;
using test::device_config;
using test::EchoApp;
using test::expect_in_child;
using test::KernelSocket;
using test::tap_config;

/// Runs `runtime` in this thread while `peer` acts in another; the peer's last act must end the run.
int run_with_peer(Runtime& runtime, const std::function<void()>& peer) {
  test::raise_kernel_side();
  std::thread thread(peer);
  const int result = runtime.run();
  thread.join();
  return result;
}

void expect_tcp_echo(KernelSocket& socket, const std::string& text) {
  EXPECT_TRUE(socket.send(text));
  EXPECT_EQ(socket.receive(text.size()), text);
}

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 500; ++i, std::this_thread::sleep_for(10ms))
    if (condition()) return true;
  return false;
}

TEST(Run, EchoesToTheKernelAndReturnsEveryMbuf) {
  expect_in_child([] {
    Runtime runtime(tap_config());
    EchoApp app;
    std::atomic<std::uint32_t> in_use = 0;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack& stack, TimePoint) {
      in_use = stack.pool().in_use() + stack.pool().clones_in_use();
    });
    const int result = run_with_peer(runtime, [&] {
      std::this_thread::sleep_for(50ms);
      const std::uint32_t in_use_at_start = in_use;
      EXPECT_GT(in_use_at_start, 0u) << "the receive ring's";
      {
        KernelSocket tcp(SOCK_STREAM, 7);
        ASSERT_TRUE(tcp.is_open());
        std::string megabyte;
        for (int i = 0; i < 1 << 18; ++i) megabyte.append(reinterpret_cast<const char*>(&i), sizeof i);
        std::thread sender([&] { EXPECT_TRUE(tcp.send(megabyte)); });
        EXPECT_TRUE(tcp.receive(megabyte.size()) == megabyte);
        sender.join();
      }
      KernelSocket udp(SOCK_DGRAM, 7);
      for (const std::size_t size : {1, 2, 63, 64, 1471, 1472}) {
        const std::string datagram(size, 'u');
        EXPECT_TRUE(udp.send(datagram));
        EXPECT_EQ(udp.receive(size), datagram);
      }
      EXPECT_TRUE(eventually([&] { return runtime.counters()[Counter::tcp_closed] == 1; }));
      EXPECT_TRUE(eventually([&] { return in_use == in_use_at_start; }))
          << in_use << " of " << in_use_at_start;
      runtime.stop();
    });
    EXPECT_EQ(result, 0);
  });
}

TEST(Run, WorksOnAMachineWithOneCpu) {
  expect_in_child([] {
    cpu_set_t one;
    sched_getaffinity(0, sizeof one, &one);
    int first = 0;
    while (!CPU_ISSET(first, &one)) ++first;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    ASSERT_EQ(sched_setaffinity(0, sizeof one, &one), 0);
    Runtime runtime(tap_config());
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    const int result = run_with_peer(runtime, [&] {
      KernelSocket tcp(SOCK_STREAM, 7);
      expect_tcp_echo(tcp, "one CPU");
      runtime.stop();
    });
    EXPECT_EQ(result, 0);
  });
}

TEST(Run, EveryIdlePolicyServes) {
  for (const IdlePolicy policy : {IdlePolicy::spin, IdlePolicy::pause, IdlePolicy::adaptive, IdlePolicy::sleep})
    expect_in_child([&] {
      Config config = tap_config();
      config.idle = policy;
      Runtime runtime(config);
      EchoApp app;
      runtime.on_each_core([&](Stack& stack) { app.open(stack); });
      run_with_peer(runtime, [&] {
        KernelSocket udp(SOCK_DGRAM, 7);
        for (int i = 0; i < 10; ++i) {
          EXPECT_TRUE(udp.send("x"));
          EXPECT_EQ(udp.receive(1), "x");
        }
        runtime.stop();
      });
    });
}

TEST(Signals, TermDrains) {
  expect_in_child([] {
    Config config = tap_config();
    config.drain_timeout = Duration::from_s(20);
    Runtime runtime(config);
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    const auto start = std::chrono::steady_clock::now();
    const int result = run_with_peer(runtime, [&] {
      KernelSocket open(SOCK_STREAM, 7);
      expect_tcp_echo(open, "before");
      kill(getpid(), SIGTERM);
      std::this_thread::sleep_for(100ms);
      const KernelSocket late(SOCK_STREAM, 7, 1);
      EXPECT_FALSE(late.is_open()) << "no new connection while draining";
      expect_tcp_echo(open, "an open connection is served on");
    });
    EXPECT_EQ(result, 0) << "the peer closed in time";
    EXPECT_LT(std::chrono::steady_clock::now() - start, 15s)
        << "ends with the last connection, not with the time";
    EXPECT_GE(runtime.counters()[DropReason::tcp_draining], 1u);
  });
}

TEST(Signals, IntDrainsAndTheDeadlineResetsWhatIsLeft) {
  expect_in_child([] {
    Config config = tap_config();
    config.drain_timeout = Duration::from_ms(300);
    Runtime runtime(config);
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    const auto start = std::chrono::steady_clock::now();
    const int result = run_with_peer(runtime, [&] {
      KernelSocket idle(SOCK_STREAM, 7);
      expect_tcp_echo(idle, "idle from here on");
      kill(getpid(), SIGINT);
      EXPECT_EQ(idle.receive(1), "");
      EXPECT_EQ(idle.error(), ECONNRESET) << "the RST must reach the peer";
    });
    EXPECT_EQ(result, 1);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 300ms);
    EXPECT_EQ(runtime.counters()[Counter::tcp_out_rsts], 1u);
  });
}

TEST(Signals, ASecondTermEndsTheDrainAtOnce) {
  expect_in_child([] {
    Config config = tap_config();
    config.drain_timeout = Duration::from_s(50);
    Runtime runtime(config);
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    const int result = run_with_peer(runtime, [&] {
      KernelSocket idle(SOCK_STREAM, 7);
      expect_tcp_echo(idle, "idle");
      kill(getpid(), SIGTERM);
      std::this_thread::sleep_for(100ms);
      kill(getpid(), SIGTERM);
      EXPECT_EQ(idle.receive(1), "");
      EXPECT_EQ(idle.error(), ECONNRESET);
    });
    EXPECT_EQ(result, 1);
  });
}

TEST(Signals, TermBeforeRunIsNotLost) {
  expect_in_child([] {
    Runtime runtime(tap_config());
    kill(getpid(), SIGTERM);
    EXPECT_EQ(runtime.run(), 0);
  });
}

TEST(Signals, Usr1PrintsTheCounters) {
  const auto output = expect_in_child([] {
    Runtime runtime(tap_config());
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    run_with_peer(runtime, [&] {
      KernelSocket udp(SOCK_DGRAM, 7);
      EXPECT_TRUE(udp.send("count me"));
      EXPECT_EQ(udp.receive(8), "count me");
      kill(getpid(), SIGUSR1);
      std::this_thread::sleep_for(200ms);
      runtime.stop();
    });
  });
  for (const char* words :
       {"UdpInDatagrams                                 1  datagrams delivered to sockets",
        "port net_tap0: received ", "core 0 on CPU "})
    EXPECT_NE(output.find(words), std::string::npos) << words << "\nis not in\n" << output;
}

TEST(Counters, CanBeReadFromAnyThreadAndFromCallbacksWhileRunning) {
  expect_in_child([] {
    Runtime runtime(tap_config());
    EchoApp app;
    EXPECT_EQ(runtime.counters()[Counter::udp_in_datagrams], 0u) << "before run()";
    std::atomic<std::uint64_t> seen_by_tick = 0;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack&, TimePoint) {
      seen_by_tick = runtime.counters()[Counter::udp_in_datagrams];
    });
    run_with_peer(runtime, [&] {
      std::atomic<bool> done = false;
      std::thread reader([&] {
        std::uint64_t last = 0;
        while (!done) {
          const auto now = runtime.counters()[Counter::udp_in_datagrams];
          EXPECT_GE(now, last);
          last = now;
        }
      });
      KernelSocket udp(SOCK_DGRAM, 7);
      for (int i = 0; i < 100; ++i) {
        EXPECT_TRUE(udp.send("x"));
        EXPECT_EQ(udp.receive(1), "x");
      }
      EXPECT_TRUE(eventually([&] { return seen_by_tick == 100; }));
      done = true;
      reader.join();
      runtime.stop();
    });
    EXPECT_EQ(runtime.counters()[Counter::udp_in_datagrams], 100u) << "after run()";
    EXPECT_NE(runtime.counters_text().find("UdpInDatagrams"), std::string::npos);
  });
}

TEST(Callbacks, RunOnThePollingCoreAroundTheLoop) {
  expect_in_child([] {
    Runtime runtime(tap_config());
    const auto control = gettid();
    std::vector<std::string> order;
    std::set<pid_t> threads;
    const auto note = [&](const char* what) {
      if (order.empty() || order.back() != what) order.emplace_back(what);
      threads.insert(gettid());
    };
    runtime.on_each_core([&](Stack&) { note("first"); });
    runtime.on_each_core([&](Stack&) { note("second"); });
    runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack&, TimePoint) {
      note("tick");
      runtime.stop();
    });
    runtime.on_each_core_stopped([&](Stack&) { note("stopped"); });
    EXPECT_EQ(runtime.run(), 0);
    EXPECT_EQ(order, (std::vector<std::string>{"first", "second", "tick", "stopped"}));
    EXPECT_EQ(threads.size(), 1u);
    EXPECT_FALSE(threads.contains(control));
  });
}

TEST(Callbacks, ExceptionsEndTheRunAndComeOutOfIt) {
  const auto run_error = [](Runtime& runtime) {
    try {
      runtime.run();
    } catch (const std::runtime_error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  expect_in_child([&] {
    Runtime runtime(tap_config());
    bool torn_down = false;
    runtime.on_each_core([](Stack&) { throw std::runtime_error("set-up failed"); });
    runtime.on_each_core_stopped([&](Stack&) { torn_down = true; });
    EXPECT_EQ(run_error(runtime), "set-up failed");
    EXPECT_TRUE(torn_down);
  });
  expect_in_child([&] {
    Runtime runtime(tap_config());
    runtime.on_each_core_tick(Duration::from_ms(1),
                              [](Stack&, TimePoint) { throw std::runtime_error("tick failed"); });
    EXPECT_EQ(run_error(runtime), "tick failed");
  });
}

// net_null's receive side never runs dry: a flood.
TEST(FlightRecorder, IsWrittenWhenACheckFails) {
  const auto result = test::in_child([] {
    Runtime runtime(tap_config());
    EchoApp app;
    runtime.on_each_core([&](Stack& stack) { app.open(stack); });
    std::atomic<bool> fail = false;
    runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack&, TimePoint) { POLLUX_CHECK(!fail, "on purpose"); });
    run_with_peer(runtime, [&] {
      KernelSocket tcp(SOCK_STREAM, 7);
      expect_tcp_echo(tcp, "hello");
      fail = true;
      std::this_thread::sleep_for(10s);
    });
  });
  EXPECT_EQ(result.exit_code, 128 + SIGABRT) << result.output;
  const auto check = result.output.find("CHECK(!fail) failed: on purpose");
  const auto recorder = result.output.find("flight recorder of core 0, last 2 of 2 events:");
  EXPECT_NE(check, std::string::npos) << result.output;
  EXPECT_NE(recorder, std::string::npos) << result.output;
  EXPECT_LT(check, recorder);
  EXPECT_NE(result.output.find("0/0/1 state ESTABLISHED\n"), std::string::npos) << result.output;
}

TEST(Flood, DoesNotKeepTheLoopFromStopping) {
  expect_in_child([] {
    Runtime runtime(device_config("net_null0"));
    runtime.on_each_core_tick(Duration::from_ms(50), [&](Stack&, TimePoint) { runtime.stop(); });
    EXPECT_EQ(runtime.run(), 0);
    const auto counters = runtime.counters();
    EXPECT_GT(counters[Counter::rx_packets], 1000u);
    EXPECT_EQ(counters.drops(), counters[Counter::rx_packets]) << "every packet is accounted for";
  });
}

// As many cores as there are, up to two, on a driver with RSS.
TEST(Cores, EachHasItsOwnStackThreadAndQueue) {
  expect_in_child([] {
    Config config = device_config("net_null0,no-rx=1");
    cpu_set_t allowed;
    sched_getaffinity(0, sizeof allowed, &allowed);
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && config.cores.size() < 2; ++cpu)
      if (CPU_ISSET(cpu, &allowed)) config.cores.push_back(cpu);
    Runtime runtime(config);
    EXPECT_EQ(runtime.core_count(), config.cores.size());
    std::mutex mutex;
    std::set<Stack*> stacks;
    std::set<unsigned> cpus;
    runtime.on_each_core([&](Stack& stack) {
      const std::lock_guard lock(mutex);
      stacks.insert(&stack);
      cpus.insert(static_cast<unsigned>(sched_getcpu()));
    });
    // Cores that ask for each other's counters at the same time must not wait for each other for ever.
    std::atomic<int> asked = 0;
    runtime.on_each_core_tick(Duration::from_us(100), [&](Stack&, TimePoint) {
      runtime.counters();
      if (++asked == 1000) runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    EXPECT_EQ(stacks.size(), config.cores.size());
    EXPECT_EQ(cpus, std::set<unsigned>(config.cores.begin(), config.cores.end()));
  });
}

}  // namespace
}  // namespace pollux
