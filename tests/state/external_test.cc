// Sending the application's own memory: the peer gets the octets, and on_complete() comes when nobody needs them any more,
// neither the connection nor a device. WriteBuffer on a connection.
#include <gtest/gtest.h>

#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint32_t mss = 1000;

struct Sending final : ExternalSend {
  int completed = 0;
  std::function<void()> then;
  void on_complete() noexcept override {
    ++completed;
    if (then) then();
  }
};

std::span<const std::uint8_t> octets(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

struct ExternalConversation : Conversation {
  explicit ExternalConversation(const TcpOptions& options = plain_tcp()) : Conversation(options) { established({.mss = mss}); }
  SendResult sends(std::uint32_t offset, std::uint32_t length, Sending& sending) {
    host.sync();
    const SendResult result = app.conn.send_external(memory, octets(text).subspan(offset, length), sending);
    runs();
    return result;
  }
  std::string text = pattern_text(3'000'000);
  ExternalMemory memory{octets(text)};
  static std::string pattern_text(std::size_t n) {
    std::string text(n, '\0');
    for (std::size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + i * 11 % 26);
    return text;
  }
};

TEST(ExternalSends, CompleteWithTheLastAcknowledgment) {
  ExternalConversation c;
  Sending sending;
  EXPECT_EQ(c.sends(5, 2 * mss, sending).accepted, 2 * mss);
  c.peer.expects(ACK, {.seq = 1, .data = c.text.substr(5, mss)});
  c.peer.expects(ACK, {.seq = 1 + mss, .data = c.text.substr(5 + mss, mss)});
  EXPECT_EQ(sending.completed, 0);
  c.peer.sends(ACK, {.ack = 2 * mss});
  EXPECT_EQ(sending.completed, 0);
  EXPECT_TRUE(sending.is_pending());
  c.peer.sends(ACK, {.ack = 2 * mss + 1});
  EXPECT_EQ(sending.completed, 1);
  EXPECT_EQ(c.host.stack().has_external_sends(), false);
}

TEST(ExternalSends, NotBeforeTheDeviceLetsGo) {
  ExternalConversation c;
  Sending sending;
  c.host.keep_sent(true);
  c.sends(0, 3 * mss, sending);
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.len = mss});
  c.peer.sends(ACK, {.ack = 3 * mss + 1});
  c.peer.waits(20_ms);
  EXPECT_EQ(sending.completed, 0);
  EXPECT_EQ(c.app.conn.unacknowledged(), 0u);
  c.host.keep_sent(false);
  c.peer.waits(2_ms);  // without a packet that would tell
  EXPECT_EQ(sending.completed, 1);
}

// A retransmission while the device still reads the first transmission: neither its header nor the octets change.
TEST(ExternalSends, ARetransmissionWritesNothingThatADeviceReads) {
  ExternalConversation c;
  Sending sending;
  c.host.keep_sent(true);
  c.sends(0, mss, sending);
  c.peer.expects(ACK, {.len = mss});
  ASSERT_EQ(c.host.sent().size(), 1u);
  const auto contents = [&](std::size_t i) {
    std::string all(c.host.sent()[i].size(), '\0');
    c.host.sent()[i].copy_out(0, {reinterpret_cast<std::uint8_t*>(all.data()), all.size()});
    return all;
  };
  const std::string before = contents(0);
  c.peer.sends(ACK, {.ack = 1, .len = 100});  // so that the headers differ
  c.peer.expects(ACK, {.ack = 101});
  c.peer.expects_between(150_ms, 400_ms, ACK, {.seq = 1, .ack = 101, .data = c.text.substr(0, mss)});
  EXPECT_EQ(contents(0), before);
  const std::size_t last = c.host.sent().size() - 1;
  EXPECT_NE(c.host.sent()[0].data(), c.host.sent()[last].data());
  EXPECT_NE(contents(last), before);
  c.peer.sends(ACK, {.ack = mss + 1});
  EXPECT_EQ(sending.completed, 0);
  c.host.keep_sent(false);
  c.peer.waits(2_ms);
  EXPECT_EQ(sending.completed, 1);
}

TEST(ExternalSends, GoAlongsideCopiesInOrder) {
  ExternalConversation c;
  Sending sending;
  c.app.conn.set_nagle(false);
  c.queues("before ");
  c.sends(0, 20, sending);  // small: copied behind its header, and yet pending until it is acknowledged
  c.Conversation::sends(" after");
  std::string heard;
  for (const auto& arrival : c.peer.take())
    heard.append(arrival.segment.payload.begin(), arrival.segment.payload.end());
  EXPECT_EQ(heard, "before " + c.text.substr(0, 20) + " after");
  c.peer.sends(ACK, {.ack = 1 + 7 + 19});
  EXPECT_EQ(sending.completed, 0);
  c.peer.sends(ACK, {.ack = 1 + 7 + 20});
  EXPECT_EQ(sending.completed, 1);
}

