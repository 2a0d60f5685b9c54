#include "pollux/base/counters.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <string>

namespace pollux {
namespace {

TEST(DropReasons, EachHasItsOwnNameAndItsOwnSentence) {
  std::set<std::string> names;
  std::set<std::string> texts;
  for (std::size_t i = 0; i < drop_reason_count; ++i) {
    const std::string name = drop_reason_name(static_cast<DropReason>(i));
    const std::string text = drop_reason_text(static_cast<DropReason>(i));
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_TRUE(texts.insert(text).second) << text;
    EXPECT_TRUE(std::ranges::all_of(name, [](char c) { return c == '_' || (c >= 'a' && c <= 'z'); })) << name;
    EXPECT_GE(text.size(), 10u) << name;
    EXPECT_NE(text.back(), '.') << name;
  }
}

TEST(DropReasons, NamesAreTheIdentifiers) {
  EXPECT_STREQ(drop_reason_name(DropReason::none), "none");
  EXPECT_STREQ(drop_reason_name(DropReason::eth_truncated), "eth_truncated");
  EXPECT_STREQ(drop_reason_name(DropReason::tcp_bad_option), "tcp_bad_option");
  EXPECT_STREQ(drop_reason_name(DropReason::no_mbuf), "no_mbuf");
  EXPECT_STREQ(drop_reason_text(DropReason::tcp_bad_checksum), "TCP checksum is wrong");
}

TEST(CounterNames, AreDistinctAndStartWithTheirProtocolOrPx) {
  std::set<std::string> labels;
  for (std::size_t i = 0; i < counter_count; ++i) {
    const std::string label = counter_label(static_cast<Counter>(i));
    EXPECT_TRUE(labels.insert(label).second) << label;
    EXPECT_TRUE(std::ranges::any_of(std::initializer_list<const char*>{"Px", "Ip", "Icmp", "Udp", "Tcp"},
                                    [&](const char* prefix) { return label.starts_with(prefix); }))
        << label;
    EXPECT_GE(std::string(counter_text(static_cast<Counter>(i))).size(), 10u) << label;
  }
  EXPECT_STREQ(counter_label(Counter::tcp_retrans_segs), "TcpRetransSegs");
}

TEST(Counters, CountEventsAndDropsApart) {
  Counters counters;
  counters.add(Counter::rx_packets);
  counters.add(Counter::rx_bytes, 1514);
  counters.drop(DropReason::ip_bad_checksum);
  counters.drop(DropReason::tcp_paws, 4);
  EXPECT_EQ(counters[Counter::rx_packets], 1u);
  EXPECT_EQ(counters[Counter::rx_bytes], 1514u);
  EXPECT_EQ(counters[Counter::tx_packets], 0u);
  EXPECT_EQ(counters[DropReason::ip_bad_checksum], 1u);
  EXPECT_EQ(counters[DropReason::tcp_paws], 4u);
  EXPECT_EQ(counters[DropReason::none], 0u);
  EXPECT_EQ(counters.drops(), 5u);
}

TEST(Counters, AddUpOverCoresAndACopyIsASnapshot) {
  Counters first;
  first.add(Counter::udp_in_datagrams, 2);
  first.drop(DropReason::no_mbuf);
  const Counters snapshot = first;
  Counters second;
  second.add(Counter::udp_in_datagrams, 40);
  second.drop(DropReason::no_mbuf, 6);
  first += second;
  EXPECT_EQ(first[Counter::udp_in_datagrams], 42u);
  EXPECT_EQ(first[DropReason::no_mbuf], 7u);
  EXPECT_EQ(snapshot[Counter::udp_in_datagrams], 2u);
  EXPECT_EQ(snapshot.drops(), 1u);
}

}  // namespace
}  // namespace pollux
