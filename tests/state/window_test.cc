// Flow control: RFC 9293 3.8.6 (zero windows, silly windows on both sides), Nagle, the send buffer, and the
// receive window that counts what the application keeps.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

void established_with_window(Conversation& c, std::uint32_t window, std::uint16_t mss = 1460) {
  c.listens();
  c.peer.sends(SYN, {.window = window, .mss = mss});
  c.peer.expects(SYN | ACK);
  c.peer.set_window(window);
  c.peer.sends(ACK);
}

// --- Zero-window probes ------------------------------------------------------------------------------------

TEST(ZeroWindow, Must36ProbesStartAfterAnRtoAndBackOffAndGoOnWhileAnswered) {
  Conversation c;
  established_with_window(c, 0);
  c.sends(pattern(1, 100));
  c.peer.expects_nothing();
  // SHLD-29 and SHLD-30: first after the RTO (here the minimum), then at growing distances up to a limit.
  Duration interval = 200_ms;
  for (int i = 0; i < 30; ++i) {
    const Decoded probe = c.peer.expects_after(interval, ACK);
    EXPECT_LE(probe.payload.size(), 1u);
    c.peer.sends(ACK, {.ack = 1, .window = 0});
    interval = std::min(interval * 2, 120_s);
  }
  EXPECT_EQ(c.app.conn.state(), TcpState::established) << "MUST-37: for ever";
  EXPECT_TRUE(c.app.closed.empty());
  c.peer.sends(ACK, {.ack = 1, .window = 1000});
  EXPECT_EQ(c.peer.expects(ACK, {.seq = 1}).payload.size(), 100u) << "the window opens";
  EXPECT_GE(c.count(Counter::tcp_zero_window_probes), 30u);
}

TEST(ZeroWindow, Must35WindowThatShrinksToZeroIsProbed) {
  Conversation c;
  established_with_window(c, 5000);
  c.sends(pattern(1, 1000));
  c.peer.expects(ACK, {.len = 1000});
  c.peer.sends(ACK, {.ack = 1001, .window = 0});
  c.sends(pattern(1001, 500));
  c.peer.expects_nothing();
  c.peer.expects_between(200_ms, 1_s, ACK);
}

TEST(ZeroWindow, Shld17DataBeyondAShrunkenWindowDoesNotEndTheConnection) {
  TcpOptions options = plain_tcp();
  options.conn.retries_max = 3;
  Conversation c(options);
  c.established({.mss = 1000});
  c.sends(pattern(1, 3000));
  EXPECT_EQ(c.peer.take().size(), 3u);
  c.peer.sends(ACK, {.ack = 1001, .window = 0});  // 2000 octets lie beyond what is offered now
  for (int probes = 0; probes < 20; ++probes) {
    c.peer.expects_between(Duration{}, 130_s, ACK, {.seq = 1001, .len = 1});
    c.peer.sends(ACK, {.ack = 1001, .window = 0});
  }
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  c.peer.sends(ACK, {.ack = 1001, .window = 5000});
  c.world.run_for(300_s);
  c.peer.take();
  EXPECT_EQ(c.peer.rcv_nxt(), 3001);
}

// The probe's octet was not taken: an ACK behind it would lie outside the peer's window, and be answered instead of heard. Two
// ends that have probed each other would never learn that a window opened.
TEST(ZeroWindow, AcksStayInsideTheWindowThatAProbeWentBeyond) {
  Conversation c;
  established_with_window(c, 0);
  c.sends("abc");
  c.peer.expects_after(200_ms, ACK, {.seq = 1, .len = 1});
  c.peer.sends(ACK, {.ack = 1, .window = 0, .len = 10});
  c.peer.expects(ACK, {.seq = 1, .ack = 11, .len = 0});
  c.peer.expects_nothing();
}

TEST(ZeroWindow, ProbeThatIsTakenMovesOn) {
  Conversation c;
  established_with_window(c, 0);
  c.sends("abc");
  const Decoded probe = c.peer.expects_after(200_ms, ACK);
  if (probe.payload.size() == 1) {
    c.peer.sends(ACK, {.ack = 2, .window = 0});
    c.peer.expects_nothing();
  }
  c.peer.sends(ACK, {.window = 1000});
  c.peer.expects(ACK);
  EXPECT_EQ(c.peer.rcv_nxt(), 4);
  c.peer.sends(ACK);
  c.peer.expects_silence(10_s);
}

TEST(ZeroWindow, UnansweredProbesEndInATimeout) {
  TcpOptions options = plain_tcp();
  options.conn.retries_max = 5;
  Conversation c(options);
  established_with_window(c, 0);
  c.sends("abc");
  c.world.run_for(300_s);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::timed_out);
}

