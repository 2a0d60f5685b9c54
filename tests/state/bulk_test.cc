// Full segments that leave in one turn share their headers: what each must still say by itself, and what the connection must
// still remember.
#include <gtest/gtest.h>

#include <string>

#include "support/conversation.h"

namespace pollux::test {
namespace {

constexpr std::uint32_t mss = 1000;

TcpOptions patient() {
  TcpOptions options = plain_tcp();
  options.conn.delayed_ack = true;
  return options;
}

TEST(Bulk, EachSegmentHasItsNumberAndItsOctets) {
  TcpOptions options = plain_tcp();
  options.conn.timestamps = true;
  Conversation c(options);
  c.established({.mss = mss + 12, .ts_value = 7000});
  std::string text;
  for (int i = 0; i < 5; ++i) text += std::string(mss, static_cast<char>('a' + i));
  c.sends(text);
  for (int i = 0; i < 5; ++i)
    c.peer.expects(ACK, {.seq = 1 + i * std::int64_t{mss}, .ack = 1, .data = std::string(mss, static_cast<char>('a' + i)),
                         .ts_echo = 7000, .push = i == 4});
  c.peer.expects_nothing();
  EXPECT_EQ(c.count(Counter::tcp_out_bytes), 5u * mss);
}

TEST(Bulk, Must61PushOnlyOnTheLastOfWhatIsQueued) {
  Conversation c;
  c.established({.mss = mss});
  c.sends(std::string(3 * mss, 'x'));
  c.peer.expects(ACK, {.len = mss, .push = false});
  c.peer.expects(ACK, {.len = mss, .push = false});
  c.peer.expects(ACK, {.len = mss, .push = true});
}

TEST(Bulk, NoMoreThanThePeersWindow) {
  Conversation c;
  c.established({.mss = mss});
  c.peer.sends(ACK, {.window = 3 * mss + 400});
  c.sends(std::string(6 * mss, 'x'));
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.len = mss});
  c.peer.expects_nothing();
}

TEST(Bulk, NoMoreThanTheCongestionWindow) {
  TcpOptions options = plain_tcp();
  options.initial_window_segments = 4;
  Conversation c(options);
  c.established({.mss = mss});
  c.sends(std::string(9 * mss, 'x'));
  for (int i = 0; i < 4; ++i) c.peer.expects(ACK, {.len = mss});
  c.peer.expects_nothing();
}

TEST(Bulk, DataCarriesTheAckThatWasOwed) {
  Conversation c(patient());
  c.established({.mss = mss});
  c.peer.sends(ACK, {.window = 3 * mss, .len = 10});
  c.sends(std::string(6 * mss, 'x'));
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.ack = 11, .len = mss});
  c.peer.expects_silence(180_ms);  // longer than an ACK may be delayed, shorter than the retransmission timer
}

TEST(Bulk, IsWatchedFromItsFirstSegmentOn) {
  TcpOptions options = plain_tcp();
  options.conn.user_timeout = 5_s;
  Conversation c(options);
  c.established({.mss = mss});
  c.peer.waits(60_s);
  c.sends(std::string(3 * mss, 'x'));
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK, {.len = mss});
  c.peer.expects_after(200_ms, ACK, {.seq = 1, .len = mss});  // the user timeout counts from now, not from the handshake
  EXPECT_TRUE(c.app.closed.empty());
}

TEST(Bulk, UrgentDataIsMarkedInEverySegmentBeforeIt) {
  Conversation c;
  c.established({.mss = mss});
  c.queues(std::string(3 * mss, 'x'));
  const std::uint8_t mark[] = {'!'};
  EXPECT_EQ(c.app.conn.send_urgent(mark).accepted, 1u);
  c.runs();
  for (int i = 0; i < 3; ++i) c.peer.expects(ACK | URG, {.len = mss});
}

