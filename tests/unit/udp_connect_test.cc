// Connected sockets, ranges of ports, options of a socket, what a datagram tells of itself.
#include <memory>

#include "ip_v6_host.h"
#include "pollux/wire/udp.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

const Endpoint other_peer{peer_ip, 4001};

UdpSocket bound(UdpHost& host, const UdpBindOptions& options, UdpHandler& handler) {
  auto socket = host.udp.bind(options, handler);
  EXPECT_TRUE(socket.has_value()) << (socket ? "" : socket.error().text);
  return socket.value_or(UdpSocket());
}

void hear(UdpHost& host, const Endpoint& from, std::uint16_t port, const std::string& text) {
  host.receive(from, port, bytes_of(text));
  host.udp.deliver();
}

std::string texts(const Recorder& r) {
  std::string all;
  for (const auto& got : r.got) all += got.data;
  return all;
}

TEST(UdpConnect, OnlyThePeerIsHeardAndOthersFindNoSocket) {
  UdpHost host;
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  ASSERT_TRUE(socket.connect(peer));
  EXPECT_EQ(socket.remote(), peer);
  hear(host, peer, 7, "a");
  hear(host, other_peer, 7, "b");
  hear(host, {gateway_ip, peer.port}, 7, "c");
  EXPECT_EQ(texts(handler), "a");
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 2u);
  EXPECT_EQ(host.counters[Counter::udp_no_ports], 2u);
  EXPECT_EQ(host.counters[Counter::udp_in_errors], 0u);
  ASSERT_TRUE(socket.disconnect());
  EXPECT_EQ(socket.remote(), Endpoint{});
  hear(host, other_peer, 7, "d");
  EXPECT_EQ(texts(handler), "ad");
}

TEST(UdpConnect, SendGoesToThePeerAndNeedsOne) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  EXPECT_EQ(socket.send("nobody"), SendStatus::no_route);
  ASSERT_TRUE(socket.connect(other_peer));
  EXPECT_EQ(socket.send("x"), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  const Frame datagram = ip_payload_of(sent[0].bytes);
  EXPECT_EQ(UdpView::parse(datagram, datagram.size())->destination_port(), other_peer.port);
}

TEST(UdpConnect, SocketsOfDifferentPeersShareAPortWithOneForTheRest) {
  UdpHost host;
  Recorder rest, one, two;
  host.bind(7, rest);
  UdpSocket first = bound(host, {.port = 7, .remote = peer}, one);
  bound(host, {.port = 7, .remote = other_peer}, two);
  const auto again = host.udp.bind({.port = 7, .remote = peer}, two);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::address_in_use);
  EXPECT_NE(again.error().text.find("192.0.2.2:4000"), std::string::npos) << again.error().text;
  hear(host, peer, 7, "1");
  hear(host, other_peer, 7, "2");
  hear(host, {peer_ip, 5}, 7, "r");
  EXPECT_EQ(texts(one), "1");
  EXPECT_EQ(texts(two), "2");
  EXPECT_EQ(texts(rest), "r");
  const auto back = first.disconnect();
  ASSERT_FALSE(back) << "the port has another socket";
  EXPECT_EQ(back.error().code, ErrorCode::address_in_use);
  first.close();
  hear(host, peer, 7, "p");
  EXPECT_EQ(texts(rest), "rp");
}

TEST(UdpConnect, AConnectedSocketOfEveryAddressHasTheRoutes) {
  UdpHost host;
  const IpAddress second = IpAddress::v4(203, 0, 113, 1);
  ASSERT_TRUE(host.ip.add_interface(
      {.name = "p1", .mac = other_mac, .address = {second, 24}, .mtu = 1500, .offloads = {}}, host.now));
  (void)host.sent(1);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  ASSERT_TRUE(socket.connect(peer));
  host.receive(udp_frame(peer, {second, 7}, bytes_of("to the other address")));
  hear(host, peer, 7, "x");
  EXPECT_EQ(texts(handler), "x");
}

TEST(UdpConnect, MistakesAreRefused) {
  UdpHost host;
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  const auto code = [&](const Endpoint& to) { return socket.connect(to).error().code; };
  EXPECT_EQ(code({remote_ip, 9}), ErrorCode::no_route);
  EXPECT_EQ(code({peer_ip, 0}), ErrorCode::invalid_argument);
  EXPECT_EQ(code({IpAddress(), 9}), ErrorCode::no_route);
  EXPECT_EQ(host.udp.bind({.address = our_ip, .port = 9, .remote = {peer_v6, 9}}, handler).error().code,
            ErrorCode::no_route);
  hear(host, other_peer, 7, "still open to all");
  EXPECT_EQ(handler.got.size(), 1u);
  socket.close();
  EXPECT_EQ(code(peer), ErrorCode::invalid_argument);
  EXPECT_EQ(UdpSocket().connect(peer).error().code, ErrorCode::invalid_argument);
}

