// Groups as sockets see them: joined or not, sources, own sends.
#include <memory>

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

// --- Several sockets on one port ---------------------------------------------------------------------------

TEST_P(Multicast, EachOfTheSocketsThatShareAPortHearsWhatItJoined) {
  Recorder third;
  UdpSocket one = host.bind({.port = 5000, .share = true}, handler);
  UdpSocket two = host.bind({.address = group, .port = 5000, .share = true}, other);
  UdpSocket three = host.bind({.port = 5000, .share = true}, third);
  ASSERT_TRUE(one.join(group));
  EXPECT_EQ(host.heard(handler, group, 5000), "x");
  EXPECT_TRUE(other.got.empty());
  ASSERT_TRUE(two.join(group));
  const IpAddress wanted[] = {routers};
  ASSERT_TRUE(three.set_source_filter(group, GroupMode::include, wanted));
  EXPECT_EQ(host.heard(handler, group, 5000), "x");
  EXPECT_EQ(other.got.size(), 1u);
  EXPECT_TRUE(third.got.empty()) << "another source";
  EXPECT_EQ(host.heard(handler, group, 5000, true), "x");
  EXPECT_EQ(other.got.size(), 2u);
  ASSERT_EQ(third.got.size(), 1u);
  EXPECT_EQ(third.got[0].data, "x");
  EXPECT_EQ(third.got[0].remote, (Endpoint{routers, 4000}));
  EXPECT_EQ(third.got[0].local, group);
  one.close();
  two.close();
  EXPECT_EQ(host.heard(third, group, 5000, true), "x");
  EXPECT_EQ(host.heard(third, group, 5000), "");
  EXPECT_EQ(host.drops(DropReason::udp_not_joined), 1u);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Multicast, SharingHasToBeSaidByBothAndIsBounded) {
  UdpSocket alone = host.bind({.port = 5000}, handler);
  EXPECT_EQ(host.udp.bind({.port = 5000, .share = true}, other).error().code, ErrorCode::address_in_use);
  alone.close();
  (void)host.bind({.port = 5000, .share = true}, handler);
  EXPECT_EQ(host.udp.bind({.port = 5000}, other).error().code, ErrorCode::address_in_use);
  EXPECT_EQ(host.udp.bind({.address = group, .port = 5000}, other).error().code, ErrorCode::address_in_use);
  EXPECT_EQ(host.udp.bind({.port = 4999, .port_last = 5001}, other).error().code, ErrorCode::address_in_use);
  for (std::size_t i = 1; i < Udp::shared_max; ++i) (void)host.bind({.port = 5000, .share = true}, handler);
  EXPECT_EQ(host.udp.bind({.port = 5000, .share = true}, other).error().code, ErrorCode::limit_reached);
}

TEST_P(Multicast, WhatComesToOneHostReachesOneOfThoseThatShare) {
  (void)host.bind({.port = 5000, .share = true}, handler);
  UdpSocket exact = host.bind({.address = own, .port = 5000, .share = true}, other);
  const auto send = [&] {
    const Frame frame = test::udp_frame(LinkIds{peer_mac, our_mac, peers, own}, 4000, 5000, bytes_of("x"));
    if (host.input(frame)) host.udp.input(std::move(host.rx), host.now);
    host.udp.deliver();
  };
  send();
  EXPECT_EQ(other.got.size(), 1u) << "who named the address comes first";
  EXPECT_TRUE(handler.got.empty());
  exact.close();
  send();
  EXPECT_EQ(handler.got.size(), 1u);
}

