// External memory: how it is cut, and when a sending is complete. WriteBuffer.
#include "pollux/packet/external.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "packet_chain.h"
#include "pollux/packet/write_buffer.h"

namespace pollux {
namespace {

using test::alphabet;
using test::expect_sound;
using test::HeapPool;
using test::octets;
using test::text_of;

struct Sending final : ExternalSend {
  int completed = 0;
  void on_complete() noexcept override { ++completed; }
};

class External : public testing::Test {
 protected:
  Packet wrap(std::uint32_t offset, std::uint32_t length, Sending& sending) {
    return sends.wrap(pool, memory, memory.region().subspan(offset, length), sending);
  }
  std::string text = alphabet(200'000);
  ExternalMemory memory{octets(text)};
  HeapPool heap;
  PacketPool pool = heap.pool();
  Sending first, second;
  ExternalSends sends;
};

TEST_F(External, RefersToTheOctetsWhereTheyAre) {
  Packet packet = wrap(3, 150'000, first);
  expect_sound(packet);
  EXPECT_EQ(text_of(packet), text.substr(3, 150'000));
  EXPECT_EQ(packet.data(), memory.region().data() + 3);
  EXPECT_FALSE(Packet::is_writable(packet.mbuf()));
  EXPECT_EQ(packet.push_front(1), nullptr);
  EXPECT_EQ(packet.push_back(1), nullptr);
  packet.reset();
  sends.poll();
}

TEST_F(External, IsCompleteOnceTheLastReferenceIsGoneAndOnlyThen) {
  Packet packet = wrap(0, 100'000, first);
  Packet piece = pool.reference(*packet.mbuf(), 10, 5);
  Packet front = pool.split_front(packet, 70'000);
  for (Packet* gone : {&packet, &front}) {
    sends.poll();
    EXPECT_EQ(first.completed, 0);
    EXPECT_TRUE(first.is_pending());
    gone->reset();
  }
  sends.poll();
  EXPECT_EQ(first.completed, 0);
  EXPECT_EQ(text_of(piece), text.substr(10, 5));
  piece.reset();
  EXPECT_EQ(first.completed, 0) << "not from within a device's code";
  sends.poll();
  sends.poll();
  EXPECT_EQ(first.completed, 1);
  EXPECT_FALSE(first.is_pending());
  EXPECT_EQ(sends.pending(), 0u);
}

TEST_F(External, ASendingCanBeUsedAgain) {
  for (int i = 1; i <= 3; ++i) {
    wrap(0, 10, first).reset();
    sends.poll();
    EXPECT_EQ(first.completed, i);
  }
}

TEST_F(External, EachIsFoundHoweverManyWait) {
  constexpr int many = 100;
  std::vector<Sending> sendings(many);
  std::vector<Packet> packets;
  for (Sending& sending : sendings) packets.push_back(wrap(0, 1, sending));
  packets[70].reset();
  packets[3].reset();
  for (int i = 0; i < (many + 15) / 16; ++i) sends.poll();
  for (int i = 0; i < many; ++i) EXPECT_EQ(sendings[static_cast<std::size_t>(i)].completed, i == 70 || i == 3 ? 1 : 0) << i;
  packets.clear();
  sends.complete_all();
  for (const Sending& sending : sendings) EXPECT_EQ(sending.completed, 1);
}

TEST_F(External, OutOfMbufsNothingIsPending) {
  heap.set_limit(1);
  EXPECT_FALSE(wrap(0, 100'000, first));  // two pieces
  EXPECT_FALSE(first.is_pending());
  EXPECT_EQ(heap.in_use(), 0u);
  heap.set_limit(100);
  Packet packet = wrap(0, 100'000, first);
  EXPECT_EQ(packet.size(), 100'000u);
  packet.reset();
  sends.poll();
  EXPECT_EQ(first.completed, 1);
}

// A device that outlives the stack gives the octets back without anybody to tell.
TEST_F(External, MayOutliveTheCore) {
  Packet held;
  {
    ExternalSends short_lived;
    held = short_lived.wrap(pool, memory, memory.region().first(10), second);
  }
  EXPECT_FALSE(second.is_pending());
  held.reset();
  EXPECT_EQ(second.completed, 0);
}

TEST_F(External, MistakesAreCaught) {
  Packet packet = wrap(0, 10, first);
  EXPECT_DEATH(static_cast<void>(wrap(0, 10, first)), "being sent already");
  EXPECT_DEATH(static_cast<void>(sends.wrap(pool, memory, {memory.region().data() + 199'999, 2}, second)),
               "2 octets at .* not within the registered region");
  EXPECT_DEATH(static_cast<void>(wrap(0, 0, second)), "0 octets, expected 1 to");
  EXPECT_DEATH(static_cast<void>(wrap(0, 5, *std::make_unique<Sending>()).release()), "destroyed while");
  packet.reset();
  sends.poll();
}

// Pages that lie apart for a device are apart in the chain too, and each piece has its own address.
TEST(ExternalPages, PiecesAreContiguousForADevice) {
  constexpr std::size_t page = 4096;
  const std::string text = alphabet(5 * page);
  const ExternalMemory memory(octets(text), page, {0x10000, 0x11000, 0x50000, 0x20000, 0x21000});
  const std::uint8_t* const start = memory.region().data();
  const auto expect = [&](std::uint32_t offset, std::uint32_t length, rte_iova_t iova, std::uint32_t contiguous) {
    const ExternalMemory::Piece piece = memory.piece_at(start + offset, length);
    EXPECT_EQ(piece.iova, iova) << offset;
    EXPECT_EQ(piece.length, contiguous) << offset;
  };
  expect(0, 5 * page, 0x10000, 2 * page);
  expect(page - 1, 10, 0x10fff, 10);
  expect(2 * page - 1, 10, 0x11fff, 1);
  expect(2 * page, 5000, 0x50000, page);
  expect(3 * page + 100, 2 * page - 100, 0x20064, 2 * page - 100);
  expect(5 * page - 1, 1, 0x21fff, 1);

  HeapPool heap;
  PacketPool pool = heap.pool();
  Sending sending;
  ExternalSends sends;
  Packet packet = sends.wrap(pool, memory, memory.region().subspan(100), sending);
  EXPECT_EQ(text_of(packet), text.substr(100));
  std::vector<rte_iova_t> addresses;
  for (const rte_mbuf* m = packet.mbuf(); m != nullptr; m = m->next) addresses.push_back(rte_pktmbuf_iova(m));
  EXPECT_EQ(addresses, (std::vector<rte_iova_t>{0x10064, 0x50000, 0x20000}));
  packet.reset();
  sends.poll();
  EXPECT_EQ(sending.completed, 1);
}

TEST(WriteBuffer, IsWrittenInPlaceAndTaken) {
  HeapPool heap(64, 1000);
  PacketPool pool = heap.pool();
  for (const std::uint32_t size : {1u, 872u, 1000u, 1001u, 5000u}) {
    WriteBuffer buffer = WriteBuffer::alloc(pool, size);
    ASSERT_EQ(buffer.size(), size);
    EXPECT_EQ(buffer.is_contiguous(), size <= pool.room());
    EXPECT_EQ(buffer.front().size(), std::min(size, pool.room()));
    const std::string text = alphabet(size);
    std::size_t at = 0;
    buffer.for_each_piece([&](std::span<std::uint8_t> piece) {
      std::copy_n(text.begin() + static_cast<std::ptrdiff_t>(at), piece.size(), piece.begin());
      at += piece.size();
    });
    EXPECT_EQ(at, size);
    const std::uint32_t n = size / 2 + 1;
    Bytes bytes = std::move(buffer).take(n);
    EXPECT_FALSE(buffer);
    EXPECT_EQ(bytes.to_string(), text.substr(0, n));
    expect_sound(bytes.packet());
  }
}

TEST(WriteBuffer, OutOfMbufsIsNull) {
  HeapPool heap(64, 1000);
  PacketPool pool = heap.pool();
  heap.set_limit(2);
  WriteBuffer buffer = WriteBuffer::alloc(pool, 5000);
  EXPECT_FALSE(buffer);
  EXPECT_EQ(buffer.size(), 0u);
  EXPECT_TRUE(buffer.front().empty());
  EXPECT_TRUE(std::move(buffer).take().empty());
  EXPECT_EQ(heap.in_use(), 0u);
}

}  // namespace
}  // namespace pollux
