// Groups as sockets see them: joined or not, sources, own sends.
#include "ip_v6_host.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

const IpAddress v4_group = IpAddress::v4(239, 1, 2, 3);
const IpAddress v6_group = IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 0, 0x1234);

struct GroupHost : V6Host {
  GroupHost() : udp({}, ip, heap.pool(), counters, rng) {}
  UdpSocket bind(const UdpBindOptions& options, UdpHandler& handler) {
    auto socket = udp.bind(options, handler);
    EXPECT_TRUE(socket) << (socket ? "" : socket.error().text);
    return socket.value_or(UdpSocket());
  }
  /// From the peer to `group`; what the handler heard of it.
  std::string heard(Recorder& recorder, const IpAddress& group, std::uint16_t port, bool from_router = false) {
    recorder.got.clear();
    const Frame text = bytes_of("x");
    const Frame frame =
        group.is_v4() ? test::udp_frame(LinkIds{peer_mac, group_mac(group), from_router ? gateway_ip : peer_ip, group},
                                        4000, port, text)
                      : test::udp_frame(v6_ids(from_router ? router_v6 : peer_v6, group), 4000, port, text);
    if (input(frame)) udp.input(std::move(rx), now);
    udp.deliver();
    return recorder.got.empty() ? "" : recorder.got[0].data;
  }
  /// The turn's end: what was sent to joined groups comes back.
  void turn() {
    now = now + Duration::from_ms(1);
    ip.advance(now);
    udp.advance(now);
  }
  Udp udp;
};

class Multicast : public testing::TestWithParam<IpAddress> {
 protected:
  const IpAddress group = GetParam();
  const IpAddress peers = group.is_v4() ? peer_ip : peer_v6;
  const IpAddress routers = group.is_v4() ? gateway_ip : router_v6;
  const IpAddress own = group.is_v4() ? our_ip : our_v6;
  GroupHost host;
  Recorder handler, other;
};

TEST_P(Multicast, OnlyASocketThatJoinedHears) {
  UdpSocket socket = host.bind({.port = 5000}, handler);
  host.bind({.port = 5001}, other);
  EXPECT_EQ(host.heard(handler, group, 5000), "");
  EXPECT_EQ(host.drops(DropReason::ip_not_local), 1u);
  ASSERT_TRUE(socket.join(group));
  EXPECT_EQ(host.heard(handler, group, 5000), "x");
  EXPECT_EQ(handler.got[0].local, group);
  EXPECT_EQ(host.heard(other, group, 5001), "");
  EXPECT_EQ(host.drops(DropReason::udp_not_joined), 1u);
  EXPECT_EQ(host.counters[Counter::udp_in_errors], 0u) << "somebody else's datagram is no error";
  ASSERT_TRUE(socket.leave(group));
  EXPECT_EQ(host.heard(handler, group, 5000), "");
  EXPECT_FALSE(socket.leave(group)) << "twice";
}

TEST_P(Multicast, SourcesAreChosen) {
  UdpSocket socket = host.bind({.port = 5000}, handler);
  const IpAddress wanted[] = {peers};
  ASSERT_TRUE(socket.set_source_filter(group, GroupMode::include, wanted));
  EXPECT_EQ(host.heard(handler, group, 5000), "x");
  EXPECT_EQ(host.heard(handler, group, 5000, true), "");
  ASSERT_TRUE(socket.set_source_filter(group, GroupMode::exclude, wanted));
  EXPECT_EQ(host.heard(handler, group, 5000), "");
  EXPECT_EQ(host.heard(handler, group, 5000, true), "x");
  EXPECT_EQ(host.drops(DropReason::udp_not_joined), 2u);
  const std::vector<IpAddress> many(33, peers);
  EXPECT_TRUE(socket.set_source_filter(group, GroupMode::include, many)) << "one source, said often";
  const IpAddress not_one_host[] = {group};
  EXPECT_FALSE(socket.set_source_filter(group, GroupMode::include, not_one_host));
}

