// Path MTU discovery over IPv6 (RFC 8201): packet too big, checked as RFC 5927 checks its IPv4 sister; black holes.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

HostOptions v6_host() {
  HostOptions options;
  options.v6_address = {IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, 1), 64};
  options.stack.ip.dad_solicitations = 0;  // the peer answers every solicitation
  return options;
}

struct V6Conversation : Conversation {
  explicit V6Conversation(const TcpOptions& tcp = plain_tcp()) : Conversation(tcp, v6_host()) {
    established({.mss = 1440});
  }
  void router_says(std::uint32_t mtu, std::int64_t quoted) {
    constexpr std::uint8_t unreachable = 3, fragmentation_needed = 4;  // sent as packet too big
    peer.sends_icmp_error(unreachable, fragmentation_needed, quoted, mtu);
  }
  /// The payloads that came, in order.
  std::vector<std::uint32_t> sizes() {
    std::vector<std::uint32_t> out;
    for (const auto& arrival : peer.take())
      out.push_back(static_cast<std::uint32_t>(arrival.segment.payload.size()));
    return out;
  }
};
using Sizes = std::vector<std::uint32_t>;

TEST(PathMtuV6, SmallerSegmentsGoAtOnce) {
  V6Conversation c;
  c.sends(pattern(1, 2880));
  EXPECT_EQ(c.sizes(), (Sizes{1440, 1440}));
  c.router_says(1300, 1);
  EXPECT_EQ(c.sizes(), (Sizes{1240, 200, 1240, 200}));
  EXPECT_EQ(c.count(Counter::tcp_mtu_lowered), 1u);
  EXPECT_EQ(c.count(Counter::icmp6_in_too_bigs), 1u);
  c.peer.sends(ACK, {.ack = 2881});
  c.sends(pattern(2881, 2480));
  EXPECT_EQ(c.sizes(), (Sizes{1240, 1240}));
}

TEST(PathMtuV6, Rfc8201NoClaimGoesBelow1280) {
  V6Conversation c;
  c.sends(pattern(1, 1440));
  c.peer.take();
  for (const std::uint32_t mtu : {1279u, 68u, 0u}) c.router_says(mtu, 1);
  EXPECT_EQ(c.dropped(DropReason::icmp_implausible_mtu), 3u);
  c.peer.expects_nothing();
  c.router_says(1280, 1);
  EXPECT_EQ(c.sizes(), (Sizes{1220, 220}));
  c.router_says(1280, 1);
  EXPECT_EQ(c.dropped(DropReason::icmp_implausible_mtu), 4u) << "said already";
}

TEST(PathMtuV6, WhatCannotBeIsDropped) {
  V6Conversation c;
  c.sends(pattern(1, 1440));
  c.peer.take();
  c.router_says(1500, 1);  // our packets are no larger
  c.router_says(9000, 1);
  EXPECT_EQ(c.dropped(DropReason::icmp_implausible_mtu), 2u);
  c.router_says(1300, 1441);  // not sent yet
  c.router_says(1300, -1);    // acknowledged
  EXPECT_EQ(c.dropped(DropReason::icmp_out_of_window), 2u);
  c.peer.expects_nothing();
  EXPECT_EQ(c.count(Counter::tcp_mtu_lowered), 0u);
}

TEST(PathMtuV6, AClaimWaitsForATimeoutOnceFullSegmentsWereAcknowledged) {
  V6Conversation c;
  c.sends(pattern(1, 2880));
  c.peer.take();
  c.peer.sends(ACK, {.ack = 2881});
  c.sends(pattern(2881, 1440));
  EXPECT_EQ(c.sizes(), Sizes{1440});
  c.router_says(1280, 2881);
  c.peer.expects_nothing();
  c.peer.waits(1500_ms);
  EXPECT_EQ(c.sizes().front(), 1220u) << "the timeout confirms it";
}

TEST(PathMtuV6, TheFullSizeIsTriedAgainAfterTenMinutes) {
  V6Conversation c;
  c.sends(pattern(1, 1440));
  c.peer.take();
  c.router_says(1300, 1);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1441});
  c.world.run_for(610_s);
  c.sends("x");  // its timer looks
  c.world.run_for(3_s);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 1442});
  c.sends(pattern(1442, 1440));
  EXPECT_EQ(c.sizes(), (Sizes{1440}));
}

TEST(PathMtuV6, ABlackHoleIsFoundAfterThreeTimeouts) {
  TcpOptions options = plain_tcp();
  options.conn.black_hole_detection = true;
  V6Conversation c(options);
  c.sends(pattern(1, 1440));
  c.peer.expects(ACK, {.len = 1440});
  c.peer.expects_after(200_ms, ACK, {.len = 1440});
  c.peer.expects_after(400_ms, ACK, {.len = 1440});
  c.peer.expects_after(800_ms, ACK, {.seq = 1, .len = 1220});
  c.peer.sends(ACK, {.ack = 1221});
  c.peer.waits(1_ms);
  for (const std::uint32_t size : c.sizes()) EXPECT_LE(size, 1220u);
}

}  // namespace
}  // namespace pollux::test
