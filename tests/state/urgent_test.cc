// The urgent mechanism: RFC 9293 3.8.5 and 3.10.7.4 sixth, RFC 6093.
#include <gtest/gtest.h>

#include <utility>
#include <vector>

#include "support/conversation.h"

namespace pollux::test {
namespace {

/// What on_data was given, with what urgent_remaining() said then.
using Delivery = std::pair<std::string, std::uint32_t>;

std::vector<Delivery>& record_deliveries(Conversation& c, std::vector<Delivery>& into) {
  c.app.when_data = [&into](TcpConn conn, Bytes bytes) { into.emplace_back(bytes.to_string(), conn.urgent_remaining()); };
  return into;
}

// --- Receiving ---------------------------------------------------------------------------------------------

TEST(Urgent, Must30And32TheApplicationHearsOfTheMarkBeforeTheData) {
  Conversation c;
  c.established();
  std::vector<Delivery> got;
  record_deliveries(c, got);
  c.peer.sends(ACK | URG, {.urgent = 100});  // nothing but the mark
  EXPECT_EQ(c.app.urgent, 1u);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 100u) << "MUST-33";
  EXPECT_TRUE(got.empty());
  c.peer.sends(ACK | URG, {.len = 60, .urgent = 100});
  EXPECT_EQ(c.app.urgent, 1u) << "the same mark";
  c.peer.sends(ACK | URG, {.len = 40, .urgent = 40});
  EXPECT_EQ(c.app.urgent, 1u);
  EXPECT_EQ(got, (std::vector<Delivery>{{pattern(1, 60), 40}, {pattern(61, 40), 0}}));
  EXPECT_EQ(c.app.conn.urgent_remaining(), 0u);
}

TEST(Urgent, Must31And32AMarkThatMovesOnIsToldAgain) {
  Conversation c;
  c.established();
  c.peer.sends(ACK | URG, {.len = 10, .urgent = 65535});
  EXPECT_EQ(c.app.conn.urgent_remaining(), 65525u);
  c.peer.sends(ACK | URG, {.len = 10, .urgent = 65535});
  EXPECT_EQ(c.app.urgent, 2u);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 65525u) << "of any length, by and by";
  c.peer.sends(ACK | URG, {.len = 10, .urgent = 30});
  EXPECT_EQ(c.app.urgent, 2u) << "never back";
  EXPECT_EQ(c.app.conn.urgent_remaining(), 65515u);
}

TEST(Urgent, Must62ADeliveryEndsAtTheMark) {
  Conversation c;
  c.established();
  std::vector<Delivery> got;
  record_deliveries(c, got);
  c.peer.sends(ACK | URG, {.data = "now!later", .urgent = 4});
  EXPECT_EQ(got, (std::vector<Delivery>{{"now!", 0}, {"later", 0}}));
  c.peer.sends(ACK, {.data = "plain"});
  EXPECT_EQ(got.back(), (Delivery{"plain", 0}));
  EXPECT_EQ(c.app.urgent, 1u);
  c.peer.take();
  c.peer.sends(ACK, {});
  c.peer.expects_nothing();
}

TEST(Urgent, TheMarkHoldsForDataThatArrivesWithoutTheFlagAndOutOfOrder) {
  Conversation c;
  c.established();
  std::vector<Delivery> got;
  record_deliveries(c, got);
  c.peer.sends(ACK | URG, {.urgent = 15});
  c.peer.sends(ACK, {.seq = 11, .len = 10});
  c.peer.sends(ACK, {.seq = 1, .len = 10});
  EXPECT_EQ(got, (std::vector<Delivery>{{pattern(1, 10), 5}, {pattern(11, 5), 0}, {pattern(16, 5), 0}}));
  c.peer.take();
  c.peer.set_snd_nxt(21);
  c.peer.sends(ACK, {.len = 1});
  c.peer.expects(ACK, {.ack = 22});
}

TEST(Urgent, OldAndEmptyPointersSayNothing) {
  Conversation c;
  c.established();
  c.peer.sends(ACK | URG, {.urgent = 0});
  c.peer.sends(ACK, {.len = 20});
  c.peer.sends(ACK | URG, {.seq = 1, .len = 20, .urgent = 5});  // a retransmission
  c.peer.sends(ACK, {.len = 20, .urgent = 5});                  // no flag
  EXPECT_EQ(c.app.urgent, 0u);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 0u);
}

TEST(Urgent, Must66IsHeardWhileTheWindowIsClosed) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 4096;
  Conversation c(options);
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1176});
  c.peer.take();
  c.peer.sends(ACK | URG, {.urgent = 50});
  EXPECT_EQ(c.app.urgent, 1u);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 50u);
  c.peer.sends(ACK | URG, {.seq = c.peer.snd_nxt(), .len = 10, .urgent = 90});
  EXPECT_EQ(c.app.urgent, 2u) << "though its text is not taken";
  EXPECT_EQ(c.app.conn.urgent_remaining(), 90u);
}

