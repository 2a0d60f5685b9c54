// Exception ports: what is nobody's here reaches the kernel as it came, and the kernel's frames leave as they are.
#include "ip_v6_host.h"
#include "pollux/stack/stack.h"

namespace pollux::test {
namespace {

struct Listener final : TcpHandler {
  void on_data(TcpConn, Bytes) noexcept override {}
};
struct Socket final : UdpHandler {
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override { got += datagrams.size(); }
  std::size_t got = 0;
};
struct RawSink final : RawHandler {
  void on_packet(Raw&, RawPacket) noexcept override { ++got; }
  std::size_t got = 0;
};

Frame ports_and_rest(std::uint16_t destination_port, std::size_t size = 20) {
  Frame header(size, 0);
  store_be16(&header[0], 4000);
  store_be16(&header[2], destination_port);
  if (size >= 20) {
    header[12] = 0x50;
    header[13] = TcpFlags::syn;
  }
  return header;
}
Frame tcp_to(std::uint16_t port, const IpAddress& destination = our_ip) {
  return ipv4_frame({.destination = destination, .payload = ports_and_rest(port)});
}

/// Port 0 of a stack, its exception port 1, and VLAN 5 of port 0 as interface 2.
struct Beside : ::testing::Test {
  explicit Beside(bool primary = true) {
    stack = std::move(Stack::create({}, heap.pool(), now).value());
    InterfaceConfig port = v6_port();
    port.primary = primary;
    add(port);
    add({.name = "host", .mac = our_mac, .primary = primary, .port = 0, .exception = true});
    add({.name = "port0.5", .address = {IpAddress::v4(10, 5, 0, 1), 24}, .primary = primary, .vlan = 5, .port = 0});
    for (int i = 0; i < 30; ++i) stack->advance(now = now + Duration::from_ms(200));
    (void)sent(0);
  }
  void add(const InterfaceConfig& config) {
    const auto id = stack->add_interface(config, now);
    ASSERT_TRUE(id.has_value()) << id.error().text;
  }
  void input(InterfaceId id, const Frame& frame) {
    Packet packet = heap.pool().copy_of(frame);
    packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
    give(id, std::move(packet));
  }
  void give(InterfaceId id, Packet packet) {
    rte_mbuf* const m = packet.release();
    stack->input(id, {&m, 1}, now);
    stack->flush(now);
  }
  std::vector<Frame> sent(InterfaceId id) {
    std::vector<Frame> frames;
    TxBatch& tx = stack->tx(id);
    for (rte_mbuf* m : tx.pending()) {
      const Packet packet(m);
      EXPECT_EQ(m->ol_flags & ~(RTE_MBUF_F_INDIRECT | RTE_MBUF_F_EXTERNAL), 0u);
      Frame& bytes = frames.emplace_back(packet.size());
      packet.copy_out(0, bytes);
    }
    tx.consume(tx.size());
    return frames;
  }
  /// The kernel gets `frame` as it came, and nobody answers it here.
  void expect_kernels(const char* name, const Frame& frame) {
    SCOPED_TRACE(name);
    const Counters before = stack->counters();
    input(0, frame);
    EXPECT_EQ(count(Counter::rx_packets) - before[Counter::rx_packets], 1u);
    EXPECT_EQ(count(Counter::rx_bytes) - before[Counter::rx_bytes], frame.size());
    EXPECT_EQ(sent(1), std::vector<Frame>{frame});
    EXPECT_TRUE(sent(0).empty());
    EXPECT_EQ(stack->counters().drops(), before.drops());
  }
  /// Nothing of it reaches the kernel.
  void expect_ours(const char* name, const Frame& frame) {
    SCOPED_TRACE(name);
    input(0, frame);
    EXPECT_TRUE(sent(1).empty());
  }
  std::uint64_t count(Counter counter) const { return stack->counters()[counter]; }
  std::uint64_t drops(DropReason reason) const { return stack->counters()[reason]; }

