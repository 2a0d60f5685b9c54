// Binding, ports and handles.
#include <set>

#include "udp_host.h"

namespace pollux::test {
namespace {

TEST(UdpBind, MistakesAreRefusedWithATextThatNamesThem) {
  UdpHost host({.sockets_max = 2});
  Recorder handler;
  host.bind(7, handler);
  const auto taken = host.udp.bind({.port = 7}, handler);
  ASSERT_FALSE(taken.has_value());
  EXPECT_EQ(taken.error().code, ErrorCode::address_in_use);
  EXPECT_NE(taken.error().text.find("0.0.0.0:7"), std::string::npos) << taken.error().text;
  const auto foreign = host.udp.bind({.address = peer_ip, .port = 8}, handler);
  ASSERT_FALSE(foreign.has_value());
  EXPECT_EQ(foreign.error().code, ErrorCode::address_unavailable);
  EXPECT_NE(foreign.error().text.find("192.0.2.2:8"), std::string::npos) << foreign.error().text;
  const auto v6 = host.udp.bind({.address = *IpAddress::from_string("2001:db8::1"), .port = 8}, handler);
  ASSERT_FALSE(v6.has_value());
  EXPECT_EQ(v6.error().code, ErrorCode::address_unavailable);
  host.bind(8, handler);
  const auto full = host.udp.bind({.port = 9}, handler);
  ASSERT_FALSE(full.has_value());
  EXPECT_EQ(full.error().code, ErrorCode::limit_reached);
  EXPECT_NE(full.error().text.find("sockets_max"), std::string::npos) << full.error().text;
}

TEST(UdpBind, AnyAddressAndOneAddressCollideOnAPortAndTwoAddressesDoNot) {
  UdpHost host;
  const IpAddress second = IpAddress::v4(203, 0, 113, 1);
  ASSERT_TRUE(host.ip.add_interface(
      {.name = "p1", .mac = other_mac, .address = {second, 24}, .mtu = 1500, .offloads = {}}, host.now));
  (void)host.sent(1);
  Recorder handler;
  host.bind(7, handler, our_ip);
  EXPECT_FALSE(host.udp.bind({.port = 7}, handler).has_value());
  EXPECT_FALSE(host.udp.bind({.address = our_ip, .port = 7}, handler).has_value());
  EXPECT_TRUE(host.udp.bind({.address = second, .port = 7}, handler).has_value());
}

TEST(UdpBind, APortIsFreeAgainAfterClose) {
  UdpHost host({.sockets_max = 1});
  Recorder handler;
  for (int i = 0; i < 100; ++i) {
    UdpSocket socket = host.bind(7, handler);
    EXPECT_TRUE(socket.is_open());
    EXPECT_EQ(socket.local_port(), 7);
    socket.close();
    EXPECT_FALSE(socket.is_open());
  }
}

TEST(UdpBind, Port0TakesAnUnusedEphemeralPortUntilNoneIsLeft) {
  UdpHost host({.ephemeral_port_first = 50000, .ephemeral_port_last = 50009});
  Recorder handler;
  const UdpSocket fixed = host.bind(50004, handler);
  std::set<std::uint16_t> ports{fixed.local_port()};
  for (int i = 0; i < 9; ++i) {
    const UdpSocket socket = host.bind(0, handler);
    EXPECT_GE(socket.local_port(), 50000);
    EXPECT_LE(socket.local_port(), 50009);
    EXPECT_TRUE(ports.insert(socket.local_port()).second) << "twice: " << socket.local_port();
  }
  const auto none = host.udp.bind({}, handler);
  ASSERT_FALSE(none.has_value());
  EXPECT_EQ(none.error().code, ErrorCode::limit_reached);
  EXPECT_NE(none.error().text.find("50000..50009"), std::string::npos) << none.error().text;
}

TEST(UdpBind, EphemeralPortsStartWhereTheSeedSays) {
  std::set<std::uint16_t> starts;
  for (std::uint64_t seed = 1; seed <= 8; ++seed) {
    UdpHost host;
    host.rng = Rng(seed);
    Recorder handler;
    const std::uint16_t port = host.bind(0, handler).local_port();
    starts.insert(port);
    UdpHost again;
    again.rng = Rng(seed);
    EXPECT_EQ(again.bind(0, handler).local_port(), port);
  }
  EXPECT_GT(starts.size(), 6u);
}

TEST(UdpBind, Port0TakesThisCoresShareOfThePorts) {
  for (std::uint16_t core = 0; core < 3; ++core) {
    IpHost host;
    Udp udp({.ephemeral_port_first = 50000, .ephemeral_port_last = 50008}, host.ip, host.heap.pool(), host.counters,
            host.rng, {.core = core, .cores = 3});
    Recorder handler;
    for (int i = 0; i < 3; ++i) EXPECT_EQ(udp.bind({}, handler)->local_port() % 3, core);
    EXPECT_FALSE(udp.bind({}, handler)) << "the others are other cores'";
  }
}

TEST(UdpSocketHandle, IsSafeAfterCloseAndWithoutASocket) {
  UdpHost host;
  Recorder handler;
  const UdpSocket old = host.bind(7, handler);
  UdpSocket copy = old;
  copy.close();
  copy.close();
  const UdpSocket reused = host.bind(9, handler);  // the slot's next tenant
  for (UdpSocket socket : {old, copy, UdpSocket()}) {
    EXPECT_FALSE(socket.is_open());
    EXPECT_EQ(socket.local_port(), 0);
    Bytes data = Bytes::copy_of(*std::make_unique<PacketPool>(host.heap.pool()), pattern(4));
    EXPECT_EQ(socket.send_to(peer, std::move(data)), SendStatus::closed);
    EXPECT_EQ(data.size(), 4u) << "not consumed";
    EXPECT_EQ(socket.send_to(peer, "text"), SendStatus::closed);
    socket.close();
  }
  EXPECT_TRUE(reused.is_open());
  EXPECT_FALSE(old == reused);
}

}  // namespace
}  // namespace pollux::test
