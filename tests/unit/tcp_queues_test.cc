// The send queue and the out-of-order queue against plain-string models, on mbufs that are heap blocks.
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/tcp/out_of_order_queue.h"
#include "pollux/tcp/send_queue.h"
#include "support/heap_pool.h"
#include "support/seed.h"

namespace pollux {
namespace {

std::string pattern(std::uint32_t from, std::uint32_t length) {
  std::string text(length, '\0');
  for (std::uint32_t i = 0; i < length; ++i) text[i] = static_cast<char>((from + i) * 31 >> 3);
  return text;
}

std::span<const std::uint8_t> octets(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::string content(const Packet& packet) {
  std::string text(packet.size(), '\0');
  packet.copy_out(0, {reinterpret_cast<std::uint8_t*>(text.data()), text.size()});
  return text;
}

class Queues : public testing::Test {
 protected:
  test::HeapPool heap{4096, 512};
  PacketPool pool = heap.pool();
};

// --- SendQueue -----------------------------------------------------------------------------------------------

using SendQueueTest = Queues;

TEST_F(SendQueueTest, SmallWritesShareAnMbuf) {
  SendQueue queue;
  for (std::uint32_t i = 0; i < 64; ++i) EXPECT_EQ(queue.append_copy(pool, octets(pattern(i, 1))), 1u);
  EXPECT_EQ(queue.size(), 64u);
  EXPECT_EQ(heap.in_use(), 1u);
  EXPECT_EQ(content(queue.segment(pool, 0, 64)), pattern(0, 64));
}

TEST_F(SendQueueTest, LargePayloadIsReferredToNotCopied) {
  SendQueue queue;
  Packet payload = pool.copy_of(octets(pattern(0, 500)));
  const std::uint8_t* bytes = payload.data();
  queue.append(std::move(payload));
  Packet segment = queue.segment(pool, 0, 500);
  ASSERT_EQ(segment.segment_count(), 2u);
  EXPECT_EQ(rte_pktmbuf_mtod(segment.mbuf()->next, const std::uint8_t*), bytes);
  ASSERT_NE(segment.push_front(60), nullptr);  // room for headers in front
}

TEST_F(SendQueueTest, OctetsThatADeviceMayReadAreNeverOverwritten) {
  SendQueue queue;
  queue.append(pool.copy_of(octets(pattern(0, 300))));
  Packet in_flight = queue.segment(pool, 0, 300);  // refers to the queue's mbuf
  ASSERT_EQ(queue.append_copy(pool, octets(pattern(300, 100))), 100u);
  queue.acknowledge(300);
  EXPECT_EQ(content(in_flight), pattern(0, 300));
  EXPECT_EQ(content(queue.segment(pool, 0, 100)), pattern(300, 100));
}

TEST_F(SendQueueTest, SiblingOfASplitKeepsItsOctets) {
  // One buffer, two owners: what lies behind the first half belongs to the second.
  Packet whole = pool.copy_of(octets(pattern(0, 400)));
  Packet second = pool.reference(*whole.mbuf(), 300, 100);
  whole.trim_to(300);
  SendQueue queue;
  queue.append(std::move(whole));
  ASSERT_EQ(queue.append_copy(pool, octets(std::string(50, 'x'))), 50u);
  EXPECT_EQ(content(second), pattern(300, 100));
}

TEST_F(SendQueueTest, ManyPiecesAreCopiedTogether) {
  SendQueue queue;
  std::vector<Packet> holders;  // someone else refers to each buffer, so nothing coalesces
  for (std::uint32_t i = 0; i < 20; ++i) {
    Packet piece = pool.copy_of(octets(pattern(i * 40, 40)));
    holders.push_back(pool.reference(*piece.mbuf(), 0, 40));
    queue.append(std::move(piece));
  }
  const Packet segment = queue.segment(pool, 0, 800);
  EXPECT_EQ(content(segment), pattern(0, 800));
  EXPECT_LE(segment.segment_count(), 3u);
}

TEST_F(SendQueueTest, ExhaustedPoolRefusesAndLosesNothing) {
  SendQueue queue;
  queue.append(pool.copy_of(octets(pattern(0, 400))));
  heap.set_limit(0);
  EXPECT_FALSE(queue.segment(pool, 0, 400));
  EXPECT_LT(queue.append_copy(pool, octets(pattern(400, 1000))), 1000u);
  heap.set_limit(4096);
  EXPECT_EQ(content(queue.segment(pool, 0, 400)), pattern(0, 400));
}

TEST_F(SendQueueTest, AgreesWithAStringUnderRandomUse) {
  const std::uint64_t seed = test::seed_from_environment(1);
  SCOPED_TRACE("POLLUX_SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 30; ++round) {
    SendQueue queue;
    std::string model;
    std::uint32_t written = 0;
    std::vector<std::pair<Packet, std::string>> in_flight;
    for (int step = 0; step < 300; ++step) {
      const std::uint32_t choice = rng.below(10);
      if (choice < 3) {
        const std::uint32_t n = 1 + rng.below(rng.chance(0.5) ? 50 : 1500);
        const std::string text = pattern(written, n);
        queue.append(pool.copy_of(octets(text)));
        model += text;
        written += n;
      } else if (choice < 5) {
        const std::string text = pattern(written, 1 + rng.below(700));
        const std::uint32_t n = queue.append_copy(pool, octets(text));
        ASSERT_EQ(n, text.size());
        model += text;
        written += n;
      } else if (choice < 8 && !model.empty()) {
        const auto size = static_cast<std::uint32_t>(model.size());
        const std::uint32_t position = rng.chance(0.3) ? 0 : rng.below(size);
        const std::uint32_t length = 1 + rng.below(std::min(size - position, 1448u));
        Packet segment = queue.segment(pool, position, length);
        ASSERT_TRUE(segment);
        ASSERT_EQ(content(segment), model.substr(position, length));
        in_flight.emplace_back(std::move(segment), model.substr(position, length));
      } else if (!model.empty()) {
        const std::uint32_t n = rng.below(static_cast<std::uint32_t>(model.size()) + 1);
        queue.acknowledge(n);
        model.erase(0, n);
      }
      ASSERT_EQ(queue.size(), model.size());
      if (in_flight.size() > 20) {
        for (const auto& [segment, expected] : in_flight) ASSERT_EQ(content(segment), expected);
        in_flight.clear();
      }
    }
  }
}

// --- OutOfOrderQueue -----------------------------------------------------------------------------------------

class OutOfOrderTest : public Queues {
 protected:
  OutOfOrderQueue::Insert insert(std::uint32_t from, std::uint32_t to, std::uint16_t limit = 100) {
    return queue.insert(slab, pool.copy_of(octets(pattern(from, to - from))), SeqNum(base + from), limit, overlapped);
  }
  std::string take(std::uint32_t next) {
    const Packet packet = queue.take(slab, SeqNum(base + next));
    return packet ? content(packet) : "";
  }
  void TearDown() override { queue.clear(slab); }

  static constexpr std::uint32_t base = 0xffffff00u;  // everything crosses the wrap
  OutOfOrderSlab slab{128};
  OutOfOrderQueue queue;
  bool overlapped = false;
};

using Insert = OutOfOrderQueue::Insert;

TEST_F(OutOfOrderTest, GivesStretchesBackInOrder) {
  EXPECT_EQ(insert(300, 400), Insert::kept);
  EXPECT_EQ(insert(100, 200), Insert::kept);
  EXPECT_EQ(insert(200, 300), Insert::kept);
  EXPECT_EQ(take(50), "");
  EXPECT_EQ(take(100), pattern(100, 100));
  EXPECT_EQ(take(200), pattern(200, 100));
  EXPECT_EQ(take(300), pattern(300, 100));
  EXPECT_TRUE(queue.empty());
}

TEST_F(OutOfOrderTest, OverlapsAreCutWhateverTheirShape) {
  struct Case {
    const char* shape;
    std::uint32_t from, to;
    Insert result;
    std::uint32_t count;
  };
  for (const Case& c : {Case{"same", 100, 200, Insert::duplicate, 1}, Case{"inside", 120, 180, Insert::duplicate, 1},
                        Case{"over the front", 50, 150, Insert::kept, 2}, Case{"over the back", 150, 250, Insert::kept, 2},
                        Case{"around", 50, 250, Insert::kept, 1}, Case{"touching the front", 50, 100, Insert::kept, 2},
                        Case{"touching the back", 200, 250, Insert::kept, 2}}) {
    SCOPED_TRACE(c.shape);
    ASSERT_EQ(insert(100, 200), Insert::kept);
    EXPECT_EQ(insert(c.from, c.to), c.result);
    EXPECT_EQ(overlapped, c.from < 200 && c.to > 100);
    EXPECT_EQ(queue.count(), c.count);
    const std::uint32_t first = std::min(100u, c.from), last = std::max(200u, c.to);
    std::string all;
    for (std::string part = take(first); !part.empty(); part = take(first + static_cast<std::uint32_t>(all.size())))
      all += part;
    EXPECT_EQ(all, pattern(first, last - first));
    queue.clear(slab);
  }
}

TEST_F(OutOfOrderTest, LimitRefusesAndFreesThePacket) {
  for (std::uint32_t i = 0; i < 4; ++i) EXPECT_EQ(insert(i * 20, i * 20 + 10, 4), Insert::kept);
  EXPECT_EQ(insert(90, 95, 4), Insert::refused);
  EXPECT_EQ(queue.count(), 4u);
  EXPECT_EQ(heap.in_use(), 4u);
}

TEST_F(OutOfOrderTest, ReportsRangesLatestArrivalFirst) {
  SackBlock blocks[3];
  const auto at = [](std::uint32_t n) { return SeqNum(base + n); };
  insert(100, 200);
  insert(300, 400);
  insert(200, 250);  // joins the first range and makes it the latest
  ASSERT_EQ(queue.latest(slab, blocks), 2u);
  EXPECT_EQ(blocks[0].left, at(100));
  EXPECT_EQ(blocks[0].right, at(250));
  EXPECT_EQ(blocks[1].left, at(300));
  insert(500, 600);
  insert(700, 800);
  ASSERT_EQ(queue.latest(slab, blocks), 3u);  // the oldest does not fit
  EXPECT_EQ(blocks[0].left, at(700));
  EXPECT_EQ(blocks[1].left, at(500));
  EXPECT_EQ(blocks[2].left, at(100));
}

TEST_F(OutOfOrderTest, SharedSlabRunsOutForAll) {
  OutOfOrderQueue other;
  for (std::uint32_t i = 0; i < 128; ++i)
    ASSERT_EQ(other.insert(slab, pool.copy_of(octets("x")), SeqNum(i * 2), 1000, overlapped), Insert::kept);
  EXPECT_EQ(insert(0, 10), Insert::refused);
  other.clear(slab);
  EXPECT_EQ(insert(0, 10), Insert::kept);
}

TEST_F(OutOfOrderTest, AgreesWithAMapUnderRandomArrival) {
  const std::uint64_t seed = test::seed_from_environment(1);
  SCOPED_TRACE("POLLUX_SEED=" + std::to_string(seed));
  Rng rng(seed);
  for (int round = 0; round < 50; ++round) {
    constexpr std::uint32_t total = 4000;
    std::vector<bool> have(total, false);
    std::uint32_t next = 0;
    for (int step = 0; step < 2000 && next < total; ++step) {
      const std::uint32_t from = next + rng.below(std::min(total - next, 600u));
      const std::uint32_t to = std::min(total, from + 1 + rng.below(200));
      if (queue.count() < 90) {
        ASSERT_NE(insert(from, to), Insert::refused);
        std::fill(have.begin() + from, have.begin() + to, true);
      }
      for (std::string part = take(next); !part.empty(); part = take(next)) {
        ASSERT_EQ(part, pattern(next, static_cast<std::uint32_t>(part.size())));
        next += static_cast<std::uint32_t>(part.size());
      }
      ASSERT_TRUE(next == total || !have[next]) << "octet " << next << " arrived and was not given back";
      if (queue.count() >= 90) have.assign(total, false), queue.clear(slab);
    }
    queue.clear(slab);
  }
}

}  // namespace
}  // namespace pollux
