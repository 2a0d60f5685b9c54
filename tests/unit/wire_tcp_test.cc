#include "pollux/wire/tcp.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "pollux/base/rng.h"
#include "support/seed.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

bool same(const TcpOptionValues& a, const TcpOptionValues& b) {
  bool equal = a.has_mss == b.has_mss && a.mss == b.mss && a.has_window_scale == b.has_window_scale &&
               a.window_scale == b.window_scale && a.has_timestamp == b.has_timestamp &&
               a.ts_value == b.ts_value && a.ts_echo == b.ts_echo && a.sack_permitted == b.sack_permitted &&
               a.sack_count == b.sack_count;
  for (std::size_t i = 0; equal && i < a.sack_count; ++i)
    equal = a.sacks[i].left == b.sacks[i].left && a.sacks[i].right == b.sacks[i].right;
  return equal;
}

TcpOptionValues mss(std::uint16_t value) {
  return {.has_mss = true, .mss = value};
}
TcpOptionValues window_scale(std::uint8_t shift) {
  return {.has_window_scale = true, .window_scale = shift};
}
TcpOptionValues timestamp(std::uint32_t value, std::uint32_t echo) {
  return {.has_timestamp = true, .ts_value = value, .ts_echo = echo};
}
TcpOptionValues sacks(std::initializer_list<SackBlock> blocks) {
  TcpOptionValues values;
  for (const SackBlock& block : blocks) values.sacks[values.sack_count++] = block;
  return values;
}

TEST(TcpOptions, ReadsEachKindAndSkipsTheUnknown) {
  struct Case {
    const char* name;
    Octets octets;
    TcpOptionValues expected;
  };
  const Case cases[] = {
      {"none", {}, {}},
      {"NOPs", {1, 1, 1, 1}, {}},
      {"end of list", {0, 0, 0, 0}, {}},
      {"what follows the end of list is not read", {0, 2, 4, 5, 180, 2, 0, 255}, {}},
      {"MSS", {2, 4, 0x05, 0xb4}, mss(1460)},
      {"window scale 0", {1, 3, 3, 0}, window_scale(0)},
      {"window scale 14", {3, 3, 14, 0}, window_scale(14)},
      {"window scale 15 counts as 14 (RFC 7323 2.3)", {3, 3, 15, 0}, window_scale(14)},
      {"window scale 255 counts as 14", {3, 3, 255, 0}, window_scale(14)},
      {"SACK permitted", {1, 1, 4, 2}, {.sack_permitted = true}},
      {"timestamp", {1, 1, 8, 10, 0, 0, 0, 9, 0xff, 0xff, 0xff, 0xfe}, timestamp(9, 0xfffffffe)},
      {"timestamp unaligned", {8, 10, 0, 0, 0, 9, 0, 0, 0, 8, 0, 0}, timestamp(9, 8)},
      {"one SACK block", {1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2}, sacks({{SeqNum(1), SeqNum(2)}})},
      {"unknown kind with a length", {254, 6, 1, 2, 3, 4, 3, 3, 7, 0}, window_scale(7)},
      {"unknown kind of two octets", {77, 2, 2, 4, 1, 0}, mss(256)},
      {"a NOP between", {1, 2, 4, 1, 0, 1, 1, 1}, mss(256)},
      {"the last of two", {2, 4, 1, 0, 2, 4, 2, 0}, mss(512)},
      {"unknown kind that fills the rest", {99, 4, 0, 0}, {}},
  };
  for (const Case& c : cases) {
    const auto values = TcpOptionValues::parse(c.octets);
    ASSERT_TRUE(values) << c.name;
    EXPECT_TRUE(same(*values, c.expected)) << c.name;
  }
}

TEST(TcpOptions, FourSackBlocksFillTheOptionSpace) {
  Octets octets{1, 1, 5, 34};
  for (std::uint8_t i = 0; i < 8; ++i) octets.insert(octets.end(), {0xff, 0, 0, i});
  const auto values = TcpOptionValues::parse(octets);
  ASSERT_TRUE(values);
  ASSERT_EQ(values->sack_count, 4);
  for (std::uint32_t i = 0; i < 4; ++i) {
    EXPECT_EQ(values->sacks[i].left, SeqNum(0xff000000u + 2 * i));
    EXPECT_EQ(values->sacks[i].right, SeqNum(0xff000001u + 2 * i));
  }
}