TEST(ZeroWindow, ProbeAnswersAreNoDuplicateAcks) {
  Conversation c;
  established_with_window(c, 0);
  c.sends(pattern(1, 3000));
  for (Duration interval = 200_ms; interval < 10_s; interval = interval * 2) {
    EXPECT_LE(c.peer.expects_after(interval, ACK).payload.size(), 1u);
    c.peer.sends(ACK, {.ack = 1, .window = 0});
    c.peer.expects_nothing();
  }
  EXPECT_EQ(c.count(Counter::tcp_fast_retrans), 0u);
}

TEST(ZeroWindow, Must34ShrunkWindowIsRespectedAndSurvived) {
  Conversation c;
  established_with_window(c, 6000, 1000);
  c.sends(pattern(1, 3000));
  EXPECT_EQ(c.peer.take().size(), 3u);
  c.peer.sends(ACK, {.ack = 1001, .window = 500});  // the right edge moves left, below what was sent
  c.sends(pattern(3001, 2000));
  for (const auto& arrival : c.peer.take())
    EXPECT_LE(arrival.segment.seq, c.peer.stack_isn() + 1501) << "SHLD-15: nothing new";
  c.world.run_for(3_s);
  bool old_data_again = false;  // SHLD-16: what lies within the window is retransmitted
  for (const auto& arrival : c.peer.take())
    old_data_again |= arrival.segment.seq == c.peer.stack_isn() + 1001;
  EXPECT_TRUE(old_data_again);
  EXPECT_EQ(c.app.conn.state(), TcpState::established);
  for (int i = 0; i < 3; ++i)
    c.peer.sends(ACK, {.ack = std::max<std::int64_t>(c.peer.rcv_nxt(), 3001), .window = 6000});
  EXPECT_EQ(c.peer.rcv_nxt(), 5001);
}

TEST(Window, OlderSegmentsDoNotChangeTheWindow) {
  Conversation c;
  established_with_window(c, 4000, 1000);
  c.peer.sends(ACK, {.seq = 1, .window = 4000, .len = 10});
  c.peer.expects(ACK);
  c.peer.sends(ACK, {.seq = 11, .ack = 1, .window = 2000, .len = 10});
  c.peer.expects(ACK, {.ack = 21});
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .window = 60'000, .len = 15});  // an old duplicate
  c.peer.take();
  c.sends(pattern(1, 4000));
  std::size_t sent = 0;
  for (const auto& arrival : c.peer.take()) sent += arrival.segment.payload.size();
  EXPECT_EQ(sent, 2000u);
}

