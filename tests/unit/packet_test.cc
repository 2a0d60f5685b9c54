// Packet, PacketPool and TxBatch.
#include "pollux/packet/packet.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "packet_chain.h"
#include "pollux/packet/pool.h"
#include "pollux/packet/tx_batch.h"

namespace pollux {
namespace {

using test::alphabet;
using test::chain_of;
using test::expect_sound;
using test::HeapPool;
using test::octets;
using test::text_of;

// Every way to cut 12 octets used below: one segment, several, empty ones in each place.
const std::vector<std::vector<std::uint32_t>> shapes = {{12},    {5, 7},  {1, 1, 10}, {4, 4, 4},
                                                        {0, 12}, {12, 0}, {6, 0, 6},  {0, 3, 0, 0, 9, 0}};

TEST(Packet, PullFrontRemovesAnyNumberOfOctets) {
  HeapPool heap;
  const std::string text = alphabet(12);
  for (const auto& shape : shapes) {
    for (std::uint32_t n = 0; n <= 12; ++n) {
      Packet packet = chain_of(heap.pool(), text, shape);
      packet.pull_front(n);
      EXPECT_EQ(text_of(packet), text.substr(n));
      EXPECT_EQ(packet.size(), 12 - n);
      expect_sound(packet);
    }
  }
}

TEST(Packet, TrimToKeepsAnyNumberOfOctets) {
  HeapPool heap;
  const std::string text = alphabet(12);
  for (const auto& shape : shapes) {
    for (std::uint32_t n = 0; n <= 12; ++n) {
      Packet packet = chain_of(heap.pool(), text, shape);
      packet.trim_to(n);
      EXPECT_EQ(text_of(packet), text.substr(0, n));
      EXPECT_EQ(packet.size(), n);
      expect_sound(packet);
    }
  }
}

TEST(Packet, EmptiedSegmentsAreFreed) {
  HeapPool heap;
  Packet packet = chain_of(heap.pool(), alphabet(12), {4, 4, 4});
  packet.pull_front(4);
  EXPECT_EQ(heap.in_use(), 2u);
  packet.trim_to(3);
  EXPECT_EQ(heap.in_use(), 1u);
  packet.pull_front(3);
  EXPECT_EQ(heap.in_use(), 1u);  // an empty packet still is one
  EXPECT_EQ(packet.size(), 0u);
}

TEST(Packet, PullFrontHandsOnWhatTheDeviceSaid) {
  HeapPool heap;
  Packet packet = chain_of(heap.pool(), alphabet(12), {4, 8});
  packet.mbuf()->port = 3;
  packet.mbuf()->ol_flags = RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH;
  packet.mbuf()->hash.rss = 0x12345678;
  packet.mbuf()->packet_type = RTE_PTYPE_L4_TCP;
  packet.mbuf()->vlan_tci = 77;
  packet.pull_front(5);
  EXPECT_EQ(packet.mbuf()->port, 3);
  EXPECT_EQ(packet.mbuf()->ol_flags, RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_RX_RSS_HASH);
  EXPECT_EQ(packet.mbuf()->hash.rss, 0x12345678u);
  EXPECT_EQ(packet.mbuf()->packet_type, RTE_PTYPE_L4_TCP);
  EXPECT_EQ(packet.mbuf()->vlan_tci, 77);
}

TEST(Packet, PullFrontFromAnAttachedSegmentKeepsItAttached) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  Packet whole = chain_of(pool, alphabet(10), {10});
  Packet tail = pool.reference(*whole.mbuf(), 5, 5);
  Packet packet = chain_of(pool, "head", {4});
  ASSERT_TRUE(packet.chain(tail));
  packet.pull_front(6);
  EXPECT_EQ(text_of(packet), alphabet(10).substr(7));
  EXPECT_FALSE(Packet::is_writable(packet.mbuf()));
}

TEST(Packet, CopyOutReadsAnyRange) {
  HeapPool heap;
  const std::string text = alphabet(12);
  for (const auto& shape : shapes) {
    const Packet packet = chain_of(heap.pool(), text, shape);
    for (std::uint32_t offset = 0; offset <= 12; ++offset) {
      for (std::uint32_t n = 0; n <= 12 - offset; ++n) {
        std::vector<std::uint8_t> out(n);
        packet.copy_out(offset, out);
        EXPECT_EQ(std::string(out.begin(), out.end()), text.substr(offset, n));
      }
    }
  }
}

TEST(Packet, PushFrontUsesTheHeadroomAndNoMore) {
  HeapPool heap;
  Packet packet = chain_of(heap.pool(), "payload", {7});
  EXPECT_EQ(packet.push_front(RTE_PKTMBUF_HEADROOM + 1), nullptr);
  EXPECT_EQ(packet.push_front(0x10000), nullptr);  // more than 16 bits
  std::uint8_t* const header = packet.push_front(RTE_PKTMBUF_HEADROOM);
  ASSERT_NE(header, nullptr);
  EXPECT_EQ(header, packet.data());
  std::fill(header, header + RTE_PKTMBUF_HEADROOM, 'h');
  EXPECT_EQ(text_of(packet), std::string(RTE_PKTMBUF_HEADROOM, 'h') + "payload");
  EXPECT_EQ(packet.push_front(1), nullptr);
  expect_sound(packet);
}

TEST(Packet, PushBackUsesTheTailroomOfTheLastSegmentAndNoMore) {
  HeapPool heap(16, 10);
  Packet packet = chain_of(heap.pool(), "abcdef", {3, 3});
  EXPECT_EQ(packet.push_back(8), nullptr);
  EXPECT_EQ(packet.push_back(0x10000), nullptr);
  std::uint8_t* const tail = packet.push_back(7);
  ASSERT_NE(tail, nullptr);
  std::fill(tail, tail + 7, 't');
  EXPECT_EQ(text_of(packet), "abcdefttttttt");
  expect_sound(packet);
}

TEST(Packet, ABufferThatSomeoneElseReadsIsNotWritten) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  Packet original = chain_of(pool, "shared", {6});
  Packet reader = pool.reference(*original.mbuf(), 0, 3);
  for (Packet* packet : {&original, &reader}) {
    EXPECT_EQ(packet->push_front(1), nullptr);
    EXPECT_EQ(packet->push_back(1), nullptr);
  }
  reader.reset();
  EXPECT_NE(original.push_front(1), nullptr);
  EXPECT_NE(original.push_back(1), nullptr);
}

