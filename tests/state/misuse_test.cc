// What an application must not do, and what happens when it does: the table of lib/stack/README.md ("Lifetime rules").
#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <thread>
#include <type_traits>
#include <vector>

#include "support/conversation.h"

namespace pollux::test {
namespace {

void elsewhere(const std::function<void()>& call) {
  std::thread(call).join();
}

// --- Wrong core ------------------------------------------------------------------------------------------------

TEST(CoreOwner, IsWhoeverTookItAndNobodyAtFirst) {
  CoreOwner owner;
  EXPECT_TRUE(owner.is_here());
  EXPECT_FALSE(owner.is_taken());
  elsewhere([&] { EXPECT_TRUE(owner.is_here()); });
  owner.take();
  EXPECT_TRUE(owner.is_here());
  elsewhere([&] {
    EXPECT_FALSE(owner.is_here());
    owner.take();
    EXPECT_TRUE(owner.is_here());
  });
  EXPECT_FALSE(owner.is_here());
  owner.leave();
  EXPECT_TRUE(owner.is_here());
}

struct NoDatagrams final : UdpHandler {
  void on_datagrams(UdpSocket, std::span<Datagram>) noexcept override {}
};

struct NoPackets final : RawHandler {
  void on_packet(Raw&, RawPacket) noexcept override {}
};

// In every build, once take_core() said whose the stack is.
TEST(WrongCoreDeathTest, RareCallsAbort) {
  Conversation c;
  c.host.stack().take_core();
  NoDatagrams datagrams;
  NoPackets packets;
  const auto dies = [](const std::function<void()>& call, const char* text) { EXPECT_DEATH(elsewhere(call), text); };
  dies([&] { static_cast<void>(c.host.tcp().listen({.port = 9}, c.app)); }, "listen\\(\\) on port 9: called on another core");
  dies([&] { static_cast<void>(c.host.tcp().connect({.remote = {c.peer.address(), 80}}, c.app)); },
       "connect\\(\\): called on another core");
  dies([&] { static_cast<void>(c.host.udp().bind({.port = 9}, datagrams)); }, "bind\\(\\) to port 9: called on another core");
  dies([&] { static_cast<void>(c.host.stack().raw().open(89, packets)); }, "protocol 89: called on another core");
  dies([&] { c.host.stack().start_drain(); }, "start_drain\\(\\): called on another core");
  dies([&] { c.host.stack().abort_all(c.world.now()); }, "abort_all\\(\\): called on another core");
}

TEST(WrongCore, SetUpBeforeTheFirstTurnMayComeFromAnotherThread) {
  Conversation c;
  c.host.stack().leave_core();
  elsewhere([&] { c.listens(); });
  c.peer.connects({.mss = 1460});
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
}

TEST(WrongCore, AfterTheLoopAnotherThreadMayGoOn) {
  Conversation c;
  c.established();
  c.host.stack().leave_core();
  elsewhere([&] {
    c.app.conn.abort();
    c.runs();
  });
  EXPECT_EQ(c.app.closed.size(), 1u);
  c.host.stack().leave_core();
}

#if POLLUX_DCHECK_ON
TEST(WrongCoreDeathTest, CallsOnTheDataPathAbortWhereDchecksAre) {
  Conversation c;
  c.established();
  NoDatagrams datagrams;
  UdpSocket socket = *c.host.udp().bind({.port = 9}, datagrams);
  struct Timer final : AppTimer {
    void on_timer(TimePoint) noexcept override {}
  } timer;
  const std::vector<std::function<void()>> calls = {
      [&] { static_cast<void>(c.app.conn.send("x")); },
      [&] { c.app.conn.close(); },
      [&] { c.app.conn.set_nagle(false); },
      [&] { static_cast<void>(c.app.conn.state()); },
      [&] { static_cast<void>(c.app.conn.info()); },
      [&] { c.listener.close(); },
      [&] { c.listener.set_backlog(1); },
      [&] { socket.send_to({c.peer.address(), 9}, "x"); },
      [&] { socket.close(); },
      [&] { socket.set_options({}); },
      [&] { c.host.stack().raw().close(89); },
      [&] { static_cast<void>(c.host.stack().alloc(1)); },
      [&] { c.host.stack().arm(timer, c.world.now()); },
      [&] { c.host.stack().input(0, {}, c.world.now()); },
      [&] { c.host.stack().advance(c.world.now()); },
      [&] { c.host.stack().flush(c.world.now()); },
  };
  for (std::size_t i = 0; i < calls.size(); ++i) EXPECT_DEATH(elsewhere(calls[i]), "owner\\(\\)\\.is_here\\(\\)") << "call " << i;
}

TEST(WrongCoreDeathTest, BytesThatAreDroppedThereAbortWhereDchecksAre) {
  Conversation c;
  c.established();
  c.app.keep = true;
  c.peer.sends(ACK, {.data = "kept"});
  ASSERT_EQ(c.app.kept.size(), 1u);
  EXPECT_DEATH(elsewhere([&] { c.app.kept.clear(); }), "owner\\(\\)\\.is_here\\(\\)");
  c.app.kept.clear();
}
#endif

// --- Double release --------------------------------------------------------------------------------------------

static_assert(!std::is_copy_constructible_v<Bytes> && !std::is_copy_assignable_v<Bytes>);
static_assert(!std::is_copy_constructible_v<Packet> && !std::is_copy_assignable_v<Packet>);
static_assert(!std::is_copy_constructible_v<WriteBuffer> && !std::is_copy_assignable_v<WriteBuffer>);

TEST(DoubleRelease, WhatWasGivenAwayIsEmptyAndMayBeDroppedAgain) {
  Conversation c;
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.data = "once"});
  c.peer.expects(ACK, {.ack = 5});
  Bytes& bytes = c.app.kept[0];
  Bytes owner = std::move(bytes);
  EXPECT_TRUE(bytes.empty());
  bytes.reset();
  EXPECT_EQ(c.app.conn.send(std::move(bytes)).accepted, 0u);
  EXPECT_EQ(owner.to_string(), "once") << "untouched by what became of the object it was moved from";
  c.host.sync();
  EXPECT_EQ(c.app.conn.send(std::move(owner)).accepted, 4u);
  owner.reset();
  owner.reset();
  c.runs();
  c.peer.expects(ACK, {.data = "once"});
}