TEST_P(Multicast, ReceiveBuffersOfThoseThatShareAreTheirOwn) {
  UdpSocket one = host.bind({.port = 5000, .share = true, .socket = {.receive_buffer = 1}}, handler);
  UdpSocket two = host.bind({.port = 5000, .share = true}, other);
  ASSERT_TRUE(one.join(group));
  ASSERT_TRUE(two.join(group));
  const Frame frame = group.is_v4()
                          ? test::udp_frame(LinkIds{peer_mac, group_mac(group), peers, group}, 4000, 5000, bytes_of("two"))
                          : test::udp_frame(v6_ids(peers, group), 4000, 5000, bytes_of("two"));
  if (host.input(frame)) host.udp.input(std::move(host.rx), host.now);
  host.udp.deliver();
  EXPECT_TRUE(handler.got.empty());
  EXPECT_EQ(host.drops(DropReason::udp_receive_buffer_full), 1u);
  ASSERT_EQ(other.got.size(), 1u);
  EXPECT_EQ(other.got[0].data, "two");
}

/// Answers to the group while it is heard.
struct Chatty final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    for (const Datagram& d : datagrams) {
      heard.push_back(d.data.to_string());
      if (answers-- > 0) (void)socket.send_to({group, 5000}, "answer");
    }
  }
  IpAddress group;
  int answers = 0;
  std::vector<std::string> heard;
};

TEST_P(Multicast, OwnSendsToManyThatShareArriveWholeWhileTheyAnswer) {
  Chatty chatty[4];
  std::vector<UdpSocket> sockets;
  for (Chatty& c : chatty) {
    c.group = group;
    c.answers = 10;
    sockets.push_back(host.bind({.port = 5000, .share = true}, c));
    ASSERT_TRUE(sockets.back().join(group));
  }
  for (std::size_t i = 0; i < Udp::looped_max; ++i)  // with four receivers more than one delivery holds
    EXPECT_EQ(sockets[0].send_to({group, 5000}, "question " + std::to_string(i)), SendStatus::ok);
  host.turn();
  (void)host.sent();
  for (const Chatty& c : chatty) {
    ASSERT_EQ(c.heard.size(), Udp::looped_max);
    for (std::size_t i = 0; i < Udp::looped_max; ++i) EXPECT_EQ(c.heard[i], "question " + std::to_string(i));
  }
  for (Chatty& c : chatty) c.answers = 0;
  host.turn();
  for (const Chatty& c : chatty) EXPECT_EQ(c.heard.back(), "answer");
}

TEST(Broadcast, ReachesEachOfTheSocketsThatShareAPort) {
  UdpHost host;
  Recorder one, two;
  (void)host.udp.bind({.port = 67, .share = true}, one);
  (void)host.udp.bind({.port = 67, .share = true}, two);
  host.receive(ipv4_frame({.mac_destination = MacAddress::broadcast(),
                           .destination = subnet_broadcast,
                           .protocol = 17,
                           .payload = udp_datagram(peer, {subnet_broadcast, 67}, bytes_of("all"))}));
  host.udp.deliver();
  EXPECT_EQ(one.got.size(), 1u);
  EXPECT_EQ(two.got.size(), 1u);
}

// --- Several cores -----------------------------------------------------------------------------------------

/// One of three cores that share a port: what it gives the others waits until the test's turn().
struct Core final : FrameSteering {
  struct Given {
    std::uint16_t to;
    Packet frame;
  };
  explicit Core(std::uint16_t core) : core_(core) {
    InterfaceConfig port = v6_port();
    port.primary = core == 0;
    port.v6_addresses = {{our_v6, 64}};
    port.offloads.udp_checksum = true;  // so what a core sends has none yet when another hears it
    host = std::make_unique<V6Host>(IpOptions{.dad_solicitations = 0}, port);
    udp = std::make_unique<Udp>(UdpOptions{}, host->ip, host->heap.pool(), host->counters, host->rng);
    host->ip.set_steering(this, core, 3);
  }
  Verdict steer(InterfaceId, Packet&) noexcept override { return Verdict::ours; }
  bool give(std::uint16_t to, InterfaceId id, Packet& frame) noexcept override {
    EXPECT_EQ(id, 0);
    EXPECT_NE(to, core_);
    if (is_full) return false;
    given.push_back({to, std::move(frame)});
    return true;
  }
  void receive(Packet frame) {
    if (host->input(std::move(frame))) udp->input(std::move(host->rx), host->now);
    udp->deliver();
  }
  void advance(Duration time) {
    host->now = host->now + time;
    host->ip.advance(host->now);
    udp->advance(host->now);
  }
  UdpSocket bind(UdpHandler& handler) { return udp->bind({.port = 5000}, handler).value(); }

