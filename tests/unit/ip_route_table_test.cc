// The table of routes by itself: longest prefixes, both families, bounds, and a model that it has to agree
// with.
#include <gtest/gtest.h>
#include <rte_malloc.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "pollux/base/rng.h"
#include "pollux/ip/route_table.h"
#include "support/eal.h"
#include "support/seed.h"

namespace pollux::test {
namespace {

constexpr IpAddress gateway4 = IpAddress::v4(192, 0, 2, 254);
constexpr IpAddress gateway6 = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 1);

IpPrefix prefix(const char* text) {
  return IpPrefix::from_string(text).value();
}
IpAddress address(const char* text) {
  return IpAddress::from_string(text).value();
}
const IpAddress& gateway_of(const IpPrefix& p) {
  return p.address.is_v4() ? gateway4 : gateway6;
}
const Route* lookup(const RouteTable& table, const IpAddress& a) {
  return a.is_v4() ? table.lookup(a.v4_value()) : table.lookup_v6(a);
}
const Route* find(const RouteTable& table, const IpPrefix& p) {
  return p.address.is_v4() ? table.find_v4(p) : table.find_v6(p);
}

class Routing : public testing::Test {
 protected:
  static void SetUpTestSuite() { ensure_eal(); }
};

TEST_F(Routing, TheLongestMatchWinsWhateverTheOrderOfTheirAdding) {
  struct Family {
    std::vector<const char*> routes;
    std::vector<std::pair<const char*, int>> lookups;
  };
  const Family families[] = {
      {{"0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32"},
       {{"10.1.2.3", 4},
        {"10.1.2.4", 3},
        {"10.1.3.3", 2},
        {"10.2.0.0", 1},
        {"11.0.0.0", 0},
        {"255.255.255.255", 0}}},
      {{"::/0", "2001:db8::/32", "2001:db8:1::/48", "2001:db8:1:2::/64", "2001:db8:1:2::3/128"},
       {{"2001:db8:1:2::3", 4},
        {"2001:db8:1:2::4", 3},
        {"2001:db8:1:3::3", 2},
        {"2001:db8:2::", 1},
        {"::2", 0},
        {"ff02::1", 0}}}};
  const std::size_t orders[][5] = {{0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {2, 0, 4, 1, 3}};
  for (const Family& family : families) {
    for (const auto& order : orders) {
      RouteTable table;
      for (const std::size_t i : order) {
        const IpPrefix p = prefix(family.routes[i]);
        ASSERT_TRUE(table.add(p, gateway_of(p), static_cast<InterfaceId>(i)));
      }
      for (const auto& [text, expected] : family.lookups) {
        const Route* const route = lookup(table, address(text));
        ASSERT_NE(route, nullptr) << text;
        EXPECT_EQ(route->interface, expected) << text;
      }
    }
  }
}

TEST_F(Routing, AnEmptyTableKnowsNothing) {
  const RouteTable table;
  for (const char* text : {"10.0.0.1", "0.0.0.0", "2001:db8::1", "::"})
    EXPECT_EQ(lookup(table, address(text)), nullptr) << text;
  EXPECT_EQ(find(table, prefix("0.0.0.0/0")), nullptr);
  EXPECT_EQ(find(table, prefix("::/0")), nullptr);
}

TEST_F(Routing, HostBitsOfAPrefixAreIgnored) {
  for (const auto& [given, inside, outside, again] :
       {std::tuple{"10.1.2.3/16", "10.1.200.200", "10.2.2.3", "10.1.9.9/16"},
        {"2001:db8:1::3/48", "2001:db8:1:ffff::", "2001:db8:2::3", "2001:db8:1:9::9/48"}}) {
    RouteTable table;
    ASSERT_TRUE(table.add(prefix(given), gateway_of(prefix(given)), 0));
    EXPECT_NE(lookup(table, address(inside)), nullptr);
    EXPECT_EQ(lookup(table, address(outside)), nullptr);
    EXPECT_EQ(table.add(prefix(again), gateway_of(prefix(again)), 1).error().code, ErrorCode::address_in_use);
    EXPECT_EQ(find(table, prefix(again)), lookup(table, address(inside)));
    EXPECT_EQ(table.size(), 1u);
  }
}

TEST_F(Routing, PrefixesBeyondTheFamilysLengthAreRefused) {
  RouteTable table;
  for (const IpPrefix& p : {IpPrefix{IpAddress::v4(10, 0, 0, 0), 33}, IpPrefix{address("2001:db8::"), 129}}) {
    const auto added = table.add(p, gateway_of(p), 0);
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, ErrorCode::invalid_argument);
    EXPECT_EQ(find(table, p), nullptr);
  }
}

TEST_F(Routing, EachFamilyHasRoomForAsManyAsWereAskedFor) {
  constexpr std::uint32_t routes_max = 100;
  RouteTable table(routes_max);
  const auto nth = [](bool v4, std::uint32_t i) {
    return v4 ? IpPrefix{IpAddress::v4(0x0a000000u + (i << 8)), 24}
              : IpPrefix{IpAddress::v6(0x2001, 0xdb8, static_cast<std::uint16_t>(i), 0, 0, 0, 0, 0), 48};
  };
  for (const bool v4 : {true, false}) {
    for (std::uint32_t i = 0; i < routes_max; ++i)
      ASSERT_TRUE(table.add(nth(v4, i), v4 ? gateway4 : gateway6, 0)) << i;
    const auto full = table.add(nth(v4, routes_max), v4 ? gateway4 : gateway6, 0);
    ASSERT_FALSE(full.has_value());
    EXPECT_EQ(full.error().code, ErrorCode::limit_reached);
    EXPECT_NE(full.error().text.find("100 routes of a family (ip.routes_max)"), std::string::npos)
        << full.error().text;
    for (std::uint32_t i = 0; i < routes_max; ++i) EXPECT_NE(find(table, nth(v4, i)), nullptr) << i;
  }
  EXPECT_EQ(table.size(), 2 * routes_max);
  EXPECT_FALSE(table.add_learned(nth(false, routes_max), gateway6, 0)) << "nor does a router get more in";
}

TEST_F(Routing, NoMemoryIsAnErrorThatSaysWhatToDo) {
  RouteTable table(400'000);  // 160 MiB a family, of the 256 that tests have
  ASSERT_TRUE(table.add(prefix("10.0.0.0/8"), gateway4, 0));
  const auto added = table.add(prefix("2001:db8::/32"), gateway6, 0);
  ASSERT_FALSE(added);
  EXPECT_EQ(added.error().code, ErrorCode::no_memory);
  EXPECT_NE(added.error().text.find("no memory for 400000 IPv6 routes"), std::string::npos)
      << added.error().text;
  EXPECT_NE(added.error().text.find("lower ip.routes_max"), std::string::npos);
  EXPECT_NE(table.lookup(0x0a000001), nullptr) << "what there was stays";
  EXPECT_FALSE(table.add_learned(prefix("2001:db8::/32"), gateway6, 0));
}

TEST_F(Routing, TakesAsMuchMemoryAsItSays) {
  const auto used = [] {
    rte_malloc_socket_stats stats;
    EXPECT_EQ(rte_malloc_get_socket_stats(0, &stats), 0);
    return stats.heap_allocsz_bytes;
  };
  for (const std::uint32_t routes_max : {1024u, 100'000u}) {
    const std::size_t before = used();
    RouteTable table(routes_max);
    ASSERT_TRUE(table.add(prefix("10.0.0.0/8"), gateway4, 0));
    ASSERT_TRUE(table.add(prefix("2001:db8::/32"), gateway6, 0));
    EXPECT_LE(used() - before, RouteTable::memory(routes_max)) << routes_max;
    EXPECT_GE(used() - before, RouteTable::memory(routes_max) * 3 / 4) << routes_max;
  }
}

TEST_F(Routing, ATableMovesWithItsRoutesAndSeveralLiveSideBySide) {
  std::vector<RouteTable> tables;
  for (std::uint32_t i = 0; i < 20; ++i) {
    RouteTable table;
    ASSERT_TRUE(table.add({IpAddress::v4(10, static_cast<std::uint8_t>(i), 0, 0), 16}, gateway4,
                          static_cast<InterfaceId>(i)));
    tables.push_back(std::move(table));
  }
  std::swap(tables[3], tables[17]);
  for (std::uint32_t i = 0; i < tables.size(); ++i) {
    const std::uint32_t holds = i == 3 ? 17 : i == 17 ? 3 : i;
    for (std::uint32_t other = 0; other < tables.size(); ++other)
      EXPECT_EQ(tables[i].lookup(0x0a000001 + (other << 16)) != nullptr, other == holds);
  }
}

// --- A model
// ------------------------------------------------------------------------------------------------

struct Model {
  struct Entry {
    IpPrefix prefix;
    InterfaceId interface;
    bool learned;
  };
  std::vector<Entry> entries;

  const Entry* lookup(const IpAddress& a) const {
    const Entry* best = nullptr;
    for (const Entry& e : entries)
      if (e.prefix.contains(a) && (best == nullptr || e.prefix.length > best->prefix.length)) best = &e;
    return best;
  }
  std::vector<Entry>::iterator find(const IpPrefix& p) {
    return std::find_if(entries.begin(), entries.end(), [&](const Entry& e) {
      return e.prefix.length == p.length && e.prefix.contains(p.address);
    });
  }
};

/// Few values in the octets, so that prefixes nest and repeat.
IpAddress random_address(Rng& rng, bool v4) {
  std::uint8_t octets[16];
  for (std::uint8_t& o : octets) {
    const std::uint64_t r = rng.next();
    o = r % 4 == 0 ? static_cast<std::uint8_t>(r >> 8)
                   : (r % 4 == 1 ? 0xff : static_cast<std::uint8_t>(r >> 8 & 1));
  }
  if (v4) return IpAddress::v4_from_wire(octets);
  octets[0] = 0x20;  // not ::ffff:a.b.c.d
  return IpAddress::v6_from_wire(octets);
}

IpPrefix random_prefix(Rng& rng, bool v4) {
  return {random_address(rng, v4), static_cast<std::uint8_t>(rng.next() % (v4 ? 33 : 129))};
}

void expect_agreement(const RouteTable& table, const Model& model, const IpAddress& a) {
  const Model::Entry* const expected = model.lookup(a);
  const Route* const found = lookup(table, a);
  ASSERT_EQ(found != nullptr, expected != nullptr) << a.to_string();
  if (found == nullptr) return;
  ASSERT_EQ(found->given.length, expected->prefix.length) << a.to_string();
  ASSERT_EQ(found->interface, expected->interface) << a.to_string();
  ASSERT_EQ(found->learned, expected->learned) << a.to_string();
  ASSERT_TRUE(found->given.contains(a));
}

void agrees_with_the_model(Rng& rng, bool v4) {
  constexpr std::uint32_t routes_max = 150;
  RouteTable table(routes_max);
  Model model;
  ASSERT_TRUE(table.reserve_v6());
  for (int step = 0; step < 600; ++step) {
    const bool again = !model.entries.empty() && rng.next() % 4 == 0;
    const IpPrefix p =
        again ? model.entries[rng.next() % model.entries.size()].prefix : random_prefix(rng, v4);
    const auto interface = static_cast<InterfaceId>(rng.next() % interfaces_max);
    const auto at = model.find(p);
    const bool has_room = at == model.entries.end() && model.entries.size() < routes_max;
    switch (v4 ? 0 : rng.next() % 4) {
      case 0:
        ASSERT_EQ(table.add(p, gateway_of(p), interface).has_value(), has_room) << p.to_string();
        if (has_room) model.entries.push_back({p, interface, false});
        break;
      case 1:
        ASSERT_EQ(table.add_learned(p, gateway_of(p), interface), has_room) << p.to_string();
        if (has_room) model.entries.push_back({p, interface, true});
        break;
      default:
        table.remove_learned(p);
        if (at != model.entries.end() && at->learned) model.entries.erase(at);
    }
    ASSERT_EQ(table.size(), model.entries.size());
    const bool present = model.find(p) != model.entries.end();
    ASSERT_EQ(find(table, p) != nullptr, present) << p.to_string();
    expect_agreement(table, model, p.address);
    for (int i = 0; i < 4; ++i) expect_agreement(table, model, random_address(rng, v4));
    if (testing::Test::HasFatalFailure()) return;
  }
  for (const Model::Entry& e : model.entries) {
    const Route* const found = find(table, e.prefix);
    ASSERT_NE(found, nullptr) << e.prefix.to_string();
    ASSERT_EQ(found->interface, e.interface);
  }
}

TEST_F(Routing, AgreesWithALookThroughAllRoutes) {
  const std::uint64_t seed = seed_from_environment(20261123);
  for (std::uint64_t round = 0; round < 20; ++round)
    for (const bool v4 : {true, false}) {
      Rng rng(seed + 2 * round + (v4 ? 1 : 0));
      agrees_with_the_model(rng, v4);
      ASSERT_FALSE(HasFatalFailure()) << "round " << round << (v4 ? ", IPv4" : ", IPv6");
    }
}

}  // namespace
}  // namespace pollux::test
