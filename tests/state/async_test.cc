// Coroutines over connections: what a server or client written with them hears and says, and that whatever is cancelled
// leaves nothing behind.
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "pollux/async/tcp_stream.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

using async::Task;
using async::TcpAcceptor;
using async::TcpStream;

/// Notes when it goes, in whatever way.
struct Note {
  std::string* log;
  char what;
  Note(std::string& l, char w) : log(&l), what(w) {}
  Note(Note&& other) noexcept : log(std::exchange(other.log, nullptr)), what(other.what) {}
  ~Note() {
    if (log != nullptr) *log += what;
  }
};

Task<> echo(TcpStream stream, Note note) {
  static_cast<void>(note);
  for (;;) {
    Bytes bytes = co_await stream.read();
    if (!bytes) break;
    if (!co_await stream.write(std::move(bytes))) break;
  }
}

struct AsyncTest : testing::Test {
  Conversation c;
  Stack& stack = c.host.stack();
  std::string log;
  std::unique_ptr<async::TaskScope> scope = std::make_unique<async::TaskScope>(stack);

  ~AsyncTest() override { scope.reset(); }

  Task<> serve(TcpAcceptor acceptor) {
    for (;;) scope->spawn(echo(co_await acceptor.accept(), Note(log, 'e')));
  }
  /// Spawns and lets it begin.
  void runs(Task<> task) {
    c.host.sync();
    scope->spawn(std::move(task));
    c.runs();
  }
  TcpAcceptor listens() {
    auto acceptor = async::listen(stack, {.port = 7});
    EXPECT_TRUE(acceptor);
    return std::move(*acceptor);
  }
};

