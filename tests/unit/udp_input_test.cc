// Datagrams on their way in: checks, demultiplexing, batches, errors.
#include "udp_host.h"

namespace pollux::test {
namespace {

TEST(UdpInput, TheHandlerSeesTheDatagram) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  host.receive(ipv4_frame({.protocol = 17,
                           .ttl = 9,
                           .tos = 0x88,
                           .payload = udp_datagram(peer, {our_ip, 7}, bytes_of("hello"))}));
  EXPECT_TRUE(handler.got.empty()) << "gathers until the burst ends";
  host.udp.deliver();
  ASSERT_EQ(handler.got.size(), 1u);
  EXPECT_EQ(handler.got[0], (Recorder::Got{peer, our_ip, 9, 0x88, "hello"}));
  EXPECT_EQ(host.counters[Counter::udp_in_datagrams], 1u);
  EXPECT_EQ(host.counters.drops(), 0u);
  host.udp.deliver();
  EXPECT_EQ(handler.calls.size(), 1u);
}

TEST(UdpInput, AnEmptyDatagramIsADatagram) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  host.receive(peer, 7, {});
  EXPECT_EQ(host.heap.in_use(), 0u) << "holds no buffer for nothing";
  host.udp.deliver();
  ASSERT_EQ(handler.got.size(), 1u);
  EXPECT_EQ(handler.got[0].data, "");
}

struct Case {
  const char* name;
  std::function<void(Frame& datagram)> spoil;
  DropReason reason;      // none: delivered
  std::string delivered;  // what the handler gets
};

TEST(UdpInput, DatagramsAreDeliveredOrDroppedForTheirReason) {
  const Case cases[] = {
      {"right", [](Frame&) {}, DropReason::none, "payload!"},
      {"no checksum (RFC 768)", [](Frame& d) { store_be16(&d[6], 0); }, DropReason::none, "payload!"},
      {"a wrong octet", [](Frame& d) { d[9] ^= 1; }, DropReason::udp_bad_checksum, ""},
      {"a wrong checksum", [](Frame& d) { d[7] ^= 1; }, DropReason::udp_bad_checksum, ""},
      {"7 octets", [](Frame& d) { d.resize(7); }, DropReason::udp_truncated, ""},
      {"length 7", [](Frame& d) { store_be16(&d[4], 7); }, DropReason::udp_truncated, ""},
      {"length beyond the packet", [](Frame& d) { store_be16(&d[4], 17); }, DropReason::udp_truncated, ""},
      {"padding behind the length", [](Frame& d) { d.resize(d.size() + 5, 0xee); }, DropReason::none,
       "payload!"},
      {"another port",
       [](Frame& d) {
         store_be16(&d[2], 8);
         store_be16(&d[6], 0);
       },
       DropReason::udp_no_socket, ""},
      {"port 0",
       [](Frame& d) {
         store_be16(&d[2], 0);
         store_be16(&d[6], 0);
       },
       DropReason::udp_no_socket, ""},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    UdpHost host;
    Recorder handler;
    host.bind(7, handler);
    Frame datagram = udp_datagram(peer, {our_ip, 7}, bytes_of("payload!"));
    c.spoil(datagram);
    host.receive(ipv4_frame({.protocol = 17, .payload = datagram}));
    host.udp.deliver();
    EXPECT_EQ(host.counters.drops(), c.reason == DropReason::none ? 0u : 1u);
    if (c.reason == DropReason::none) {
      ASSERT_EQ(handler.got.size(), 1u);
      EXPECT_EQ(handler.got[0].data, c.delivered);
    } else {
      EXPECT_EQ(host.drops(c.reason), 1u);
      EXPECT_TRUE(handler.got.empty());
    }
  }
}

TEST(UdpInput, TheNicsWordSparesTheChecksum) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  Frame frame = udp_frame(peer, {our_ip, 7}, bytes_of("x"));
  frame[40] ^= 1;
  Packet packet = host.packet_of(frame);
  packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  host.receive(std::move(packet));
  host.udp.deliver();
  EXPECT_EQ(handler.got.size(), 1u);
}

TEST(UdpInput, AChainedDatagramArrivesWhole) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  const Frame frame = udp_frame(peer, {our_ip, 7}, pattern(1400));
  for (const std::vector<std::size_t>& sizes :
       std::vector<std::vector<std::size_t>>{{42}, {41, 3}, {300, 301}, {1441}}) {
    ASSERT_TRUE(host.input_split(frame, sizes));
    host.udp.input(std::move(host.rx), host.now);
  }
  host.udp.deliver();
  ASSERT_EQ(handler.got.size(), 4u);
  for (const auto& got : handler.got) EXPECT_EQ(got.data, text_of(pattern(1400)));
}

