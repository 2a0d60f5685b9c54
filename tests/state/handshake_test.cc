// Opening a connection: RFC 9293 3.5, RFC 6528, RFC 6298 for the timing of SYNs.
#include <gtest/gtest.h>

#include <set>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TEST(Handshake, PassiveOpen) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.seq = 0, .ack = 1, .len = 0});
  EXPECT_TRUE(c.app.connections.empty()) << "not established before the ACK";
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  c.peer.expects_nothing();
  ASSERT_EQ(c.app.connections.size(), 1u);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  EXPECT_EQ(c.app.conn.local(), (Endpoint{c.host.ip(), 7}));
  EXPECT_EQ(c.app.conn.remote(), (Endpoint{c.peer.address(), 40000}));
  EXPECT_EQ(c.count(Counter::tcp_passive_opens), 1u);
}

TEST(Handshake, ActiveOpen) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN, {.seq = 0, .len = 0, .mss = 1460});
  c.peer.sends(SYN | ACK, {.seq = 0, .ack = 1, .mss = 1460});
  c.peer.expects(ACK, {.seq = 1, .ack = 1, .len = 0});
  EXPECT_EQ(c.app.connections.size(), 1u);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  EXPECT_EQ(c.count(Counter::tcp_active_opens), 1u);
}

TEST(Handshake, DataQueuedBeforeTheHandshakeIsSentAfterIt) {
  Conversation c;
  c.connects();
  EXPECT_EQ(c.app.conn.send("early").accepted, 5u);
  c.runs();
  c.peer.expects(SYN, {.len = 0});
  c.peer.sends(SYN | ACK, {.mss = 1460});
  const Decoded first = c.peer.expects(ACK, {.seq = 1, .ack = 1});
  if (first.payload.empty()) c.peer.expects(ACK, {.seq = 1, .ack = 1, .data = "early"});
  EXPECT_EQ(c.peer.rcv_nxt(), 6);
}

TEST(Handshake, Must10SimultaneousOpen) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN, {.seq = 0});
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.seq = 0, .ack = 1});
  EXPECT_EQ(c.app.conn.state(), TcpState::syn_received);
  // RFC 9293 figure 8: the peer's SYN+ACK repeats its SYN. By 3.10.7.4 it is old, and its answer completes
  // the peer.
  c.peer.sends(SYN | ACK, {.seq = 0, .ack = 1, .mss = 1460});
  c.peer.take();
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  EXPECT_EQ(c.app.connections.size(), 1u);
  c.peer.sends(ACK, {.data = "hello"});
  EXPECT_EQ(c.app.received, "hello");
}

TEST(Handshake, SequenceNumbersWrap) {
  Conversation c;
  c.peer.forget(0xfffffffe);
  c.established();
  c.peer.sends(ACK, {.data = "wrapping"});
  c.peer.expects(ACK, {.ack = 9});
  EXPECT_EQ(c.app.received, "wrapping");
}

TEST(Handshake, RepeatedSynIsAnsweredAgainWithTheSameNumbers) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.seq = 0, .ack = 1});
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  const Decoded again = c.peer.expects_any();
  EXPECT_TRUE(again.has(ACK));
  EXPECT_EQ(again.ack, c.peer.isn() + 1);
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(Handshake, Must22SynIsRetransmittedWithBackoffAndGivenUpNotBefore3Minutes) {
  Conversation c;
  const TimePoint start = c.world.now();
  c.connects();
  const Decoded first = c.peer.expects(SYN, {.seq = 0, .mss = 1460});
  for (int seconds = 1; seconds <= 64; seconds *= 2) {
    const Decoded again = c.peer.expects_after(Duration::from_s(seconds), SYN, {.seq = 0, .mss = 1460});
    EXPECT_EQ(again.options_length, first.options_length);
  }
  c.world.run_for(300_s);
  c.peer.expects_nothing();
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
  EXPECT_FALSE(c.app.conn.is_open());
  EXPECT_GE((c.world.now() - start).seconds(), 180) << "RFC 9293 MUST-23";
  EXPECT_EQ(c.count(Counter::tcp_attempt_fails), 1u);
}

TEST(Handshake, Must23SynLastsAtLeast3Minutes) {
  Conversation c;
  c.connects();
  c.world.run_for(180_s);
  EXPECT_TRUE(c.app.closed.empty());
  EXPECT_EQ(c.app.conn.state(), TcpState::syn_sent);
}

TEST(Handshake, SynAckIsRetransmittedWithBackoffAndGivenUp) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  for (int seconds = 1; seconds <= 16; seconds *= 2)
    c.peer.expects_after(Duration::from_s(seconds), SYN | ACK, {.seq = 0, .ack = 1, .mss = 1460});
  c.world.run_for(120_s);
  c.peer.expects_nothing();
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
  EXPECT_TRUE(c.app.connections.empty());
  EXPECT_TRUE(c.app.closed.empty()) << "the application never knew it";
  EXPECT_EQ(c.count(Counter::tcp_attempt_fails), 1u);
}

