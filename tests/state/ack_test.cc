// Acknowledging and reassembly: RFC 9293 3.8.6.3, RFC 5681 4.2, data in any order.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "support/conversation.h"

namespace pollux::test {
namespace {

TcpOptions delayed_ack_tcp() {
  TcpOptions options = plain_tcp();
  options.conn.delayed_ack = true;
  return options;
}

TEST(DelayedAck, Must40And_Shld18SmallSegmentIsAckedWithin40ms) {
  Conversation c(delayed_ack_tcp());
  c.established();
  c.peer.sends(ACK, {.len = 10});
  const Decoded ack = c.peer.expects_between(Duration{}, 41_ms, ACK, {.ack = 11});
  EXPECT_TRUE(ack.payload.empty());
  c.peer.sends(ACK, {.len = 10});
  c.peer.expects_between(Duration{}, 41_ms, ACK, {.ack = 21});
  c.peer.expects_silence(1_s);
}

TEST(DelayedAck, Shld19EverySecondFullSegmentIsAckedAtOnce) {
  Conversation c(delayed_ack_tcp());
  c.established();
  for (int i = 0; i < 6; i += 2) {
    c.peer.sends(ACK, {.len = 1460});
    c.peer.sends(ACK, {.len = 1460});
    c.peer.expects(ACK, {.ack = 1 + 1460 * (i + 2)});
  }
}

TEST(DelayedAck, Must58And59OneAckForABurst) {
  Conversation c(delayed_ack_tcp());
  c.established();
  c.peer.together([&] {
    for (int i = 0; i < 8; ++i) c.peer.sends(ACK, {.len = 1460});
  });
  c.peer.expects(ACK, {.ack = 1 + 8 * 1460});
  c.peer.expects_silence(1_s);
}

TEST(DelayedAck, RidesOnData) {
  Conversation c(delayed_ack_tcp());
  c.established();
  c.app.when_data = [](TcpConn conn, Bytes) { EXPECT_EQ(conn.send("reply").accepted, 5u); };
  c.peer.sends(ACK, {.data = "request"});
  c.peer.expects(ACK, {.ack = 8, .data = "reply"});
  c.peer.sends(ACK);
  c.peer.expects_silence(1_s);
  EXPECT_EQ(c.count(Counter::tcp_delayed_acks), 0u);
}

TEST(DelayedAck, Rfc5681_4_2GapAndItsFillingAreAckedAtOnce) {
  Conversation c(delayed_ack_tcp());
  c.established();
  c.peer.sends(ACK, {.seq = 11, .len = 10});
  c.peer.expects(ACK, {.ack = 1});
  c.peer.sends(ACK, {.seq = 1, .len = 10});
  c.peer.expects(ACK, {.ack = 21});
}

TEST(DelayedAck, EveryOutOfOrderSegmentOfABurstIsADuplicateAck) {
  Conversation c(delayed_ack_tcp());
  c.established();
  c.peer.together([&] {
    for (int i = 1; i <= 3; ++i) c.peer.sends(ACK, {.seq = 1 + 1000 * i, .len = 1000});
  });
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.ack = 1, .len = 0});
}

// --- Reassembly --------------------------------------------------------------------------------------------

TEST(OutOfOrder, Shld31AnyOrderIsPutTogether) {
  std::vector<int> order{0, 1, 2, 3, 4};
  do {
    Conversation c;
    c.established();
    for (const int i : order) c.peer.sends(ACK, {.seq = 1 + 100 * i, .len = 100});
    EXPECT_EQ(c.app.received, pattern(1, 500));
    EXPECT_EQ(c.peer.take().back().segment.ack, c.peer.isn() + 501);
  } while (std::next_permutation(order.begin(), order.end()));
}

TEST(OutOfOrder, AckTellsHowFarItIsComplete) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.seq = 201, .len = 100});
  c.peer.expects(ACK, {.ack = 1});
  c.peer.sends(ACK, {.seq = 401, .len = 100});
  c.peer.expects(ACK, {.ack = 1});
  c.peer.sends(ACK, {.seq = 1, .len = 100});
  c.peer.expects(ACK, {.ack = 101});
  c.peer.sends(ACK, {.seq = 101, .len = 100});
  c.peer.expects(ACK, {.ack = 301});
  c.peer.sends(ACK, {.seq = 301, .len = 100});
  c.peer.expects(ACK, {.ack = 501});
}