TEST(Urgent, NothingIsToldAfterTheFin) {
  Conversation c;
  c.established();
  c.app.when_peer_closed = [](TcpConn) {};
  c.peer.sends(FIN | ACK);
  c.peer.sends(ACK | URG, {.urgent = 9});
  EXPECT_EQ(c.app.urgent, 0u);
}

TEST(Urgent, TheCallbackMayAbort) {
  Conversation c;
  c.established();
  c.app.when_urgent = [](TcpConn conn) { conn.abort(); };
  c.peer.sends(ACK | URG, {.data = "x", .urgent = 1});
  c.peer.expects(RST | ACK);
  EXPECT_EQ(c.app.received, "");
}

TEST(Urgent, ComesWithTheSynAck) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  c.peer.sends(SYN | ACK | URG, {.mss = 1460, .urgent = 8});
  c.peer.expects(ACK);
  EXPECT_EQ(c.app.urgent, 1u);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 7u) << "the SYN is one of the eight";
}

// --- Sending -----------------------------------------------------------------------------------------------

SendResult send_urgent(Conversation& c, std::string_view text) {
  return c.app.conn.send_urgent(std::span(reinterpret_cast<const std::uint8_t*>(text.data()), text.size()));
}

TEST(Urgent, Must30And62ThePointerNamesTheOctetBehindTheUrgentData) {
  Conversation c;
  c.established();
  c.sends("plain");
  c.peer.expects(ACK, {.seq = 1, .data = "plain"});
  EXPECT_EQ(send_urgent(c, "now!").accepted, 4u);
  c.runs();
  c.peer.expects(ACK | URG, {.seq = 6, .data = "now!", .urgent = 4});
  c.peer.sends(ACK, {.ack = 10});
  c.sends("after");
  const Decoded after = c.peer.expects(ACK, {.seq = 10, .data = "after"});
  EXPECT_EQ(after.urgent_pointer, 0);
}

TEST(Urgent, Must31EverySegmentBeforeTheMarkTellsOfIt) {
  Conversation c;
  c.established({.mss = 1000});
  c.queues(pattern(1, 2500));
  EXPECT_EQ(send_urgent(c, "!").accepted, 1u);
  c.queues("behind it");
  c.runs();
  c.peer.expects(ACK | URG, {.seq = 1, .len = 1000, .urgent = 2501});
  c.peer.expects(ACK | URG, {.seq = 1001, .len = 1000, .urgent = 1501});
  c.peer.expects(ACK | URG, {.seq = 2001, .len = 510, .urgent = 501});
  // A retransmission tells it too.
  c.peer.expects_after(200_ms, ACK | URG, {.seq = 1, .len = 1000, .urgent = 2501});
}

TEST(Urgent, Must31AMarkFartherThan16BitsIsToldAsFarAsTheyReach) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 1 << 20;
  Conversation c(options);
  c.established({.mss = 1000});
  c.queues(pattern(1, 100'000));
  EXPECT_EQ(send_urgent(c, "!").accepted, 1u);
  c.runs();
  c.peer.expects(ACK | URG, {.seq = 1, .urgent = 65535});
}

TEST(Urgent, AClosedWindowDoesNotHoldTheNewsBack) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.window = 0});
  EXPECT_EQ(send_urgent(c, "now!").accepted, 4u);
  c.runs();
  c.peer.expects(ACK | URG, {.seq = 1, .len = 0, .urgent = 4});
  c.peer.expects_after(200_ms, ACK | URG, {.seq = 1, .len = 1, .urgent = 4});  // the probe
}

TEST(Urgent, NagleDoesNotHoldItBack) {
  Conversation c;
  c.established();
  c.sends("first");
  c.peer.expects(ACK, {.data = "first"});
  c.sends("held");
  c.peer.expects_nothing();
  EXPECT_EQ(send_urgent(c, "!").accepted, 1u);
  c.runs();
  c.peer.expects(ACK | URG, {.seq = 6, .data = "held!", .urgent = 5});
}

TEST(Urgent, QueuedBeforeTheHandshakeItIsTheSame) {
  Conversation c;
  c.connects();
  c.peer.expects(SYN);
  EXPECT_EQ(send_urgent(c, "now!").accepted, 4u);
  c.runs();
  c.peer.expects_nothing();
  c.peer.sends(SYN | ACK, {.mss = 1460});
  c.peer.expects(ACK | URG, {.seq = 1, .data = "now!", .urgent = 4});
}

TEST(Urgent, AfterCloseThereIsNone) {
  Conversation c;
  c.established();
  c.app.conn.shutdown_send();
  EXPECT_EQ(send_urgent(c, "x").status, SendStatus::closed);
  c.app.conn.abort();
  EXPECT_EQ(send_urgent(c, "x").status, SendStatus::closed);
  EXPECT_EQ(c.app.conn.urgent_remaining(), 0u);
}

}  // namespace
}  // namespace pollux::test