#if POLLUX_DCHECK_ON
// Who wraps one packet twice (a driver, a filter) gives its octets back twice.
TEST(DoubleReleaseDeathTest, AChargeThatWasReleasedIsNotReleasedAgain) {
  Conversation c;
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.data = "once"});
  EXPECT_DEATH(
      {
        alignas(Bytes) unsigned char twin[sizeof(Bytes)];  // a copy behind the compiler's back
        std::memcpy(twin, static_cast<const void*>(&c.app.kept[0]), sizeof twin);
        c.app.kept.clear();
        reinterpret_cast<Bytes*>(twin)->~Bytes();
      },
      "rcv.kept >= octets|heap-use-after-free");
  c.app.kept.clear();
}
#endif

TEST(DoubleRelease, ClosingTwiceIsClosingOnce) {
  Conversation c;
  c.established();
  c.host.sync();
  c.app.conn.close();
  c.app.conn.close();
  c.app.conn.shutdown_send();
  c.listener.close();
  c.listener.close();
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.expects_nothing();
  NoDatagrams datagrams;
  UdpSocket socket = *c.host.udp().bind({.port = 9}, datagrams);
  socket.close();
  UdpSocket next = *c.host.udp().bind({.port = 9}, datagrams);
  socket.close();
  EXPECT_TRUE(next.is_open()) << "not the one that has its slot now";
}

// --- Sending from a callback that closed the connection ----------------------------------------------------------

struct Ending {
  const char* name;
  void (*end)(TcpConn conn);
  std::uint8_t answer;
};

class SendAfterTheEnd : public testing::TestWithParam<Ending> {};

TEST_P(SendAfterTheEnd, InTheSameCallbackIsRefusedAndSendsNothing) {
  Conversation c;
  std::vector<SendStatus> results;
  c.app.when_data = [&](TcpConn conn, Bytes bytes) {
    GetParam().end(conn);
    Bytes copy = Bytes::copy_of(c.host.stack().pool(), std::span(reinterpret_cast<const std::uint8_t*>("copy"), 4));
    results.push_back(conn.send("text").status);
    results.push_back(conn.send(std::move(copy)).status);
    results.push_back(conn.send(std::move(bytes)).status);  // its own delivery
    EXPECT_EQ(bytes.size(), 4u) << "what is refused stays the caller's";
    EXPECT_EQ(copy.size(), 4u);
    EXPECT_EQ(conn.send_space(), 0u);
  };
  c.established();
  c.peer.sends(ACK, {.data = "data"});
  EXPECT_EQ(results, std::vector(3, SendStatus::closed));
  c.peer.expects(GetParam().answer);
  c.peer.expects_nothing();
}

INSTANTIATE_TEST_SUITE_P(Ways, SendAfterTheEnd,
                         testing::Values(Ending{"close", [](TcpConn conn) { conn.close(); }, FIN | ACK},
                                         Ending{"shutdown", [](TcpConn conn) { conn.shutdown_send(); }, FIN | ACK},
                                         Ending{"abort", [](TcpConn conn) { conn.abort(); }, RST | ACK}),
                         [](const auto& way) { return std::string(way.param.name); });

}  // namespace
}  // namespace pollux::test
