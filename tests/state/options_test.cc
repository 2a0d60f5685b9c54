// TCP options: RFC 9293 3.7.1 (MSS), RFC 7323 (window scale, timestamps, PAWS), and what is not understood.
#include <gtest/gtest.h>

#include "support/conversation.h"

namespace pollux::test {
namespace {

// --- MSS ---------------------------------------------------------------------------------------------------

std::size_t first_segment_of_bulk(Conversation& c) {
  c.sends(pattern(0, 4000));
  const auto sent = c.peer.take();
  return sent.empty() ? 0 : sent[0].segment.payload.size();
}

TEST(Mss, Must15WithoutTheOptionSegmentsAre536) {
  Conversation c;
  c.established({});
  EXPECT_EQ(first_segment_of_bulk(c), 536u);
}

TEST(Mss, Must15ActiveOpenWithoutTheOptionSegmentsAre536) {
  Conversation c;
  c.connects();
  c.peer.accepts({});
  EXPECT_EQ(first_segment_of_bulk(c), 536u);
}

TEST(Mss, Must14TheOptionLimitsSegments) {
  Conversation c;
  c.established({.mss = 1000});
  EXPECT_EQ(first_segment_of_bulk(c), 1000u);
}

TEST(Mss, Must16TheMtuLimitsSegments) {
  Conversation c;
  c.established({.mss = 9000});
  EXPECT_EQ(first_segment_of_bulk(c), 1460u);
}

TEST(Mss, Must16OptionsAreDeducted) {
  TcpOptions options = plain_tcp();
  options.conn.timestamps = true;
  Conversation c(options);
  c.established({.mss = 1460, .ts_value = 1});
  EXPECT_EQ(first_segment_of_bulk(c), 1448u);
}

TEST(Mss, TinyValuesDoNotStopTheConnection) {
  for (const std::uint16_t mss : {0, 1, 20}) {
    Conversation c;
    c.established({.mss = mss});
    const std::size_t length = first_segment_of_bulk(c);
    EXPECT_GT(length, 0u) << mss;
    EXPECT_LE(length, 536u) << mss;
  }
}

TEST(Mss, Shld5And6IsSentAndReflectsTheMtu) {
  Conversation c(plain_tcp(), {.mtu = 1400});
  c.listens();
  c.peer.sends(SYN);
  c.peer.expects(SYN | ACK, {.mss = 1360});
  Conversation active(plain_tcp(), {.mtu = 900});
  active.connects();
  active.peer.expects(SYN, {.mss = 860});
}

TEST(Mss, Must65IsIgnoredOutsideOfSyn) {
  Conversation c;
  c.established({.mss = 1000});
  c.peer.sends(ACK, {.len = 1, .mss = 100});
  c.peer.expects(ACK, {.ack = 2});
  EXPECT_EQ(first_segment_of_bulk(c), 1000u);
}

// --- Window scale ------------------------------------------------------------------------------------------

TcpOptions scaling_tcp(std::uint32_t receive_buffer = 1 << 20) {
  TcpOptions options = plain_tcp();
  options.conn.window_scaling = true;
  options.conn.receive_buffer = receive_buffer;
  return options;
}

TEST(WindowScale, IsNegotiatedAndCoversTheBuffer) {
  Conversation c(scaling_tcp());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460, .wscale = 3});
  const Decoded syn_ack = c.peer.expects(SYN | ACK, {.has_wscale = true});
  const std::uint32_t scale = syn_ack.window_scale.value_or(0);
  EXPECT_GE(65535u << scale, 1u << 20);
  EXPECT_LE(32767u << scale, 1u << 20) << "no coarser than needed";
  c.peer.sends(ACK);
  c.peer.sends(ACK, {.len = 1});
  const Decoded ack = c.peer.expects(ACK, {.ack = 2});
  const std::uint32_t offered = std::uint32_t{ack.window} << scale;
  EXPECT_LE(offered, 1u << 20);
  EXPECT_GE(offered, (1u << 20) - 3000);
}

TEST(WindowScale, TheSynsWindowIsNotScaled) {
  Conversation c(scaling_tcp(8000));
  c.connects();
  c.peer.expects(SYN, {.window = 8000, .has_wscale = true});
}

TEST(WindowScale, IsNotUsedUnlessBothOffer) {
  Conversation c(scaling_tcp());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK, {.window = 65535, .has_wscale = false});
  c.peer.sends(ACK, {.window = 3000});
  c.sends(pattern(0, 8000));
  std::size_t sent = 0;
  for (const auto& arrival : c.peer.take()) sent += arrival.segment.payload.size();
  EXPECT_LE(sent, 3000u);

  Conversation off;
  off.listens();
  off.peer.sends(SYN, {.mss = 1460, .wscale = 7});
  off.peer.expects(SYN | ACK, {.has_wscale = false});
}

TEST(WindowScale, IsNotUsedWhenTheSynAckLeavesItOut) {
  Conversation c(scaling_tcp());
  c.connects();
  c.peer.expects(SYN, {.has_wscale = true});
  c.peer.sends(SYN | ACK, {.window = 2000, .mss = 1000});
  c.peer.expects(ACK, {.window = 65535});
}