TEST(ExternalSends, TakeWhatTheSendBufferTakes) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 10'000;
  ExternalConversation c(options);
  Sending first, second;
  c.peer.sends(ACK, {.window = 0});
  const SendResult taken = c.sends(0, 50'000, first);
  EXPECT_EQ(taken.accepted, 10'000u);
  EXPECT_EQ(taken.status, SendStatus::would_block);
  const SendResult none = c.sends(10'000, 10, second);
  EXPECT_EQ(none.accepted, 0u);
  EXPECT_EQ(none.status, SendStatus::would_block);
  EXPECT_FALSE(second.is_pending());
  c.app.conn.abort();
  c.runs();
  EXPECT_EQ(first.completed, 1);
  EXPECT_EQ(second.completed, 0);
  EXPECT_EQ(c.sends(0, 1, second).status, SendStatus::closed);
  EXPECT_FALSE(second.is_pending());
}

TEST(ExternalSends, WhatWasCutShortIsToldOfRoom) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 5 * mss;
  ExternalConversation c(options);
  Sending sending;
  EXPECT_EQ(c.sends(0, 6 * mss, sending).accepted, 5 * mss);
  EXPECT_EQ(c.app.writable, 0u);
  c.peer.take();
  c.peer.sends(ACK, {.ack = 5 * mss + 1});
  EXPECT_EQ(c.app.writable, 1u);
  EXPECT_EQ(sending.completed, 1);
}

TEST(ExternalSends, OneTakesAMebibyteAtMost) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 2'500'000;
  ExternalConversation c(options);
  Sending sending;
  const SendResult taken = c.sends(0, 3'000'000, sending);
  EXPECT_EQ(taken.accepted, ExternalSends::send_max);
  EXPECT_EQ(taken.status, SendStatus::would_block);
  c.app.conn.abort();
  c.runs();
  EXPECT_EQ(sending.completed, 1);
}

TEST(ExternalSends, OutOfMbufsNothingIsTaken) {
  ExternalConversation c;
  Sending sending;
  c.host.pool().set_limit(0);
  EXPECT_EQ(c.sends(0, mss, sending).status, SendStatus::no_memory);
  EXPECT_FALSE(sending.is_pending());
  c.host.pool().set_limit(1000);
}

TEST(ExternalSends, TheEndOfAConnectionGivesThemBack) {
  ExternalConversation c;
  Sending sending;
  c.sends(0, 3 * mss, sending);
  c.peer.take();
  c.peer.sends(RST | ACK);
  EXPECT_EQ(sending.completed, 1);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::reset_by_peer);
}

TEST(ExternalSends, OnCompleteMaySendAgain) {
  ExternalConversation c;
  Sending sending;
  sending.then = [&] {
    if (sending.completed == 3) return;
    EXPECT_EQ(c.app.conn.send_external(c.memory, octets(c.text).first(mss), sending).accepted, mss);
  };
  c.sends(0, mss, sending);
  for (int i = 0; i < 3; ++i) {
    c.peer.expects(ACK, {.seq = 1 + i * std::int64_t{mss}, .data = c.text.substr(0, mss)});
    c.peer.sends(ACK, {.ack = 1 + (i + 1) * std::int64_t{mss}});
  }
  c.peer.expects_nothing();
  EXPECT_EQ(sending.completed, 3);
}

TEST(ExternalSends, TheEndOfAStackGivesThemBack) {
  Sending sending;
  ExternalConversation c;
  Sending inner;
  {
    TestApp app;  // outlives the stack, whose end still calls
    World world(one_seed());
    SimHost& host = world.add_bare_host({});
    TestPeer peer(world, host);
    ASSERT_TRUE(host.tcp().listen({.port = 7}, app));
    peer.connects();
    EXPECT_EQ(app.conn.send_external(c.memory, octets(c.text).first(mss), sending).accepted, mss);
    host.stack().flush(world.now());  // a segment waits for the port
    EXPECT_NE(host.stack().tx(0).size(), 0u);
    sending.then = [&app] { EXPECT_EQ(app.conn.send("too late").status, SendStatus::closed); };
  }
  EXPECT_EQ(sending.completed, 1);
}

TEST(WriteBuffers, AreSentAsTheyWereWritten) {
  ExternalConversation c;
  c.app.conn.set_nagle(false);
  WriteBuffer buffer = c.host.stack().alloc(1500);
  ASSERT_TRUE(buffer);
  std::copy_n(c.text.begin(), 1500, buffer.front().begin());
  EXPECT_EQ(c.app.conn.send(std::move(buffer).take(1400)).accepted, 1400u);
  c.runs();
  c.peer.expects(ACK, {.data = c.text.substr(0, 1000)});
  c.peer.expects(ACK, {.data = c.text.substr(1000, 400)});
}

}  // namespace
}  // namespace pollux::test
