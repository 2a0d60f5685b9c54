// A Runtime on several cores over net_tap, which has no RSS: the kernel chooses the queue, the cores sort it out.
#include <gtest/gtest.h>
#include <rte_lcore.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <thread>
#include <vector>

#include "child.h"
#include "echo_app.h"
#include "kernel_socket.h"
#include "kernel_udp.h"
#include "pollux/drivers_glue/runtime.h"
#include "pollux/drivers_glue/steering.h"

namespace pollux {
namespace {

using test::expect_in_child;
using test::KernelSocket;

constexpr unsigned clients = 24;
constexpr std::size_t octets_each = 200'000;

/// Any CPUs that the process may use, each as often as needed.
Config tap_config(unsigned cores) {
  Config config = test::tap_config();
  cpu_set_t allowed;
  sched_getaffinity(0, sizeof allowed, &allowed);
  config.share_cpus = true;
  while (config.cores.size() < cores)
    for (unsigned cpu = 0; cpu < CPU_SETSIZE && config.cores.size() < cores; ++cpu)
      if (CPU_ISSET(cpu, &allowed)) config.cores.push_back(cpu);
  return config;
}

/// One core's echo, which knows what it owns.
struct OwnedEcho final : TcpHandler, UdpHandler {
  const Steering* steering = nullptr;
  unsigned core = 0;
  std::atomic<unsigned> accepted = 0;
  std::atomic<unsigned> datagrams_seen = 0;
  std::atomic<unsigned> strangers = 0;

  void note(IpProtocol protocol, const Endpoint& local, const Endpoint& remote) noexcept {
    strangers += steering->owner_of_flow(protocol, local, remote) != core;
  }
  void on_connected(TcpConn conn) noexcept override {
    ++accepted;
    note(IpProtocol::tcp, conn.local(), conn.remote());
  }
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      ++datagrams_seen;
      note(IpProtocol::udp, d.local, d.remote);
      socket.send_to(d.remote, std::move(d.data), d.local);
    }
  }
};

std::string pattern(unsigned salt) {
  std::string text;
  for (unsigned i = 0; text.size() < octets_each; ++i) text += std::to_string(i * 31 + salt) + ' ';
  text.resize(octets_each);
  return text;
}

class CoresOverTap : public testing::TestWithParam<unsigned> {};