std::size_t sent_into_window(std::uint8_t wscale, std::uint32_t field, std::uint32_t syn_field) {
  Conversation c(scaling_tcp());
  c.listens();
  c.peer.sends(SYN, {.window = syn_field, .mss = 1024, .wscale = wscale});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK, {.window = field});
  c.sends(pattern(0, 20'000));
  std::size_t sent = 0;
  for (const auto& arrival : c.peer.take()) sent += arrival.segment.payload.size();
  return sent;
}

TEST(WindowScale, ThePeersWindowIsScaled) {
  EXPECT_EQ(sent_into_window(7, 32, 65535), 4096u);
}

TEST(WindowScale, Must1And_Rec1TheWindowIsUnsignedAndLarge) {
  EXPECT_EQ(sent_into_window(7, 65535, 65535), 10'240u);
}

TEST(WindowScale, ValuesAbove14CountAs14) {
  EXPECT_EQ(sent_into_window(200, 1, 65535), 10'240u);
}

// --- Timestamps --------------------------------------------------------------------------------------------

TcpOptions timestamps_tcp() {
  TcpOptions options = plain_tcp();
  options.conn.timestamps = true;
  return options;
}

TEST(Timestamps, PassiveOpenEchoesTheSyn) {
  Conversation c(timestamps_tcp());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460, .ts_value = 12345});
  const Decoded syn_ack = c.peer.expects(SYN | ACK, {.ts_echo = 12345, .has_ts = true});
  c.peer.sends(ACK, {.ts_value = 12400});
  c.peer.sends(ACK, {.len = 5, .ts_value = 12500});
  const Decoded ack = c.peer.expects(ACK, {.ts_echo = 12500, .has_ts = true});
  EXPECT_EQ(*ack.ts_value, *syn_ack.ts_value) << "no time has passed";
  c.peer.waits(250_ms);
  c.peer.sends(ACK, {.len = 5, .ts_value = 12600});
  EXPECT_EQ(*c.peer.expects(ACK).ts_value - *syn_ack.ts_value, 250u) << "a tick a millisecond";
}

TEST(Timestamps, ActiveOpenOffersAndUsesThem) {
  Conversation c(timestamps_tcp());
  c.connects();
  c.peer.expects(SYN, {.ts_echo = 0, .has_ts = true});
  c.peer.sends(SYN | ACK, {.mss = 1460, .ts_value = 777});
  c.peer.expects(ACK, {.ts_echo = 777, .has_ts = true});
}

TEST(Timestamps, AreNotUsedUnlessBothOffer) {
  Conversation c(timestamps_tcp());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460});
  c.peer.expects(SYN | ACK, {.has_ts = false});
  Conversation active(timestamps_tcp());
  active.connects();
  active.peer.expects(SYN, {.has_ts = true});
  active.peer.sends(SYN | ACK, {.mss = 1460});
  active.peer.expects(ACK, {.has_ts = false});
  Conversation off;
  off.listens();
  off.peer.sends(SYN, {.mss = 1460, .ts_value = 5});
  off.peer.expects(SYN | ACK, {.has_ts = false});
}

TEST(Timestamps, Rfc7323_4_3OutOfOrderSegmentDoesNotChangeTheEcho) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 100});
  c.peer.sends(ACK, {.seq = 1, .len = 10, .ts_value = 200});
  c.peer.expects(ACK, {.ack = 11, .ts_echo = 200});
  c.peer.sends(ACK, {.seq = 21, .len = 10, .ts_value = 300});
  c.peer.expects(ACK, {.ack = 11, .ts_echo = 200});
  c.peer.sends(ACK, {.seq = 11, .len = 10, .ts_value = 250});
  c.peer.expects(ACK, {.ack = 31, .ts_echo = 250});
}

TEST(Timestamps, Rfc7323_4_3DelayedAckEchoesTheFirstUnacknowledged) {
  TcpOptions options = timestamps_tcp();
  options.conn.delayed_ack = true;
  Conversation c(options);
  c.established({.mss = 1460, .ts_value = 100});
  c.peer.together([&] {
    c.peer.sends(ACK, {.len = 10, .ts_value = 200});
    c.peer.sends(ACK, {.len = 10, .ts_value = 300});
  });
  c.world.run_for(500_ms);
  c.peer.expects(ACK, {.ack = 21, .ts_echo = 200});
}

TEST(Timestamps, Rfc7323_3_2SegmentWithoutThemIsDropped) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 100});
  c.peer.sends(ACK, {.seq = 1, .len = 10, .has_ts = false});
  c.peer.expects_nothing();
  EXPECT_EQ(c.dropped(DropReason::tcp_missing_timestamp), 1u);
  EXPECT_TRUE(c.app.received.empty());
  c.peer.sends(ACK, {.seq = 1, .len = 10, .ts_value = 101});
  c.peer.expects(ACK, {.ack = 11});
}

