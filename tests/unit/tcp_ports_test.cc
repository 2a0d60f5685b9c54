// Local ports of active opens: constant work however many are taken, all of them used, none twice.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "pollux/tcp/port_selector.h"
#include "support/seed.h"

namespace pollux {
namespace {

FlowKey to(std::uint16_t remote_port, std::uint16_t local_port = 0) {
  return {IpAddress::v4(192, 0, 2, 1), IpAddress::v4(198, 51, 100, 1), local_port, remote_port};
}

/// What is open, and how often the selector asked.
struct Open {
  std::set<std::pair<std::uint16_t, std::uint16_t>> flows;  // remote and local port
  std::uint32_t asked = 0;
  PortSelector& selector;

  std::uint16_t connect(std::uint16_t remote_port) {
    const auto port = selector.pick(to(remote_port), [&](const FlowKey& key) {
      ++asked;
      return flows.contains({key.remote_port, key.local_port});
    });
    if (port == 0) return 0;
    EXPECT_TRUE(flows.insert({remote_port, port}).second) << port << " was given away twice";
    selector.taken(to(remote_port, port));
    return port;
  }
  void close(std::uint16_t remote_port, std::uint16_t port) {
    EXPECT_EQ(flows.erase({remote_port, port}), 1u);
    selector.freed(to(remote_port, port));
  }
};

class PortSelectorTest : public testing::Test {
 protected:
  PlainPorts ports{32768, 60999};
  Rng rng{test::seed_from_environment(3)};
  PortSelector selector{ports, rng};
  Open open{.selector = selector};
};

TEST_F(PortSelectorTest, UsesEveryPortOfTheRangeAndThenSaysNo) {
  for (std::uint32_t i = 0; i < ports.count(); ++i) {
    const auto port = open.connect(80);
    ASSERT_GE(port, 32768);
    ASSERT_LE(port, 60999);
  }
  EXPECT_EQ(open.connect(80), 0);
  EXPECT_NE(open.connect(81), 0) << "another destination has its own";
  open.close(80, 40000);
  EXPECT_EQ(open.connect(80), 40000);
  EXPECT_EQ(open.connect(80), 0);
}

TEST_F(PortSelectorTest, AsksConstantlyOftenWithNineOfTenPortsTaken) {
  std::vector<std::uint16_t> used;
  while (used.size() < ports.count() / 10 * 9) used.push_back(open.connect(80));
  open.asked = 0;
  for (int i = 0; i < 10'000; ++i) {
    const std::size_t victim = rng.below(static_cast<std::uint32_t>(used.size()));
    open.close(80, used[victim]);
    used[victim] = open.connect(80);
    ASSERT_NE(used[victim], 0);
  }
  EXPECT_EQ(open.asked, 0u) << "the bitmap knows";
}

TEST_F(PortSelectorTest, SparePortsNeedNoBitmap) {
  for (int i = 0; i < 1000; ++i) open.connect(80);
  EXPECT_EQ(selector.destinations(), 0u);
  EXPECT_LT(open.asked, 1200u);
}

TEST_F(PortSelectorTest, ABitmapIsForgottenWhenPortsAreSpareAgain) {
  for (std::uint32_t i = 0; i < ports.count(); ++i) open.connect(80);
  EXPECT_EQ(selector.destinations(), 1u);
  const auto all = open.flows;
  for (const auto& [remote, local] : all) open.close(remote, local);
  EXPECT_EQ(selector.destinations(), 0u);
  EXPECT_NE(open.connect(80), 0);
}

TEST(PortSelector, MoreDestinationsThanBitmapsStayRight) {
  PlainPorts ports(50000, 50009);  // so few that random tries fail soon
  Rng rng(test::seed_from_environment(4));
  PortSelector selector(ports, rng);
  Open open{.selector = selector};
  for (std::uint16_t remote = 1; remote <= 200; ++remote) {
    for (int i = 0; i < 10; ++i) EXPECT_NE(open.connect(remote), 0);
    EXPECT_EQ(open.connect(remote), 0);
  }
  EXPECT_LE(selector.destinations(), PortSelector::destinations_max);
  open.close(7, 50003);  // whose bitmap had to give way
  EXPECT_EQ(open.connect(7), 50003);
}

TEST(PortSelector, IsUnpredictable) {
  PlainPorts ports(32768, 60999);
  std::set<std::uint16_t> firsts;
  for (std::uint64_t seed = 0; seed < 50; ++seed) {
    Rng rng(seed);
    PortSelector selector(ports, rng);
    Open open{.selector = selector};
    firsts.insert(open.connect(80));
  }
  EXPECT_GT(firsts.size(), 45u) << "RFC 6056";
}

}  // namespace
}  // namespace pollux