TEST(TcpOptions, RejectsIllegalLengths) {
  struct Case {
    const char* name;
    Octets octets;
  };
  const Case cases[] = {
      {"kind without length", {1, 1, 1, 2}},
      {"unknown kind without length", {77}},
      {"length 0", {2, 0, 5, 180}},
      {"length 1", {77, 1, 0, 0}},
      {"unknown kind beyond the header", {77, 5, 0, 0}},
      {"MSS beyond the header", {2, 4, 5}},
      {"timestamp beyond the header", {8, 10, 0, 0, 0, 1, 0, 0}},
      {"length 255", {8, 255, 0, 0}},
      {"MSS of 3", {2, 3, 5, 0}},
      {"MSS of 5", {2, 5, 5, 180, 0}},
      {"window scale of 2", {3, 2, 0, 0}},
      {"window scale of 4", {3, 4, 7, 7}},
      {"SACK permitted of 3", {4, 3, 0, 0}},
      {"SACK without a block", {5, 2, 0, 0}},
      {"SACK with half a block", {5, 6, 0, 0, 0, 1, 0, 0}},
      {"SACK with one and a half", {5, 14, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3}},
      {"timestamp of 9", {8, 9, 0, 0, 0, 1, 0, 0, 0}},
      {"timestamp of 11", {8, 11, 0, 0, 0, 1, 0, 0, 0, 2, 0}},
  };
  for (const Case& c : cases) {
    const auto values = TcpOptionValues::parse(c.octets);
    ASSERT_FALSE(values) << c.name;
    EXPECT_EQ(values.error(), DropReason::tcp_bad_option) << c.name;
  }
}

TEST(TcpOptions, EmitsTheUsualLayouts) {
  TcpOptionValues syn = mss(1460);
  syn.has_window_scale = true;
  syn.window_scale = 7;
  syn.has_timestamp = true;
  syn.ts_value = 0x01020304;
  TcpOptionValues syn_with_sack = syn;
  syn_with_sack.sack_permitted = true;
  TcpOptionValues dup_ack = timestamp(1, 2);
  dup_ack.sack_count = 1;
  dup_ack.sacks[0] = {SeqNum(0x10), SeqNum(0x20)};
  struct Case {
    const char* name;
    TcpOptionValues values;
    Octets octets;
  };
  const Case cases[] = {
      {"none", {}, {}},
      {"data segment",
       timestamp(0xa1a2a3a4, 0xb1b2b3b4),
       {1, 1, 8, 10, 0xa1, 0xa2, 0xa3, 0xa4, 0xb1, 0xb2, 0xb3, 0xb4}},
      {"SYN", syn, {2, 4, 5, 0xb4, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7}},
      {"SYN with SACK permitted", syn_with_sack, {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
                                                  3, 4, 0, 0,    0, 0, 1, 3,  3, 7}},
      {"SACK permitted alone", {.sack_permitted = true}, {1, 1, 4, 2}},
      {"window scale alone", window_scale(14), {1, 3, 3, 14}},
      {"SACK behind the timestamp", dup_ack, {1, 1, 8, 10, 0, 0, 0, 1,    0, 0, 0, 2,
                                              1, 1, 5, 10, 0, 0, 0, 0x10, 0, 0, 0, 0x20}},
  };
  for (const Case& c : cases) {
    Octets out(c.octets.size());
    ASSERT_EQ(c.values.emitted_size(), c.octets.size()) << c.name;
    EXPECT_EQ(c.values.emit(out.data()), c.octets.size()) << c.name;
    EXPECT_EQ(out, c.octets) << c.name;
  }
}

