// The application's timers and deferred work on a stack.
#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

struct Ring final : AppTimer {
  std::function<void(TimePoint)> then;
  void on_timer(TimePoint now) noexcept override { then(now); }
};

struct Later final : Deferred {
  std::function<void()> then;
  void run() noexcept override { then(); }
};

struct AppWorkTest : testing::Test {
  Conversation c;
  Stack& stack = c.host.stack();
  std::string log;
};

TEST_F(AppWorkTest, ATimerFiresOnceAtItsTime) {
  Ring ring;
  TimePoint at;
  ring.then = [&](TimePoint now) {
    at = now;
    log += 'x';
  };
  c.host.sync();
  const TimePoint due = stack.now() + 30_ms;
  stack.arm(ring, due);
  c.peer.waits(29_ms);
  EXPECT_EQ(log, "");
  EXPECT_TRUE(ring.is_armed());
  c.peer.waits(2_ms);
  EXPECT_EQ(log, "x");
  EXPECT_GE(at, due);
  EXPECT_LE(at, due + TimerWheel::tick);
  EXPECT_FALSE(ring.is_armed());
  c.peer.waits(1_s);
  EXPECT_EQ(log, "x");
}

TEST_F(AppWorkTest, ATimerMovesIsCancelledAndArmsItselfAgain) {
  Ring moved, cancelled, again;
  int rings = 0;
  moved.then = [&](TimePoint) { log += 'm'; };
  cancelled.then = [&](TimePoint) { log += 'c'; };
  again.then = [&](TimePoint now) {
    if (++rings < 3) stack.arm(again, now + 1_ms);
  };
  c.host.sync();
  stack.arm(moved, stack.now() + 5_ms);
  stack.arm(moved, stack.now() + 50_ms);
  stack.arm(cancelled, stack.now() + 5_ms);
  stack.arm(again, stack.now() + 1_ms);
  {
    Ring gone;
    gone.then = [&](TimePoint) { log += 'g'; };
    stack.arm(gone, stack.now() + 1_ms);
  }
  cancelled.cancel();
  c.peer.waits(20_ms);
  EXPECT_EQ(log, "");
  EXPECT_EQ(rings, 3);
  c.peer.waits(40_ms);
  EXPECT_EQ(log, "m");
}

// Deferred from a callback, it is done in the same turn, outside of the callback, and what it sends leaves with the turn.
TEST_F(AppWorkTest, DeferredWorkIsDoneInTheSameTurn) {
  c.established();
  Later later;
  later.then = [&] {
    log += 'd';
    EXPECT_EQ(c.app.conn.send("later").accepted, 5u);
  };
  c.app.when_data = [&](TcpConn, Bytes) {
    log += 'a';
    stack.defer(later);
    stack.defer(later);
    log += 'b';
  };
  const TimePoint before = c.world.now();
  c.peer.sends(ACK, {.data = "x"});
  EXPECT_EQ(log, "abd");
  c.peer.expects(ACK, {.ack = 2, .data = "later"});
  EXPECT_EQ(c.world.now(), before);
}

TEST_F(AppWorkTest, DeferredWorkKeepsItsOrderAndMayBeCancelled) {
  Later first, second, third;
  first.then = [&] {
    log += '1';
    second.cancel();
    stack.defer(first.then ? third : first);
  };
  second.then = [&] { log += '2'; };
  third.then = [&] { log += '3'; };
  c.host.sync();
  stack.defer(first);
  stack.defer(second);
  {
    Later gone;
    gone.then = [&] { log += 'g'; };
    stack.defer(gone);
  }
  EXPECT_TRUE(first.is_queued());
  EXPECT_LE(stack.next_deadline(), stack.now());
  c.runs();
  EXPECT_EQ(log, "13");
  EXPECT_FALSE(first.is_queued());
}

TEST_F(AppWorkTest, WhatIsQueuedAlreadyKeepsItsPlace) {
  Later first, second;
  first.then = [&] { log += '1'; };
  second.then = [&] { log += '2'; };
  c.host.sync();
  stack.defer(first);
  stack.defer(second);
  stack.defer(first);
  c.runs();
  EXPECT_EQ(log, "12");
}

TEST_F(AppWorkTest, WhatQueuesItselfForEverDoesNotHoldTheTurnUp) {
  Later endless;
  std::uint64_t runs = 0;
  endless.then = [&] {
    ++runs;
    stack.defer(endless);
  };
  c.host.sync();
  stack.defer(endless);
  stack.flush(stack.now());
  EXPECT_EQ(runs, AppWork::runs_per_flush);
  EXPECT_TRUE(endless.is_queued());
  endless.cancel();
}

TEST(AppWorkEnd, AStackThatEndsForgetsThem) {
  Ring ring;
  Later later;
  ring.then = [](TimePoint) { FAIL(); };
  later.then = [] { FAIL(); };
  {
    Conversation c;
    c.host.sync();
    c.host.stack().arm(ring, c.host.stack().now() + 5_s);
    c.host.stack().defer(later);
  }
  EXPECT_FALSE(ring.is_armed());
  EXPECT_FALSE(later.is_queued());
}

}  // namespace
}  // namespace pollux::test