TEST(Window, RetransmissionThatAcknowledgesMoreBringsItsWindow) {
  Conversation c;
  established_with_window(c, 3000, 1000);
  c.peer.sends(ACK, {.seq = 1001, .len = 100});  // out of order: SND.WL1 is now ahead
  c.peer.take();
  c.sends(pattern(1, 10'000));
  EXPECT_EQ(c.peer.take().size(), 3u);
  c.peer.sends(ACK, {.seq = 1, .ack = 2001, .window = 1000, .len = 1000});  // right edge stays at 3001
  c.peer.take();
  EXPECT_EQ(c.peer.rcv_nxt(), 3001);
}

// --- Sender silly window avoidance and Nagle ---------------------------------------------------------------

TEST(SenderSws, Must38SmallWindowIsNotFilledAtOnce) {
  Conversation c;
  established_with_window(c, 4000, 1000);
  c.sends(pattern(1, 4000));
  c.peer.take();
  c.peer.sends(ACK, {.ack = 4001, .window = 100});
  c.sends(pattern(4001, 3000));
  c.peer.expects_nothing();
  // RFC 9293 3.8.6.2.1: the override timeout, 0.1 to 1 s, keeps this from lasting for ever.
  c.peer.expects_between(100_ms, 1_s, ACK, {.seq = 4001, .len = 100});
}

TEST(SenderSws, Must38FullSegmentOrHalfTheWindowGoes) {
  Conversation c;
  established_with_window(c, 4000, 1000);
  c.sends(pattern(1, 4000));
  c.peer.take();
  c.peer.sends(ACK, {.ack = 4001, .window = 1000});
  c.sends(pattern(4001, 3000));
  c.peer.expects(ACK, {.seq = 4001, .len = 1000});
}

TEST(Nagle, Shld7SmallDataWaitsForTheAcknowledgment) {
  Conversation c;
  c.established();
  c.sends("a");
  c.peer.expects(ACK, {.seq = 1, .data = "a"});
  c.sends("b");
  c.sends("c");
  c.peer.expects_nothing();
  c.peer.sends(ACK, {.ack = 2});
  c.peer.expects(ACK, {.seq = 2, .data = "bc"});
}

TEST(Nagle, FullSegmentsGoAtOnceTheRestWaits) {
  Conversation c;
  c.established();
  c.sends("a");
  c.peer.expects(ACK, {.data = "a"});
  c.sends(pattern(2, 1500));
  c.peer.expects(ACK, {.seq = 2, .len = 1460});
  c.peer.expects_nothing();
  c.peer.sends(ACK, {.ack = 1462});
  c.peer.expects(ACK, {.len = 40});
}

TEST(Nagle, Must17CanBeTurnedOff) {
  Conversation c;
  c.established();
  EXPECT_TRUE(c.app.conn.set_nagle(false));
  c.sends("a");
  c.sends("b");
  c.peer.expects(ACK, {.data = "a"});
  c.peer.expects(ACK, {.data = "b"});
  TcpOptions options = plain_tcp();
  options.conn.nagle = false;
  Conversation off(options);
  off.established();
  off.sends("a");
  off.sends("b");
  EXPECT_EQ(off.peer.take().size(), 2u);
}

TEST(Segments, Must61PushOnTheLastSegmentOfWhatIsQueued) {
  Conversation c;
  c.established();
  c.app.conn.set_nagle(false);
  c.sends(pattern(1, 4000));
  c.peer.expects(ACK, {.len = 1460, .push = false});
  c.peer.expects(ACK, {.len = 1460, .push = false});
  c.peer.expects(ACK, {.len = 1080, .push = true});
}

TEST(Segments, Shld28AndShld27SmallWritesOfOneTurnShareASegment) {
  Conversation c;
  c.established();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(c.app.conn.send(pattern(1 + 100 * i, 100)).accepted, 100u);
  c.runs();
  c.peer.expects(ACK, {.data = pattern(1, 1000), .push = true});
  c.peer.expects_nothing();
}

// --- The send buffer ---------------------------------------------------------------------------------------

TEST(SendBuffer, TakesWhatFitsAndSaysWhenThereIsRoomAgain) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 8192;
  options.conn.nagle = false;
  Conversation c(options);
  established_with_window(c, 65535);
  const SendResult result = c.app.conn.send(pattern(1, 10'000));
  EXPECT_EQ(result.status, SendStatus::would_block);
  EXPECT_EQ(result.accepted, 8192u);
  EXPECT_EQ(c.app.conn.send_space(), 0u);
  EXPECT_EQ(c.app.conn.unacknowledged(), 8192u);
  c.runs();
  EXPECT_EQ(c.app.writable, 0u);
  c.peer.sends(ACK, {.ack = 8193});
  EXPECT_EQ(c.app.writable, 1u);
  EXPECT_EQ(c.app.conn.send_space(), 8192u);
  EXPECT_EQ(c.app.conn.unacknowledged(), 0u);
}

TEST(SendBuffer, BytesBeyondItStayWithTheCaller) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 4096;
  Conversation c(options);
  c.established();
  const std::string text = pattern(1, 5000);
  Bytes bytes = Bytes::copy_of(c.host.stack().pool(),
                               {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()});
  const SendResult result = c.app.conn.send(std::move(bytes));
  EXPECT_EQ(result.status, SendStatus::would_block);
  EXPECT_EQ(result.accepted, 4096u);
  EXPECT_EQ(bytes.to_string(), text.substr(4096)) << "the rest, in place";
  c.runs();
  std::string heard;
  for (const auto& arrival : c.peer.take())
    heard += std::string(arrival.segment.payload.begin(), arrival.segment.payload.end());
  EXPECT_EQ(heard, text.substr(0, heard.size()));
}

TEST(SendBuffer, OnWritableIsNotCalledWithoutAWouldBlock) {
  Conversation c;
  c.established();
  c.sends("abc");
  c.peer.expects(ACK);
  c.peer.sends(ACK);
  EXPECT_EQ(c.app.writable, 0u);
}

TEST(Echo, OwnBytesAreTakenBeyondTheSendBufferAndHoldTheWindow) {
  TcpOptions options = plain_tcp();
  options.conn.send_buffer = 4096;
  options.conn.receive_buffer = 30'000;
  Conversation c(options);
  c.app.echo = true;
  established_with_window(c, 0);
  for (int i = 0; i < 14; ++i) c.peer.sends(ACK, {.window = 0, .len = 1460});
  const auto acks = c.peer.take();
  ASSERT_FALSE(acks.empty());
  EXPECT_EQ(c.app.received.size(), 14u * 1460);
  EXPECT_EQ(c.app.conn.unacknowledged(), 14u * 1460) << "all of it was accepted";
  EXPECT_LE(acks.back().segment.window, 30'000u - (14 * 1460 - 4096))
      << "what exceeds the send buffer holds the window";
  c.peer.set_window(65535);
  for (int i = 0; i < 20 && c.peer.rcv_nxt() < 1 + 14 * 1460; ++i) {
    c.peer.sends(ACK);
    c.peer.take();
  }
  EXPECT_EQ(c.peer.rcv_nxt(), 1 + 14 * 1460);
  c.peer.sends(ACK);
  c.world.run_for(1_s);
  c.peer.take();
  c.peer.sends(ACK, {.len = 1});
  EXPECT_GE(c.peer.take().front().segment.window, 28'000u) << "and gives it back";
}

// --- The receive window ------------------------------------------------------------------------------------

TEST(ReceiveWindow, CountsWhatTheApplicationKeepsAndReopensWhenItLetsGo) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 8000;
  Conversation c(options);
  c.app.keep = true;
  c.established({.mss = 1000});
  for (int i = 1; i <= 8; ++i) {
    c.peer.sends(ACK, {.len = 1000});
    c.peer.expects(ACK, {.ack = 1 + 1000 * i, .window = 8000u - 1000 * i});
  }
  EXPECT_GE(c.count(Counter::tcp_zero_window_out), 1u);
  c.app.kept.clear();
  c.runs();
  c.peer.expects(ACK, {.ack = 8001, .window = 8000});
}

TEST(ReceiveWindow, Must39IsNotOpenedByLittle) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 8000;
  Conversation c(options);
  c.app.keep = true;
  c.established();
  for (int i = 0; i < 80; ++i) c.peer.sends(ACK, {.len = 100});
  EXPECT_EQ(c.peer.take().back().segment.window, 0u);
  // min(MSS, half the buffer) = 1460: below that the window stays shut, even when it is asked after.
  for (int i = 0; i < 14; ++i) {
    c.app.kept.pop_back();
    c.runs();
    c.peer.sends(ACK, {.len = 1});
    for (const auto& arrival : c.peer.take()) EXPECT_EQ(arrival.segment.window, 0u) << i;
    c.peer.set_snd_nxt(8001);
  }
  for (int i = 0; i < 40; ++i) c.app.kept.pop_back();
  c.runs();
  const Decoded update = c.peer.expects(ACK, {.ack = 8001});
  EXPECT_GE(update.window, 1460u);
}

TEST(ReceiveWindow, DataIntoAClosedWindowIsAckedAndDropped) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 4096;
  Conversation c(options);
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1176});
  EXPECT_EQ(c.peer.take().back().segment.window, 0u);
  c.peer.sends(ACK, {.seq = 4097, .len = 1});  // a probe
  c.peer.expects(ACK, {.ack = 4097, .window = 0});
  EXPECT_EQ(c.app.received.size(), 4096u);
  EXPECT_EQ(c.dropped(DropReason::tcp_out_of_window), 1u);
}