TEST(UdpInput, AClosedPortIsAnsweredPortUnreachableUnlessToAGroup) {
  UdpHost host;
  host.make_reachable(peer_ip, peer_mac);
  const Frame frame = udp_frame(peer, {our_ip, 9}, pattern(40));
  host.receive(frame);
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 1u);
  const Frame message = ip_payload_of(sent[0].bytes);
  EXPECT_EQ(message[0], 3);
  EXPECT_EQ(message[1], 3);
  EXPECT_EQ(Frame(message.begin() + 8, message.end()), Frame(frame.begin() + 14, frame.end()))
      << "quotes it whole";
  host.receive(udp_frame(peer, {subnet_broadcast, 9}, pattern(40)));
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.counters[Counter::udp_no_ports], 2u);
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 2u);
}

TEST(UdpInput, ASocketOfOneAddressHearsOnlyThat) {
  UdpHost host;
  Recorder one, any;
  host.bind(7, one, our_ip);
  host.bind(8, any);
  for (const std::uint16_t port : {std::uint16_t{7}, std::uint16_t{8}}) {
    host.receive(udp_frame(peer, {our_ip, port}, bytes_of("u")));
    host.receive(udp_frame(peer, {subnet_broadcast, port}, bytes_of("b")));
  }
  host.udp.deliver();
  ASSERT_EQ(one.got.size(), 1u);
  EXPECT_EQ(one.got[0].data, "u");
  ASSERT_EQ(any.got.size(), 2u);
  EXPECT_EQ(any.got[1].local, subnet_broadcast);
}

TEST(UdpInput, ABurstIsOneCallPerSocketInOrderOfArrival) {
  UdpHost host;
  Recorder a, b, c;
  host.bind(1, a);
  host.bind(2, b);
  host.bind(3, c);
  const std::uint16_t order[] = {2, 1, 2, 3, 1, 2, 1, 3};
  char text = 'a';
  for (const std::uint16_t port : order) host.receive(peer, port, bytes_of(std::string(1, text++)));
  host.udp.deliver();
  const auto joined = [](const Recorder& r) {
    std::string all;
    for (const auto& got : r.got) all += got.data;
    return all;
  };
  EXPECT_EQ(joined(a), "beg");
  EXPECT_EQ(joined(b), "acf");
  EXPECT_EQ(joined(c), "dh");
  for (const Recorder* r : {&a, &b, &c}) EXPECT_EQ(r->calls.size(), 1u);
  EXPECT_EQ(host.counters[Counter::udp_in_datagrams], 8u);
}

TEST(UdpInput, AFullGroupIsDeliveredAtOnce) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  for (int i = 0; i < 150; ++i) host.receive(peer, 7, bytes_of(std::to_string(i)));
  EXPECT_EQ(handler.calls, (std::vector<std::size_t>{64, 64}));
  host.udp.deliver();
  EXPECT_EQ(handler.calls, (std::vector<std::size_t>{64, 64, 22}));
  for (std::size_t i = 0; i < 150; ++i) EXPECT_EQ(handler.got[i].data, std::to_string(i));
}

TEST(UdpInput, WhatHasGatheredIsFreedWithTheStack) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  host.receive(peer, 7, pattern(9));
  // ~HeapPool aborts when an mbuf is still in use.
}

// --- Reentrancy ------------------------------------------------------------------------------------------

struct Scripted final : UdpHandler {
  void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
    count += datagrams.size();
    if (act) act(socket);
  }
  std::function<void(UdpSocket)> act;
  std::size_t count = 0;
};

