// UDP sockets with Linux as the peer, over net_tap, in both families.
#include <gtest/gtest.h>
#include <net/if.h>

#include <atomic>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <optional>
#include <thread>

#include "kernel_udp.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {
namespace {

using namespace std::chrono_literals;
using test::expect_in_child;
using test::Family;
using test::families;
using test::KernelUdp;

bool eventually(const std::function<bool()>& condition) {
  for (int i = 0; i < 500; ++i, std::this_thread::sleep_for(10ms))
    if (condition()) return true;
  return false;
}

/// Runs a Runtime over a TAP while `peer(runtime)` acts as the kernel's side.
void with_kernel(const std::function<void(Stack&)>& open, const std::function<void(Runtime&)>& peer,
                 const std::function<void(Stack&)>& tick = {}) {
  expect_in_child([&] {
    Runtime runtime(test::tap_config_v6());
    runtime.on_each_core(open);
    if (tick) runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack& stack, TimePoint) { tick(stack); });
    test::raise_kernel_side_v6();
    std::thread thread([&] {
      peer(runtime);
      runtime.stop();
    });
    EXPECT_EQ(runtime.run(), 0);
    thread.join();
  });
}

struct Echo final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) {
      deliveries += 1;
      segmented += d.segment_size != 0;
      (void)socket.send_segmented(d.remote, std::move(d.data), d.segment_size, d.local);
    }
  }
  void on_error(UdpSocket, const Endpoint& remote, UdpError error) noexcept override {
    refused_port = error == UdpError::port_unreachable ? remote.port : 0;
  }
  std::atomic<unsigned> deliveries = 0;
  std::atomic<unsigned> segmented = 0;
  std::atomic<unsigned> refused_port = 0;
};

class UdpOverTap : public testing::TestWithParam<Family> {};

TEST_P(UdpOverTap, AConnectedSocketHearsItsPeerAndThatItIsGone) {
  const Family& family = GetParam();
  Echo echo, rest;
  UdpSocket socket;
  std::atomic<bool> call = false;
  with_kernel(
      [&](Stack& stack) {
        const auto bound = stack.udp().bind({.port = 7, .remote = {test::kernels(family), 5001}}, echo);
        ASSERT_TRUE(bound.has_value()) << bound.error().text;
        socket = *bound;
        ASSERT_TRUE(stack.udp().bind({.port = 8}, rest));
      },
      [&](Runtime& runtime) {
        KernelUdp stranger(family, 5002, 7);
        stranger.send("let me in");
        EXPECT_EQ(stranger.receive(), "errno " + std::to_string(ECONNREFUSED));
        {
          KernelUdp friend_(family, 5001, 7);
          friend_.send("hello");
          EXPECT_EQ(friend_.receive(), "hello");
        }
        call = true;
        (void)eventually([&] { return echo.refused_port != 0; });
        EXPECT_EQ(echo.refused_port, 5001u) << runtime.counters_text();
        EXPECT_EQ(rest.refused_port, 0u);
      },
      [&](Stack&) {
        if (call.exchange(false)) (void)socket.send("still there?");
      });
}

TEST_P(UdpOverTap, EqualDatagramsComeAsOneDeliveryAndGoAsSegments) {
  const Family& family = GetParam();
  Echo echo;
  with_kernel(
      [&](Stack& stack) {
        ASSERT_TRUE(stack.udp().bind({.port = 7, .socket = {.coalesce = true}}, echo));
      },
      [&](Runtime& runtime) {
        KernelUdp socket(family, 5001, 7);
        socket.set(IPPROTO_UDP, UDP_SEGMENT, 1000);
        for (int round = 0; round < 20; ++round) {
          std::string whole;
          for (int i = 0; whole.size() < 12'345; ++i) whole += std::to_string(round * 1000 + i) + ' ';
          whole.resize(12'345);
          socket.send(whole);
          std::string back;
          for (int i = 0; i < 13; ++i) {
            const std::string one = socket.receive();
            EXPECT_EQ(one.size(), i < 12 ? 1000u : 345u);
            back += one;
          }
          EXPECT_EQ(back, whole);
        }
        EXPECT_GT(echo.segmented, 0u);
        EXPECT_LT(echo.deliveries, 20u * 13);
        const Counters counters = runtime.counters();
        EXPECT_EQ(counters[Counter::udp_in_datagrams], 20u * 13);
        EXPECT_EQ(counters[Counter::udp_out_datagrams], 20u * 13);
      });
}

TEST_P(UdpOverTap, ARangeAnswersFromThePortThatWasAsked) {
  const Family& family = GetParam();
  Echo echo;
  with_kernel([&](Stack& stack) { ASSERT_TRUE(stack.udp().bind({.port = 10000, .port_last = 10999}, echo)); },
              [&](Runtime&) {
                for (const std::uint16_t port : {10000, 10500, 10999}) {
                  KernelUdp socket(family, 0, port);  // connected: hears answers from that port only
                  socket.send("here?");
                  EXPECT_EQ(socket.receive(), "here?");
                }
                KernelUdp outside(family, 0, 11000);
                outside.send("here?");
                EXPECT_EQ(outside.receive(), "errno " + std::to_string(ECONNREFUSED));
              });
}

/// Sends once a peer has asked: with the socket's TTL and TOS, corked, and without a checksum.
struct Answers final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (const Datagram& d : datagrams) {
      received_ttl = d.ttl;
      received_tos = d.tos;
      socket.set_options({.ttl = 33, .tos = 0x28, .send_checksum = false});
      socket.cork();
      for (const char* piece : {"one ", "two ", "three"}) EXPECT_EQ(socket.send_to(d.remote, piece), SendStatus::ok);
      EXPECT_EQ(socket.uncork(), SendStatus::ok);
    }
  }
  std::atomic<unsigned> received_ttl = 0;
  std::atomic<unsigned> received_tos = 0;
};