TEST(Packet, ChainRefusesTooManySegmentsAndLeavesTheTail) {
  HeapPool heap;
  Packet packet = chain_of(heap.pool(), "ab", {1, 1});
  Packet tail = chain_of(heap.pool(), "c", {1});
  packet.mbuf()->nb_segs = RTE_MBUF_MAX_NB_SEGS;
  EXPECT_FALSE(packet.chain(tail));
  EXPECT_EQ(text_of(tail), "c");
  packet.mbuf()->nb_segs = 2;
  EXPECT_TRUE(packet.chain(tail));
  EXPECT_FALSE(tail);
  EXPECT_EQ(text_of(packet), "abc");
}

TEST(Packet, AMoveLeavesNothingBehind) {
  HeapPool heap;
  Packet a = chain_of(heap.pool(), "a", {1});
  Packet b = std::move(a);
  EXPECT_FALSE(a);
  a = chain_of(heap.pool(), "c", {1});
  b = std::move(a);
  EXPECT_EQ(text_of(b), "c");
  EXPECT_EQ(heap.in_use(), 1u);
}

TEST(PacketPool, CopyOfFillsAsManyMbufsAsItTakes) {
  HeapPool heap(64, 100);
  constexpr std::size_t tail_room = 100 + RTE_PKTMBUF_HEADROOM;  // a tail needs no room for headers
  for (const std::size_t n : {std::size_t{0}, std::size_t{1}, std::size_t{100}, std::size_t{101},
                              100 + tail_room, 101 + tail_room, std::size_t{1500}}) {
    const std::string text = alphabet(n);
    const Packet packet = heap.pool().copy_of(octets(text));
    ASSERT_TRUE(packet);
    EXPECT_EQ(text_of(packet), text);
    EXPECT_EQ(packet.segment_count(), n <= 100 ? 1 : 1 + (n - 100 + tail_room - 1) / tail_room);
    EXPECT_EQ(rte_pktmbuf_headroom(packet.mbuf()), RTE_PKTMBUF_HEADROOM);
    expect_sound(packet);
  }
}

