// Many datagrams at once: segments, coalescing, batches, corking.
#include "pollux/wire/udp.h"
#include "udp_host.h"

namespace pollux::test {
namespace {

struct SegmentHost : UdpHost {
  SegmentHost() {
    make_reachable(peer_ip, peer_mac);
    socket = bind(7, handler);
  }
  /// The payloads that were sent, each in a datagram with right checksums and lengths.
  std::vector<std::string> sent_texts() {
    std::vector<std::string> texts;
    for (const SentFrame& frame : sent()) {
      const Frame datagram = ip_payload_of(frame.bytes);
      const auto view = UdpView::parse(datagram, datagram.size());
      EXPECT_TRUE(view);
      EXPECT_EQ(view->length(), datagram.size());
      EXPECT_EQ(view->source_port(), 7);
      ChecksumSum sum;
      sum.add(datagram);
      sum.add_pseudo_header(our_ip, peer_ip, 17, static_cast<std::uint32_t>(datagram.size()));
      EXPECT_EQ(sum.folded(), 0xffff);
      texts.emplace_back(datagram.begin() + 8, datagram.end());
    }
    return texts;
  }
  Bytes bytes(std::size_t size) { return Bytes::copy_of(pool, pattern(size)); }

  PacketPool pool = heap.pool();
  Recorder handler;
  UdpSocket socket;
};

std::vector<std::string> pieces(std::size_t size, std::size_t segment) {
  std::vector<std::string> all;
  const std::string text = text_of(pattern(size));
  for (std::size_t at = 0; at < size; at += segment) all.push_back(text.substr(at, segment));
  return all;
}

TEST(UdpSegments, OneBufferLeavesAsEqualDatagrams) {
  for (const auto& [size, segment] : std::vector<std::pair<std::size_t, std::uint16_t>>{
           {100, 10}, {101, 10}, {9, 10}, {10, 10}, {1, 1}, {64, 1}, {1472 * 3 + 5, 1472}, {100, 0}}) {
    SCOPED_TRACE(std::to_string(size) + " by " + std::to_string(segment));
    SegmentHost host;
    Bytes data = host.bytes(size);
    EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), segment), SendStatus::ok);
    EXPECT_TRUE(data.empty());
    EXPECT_EQ(host.sent_texts(), pieces(size, segment == 0 ? size : segment));
    EXPECT_EQ(host.heap.in_use(), 0u);
  }
}

TEST(UdpSegments, WhatDoesNotFitIsRefusedWhole) {
  SegmentHost host;
  Bytes data = host.bytes(3000);
  EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), 1473), SendStatus::too_large);
  EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), 46), SendStatus::too_large) << "66 segments";
  EXPECT_EQ(host.socket.send_segmented({remote_ip, 4000}, std::move(data), 100), SendStatus::no_route);
  while (host.ip.tx(0).room() > 29) ASSERT_EQ(host.socket.send_to(peer, "x"), SendStatus::ok);
  (void)host.counters;
  EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), 100), SendStatus::would_block);
  EXPECT_EQ(host.counters[Counter::udp_sndbuf_errors], 1u);
  EXPECT_EQ(data.size(), 3000u);
  (void)host.sent();
  EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), 100), SendStatus::ok);
  EXPECT_EQ(host.sent_texts(), pieces(3000, 100));
}

TEST(UdpSegments, AnEmptyPoolLeavesWhatWasNotSent) {
  for (std::uint32_t limit = 0; limit < 12; ++limit) {
    SCOPED_TRACE(limit);
    SegmentHost host;
    Bytes data = host.bytes(1000);
    host.heap.set_limit(limit);
    const SendStatus status = host.socket.send_segmented(peer, std::move(data), 250);
    host.heap.set_limit(1000);
    std::string all;
    for (const std::string& text : host.sent_texts()) all += text;
    EXPECT_EQ(all + data.to_string(), text_of(pattern(1000)));
    EXPECT_EQ(status == SendStatus::ok, data.empty());
    if (status != SendStatus::ok) {
      EXPECT_EQ(status, SendStatus::no_memory);
      EXPECT_EQ(host.socket.send_segmented(peer, std::move(data), 250), SendStatus::ok);
    }
    (void)host.sent();
    EXPECT_EQ(host.heap.in_use(), 0u);
  }
}

// --- Coalescing ------------------------------------------------------------------------------------------

struct Delivery {
  std::uint16_t segment_size;
  std::string data;
  bool operator==(const Delivery&) const = default;
};