TEST(UdpConnect, AnEphemeralPortIsNotOneThatAConnectedSocketHas) {
  UdpHost host({.ephemeral_port_first = 50000, .ephemeral_port_last = 50001});
  Recorder handler;
  bound(host, {.port = 50000, .remote = peer}, handler);
  EXPECT_EQ(host.bind(0, handler).local_port(), 50001);
  EXPECT_FALSE(host.udp.bind({}, handler));
}

TEST(UdpConnect, IcmpErrorsReachTheSocketOfTheirPeer) {
  UdpHost host;
  Recorder rest, one;
  host.bind(7, rest);
  bound(host, {.port = 7, .remote = peer}, one);
  const auto error = [&](std::uint16_t to) {
    return host.udp.icmp_error({.problem = IcmpProblem::port_unreachable,
                                .quoted = {.protocol = 17,
                                           .source = our_ip,
                                           .destination = peer_ip,
                                           .source_port = 7,
                                           .destination_port = to}});
  };
  EXPECT_EQ(error(peer.port), DropReason::none);
  EXPECT_EQ(one.errors, (std::vector<Recorder::Failed>{{peer, UdpError::port_unreachable}}));
  EXPECT_TRUE(rest.errors.empty());
  EXPECT_EQ(error(other_peer.port), DropReason::none);
  EXPECT_EQ(rest.errors.size(), 1u);
  EXPECT_EQ(one.errors.size(), 1u) << "not of its peer";
}

TEST(UdpConnect, ManySocketsOnOnePortAreFoundAndClosed) {
  UdpHost host;
  std::vector<std::unique_ptr<Recorder>> handlers;
  std::vector<UdpSocket> sockets;
  for (std::uint16_t i = 0; i < 1000; ++i) {
    handlers.push_back(std::make_unique<Recorder>());
    sockets.push_back(bound(host, {.port = 7, .remote = {peer_ip, static_cast<std::uint16_t>(1000 + i)}}, *handlers[i]));
  }
  for (std::size_t i = 0; i < 1000; i += 2) sockets[i].close();
  for (std::uint16_t i = 0; i < 1000; ++i) hear(host, {peer_ip, static_cast<std::uint16_t>(1000 + i)}, 7, "x");
  for (std::size_t i = 0; i < 1000; ++i) EXPECT_EQ(handlers[i]->got.size(), i % 2) << i;
}

// --- Ranges ----------------------------------------------------------------------------------------------

TEST(UdpRange, OneSocketHearsEveryPortOfItAndAnswersFromTheRightOne) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Echo echo;
  UdpSocket socket = bound(host, {.port = 10000, .port_last = 10009}, echo);
  EXPECT_EQ(socket.local_port(), 10000);
  for (std::uint16_t port = 9999; port <= 10010; ++port) host.receive(peer, port, bytes_of("x"));
  host.udp.deliver();
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 2u);
  std::vector<std::uint16_t> from;
  for (const SentFrame& frame : host.sent()) {
    if (ipv4_of(frame.bytes).protocol() != 17) continue;  // port unreachable
    const Frame datagram = ip_payload_of(frame.bytes);
    from.push_back(UdpView::parse(datagram, datagram.size())->source_port());
  }
  EXPECT_EQ(from, (std::vector<std::uint16_t>{10000, 10001, 10002, 10003, 10004, 10005, 10006, 10007, 10008, 10009}));
  EXPECT_EQ(socket.send_to(peer, "x", {{}, 10010}), SendStatus::no_route) << "not a port of the socket";
  socket.close();
  hear(host, peer, 10005, "x");
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 3u);
}