TEST(Handshake, RetransmissionsOfSynAndSynAckAreOptions) {
  TcpOptions options = plain_tcp();
  options.conn.syn_retries_max = 1;
  options.conn.syn_ack_retries_max = 2;
  Conversation active(options);
  active.connects();
  active.peer.expects(SYN);
  active.peer.expects_after(1_s, SYN);
  active.peer.expects_silence(100_s);
  EXPECT_EQ(active.app.closed, std::vector{CloseReason::timed_out});
  Conversation passive(options);
  passive.listens();
  passive.peer.sends(SYN, {.mss = 1460});
  passive.peer.expects(SYN | ACK);
  passive.peer.expects_after(1_s, SYN | ACK);
  passive.peer.expects_after(2_s, SYN | ACK);
  passive.peer.expects_silence(100_s);
  EXPECT_EQ(passive.host.tcp().connection_count(), 0u);
  // ... of one connection.
  TcpConnOptions patient = options.conn;
  patient.syn_retries_max = 3;
  Conversation own(options);
  own.connects({.remote = {own.peer.address(), 80}, .local = {{}, 50000}, .conn = patient});
  own.world.run_for(100_s);
  EXPECT_EQ(own.peer.take().size(), 4u);
}

TEST(Handshake, Rfc6298_5_7TimeoutIs3SecondsAfterASynTimeout) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  c.peer.expects_after(1_s, SYN);
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK);
  c.sends("x");
  c.peer.expects(ACK, {.len = 1});
  c.peer.expects_after(3_s, ACK, {.seq = 1, .len = 1});
}

TEST(Handshake, SynAckTimeIsAnRttSample) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  c.peer.waits(100_ms);
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK);
  c.sends("x");
  c.peer.expects(ACK, {.len = 1});
  c.peer.expects_after(300_ms, ACK, {.seq = 1, .len = 1});  // RFC 6298 2.2: R + 4 * R/2
}

// --- Initial sequence numbers: RFC 9293 3.4.1, RFC 6528
// ------------------------------------------------------

std::uint32_t isn_of_connect(Conversation& c, std::uint16_t remote_port, std::uint16_t local_port = 50000) {
  c.connects({.remote = {c.peer.address(), remote_port}, .local = {{}, local_port}});
  const std::uint32_t isn = c.peer.expects_any().seq;
  c.app.conn.abort();
  c.runs();
  c.peer.take();
  return isn;
}

TEST(InitialSequence, Must8MovesForwardWithTheClock) {
  Conversation c;
  const std::uint32_t first = isn_of_connect(c, 80);
  c.world.run_for(1_s);
  const std::uint32_t second = isn_of_connect(c, 80);
  EXPECT_GT(static_cast<std::int32_t>(second - first), 0);
}

TEST(InitialSequence, Shld1DiffersByTuple) {
  Conversation c;
  std::set<std::uint32_t> isns;
  for (std::uint16_t port = 80; port < 90; ++port) isns.insert(isn_of_connect(c, port) >> 8);
  EXPECT_EQ(isns.size(), 10u) << "numbers of different tuples at one moment are unrelated";
}

TEST(InitialSequence, Must9DependsOnTheSecret) {
  Conversation one(plain_tcp(), {.isn_key = SipKey{1, 2}});
  Conversation same(plain_tcp(), {.isn_key = SipKey{1, 2}});
  Conversation other(plain_tcp(), {.isn_key = SipKey{1, 3}});
  const std::uint32_t isn = isn_of_connect(one, 80);
  EXPECT_EQ(isn, isn_of_connect(same, 80));
  EXPECT_NE(isn, isn_of_connect(other, 80));
}

// --- Limits ------------------------------------------------------------------------------------------------

void syn_from(Conversation& c, std::uint16_t port) {
  c.peer.use_ports(port, 7);
  c.peer.sends(SYN, {.mss = 1460});
}

TEST(Limits, BacklogCountsHalfOpenConnections) {
  TcpOptions options = plain_tcp();
  options.syn_cookies = TcpSynCookies::off;
  Conversation c(options);
  c.listens({.port = 7, .backlog = 2});
  for (const std::uint16_t port : {1001, 1002}) {
    syn_from(c, port);
    c.peer.expects(SYN | ACK);
  }
  syn_from(c, 1003);
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_backlog_full), 1u);
  c.peer.use_ports(1001, 7);
  c.peer.sends(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.app.connections.size(), 1u);
  c.peer.use_ports(1003, 7);
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.ack = 1});
}

