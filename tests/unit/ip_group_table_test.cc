// What a port says of its groups, and when: GroupTable by itself, in virtual time. ip_groups_test has the
// messages.
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "pollux/ip/group_table.h"

namespace pollux::test {
namespace {

const IpAddress group = IpAddress::v4(239, 1, 2, 3);
const IpAddress other_group = IpAddress::v4(239, 9, 9, 9);
constexpr Duration at_once = Duration::from_ms(1);  // the only time within that is now

IpAddress source(char name) {
  return IpAddress::v4(192, 0, 2, static_cast<std::uint8_t>(name));
}
SourceList sources(const std::string& names) {
  SourceList list;
  for (const char name : names) EXPECT_TRUE(list.add(source(name)));
  return list;
}
GroupFilter include(const std::string& names) {
  return {GroupMode::include, sources(names)};
}
GroupFilter exclude(const std::string& names = "") {
  return {GroupMode::exclude, sources(names)};
}

using Said = std::vector<std::string>;

struct Port {
  explicit Port(bool v4 = true) : table(v4) {}
  static std::string name(const IpAddress& g) { return g == group ? "" : " of another"; }
  /// Everything that is said until `time` from now, at the times that are due.
  Said after(Duration time) {
    Said said;
    const TimePoint end = now + time;
    for (int i = 0; table.due() <= end && i < 10000; ++i) {
      now = std::max(now, table.due());
      table.advance(
          now, rng,
          [&](const IpAddress& g, GroupRecordType type, std::span<const IpAddress> list) {
            static constexpr const char* types[] = {"", "is_in", "is_ex", "to_in", "to_ex", "allow", "block"};
            std::string names;
            for (const IpAddress& s : list) names += static_cast<char>(s.v4_value() & 0xff);
            std::sort(names.begin(), names.end());
            said.push_back(types[static_cast<int>(type)] + (names.empty() ? "" : " " + names) + name(g));
          },
          [&](const IpAddress& g) { said.push_back("report" + name(g)); },
          [&](const IpAddress& g) { said.push_back("leave" + name(g)); });
    }
    now = end;
    return said;
  }
  Said here() { return after(Duration{}); }
  void set(const GroupFilter& filter, const IpAddress& g = group) { table.set(g, filter, now); }
  /// All that was to be said is said.
  void settle(const GroupFilter& filter) {
    set(filter);
    (void)after(Duration::from_s(60));
  }
  void ask(const IpAddress& g, const std::string& names = "", Duration within = at_once) {
    octets.assign(4 * names.size(), 0);
    for (std::size_t i = 0; i < names.size(); ++i)
      std::copy_n(source(names[i]).octets().data() + 12, 4, &octets[4 * i]);
    table.query({.group = g, .max_response = within, .sources = octets}, now, rng);
  }
  void hears(const GroupQuery& query) { table.query(query, now, rng); }