TEST(Timestamps, Rfc7323_3_2ResetNeedsNone) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 100});
  c.peer.sends(RST, {.has_ts = false});
  ASSERT_EQ(c.app.closed.size(), 1u);
  EXPECT_EQ(c.app.closed[0], CloseReason::reset_by_peer);
}

TEST(Paws, OldTimestampIsAckedAndDropped) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 1000});
  c.peer.sends(ACK, {.seq = 1, .len = 10, .ts_value = 999});
  c.peer.expects(ACK, {.seq = 1, .ack = 1});
  EXPECT_EQ(c.dropped(DropReason::tcp_paws), 1u);
  EXPECT_TRUE(c.app.received.empty());
}

TEST(Paws, ComparesModulo2To32) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 0xfffffff0});
  c.peer.sends(ACK, {.len = 10, .ts_value = 5});
  c.peer.expects(ACK, {.ack = 11, .ts_echo = 5});
  EXPECT_EQ(c.app.received.size(), 10u);
}

TEST(Paws, DoesNotApplyToResets) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 1000});
  c.peer.sends(RST, {.ts_value = 10});
  EXPECT_EQ(c.app.closed.size(), 1u);
}

TEST(Paws, Rfc7323_5_5TimestampIsForgottenAfter24Days) {
  Conversation c(timestamps_tcp());
  c.established({.mss = 1460, .ts_value = 1000});
  c.world.run_for(Duration::from_s(25 * 86400));
  c.peer.take();
  c.peer.sends(ACK, {.seq = 1, .ack = 1, .len = 10, .ts_value = 900, .ts_echo = 0});
  c.peer.expects(ACK, {.ack = 11, .ts_echo = 900});
}

TEST(Timestamps, MeasureTheRoundTripOfRetransmissions) {
  Conversation c(timestamps_tcp());
  c.listens();
  c.peer.sends(SYN, {.mss = 1460, .ts_value = 1});
  c.peer.expects(SYN | ACK);
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ts_value = 2});
  c.sends("x");
  c.peer.expects(ACK, {.len = 1});
  c.peer.expects_after(300_ms, ACK, {.seq = 1, .len = 1});
  c.peer.waits(100_ms);
  c.peer.sends(ACK, {.ts_value = 3});  // echoes the retransmission: a sample of 100 ms in spite of Karn
  c.sends("y");
  c.peer.expects(ACK, {.seq = 2, .len = 1});
  c.peer.expects_between(240_ms, 260_ms, ACK, {.seq = 2, .len = 1});
}

// --- Options in general ------------------------------------------------------------------------------------

TEST(Options, Must5And6UnknownOptionsInAnySegmentAreSkipped) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.raw_options = {253, 6, 1, 2, 3, 4}, .mss = 700});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  c.peer.sends(ACK, {.len = 10, .raw_options = {77, 2, 254, 5, 9, 9, 9}});
  c.peer.expects(ACK, {.ack = 11});
  EXPECT_EQ(first_segment_of_bulk(c), 700u);
}

TEST(Options, Must64AnyAlignmentAndMust4NopAndEnd) {
  Conversation c(timestamps_tcp());
  c.listens();
  // NOP, MSS at offset 1, NOP, timestamps at offset 6, end of list, then padding.
  c.peer.sends(SYN, {.raw_options = {1, 2, 4, 3, 32, 1, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 0}});
  c.peer.expects(SYN | ACK, {.ts_echo = 9, .has_ts = true});
}

TEST(Options, NothingBehindTheEndOfTheListIsRead) {
  Conversation c;
  c.listens();
  c.peer.sends(SYN, {.raw_options = {0, 2, 4, 0, 100, 3, 0, 0}});
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  EXPECT_EQ(first_segment_of_bulk(c), 536u);
}

TEST(Options, Must7IllegalLengthsAreSurvived) {
  const std::vector<std::vector<std::uint8_t>> bad = {
      {2, 0, 0, 0},  {2, 1, 0, 0},   {2, 40, 0, 0},
      {8, 10, 0, 0}, {253, 0, 1, 1}, {1, 1, 1, 3},
      {3, 2, 1, 1},  {2, 3, 1, 1},   {8, 9, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1}};
  for (const auto& options : bad) {
    Conversation c;
    c.established();
    c.peer.sends(ACK, {.seq = 1, .len = 10, .raw_options = options});
    c.peer.take();
    Conversation listening;
    listening.listens();
    listening.peer.sends(SYN, {.raw_options = options});
    listening.peer.take();
    listening.peer.forget();
    listening.peer.use_ports(40001, 7);
    listening.peer.connects();
    EXPECT_EQ(listening.app.conn.state(), TcpState::established);
  }
}

TEST(Options, SixtyOctetHeaderIsAccepted) {
  Conversation c;
  c.established();
  c.peer.sends(ACK, {.len = 10, .raw_options = std::vector<std::uint8_t>(40, 1)});
  c.peer.expects(ACK, {.ack = 11});
}

}  // namespace
}  // namespace pollux::test
