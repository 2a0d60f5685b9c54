// What the flight recorder is told about a connection's life.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "support/conversation.h"

namespace pollux::test {
namespace {

std::string text_of(const FlightRecord& r) {
  switch (r.event) {
    case FlightEvent::state:
      return tcp_state_name(static_cast<TcpState>(r.code));
    case FlightEvent::closed:
      return std::string("closed: ") + close_reason_name(static_cast<CloseReason>(r.code));
    case FlightEvent::retransmission:
      return "retransmitted " + std::to_string(r.detail);
    case FlightEvent::tail_probe:
      return "probe";
    case FlightEvent::marked:
      return "marked";
    case FlightEvent::fast_recovery:
      return "lost " + std::to_string(r.detail);
    case FlightEvent::recovered:
      return "recovered";
    case FlightEvent::timeout:
      return "timeout " + std::to_string(r.code);
    case FlightEvent::reset_sent:
      return "RST";
    case FlightEvent::long_turn:
      return "long turn";
    case FlightEvent::drops:
      return "drops";
  }
  return "?";
}

std::vector<std::string> events(Conversation& c) {
  std::vector<std::string> all;
  const FlightRecorder& recorder = c.host.stack().flight();
  for (std::uint64_t i = recorder.first(); i < recorder.count(); ++i) all.push_back(text_of(recorder[i]));
  return all;
}

using Events = std::vector<std::string>;

TEST(Flight, FollowsAConnectionFromItsSynToItsEnd) {
  Conversation c;
  c.app.close_with_peer = true;
  c.established();
  c.sends("data that flows makes no events");
  c.peer.expects(ACK);
  c.peer.sends(ACK);
  c.peer.sends(FIN | ACK);
  c.peer.expects(FIN | ACK);
  c.peer.sends(ACK);
  EXPECT_EQ(events(c), (Events{"SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "closed: normal"}));
  const FlightRecord& first = c.host.stack().flight()[0];
  EXPECT_EQ(first.connection, c.app.conn.handle());
  EXPECT_LE(first.at, c.world.now());
}

TEST(Flight, TellsTimeoutsRetransmissionsAndResets) {
  Conversation c;
  c.established();
  c.sends("x");
  c.peer.expects(ACK);
  c.peer.expects_after(200_ms, ACK, {.seq = 1});
  c.peer.expects_after(400_ms, ACK, {.seq = 1});
  c.app.conn.abort();
  c.runs();
  EXPECT_EQ(events(c), (Events{"SYN-RECEIVED", "ESTABLISHED", "timeout 1", "retransmitted 1", "timeout 2",
                               "retransmitted 1", "RST", "closed: aborted"}));
}

TEST(Flight, TellsFastRecoveryAndItsEnd) {
  Conversation c;
  c.established({.mss = 1000});
  c.sends(std::string(5000, 'x'));
  c.peer.take();
  for (int i = 0; i < 3; ++i) c.peer.sends(ACK, {.ack = 1});
  c.peer.take();
  c.peer.sends(ACK, {.ack = 5001});
  EXPECT_EQ(events(c), (Events{"SYN-RECEIVED", "ESTABLISHED", "lost 1000", "retransmitted 1", "recovered"}));
}

TEST(Flight, APeersResetIsTheReasonOfTheEnd) {
  Conversation c;
  c.established();
  c.peer.sends(RST);
  EXPECT_EQ(events(c).back(), "closed: reset by peer");
}

}  // namespace
}  // namespace pollux::test