  GroupTable table;
  Rng rng{1};
  TimePoint now = TimePoint() + Duration::from_s(100);
  std::vector<std::uint8_t> octets;
};

TEST(SourceLists, AreSets) {
  SourceList list = sources("abcc");
  EXPECT_EQ(list.items().size(), 3u);
  EXPECT_EQ(list, sources("cab"));
  EXPECT_FALSE(list == sources("ab"));
  EXPECT_FALSE(sources("ab") == list);
  EXPECT_FALSE(list == sources("abd"));
  list.remove(source('a'));
  EXPECT_EQ(list, sources("bc")) << "the others stay";
  list.remove(source('x'));
  EXPECT_EQ(list, sources("bc"));
  SourceList full;
  for (std::size_t i = 0; i < SourceList::capacity; ++i)
    EXPECT_TRUE(full.add(IpAddress::v4(static_cast<std::uint32_t>(i))));
  EXPECT_FALSE(full.add(source('a')));
  EXPECT_EQ(full.items().size(), SourceList::capacity);
  EXPECT_TRUE(full.add(IpAddress::v4(std::uint32_t{0}))) << "it is there already";
}

TEST(GroupFilters, SayWhoIsHeard) {
  for (const auto& [filter, member, a, b] : {std::tuple{include(""), false, false, false},
                                             {include("a"), true, true, false},
                                             {exclude(), true, true, true},
                                             {exclude("a"), true, false, true}}) {
    EXPECT_EQ(filter.is_member(), member);
    EXPECT_EQ(filter.accepts(source('a')), a);
    EXPECT_EQ(filter.accepts(source('b')), b);
  }
}

TEST(GroupChanges, AreSaidAtOnceAndAgainWithinASecond) {  // RFC 3376 5.1, 8.1, 8.11
  Port port;
  port.set(include(""));
  EXPECT_TRUE(port.table.groups().empty()) << "not joined";
  EXPECT_TRUE(port.table.due().is_never());
  port.set(exclude());
  EXPECT_EQ(port.table.due(), port.now);
  EXPECT_EQ(port.here(), Said{"to_ex"});
  EXPECT_GT(port.table.due(), port.now);
  EXPECT_LE(port.table.due(), port.now + Duration::from_s(1));
  port.set(exclude());
  EXPECT_EQ(port.here(), Said{}) << "no change";
  EXPECT_EQ(port.after(Duration::from_s(100)), Said{"to_ex"});
  port.set(include(""));
  EXPECT_EQ(port.after(Duration::from_s(100)), (Said{"to_in", "to_in"}));
  EXPECT_TRUE(port.table.groups().empty());
  EXPECT_TRUE(port.table.due().is_never());
}

TEST(GroupChanges, OfSourcesAreSaidByWhatIsAllowedAndBlocked) {
  struct Row {
    GroupFilter before, after;
    Said said;
  };
  const Row rows[] = {{include("a"), include("b"), {"allow b", "block a"}},
                      {include("a"), include("abc"), {"allow bc"}},
                      {include("abc"), include("a"), {"block bc"}},
                      {exclude("a"), exclude("b"), {"allow a", "block b"}},
                      {exclude("ab"), exclude(), {"allow ab"}},
                      {exclude(), exclude("ab"), {"block ab"}},
                      {include("ab"), exclude("b"), {"to_ex b"}},
                      {exclude("b"), include("ab"), {"to_in ab"}}};
  for (const Row& row : rows) {
    Port port;
    port.settle(row.before);
    port.set(row.after);
    SCOPED_TRACE(row.said[0]);
    EXPECT_EQ(port.here(), row.said);
    EXPECT_EQ(port.after(Duration::from_s(100)), row.said) << "once more, and no more";
  }
}

TEST(GroupChanges, ThatFollowEachOtherAreSaidTogether) {  // RFC 3376 5.1
  Port port;
  port.settle(include("a"));
  port.set(include("b"));
  EXPECT_EQ(port.here(), (Said{"allow b", "block a"}));
  port.set(include("bc"));
  EXPECT_EQ(port.here(), (Said{"allow bc", "block a"}));
  port.set(include("ab"));  // back and forth: what holds now
  EXPECT_EQ(port.after(Duration::from_s(100)), (Said{"allow ab", "block c", "allow ab", "block c"}));
  // A change of mode says all there is, and what was pending with it.
  port.set(include("c"));
  EXPECT_EQ(port.here(), (Said{"allow c", "block ab"}));
  port.set(exclude("a"));
  EXPECT_EQ(port.after(Duration::from_s(100)), (Said{"to_ex a", "to_ex a"}));
  // While it is still to be said it is said as it is then.
  port.set(include("a"));
  EXPECT_EQ(port.here(), Said{"to_in a"});
  port.set(include("ab"));
  EXPECT_EQ(port.here(), Said{"to_in ab"});
  EXPECT_EQ(port.after(Duration::from_s(100)), Said{"allow b"});
}

TEST(GroupChanges, AreSaidAsOftenAsTheQuerierWishes) {  // RFC 3376 4.1.6
  Port port;
  port.hears({.max_response = at_once, .robustness = 4});
  port.hears({.max_response = at_once});  // 0: it does not say
  EXPECT_EQ(port.here(), Said{});
  port.set(exclude());
  EXPECT_EQ(port.after(Duration::from_s(100)), (Said{"to_ex", "to_ex", "to_ex", "to_ex"}));
  port.set(exclude("a"));
  EXPECT_EQ(port.after(Duration::from_s(100)), (Said{"block a", "block a", "block a", "block a"}));
}

TEST(GroupQueries, AboutAllAreAnsweredOnceWithinTheirTime) {  // RFC 3376 5.2
  Port port;
  port.settle(include("a"));
  port.set(exclude("b"), other_group);
  (void)port.after(Duration::from_s(60));
  for (int i = 0; i < 20; ++i) {
    port.ask({}, "", Duration::from_s(10));
    EXPECT_GE(port.table.due(), port.now);
    EXPECT_EQ(port.after(Duration::from_s(10)), (Said{"is_in a", "is_ex b of another"}));
    EXPECT_EQ(port.after(Duration::from_s(100)), Said{});
  }
  // The time is drawn.
  port.ask({}, "", Duration::from_s(10));
  const TimePoint first = port.table.due();
  (void)port.after(Duration::from_s(10));
  const TimePoint start = port.now;
  port.ask({}, "", Duration::from_s(10));
  EXPECT_NE(port.table.due() - start, first - (start - Duration::from_s(10)));
  // A later answer about one says nothing that this one does not (rule 1); an earlier one does not wait for
  // it.
  port.ask(group, "", Duration::from_s(1000));
  EXPECT_EQ(port.after(Duration::from_s(10)).size(), 2u);
  EXPECT_EQ(port.after(Duration::from_s(1000)), Said{});
  port.ask({}, "", Duration::from_s(1000));
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"is_in a"});
  port.ask({});
  port.ask({}, "", Duration::from_s(1000));
  EXPECT_EQ(port.here().size(), 2u) << "a question that comes again does not put its answer off";
}

