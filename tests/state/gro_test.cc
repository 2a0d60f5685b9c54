// Segments of one burst that continue each other are handled as one, and nobody outside can tell.
#include <gtest/gtest.h>

#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint32_t size = 1000;

TEST(Gro, ABurstInOrderIsOneDeliveryAndOneAck) {
  Conversation c;
  c.established();
  std::uint32_t pieces = 0;
  c.app.when_data = [&](TcpConn, Bytes bytes) {
    c.app.received += bytes.to_string();
    bytes.for_each_piece([&](std::span<const std::uint8_t>) { ++pieces; });
  };
  const std::string text[] = {std::string(size, 'a'), std::string(size, 'b'), std::string(300, 'c')};
  c.peer.together([&] {
    for (const std::string& part : text) c.peer.sends(ACK, {.data = part});
  });
  EXPECT_EQ(c.app.deliveries, 1u);
  EXPECT_EQ(pieces, 3u);
  EXPECT_EQ(c.app.received, text[0] + text[1] + text[2]);
  c.peer.expects(ACK, {.ack = 1 + 2 * size + 300});
  c.peer.expects_nothing();
  EXPECT_EQ(c.count(Counter::tcp_merged_in), 2u);
  EXPECT_EQ(c.count(Counter::tcp_in_segs), 2u + 3u) << "SYN and ACK, and each of the three";
}

TEST(Gro, PushEndsADelivery) {
  Conversation c;
  c.established();
  c.peer.together([&] {
    c.peer.sends(ACK, {.len = size});
    c.peer.sends(ACK | PSH, {.len = size});
    c.peer.sends(ACK, {.len = size});
  });
  EXPECT_EQ(c.app.deliveries, 2u);
  EXPECT_EQ(c.count(Counter::tcp_merged_in), 1u);
}

TEST(Gro, FlowsThatTakeTurnsAreMergedEachForItself) {
  Conversation c;
  c.listens();
  c.peer.use_ports(40001, 7);
  c.peer.connects();
  const TcpConn first = c.app.conn;
  c.peer.use_ports(40002, 7);
  c.peer.connects();
  std::string got[2];
  c.app.when_data = [&](TcpConn conn, Bytes bytes) { got[conn == first ? 0 : 1] += bytes.to_string() + "|"; };
  c.peer.together([&] {
    for (const std::string part : {"1", "2", "3"}) {
      c.peer.use_ports(40001, 7);
      c.peer.sends(ACK, {.data = "a" + part});
      c.peer.use_ports(40002, 7);
      c.peer.sends(ACK, {.data = "b" + part});
    }
  });
  EXPECT_EQ(got[0], "a1a2a3|");
  EXPECT_EQ(got[1], "b1b2b3|");
}

/// Two segments of a burst that must stay two.
struct Apart {
  const char* what;
  std::uint8_t first_flags, second_flags;
  Seg first, second;
};

TEST(Gro, WhatAReceiverCouldTellApartStaysApart) {
  const Apart cases[] = {
      {"another window", ACK, ACK, {.window = 1000, .len = size}, {.window = 2000, .len = size}},
      {"another acknowledgment", ACK, ACK, {.ack = 1, .len = size}, {.ack = 2, .len = size}},
      {"a FIN", ACK, ACK | FIN, {.len = size}, {.len = size}},
      {"an urgent pointer", ACK, ACK | URG, {.len = size}, {.len = size, .urgent = 1}},
      {"another timestamp", ACK, ACK, {.len = size, .ts_value = 8000}, {.len = size, .ts_value = 8001}},
      {"another echo", ACK, ACK, {.len = size, .ts_echo = 0}, {.len = size, .ts_echo = 1}},
      {"an option more", ACK, ACK, {.len = size}, {.len = size, .raw_options = {253, 4, 0, 0}}},
      {"a gap", ACK, ACK, {.seq = 1, .len = size}, {.seq = 1 + size + 1, .len = size}},
      {"an overlap", ACK, ACK, {.seq = 1, .len = size}, {.seq = size, .len = size}},
      {"nothing in it", ACK, ACK, {.len = size}, {}},
  };
  for (const Apart& each : cases) {
    SCOPED_TRACE(each.what);
    TcpOptions options = plain_tcp();
    options.conn.timestamps = true;
    Conversation c(options);
    c.established({.mss = 1460, .ts_value = 7000});
    c.queues("x");  // an octet that may be acknowledged
    c.runs();
    c.peer.expects_any();
    c.peer.together([&] {
      c.peer.sends(each.first_flags, each.first);
      c.peer.sends(each.second_flags, each.second);
    });
    EXPECT_EQ(c.count(Counter::tcp_merged_in), 0u);
  }
}

TEST(Gro, EachSegmentBehindAGapCountsAsADuplicateAck) {
  Conversation c;
  c.established();
  c.peer.together([&] {
    for (std::int64_t i = 1; i <= 3; ++i) c.peer.sends(ACK, {.seq = 1 + i * size, .len = size});
  });
  EXPECT_EQ(c.count(Counter::tcp_merged_in), 2u);
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.ack = 1});
  c.peer.expects_nothing();
}

// RFC 5681 4.2 counts full-sized segments: how long those are is learnt from segments, not from what they became.
TEST(Gro, MergedSmallSegmentsAreNotTakenForAFullOne) {
  Conversation c;
  c.established();
  const std::uint32_t before = c.app.conn.info().receive_mss;
  c.peer.together([&] {
    for (int i = 0; i < 8; ++i) c.peer.sends(ACK, {.len = 100});
  });
  EXPECT_EQ(c.count(Counter::tcp_merged_in), 7u);
  ASSERT_LT(before, 800u);
  EXPECT_EQ(c.app.conn.info().receive_mss, before);
  // The same off the predicted path: they fill a gap.
  c.peer.sends(ACK, {.seq = 1 + 2 * 800, .len = 100});
  c.peer.together([&] {
    for (int i = 0; i < 8; ++i) c.peer.sends(ACK, {.seq = 1 + 800 + i * 100, .len = 100});
  });
  EXPECT_EQ(c.count(Counter::tcp_merged_in), 14u);
  EXPECT_EQ(c.app.conn.info().receive_mss, before);
}

TEST(Gro, AMergedSegmentIsNoLongerThanASegmentMayBe) {
  TcpOptions options = plain_tcp();
  options.conn.window_scaling = true;
  options.conn.receive_buffer = 1 << 20;
  Conversation c(options);
  c.established({.mss = 1460, .wscale = 7});
  c.peer.sends(ACK, {.len = 4000});  // the answer brings a window of more than 65,535
  c.peer.expects_any();
  std::uint32_t largest = 0;
  c.app.when_data = [&](TcpConn, Bytes bytes) { largest = std::max(largest, bytes.size()); };
  c.peer.together([&] {
    for (int i = 0; i < 20; ++i) c.peer.sends(ACK, {.len = 4000});
  });
  EXPECT_EQ(c.app.deliveries, 1u + 2u);
  EXPECT_EQ(largest, 64000u);
  c.peer.expects(ACK, {.ack = 1 + 21 * 4000});
}

}  // namespace
}  // namespace pollux::test
