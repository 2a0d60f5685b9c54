// What must not hurt: lying headers, calls from inside callbacks, stale handles, an empty packet pool.
#include <gtest/gtest.h>

#include "state_driver.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

// --- Bad segments ------------------------------------------------------------------------------------------

TEST(BadSegment, Must3WrongChecksumIsDropped) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.seq = 1, .len = 10, .bad_checksum = true});
  c.peer.sends(RST, {.seq = 1, .bad_checksum = true});
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_bad_checksum), 2u);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(BadSegment, DataOffsetsThatLieAreDropped) {
  Conversation c;
  c.established();
  for (const std::uint8_t offset : {0, 4, 15}) c.peer.sends(ACK, {.seq = 1, .len = 4, .data_offset = offset});
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_bad_offset), 3u);
}

TEST(BadSegment, EveryTruncationIsSurvived) {
  Conversation c;
  c.established();
  const Frame whole = c.peer.make(ACK, {.seq = 1, .len = 20, .raw_options = {253, 6, 1, 2, 3, 4}});
  for (std::size_t length = 0; length < whole.size(); ++length)
    c.peer.sends_frame(Frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
  EXPECT_TRUE(c.app.received.empty());
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  EXPECT_EQ(c.host.counters().drops(), whole.size());
}

TEST(BadSegment, EveryFlippedOctetIsNoticed) {
  Conversation c;
  c.established();
  const Frame whole = c.peer.make(ACK, {.seq = 1, .len = 20});
  for (std::size_t at = 14; at < whole.size(); ++at) {
    Frame flipped = whole;
    flipped[at] = static_cast<std::uint8_t>(flipped[at] ^ 0x41);
    c.peer.sends_frame(flipped);
  }
  EXPECT_TRUE(c.app.received.empty());
  EXPECT_EQ(c.host.counters().drops(), whole.size() - 14);
}

TEST(BadSegment, PaddingBehindTheIpPacketIsNoPayload) {
  Conversation c;
  c.established();
  Frame frame = c.peer.make(ACK, {.seq = 1, .len = 2});
  frame.resize(frame.size() + 30, 0x55);
  c.peer.sends_frame(frame);
  EXPECT_EQ(c.app.received, pattern(1, 2));
}

TEST(BadSegment, EveryFlagCombinationInEveryStateIsSurvived) {
  for (int bit = 0; bit < state_bits; ++bit) {
    Conversation c;
    const Numbers at = drive_to(c, static_cast<StateBit>(1 << bit));
    for (int flags = 0; flags < 256; ++flags)
      for (const std::uint32_t len : {0u, 5u})
        c.peer.sends(static_cast<std::uint8_t>(flags), {.seq = at.rcv_nxt, .ack = at.snd_nxt, .len = len});
    c.world.run_for(10_s);
    c.peer.take();
    EXPECT_FALSE(c.world.failed());
  }
}

TEST(BadSegment, UrgentDataStaysInItsPlace) {
  Conversation c;
  c.established();
  c.peer.sends(ACK | URG, {.data = "urgent", .urgent = 6});
  c.peer.expects(ACK, {.ack = 7});
  EXPECT_EQ(c.app.received, "urgent");
}

TEST(ClosedPort, ResetsAreForEveryPortNobodyListensOn) {
  Conversation c;
  c.listens();
  c.peer.use_ports(40000, 8);
  c.peer.sends(SYN, {.seq = 0});
  c.peer.expects(RST | ACK, {.ack = 1});
  EXPECT_EQ(c.count(Counter::tcp_out_rsts), 1u);
  EXPECT_EQ(c.dropped(DropReason::tcp_no_connection), 1u);
}

// --- Application calls inside callbacks --------------------------------------------------------------------

TEST(Callbacks, AbortInOnData) {
  Conversation c;
  c.app.when_data = [](TcpConn conn, Bytes) { conn.abort(); };
  c.established();
  c.peer.together([&] {
    c.peer.sends(ACK, {.len = 10});
    c.peer.sends(ACK, {.len = 10});
  });
  const auto sent = c.peer.take();
  ASSERT_FALSE(sent.empty());
  for (const auto& arrival : sent) EXPECT_TRUE(arrival.segment.has(RST));
  EXPECT_EQ(c.app.deliveries, 1u);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Callbacks, AbortInOnDataWithMoreQueuedOutOfOrder) {
  Conversation c;
  c.app.when_data = [](TcpConn conn, Bytes) { conn.abort(); };
  c.established();
  c.peer.sends(ACK, {.seq = 101, .len = 100});
  c.peer.sends(FIN | ACK, {.seq = 201, .len = 10});
  c.peer.sends(ACK, {.seq = 1, .len = 100});
  EXPECT_EQ(c.app.deliveries, 1u);
  EXPECT_EQ(c.app.peer_closed, 0u);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Callbacks, CloseInOnConnected) {
  Conversation c;
  c.app.when_connected = [](TcpConn conn) { conn.close(); };
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  c.peer.expects(FIN | ACK, {.seq = 1});
}

TEST(Callbacks, AbortInOnConnectedWithDataInTheSameSegment) {
  Conversation c;
  c.app.when_connected = [](TcpConn conn) { conn.abort(); };
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK);
  c.peer.sends(FIN | ACK, {.len = 10});
  EXPECT_TRUE(c.peer.expects_any().has(RST));
  EXPECT_EQ(c.app.deliveries, 0u);
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Callbacks, SendInOnConnectedAndInOnWritable) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 4096;
  Conversation c(options);
  std::uint32_t sent = 0;
  const auto pump = [&](TcpConn conn) {
    while (sent < 20'000) {
      const SendResult result = conn.send(pattern(1 + sent, std::min(1000u, 20'000 - sent)));
      sent += result.accepted;
      if (result.status != SendStatus::ok) break;
    }
  };
  c.app.when_connected = pump;
  c.app.when_writable = pump;
  c.listens();
  c.peer.connects();
  std::string heard;
  for (int i = 0; i < 100 && heard.size() < 20'000; ++i) {
    for (const auto& arrival : c.peer.take())
      heard.append(arrival.segment.payload.begin(), arrival.segment.payload.end());
    c.peer.sends(ACK);
  }
  EXPECT_EQ(heard, pattern(1, 20'000));
  EXPECT_GE(c.app.writable, 1u);
}

TEST(Callbacks, AbortInOnWritableAndInOnPeerClosed) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 4096;
  options.conn.nagle = false;
  Conversation c(options);
  c.established();
  EXPECT_EQ(c.app.conn.send(pattern(1, 5000)).status, SendStatus::would_block);
  c.app.when_writable = [](TcpConn conn) { conn.abort(); };
  c.runs();
  c.peer.take();
  c.peer.sends(ACK);
  EXPECT_EQ(c.app.closed.size(), 1u);
  Conversation d;
  d.app.when_peer_closed = [](TcpConn conn) { conn.abort(); };
  d.established();
  d.peer.sends(FIN | ACK, {.len = 10});
  EXPECT_TRUE(d.peer.take().back().segment.has(RST));
  EXPECT_EQ(d.app.closed.size(), 1u);
}

TEST(Callbacks, OnClosedMaySendListenAndConnect) {
  Conversation c;
  SendStatus status = SendStatus::ok;
  bool connected = false;
  c.app.when_closed = [&](TcpConn conn, CloseReason) {
    status = conn.send("late").status;
    conn.abort();
    connected = c.host.tcp().connect({.remote = {c.peer.address(), 99}}, c.app).has_value();
  };
  c.established();
  c.peer.sends(RST);
  EXPECT_EQ(status, SendStatus::closed);
  EXPECT_TRUE(connected);
  EXPECT_EQ(c.app.closed.size(), 1u);
  const auto sent = c.peer.take();
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].segment.has(SYN));
}

TEST(Handles, UserDataIsReadableInOnClosed) {
  Conversation c;
  c.established();
  EXPECT_EQ(c.app.conn.user_data(), 0u);
  c.app.conn.set_user_data(4711);
  c.peer.sends(RST);
  EXPECT_EQ(c.app.user_data_at_close, 4711u);
}

TEST(Handles, StaleOnesDoNothing) {
  Conversation c;
  c.established();
  TcpConn stale = c.app.conn;
  c.peer.sends(RST);
  c.peer.forget(9'000'000);
  c.peer.connects();
  ASSERT_NE(stale, c.app.conn);
  EXPECT_FALSE(stale.is_open());
  EXPECT_EQ(stale.state(), TcpState::closed);
  EXPECT_EQ(stale.send("x").status, SendStatus::closed);
  EXPECT_EQ(stale.send_space(), 0u);
  EXPECT_EQ(stale.unacknowledged(), 0u);
  EXPECT_EQ(stale.user_data(), 0u);
  EXPECT_FALSE(stale.set_nagle(false));
  EXPECT_FALSE(stale.set_keepalive(true));
  EXPECT_FALSE(stale.set_user_timeout(1_s));
  EXPECT_FALSE(stale.set_tos(1));
  stale.set_user_data(1);
  stale.shutdown_send();
  stale.close();
  stale.abort();
  c.runs();
  c.peer.expects_nothing();
  EXPECT_EQ(c.app.conn.state(), TcpState::established) << "the slot's new tenant is untouched";
  EXPECT_EQ(c.app.conn.user_data(), 0u);
  EXPECT_FALSE(TcpConn{}.is_open());
  EXPECT_FALSE(TcpListener{}.is_open());
}

// --- The packet pool runs dry ------------------------------------------------------------------------------

TEST(PoolExhaustion, EstablishedConnectionLivesAndRecovers) {
  Conversation c;
  c.established();
  c.sends("before");
  c.peer.expects(ACK, {.data = "before"});
  c.peer.sends(ACK);
  c.host.pool().set_limit(0);
  EXPECT_EQ(c.app.conn.send("during").status, SendStatus::no_memory);
  c.peer.sends(ACK, {.seq = 1, .data = "lost"});
  c.world.run_for(2_s);
  c.peer.expects_nothing();
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  c.host.pool().set_limit(65536);
  c.peer.sends(ACK, {.seq = 1, .data = "lost"});
  c.peer.expects(ACK, {.ack = 5});
  EXPECT_EQ(c.app.received, "lost");
  c.sends("after");
  c.peer.expects(ACK, {.data = "after"});
}

TEST(PoolExhaustion, WhatWasQueuedGoesOutWhenPacketsComeBack) {
  Conversation c;
  c.established();
  c.queues("queued");
  c.host.pool().set_limit(0);
  c.world.run_for(500_ms);
  c.peer.expects_nothing();
  EXPECT_GE(c.count(Counter::tcp_pool_pressure), 1u);
  c.host.pool().set_limit(65536);
  c.peer.expects_between(Duration{}, 1_s, ACK, {.data = "queued"});
}

TEST(PoolExhaustion, HandshakesRecover) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  c.host.pool().set_limit(0);
  c.world.run_for(4_s);
  c.host.pool().set_limit(65536);
  c.peer.expects_between(Duration{}, 10_s, SYN, {.seq = 0});
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK);
}

TEST(PoolExhaustion, NothingLeaksWhenEverythingFails) {
  Conversation c;
  c.established();
  for (std::uint32_t limit = 0; limit < 12; ++limit) {
    c.host.pool().set_limit(limit);
    [[maybe_unused]] const SendResult ignored = c.app.conn.send(pattern(0, 5000));
    c.peer.sends(ACK, {.len = 500});
    c.peer.sends(ACK, {.seq = c.peer.snd_nxt() + 100, .len = 500});
    c.world.run_for(50_ms);
    c.peer.take();
  }
  c.host.pool().set_limit(65536);
  c.app.conn.abort();
  c.world.run_for(1_s);
  c.peer.take();
  EXPECT_EQ(c.host.pool().in_use(), 0u);
}

}  // namespace
}  // namespace pollux::test