TEST(GroupQueries, AboutSourcesAreAnsweredByThoseThatAreWanted) {
  struct Row {
    GroupFilter filter;
    std::vector<std::string> asked;  // in this order; "": about the group
    Said said;
  };
  const Row rows[] = {{include("ab"), {"ac"}, {"is_in a"}},
                      {include("ab"), {"c"}, {}},
                      {exclude("a"), {"ab"}, {"is_in b"}},
                      {exclude("a"), {"a"}, {}},
                      {exclude("a"), {""}, {"is_ex a"}},
                      {include("ab"), {"a", "b"}, {"is_in ab"}},
                      {include("ab"), {"a", ""}, {"is_in ab"}},
                      {exclude("a"), {"b", ""}, {"is_ex a"}},
                      {exclude("a"), {"", "b"}, {"is_ex a"}},
                      // More than can be remembered.
                      {exclude("a"), {"bcdefghijklmnopqrstuvwxyz", "BCDEFGHIJKLMNOP"}, {"is_ex a"}}};
  for (const Row& row : rows) {
    Port port;
    port.settle(row.filter);
    for (const std::string& names : row.asked) port.ask(group, names);
    SCOPED_TRACE(row.asked[0]);
    EXPECT_EQ(port.here(), row.said);
    EXPECT_EQ(port.after(Duration::from_s(100)), Said{});
    port.ask(group, "a");  // nothing of the earlier questions is left
    EXPECT_EQ(port.here(), row.filter.accepts(source('a')) ? Said{"is_in a"} : Said{});
  }
}

TEST(GroupQueries, TheEarlierTimeCountsAndStrangersAreNotAnswered) {
  Port port;
  port.settle(include("a"));
  port.ask(group, "", Duration::from_s(1000));
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"is_in a"});
  port.ask(group);
  port.ask(group, "", Duration::from_s(1000));
  EXPECT_EQ(port.here(), Said{"is_in a"});
  port.ask(other_group);
  EXPECT_EQ(port.after(Duration::from_s(2000)), Said{});
  // One that is being left is no member.
  port.set(include(""));
  EXPECT_EQ(port.here(), Said{"block a"});
  port.ask(group);
  EXPECT_GT(port.table.due(), port.now) << "nothing to answer";
  EXPECT_EQ(port.here(), Said{});
  port.ask({});
  EXPECT_EQ(port.here(), Said{});
}