TEST_F(AsyncTest, AnEchoServer) {
  runs(serve(listens()));
  c.peer.connects();
  c.peer.sends(ACK, {.data = "hello"});
  c.peer.expects(ACK, {.ack = 6, .data = "hello"});
  c.peer.sends(ACK, {.data = "again"});
  c.peer.expects(ACK, {.ack = 11, .data = "again"});
  EXPECT_EQ(scope->size(), 2u);
  c.peer.sends(FIN | ACK);
  c.peer.expects(FIN | ACK, {.ack = 12});  // read() ended, and the stream with its coroutine
  c.peer.sends(ACK);
  EXPECT_EQ(log, "e");
  EXPECT_EQ(scope->size(), 1u);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST_F(AsyncTest, CancellingEndsWhateverItWaitsFor) {
  runs(serve(listens()));
  c.peer.connects();
  c.peer.expects_nothing();
  c.host.sync();
  scope->cancel_all();
  EXPECT_EQ(log, "e");
  EXPECT_EQ(scope->size(), 0u);
  c.runs();
  c.peer.expects(FIN | ACK);  // the stream was closed
  c.peer.sends(FIN | ACK);
  c.peer.expects(ACK);
  c.peer.forget();
  c.peer.use_ports(40001, 7);
  c.peer.sends(SYN);
  c.peer.expects(RST | ACK);  // and the listener too
}

TEST_F(AsyncTest, ConnectionsThatNobodyAcceptsAreReset) {
  auto acceptor = std::make_unique<TcpAcceptor>(listens());
  c.peer.connects();
  c.peer.sends(ACK, {.data = "x"});
  c.peer.expects(ACK, {.ack = 2});
  c.host.sync();
  acceptor.reset();
  c.runs();
  c.peer.expects(RST | ACK);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST_F(AsyncTest, WhatCameBeforeAcceptIsRead) {
  TcpAcceptor acceptor = listens();
  c.peer.connects();
  c.peer.sends(ACK, {.data = "early"});
  c.peer.expects(ACK);
  c.peer.sends(FIN | ACK);
  c.peer.expects(ACK);
  runs([](AsyncTest& t, TcpAcceptor& from) -> Task<> {
    TcpStream stream = co_await from.accept();
    t.log += (co_await stream.read()).to_string();
    t.log += (co_await stream.read()).empty() ? "." : "?";
    EXPECT_TRUE(co_await stream.write("bye"));
  }(*this, acceptor));
  EXPECT_EQ(log, "early.");
  c.peer.expects(FIN | ACK, {.data = "bye"});
}

TEST_F(AsyncTest, AWriterWaitsForRoom) {
  TcpConnOptions small;
  small.send_buffer = 4096;
  small.send_buffer_max = 0;
  auto acceptor = async::listen(stack, {.port = 7, .conn = small});
  ASSERT_TRUE(acceptor);
  runs([](AsyncTest& t, TcpAcceptor from) -> Task<> {
    TcpStream stream = co_await from.accept();
    const std::string text(10'000, 'x');
    EXPECT_TRUE(co_await stream.write(text));
    t.log += 'w';
    static_cast<void>(co_await stream.read());
  }(*this, std::move(*acceptor)));
  c.peer.connects({.mss = 1000});
  std::int64_t heard = 0;
  for (int i = 0; i < 100 && heard < 10'000; ++i) {
    for (const auto& arrival : c.peer.take()) heard += static_cast<std::int64_t>(arrival.segment.payload.size());
    if (heard <= 4096) {
      EXPECT_EQ(log, "");
    }
    c.peer.sends(ACK, {.ack = heard + 1});
  }
  EXPECT_EQ(heard, 10'000);
  EXPECT_EQ(log, "w");
}

TEST_F(AsyncTest, AWriterWaitsForMbufs) {
  runs([](AsyncTest& t, TcpAcceptor from) -> Task<> {
    TcpStream stream = co_await from.accept();
    static_cast<void>(co_await stream.read());
    t.c.host.pool().set_limit(0);
    EXPECT_TRUE(co_await stream.write("at last"));
    t.log += 'w';
    static_cast<void>(co_await stream.read());
  }(*this, listens()));
  c.peer.connects();
  c.peer.sends(ACK, {.data = "x"});
  EXPECT_EQ(log, "");
  c.host.pool().set_limit(65536);
  c.peer.waits(5_ms);
  EXPECT_EQ(log, "w");
  std::string heard;
  for (const auto& arrival : c.peer.take()) heard.append(arrival.segment.payload.begin(), arrival.segment.payload.end());
  EXPECT_EQ(heard, "at last");
}

TEST_F(AsyncTest, TheEndOfAConnectionEndsReadsAndWrites) {
  TcpStream stream;
  runs([](AsyncTest& t, TcpStream& s, TcpAcceptor from) -> Task<> {
    s = co_await from.accept();
    EXPECT_FALSE(s.end());
    t.log += (co_await s.read()).empty() ? "." : "?";
    EXPECT_EQ(s.end(), CloseReason::reset_by_peer);
    EXPECT_FALSE(co_await s.write("nobody hears"));
    t.log += (co_await s.read()).empty() ? "." : "?";
  }(*this, stream, listens()));
  c.peer.connects();
  c.peer.sends(RST | ACK);
  EXPECT_EQ(log, "..");
  EXPECT_FALSE(stream.conn().is_open());
}

TEST_F(AsyncTest, ReadExactlyLeavesTheRest) {
  runs([](AsyncTest& t, TcpAcceptor from) -> Task<> {
    TcpStream stream = co_await from.accept();
    std::array<std::uint8_t, 4> head{};
    EXPECT_TRUE(co_await stream.read_exactly(head));
    t.log.append(head.begin(), head.end());
    t.log += '|';
    t.log += (co_await stream.read()).to_string();
    EXPECT_FALSE(co_await stream.read_exactly(head));
    t.log += '.';
  }(*this, listens()));
  c.peer.connects();
  c.peer.sends(ACK, {.data = "he"});
  c.peer.sends(ACK, {.data = "adbody"});
  EXPECT_EQ(log, "head|body");
  c.peer.sends(ACK, {.data = "xy"});
  c.peer.sends(FIN | ACK);
  EXPECT_EQ(log, "head|body.");
}

TEST_F(AsyncTest, Connects) {
  c.peer.use_ports(80, 5000);
  runs([](AsyncTest& t) -> Task<> {
    auto stream = co_await async::connect({.remote = {t.c.peer.address(), 80}, .local = {{}, 5000}});
    EXPECT_TRUE(stream) << stream.error().text;
    if (!stream) co_return;
    EXPECT_TRUE(co_await stream->write("GET"));
    t.log += (co_await stream->read()).to_string();
  }(*this));
  c.peer.expects(SYN);
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK, {.ack = 1, .data = "GET"});
  c.peer.sends(ACK, {.data = "OK"});
  EXPECT_EQ(log, "OK");
}

TEST_F(AsyncTest, AConnectThatFailsSaysWhy) {
  c.peer.use_ports(80, 5000);
  runs([](AsyncTest& t) -> Task<> {
    auto refused = co_await async::connect({.remote = {t.c.peer.address(), 80}, .local = {{}, 5000}});
    EXPECT_FALSE(refused);
    if (!refused) t.log += refused.error().text;
    auto nowhere = co_await async::connect({.remote = {IpAddress::v4(203, 0, 113, 1), 80}});
    EXPECT_FALSE(nowhere);
    t.log += '.';
  }(*this));
  c.peer.expects(SYN);
  c.peer.sends(RST | ACK, {.ack = 1});
  EXPECT_EQ(log, "the connection was not opened: refused.");
}

TEST_F(AsyncTest, SleepsAsLongAsItSays) {
  TimePoint woken;
  runs([](TimePoint& at) -> Task<> {
    Stack& on = co_await async::current_stack();
    co_await async::sleep(30_ms);
    at = on.now();
  }(woken));
  const TimePoint begun = c.world.now();
  c.peer.waits(100_ms);
  EXPECT_GE(woken, begun + 30_ms);
  EXPECT_LE(woken, begun + 30_ms + TimerWheel::tick);
}

TEST_F(AsyncTest, WhenAnyCancelsTheSlower) {
  runs([](AsyncTest& t, TcpAcceptor from) -> Task<> {
    TcpStream stream = co_await from.accept();
    auto slow = [](AsyncTest& in) -> Task<int> {
      Note note(in.log, 'c');
      co_await async::sleep(10_s);
      in.log += '?';
      co_return 1;
    };
    auto first = co_await async::when_any(stream.read(), slow(t), async::sleep(20_s));
    EXPECT_EQ(first.index(), 0u);
    t.log += std::get<0>(first).to_string();
    auto second = co_await async::when_any(async::sleep(5_ms), stream.read());
    EXPECT_EQ(second.index(), 0u);
    t.log += (co_await stream.read()).to_string();  // the read that was cancelled left the stream usable
  }(*this, listens()));
  c.peer.connects();
  c.peer.waits(1_s);
  c.peer.sends(ACK, {.data = "data"});
  EXPECT_EQ(log, "cdata");
  c.peer.waits(10_ms);
  c.peer.sends(ACK, {.data = "more"});
  EXPECT_EQ(log, "cdatamore");
  c.peer.waits(30_s);
  EXPECT_EQ(log, "cdatamore");
}

TEST_F(AsyncTest, WhenAnyTakesTheFirstThatIsReadyAndStartsNoMore) {
  runs([](AsyncTest& t) -> Task<> {
    auto ready = [](int value) -> Task<int> { co_return value; };
    auto never = [](AsyncTest& in) -> Task<> {
      in.log += '?';
      co_return;
    };
    auto first = co_await async::when_any(ready(7), never(t));
    EXPECT_EQ(first.index(), 0u);
    EXPECT_EQ(std::get<0>(first), 7);
    t.log += '.';
  }(*this));
  EXPECT_EQ(log, ".");
}

TEST_F(AsyncTest, ATimeoutCancelsAndCleansUp) {
  runs([](AsyncTest& t, TcpAcceptor from) -> Task<> {
    TcpStream stream = co_await from.accept();
    auto late = co_await async::with_timeout(stream.read(), 50_ms);
    EXPECT_FALSE(late);
    EXPECT_TRUE(co_await async::with_timeout(async::sleep(5_ms), 50_ms));
    EXPECT_FALSE(co_await async::with_timeout(async::sleep(50_ms), 5_ms));
    t.log += 't';
    auto in_time = co_await async::with_timeout(stream.read(), 50_ms);
    EXPECT_TRUE(in_time);
    if (in_time) t.log += in_time->to_string();
  }(*this, listens()));
  c.peer.connects();
  c.peer.waits(70_ms);
  EXPECT_EQ(log, "t");
  c.peer.sends(ACK, {.data = "now"});
  EXPECT_EQ(log, "tnow");
}

TEST_F(AsyncTest, TasksOfTasksGiveValues) {
  runs([](AsyncTest& t) -> Task<> {
    auto add = [](auto self, int n) -> Task<int> {
      if (n == 0) co_return 0;
      const int rest = co_await self(self, n - 1);
      co_return rest + n;
    };
    EXPECT_EQ(co_await add(add, 1000), 500'500);
    auto text = [](std::string s) -> Task<std::unique_ptr<std::string>> { co_return std::make_unique<std::string>(s); };
    t.log += *co_await text("value");
  }(*this));
  EXPECT_EQ(log, "value");
}

// A coroutine that never began, one that is held, and a scope that goes: nothing runs and everything is destroyed.
TEST_F(AsyncTest, NothingRunsBeforeItIsAwaited) {
  auto speak = [](AsyncTest& t, Note) -> Task<> {
    t.log += '?';
    co_return;
  };
  {
    Task<> task = speak(*this, Note(log, 'x'));
    Task<> moved = std::move(task);
    EXPECT_FALSE(task);
    EXPECT_TRUE(moved);
  }
  EXPECT_EQ(log, "x");
  scope->spawn(speak(*this, Note(log, 'y')));
  EXPECT_EQ(log, "x") << "not before the flush";
  scope->cancel_all();
  EXPECT_EQ(log, "xy");
}

TEST_F(AsyncTest, WaitingTwiceForOneThingIsAMistake) {
  runs(serve(listens()));
  TcpAcceptor acceptor = std::move(*async::listen(stack, {.port = 8}));
  runs([](TcpAcceptor& from) -> Task<> { static_cast<void>(co_await from.accept()); }(acceptor));
  EXPECT_DEATH(runs([](TcpAcceptor& from) -> Task<> { static_cast<void>(co_await from.accept()); }(acceptor)),
               "two coroutines accept from one listener");
  scope->cancel_all();
}

TEST(AsyncEnd, AStackThatEndsTakesItsTasksAlong) {
  std::string log;
  {
    Conversation c;
    auto acceptor = async::listen(c.host.stack(), {.port = 7});
    ASSERT_TRUE(acceptor);
    async::spawn(c.host.stack(), [](std::string& in, TcpAcceptor from) -> Task<> {
      TcpStream stream = co_await from.accept();
      co_await echo(std::move(stream), Note(in, 'e'));
    }(log, std::move(*acceptor)));
    c.peer.connects();
    c.peer.sends(ACK, {.data = "x"});
    c.peer.expects(ACK, {.data = "x"});
    EXPECT_EQ(log, "");
  }
  EXPECT_EQ(log, "e");
}

}  // namespace
}  // namespace pollux::test