TEST(PacketPool, APacketIsCopiedWithWhatLiesInFrontOfIt) {
  HeapPool heap(200, 100);
  const std::string text = alphabet(700);
  for (const std::uint32_t front : {0u, 1u, 54u, 99u}) {
    SCOPED_TRACE(front);
    Packet packet = chain_of(heap.pool(), text, {100, 1, 250, 349});
    packet.pull_front(front);
    const Packet copy = heap.pool().copy_of(packet, front);
    ASSERT_TRUE(copy);
    EXPECT_EQ(text_of(copy), text);
    EXPECT_EQ(text_of(packet), text.substr(front)) << "as it was";
    EXPECT_NE(copy.mbuf()->buf_addr, packet.mbuf()->buf_addr);
    expect_sound(copy);
  }
  HeapPool small(1, 100);
  const Packet packet = chain_of(heap.pool(), text, {100, 600});
  EXPECT_FALSE(small.pool().copy_of(packet));
  EXPECT_EQ(small.in_use(), 0u);
}

TEST(PacketPool, CopyOfLeaksNothingWhenThePoolRunsOut) {
  HeapPool heap(3, 100);
  EXPECT_FALSE(heap.pool().copy_of(octets(alphabet(1000))));
  EXPECT_EQ(heap.in_use(), 0u);
}

TEST(PacketPool, CopyOfRefusesMoreThanAllocMax) {
  HeapPool heap(8192, 256);
  const std::string text(PacketPool::alloc_max + 1, 'x');
  EXPECT_FALSE(heap.pool().copy_of(octets(text)));
  EXPECT_EQ(heap.in_use(), 0u);
  const Packet packet = heap.pool().copy_of(octets(text).first(PacketPool::alloc_max));
  ASSERT_TRUE(packet);
  EXPECT_EQ(packet.size(), PacketPool::alloc_max);
  expect_sound(packet);
}

TEST(PacketPool, AReferenceReadsTheSameBytesAndKeepsThemAlive) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  const std::string text = alphabet(20);
  Packet original = chain_of(pool, text, {20});
  Packet reference = pool.reference(*original.mbuf(), 5, 10);
  EXPECT_EQ(reference.data(), original.data() + 5);
  original.reset();
  EXPECT_EQ(pool.in_use(), 1u);
  EXPECT_EQ(text_of(reference), text.substr(5, 10));
  expect_sound(reference);
  reference.reset();
  EXPECT_EQ(heap.in_use(), 0u);
}

TEST(PacketPool, AReferenceToAReferenceNeedsOnlyTheBuffer) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  const std::string text = alphabet(20);
  Packet original = chain_of(pool, text, {20});
  original.pull_front(2);
  Packet first = pool.reference(*original.mbuf(), 3, 12);
  Packet second = pool.reference(*first.mbuf(), 4, 6);
  EXPECT_EQ(pool.clones_in_use(), 2u);
  first.reset();
  original.reset();
  EXPECT_EQ(text_of(second), text.substr(9, 6));
  EXPECT_EQ(pool.clones_in_use(), 1u);
  EXPECT_EQ(pool.in_use(), 1u);
}

TEST(PacketPool, AReferenceToOneSegmentOfAChainOutlivesTheChain) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  Packet chain = chain_of(pool, "abcdef", {2, 2, 2});
  Packet middle = pool.reference(*chain.mbuf()->next, 0, 2);
  chain.reset();
  EXPECT_EQ(text_of(middle), "cd");
  EXPECT_EQ(pool.in_use(), 1u);  // the neighbours are gone
}

TEST(PacketPool, AReferenceToAnExternalBufferKeepsItAlive) {
  static bool is_freed;
  is_freed = false;
  HeapPool heap;
  PacketPool pool = heap.pool();
  std::vector<char> memory(64 + sizeof(rte_mbuf_ext_shared_info), 'x');
  auto length = static_cast<std::uint16_t>(memory.size());
  rte_mbuf_ext_shared_info* const info = rte_pktmbuf_ext_shinfo_init_helper(
      memory.data(), &length, [](void*, void*) { is_freed = true; }, nullptr);
  Packet external = pool.alloc();
  rte_pktmbuf_attach_extbuf(external.mbuf(), memory.data(), 0, length, info);
  ASSERT_EQ(external.push_back(1), nullptr);  // not ours to write
  external.mbuf()->data_len = 10;
  external.mbuf()->pkt_len = 10;
  Packet reference = pool.reference(*external.mbuf(), 2, 5);
  external.reset();
  EXPECT_FALSE(is_freed);
  EXPECT_EQ(text_of(reference), "xxxxx");
  reference.reset();
  EXPECT_TRUE(is_freed);
}