TEST(Limits, BacklogIsFreedByResetAndByTimeout) {
  TcpOptions options = plain_tcp();
  options.syn_cookies = TcpSynCookies::off;
  Conversation c(options);
  c.listens({.port = 7, .backlog = 1});
  syn_from(c, 1001);
  c.peer.expects(SYN | ACK);
  c.peer.sends(RST, {.seq = 1});
  syn_from(c, 1002);
  c.peer.expects(SYN | ACK);
  c.world.run_for(200_s);
  c.peer.take();
  syn_from(c, 1003);
  c.peer.expects(SYN | ACK);
}

TEST(Limits, ConnectionLimitRefusesNewAndKeepsOld) {
  TcpOptions options = plain_tcp();
  options.connections_max = 2;
  Conversation c(options);
  c.established();
  syn_from(c, 1002);
  c.peer.expects(SYN | ACK);
  syn_from(c, 1003);
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_connections_full), 1u);
  auto refused = c.host.tcp().connect({.remote = {c.peer.address(), 80}}, c.app);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::limit_reached);
  c.peer.use_ports(40000, 7);
  c.peer.sends(ACK, {.data = "still here"});
  EXPECT_EQ(c.app.received, "still here");
  c.app.connections[0].abort();
  c.runs();
  c.peer.take();
  syn_from(c, 1004);
  c.peer.expects(SYN | ACK);
}

TEST(Listener, CloseDropsHalfOpenAndKeepsAccepted) {
  Conversation c;
  c.established();
  syn_from(c, 1002);
  c.peer.expects(SYN | ACK);
  c.listener.close();
  c.runs();
  c.peer.take();  // a RST for the half-open one, or nothing
  EXPECT_FALSE(c.listener.is_open());
  EXPECT_EQ(c.host.tcp().connection_count(), 1u);
  syn_from(c, 1003);
  c.peer.expects(RST | ACK, {.ack = 1});
  c.peer.use_ports(40000, 7);
  c.peer.sends(ACK, {.data = "still here"});
  EXPECT_EQ(c.app.received, "still here");
  c.listener.close();  // stale: harmless
}

TEST(Listener, DrainRefusesNewConnections) {
  Conversation c;
  c.established();
  c.host.stack().start_drain();
  syn_from(c, 1002);
  c.runs();
  for (const auto& arrival : c.peer.take()) EXPECT_FALSE(arrival.segment.has(SYN));
  EXPECT_EQ(c.dropped(DropReason::tcp_draining), 1u);
  EXPECT_EQ(c.host.stack().connection_count(), 1u);
}

// --- Ports and addresses -----------------------------------------------------------------------------------

TEST(Ports, OnePortIsListenedOnOnce) {
  Conversation c;
  c.listens();
  auto again = c.host.tcp().listen({.port = 7}, c.app);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::address_in_use);
  c.listener.close();
  EXPECT_TRUE(c.host.tcp().listen({.port = 7}, c.app));
}

TEST(Ports, Must41PassiveOpenDisturbsNothing) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.host.tcp().listen({.port = 8}, c.app));
  EXPECT_TRUE(c.listener.is_open());
  c.peer.sends(ACK, {.data = "x"});
  EXPECT_EQ(c.app.received, "x");
}