TEST(UdpRange, CollidesWithWhatLiesInIt) {
  UdpHost host({.ephemeral_port_first = 50000, .ephemeral_port_last = 50003});
  Recorder handler;
  const auto code = [&](const UdpBindOptions& options) {
    const auto socket = host.udp.bind(options, handler);
    return socket ? 99 : static_cast<int>(socket.error().code);
  };
  const int in_use = static_cast<int>(ErrorCode::address_in_use);
  const int invalid = static_cast<int>(ErrorCode::invalid_argument);
  host.bind(105, handler);
  EXPECT_EQ(code({.port = 100, .port_last = 110}), in_use);
  EXPECT_EQ(code({.port = 106, .port_last = 110}), 99);
  EXPECT_EQ(code({.port = 110}), in_use);
  EXPECT_EQ(code({.port = 110, .port_last = 120}), in_use);
  EXPECT_EQ(code({.port = 110, .remote = peer}), 99) << "a connected socket takes its peer out of the range";
  EXPECT_EQ(code({.port = 110, .port_last = 109}), invalid);
  EXPECT_EQ(code({.port = 0, .port_last = 109}), invalid);
  EXPECT_EQ(code({.port = 200, .port_last = 209, .remote = peer}), invalid);
  EXPECT_EQ(code({.port = 65530, .port_last = 65535}), 99);
  bound(host, {.port = 50000, .port_last = 50002}, handler);
  EXPECT_EQ(host.bind(0, handler).local_port(), 50003) << "the range's ports are not free";
  for (std::uint16_t i = 0; i < 13; ++i)
    bound(host, {.port = static_cast<std::uint16_t>(1000 + 2 * i), .port_last = static_cast<std::uint16_t>(1001 + 2 * i)},
          handler);
  EXPECT_EQ(code({.port = 2000, .port_last = 2001}), static_cast<int>(ErrorCode::limit_reached));
}

// --- Options ---------------------------------------------------------------------------------------------

TEST(UdpSocketOptions, TtlAndTosAreTheSockets) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Recorder handler;
  UdpSocket socket = host.bind(7, handler);
  const IpAddress group = IpAddress::v4(239, 1, 2, 3);
  EXPECT_EQ(socket.send_to(peer, "x"), SendStatus::ok);
  socket.set_options({.ttl = 9, .multicast_ttl = 5, .tos = 0xb8});
  EXPECT_EQ(socket.options().tos, 0xb8);
  EXPECT_EQ(socket.send_to(peer, "x"), SendStatus::ok);
  EXPECT_EQ(socket.send_to({group, 9}, "x"), SendStatus::ok);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 3u);
  EXPECT_EQ(ipv4_of(sent[0].bytes).ttl(), 64);
  EXPECT_EQ(ipv4_of(sent[0].bytes).tos(), 0);
  EXPECT_EQ(ipv4_of(sent[1].bytes).ttl(), 9);
  EXPECT_EQ(ipv4_of(sent[1].bytes).tos(), 0xb8);
  EXPECT_EQ(ipv4_of(sent[2].bytes).ttl(), 5);
}

TEST(UdpSocketOptions, NoChecksumOverIpv4WhereTheSocketSaysSo) {  // RFC 768
  for (const bool nic : {false, true}) {
    InterfaceConfig port = our_port();
    port.offloads.udp_checksum = nic;
    UdpHost host({}, port);
    host.make_reachable(peer_ip, peer_mac);
    Recorder handler;
    UdpSocket socket = bound(host, {.port = 7, .socket = {.send_checksum = false}}, handler);
    EXPECT_EQ(socket.send_to(peer, "x"), SendStatus::ok);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(load_be16(&ip_payload_of(sent[0].bytes)[6]), 0);
    EXPECT_EQ(sent[0].ol_flags & RTE_MBUF_F_TX_L4_MASK, 0u);
  }
}

struct V6UdpHost : V6Host {
  V6UdpHost() : udp({}, ip, heap.pool(), counters, rng) {}
  void receive(const Frame& frame) {
    if (input(frame)) udp.input(std::move(rx), now);
    udp.deliver();
  }
  Udp udp;
};

TEST(UdpSocketOptions, NoChecksumOverIpv6OnlyWhereBothAreSaid) {  // RFC 8200 8.1, RFC 6935 5
  V6UdpHost host;
  host.reach();
  Recorder handler;
  UdpSocket socket = *host.udp.bind({.port = 7, .socket = {.send_checksum = false}}, handler);
  Frame bare = test::udp_frame(v6_ids(), 4000, 7, bytes_of("x"));
  store_be16(&bare[14 + 40 + 6], 0);
  const auto checksum_sent = [&] {
    EXPECT_EQ(socket.send_to({peer_v6, 4000}, "y"), SendStatus::ok);
    return load_be16(&host.sent().at(0).bytes[14 + 40 + 6]);
  };
  EXPECT_NE(checksum_sent(), 0);
  host.receive(bare);
  EXPECT_TRUE(handler.got.empty());
  EXPECT_EQ(host.drops(DropReason::udp_no_checksum), 1u);
  EXPECT_EQ(host.counters[Counter::udp_in_errors], 1u);
  socket.set_options({.send_checksum = false, .zero_checksum6 = true});
  EXPECT_EQ(checksum_sent(), 0);
  host.receive(bare);
  EXPECT_EQ(handler.got.size(), 1u);
  Frame wrong = test::udp_frame(v6_ids(), 4000, 7, bytes_of("x"));
  wrong[14 + 40 + 8] ^= 1;
  host.receive(wrong);
  EXPECT_EQ(handler.got.size(), 1u) << "a checksum that is there must be right";
  EXPECT_EQ(host.counters[Counter::udp_in_csum_errors], 1u);
  store_be16(&bare[14 + 40 + 2], 8);
  host.receive(bare);
  EXPECT_EQ(host.drops(DropReason::udp_no_checksum), 2u) << "a port without a socket expects nothing";
}