TEST(TcpOptions, EmitAsManySackBlocksAsFit) {
  struct Case {
    TcpOptionValues beside;
    std::uint8_t fit;
  };
  TcpOptionValues all = timestamp(1, 2);
  all.has_mss = all.has_window_scale = all.sack_permitted = true;
  TcpOptionValues mss_and_scale = mss(1);
  mss_and_scale.has_window_scale = true;
  for (const auto& [beside, fit] :
       {Case{{}, 4}, Case{mss(1), 4}, Case{mss_and_scale, 3}, Case{timestamp(1, 2), 3}, Case{all, 2}}) {
    TcpOptionValues values = beside;
    values.sack_count = 4;
    for (std::uint32_t i = 0; i < 4; ++i) values.sacks[i] = {SeqNum(10 * i), SeqNum(10 * i + 5)};
    ASSERT_LE(values.emitted_size(), 40u);
    Octets out(values.emitted_size());
    ASSERT_EQ(values.emit(out.data()), out.size());
    const auto parsed = TcpOptionValues::parse(out);
    ASSERT_TRUE(parsed);
    values.sack_count = fit;
    EXPECT_TRUE(same(*parsed, values)) << int{fit};
  }
}

TEST(TcpOptions, RandomValuesSurviveTheWire) {
  Rng rng(test::seed_from_environment(10));
  for (int round = 0; round < 5000; ++round) {
    TcpOptionValues values;
    if ((values.has_mss = rng.chance(0.5))) values.mss = static_cast<std::uint16_t>(rng.next());
    if ((values.has_window_scale = rng.chance(0.5)))
      values.window_scale = static_cast<std::uint8_t>(rng.below(15));
    if ((values.has_timestamp = rng.chance(0.5))) {
      values.ts_value = static_cast<std::uint32_t>(rng.next());
      values.ts_echo = static_cast<std::uint32_t>(rng.next());
    }
    values.sack_permitted = rng.chance(0.5);
    values.sack_count = static_cast<std::uint8_t>(rng.below(3));  // two fit beside everything else
    for (std::size_t i = 0; i < values.sack_count; ++i)
      values.sacks[i] = {SeqNum(static_cast<std::uint32_t>(rng.next())),
                         SeqNum(static_cast<std::uint32_t>(rng.next()))};
    const std::size_t size = values.emitted_size();
    ASSERT_EQ(size % 4, 0u);
    Octets out(size);
    ASSERT_EQ(values.emit(out.data()), size);
    const auto parsed = TcpOptionValues::parse(out);
    ASSERT_TRUE(parsed);
    ASSERT_TRUE(same(*parsed, values)) << "round " << round;
  }
}

TEST(TcpHeader, EmitsAndParsesAllFields) {
  const TcpFields fields{.source_port = 7,
                         .destination_port = 0xabcd,
                         .sequence = SeqNum(0xfffffff0),
                         .acknowledgment = SeqNum(0x01020304),
                         .flags = TcpFlags{TcpFlags::ack | TcpFlags::psh},
                         .window = 0xfedc,
                         .urgent_pointer = 0x1122,
                         .options = timestamp(5, 6)};
  Octets out(fields.header_length(), 0xee);
  ASSERT_EQ(out.size(), 32u);
  ASSERT_EQ(fields.emit(out.data()), out.size());
  const Octets expected{0, 7, 0xab, 0xcd, 0xff, 0xff, 0xff, 0xf0, 1, 2, 3, 4, 0x80, 0x18, 0xfe, 0xdc,
                        0, 0, 0x11, 0x22, 1,    1,    8,    10,   0, 0, 0, 5, 0,    0,    0,    6};
  EXPECT_EQ(out, expected);
  const auto view = TcpView::parse(out);
  ASSERT_TRUE(view);
  EXPECT_EQ(view->source_port(), 7);
  EXPECT_EQ(view->destination_port(), 0xabcd);
  EXPECT_EQ(view->sequence(), SeqNum(0xfffffff0));
  EXPECT_EQ(view->acknowledgment(), SeqNum(0x01020304));
  EXPECT_EQ(view->header_length(), 32u);
  EXPECT_EQ(view->flags(), fields.flags);
  EXPECT_TRUE(view->flags().has_all(TcpFlags::ack | TcpFlags::psh));
  EXPECT_FALSE(view->flags().has(TcpFlags::syn | TcpFlags::fin | TcpFlags::rst | TcpFlags::urg));
  EXPECT_EQ(view->window(), 0xfedc);
  EXPECT_EQ(view->checksum(), 0);
  EXPECT_EQ(view->urgent_pointer(), 0x1122);
  EXPECT_EQ(view->options().size(), 12u);
  ASSERT_TRUE(view->has_only_timestamp());
  EXPECT_EQ(view->fast_ts_value(), 5u);
  EXPECT_EQ(view->fast_ts_echo(), 6u);
}

