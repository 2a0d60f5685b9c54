// TIME-WAIT and what may follow it: RFC 6191 on both sides, RFC 1337.
#include <gtest/gtest.h>

#include "state_driver.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions with_timestamps() {
  TcpOptions options = plain_tcp();
  options.conn.timestamps = true;
  return options;
}

struct SynCase {
  const char* name;
  bool old_timestamps;                 ///< the connection in TIME-WAIT had them
  std::optional<std::int32_t> later;   ///< the SYN's timestamp from the last one of the old connection
  std::int64_t seq;                    ///< the SYN's sequence number from RCV.NXT
  bool reopens;
};

// RFC 6191 2, its list of cases.
TEST(TimeWait, Shld4Rfc6191ASynIsJudgedByTimestampThenBySequenceNumber) {
  for (const SynCase& row : std::vector<SynCase>{
           {"newer timestamp, lower number", true, 1, -50'000, true},
           {"same timestamp, higher number", true, 0, 50'000, true},
           {"same timestamp, lower number", true, 0, -50'000, false},
           {"older timestamp, higher number", true, -1, 50'000, false},
           {"no timestamp, higher number", true, std::nullopt, 50'000, true},
           {"new timestamp, lower number", false, 1, -50'000, true},
           {"neither, higher number", false, std::nullopt, 50'000, true},
           {"neither, lower number", false, std::nullopt, -50'000, false},
       }) {
    SCOPED_TRACE(row.name);
    Conversation c(with_timestamps());
    Seg first{.mss = 1460};
    if (row.old_timestamps) first.ts_value = 1'000'000;
    const Numbers at = drive_to(c, TIME_WAIT, first);
    Seg syn{.seq = at.rcv_nxt + row.seq, .mss = 1460};
    syn.has_ts = false;
    if (row.later) {
      syn.has_ts = true;
      syn.ts_value = 1'000'000 + static_cast<std::uint32_t>(*row.later);
    }
    c.peer.sends(SYN, syn);
    const Decoded answer = c.peer.expects_any();
    EXPECT_EQ(answer.has(SYN), row.reopens);
    EXPECT_EQ(c.host.tcp().time_wait_count(), row.reopens ? 0u : 1u);
  }
}

TEST(TimeWait, AReopenedConnectionNeedsNoPlaceInTheBacklog) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  c.listens({.port = 7, .backlog = 1});
  c.peer.connects();
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.sends(FIN | ACK);
  c.peer.expects(ACK);
  c.peer.use_ports(1001, 7);
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.use_ports(40000, 7);
  c.peer.forget(c.peer.isn() + 100'000);
  c.peer.sends(SYN, {.seq = 0, .mss = 1460});
  c.peer.expects(SYN | ACK, {.ack = 1});
  EXPECT_EQ(c.count(Counter::tcp_syn_cookies_sent), 0u);
  EXPECT_EQ(c.host.tcp().connection_count(), 2u);
}

TEST(TimeWait, Rfc1337ResetsMayBeIgnored) {
  for (const bool ignored : {false, true}) {
    TcpOptions options = plain_tcp();
    options.rfc1337 = ignored;
    Conversation c(options);
    const Numbers at = drive_to(c, TIME_WAIT);
    c.peer.sends(RST, {.seq = at.rcv_nxt});
    c.peer.expects_nothing();
    EXPECT_EQ(c.host.tcp().time_wait_count(), ignored ? 1u : 0u);
  }
}

// --- Active opens -------------------------------------------------------------------------------------------

/// Opens a connection from port 50000 and ends it by our FIN; its numbers are the peer's to know.
Decoded connect_and_close(Conversation& c, const Seg& syn_ack) {
  c.connects({.remote = {c.peer.address(), 80}, .local = {{}, 50000}});
  c.peer.accepts(syn_ack);
  c.app.conn.close();
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.sends(FIN | ACK, {.has_ts = syn_ack.ts_value && c.host.options().stack.tcp.conn.timestamps});
  const Decoded last = c.peer.expects(ACK);
  EXPECT_EQ(c.host.tcp().time_wait_count(), 1u);
  return last;
}

Result<TcpConn> connect_again(Conversation& c) {
  c.host.sync();
  return c.host.tcp().connect({.remote = {c.peer.address(), 80}, .local = {{}, 50000}}, c.app);
}

TEST(TimeWait, Shld4AnActiveOpenTakesItsPortsAfterASecond) {
  Conversation c(with_timestamps());
  const Decoded last = connect_and_close(c, {.mss = 1460, .ts_value = 7000});
  const std::uint32_t old_next = c.peer.stack_isn() + 2;
  c.world.run_for(990_ms);
  const auto early = connect_again(c);
  ASSERT_FALSE(early);
  EXPECT_EQ(early.error().code, ErrorCode::address_in_use);
  c.world.run_for(10_ms);
  ASSERT_TRUE(connect_again(c));
  EXPECT_EQ(c.host.tcp().time_wait_count(), 0u);
  EXPECT_EQ(c.count(Counter::tcp_time_wait_reused), 1u);
  c.peer.forget(9'000'000);
  c.runs();
  const Decoded syn = c.peer.expects(SYN, {.has_ts = true});
  EXPECT_GT(static_cast<std::int32_t>(syn.seq - old_next), 0x8000) << "beyond what the old connection used";
  EXPECT_GE(static_cast<std::int32_t>(*syn.ts_value - *last.ts_value), 1000) << "and later";
  c.peer.sends(SYN | ACK, {.mss = 1460, .ts_value = 9000});
  c.peer.expects(ACK);
  EXPECT_EQ(c.app.connections.size(), 2u);
}

TEST(TimeWait, WithoutTimestampsItsPortsAreNotTaken) {
  Conversation peer_has_none(with_timestamps());
  connect_and_close(peer_has_none, {.mss = 1460});
  peer_has_none.world.run_for(2_s);
  EXPECT_FALSE(connect_again(peer_has_none));
  Conversation we_have_none;
  connect_and_close(we_have_none, {.mss = 1460, .ts_value = 7000});
  we_have_none.world.run_for(2_s);
  EXPECT_FALSE(connect_again(we_have_none));
  TcpOptions options = with_timestamps();
  options.time_wait_reuse_after = Duration{};
  Conversation turned_off(options);
  connect_and_close(turned_off, {.mss = 1460, .ts_value = 7000});
  turned_off.world.run_for(59_s);
  EXPECT_FALSE(connect_again(turned_off)) << "0: never";
}

TEST(TimeWait, FewPortsServeManyConnectionsOneAfterAnother) {
  TcpOptions options = with_timestamps();
  options.ephemeral_port_first = 50000;
  options.ephemeral_port_last = 50001;
  Conversation c(options);
  for (int i = 0; i < 10; ++i) {
    c.host.sync();
    auto conn = c.host.tcp().connect({.remote = {c.peer.address(), 80}}, c.app);
    ASSERT_TRUE(conn) << "connection " << i;
    c.app.conn = *conn;
    c.peer.use_ports(80, conn->local().port);
    c.peer.forget(1'000'000 + static_cast<std::uint32_t>(i) * 100'000);
    c.runs();
    c.peer.accepts({.mss = 1460, .ts_value = 7000 + static_cast<std::uint32_t>(i) * 1000});
    c.app.conn.close();
    c.runs();
    c.peer.expects(FIN | ACK);
    c.peer.sends(FIN | ACK, {.has_ts = true});
    c.peer.expects(ACK);
    c.world.run_for(600_ms);
  }
  EXPECT_EQ(c.count(Counter::tcp_time_wait_reused), 8u);
}

TEST(TimeWait, TheHandlerThatIsToldOfTheEndFindsThePortsStillTaken) {
  Conversation c(with_timestamps());
  std::optional<ErrorCode> refused;
  c.app.when_closed = [&](TcpConn, CloseReason) {
    const auto again = c.host.tcp().connect({.remote = {c.peer.address(), 80}, .local = {{}, 50000}}, c.app);
    if (!again) refused = again.error().code;
  };
  connect_and_close(c, {.mss = 1460, .ts_value = 7000});
  EXPECT_EQ(refused, ErrorCode::address_in_use);
  c.peer.expects_nothing();
}

TEST(TimeWait, ALiveConnectionsPortsAreNotTaken) {
  Conversation c(with_timestamps());
  c.connects({.remote = {c.peer.address(), 80}, .local = {{}, 50000}});
  c.peer.accepts({.mss = 1460, .ts_value = 7000});
  c.world.run_for(10_s);
  EXPECT_FALSE(connect_again(c));
}

}  // namespace
}  // namespace pollux::test