TEST_P(UdpOverTap, TtlTosAndACorkedDatagramWithoutAChecksumReachTheKernel) {
  const Family& family = GetParam();
  const bool v4 = family.domain == AF_INET;
  Answers answers;
  with_kernel([&](Stack& stack) { ASSERT_TRUE(stack.udp().bind({.port = 7}, answers)); },
              [&](Runtime&) {
                KernelUdp socket(family, 5001, 7);
                const int level = v4 ? IPPROTO_IP : IPPROTO_IPV6;
                socket.set(level, v4 ? IP_TTL : IPV6_UNICAST_HOPS, 17);
                socket.set(level, v4 ? IP_TOS : IPV6_TCLASS, 0x48);
                socket.set(level, v4 ? IP_RECVTTL : IPV6_RECVHOPLIMIT, 1);
                socket.set(level, v4 ? IP_RECVTOS : IPV6_RECVTCLASS, 1);
                socket.send("?");
                std::array<char, 100> text{};
                std::array<char, 256> control{};
                iovec data{text.data(), text.size()};
                msghdr message{};
                message.msg_iov = &data;
                message.msg_iovlen = 1;
                message.msg_control = control.data();
                message.msg_controllen = control.size();
                const auto n = recvmsg(socket.fd(), &message, 0);
                ASSERT_GE(n, 0) << std::strerror(errno);
                EXPECT_EQ(std::string(text.data(), static_cast<std::size_t>(n)), "one two three");
                int ttl = 0;
                int tos = 0;
                for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
                  if (c->cmsg_type == (v4 ? IP_TTL : IPV6_HOPLIMIT)) std::memcpy(&ttl, CMSG_DATA(c), sizeof ttl);
                  if (c->cmsg_type == (v4 ? IP_TOS : IPV6_TCLASS)) tos = *CMSG_DATA(c);
                }
                EXPECT_EQ(ttl, 33);
                EXPECT_EQ(tos, 0x28);
                EXPECT_EQ(answers.received_ttl, 17u);
                EXPECT_EQ(answers.received_tos, 0x48u);
              });
}

TEST_P(UdpOverTap, AFilterChoosesWhatArrives) {
  const Family& family = GetParam();
  Echo echo;
  std::optional<SocketFilter> filter;
  with_kernel(
      [&](Stack& stack) {
        auto made = SocketFilter::from_expression("src port 5001 and (ip[28] = 0x79 or ip6[48] = 0x79)");
        ASSERT_TRUE(made.has_value()) << made.error().text;
        EXPECT_TRUE(made->is_compiled());
        filter = std::move(*made);
        ASSERT_TRUE(stack.udp().bind({.port = 7, .socket = {.filter = &*filter}}, echo));
      },
      [&](Runtime& runtime) {
        KernelUdp wrong_port(family, 5002, 7);
        wrong_port.send("yes?");
        KernelUdp socket(family, 5001, 7);
        for (const char* text : {"no", "yes"}) socket.send(text);
        EXPECT_EQ(socket.receive(), "yes");
        EXPECT_EQ(runtime.counters()[DropReason::udp_filtered], 2u);
      });
}

