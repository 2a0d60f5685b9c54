// The load generators against a transport that is a queue: time and answers are the test's.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <deque>
#include <vector>

#include "l4bench/load.h"

namespace pollux::app {
namespace {

/// Accepts everything, takes at most `room` octets of a send, and echoes when turn() is called.
class FakeTransport final : public Transport {
 public:
  struct Socket {
    bool connecting = false, open = false, finished = false, blocked = false;
    std::vector<std::uint8_t> queued;
  };
  explicit FakeTransport(std::uint32_t n) : sockets(n) {}

  bool connect(Slot slot) noexcept override {
    ++connects;
    if (refuse_locally) return false;
    sockets[slot] = Socket{.connecting = true};
    return true;
  }
  std::uint32_t send(Slot slot, std::span<const std::uint8_t> bytes) noexcept override {
    Socket& s = sockets[slot];
    const auto taken = std::min(bytes.size(), room - std::min(room, s.queued.size()));
    s.queued.insert(s.queued.end(), bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(taken));
    s.blocked = taken < bytes.size();
    return static_cast<std::uint32_t>(taken);
  }
  void finish(Slot slot) noexcept override { sockets[slot].finished = true; }
  void abort(Slot slot) noexcept override {
    ++aborts;
    sockets[slot] = Socket{};
    load->on_closed(slot, CloseReason::aborted);
  }
  std::int64_t now_ns() const noexcept override { return now; }

  /// A millisecond: a tick, then one event of each kind for every connection.
  void turn() {
    now += 1'000'000;
    load->on_tick();
    for (Slot slot = 0; slot < sockets.size(); ++slot) turn(slot);
  }
  void turn(Slot slot) {
    Socket& s = sockets[slot];
    if (s.connecting && answers) {
      s.connecting = false;
      if (refuse) return load->on_closed(slot, CloseReason::refused);
      s.open = true;
      load->on_connected(slot);
    } else if (s.open && !s.queued.empty()) {
      std::vector<std::uint8_t> data;
      std::swap(data, s.queued);
      if (corrupt) data.back() ^= 1;
      received += data.size();
      if (echoes) load->on_data(slot, data);
      if (s.open && s.blocked) load->on_writable(slot);
    } else if (s.open && s.finished) {
      s = Socket{};
      load->on_closed(slot, CloseReason::normal);
    }
  }

  std::vector<Socket> sockets;
  Load* load = nullptr;
  std::int64_t now = 1;
  std::size_t room = 1 << 20;
  bool answers = true, refuse = false, refuse_locally = false, echoes = true, corrupt = false;
  unsigned connects = 0, aborts = 0;
  std::uint64_t received = 0;
};

class LoadTest : public testing::Test {
 protected:
  void start(const LoadOptions& options) {
    transport.emplace_back(options.connections);
    load.emplace_back(options, fake());
    fake().load = &load.back();
  }
  /// True when it was done within `ms` turns.
  bool run(int ms) {
    for (int i = 0; i < ms && !load.back().is_done(); ++i) fake().turn();
    return load.back().is_done();
  }
  FakeTransport& fake() { return transport.back(); }
  const Results& results() { return load.back().results(); }