  std::uint16_t core_;
  bool is_full = false;
  std::vector<Given> given;
  std::unique_ptr<V6Host> host;
  std::unique_ptr<Udp> udp;
};

class CoreGroups : public testing::TestWithParam<IpAddress> {
 protected:
  CoreGroups() { third.advance(Duration{}), second.advance(Duration{}), first.advance(Duration::from_s(5)), (void)sent(); }
  ~CoreGroups() override {
    for (Core* core : cores) core->given.clear();
  }
  /// A moment later, with what the cores had for each other.
  void turn() {
    for (Core* core : {&third, &second, &first}) {
      core->advance(Duration::from_ms(20));
      for (auto& [to, frame] : std::exchange(core->given, {})) cores.at(to)->receive(std::move(frame));
    }
  }
  std::size_t drops() const {
    std::size_t sum = 0;
    for (const Core* core : cores) sum += core->host->counters.drops();
    return sum;
  }
  std::size_t sent() { return first.host->sent().size(); }
  Frame datagram(bool from_router = false) const {
    const IpAddress source = group.is_v4() ? (from_router ? gateway_ip : peer_ip) : (from_router ? router_v6 : peer_v6);
    return test::udp_frame(LinkIds{peer_mac, group_mac(group), source, group}, 4000, 5000, pattern(300));
  }
  void arrives(bool from_router = false) {
    first.receive(first.host->packet_of(datagram(from_router)));
    turn();
  }

  const IpAddress group = GetParam();
  Core first{0}, second{1}, third{2};
  const std::array<Core*, 3> cores{&first, &second, &third};
  Recorder here, there, far;
};

TEST_P(CoreGroups, TheFirstCoreReportsWhatAnotherJoinsAndHandsItACopy) {
  UdpSocket socket = second.bind(there);
  ASSERT_TRUE(socket.join(group));
  turn();
  EXPECT_EQ(sent(), 1u) << "one report";
  EXPECT_TRUE(second.host->sent().empty());
  EXPECT_TRUE(first.host->ip.is_member(0, group));
  arrives();
  ASSERT_EQ(there.got.size(), 1u);
  EXPECT_EQ(there.got[0].data, text_of(pattern(300)));
  EXPECT_EQ(there.got[0].local, group);
  EXPECT_EQ(first.host->counters.drops(), 0u) << "that nobody listens on the first core is no loss";
  // Both.
  UdpSocket on_first = first.bind(here);
  ASSERT_TRUE(on_first.join(group));
  arrives();
  EXPECT_EQ(here.got.size(), 1u);
  EXPECT_EQ(there.got.size(), 2u);
  // One leaves, then the other.
  ASSERT_TRUE(on_first.leave(group));
  arrives();
  EXPECT_EQ(there.got.size(), 3u);
  socket.close();
  turn();
  EXPECT_FALSE(first.host->ip.is_member(0, group));
  EXPECT_FALSE(first.host->ip.has_remote_members());
  arrives();
  EXPECT_EQ(there.got.size(), 3u);
  EXPECT_EQ(here.got.size(), 1u);
}

TEST_P(CoreGroups, SourcesAreSelectedForEachCore) {
  UdpSocket socket = second.bind(there);
  const IpAddress wanted[] = {group.is_v4() ? peer_ip : peer_v6};
  ASSERT_TRUE(socket.set_source_filter(group, GroupMode::include, wanted));
  turn();
  arrives(true);
  EXPECT_TRUE(there.got.empty());
  EXPECT_EQ(second.host->drops(DropReason::udp_not_joined), 0u) << "the first core knows, and sends no copy";
  arrives();
  EXPECT_EQ(there.got.size(), 1u);
  ASSERT_TRUE(socket.set_source_filter(group, GroupMode::exclude, wanted));
  turn();
  arrives(true);
  EXPECT_EQ(there.got.size(), 2u);
}

