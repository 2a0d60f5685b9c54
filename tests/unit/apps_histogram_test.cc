#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "l4bench/histogram.h"

namespace pollux::app {
namespace {

TEST(Histogram, IsZeroWhenEmpty) {
  const Histogram h;
  EXPECT_EQ(h.count(), 0u);
  EXPECT_EQ(h.max(), 0u);
  EXPECT_EQ(h.quantile(0.5), 0u);
}

TEST(Histogram, SmallValuesAreExact) {
  Histogram h;
  for (std::uint64_t v = 1; v <= 100; ++v) h.record(v % 64);
  EXPECT_EQ(h.count(), 100u);
  EXPECT_EQ(h.max(), 63u);
  EXPECT_EQ(h.quantile(0.0), 0u);
  EXPECT_EQ(h.quantile(1.0), 63u);
}

TEST(Histogram, AValueIsReportedAtMostOneSixtyFourthTooHigh) {
  for (std::uint64_t v = 1; v <= Histogram::value_max; v = v * 3 / 2 + 1) {
    Histogram h;
    h.record(v);
    h.record(Histogram::value_max);  // so that max() does not cut the quantile down
    EXPECT_GE(h.quantile(0.5), v);
    EXPECT_LE(h.quantile(0.5), v + v / 64) << v;
  }
}

TEST(Histogram, QuantilesMatchASortedList) {
  Histogram h;
  std::vector<std::uint64_t> values;
  std::uint64_t v = 12345;
  for (int i = 0; i < 10'000; ++i) {
    v = v * 6364136223846793005u + 1442695040888963407u;
    values.push_back((v >> 33) % 10'000'000);
    h.record(values.back());
  }
  std::sort(values.begin(), values.end());
  for (const double q : {0.01, 0.5, 0.9, 0.99, 0.999, 1.0}) {
    const auto exact = values[static_cast<std::size_t>(std::ceil(q * 10'000)) - 1];
    EXPECT_GE(h.quantile(q), exact) << q;
    EXPECT_LE(h.quantile(q), exact + exact / 64) << q;
  }
  EXPECT_EQ(h.max(), values.back());
}

TEST(Histogram, ValuesBeyondTheRangeCountAsTheLargest) {
  Histogram h;
  h.record(~std::uint64_t{0});
  EXPECT_EQ(h.max(), Histogram::value_max);
  EXPECT_EQ(h.quantile(0.5), Histogram::value_max);
}

TEST(Histogram, SumsAreOfBothParts) {
  Histogram a, b;
  a.record(10);
  b.record(20);
  b.record(1'000'000);
  a += b;
  EXPECT_EQ(a.count(), 3u);
  EXPECT_EQ(a.max(), 1'000'000u);
  EXPECT_EQ(a.quantile(0.6), 20u);
}

}  // namespace
}  // namespace pollux::app