  HeapPool heap;
  TimePoint now = TimePoint::from_ns(1'000'000'000'000);
  std::unique_ptr<Stack> stack;
};

TEST_F(Beside, PortsWithoutAnOwnerAreTheKernels) {
  expect_kernels("TCP", tcp_to(22));
  expect_kernels("UDP", ipv4_frame({.protocol = 17, .payload = ports_and_rest(53, 12)}));
  expect_kernels("TCP over IPv6", ipv6_frame(v6_ids(), 6, ports_and_rest(22)));
  EXPECT_EQ(count(Counter::exception_to_kernel), 3u);
  EXPECT_EQ(count(Counter::tcp_out_rsts), 0u);
}

TEST_F(Beside, PortsWithAnOwnerAreOurs) {
  Listener listener;
  Socket socket;
  ASSERT_TRUE(stack->tcp().listen({.port = 80}, listener));
  ASSERT_TRUE(stack->udp().bind({.port = 53}, socket));
  expect_ours("a listener's", tcp_to(80));
  expect_ours("a connection's", tcp_to(80));
  expect_ours("a socket's", udp_frame({peer_ip, 4000}, {our_ip, 53}, pattern(4)));
  EXPECT_EQ(socket.got, 1u);
  (void)sent(0);
  expect_kernels("another port", tcp_to(81));
  expect_kernels("another port", ipv4_frame({.protocol = 17, .payload = ports_and_rest(54, 12)}));
}

TEST_F(Beside, ProtocolsWithoutAHandlerAreTheKernels) {
  const Frame ospf = ipv4_frame({.protocol = 89, .payload = pattern(30)});
  expect_kernels("IPv4", ospf);
  expect_kernels("IPv6", ipv6_frame(v6_ids(), 89, pattern(30)));
  RawSink handler;
  ASSERT_TRUE(stack->raw().open(89, handler));
  expect_ours("with a handler", ospf);
  EXPECT_EQ(handler.got, 1u);
}

TEST_F(Beside, OtherAddressesAndTypesAreTheKernels) {
  expect_kernels("another address", tcp_to(80, IpAddress::v4(192, 0, 2, 9)));
  expect_kernels("a group that only the kernel is in",
                 ipv4_frame({.mac_destination = {{1, 0, 0x5e, 0, 0, 5}}, .destination = IpAddress::v4(224, 0, 0, 5), .protocol = 89}));
  expect_kernels("another IPv6 address", ipv6_frame(v6_ids(peer_v6, remote_v6), 6, ports_and_rest(22)));
  Frame lldp = tcp_to(1);
  store_be16(&lldp[12], 0x88cc);
  expect_kernels("another EtherType", lldp);
  Frame tagged = tcp_to(1);
  const std::uint8_t tag[] = {0x81, 0, 0, 99};
  tagged.insert(tagged.begin() + 12, tag, tag + 4);
  expect_kernels("an unknown VLAN", tagged);
}

TEST_F(Beside, WhatIsWrongIsStillDropped) {
  Frame bad = tcp_to(22);
  bad[24] ^= 1;
  expect_ours("a wrong IP checksum", bad);
  EXPECT_EQ(drops(DropReason::ip_bad_checksum), 1u);
  expect_ours("another station's", ipv4_frame({.mac_destination = other_mac}));
  EXPECT_EQ(drops(DropReason::eth_not_for_us), 1u);
  expect_ours("cut short", ipv4_frame({.payload = Frame(3, 0)}));
  EXPECT_EQ(stack->counters().drops(), 3u);
}

TEST_F(Beside, PingsOfTheKernelAreAnsweredToTheKernel) {
  expect_kernels("an echo reply", icmp_frame(Icmpv4Type::echo_reply, 0, 1, pattern(40)));
  expect_ours("an echo request", icmp_frame(Icmpv4Type::echo_request, 0, 1, pattern(40)));
  EXPECT_EQ(count(Counter::icmp_out_echo_reps), 1u);
}

TEST_F(Beside, ErrorsAboutWhatTheKernelSentAreTheKernels) {
  const Frame quoted = ipv4_frame({.source = our_ip, .destination = peer_ip, .payload = ports_and_rest(9)});
  expect_kernels("an ICMP error", icmp_frame(Icmpv4Type::destination_unreachable, 3, 0, Frame(quoted.begin() + 14, quoted.end())));
}

TEST_F(Beside, BothHearAnswersOfNeighbours) {
  const auto copied = [&](const char* name, const Frame& frame, bool expected) {
    SCOPED_TRACE(name);
    input(0, frame);
    EXPECT_EQ(sent(1), expected ? std::vector<Frame>{frame} : std::vector<Frame>{});
  };
  copied("an ARP request for us", arp_request(peer_mac, peer_ip, our_ip), false);
  EXPECT_EQ(sent(0).size(), 1u) << "answered once, here";
  copied("an ARP request for another", arp_request(peer_mac, peer_ip, IpAddress::v4(192, 0, 2, 9)), true);
  copied("an ARP reply", arp_reply(peer_mac, peer_ip), true);
  copied("a solicitation for us", solicitation(peer_v6, our_v6), false);
  copied("an advertisement", advertisement(peer_v6, nd_solicited, peer_mac), true);
  EXPECT_EQ(stack->counters().drops(), 0u);
}

TEST_F(Beside, FramesOfTheKernelLeaveAsTheyAre) {
  for (const Frame& frame : {tcp_to(1, peer_ip), arp_request(our_mac, our_ip, peer_ip), Frame(1514, 0xab)}) {
    input(1, frame);
    EXPECT_EQ(sent(0), std::vector<Frame>{frame});
  }
  EXPECT_EQ(count(Counter::exception_from_kernel), 3u);
  input(1, Frame(1515, 0xab));
  input(1, Frame(13, 0xab));
  EXPECT_TRUE(sent(0).empty());
  EXPECT_EQ(drops(DropReason::exception_too_big), 1u);
  EXPECT_EQ(drops(DropReason::eth_truncated), 1u);
}

TEST_F(Beside, PacketsOfAVlanKeepTheirTag) {
  const Frame plain = tcp_to(22, IpAddress::v4(10, 5, 0, 1));
  Frame tagged = plain;
  const std::uint8_t tag[] = {0x81, 0, 0, 5};
  tagged.insert(tagged.begin() + 12, tag, tag + 4);
  expect_kernels("in software", tagged);
  for (const std::uint16_t id : {5, 99}) {
    SCOPED_TRACE(id);
    Packet packet = heap.pool().copy_of(plain);
    packet.mbuf()->vlan_tci = id;
    packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED;
    give(0, std::move(packet));
    tagged[15] = static_cast<std::uint8_t>(id);
    EXPECT_EQ(sent(1), std::vector<Frame>{tagged});
  }
}

TEST_F(Beside, ADatagramThatWasPutTogetherGoesOnInFragments) {
  const Frame payload = ports_and_rest(53, 3000);
  for (std::size_t at = 0; at < payload.size(); at += 1480) {
    const std::size_t end = std::min<std::size_t>(at + 1480, payload.size());
    const auto field = static_cast<std::uint16_t>(at / 8 | (end == payload.size() ? 0 : 0x2000));
    input(0, ipv4_frame({.protocol = 17,
                         .payload = Frame(payload.begin() + static_cast<std::ptrdiff_t>(at),
                                          payload.begin() + static_cast<std::ptrdiff_t>(end)),
                         .spoil = [&](std::uint8_t* ip) { store_be16(ip + 6, field); }}));
  }
  Frame joined;
  const auto frames = sent(1);
  ASSERT_EQ(frames.size(), 3u);
  for (const Frame& frame : frames) {
    EXPECT_LE(frame.size(), 1514u);
    EXPECT_EQ(ethernet_of(frame).source(), peer_mac);
    const Frame piece = ip_payload_of(frame);
    joined.insert(joined.end(), piece.begin(), piece.end());
  }
  EXPECT_EQ(joined, payload);
}

TEST_F(Beside, ABufferThatOthersReadStaysAsItIs) {
  const Frame frame = tcp_to(22);
  Packet packet = heap.pool().copy_of(frame);
  const Packet reader = heap.pool().reference(*packet.mbuf(), 0, packet.size());
  give(0, std::move(packet));
  EXPECT_EQ(sent(1), std::vector<Frame>{frame});
}

struct AnotherCore : Beside {
  AnotherCore() : Beside(false) {}
};

TEST_F(AnotherCore, LeavesWhatEveryCoreSeesToThePrimary) {
  input(0, arp_reply(peer_mac, peer_ip));
  EXPECT_TRUE(sent(1).empty());
  input(1, arp_request(our_mac, our_ip, peer_ip));
  input(1, solicitation(our_v6, peer_v6));
  EXPECT_TRUE(sent(0).empty());
  expect_kernels("its own flows' packets it passes on", tcp_to(22));
}

TEST(ExceptionSetUp, MistakesAreRefused) {
  HeapPool heap;
  const TimePoint now = TimePoint::from_ns(1);
  auto stack = std::move(Stack::create({}, heap.pool(), now).value());
  ASSERT_TRUE(stack->add_interface(our_port(), now));
  const InterfaceConfig good = {.name = "host", .mac = our_mac, .port = 0, .exception = true};
  InterfaceConfig no_port = good, addressed = good;
  no_port.port = 1;
  addressed.address = {peer_ip, 25};
  EXPECT_FALSE(stack->add_interface(no_port, now));
  EXPECT_FALSE(stack->add_interface(addressed, now));
  ASSERT_TRUE(stack->add_interface(good, now));
  EXPECT_FALSE(stack->add_interface(good, now)) << "one a port";
  no_port.port = 1;
  EXPECT_FALSE(stack->add_interface(no_port, now)) << "of an exception port";
}

}  // namespace
}  // namespace pollux::test