TEST(GroupQueriers, OlderOnesAreAnsweredInTheirVersionUntilTheyAreGone) {  // RFC 3376 7.2.1, 8.12
  using enum QuerierVersion;
  Port port;
  port.settle(exclude("a"));
  port.hears({.version = v2, .max_response = at_once});
  EXPECT_EQ(port.here(), Said{"report"});
  port.set(include(""));
  EXPECT_EQ(port.after(Duration::from_s(50)), Said{"leave"});
  port.set(exclude("a"));
  EXPECT_EQ(port.here(), Said{"report"});
  EXPECT_EQ(port.after(Duration::from_s(50)), Said{"report"});
  (void)port.after(Duration::from_s(159));  // 259 s of 2 * 125 + 10
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"report"});
  (void)port.after(Duration::from_s(1));
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"is_ex a"});
  // Version 1 has no leaving, and a querier of version 2 beside it changes nothing.
  port.hears({.version = v1, .max_response = at_once});
  port.hears({.version = v2, .max_response = at_once});
  EXPECT_EQ(port.table.version(), v1);
  EXPECT_EQ(port.here(), Said{"report"});
  port.set(include(""));
  EXPECT_EQ(port.after(Duration::from_s(50)), Said{});
  EXPECT_TRUE(port.table.groups().empty());
}

TEST(GroupQueriers, SayHowLongTheyAreTakenToBeThere) {  // RFC 3376 4.1.7, 8.12
  Port port;
  port.settle(exclude());
  port.hears({.max_response = at_once, .robustness = 3, .interval = Duration::from_s(20)});
  port.hears({.max_response = at_once});
  (void)port.here();
  port.hears({.version = QuerierVersion::v2, .max_response = at_once});
  (void)port.after(Duration::from_s(69));  // of 3 * 20 + 10
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"report"});
  (void)port.after(Duration::from_s(1));
  port.ask(group);
  EXPECT_EQ(port.here(), Said{"is_ex"});
}

TEST(GroupQueriers, OlderOnesHearASecondReportWithinTheFamilysInterval) {  // RFC 2236 8.10, RFC 2710 7.10
  Duration longest[2]{};
  for (const bool v4 : {true, false})
    for (int i = 0; i < 50; ++i) {
      Port port(v4);
      for (int n = 0; n < i; ++n) (void)port.rng.next();
      port.hears({.version = QuerierVersion::v2, .max_response = at_once});
      (void)port.here();
      port.set(exclude());
      EXPECT_EQ(port.here(), Said{"report"});
      longest[v4] = std::max(longest[v4], port.table.due() - port.now);
    }
  EXPECT_GT(longest[true], Duration::from_s(5));
  EXPECT_LE(longest[true], Duration::from_s(10));
  EXPECT_GT(longest[false], Duration::from_ms(500));
  EXPECT_LE(longest[false], Duration::from_s(1));
}

TEST(GroupTellings, AreRepeatedUntilTheyAreHeard) {
  Port port;
  Said told;
  bool heard = false;
  const auto tell = [&] {
    port.table.tell(port.now, [&](const IpAddress&, const GroupFilter& filter) {
      told.push_back(filter.is_member() ? "member" : "left");
      return heard;
    });
  };
  port.set(exclude());
  tell();
  EXPECT_EQ(port.table.due(), port.now + Duration::from_ms(10));
  tell();
  EXPECT_EQ(told, Said{"member"}) << "not before then";
  port.now = port.table.due();
  heard = true;
  tell();
  EXPECT_TRUE(port.table.due().is_never());
  port.set(include(""));
  heard = false;
  tell();
  EXPECT_EQ(port.table.groups().size(), 1u) << "kept until it is heard";
  port.now = port.table.due();
  heard = true;
  tell();
  EXPECT_EQ(told, (Said{"member", "member", "left", "left"}));
  EXPECT_TRUE(port.table.groups().empty());
}

}  // namespace
}  // namespace pollux::test