TEST(PacketPool, AReferenceDoesNotInheritOffloadFlags) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  Packet original = chain_of(pool, "abc", {3});
  original.mbuf()->ol_flags |= RTE_MBUF_F_RX_L4_CKSUM_GOOD | RTE_MBUF_F_TX_TCP_CKSUM;
  EXPECT_EQ(pool.reference(*original.mbuf(), 0, 3).mbuf()->ol_flags, RTE_MBUF_F_INDIRECT);
}

TEST(PacketPool, AReferenceIsNullWhenTheClonesRunOut) {
  HeapPool heap(1);
  PacketPool pool = heap.pool();
  Packet original = chain_of(pool, "abc", {3});
  Packet first = pool.reference(*original.mbuf(), 0, 1);
  EXPECT_FALSE(pool.reference(*original.mbuf(), 1, 1));
  EXPECT_EQ(rte_mbuf_refcnt_read(original.mbuf()), 2);
}

TEST(PacketPool, SplitFrontCutsAnywhereAndReferencesOnlyWhatItCutsThrough) {
  HeapPool heap;
  PacketPool pool = heap.pool();
  const std::string text = alphabet(12);
  for (const auto& shape : shapes) {
    for (std::uint32_t n = 1; n < 12; ++n) {
      Packet rest = chain_of(pool, text, shape);
      const Packet front = pool.split_front(rest, n);
      EXPECT_EQ(text_of(front), text.substr(0, n));
      EXPECT_EQ(text_of(rest), text.substr(n));
      expect_sound(front);
      expect_sound(rest);
      std::uint32_t boundary = 0;
      bool is_between_segments = false;
      for (const std::uint32_t size : shape) is_between_segments |= (boundary += size) == n;
      EXPECT_EQ(pool.clones_in_use(), is_between_segments ? 0u : 1u);
      EXPECT_EQ(pool.in_use(), shape.size());
    }
  }
}

TEST(PacketPool, SplitFrontWithoutClonesChangesNothing) {
  HeapPool heap(4);
  PacketPool pool = heap.pool();
  Packet packet = chain_of(pool, "abcdef", {3, 3});
  heap.set_limit(0);
  EXPECT_FALSE(pool.split_front(packet, 4));
  EXPECT_EQ(text_of(packet), "abcdef");
  expect_sound(packet);
  const Packet front = pool.split_front(packet, 3);  // between segments: needs none
  EXPECT_EQ(text_of(front), "abc");
  EXPECT_EQ(text_of(packet), "def");
}

TEST(TxBatch, IsAFifoThatKeepsWhatTheDeviceRefused) {
  HeapPool heap;
  TxBatch batch;
  for (const char* text : {"a", "b", "c", "d"}) {
    Packet packet = chain_of(heap.pool(), text, {1});
    EXPECT_TRUE(batch.push(packet));
    EXPECT_FALSE(packet);
  }
  rte_pktmbuf_free_bulk(batch.pending().data(), 3);
  batch.consume(3);
  ASSERT_EQ(batch.size(), 1u);
  EXPECT_EQ(*rte_pktmbuf_mtod(batch.pending()[0], const char*), 'd');
  batch.consume(0);
  EXPECT_EQ(batch.size(), 1u);
}

TEST(TxBatch, RefusesBeyondItsCapacityAndFreesWhatIsLeft) {
  HeapPool heap;
  {
    TxBatch batch;
    for (std::uint32_t i = 0; i < TxBatch::capacity; ++i) {
      EXPECT_EQ(batch.room(), TxBatch::capacity - i);
      Packet packet = heap.pool().alloc();
      ASSERT_TRUE(batch.push(packet));
    }
    Packet one_more = heap.pool().alloc();
    EXPECT_FALSE(batch.push(one_more));
    EXPECT_TRUE(one_more);
    EXPECT_EQ(batch.room(), 0u);
  }
  EXPECT_EQ(heap.in_use(), 0u);
}

}  // namespace
}  // namespace pollux