TEST(ReceiveWindow, Must66ResetAndAckAreTakenWhileItIsClosed) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 4096;
  Conversation c(options);
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1176});
  c.peer.take();
  c.sends("abc");
  c.peer.expects(ACK, {.len = 3});
  c.peer.sends(ACK, {.ack = 4});
  EXPECT_EQ(c.app.conn.unacknowledged(), 0u);
  c.peer.sends(RST);
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::reset_by_peer);
}

TEST(ReceiveWindow, KeptBytesMayOutliveTheConnection) {
  Conversation c;
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.data = "kept"});
  c.peer.take();
  c.peer.sends(RST);
  EXPECT_FALSE(c.app.conn.is_open());
  EXPECT_EQ(c.app.kept.at(0).to_string(), "kept");
  c.peer.forget(5'000'000);
  c.peer.connects();  // another connection takes the slot
  c.app.kept.clear();
  c.peer.sends(ACK, {.len = 10});
  EXPECT_LE(c.peer.expects(ACK).window, 65535u) << "and is not credited with the old one's octets";
}

TEST(ReceiveWindow, Shld14PartOfASegmentBeyondItIsCutOff) {
  TcpOptions options = plain_tcp();
  options.conn.receive_buffer = 4096;
  Conversation c(options);
  c.app.keep = true;
  c.established();
  c.peer.sends(ACK, {.len = 1460});
  c.peer.sends(ACK, {.len = 1460});
  c.peer.take();
  c.peer.sends(ACK, {.seq = 2921, .len = 1460});
  c.peer.expects(ACK, {.ack = 4097, .window = 0});
  EXPECT_EQ(c.app.received, pattern(1, 4096));
}

}  // namespace
}  // namespace pollux::test