TEST(UdpInput, AHandlerMayCloseItselfAndOthersAndBindNewOnes) {
  UdpHost host;
  Scripted a, b, c;
  UdpSocket socket_b;
  a.act = [&](UdpSocket self) {
    self.close();
    socket_b.close();
    host.bind(2, c);  // takes the port, and perhaps the slot, of a socket that has datagrams waiting
    host.bind(4, c);
  };
  host.bind(1, a);
  socket_b = host.bind(2, b);
  host.receive(peer, 1, pattern(1));
  host.receive(peer, 2, pattern(1));
  host.receive(peer, 1, pattern(1));
  host.receive(peer, 2, pattern(1));
  host.udp.deliver();
  EXPECT_EQ(a.count, 2u);
  EXPECT_EQ(b.count, 0u);
  EXPECT_EQ(c.count, 0u) << "another socket's datagrams";
  EXPECT_EQ(host.drops(DropReason::udp_no_socket), 2u);
  EXPECT_EQ(host.heap.in_use(), 0u);
  host.receive(peer, 2, pattern(1));
  host.udp.deliver();
  EXPECT_EQ(c.count, 1u);
}

TEST(UdpInput, AHandlerMayKeepTheBytes) {
  struct Keeper final : UdpHandler {
    void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
      for (Datagram& d : datagrams) kept.push_back(std::move(d.data));
    }
    std::vector<Bytes> kept;
  };
  UdpHost host;
  Keeper handler;
  host.bind(7, handler);
  for (std::size_t i = 0; i < 5; ++i) host.receive(peer, 7, pattern(i + 1));
  host.udp.deliver();
  ASSERT_EQ(handler.kept.size(), 5u);
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(handler.kept[i].to_string(), text_of(pattern(i + 1)));
  EXPECT_EQ(host.heap.in_use(), 5u);
  handler.kept.clear();
  EXPECT_EQ(host.heap.in_use(), 0u);
}

// --- ICMP errors -----------------------------------------------------------------------------------------

TEST(UdpError, ReachesTheSocketThatSentTheQuotedDatagram) {
  struct ErrorCase {
    Icmpv4Type type;
    std::uint8_t code;
    UdpError error;
  };
  const auto unreachable = Icmpv4Type::destination_unreachable;
  const ErrorCase cases[] = {
      {unreachable, 0, UdpError::network_unreachable},  {unreachable, 1, UdpError::host_unreachable},
      {unreachable, 2, UdpError::protocol_unreachable}, {unreachable, 3, UdpError::port_unreachable},
      {unreachable, 4, UdpError::message_too_large},    {unreachable, 5, UdpError::host_unreachable},
      {unreachable, 11, UdpError::network_unreachable}, {unreachable, 13, UdpError::other},
      {Icmpv4Type::time_exceeded, 0, UdpError::time_exceeded},  {Icmpv4Type::parameter_problem, 0, UdpError::other},
  };
  for (const ErrorCase& c : cases) {
    SCOPED_TRACE(int{c.code});
    UdpHost host;
    Recorder right, wrong;
    host.bind(7, right);
    host.bind(8, wrong);
    const QuotedPacket quoted{
        .protocol = 17, .source = our_ip, .destination = peer_ip, .source_port = 7, .destination_port = 4000,
        .length = 1500};
    const Frame message = icmp_message(c.type, c.code, 0, {});
    const IcmpError error{.problem = Icmpv4View::parse(message)->problem(), .quoted = quoted};
    EXPECT_EQ(host.udp.icmp_error(error), DropReason::none);
    EXPECT_EQ(right.errors, (std::vector<Recorder::Failed>{{peer, c.error}}));
    EXPECT_TRUE(wrong.errors.empty());
  }
}

TEST(UdpError, AboutADatagramThatIsNotOursMatchesNothing) {
  UdpHost host;
  Recorder handler;
  host.bind(7, handler);
  const QuotedPacket ours{
      .protocol = 17, .source = our_ip, .destination = peer_ip, .source_port = 7, .destination_port = 4000};
  QuotedPacket other_port = ours;
  other_port.source_port = 8;
  QuotedPacket other_address = ours;
  other_address.source = remote_ip;
  for (const QuotedPacket& quoted : {other_port, other_address})
    EXPECT_EQ(host.udp.icmp_error({.problem = IcmpProblem::port_unreachable, .quoted = quoted}), DropReason::icmp_no_match);
  EXPECT_TRUE(handler.errors.empty());
}

TEST(UdpError, IsIgnoredByAHandlerThatDoesNotCare) {
  UdpHost host;
  Echo handler;  // has no on_error of its own
  host.bind(7, handler);
  const QuotedPacket quoted{
      .protocol = 17, .source = our_ip, .destination = peer_ip, .source_port = 7, .destination_port = 4000};
  EXPECT_EQ(host.udp.icmp_error({.problem = IcmpProblem::port_unreachable, .quoted = quoted}), DropReason::none);
}

}  // namespace
}  // namespace pollux::test
