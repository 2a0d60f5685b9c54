// Bytes: content, and whose receive window pays for it.
#include "pollux/packet/bytes.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "packet_chain.h"

namespace pollux {
namespace {

using test::alphabet;
using test::chain_of;
using test::HeapPool;
using test::octets;

// A receive window: what is charged must come back, octet for octet and to its owner.
struct Window : ChargeLedger {
  explicit Window(SlabHandle handle) : owner(handle) {
    release = [](ChargeLedger& self, SlabHandle who, std::uint32_t n) noexcept {
      auto& window = static_cast<Window&>(self);
      EXPECT_EQ(who, window.owner);
      EXPECT_GT(n, 0u);
      EXPECT_LE(n, window.charged);
      window.charged -= n;
    };
  }
  Bytes deliver(Packet packet) {
    charged += packet.size();
    return Bytes(std::move(packet), this, owner);
  }
  SlabHandle owner;
  std::uint32_t charged = 0;
};

class BytesTest : public testing::Test {
 protected:
  Bytes deliver(const std::string& text, const std::vector<std::uint32_t>& sizes) {
    return window.deliver(chain_of(pool, text, sizes));
  }
  HeapPool heap;
  PacketPool pool = heap.pool();
  Window window{{7, 3}};
};

TEST_F(BytesTest, DefaultIsEmpty) {
  Bytes bytes;
  EXPECT_TRUE(bytes.empty());
  EXPECT_TRUE(bytes.is_contiguous());
  EXPECT_TRUE(bytes.front().empty());
  EXPECT_EQ(bytes.to_string(), "");
  bytes.reset();
  bytes.remove_prefix(0);
  bytes.truncate(0);
  EXPECT_TRUE(bytes.split_front(pool, 0).empty());
}

TEST_F(BytesTest, ShowsItsPiecesInOrderWithoutEmptyOnes) {
  const Bytes bytes = deliver("abcdef", {2, 0, 3, 1});
  EXPECT_EQ(bytes.size(), 6u);
  EXPECT_FALSE(bytes.is_contiguous());
  std::vector<std::string> pieces;
  bytes.for_each_piece(
      [&](std::span<const std::uint8_t> piece) { pieces.emplace_back(piece.begin(), piece.end()); });
  EXPECT_EQ(pieces, (std::vector<std::string>{"ab", "cde", "f"}));
  EXPECT_EQ(bytes.to_string(), "abcdef");
  std::array<std::uint8_t, 3> out;
  bytes.copy_out(1, out);
  EXPECT_EQ(std::string(out.begin(), out.end()), "bcd");
}

TEST_F(BytesTest, CopyOfHoldsACopy) {
  std::string text = alphabet(5000);
  const Bytes bytes = Bytes::copy_of(pool, octets(text));
  text.assign(5000, '-');
  EXPECT_EQ(bytes.to_string(), alphabet(5000));
  heap.set_limit(0);
  EXPECT_TRUE(Bytes::copy_of(pool, octets("x")).empty());
  heap.set_limit(9);
  EXPECT_TRUE(Bytes::copy_of(pool, {}).empty());
}

TEST_F(BytesTest, DroppingReleasesTheCharge) {
  {
    const Bytes bytes = deliver("abcdef", {4, 2});
    EXPECT_EQ(window.charged, 6u);
  }
  EXPECT_EQ(window.charged, 0u);
}

TEST_F(BytesTest, MovingKeepsTheCharge) {
  Bytes a = deliver("abc", {3});
  Bytes b = std::move(a);
  EXPECT_EQ(window.charged, 3u);
  EXPECT_TRUE(a.empty());
  a.reset();
  EXPECT_EQ(window.charged, 3u);
  b = deliver("de", {2});  // what b held goes
  EXPECT_EQ(window.charged, 2u);
  b = Bytes();
  EXPECT_EQ(window.charged, 0u);
}

TEST_F(BytesTest, RemovePrefixAndTruncateReleaseWhatTheyDrop) {
  for (std::uint32_t n = 0; n <= 6; ++n) {
    Bytes tail = deliver("abcdef", {2, 1, 3});
    tail.remove_prefix(n);
    EXPECT_EQ(tail.to_string(), std::string("abcdef").substr(n));
    EXPECT_EQ(window.charged, 6 - n);
    tail.reset();
    Bytes head = deliver("abcdef", {2, 1, 3});
    head.truncate(n);
    EXPECT_EQ(head.to_string(), std::string("abcdef").substr(0, n));
    EXPECT_EQ(window.charged, n);
  }
}

TEST_F(BytesTest, BytesCutToNothingGiveTheirBufferBack) {
  Bytes a = deliver("abc", {3});
  Bytes b = deliver("abc", {3});
  a.remove_prefix(3);
  b.truncate(0);
  EXPECT_EQ(heap.in_use(), 0u);
}

TEST_F(BytesTest, SplitFrontSharesTheCharge) {
  for (std::uint32_t n = 0; n <= 6; ++n) {
    Bytes rest = deliver("abcdef", {2, 1, 3});
    Bytes front = rest.split_front(pool, n);
    EXPECT_EQ(front.to_string(), std::string("abcdef").substr(0, n));
    EXPECT_EQ(rest.to_string(), std::string("abcdef").substr(n));
    EXPECT_EQ(window.charged, 6u);
    front.reset();
    EXPECT_EQ(window.charged, 6 - n);
    rest.reset();
    EXPECT_EQ(window.charged, 0u);
  }
}

TEST_F(BytesTest, SplitFrontOnAnExhaustedPoolChangesNothing) {
  Bytes bytes = deliver("abcdef", {6});
  heap.set_limit(0);
  EXPECT_TRUE(bytes.split_front(pool, 3).empty());
  EXPECT_EQ(bytes.to_string(), "abcdef");
  EXPECT_EQ(window.charged, 6u);
}

TEST_F(BytesTest, TakingThePacketReleasesTheCharge) {
  Bytes bytes = deliver("abc", {3});
  EXPECT_TRUE(bytes.is_charged_to(&window, {7, 3}));
  EXPECT_FALSE(bytes.is_charged_to(&window, {7, 4}));
  EXPECT_FALSE(bytes.is_charged_to(nullptr, {7, 3}));
  Packet packet = bytes.take_packet();
  EXPECT_EQ(test::text_of(packet), "abc");
  EXPECT_EQ(window.charged, 0u);
  EXPECT_TRUE(bytes.empty());
}

TEST_F(BytesTest, UnchargedBytesBelongToNobody) {
  const Bytes bytes = Bytes::copy_of(pool, octets("abc"));
  EXPECT_FALSE(bytes.is_charged_to(nullptr, {}));
  EXPECT_FALSE(bytes.is_charged_to(&window, {}));
}

}  // namespace
}  // namespace pollux