/// What tcpdump saw on the kernel's end since it was made.
class Tcpdump {
 public:
  explicit Tcpdump(const std::string& filter) {
    test::shell("tcpdump -l -n -v -i px0 '" + filter + "' >dump.txt 2>dump.err & echo $! >dump.pid");
    EXPECT_TRUE(eventually([] { return read("dump.err").find("listening on") != std::string::npos; }));
  }
  // It has inherited our signal mask, in which a Runtime has blocked SIGTERM.
  ~Tcpdump() { (void)std::system("kill -KILL $(cat dump.pid); rm -f dump.txt dump.err dump.pid"); }
  bool shows(const std::string& text) const {
    return eventually([&] { return read("dump.txt").find(text) != std::string::npos; });
  }
  std::string text() const { return read("dump.txt"); }

 private:
  static std::string read(const char* name) {
    std::ifstream file(name);
    return {std::istreambuf_iterator<char>(file), {}};
  }
};

TEST_P(UdpOverTap, AGroupIsReportedAndReachesWhoJoined) {
  const Family& family = GetParam();
  const bool v4 = family.domain == AF_INET;
  const char* const group = v4 ? "239.1.2.3" : "ff05::1234";
  const char* const other_group = v4 ? "239.1.2.4" : "ff05::1235";
  const IpAddress address = *IpAddress::from_string(group);
  Echo joined, stranger;
  UdpSocket socket;
  std::atomic<int> act = 0;
  with_kernel(
      [&](Stack& stack) {
        const auto bound = stack.udp().bind({.port = 5000}, joined);
        ASSERT_TRUE(bound.has_value());
        socket = *bound;
        ASSERT_TRUE(stack.udp().bind({.port = 5001}, stranger));
      },
      [&](Runtime& runtime) {
        const Tcpdump dump(v4 ? "igmp" : "ip6");  // "icmp6" does not look behind hop-by-hop options
        act = 1;
        // Linux would print the same: the report is understood by a stranger.
        EXPECT_TRUE(dump.shows(v4 ? "igmp v3 report, 1 group record(s) [gaddr 239.1.2.3 to_ex, 0 source(s)]"
                                  : "multicast listener report v2, 1 group record(s) [gaddr ff05::1234 to_ex, 0 source(s)]"))
            << dump.text();
        KernelUdp sender(family, 6000, 0);
        if (v4) {
          const in_addr from{.s_addr = inet_addr(family.kernels)};
          EXPECT_EQ(setsockopt(sender.fd(), IPPROTO_IP, IP_MULTICAST_IF, &from, sizeof from), 0);
        } else {
          sender.set(IPPROTO_IPV6, IPV6_MULTICAST_IF, static_cast<int>(if_nametoindex("px0")));
        }
        sender.send_to(group, 5001, "to the wrong port");
        sender.send_to(other_group, 5000, "to another group");
        sender.send_to(group, 5000, "hello, group");
        EXPECT_EQ(sender.receive(), "hello, group");
        EXPECT_EQ(stranger.deliveries, 0u);
        EXPECT_EQ(joined.deliveries, 1u);
        EXPECT_EQ(runtime.counters()[DropReason::udp_not_joined], 1u);
        act = 2;
        EXPECT_TRUE(dump.shows(v4 ? "[gaddr 239.1.2.3 to_in, 0 source(s)]" : "[gaddr ff05::1234 to_in, 0 source(s)]"))
            << dump.text();
        // A bridge with the kernel's own querier asks; the answer tells it who listens.
        act = 1;
        test::shell("ip link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_interval 200 "
                    "mcast_startup_query_interval 100 mcast_query_response_interval 50 mcast_mld_version 2 "
                    "mcast_igmp_version 3");
        test::shell("ip address flush dev px0 && ip link set px0 master br0 && ip link set br0 up");
        EXPECT_TRUE(eventually([&] {
          return runtime.counters()[v4 ? Counter::igmp_in_queries : Counter::mld_in_queries] > 1;
        })) << runtime.counters_text();
        EXPECT_TRUE(eventually([&] {
          return std::system((std::string("bridge mdb show | grep -q 'port px0 grp ") + group + "'").c_str()) == 0;
        }));
      },
      [&](Stack&) {
        switch (act.exchange(0)) {
          case 1:
            EXPECT_TRUE(socket.join(address));
            break;
          case 2:
            EXPECT_TRUE(socket.leave(address));
            break;
          default:
            break;
        }
      });
}

INSTANTIATE_TEST_SUITE_P(Families, UdpOverTap, testing::ValuesIn(families),
                         [](const auto& row) { return row.param.name; });

}  // namespace
}  // namespace pollux