TEST(TcpHeader, OnlyTheExactTimestampLayoutIsTheFastOne) {
  struct Case {
    const char* name;
    Octets options;
    bool fast;
  };
  const Case cases[] = {
      {"NOP NOP TS", {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, true},
      {"TS first", {8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1}, false},
      {"TS and padding", {1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0}, false},
      {"SACK permitted with TS", {4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2}, false},
      {"none", {}, false},
  };
  for (const Case& c : cases) {
    Octets header(20);
    header[12] = static_cast<std::uint8_t>((20 + c.options.size()) / 4 << 4);
    header.insert(header.end(), c.options.begin(), c.options.end());
    const auto view = TcpView::parse(header);
    ASSERT_TRUE(view) << c.name;
    EXPECT_EQ(view->has_only_timestamp(), c.fast) << c.name;
  }
}

TEST(TcpHeader, RejectsTruncationAndBadOffsets) {
  struct Case {
    std::size_t size;
    std::uint8_t data_offset;  // in 32-bit words
    DropReason expected;
  };
  const Case cases[] = {
      {0, 5, DropReason::tcp_truncated},
      {19, 5, DropReason::tcp_truncated},
      {20, 5, DropReason::none},
      {20, 0, DropReason::tcp_bad_offset},
      {60, 4, DropReason::tcp_bad_offset},
      {20, 6, DropReason::tcp_bad_offset},
      {23, 6, DropReason::tcp_bad_offset},
      {24, 6, DropReason::none},
      {59, 15, DropReason::tcp_bad_offset},
      {60, 15, DropReason::none},
      {1500, 15, DropReason::none},
  };
  for (const auto& [size, data_offset, expected] : cases) {
    Octets bytes(size);
    if (size > 12)
      bytes[12] = static_cast<std::uint8_t>(data_offset << 4 | 0x0f);  // reserved bits do not matter
    const auto view = TcpView::parse(bytes);
    EXPECT_EQ(view ? DropReason::none : view.error(), expected)
        << size << " octets, offset " << int{data_offset};
  }
}

// RFC 7413 2 and 4.1.1
TEST(TcpOptions, FastOpenCookiesAreReadAndWritten) {
  for (const std::size_t size : {0, 2, 3, 4, 7, 8, 16, 18}) {
    std::vector<std::uint8_t> octets{34, static_cast<std::uint8_t>(2 + size)};
    for (std::size_t i = 0; i < size; ++i) octets.push_back(static_cast<std::uint8_t>(i + 1));
    const auto read = TcpOptionValues::parse(octets);
    ASSERT_TRUE(read) << size;
    const bool good = size == 0 || size == 4 || size == 8 || size == 16;
    EXPECT_EQ(read->has_fast_open, good) << size << ": what is no cookie is ignored";
    if (!good) continue;
    EXPECT_EQ(read->fast_open_size, size);
    std::uint8_t out[40] = {};
    const std::size_t written = read->emit(out);
    EXPECT_EQ(written, read->emitted_size());
    EXPECT_EQ(written % 4, 0u);
    const auto again = TcpOptionValues::parse(ByteView(out, written));
    ASSERT_TRUE(again);
    EXPECT_EQ(again->fast_open_size, size);
    EXPECT_TRUE(std::equal(octets.begin() + 2, octets.end(), again->fast_open_cookie.begin()));
  }
}

TEST(TcpOptions, ASynWithEveryOptionAndTheLongestCookieFits) {
  TcpOptionValues syn;
  syn.has_mss = syn.has_window_scale = syn.has_timestamp = syn.sack_permitted = syn.has_fast_open = true;
  syn.fast_open_size = 16;
  std::uint8_t out[40];
  EXPECT_EQ(syn.emitted_size(), 40u);
  EXPECT_EQ(syn.emit(out), 40u);
}

}  // namespace
}  // namespace pollux