struct Collector final : UdpHandler {
  void on_datagrams(UdpSocket, std::span<Datagram> datagrams) noexcept override {
    for (const Datagram& d : datagrams) {
      got.push_back({d.segment_size, d.data.to_string()});
      count += d.count();
    }
  }
  std::vector<Delivery> got;
  std::uint64_t count = 0;
};

std::vector<Delivery> coalesced(const std::vector<std::pair<std::uint16_t, std::string>>& arrivals, bool on = true) {
  UdpHost host;
  Collector collector;
  EXPECT_TRUE(host.udp.bind({.port = 7, .socket = {.coalesce = on}}, collector));
  for (const auto& [port, text] : arrivals) host.receive({peer_ip, port}, 7, bytes_of(text));
  host.udp.deliver();
  EXPECT_EQ(collector.count, arrivals.size());
  EXPECT_EQ(host.counters[Counter::udp_in_datagrams], arrivals.size());
  EXPECT_EQ(host.heap.in_use(), 0u);
  return collector.got;
}

TEST(UdpCoalesce, EqualDatagramsOfAFlowAreOneDelivery) {
  EXPECT_EQ(coalesced({{1, "ab"}, {1, "cd"}, {1, "ef"}}), (std::vector<Delivery>{{2, "abcdef"}}));
  EXPECT_EQ(coalesced({{1, "ab"}, {1, "cd"}, {1, "ef"}}, false),
            (std::vector<Delivery>{{0, "ab"}, {0, "cd"}, {0, "ef"}}));
}

TEST(UdpCoalesce, ASmallerOneEndsItAndALargerOneBeginsAnew) {
  EXPECT_EQ(coalesced({{1, "ab"}, {1, "c"}, {1, "d"}, {1, "e"}}), (std::vector<Delivery>{{2, "abc"}, {1, "de"}}));
  EXPECT_EQ(coalesced({{1, "ab"}, {1, "cde"}, {1, "fgh"}}), (std::vector<Delivery>{{0, "ab"}, {3, "cdefgh"}}));
  EXPECT_EQ(coalesced({{1, "ab"}, {1, ""}, {1, "cd"}}), (std::vector<Delivery>{{0, "ab"}, {0, ""}, {0, "cd"}}));
}

TEST(UdpCoalesce, FlowsDoNotMixAndKeepTheirOrder) {
  EXPECT_EQ(coalesced({{1, "a1"}, {2, "b1"}, {1, "a2"}, {2, "b2"}}), (std::vector<Delivery>{{2, "a1a2"}, {2, "b1b2"}}));
  EXPECT_EQ(coalesced({{1, "a1"}, {2, "b1"}, {1, "a"}, {1, "c"}}),
            (std::vector<Delivery>{{2, "a1a"}, {0, "b1"}, {0, "c"}}));
}

TEST(UdpCoalesce, OtherHeaderFieldsAreAnotherDelivery) {
  UdpHost host;
  Collector collector;
  ASSERT_TRUE(host.udp.bind({.port = 7, .socket = {.coalesce = true}}, collector));
  const auto receive = [&](std::uint8_t ttl, std::uint8_t tos) {
    host.receive(ipv4_frame(
        {.protocol = 17, .ttl = ttl, .tos = tos, .payload = udp_datagram(peer, {our_ip, 7}, bytes_of("x"))}));
  };
  receive(64, 0);
  receive(63, 0);
  receive(63, 2);  // congestion experienced says something about one datagram
  host.udp.deliver();
  EXPECT_EQ(collector.got.size(), 3u);
}

TEST(UdpCoalesce, ADeliveryIsLimited) {
  UdpHost host;
  Collector collector;
  ASSERT_TRUE(host.udp.bind({.port = 7, .socket = {.coalesce = true}}, collector));
  for (int i = 0; i < 100; ++i) host.receive(peer, 7, pattern(1472));
  host.udp.deliver();
  ASSERT_EQ(collector.got.size(), 3u);
  EXPECT_EQ(collector.got[0].data.size(), 44u * 1472) << "65,535 octets";
  collector.got.clear();
  for (int i = 0; i < 100; ++i) host.receive(peer, 7, pattern(1));
  host.udp.deliver();
  ASSERT_EQ(collector.got.size(), 2u);
  EXPECT_EQ(collector.got[0].data.size(), 64u);
}