  std::deque<FakeTransport> transport;
  std::deque<Load> load;
};

constexpr std::int64_t ms = 1'000'000;

TEST_F(LoadTest, RoundTripsAreCountedInTheMeasuredIntervalOnly) {
  start({.mode = Mode::rr, .connections = 1, .warmup_ns = 50 * ms, .duration_ns = 100 * ms});
  ASSERT_TRUE(run(200));
  EXPECT_NEAR(static_cast<double>(results().operations), 100, 2);  // one a turn
  EXPECT_NEAR(static_cast<double>(results().measured_ns), 100e6, 2e6);
  EXPECT_EQ(results().latency.count(), results().operations);
  EXPECT_EQ(results().latency.quantile(0.99) / ms, 1u);
  EXPECT_EQ(results().errors(), 0u);
  EXPECT_EQ(fake().aborts, 0u);
}

TEST_F(LoadTest, OneConnectionIsTriedBeforeTheOthers) {
  start({.mode = Mode::rr, .connections = 250});
  fake().answers = false;
  for (int i = 0; i < 5; ++i) fake().turn();
  EXPECT_EQ(fake().connects, 1u);
  fake().answers = true;
  fake().turn();
  fake().turn();
  EXPECT_EQ(fake().connects, 1u + Load::connects_per_tick);
  fake().turn();
  fake().turn();
  EXPECT_EQ(fake().connects, 250u);
}

TEST_F(LoadTest, MessagesLargerThanTheSendBufferGoOutInParts) {
  start({.mode = Mode::rr, .connections = 3, .size = 100'000, .warmup_ns = 0, .duration_ns = 300 * ms});
  fake().room = 999;
  ASSERT_TRUE(run(400));
  EXPECT_EQ(results().errors(), 0u);
  EXPECT_GT(results().operations, 0u);
}

TEST_F(LoadTest, CyclesReopenUntilTheTimeIsUp) {
  start({.mode = Mode::cec, .connections = 2, .warmup_ns = 0, .duration_ns = 90 * ms});
  ASSERT_TRUE(run(200));
  EXPECT_NEAR(static_cast<double>(results().operations), 60, 4);  // 3 turns each
  EXPECT_GE(results().connections, results().operations);
  EXPECT_EQ(results().errors(), 0u);
}

TEST_F(LoadTest, CyclesMayEndByReset) {
  start({.mode = Mode::cec, .connections = 1, .reset_close = true, .warmup_ns = 0, .duration_ns = 50 * ms});
  ASSERT_TRUE(run(100));
  EXPECT_GE(fake().aborts, results().operations);
  EXPECT_GT(results().operations, 20u);
  EXPECT_EQ(results().errors(), 0u);
}

TEST_F(LoadTest, AStreamOfStatedLengthEndsWhenAllIsThere) {
  start({.mode = Mode::stream, .connections = 4, .bytes = 300'001, .warmup_ns = 0});
  fake().room = 10'000;
  fake().echoes = false;
  ASSERT_TRUE(run(1000));
  EXPECT_EQ(fake().received, 4u * 300'001u);
  EXPECT_EQ(results().octets_sent, 4u * 300'001u);
  EXPECT_EQ(results().errors(), 0u);
}

TEST_F(LoadTest, AnEchoedStreamIsVerifiedToTheLastOctet) {
  start({.mode = Mode::stream, .connections = 2, .bytes = 50'000, .verify = true, .warmup_ns = 0});
  fake().room = 7'777;
  ASSERT_TRUE(run(1000));
  EXPECT_EQ(results().octets_received, 100'000u);
  EXPECT_EQ(results().errors(), 0u);
}

TEST_F(LoadTest, AMissingEchoIsAMismatch) {
  start({.mode = Mode::stream, .connections = 1, .bytes = 5'000, .verify = true, .warmup_ns = 0});
  fake().echoes = false;
  ASSERT_TRUE(run(1000));
  EXPECT_EQ(results().mismatches, 1u);
}

TEST_F(LoadTest, AnEndlessStreamEndsWithTheTime) {
  start({.mode = Mode::stream, .connections = 1, .warmup_ns = 0, .duration_ns = 50 * ms});
  fake().room = 10'000;
  fake().echoes = false;
  ASSERT_TRUE(run(100));
  EXPECT_EQ(results().errors(), 0u);
  EXPECT_GT(results().octets_sent, 0u);
  EXPECT_EQ(fake().aborts, 0u);
}

TEST_F(LoadTest, AWrongOctetIsAMismatchAndEndsTheConnection) {
  start({.mode = Mode::rr, .connections = 1, .warmup_ns = 0, .duration_ns = 20 * ms});
  fake().corrupt = true;
  ASSERT_TRUE(run(100));
  EXPECT_GT(results().mismatches, 1u);  // a new connection each time
  EXPECT_EQ(results().operations, 0u);
}

TEST_F(LoadTest, RefusedConnectionsAreCountedAndTriedAgain) {
  start({.mode = Mode::rr, .connections = 1, .warmup_ns = 0, .duration_ns = 20 * ms});
  fake().refuse = true;
  ASSERT_TRUE(run(100));
  EXPECT_GT(results().closed_early[static_cast<std::size_t>(CloseReason::refused)], 5u);
  EXPECT_EQ(results().connections, 0u);
}

TEST_F(LoadTest, LackOfPortsIsCounted) {
  start({.mode = Mode::cec, .connections = 1, .warmup_ns = 0, .duration_ns = 20 * ms});
  fake().refuse_locally = true;
  ASSERT_TRUE(run(100));
  EXPECT_GT(results().no_connection, 5u);
}

TEST_F(LoadTest, WhatDoesNotFinishInTimeIsResetAndCounted) {
  start({.mode = Mode::rr, .connections = 3, .warmup_ns = 0, .duration_ns = 20 * ms, .grace_ns = 30 * ms});
  for (int i = 0; i < 10; ++i) fake().turn();
  fake().echoes = false;
  ASSERT_TRUE(run(100));
  EXPECT_EQ(results().unfinished, 3u);
  EXPECT_EQ(fake().aborts, 3u);
}

TEST_F(LoadTest, ASilentServerIsNotWaitedForLongerThanTheDuration) {
  start({.mode = Mode::rr, .connections = 3, .warmup_ns = 0, .duration_ns = 20 * ms});
  fake().answers = false;
  ASSERT_TRUE(run(30));
  EXPECT_EQ(results().unfinished, 1u);
}

}  // namespace
}  // namespace pollux::app