TEST_P(CoreGroups, WhatDoesNotFitTheWayIsToldLaterAndCountedWhenItIsADatagram) {
  UdpSocket socket = second.bind(there);
  second.is_full = true;
  ASSERT_TRUE(socket.join(group));
  turn();
  EXPECT_FALSE(first.host->ip.is_member(0, group));
  second.is_full = false;
  turn();
  EXPECT_TRUE(first.host->ip.is_member(0, group));
  first.is_full = true;
  arrives();
  EXPECT_EQ(first.host->drops(DropReason::handover_full), 1u);
  EXPECT_TRUE(there.got.empty());
}

TEST_P(CoreGroups, OwnSendsReachTheMembersOfEveryCoreOnce) {
  UdpSocket on_first = first.bind(here), on_second = second.bind(there), on_third = third.bind(far);
  const auto heard = [&] { return std::array{here.got.size(), there.got.size(), far.got.size()}; };
  using Heard = std::array<std::size_t, 3>;
  ASSERT_TRUE(on_second.join(group));
  turn(), turn();
  EXPECT_EQ(on_first.send_to({group, 5000}, pattern(3000)), SendStatus::ok);
  turn(), turn();
  EXPECT_EQ(heard(), (Heard{0, 1, 0}));
  ASSERT_EQ(there.got.size(), 1u);
  EXPECT_EQ(there.got[0].data, text_of(pattern(3000))) << "whole, though it leaves the port in fragments";
  EXPECT_EQ(there.got[0].remote, (Endpoint{group.is_v4() ? our_ip : our_v6, 5000}));
  EXPECT_EQ(there.got[0].local, group);
  EXPECT_EQ(on_second.send_to({group, 5000}, "x"), SendStatus::ok);
  EXPECT_TRUE(second.given.empty()) << "nobody else listens, and it knows";
  turn(), turn();
  EXPECT_EQ(heard(), (Heard{0, 2, 0}));
  ASSERT_TRUE(on_first.join(group));
  ASSERT_TRUE(on_third.join(group));
  turn(), turn();
  for (std::size_t i = 1; i <= 3; ++i) {
    UdpSocket sender = i == 1 ? on_first : i == 2 ? on_second : on_third;
    EXPECT_EQ(sender.send_to({group, 5000}, "y"), SendStatus::ok);
    turn(), turn();
    EXPECT_EQ(heard(), (Heard{i, 2 + i, i})) << "sent by " << i;
  }
  on_third.set_options({.multicast_loop = false});
  EXPECT_EQ(on_third.send_to({group, 5000}, "for others"), SendStatus::ok);
  EXPECT_TRUE(third.given.empty());
  const IpAddress us[] = {group.is_v4() ? our_ip : our_v6};
  ASSERT_TRUE(on_second.set_source_filter(group, GroupMode::exclude, us));
  turn(), turn();
  EXPECT_EQ(on_first.send_to({group, 5000}, "z"), SendStatus::ok);
  turn(), turn();
  EXPECT_EQ(heard(), (Heard{4, 5, 4})) << "sources are selected of own sends too";
  ASSERT_TRUE(on_third.leave(group));
  on_third.set_options({});
  turn(), turn();
  EXPECT_EQ(on_third.send_to({group, 5000}, "from outside"), SendStatus::ok);
  turn(), turn();
  EXPECT_EQ(heard(), (Heard{5, 5, 4}));
  EXPECT_EQ(drops(), 0u) << "that a sender has not joined is no loss";
}

