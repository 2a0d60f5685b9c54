// Whole stacks against each other: random networks, random applications, every octet checked. POLLUX_SEED=S
// replays one seed, POLLUX_SEEDS=N runs seeds 1..N.
#include <gtest/gtest.h>

#include <cstdio>

#include "network.h"

#ifndef POLLUX_SIM_SEEDS
#error "meson.build says how many seeds a run takes"
#endif

namespace pollux::test {
namespace {

void run_seeds(Weather weather, std::uint64_t count, bool ipv6 = false) {
  std::uint64_t octets = 0;
  std::uint64_t flows = 0;
  const auto seeds = seeds_to_run(count);
  for (const std::uint64_t seed : seeds) {
    Network network(seed, weather, ipv6);
    if (!network.run()) return;  // the world has said why, and prints its seed and packets
    octets += network.octets();
    flows += network.flows();
  }
  EXPECT_GT(flows, 0u);
  std::printf("%zu seeds, %llu connections, %.1f MB checked\n", seeds.size(),
              static_cast<unsigned long long>(flows), static_cast<double>(octets) / 1e6);
}

TEST(Simulation, CleanNetworksMoveEveryOctetWithoutARetransmission) {
  run_seeds(Weather::clean, POLLUX_SIM_SEEDS / 4);
}

TEST(Simulation, RandomNetworksMoveEveryOctet) {
  run_seeds(Weather::random, POLLUX_SIM_SEEDS);
}

TEST(Simulation, CleanIpv6NetworksMoveEveryOctetWithoutARetransmission) {
  run_seeds(Weather::clean, POLLUX_SIM_SEEDS / 8, true);
}

TEST(Simulation, RandomIpv6NetworksMoveEveryOctet) {
  run_seeds(Weather::random, POLLUX_SIM_SEEDS / 4, true);
}

TEST(Simulation, ASeedReplaysExactly) {
  for (const std::uint64_t seed : {one_seed(), one_seed() + 1, one_seed() + 2}) {
    std::uint64_t digests[2];
    std::uint64_t packets[2];
    for (int i = 0; i < 2; ++i) {
      Network network(seed, Weather::random);
      ASSERT_TRUE(network.run());
      digests[i] = network.world().trace().digest();
      packets[i] = network.world().trace().count();
    }
    EXPECT_EQ(packets[0], packets[1]);
    EXPECT_EQ(digests[0], digests[1]) << "seed " << seed << " took two courses";
  }
}

}  // namespace
}  // namespace pollux::test
