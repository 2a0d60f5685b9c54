// Path MTU discovery: RFC 1191, checks against forged ICMP of RFC 5927, black holes of RFC 4821.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint8_t unreachable = 3, fragmentation_needed = 4;

void router_says(Conversation& c, std::uint32_t mtu, std::int64_t quoted) {
  c.peer.sends_icmp_error(unreachable, fragmentation_needed, quoted, mtu);
}

/// The payloads that came, in order.
std::vector<std::uint32_t> sizes(Conversation& c) {
  std::vector<std::uint32_t> out;
  for (const auto& arrival : c.peer.take()) out.push_back(static_cast<std::uint32_t>(arrival.segment.payload.size()));
  return out;
}
using Sizes = std::vector<std::uint32_t>;

TEST(PathMtu, Rfc1191SmallerSegmentsGoAtOnce) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 2920));
  EXPECT_EQ(sizes(c), (Sizes{1460, 1460}));
  router_says(c, 1000, 1);
  EXPECT_EQ(sizes(c), (Sizes{960, 500, 960, 500}));
  EXPECT_EQ(c.count(Counter::tcp_mtu_lowered), 1u);
  c.peer.sends(ACK, {.ack = 2921});
  c.sends(pattern(2921, 2000));
  EXPECT_EQ(sizes(c), (Sizes{960, 960}));
}

TEST(PathMtu, Rfc1191SectionSevenGuessesWhenTheRouterNamesNoSize) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 1460));
  EXPECT_EQ(sizes(c), Sizes{1460});
  router_says(c, 0, 1);
  EXPECT_EQ(sizes(c), (Sizes{1452, 8}));
  router_says(c, 0, 1);
  EXPECT_EQ(sizes(c), (Sizes{966, 486, 8}));
  router_says(c, 0, 1);
  EXPECT_EQ(sizes(c).front(), 512u);
}

TEST(PathMtu, Rfc5927WhatCannotBeIsDropped) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.take();
  router_says(c, 1500, 1);  // our packets are no larger
  router_says(c, 9000, 1);
  router_says(c, 67, 1);    // every path carries 68
  EXPECT_EQ(c.dropped(DropReason::icmp_implausible_mtu), 3u);
  router_says(c, 1000, 1461);  // not sent yet
  router_says(c, 1000, -1);    // acknowledged
  EXPECT_EQ(c.dropped(DropReason::icmp_out_of_window), 2u);
  c.peer.expects_nothing();
  EXPECT_EQ(c.count(Counter::tcp_mtu_lowered), 0u);
}

TEST(PathMtu, Rfc5927NoClaimGoesBelow552) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.take();
  router_says(c, 68, 1);
  EXPECT_EQ(sizes(c).front(), 512u);
  router_says(c, 68, 1);
  EXPECT_EQ(c.dropped(DropReason::icmp_implausible_mtu), 1u);
}

TEST(PathMtu, Rfc5927AClaimWaitsForATimeoutOnceFullSegmentsWereAcknowledged) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 2920));
  c.peer.take();
  c.peer.sends(ACK, {.ack = 2921});
  c.sends(pattern(2921, 1460));
  EXPECT_EQ(sizes(c), Sizes{1460});
  router_says(c, 1000, 2921);
  c.peer.expects_nothing();
  c.peer.waits(1500_ms);
  EXPECT_EQ(sizes(c).front(), 960u) << "the timeout confirms it";
  // Acknowledged in the meantime, it was a lie.
  Conversation other;
  other.established();
  other.sends(pattern(1, 2920));
  other.peer.take();
  other.peer.sends(ACK, {.ack = 2921});
  other.sends(pattern(2921, 1460));
  router_says(other, 1000, 2921);
  other.peer.sends(ACK, {.ack = 4381});
  other.sends(pattern(4381, 1460));
  other.peer.take();
  other.peer.waits(1500_ms);
  for (const std::uint32_t size : sizes(other)) EXPECT_EQ(size, 1460u);
  EXPECT_EQ(other.count(Counter::tcp_mtu_lowered), 0u);
}

TEST(PathMtu, Rfc1191TheFullSizeIsTriedAgainAfterTenMinutes) {
  Conversation c;
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.take();
  router_says(c, 1000, 1);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1461});
  c.world.run_for(590_s);
  c.sends(pattern(1461, 1460));
  EXPECT_EQ(sizes(c), (Sizes{960}));  // and the rest by Nagle
  c.peer.sends(ACK, {.ack = 2421});
  EXPECT_EQ(sizes(c), (Sizes{500}));
  c.peer.sends(ACK, {.ack = 2921});
  c.world.run_for(20_s);
  c.sends("x");  // its timer looks
  c.world.run_for(3_s);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 2922});
  c.sends(pattern(2922, 1460));
  EXPECT_EQ(sizes(c), (Sizes{1460}));
}

TEST(PathMtu, Rfc4821ABlackHoleIsFoundAfterThreeTimeouts) {
  TcpOptions options = plain_tcp();
  options.conn.black_hole_detection = true;
  Conversation c(options);
  c.established();
  c.sends(pattern(1, 1460));
  c.peer.expects(ACK, {.len = 1460});
  c.peer.expects_after(200_ms, ACK, {.len = 1460});
  c.peer.expects_after(400_ms, ACK, {.len = 1460});
  c.peer.expects_after(800_ms, ACK, {.seq = 1, .len = 1160});
  c.peer.expects_after(1600_ms, ACK, {.seq = 1, .len = 512});
  c.peer.sends(ACK, {.ack = 513});
  c.peer.waits(1_ms);
  for (const std::uint32_t size : sizes(c)) EXPECT_LE(size, 512u);
  EXPECT_EQ(c.count(Counter::tcp_mtu_lowered), 2u);
}

TEST(PathMtu, BlackHolesAreNotLookedForByDefaultOrForSmallSegments) {
  Conversation off;
  off.established();
  off.sends(pattern(1, 1460));
  off.world.run_for(60_s);
  for (const std::uint32_t size : sizes(off)) EXPECT_EQ(size, 1460u);
  TcpOptions options = plain_tcp();
  options.conn.black_hole_detection = true;
  Conversation small(options);
  small.established();
  small.sends(pattern(1, 300));
  small.world.run_for(60_s);
  for (const std::uint32_t size : sizes(small)) EXPECT_EQ(size, 300u);
  EXPECT_EQ(small.count(Counter::tcp_mtu_lowered), 0u);
}

}  // namespace
}  // namespace pollux::test