TEST(OutOfOrder, QueueHasALimitAndTheConnectionGoesOn) {
  TcpOptions options = plain_tcp();
  options.out_of_order_segments_max = 4;
  Conversation c(options);
  c.established();
  for (int i = 1; i <= 8; ++i) c.peer.sends(ACK, {.seq = 1 + 200 * i, .len = 100});
  EXPECT_EQ(c.dropped(DropReason::tcp_queue_limit), 4u);
  c.peer.take();
  for (int i = 0; i <= 17; ++i) c.peer.sends(ACK, {.seq = 1 + 100 * i, .len = 100});
  EXPECT_EQ(c.app.received, pattern(1, 1800));
}

TEST(OutOfOrder, QueuedDataDiesWithTheConnection) {
  Conversation c;
  c.established();
  const std::uint32_t before = c.host.pool().in_use();
  c.peer.sends(ACK, {.seq = 201, .len = 100});
  EXPECT_GT(c.host.pool().in_use(), before);
  c.peer.sends(RST, {.seq = 1});
  c.world.run_for(1_s);
  EXPECT_EQ(c.host.pool().in_use(), 0u);
}

// Any segments that cover the stream, in any order, with any overlap and any repetition, give the stream.
TEST(OutOfOrder, RandomOverlapsGiveTheStream) {
  for (const std::uint64_t seed : seeds_to_run(200)) {
    Rng rng(seed);
    TcpOptions options = plain_tcp();
    if (rng.below(2) == 0) options.out_of_order_segments_max = 3;
    Conversation c(options);
    c.established();
    constexpr std::uint32_t total = 3000;
    const std::uint32_t longest = 1 + rng.below(500);
    for (int i = 0; i < 40; ++i) {
      const std::uint32_t at = rng.below(total);
      c.peer.sends(ACK, {.seq = 1 + at, .len = std::min(1 + rng.below(longest), total - at)});
    }
    const auto so_far = c.app.received;
    EXPECT_EQ(so_far, pattern(1, so_far.size())) << "seed " << seed;
    for (std::uint32_t at = 0; at < total; at += 100)
      c.peer.sends(ACK, {.seq = 1 + at, .len = std::min(100 + rng.below(50), total - at)});
    EXPECT_EQ(c.app.received, pattern(1, total)) << "seed " << seed;
    EXPECT_EQ(c.peer.take().back().segment.ack, c.peer.isn() + 1 + total) << "seed " << seed;
    if (::testing::Test::HasFailure()) {
      std::printf("replay with POLLUX_SEED=%llu\n", static_cast<unsigned long long>(seed));
      return;
    }
  }
}

TEST(OutOfOrder, FinArrivingFirstIsRemembered) {
  Conversation c;
  c.established();
  c.peer.sends(FIN | ACK, {.seq = 101, .len = 100});
  c.peer.expects(ACK, {.ack = 1});
  c.peer.sends(ACK, {.seq = 1, .len = 100});
  c.peer.expects(ACK, {.ack = 202});
  EXPECT_EQ(c.app.received, pattern(1, 200));
  EXPECT_EQ(c.app.peer_closed, 1u);
}

TEST(OutOfOrder, DataBeyondAKnownFinIsRefused) {
  Conversation c;
  c.established();
  c.peer.sends(FIN | ACK, {.seq = 101});
  c.peer.take();
  c.peer.sends(ACK, {.seq = 151, .len = 50});
  c.peer.take();
  c.peer.sends(ACK, {.seq = 1, .len = 100});
  c.peer.expects(ACK, {.ack = 102});
  EXPECT_EQ(c.app.received, pattern(1, 100));
  EXPECT_EQ(c.app.peer_closed, 1u);
}

}  // namespace
}  // namespace pollux::test