TEST_P(Multicast, ASocketOnTheGroupsAddressHearsThatGroupOnly) {
  const IpAddress second = group.is_v4() ? IpAddress::v4(239, 9, 9, 9) : IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 0, 0x9999);
  UdpSocket one = host.bind({.address = group, .port = 5000}, handler);
  UdpSocket two = host.bind({.address = second, .port = 5000}, other);
  ASSERT_TRUE(one.join(group));
  ASSERT_TRUE(two.join(second));
  EXPECT_EQ(host.heard(handler, group, 5000), "x");
  EXPECT_TRUE(other.got.empty());
  EXPECT_EQ(host.heard(other, second, 5000), "x");
  EXPECT_EQ(one.send_to({group, 5000}, "from us"), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(decode(sent[0].bytes).ids.source, own) << "a group is no source";
}

TEST_P(Multicast, CloseLeaves) {
  UdpSocket socket = host.bind({.port = 5000}, handler);
  ASSERT_TRUE(socket.join(group));
  socket.close();
  EXPECT_FALSE(host.ip.is_member(0, group));
  EXPECT_FALSE(socket.join(group));
  host.bind({.port = 5000}, handler);  // has the slot, but not the groups, of the other
  ASSERT_TRUE(host.bind({.port = 5002}, other).join(group));
  EXPECT_EQ(host.heard(handler, group, 5000), "");
}

TEST_P(Multicast, OwnSendsComeBackToWhoJoined) {
  UdpSocket socket = host.bind({.port = 5000}, handler);
  UdpSocket sender = host.bind({.port = 5001}, other);
  EXPECT_EQ(sender.send_to({group, 5000}, "nobody has joined"), SendStatus::ok);
  host.turn();
  EXPECT_TRUE(handler.got.empty());
  ASSERT_TRUE(socket.join(group));
  host.turn();
  (void)host.sent();
  EXPECT_TRUE(host.udp.next_deadline().is_never());
  EXPECT_EQ(sender.send_to({group, 5000}, pattern(1400)), SendStatus::ok);
  EXPECT_TRUE(handler.got.empty()) << "not inside the call";
  EXPECT_LE(host.udp.next_deadline(), host.now);
  host.turn();
  ASSERT_EQ(handler.got.size(), 1u);
  EXPECT_EQ(handler.got[0].data, text_of(pattern(1400)));
  EXPECT_EQ(handler.got[0].remote, (Endpoint{own, 5001}));
  EXPECT_EQ(handler.got[0].local, group);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u) << "and it goes out";
  EXPECT_EQ(decode(sent[0].bytes).problem, "");
  sender.set_options({.multicast_loop = false});
  EXPECT_EQ(sender.send_to({group, 5000}, "for others"), SendStatus::ok);
  host.turn();
  EXPECT_EQ(handler.got.size(), 1u);
  sender.set_options({.multicast_ttl = 0});
  (void)host.sent();
  EXPECT_EQ(sender.send_to({group, 5000}, "for us"), SendStatus::ok);
  host.turn();
  EXPECT_EQ(handler.got.size(), 2u);
  EXPECT_TRUE(host.sent().empty()) << "TTL 0 stays on the host";
}

TEST_P(Multicast, OwnSendsThatWaitAreLimited) {
  UdpSocket socket = host.bind({.port = 5000}, handler);
  ASSERT_TRUE(socket.join(group));
  host.turn();
  (void)host.sent();
  for (int i = 0; i < 40; ++i) EXPECT_EQ(socket.send_to({group, 5000}, "x"), SendStatus::ok);
  host.turn();
  EXPECT_EQ(handler.got.size(), 32u);
  EXPECT_EQ(host.drops(DropReason::udp_loopback_full), 8u);
  (void)host.sent();
  EXPECT_EQ(host.heap.in_use(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Families, Multicast, testing::Values(v4_group, v6_group),
                         [](const auto& row) { return row.param.is_v4() ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace pollux::test
