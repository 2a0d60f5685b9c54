// The pool that tests use: it must behave as a mempool and let AddressSanitizer see what a mempool hides.
#include "support/heap_pool.h"

#include <gtest/gtest.h>

#include <vector>

namespace pollux::test {
namespace {

TEST(HeapPool, CountsWhatIsInUse) {
  HeapPool heap(4, 512);
  PacketPool pool = heap.pool();
  EXPECT_EQ(pool.size(), 4u);
  EXPECT_EQ(pool.room(), 512u);
  {
    Packet a = pool.alloc();
    Packet b = pool.alloc();
    Packet ref = pool.reference(*a.mbuf(), 0, 0);
    EXPECT_EQ(pool.in_use(), 2u);
    EXPECT_EQ(pool.clones_in_use(), 1u);
    EXPECT_EQ(pool.available(), 2u);
    EXPECT_EQ(heap.in_use(), 3u);
  }
  EXPECT_EQ(heap.in_use(), 0u);
  EXPECT_EQ(pool.available(), 4u);
}

TEST(HeapPool, RefusesBeyondItsLimitAndRecovers) {
  HeapPool heap(2);
  PacketPool pool = heap.pool();
  Packet a = pool.alloc();
  Packet b = pool.alloc();
  EXPECT_FALSE(pool.alloc());
  heap.set_limit(1);  // below what is in use
  EXPECT_EQ(pool.available(), 0u);
  EXPECT_EQ(pool.in_use(), 2u);
  a.reset();
  EXPECT_FALSE(pool.alloc());
  b.reset();
  EXPECT_TRUE(pool.alloc());
  heap.set_limit(0);
  EXPECT_FALSE(pool.alloc());
  heap.set_limit(3);
  EXPECT_TRUE(pool.alloc());
  EXPECT_EQ(pool.available(), 3u);
}

TEST(HeapPool, AnAllocatedMbufIsAsRtePktmbufInitLeavesIt) {
  HeapPool heap(8, 300);
  Packet packet = heap.pool().alloc();
  const rte_mbuf* const m = packet.mbuf();
  const char* reason = nullptr;
  EXPECT_EQ(rte_mbuf_check(m, 1, &reason), 0) << reason;
  EXPECT_EQ(rte_pktmbuf_headroom(m), RTE_PKTMBUF_HEADROOM);
  EXPECT_EQ(rte_pktmbuf_tailroom(m), 300);
  EXPECT_EQ(m->ol_flags, 0u);
  EXPECT_EQ(rte_mbuf_refcnt_read(m), 1);
  EXPECT_EQ(reinterpret_cast<std::uintptr_t>(m) % RTE_CACHE_LINE_SIZE, 0u);
}

TEST(HeapPool, AllocatesInBulkAllOrNothing) {
  HeapPool heap(8);
  PacketPool pool = heap.pool();
  rte_mempool* const mempool = pool.alloc().mbuf()->pool;
  std::vector<rte_mbuf*> burst(8);
  ASSERT_EQ(rte_pktmbuf_alloc_bulk(mempool, burst.data(), 8), 0);
  rte_mbuf* one_more = nullptr;
  EXPECT_NE(rte_pktmbuf_alloc_bulk(mempool, &one_more, 1), 0);
  rte_pktmbuf_free_bulk(burst.data(), 8);
  EXPECT_EQ(pool.in_use(), 0u);
}

TEST(HeapPool, AnExactCopyHasNoTailroom) {
  HeapPool heap;
  const std::vector<std::uint8_t> frame(61, 7);
  Packet packet = heap.exact_copy_of(frame);
  EXPECT_EQ(packet.size(), 61u);
  EXPECT_EQ(packet.segment_count(), 1u);
  EXPECT_EQ(rte_pktmbuf_tailroom(packet.mbuf()), 0);
  EXPECT_EQ(rte_pktmbuf_headroom(packet.mbuf()), RTE_PKTMBUF_HEADROOM);
  EXPECT_EQ(rte_pktmbuf_tailroom(heap.pool().alloc().mbuf()), 2048);  // only that one
}

TEST(HeapPoolDeathTest, AbortsOnALeak) {
  EXPECT_DEATH(
      {
        auto heap = std::make_unique<HeapPool>();
        static_cast<void>(heap->pool().alloc().release());
        heap.reset();
      },
      "leak: 1 data mbufs and 0 clones");
}

#if defined(__SANITIZE_ADDRESS__)  // g++
#define POLLUX_TEST_HAS_ASAN 1
#elif defined(__has_feature)  // clang++
#define POLLUX_TEST_HAS_ASAN __has_feature(address_sanitizer)
#else
#define POLLUX_TEST_HAS_ASAN 0
#endif

#if POLLUX_TEST_HAS_ASAN

std::uint8_t read(const std::uint8_t* at) {
  return *static_cast<const volatile std::uint8_t*>(at);
}

// Sizes that are and are not multiples of AddressSanitizer's granule of 8.
class HeapPoolAsanDeathTest : public testing::TestWithParam<std::uint16_t> {};

TEST_P(HeapPoolAsanDeathTest, SeesAnOverReadOfTheBufferByOneOctet) {
  HeapPool heap(1, GetParam());
  Packet packet = heap.pool().alloc();
  packet.push_back(GetParam());
  read(packet.data() + GetParam() - 1);
  EXPECT_DEATH(read(packet.data() + GetParam()), "heap-buffer-overflow");
}

TEST_P(HeapPoolAsanDeathTest, SeesAnOverReadOfAnExactCopyByOneOctet) {
  HeapPool heap;
  const std::vector<std::uint8_t> frame(GetParam(), 1);
  Packet packet = heap.exact_copy_of(frame);
  read(packet.data() + GetParam() - 1);
  EXPECT_DEATH(read(packet.data() + GetParam()), "heap-buffer-overflow");
}

TEST_P(HeapPoolAsanDeathTest, SeesAUseAfterFree) {
  HeapPool heap(1, GetParam());
  Packet packet = heap.pool().alloc();
  packet.push_back(GetParam());
  const std::uint8_t* const stale = packet.data();
  packet.reset();
  EXPECT_DEATH(read(stale), "heap-use-after-free");
}

INSTANTIATE_TEST_SUITE_P(Room, HeapPoolAsanDeathTest, testing::Values(1, 7, 8, 60, 61, 1514, 2048));

#endif

}  // namespace
}  // namespace pollux::test