TEST(UdpSocketOptions, ADatagramSaysWhereWhenAndHowItCame) {
  struct Last final : UdpHandler {
    void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
      seen = std::move(datagrams.back());
    }
    Datagram seen;
  };
  V6UdpHost host;
  Last last;
  ASSERT_TRUE(host.udp.bind({.port = 7}, last));
  host.receive(ipv6_frame(v6_ids(), proto_udp, [&] {
    const Frame whole = test::udp_frame(v6_ids(), 4000, 7, bytes_of("x"));
    return Frame(whole.begin() + 54, whole.end());
  }(), {.hop_limit = 33, .traffic_class = 0x2e}));
  EXPECT_EQ(last.seen.remote, (Endpoint{peer_v6, 4000}));
  EXPECT_EQ(last.seen.local, (Endpoint{our_v6, 7}));
  EXPECT_EQ(last.seen.interface, 0);
  EXPECT_EQ(last.seen.ttl, 33);
  EXPECT_EQ(last.seen.tos, 0x2e);
  EXPECT_EQ(last.seen.received, host.now);
  EXPECT_EQ(last.seen.segment_size, 0);
  last.seen = {};
}

// --- What an application keeps -----------------------------------------------------------------------------

struct Keeper final : UdpHandler {
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    for (Datagram& d : datagrams) kept.push_back(std::move(d.data));
  }
  std::vector<Bytes> kept;
};

TEST(UdpReceiveBuffer, WhatTheApplicationKeepsIsLimitedAndRoomComesBack) {
  UdpHost host;
  Keeper keeper;
  UdpSocket socket = bound(host, {.port = 7, .socket = {.receive_buffer = 100}}, keeper);
  for (int i = 0; i < 3; ++i) host.receive(peer, 7, pattern(40));
  EXPECT_EQ(host.drops(DropReason::udp_receive_buffer_full), 1u) << "what has gathered counts";
  host.udp.deliver();
  host.receive(peer, 7, pattern(20));
  host.udp.deliver();
  ASSERT_EQ(keeper.kept.size(), 3u) << "up to the last octet";
  host.receive(peer, 7, pattern(1));
  host.receive(peer, 7, {});
  host.udp.deliver();
  EXPECT_EQ(host.drops(DropReason::udp_receive_buffer_full), 2u) << "an empty datagram takes no room";
  EXPECT_EQ(host.counters[Counter::udp_rcvbuf_errors], 2u);
  EXPECT_EQ(host.counters[Counter::udp_in_errors], 2u);
  keeper.kept[0].remove_prefix(15);
  keeper.kept[1].truncate(30);
  host.receive(peer, 7, pattern(25));
  host.udp.deliver();
  EXPECT_EQ(keeper.kept.size(), 5u);
  socket.set_options({.receive_buffer = 0});
  for (int i = 0; i < 10; ++i) host.receive(peer, 7, pattern(1000));
  host.udp.deliver();
  EXPECT_EQ(host.drops(DropReason::udp_receive_buffer_full), 2u) << "no limit";
  socket.close();
  const UdpSocket next = host.bind(9, keeper);  // takes the slot; what is dropped now is not its own
  keeper.kept.clear();
  EXPECT_TRUE(next.is_open());
}

TEST(UdpReceiveBuffer, AnEchoKeepsNothing) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  Echo echo;
  bound(host, {.port = 7, .socket = {.receive_buffer = 100}}, echo);
  for (int i = 0; i < 50; ++i) {
    host.receive(peer, 7, pattern(100));
    host.udp.deliver();
  }
  EXPECT_EQ(host.drops(DropReason::udp_receive_buffer_full), 0u);
  EXPECT_EQ(host.sent().size(), 50u);
}

}  // namespace
}  // namespace pollux::test