TEST(Ports, Must42ListenOnThePortOfAConnectionInSynSent) {
  Conversation c;
  c.connects({.remote = {c.peer.address(), 80}, .local = {{}, 5000}});
  c.peer.expects(SYN);
  EXPECT_TRUE(c.host.tcp().listen({.port = 5000}, c.app));
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(Ports, ATupleIsUsedOnceAndAPortForManyPeers) {
  Conversation c;
  c.connects({.remote = {c.peer.address(), 80}, .local = {{}, 5000}});
  auto same = c.host.tcp().connect({.remote = {c.peer.address(), 80}, .local = {{}, 5000}}, c.app);
  ASSERT_FALSE(same);
  EXPECT_EQ(same.error().code, ErrorCode::address_in_use);
  EXPECT_TRUE(c.host.tcp().connect({.remote = {c.peer.address(), 81}, .local = {{}, 5000}}, c.app));
}

TEST(Ports, EphemeralPortsComeFromTheRangeAndRunOut) {
  TcpOptions options = plain_tcp();
  options.ephemeral_port_first = 50000;
  options.ephemeral_port_last = 50003;
  Conversation c(options);
  std::set<std::uint16_t> ports;
  for (int i = 0; i < 4; ++i) {
    auto conn = c.host.tcp().connect({.remote = {c.peer.address(), 80}}, c.app);
    ASSERT_TRUE(conn);
    ports.insert(conn->local().port);
  }
  EXPECT_EQ(ports, (std::set<std::uint16_t>{50000, 50001, 50002, 50003}));
  auto fifth = c.host.tcp().connect({.remote = {c.peer.address(), 80}}, c.app);
  ASSERT_FALSE(fifth);
  EXPECT_TRUE(c.host.tcp().connect({.remote = {c.peer.address(), 81}}, c.app))
      << "another peer is another tuple";
}

TEST(Ports, BadOpensAreRefusedWithAReason) {
  Conversation c;
  const auto code_of = [&](const TcpConnectOptions& options) {
    auto result = c.host.tcp().connect(options, c.app);
    EXPECT_FALSE(result);
    if (result) return ErrorCode::device;
    EXPECT_FALSE(result.error().text.empty());
    return result.error().code;
  };
  EXPECT_EQ(code_of({.remote = {IpAddress::v4(255, 255, 255, 255), 80}}), ErrorCode::invalid_argument)
      << "MUST-46";
  EXPECT_EQ(code_of({.remote = {IpAddress::v4(10, 0, 0, 255), 80}}), ErrorCode::invalid_argument)
      << "MUST-46";
  EXPECT_EQ(code_of({.remote = {IpAddress::v4(224, 0, 0, 1), 80}}), ErrorCode::invalid_argument) << "MUST-46";
  EXPECT_EQ(code_of({.remote = {c.peer.address(), 0}}), ErrorCode::invalid_argument);
  EXPECT_EQ(code_of({.remote = {IpAddress::v4(192, 0, 2, 1), 80}}), ErrorCode::no_route);
  EXPECT_EQ(code_of({.remote = {c.peer.address(), 80}, .local = {IpAddress::v4(10, 0, 0, 77), 0}}),
            ErrorCode::address_unavailable);
  EXPECT_EQ(c.host.tcp().listen({.port = 0}, c.app).error().code, ErrorCode::invalid_argument);
  EXPECT_EQ(c.host.tcp().listen({.address = IpAddress::v4(10, 0, 0, 77), .port = 9}, c.app).error().code,
            ErrorCode::address_unavailable);
  c.runs();
  c.peer.expects_nothing();
}

TEST(Ports, Must43And44LocalAddressIsOptionalAndKept) {
  Conversation c;
  c.connects({.remote = {c.peer.address(), 80}, .local = {c.host.ip(), 0}});
  EXPECT_EQ(c.peer.expects(SYN).ids.source, c.host.ip());
  Conversation any;
  any.connects();
  EXPECT_EQ(any.peer.expects(SYN).ids.source, any.host.ip()) << "the route's source";
  any.peer.sends(SYN | ACK, {.mss = 1460});
  EXPECT_EQ(any.peer.expects(ACK).ids.source, any.host.ip()) << "MUST-45";
}

TEST(Ports, ListenerOnAnAddressAnswersOnlyThere) {
  Conversation c;
  c.listens({.address = c.host.ip(), .port = 7});
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
}

TEST(Addresses, Must57SynToABroadcastOrMulticastAddressIsIgnored) {
  Conversation c;
  c.listens();
  const Decoded syn = decode(c.peer.make(SYN, {.mss = 1460}));
  const auto send_to = [&](MacAddress mac, IpAddress ip) {
    LinkIds ids = c.peer.ids();
    ids.destination_mac = mac;
    ids.destination = ip;
    c.peer.sends_frame(
        tcp_frame(ids, {.source_port = 40000, .destination_port = 7, .seq = syn.seq, .flags = SYN}, {}));
  };
  const MacAddress multicast{{0x01, 0, 0x5e, 0, 0, 1}};
  send_to(MacAddress::broadcast(), IpAddress::v4(255, 255, 255, 255));
  send_to(MacAddress::broadcast(), IpAddress::v4(10, 0, 0, 255));
  send_to(c.host.mac(), IpAddress::v4(10, 0, 0, 255));
  send_to(multicast, IpAddress::v4(224, 0, 0, 1));
  send_to(MacAddress::broadcast(), c.host.ip());
  send_to(multicast, c.host.ip());
  c.peer.expects_nothing();
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
  EXPECT_EQ(c.host.counters().drops(), 6u);
}

TEST(Addresses, Must63SynFromAnInvalidSourceIsIgnored) {
  Conversation c;
  c.listens();
  for (const IpAddress source :
       {IpAddress::v4(255, 255, 255, 255), IpAddress::v4(10, 0, 0, 255), IpAddress::v4(224, 0, 0, 5),
        IpAddress::v4(127, 0, 0, 1), IpAddress::v4(0, 0, 0, 0), c.host.ip()}) {
    c.peer.use_address(source);
    c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  }
  c.peer.expects_nothing();
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
  EXPECT_EQ(c.host.counters().drops(), 6u);
}

}  // namespace
}  // namespace pollux::test