TEST(UdpCoalesce, AnEchoInSegmentsGivesBackWhatCame) {
  struct SegmentEcho final : UdpHandler {
    void on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept override {
      for (Datagram& d : datagrams) {
        EXPECT_EQ(socket.send_segmented(d.remote, std::move(d.data), d.segment_size, d.local), SendStatus::ok);
        ++calls;
      }
    }
    int calls = 0;
  };
  SegmentHost host;
  host.socket.close();
  SegmentEcho echo;
  ASSERT_TRUE(host.udp.bind({.port = 7, .socket = {.coalesce = true}}, echo));
  std::vector<std::string> texts;
  for (int i = 0; i < 20; ++i) {
    texts.push_back("datagram " + std::to_string(10 + i));
    host.receive(peer, 7, bytes_of(texts.back()));
  }
  host.udp.deliver();
  EXPECT_EQ(echo.calls, 1);
  EXPECT_EQ(host.sent_texts(), texts);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

// --- Batches ---------------------------------------------------------------------------------------------

TEST(UdpBatch, SendsUntilOneIsRefusedAndSaysWhy) {
  SegmentHost host;
  OutgoingDatagram batch[] = {{peer, host.bytes(5)}, {peer, host.bytes(6)}, {peer, host.bytes(65508)}, {peer, host.bytes(7)}};
  SendStatus status = SendStatus::ok;
  EXPECT_EQ(host.socket.send_batch(batch, &status), 2u);
  EXPECT_EQ(status, SendStatus::too_large);
  EXPECT_EQ(batch[2].data.size(), 65508u);
  EXPECT_EQ(batch[3].data.size(), 7u);
  EXPECT_EQ(host.socket.send_batch(std::span(batch).subspan(3), &status), 1u);
  EXPECT_EQ(status, SendStatus::ok);
  EXPECT_EQ(host.sent_texts(),
            (std::vector<std::string>{text_of(pattern(5)), text_of(pattern(6)), text_of(pattern(7))}));
  EXPECT_EQ(host.socket.send_batch({}), 0u);
}

// --- Corking ---------------------------------------------------------------------------------------------

TEST(UdpCork, PiecesLeaveAsOneDatagramToWhereTheFirstGoes) {
  SegmentHost host;
  host.socket.cork();
  EXPECT_EQ(host.socket.send_to(peer, "one "), SendStatus::ok);
  EXPECT_EQ(host.socket.send_to({peer_ip, 1}, "two "), SendStatus::ok);
  EXPECT_EQ(host.socket.send_to(peer, ""), SendStatus::ok);
  EXPECT_EQ(host.socket.send_to(peer, "three"), SendStatus::ok);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.socket.uncork(), SendStatus::ok);
  EXPECT_EQ(host.sent_texts(), (std::vector<std::string>{"one two three"}));
  EXPECT_EQ(host.socket.send_to(peer, "four"), SendStatus::ok);
  EXPECT_EQ(host.sent_texts(), (std::vector<std::string>{"four"}));
  host.socket.cork();
  EXPECT_EQ(host.socket.uncork(), SendStatus::ok);
  EXPECT_TRUE(host.sent().empty()) << "nothing gathered, nothing sent";
  EXPECT_EQ(host.counters[Counter::udp_out_datagrams], 2u);
}

TEST(UdpCork, ADatagramCannotGrowBeyond65507OctetsAndWaitsForRoom) {
  SegmentHost host;
  host.socket.cork();
  Bytes piece = host.bytes(65508);
  EXPECT_EQ(host.socket.send_to(peer, std::move(piece)), SendStatus::too_large);
  piece.truncate(1000);
  EXPECT_EQ(host.socket.send_to(peer, std::move(piece)), SendStatus::ok);
  piece = host.bytes(64508);
  EXPECT_EQ(host.socket.send_to(peer, std::move(piece)), SendStatus::too_large);
  EXPECT_EQ(piece.size(), 64508u);
  Bytes segments = host.bytes(20);
  EXPECT_EQ(host.socket.send_segmented(peer, std::move(segments), 5), SendStatus::would_block);
  UdpSocket filler = host.bind(8, host.handler);
  while (host.ip.tx(0).room() != 0) ASSERT_EQ(filler.send_to(peer, "x"), SendStatus::ok);
  EXPECT_EQ(host.socket.uncork(), SendStatus::would_block);
  (void)host.sent();
  EXPECT_EQ(host.socket.send_to(peer, "!"), SendStatus::ok) << "still corked";
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.socket.uncork(), SendStatus::ok);
  EXPECT_EQ(host.sent_texts(), (std::vector<std::string>{text_of(pattern(1000)) + "!"}));
}

TEST(UdpCork, CloseDropsWhatGathered) {
  SegmentHost host;
  host.socket.cork();
  EXPECT_EQ(host.socket.send_to(peer, "lost"), SendStatus::ok);
  host.socket.close();
  EXPECT_EQ(host.heap.in_use(), 0u);
  EXPECT_EQ(host.socket.uncork(), SendStatus::closed);
}

}  // namespace
}  // namespace pollux::test
