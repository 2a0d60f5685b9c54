// Socket filters: made from expressions and programs (DPDK's BPF needs an EAL), run on packets of both families.
#include <gtest/gtest.h>

#include "ip_v6_host.h"
#include "support/eal.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

class Filter : public testing::Test {
 protected:
  static void SetUpTestSuite() { ensure_eal(); }
};

SocketFilter filter_of(const std::string& expression) {
  auto filter = SocketFilter::from_expression(expression);
  EXPECT_TRUE(filter) << (filter ? "" : filter.error().text);
  return std::move(filter.value());
}

struct FilterHost : V6Host {
  explicit FilterHost(const SocketFilter* filter) : udp({}, ip, heap.pool(), counters, rng) {
    socket = udp.bind({.port = 7, .socket = {.filter = filter}}, handler).value();
  }
  std::string heard(const Frame& frame, const std::vector<std::size_t>& sizes = {}) {
    handler.got.clear();
    if (sizes.empty() ? input(frame) : input_split(frame, sizes)) udp.input(std::move(rx), now);
    udp.deliver();
    return handler.got.empty() ? "" : handler.got[0].data;
  }
  Udp udp;
  Recorder handler;
  UdpSocket socket;
};

Frame v4(const std::string& text, std::uint16_t from = 4000) {
  return test::udp_frame(Endpoint{peer_ip, from}, Endpoint{our_ip, 7}, bytes_of(text));
}
Frame v6(const std::string& text, std::uint16_t from = 4000) {
  return test::udp_frame(v6_ids(), from, 7, bytes_of(text));
}

TEST_F(Filter, AnExpressionDecidesByHeadersAndPayload) {
  struct Row {
    const char* expression;
    bool v4_a, v4_b, v6_a;
  };
  const Row rows[] = {
      {"", true, true, true},
      {"ip", true, true, false},
      {"ip6", false, false, true},
      {"src host 192.0.2.2", true, true, false},
      {"src host 192.0.2.3", false, false, false},
      {"udp[8] = 0x61", true, false, false},  // libpcap looks into IPv4's UDP only
      {"ip6 and ip6[48] = 0x61", false, false, true},
      {"src port 4000 and dst port 7", true, true, true},
      {"src port 4001", false, false, false},
      {"udp[1000] = 1", false, false, false},  // beyond the packet
      {"ip[8] = 64 or ip6[7] = 64", true, true, true},
      {"tcp", false, false, false},
  };
  for (const Row& row : rows) {
    SCOPED_TRACE(row.expression);
    const SocketFilter filter = filter_of(row.expression);
    FilterHost host(&filter);
    EXPECT_EQ(host.heard(v4("a")), row.v4_a ? "a" : "");
    EXPECT_EQ(host.heard(v4("b")), row.v4_b ? "b" : "");
    EXPECT_EQ(host.heard(v6("a")), row.v6_a ? "a" : "");
    const unsigned refused = 3u - row.v4_a - row.v4_b - row.v6_a;
    EXPECT_EQ(host.drops(DropReason::udp_filtered), refused);
    EXPECT_EQ(host.counters[Counter::udp_in_errors], refused);
    EXPECT_EQ(host.counters[Counter::udp_no_ports], 0u);
  }
}

TEST_F(Filter, IsTranslatedForThisCpu) {
#ifdef __x86_64__
  EXPECT_TRUE(filter_of("udp").is_compiled());
#endif
}

TEST_F(Filter, SeesAChainedPacketToo) {
  const SocketFilter filter = filter_of("udp[508] = 0x7a");
  FilterHost host(&filter);
  std::string text(600, '.');
  text[500] = 'z';
  EXPECT_EQ(host.heard(v4(text), {42, 100}), text);
  text[500] = '.';
  EXPECT_EQ(host.heard(v4(text), {42, 100}), "");
}

TEST_F(Filter, AProgramIsTakenAsTheKernelHasIt) {
  constexpr std::uint16_t load_byte = 0x30, jump_equal = 0x15, give = 0x06;  // BPF_LD|B|ABS, BPF_JMP|JEQ|K, BPF_RET|K
  const BpfInstruction program[] = {
      {load_byte, 0, 0, 28}, {jump_equal, 0, 1, 'y'}, {give, 0, 0, 65535}, {give, 0, 0, 0}};
  const auto filter = SocketFilter::from_program(program);
  ASSERT_TRUE(filter) << filter.error().text;
  FilterHost host(&*filter);
  EXPECT_EQ(host.heard(v4("yes")), "yes");
  EXPECT_EQ(host.heard(v4("no")), "");
  host.socket.set_options({});
  EXPECT_EQ(host.heard(v4("no")), "no") << "taken away";
}

TEST_F(Filter, WhatIsNoProgramIsRefusedWithAText) {
  const auto text = [](const auto& result) { return result ? "accepted" : result.error().text; };
  EXPECT_NE(text(SocketFilter::from_expression("udp prot 7")).find("\"udp prot 7\""), std::string::npos);
  EXPECT_NE(text(SocketFilter::from_program({})).find("0 instructions"), std::string::npos);
  const BpfInstruction jumps_out[] = {{0x15, 9, 9, 1}, {0x06, 0, 0, 1}};
  const BpfInstruction no_return[] = {{0x30, 0, 0, 1}};
  const BpfInstruction unknown[] = {{0xffff, 0, 0, 0}, {0x06, 0, 0, 1}};
  const BpfInstruction divides_by_zero[] = {{0x34, 0, 0, 0}, {0x06, 0, 0, 1}};
  for (const std::span<const BpfInstruction> bad :
       {std::span<const BpfInstruction>(jumps_out), std::span<const BpfInstruction>(no_return),
        std::span<const BpfInstruction>(unknown), std::span<const BpfInstruction>(divides_by_zero)})
    EXPECT_FALSE(SocketFilter::from_program(bad));
  const std::vector<BpfInstruction> long_one(4097, BpfInstruction{0x06, 0, 0, 1});
  EXPECT_FALSE(SocketFilter::from_program(long_one));
}

TEST_F(Filter, AnEchoStillLeavesInItsOwnBuffer) {
  const SocketFilter filter = filter_of("udp");
  FilterHost host(&filter);
  host.make_reachable(peer_ip, peer_mac);
  Echo echo;
  ASSERT_TRUE(host.udp.bind({.port = 8, .socket = {.filter = &filter}}, echo));
  Packet packet = host.packet_of(test::udp_frame(Endpoint{peer_ip, 4000}, Endpoint{our_ip, 8}, pattern(100)));
  const void* const buffer = packet.mbuf()->buf_addr;
  ASSERT_TRUE(host.input(std::move(packet)));
  host.udp.input(std::move(host.rx), host.now);
  host.udp.deliver();
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].buffer, buffer);
  EXPECT_EQ(decode(sent[0].bytes).problem, "");
}

}  // namespace
}  // namespace pollux::test