TEST(Bulk, APortThatCutsGetsSegmentsTogether) {
  const TxOffloads tso{.ipv4_checksum = true, .tcp_checksum = true, .udp_checksum = true, .tcp_segmentation = true};
  TcpOptions options = plain_tcp();
  options.initial_window_segments = 100;
  Conversation c(options, {.offloads = tso});
  c.established({.mss = mss});
  std::string text;
  for (int i = 0; i < 13; ++i) text += std::string(mss, static_cast<char>('a' + i));
  c.sends(text);
  for (int i = 0; i < 13; ++i)
    c.peer.expects(ACK, {.seq = 1 + i * std::int64_t{mss}, .data = std::string(mss, static_cast<char>('a' + i)), .push = i == 12});
  EXPECT_EQ(c.count(Counter::tcp_tso_packets), 1u);
  EXPECT_EQ(c.count(Counter::tcp_out_segs), 1u + 13u) << "the SYN-ACK, and each segment";
}

// Many small pieces make a longer chain than the port takes: they are copied together.
TEST(Bulk, APortThatCutsGetsNoLongerChainsThanItTakes) {
  const TxOffloads tso{.ipv4_checksum = true, .tcp_checksum = true, .udp_checksum = true, .tcp_segmentation = true,
                       .mbufs_max = 40};
  TcpOptions options = plain_tcp();
  options.initial_window_segments = 100;
  Conversation c(options, {.offloads = tso});
  c.established({.mss = mss});
  std::string text;
  for (int i = 0; i < 50; ++i) {  // Bytes of their own, too long to be copied behind the ones before
    const std::string piece(260, static_cast<char>('a' + i % 26));
    PacketPool pool = c.host.pool().pool();
    EXPECT_EQ(c.app.conn.send(Bytes::copy_of(pool, {reinterpret_cast<const std::uint8_t*>(piece.data()), piece.size()})).status,
              SendStatus::ok);
    text += piece;
  }
  c.runs();
  std::string got;
  for (const auto& arrival : c.peer.take()) got.append(arrival.segment.payload.begin(), arrival.segment.payload.end());
  EXPECT_EQ(got, text);
  EXPECT_GT(c.count(Counter::tcp_tso_packets), 0u);
}

// RFC 5681 4.1 looks at the time since data was sent.
TEST(Bulk, IsTheLatestThatWasSent) {
  Conversation c;
  c.established({.mss = mss});
  c.peer.sends(ACK, {.window = 3 * mss});
  c.peer.waits(5_s);
  c.sends(std::string(6 * mss, 'x'));
  c.peer.waits(50_ms);
  EXPECT_LE(c.app.conn.info().last_sent, 51_ms);
}

// What a port with an MTU of 9,000 brings lies in several buffers (scattered receive), and what leaves does too.
TEST(Jumbo, SegmentsOf9000OctetsComeAndGoInBuffersOf2048) {
  Conversation c(plain_tcp(), {.mtu = 9000});
  c.listens();
  const bool v4 = c.peer.address().is_v4();
  const std::uint32_t largest = 9000 - (v4 ? 40 : 60);
  c.peer.sends(SYN, {.mss = largest});
  c.peer.expects(SYN | ACK, {.mss = static_cast<int>(largest)});
  c.peer.sends(ACK);
  ASSERT_EQ(c.app.conn.state(), TcpState::established);
  std::string text;
  for (int i = 0; text.size() < 3 * largest; ++i) text += std::to_string(i) + ' ';
  text.resize(3 * largest);
  std::uint32_t pieces = 0;
  c.app.when_data = [&](TcpConn, Bytes bytes) {
    c.app.received += bytes.to_string();
    bytes.for_each_piece([&](std::span<const std::uint8_t>) { ++pieces; });
  };
  for (int i = 0; i < 3; ++i) {
    c.peer.sends(ACK, {.data = text.substr(i * largest, largest)});
    c.peer.expects(ACK, {.ack = 1 + (i + 1) * std::int64_t{largest}});
  }
  EXPECT_EQ(c.app.received, text);
  c.sends(text.substr(0, 2 * largest));  // the first window (RFC 6928 2)
  for (int i = 0; i < 2; ++i)
    c.peer.expects(ACK, {.seq = 1 + i * std::int64_t{largest}, .data = text.substr(i * largest, largest)});
  c.peer.expects_nothing();
}

}  // namespace
}  // namespace pollux::test