TEST_P(CoreGroups, OwnSendsThatFindNoWayAreCountedAndTheOtherCoresAreToldAgain) {
  UdpSocket on_first = first.bind(here), on_second = second.bind(there);
  first.is_full = true;
  ASSERT_TRUE(on_first.join(group));
  turn(), turn();
  EXPECT_EQ(on_second.send_to({group, 5000}, "x"), SendStatus::ok);
  EXPECT_TRUE(second.given.empty()) << "it has not been told yet";
  EXPECT_FALSE(first.host->ip.next_deadline().is_never());
  first.is_full = false;
  turn(), turn();
  const IpAddress unwanted[] = {group.is_v4() ? peer_ip : peer_v6};
  ASSERT_TRUE(on_first.set_source_filter(group, GroupMode::exclude, unwanted));
  first.advance(Duration::from_ms(20));
  EXPECT_TRUE(first.given.empty()) << "they know that";
  second.is_full = true;
  EXPECT_EQ(on_second.send_to({group, 5000}, "x"), SendStatus::ok);
  EXPECT_EQ(second.host->drops(DropReason::handover_full), 1u);
  second.is_full = false;
  EXPECT_EQ(on_second.send_to({group, 5000}, "x"), SendStatus::ok);
  turn();
  EXPECT_EQ(here.got.size(), 1u);
  on_first.close();
  turn(), turn();
  EXPECT_EQ(on_second.send_to({group, 5000}, "x"), SendStatus::ok);
  EXPECT_TRUE(second.given.empty()) << "it was told that nobody listens any more";
}

TEST_P(CoreGroups, OurAddressIsNoSourceOfFramesFromTheWire) {
  UdpSocket on_first = first.bind(here);
  ASSERT_TRUE(on_first.join(group));
  const IpAddress us = group.is_v4() ? our_ip : our_v6;
  first.host->ip.set_steering(&first, 0, 1000);  // however many cores there are
  first.receive(first.host->packet_of(test::udp_frame(LinkIds{peer_mac, group_mac(group), us, group}, 4000, 5000, pattern(9))));
  EXPECT_TRUE(here.got.empty());
  EXPECT_EQ(first.host->drops(DropReason::ip_bad_source), 1u);
}

TEST_P(CoreGroups, NobodyOnTheWireCanSpeakForACore) {
  UdpSocket socket = second.bind(there);
  ASSERT_TRUE(socket.join(group));
  second.advance(Duration::from_ms(20));
  ASSERT_EQ(second.given.size(), 1u);
  Frame message(second.given[0].frame.size());
  second.given[0].frame.copy_out(0, message);
  first.receive(first.host->packet_of(message));
  EXPECT_EQ(first.host->drops(DropReason::eth_unknown_type), 1u);
  EXPECT_FALSE(first.host->ip.is_member(0, group));
}

TEST_P(CoreGroups, WhatTheFirstCoreHasNoRoomForIsCounted) {
  for (std::uint16_t i = 0; i < GroupTable::groups_max; ++i) {
    const IpAddress other = group.is_v4() ? IpAddress::v4(239, 9, 9, static_cast<std::uint8_t>(i))
                                          : IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 9, i);
    ASSERT_TRUE(first.host->ip.set_membership({1, 1}, 0, other, {GroupMode::exclude, {}}));
  }
  UdpSocket socket = second.bind(there);
  ASSERT_TRUE(socket.join(group));
  turn();
  EXPECT_EQ(first.host->counters[Counter::groups_refused], 1u);
}

INSTANTIATE_TEST_SUITE_P(Families, CoreGroups, testing::Values(v4_group, v6_group),
                         [](const auto& row) { return row.param.is_v4() ? "V4" : "V6"; });

INSTANTIATE_TEST_SUITE_P(Families, Multicast, testing::Values(v4_group, v6_group),
                         [](const auto& row) { return row.param.is_v4() ? "IPv4" : "IPv6"; });

}  // namespace
}  // namespace pollux::test
