// Sequence numbers, time, byte order, the generator and SipHash.
#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

#include "pollux/base/byte_order.h"
#include "pollux/base/rng.h"
#include "pollux/base/seq_num.h"
#include "pollux/base/siphash.h"
#include "pollux/base/time.h"
#include "support/seed.h"

namespace pollux {
namespace {

TEST(SeqNum, OrdersAcrossTheWrap) {
  struct Case {
    std::uint32_t a, b;
    std::int32_t distance;  // a - b
  };
  const Case cases[] = {
      {0, 0, 0},
      {1, 0, 1},
      {0, 1, -1},
      {0, 0xffffffff, 1},
      {0xffffffff, 0, -1},
      {5, 0xfffffffb, 10},
      {0x80000000, 0x7fffffff, 1},
      {0x7fffffff, 0x80000000, -1},
      {0x7fffffff, 0, 0x7fffffff},
      {0x80000001, 0, -0x7fffffff},
      {0x3fffffff, 0xc0000000, 0x7fffffff},
  };
  for (const auto& [a, b, distance] : cases) {
    SCOPED_TRACE(testing::Message() << a << " against " << b);
    const SeqNum left(a);
    const SeqNum right(b);
    EXPECT_EQ(left - right, distance);
    EXPECT_EQ(left.before(right), distance < 0);
    EXPECT_EQ(left.before_eq(right), distance <= 0);
    EXPECT_EQ(left.after(right), distance > 0);
    EXPECT_EQ(left.after_eq(right), distance >= 0);
    EXPECT_EQ(seq_max(left, right), distance >= 0 ? left : right);
    EXPECT_EQ(seq_min(left, right), distance <= 0 ? left : right);
  }
}

TEST(SeqNum, ArithmeticWraps) {
  EXPECT_EQ((SeqNum(0xfffffffe) + 3).value(), 1u);
  EXPECT_EQ((SeqNum(1) - 3u).value(), 0xfffffffeu);
  SeqNum seq(0xffffffff);
  seq += 1;
  EXPECT_EQ(seq.value(), 0u);
}

TEST(SeqNum, WindowIsHalfOpenAndWraps) {
  struct Case {
    std::uint32_t seq, start, length;
    bool inside;
  };
  const Case cases[] = {
      {100, 100, 1, true},       {101, 100, 1, false},          {99, 100, 1, false},
      {100, 100, 0, false},      {149, 100, 50, true},          {150, 100, 50, false},
      {2, 0xfffffff0, 32, true}, {0x10, 0xfffffff0, 32, false}, {0xffffffef, 0xfffffff0, 32, false},
      {0, 0xffffffff, 2, true},  {1, 0xffffffff, 2, false},
  };
  for (const auto& [seq, start, length, inside] : cases)
    EXPECT_EQ(SeqNum(seq).in_window(SeqNum(start), length), inside)
        << seq << " in " << start << "+" << length;
}

TEST(Time, UnitsAndOrder) {
  using namespace pollux::literals;
  EXPECT_EQ(1_s, 1000_ms);
  EXPECT_EQ(1_ms, 1000_us);
  EXPECT_EQ(1_us, 1000_ns);
  EXPECT_EQ((1500_us).ms(), 1);
  EXPECT_EQ((1500_ns).us(), 1);
  EXPECT_DOUBLE_EQ((250_ms).seconds(), 0.25);
  EXPECT_EQ((3_s - 1_s) * 4 / 2, 4_s);
  EXPECT_LT(999_us, 1_ms);
  const TimePoint t = TimePoint::from_ns(5);
  EXPECT_EQ((t + 2_ns) - t, 2_ns);
  EXPECT_EQ((t - 10_ns).ns(), -5);
  EXPECT_LT(t, TimePoint::never());
  EXPECT_TRUE(TimePoint::never().is_never());
  EXPECT_FALSE(t.is_never());
}

TEST(ByteOrder, IsNetworkOrderAtAnyAlignment) {
  std::array<std::uint8_t, 8> buffer{};
  for (std::size_t at = 0; at < 4; ++at) {
    store_be32(&buffer[at], 0x01020304);
    EXPECT_EQ(buffer[at], 1);
    EXPECT_EQ(buffer[at + 3], 4);
    EXPECT_EQ(load_be32(&buffer[at]), 0x01020304u);
    store_be16(&buffer[at], 0xabcd);
    EXPECT_EQ(buffer[at], 0xab);
    EXPECT_EQ(load_be16(&buffer[at]), 0xabcd);
  }
}

TEST(Rng, IsXoshiro256PlusPlusSeededBySplitmix64) {
  Rng rng(0);
  // The published sequence for seed 0.
  for (const std::uint64_t expected : {0x53175d61490b23dfu, 0x61da6f3dc380d507u, 0x5c0fdf91ec9a7bfcu,
                                       0x02eebf8c3bbe5e1au, 0x7eca04ebaf4a5eeau, 0x0543c37757f08d9au})
    EXPECT_EQ(rng.next(), expected);
}

TEST(Rng, ReplaysFromItsSeedAndDiffersWithAnother) {
  const std::uint64_t seed = test::seed_from_environment(42);
  Rng first(seed);
  Rng again(seed);
  Rng other(seed + 1);
  int equal_to_other = 0;
  for (int i = 0; i < 1000; ++i) {
    const std::uint64_t value = first.next();
    ASSERT_EQ(value, again.next());
    equal_to_other += value == other.next();
  }
  EXPECT_EQ(equal_to_other, 0);
}

TEST(Rng, DrawsStayInRangeAndReachAllOfIt) {
  Rng rng(test::seed_from_environment(7));
  std::array<int, 6> seen{};
  double unit_sum = 0;
  int hits = 0;
  for (int i = 0; i < 60000; ++i) {
    const std::uint32_t face = rng.below(6);
    ASSERT_LT(face, 6u);
    ++seen[face];
    const double unit = rng.unit();
    ASSERT_GE(unit, 0.0);
    ASSERT_LT(unit, 1.0);
    unit_sum += unit;
    hits += rng.chance(0.25);
    ASSERT_FALSE(rng.chance(0.0));
    ASSERT_TRUE(rng.chance(1.0));
    ASSERT_EQ(rng.below(1), 0u);
  }
  for (const int n : seen) EXPECT_NEAR(n, 10000, 500);  // more than five standard deviations
  EXPECT_NEAR(unit_sum / 60000, 0.5, 0.01);
  EXPECT_NEAR(hits, 15000, 600);
}

// Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A and the reference implementation:
// key 00 01 .. 0f, message 00 01 .. n-1.
TEST(SipHash, MatchesTheReferenceVectors) {
  const std::uint64_t expected[] = {
      0x726fdb47dd0e0e31, 0x74f839c593dc67fd, 0x0d6c8009d9a94f5a, 0x85676696d7fb7e2d, 0xcf2794e0277187b7,
      0x18765564cd99a68d, 0xcbc9466e58fee3ce, 0xab0200f58b01d137, 0x93f5f5799a932462, 0x9e0082df0ba9e4b0,
      0x7a5dbbc594ddb9f3, 0xf4b32f46226bada7, 0x751e8fbc860ee5fb, 0x14ea5627c0843d90, 0xf723ca908e7af2ee,
      0xa129ca6149be45e5, 0x3f2acc7f57c29bdb,
  };
  const SipKey key{0x0706050403020100, 0x0f0e0d0c0b0a0908};
  for (std::size_t n = 0; n < std::size(expected); ++n) {
    std::vector<std::uint8_t> message(n);  // exactly sized: a read beyond it is seen by the sanitizer
    std::iota(message.begin(), message.end(), std::uint8_t{0});
    EXPECT_EQ(siphash24(key, message), expected[n]) << n;
  }
}

TEST(SipHash, DependsOnEachHalfOfTheKey) {
  const std::array<std::uint8_t, 12> tuple{192, 0, 2, 1, 192, 0, 2, 2, 0, 7, 0x80, 1};
  const std::uint64_t hash = siphash24({1, 2}, tuple);
  EXPECT_NE(hash, siphash24({1, 3}, tuple));
  EXPECT_NE(hash, siphash24({0, 2}, tuple));
}

}  // namespace
}  // namespace pollux
