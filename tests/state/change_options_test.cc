// Options that change while connections are open (Tcp::prepare, Tcp::change).
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

using namespace literals;

void change(Conversation& c, const TcpOptions& options) {
  const auto prepared = c.host.tcp().prepare(options);
  ASSERT_TRUE(prepared) << prepared.error().text;
  c.host.tcp().change(options);
}

TEST(ChangeOptions, AreThoseOfTheNextConnectionAndNotOfTheOpenOne) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  c.established({.mss = 1400});
  const TcpConn first = c.app.conn;
  options.conn.mss_max = 500;
  options.conn.ttl = 33;
  change(c, options);
  EXPECT_EQ(first.info().mss, 1400);
  c.peer.use_ports(40001, 7);
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK, {.mss = 500});
}

TEST(ChangeOptions, ListenersWithOptionsOfTheirOwnKeepThem) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  TcpConnOptions own = options.conn;
  own.mss_max = 700;
  c.listens({.port = 7, .conn = own});
  options.conn.mss_max = 500;
  change(c, options);
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK, {.mss = 700});
}

TEST(ChangeOptions, WhatIsNoConnectionsOwnCountsAtOnce) {
  TcpOptions options = plain_tcp();
  Conversation c(options);
  c.established();
  options.rto_min = options.rto_initial = 3_s;
  change(c, options);
  c.sends("lost");
  c.peer.expects(ACK | PSH, {.data = "lost"});
  c.world.run_for(2900_ms);
  c.peer.take();  // a tail loss probe, perhaps
  EXPECT_EQ(c.count(Counter::tcp_timeouts), 0u);
  c.world.run_for(4_s);
  EXPECT_GT(c.count(Counter::tcp_timeouts), 0u);
}

TEST(ChangeOptions, AsManyTimesAsYouLikeAndTheOldestConnectionStillHasItsOwn) {
  TcpOptions options = plain_tcp();
  options.conn.ttl = 77;
  Conversation c(options);
  c.established();
  for (std::uint32_t i = 0; i < 500; ++i) {
    options.conn.keepalive_idle = Duration::from_s(100 + i);
    options.conn.ttl = 64;
    change(c, options);
  }
  c.sends("by the first options");
  c.peer.expects(ACK | PSH, {.data = "by the first options"});
  EXPECT_TRUE(c.app.conn.set_user_timeout(5_s)) << "they can still be copied";
}

TEST(ChangeOptions, WhatCannotChangeOrIsWrongIsRefused) {
  Conversation c;
  TcpOptions size = plain_tcp(), wrong = plain_tcp();
  size.connections_max += 1;
  wrong.conn.ttl = 0;
  EXPECT_FALSE(c.host.tcp().prepare(size));
  EXPECT_FALSE(c.host.tcp().prepare(wrong));
}

TEST(ChangeOptions, AListenersBacklog) {
  TcpOptions options = plain_tcp();
  options.syn_cookies = TcpSynCookies::off;
  Conversation c(options);
  c.listens({.port = 7, .backlog = 1});
  const auto syn_from = [&](std::uint16_t port) {
    c.peer.use_ports(port, 7);
    c.peer.sends(SYN);
    return c.peer.take().size();
  };
  EXPECT_EQ(syn_from(40001), 1u);
  EXPECT_EQ(syn_from(40002), 0u);
  c.listener.set_backlog(2);
  EXPECT_EQ(syn_from(40002), 1u);
  EXPECT_EQ(syn_from(40003), 0u);
}

}  // namespace
}  // namespace pollux::test