TEST_P(CoresOverTap, ServeTheKernelOctetForOctet) {
  const auto output = expect_in_child([] {
    const unsigned cores = GetParam();
    Runtime runtime(tap_config(cores));
    const Steering steering(cores);
    std::array<OwnedEcho, 8> echoes;
    runtime.on_each_core([&](Stack& stack) {
      const unsigned core = rte_lcore_id() - 1;
      EXPECT_EQ(stack.ip().interface(0).primary, core == Steering::primary_core);
      OwnedEcho& echo = echoes[core];
      echo.steering = &steering;
      echo.core = core;
      ASSERT_TRUE(stack.tcp().listen({.port = 7}, echo).has_value());
      ASSERT_TRUE(stack.udp().bind({.port = 7}, echo).has_value());
    });
    test::raise_kernel_side();
    std::thread peer([&] {
      std::vector<std::thread> threads;
      for (unsigned i = 0; i < clients; ++i)
        threads.emplace_back([i] {
          KernelSocket tcp(SOCK_STREAM, 7, 30);
          ASSERT_TRUE(tcp.is_open()) << tcp.error();
          const std::string text = pattern(i);
          std::thread sender([&] { EXPECT_TRUE(tcp.send(text)); });
          EXPECT_TRUE(tcp.receive(text.size()) == text);
          sender.join();
          KernelSocket udp(SOCK_DGRAM, 7, 30);
          EXPECT_TRUE(udp.send("datagram"));
          EXPECT_EQ(udp.receive(8), "datagram");
        });
      for (auto& thread : threads) thread.join();
      runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    peer.join();
    unsigned accepted = 0;
    for (unsigned i = 0; i < cores; ++i) {
      accepted += echoes[i].accepted;
      EXPECT_GT(echoes[i].accepted, 0u) << "core " << i;
      EXPECT_EQ(echoes[i].strangers, 0u) << "core " << i;
    }
    EXPECT_EQ(accepted, clients);
    const Counters counters = runtime.counters();
    EXPECT_EQ(counters[Counter::tcp_estab_resets], 0u) << runtime.counters_text();
    EXPECT_EQ(counters[Counter::handed_over], counters[Counter::taken_over]);
    EXPECT_GT(counters[Counter::handed_over], 0u);
    EXPECT_EQ(counters[DropReason::handover_full], 0u);
  });
  EXPECT_NE(output.find("flows are handed to their core in software: its driver net_tap has no RSS"), std::string::npos)
      << output;
}

/// Sends a line and counts it coming back.
struct Caller final : TcpHandler {
  std::atomic<unsigned> answered = 0;
  std::atomic<unsigned> failed = 0;

  void on_connected(TcpConn conn) noexcept override { (void)conn.send("hello"); }
  void on_data(TcpConn conn, Bytes bytes) noexcept override {
    answered += bytes.size() == 5;
    conn.abort();
  }
  void on_closed(TcpConn, CloseReason reason) noexcept override { failed += reason != CloseReason::aborted; }
};

// Every core calls the kernel's server: SYN-ACKs, and the ARP replies before them, arrive wherever the kernel likes.
TEST_P(CoresOverTap, CallTheKernel) {
  expect_in_child([] {
    constexpr unsigned calls_each = 40;
    const unsigned cores = GetParam();
    Runtime runtime(tap_config(cores));
    test::raise_kernel_side();
    const int listener = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(9000);
    ASSERT_EQ(bind(listener, reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    ASSERT_EQ(listen(listener, 1024), 0);
    std::thread server([listener] {
      std::array<char, 64> buffer;
      for (int fd; (fd = accept(listener, nullptr, nullptr)) >= 0; close(fd))
        if (const auto n = recv(fd, buffer.data(), buffer.size(), 0); n > 0)
          (void)!write(fd, buffer.data(), static_cast<std::size_t>(n));
    });
    Caller caller;
    runtime.on_each_core([&](Stack& stack) {
      for (unsigned i = 0; i < calls_each; ++i)
        ASSERT_TRUE(stack.tcp().connect({.remote = {IpAddress::v4(10, 77, 0, 1), 9000}}, caller).has_value());
    });
    std::atomic<unsigned> ticks = 0;
    runtime.on_each_core_tick(Duration::from_ms(10), [&](Stack&, TimePoint) {
      if (caller.answered + caller.failed == cores * calls_each || ++ticks > 3000) runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    shutdown(listener, SHUT_RDWR);
    close(listener);
    server.join();
    EXPECT_EQ(caller.answered, cores * calls_each);
    EXPECT_EQ(caller.failed, 0u) << runtime.counters_text();
  });
}

/// Counts answers, and errors that came back.
struct UdpCaller final : UdpHandler {
  std::atomic<unsigned> answered = 0;
  std::atomic<unsigned> refused = 0;

  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (const Datagram& d : datagrams) answered += d.local.port == socket.local_port();
  }
  void on_error(UdpSocket, const Endpoint& remote, UdpError error) noexcept override {
    refused += error == UdpError::port_unreachable && remote.port == 9001;
  }
};

// Every core asks the kernel from ports that were chosen for it: the answers, and the errors, find their core.
TEST_P(CoresOverTap, AskTheKernelFromChosenUdpPorts) {
  expect_in_child([] {
    constexpr unsigned sockets_each = 8;
    const unsigned cores = GetParam();
    Runtime runtime(tap_config(cores));
    test::raise_kernel_side();
    test::shell("sysctl -q net.ipv4.icmp_ratelimit=0");
    const int echo = socket(AF_INET, SOCK_DGRAM, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_port = htons(9000);
    ASSERT_EQ(bind(echo, reinterpret_cast<const sockaddr*>(&any), sizeof any), 0);
    std::thread server([echo] {
      std::array<char, 64> buffer;
      sockaddr_in from{};
      for (socklen_t size = sizeof from;;) {
        const auto n = recvfrom(echo, buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&from), &size);
        if (n <= 1) return;
        sendto(echo, buffer.data(), static_cast<std::size_t>(n), 0, reinterpret_cast<const sockaddr*>(&from), size);
      }
    });
    UdpCaller caller;
    std::array<std::vector<UdpSocket>, 8> sockets;
    runtime.on_each_core([&](Stack& stack) {
      auto& own = sockets[rte_lcore_id() - 1];
      for (unsigned i = 0; i < sockets_each; ++i) {
        const auto bound = stack.udp().bind({}, caller);
        ASSERT_TRUE(bound.has_value());
        own.push_back(*bound);
      }
    });
    std::atomic<unsigned> ticks = 0;
    std::array<bool, 8> asked{};
    runtime.on_each_core_tick(Duration::from_ms(10), [&](Stack&, TimePoint) {
      const unsigned core = rte_lcore_id() - 1;
      if (ticks++ > 2 * cores && !asked[core]) {
        asked[core] = true;
        for (UdpSocket& socket : sockets[core]) {
          EXPECT_EQ(socket.send_to({IpAddress::v4(10, 77, 0, 1), 9000}, "hello"), SendStatus::ok);
          EXPECT_EQ(socket.send_to({IpAddress::v4(10, 77, 0, 1), 9001}, "closed"), SendStatus::ok);
        }
      }
      const bool all = caller.answered == cores * sockets_each && caller.refused == cores * sockets_each;
      if (all || ticks > 500 * cores) runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    EXPECT_EQ(caller.answered, cores * sockets_each) << runtime.counters_text();
    EXPECT_EQ(caller.refused, cores * sockets_each) << runtime.counters_text();
    EXPECT_EQ(runtime.counters()[DropReason::udp_no_socket], 0u);
    EXPECT_GT(runtime.counters()[Counter::handed_over], 0u);
    inet_pton(AF_INET, "127.0.0.1", &any.sin_addr);
    sendto(echo, "", 1, 0, reinterpret_cast<const sockaddr*>(&any), sizeof any);  // the server's end
    server.join();
    close(echo);
  });
}

// Every core has joined: the kernel's datagram reaches each, so does what each sends, and one core speaks for all.
TEST_P(CoresOverTap, HearTheGroupThatEachHasJoined) {
  expect_in_child([] {
    const unsigned cores = GetParam();
    const IpAddress group = IpAddress::v4(239, 1, 2, 3);
    // Answers the group with its core's letter, and notes whose letters it hears.
    struct Hears final : UdpHandler {
      void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
        for (const Datagram& d : datagrams) {
          const std::string text = d.data.to_string();
          if (text.size() == 1) letters |= 1u << (text[0] - 'a');
          if (text != "hello, group") continue;
          ++heard;
          socket.send_to({d.local.address, 5000}, std::string(1, static_cast<char>('a' + rte_lcore_id() - 1)));
        }
      }
      std::atomic<unsigned> heard = 0, letters = 0;
    };
    Runtime runtime(tap_config(cores));
    std::array<Hears, 8> handlers;
    runtime.on_each_core([&](Stack& stack) {
      auto socket = stack.udp().bind({.port = 5000}, handlers[rte_lcore_id() - 1]);
      ASSERT_TRUE(socket.has_value());
      const auto joined = socket->join(group);
      ASSERT_TRUE(joined.has_value()) << joined.error().text;
    });
    test::raise_kernel_side();
    const auto all_heard = [&] {
      return std::all_of(handlers.begin(), handlers.begin() + cores,
                         [&](const Hears& h) { return h.heard != 0 && h.letters == (1u << cores) - 1; });
    };
    std::thread peer([&] {
      test::KernelUdp sender(test::families[0], 6000, 0);
      const in_addr from{.s_addr = inet_addr(test::families[0].kernels)};
      EXPECT_EQ(setsockopt(sender.fd(), IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from), 0);
      for (int i = 0; i < 300 && !all_heard(); ++i, std::this_thread::sleep_for(std::chrono::milliseconds(20)))
        sender.send_to("239.1.2.3", 5000, "hello, group");
      // The report is said twice, a second apart at most.
      for (int i = 0; i < 500 && runtime.counters()[Counter::igmp_out_reports] < 2; ++i)
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    peer.join();
    EXPECT_TRUE(all_heard()) << runtime.counters_text();
    EXPECT_EQ(runtime.counters()[Counter::igmp_out_reports], 2u) << "one core's, not every core's";
    EXPECT_EQ(runtime.counters()[Counter::groups_refused], 0u);
    EXPECT_EQ(runtime.counters()[DropReason::udp_not_joined], 0u);
  });
}

INSTANTIATE_TEST_SUITE_P(Cores, CoresOverTap, testing::Values(2u, 4u));

}  // namespace
}  // namespace pollux
