// What is decided before EAL starts: its arguments, huge pages or not, and whether a Config makes sense.
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "pollux/drivers_glue/check_config.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/steering.h"

namespace pollux {
namespace {

Config one_port(const std::string& device = "net_tap0,iface=px0") {
  Config config;
  config.ports.push_back({.device = device, .addresses = {*IpPrefix::from_string("10.77.0.2/24")}});
  return config;
}

const MachineFacts four_cpus = {.cpus = {0, 1, 2, 3}, .free_huge_bytes = 0, .pid = 42};

bool has(const EalPlan& plan, const std::string& argument) {
  return std::count(plan.arguments.begin(), plan.arguments.end(), argument) != 0;
}
std::string after(const EalPlan& plan, const std::string& argument) {
  const auto at = std::find(plan.arguments.begin(), plan.arguments.end(), argument);
  return at == plan.arguments.end() || at + 1 == plan.arguments.end() ? "" : *(at + 1);
}
std::string error_of(const std::function<void()>& f) {
  try {
    f();
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

struct CoreCase {
  std::vector<unsigned> allowed;
  std::vector<unsigned> cores;
  std::string lcores;
};

TEST(EalPlan, PinsPollingCoresAndLetsTheControlThreadFloatOverTheRest) {
  for (const auto& [allowed, cores, lcores] : std::vector<CoreCase>{
           {{0, 1, 2, 3}, {}, "0@(0,1,2),1@3"},
           {{0, 1, 2, 3}, {1}, "0@(0,2,3),1@1"},
           {{0, 1, 2, 3}, {3, 1}, "0@(0,2),1@3,2@1"},
           {{0, 1}, {0, 1}, "0@(0,1),1@0,2@1"},
           {{5}, {}, "0@(5),1@5"},
       }) {
    Config config = one_port();
    config.cores = cores;
    EXPECT_EQ(after(plan_eal(config, {.cpus = allowed, .pid = 1}), "--lcores"), lcores);
  }
}

struct AutoCase {
  std::vector<unsigned> allowed;
  std::vector<int> cpu_nodes;
  std::vector<int> port_nodes;
  std::vector<unsigned> cpus;
};

TEST(EalPlan, AutoTakesTheAllowedCpusNearThePortsFromTheLastDownwards) {
  for (const auto& [allowed, cpu_nodes, port_nodes, cpus] : std::vector<AutoCase>{
           {{0, 1, 2, 3}, {}, {}, {3, 2, 1, 0}},
           {{0, 1, 2, 3}, {0, 0, 1, 1}, {}, {3, 2, 1, 0}},      // devices of no node
           {{0, 1, 2, 3}, {0, 0, 1, 1}, {0}, {1, 0}},
           {{0, 1, 4, 6}, {0, 1, 0, 1}, {1}, {6, 1}},
           {{0, 1, 2, 3}, {0, 0, 1, 1}, {1, 0}, {3, 2, 1, 0}},  // ports on both
           {{0, 1}, {0, 0}, {1}, {1, 0}},                       // not allowed on the port's node
           {{5}, {0}, {0}, {5}},
       }) {
    Config config = one_port();
    config.auto_cores = true;
    const MachineFacts facts = {.cpus = allowed, .pid = 1, .cpu_nodes = cpu_nodes, .port_nodes = port_nodes};
    EXPECT_EQ(plan_eal(config, facts).cpus, cpus);
  }
  MachineFacts many = four_cpus;
  for (unsigned cpu = 4; cpu < 1000; ++cpu) many.cpus.push_back(cpu);
  Config config = one_port();
  config.auto_cores = true;
  EXPECT_EQ(plan_eal(config, many).cpus.size(), Steering::cores_max);
}

TEST(CheckConfig, AutoCoresAreNoListAndShareNoCpu) {
  Config config = one_port();
  config.auto_cores = true;
  EXPECT_FALSE(check_config(config));
  config.share_cpus = true;
  EXPECT_EQ(check_config(config).value().key, "share_cpus");
  config.share_cpus = false;
  config.cores = {1};
  EXPECT_EQ(check_config(config).value().key, "cores");
}

TEST(EalPlan, RefusesACpuThatTheProcessMayNotUse) {
  Config config = one_port();
  config.cores = {1, 4};
  EXPECT_EQ(error_of([&] { plan_eal(config, four_cpus); }),
            "cores: CPU 4 does not exist or is not allowed for this process, which may run on 0, 1, 2, 3");
}

TEST(EalPlan, LooksForPciDevicesOnlyWhenAPortIsOne) {
  EXPECT_TRUE(has(plan_eal(one_port(), four_cpus), "--no-pci"));
  const auto plan = plan_eal(one_port("0000:01:00.0"), four_cpus);
  EXPECT_FALSE(has(plan, "--no-pci"));
  EXPECT_EQ(after(plan, "-a"), "0000:01:00.0");
}

TEST(EalPlan, GivesEachProcessFilesOfItsOwn) {
  EXPECT_TRUE(has(plan_eal(one_port(), four_cpus), "--file-prefix=pollux-42"));
  Config config = one_port();
  config.eal.file_prefix = "mine";
  config.eal.extra = {"--a", "b"};
  const auto plan = plan_eal(config, four_cpus);
  EXPECT_TRUE(has(plan, "--file-prefix=mine"));
  EXPECT_EQ(after(plan, "--a"), "b");
}

TEST(EalPlan, FallsBackToOrdinaryPagesWithAWarningThatSaysWhatToDo) {
  const Config config = one_port();
  const auto plan = plan_eal(config, four_cpus);
  EXPECT_FALSE(plan.huge_pages);
  EXPECT_TRUE(has(plan, "--no-huge"));
  const auto megabytes = std::stoul(after(plan, "-m"));
  EXPECT_GE(megabytes << 20, pool_memory(config.pool)) << "the pools must fit";
  EXPECT_NE(plan.warning.find("/proc/sys/vm/nr_hugepages"), std::string::npos) << plan.warning;
}

TEST(EalPlan, TakesHugePagesWhenEnoughAreFree) {
  MachineFacts facts = four_cpus;
  facts.free_huge_bytes = std::uint64_t{8} << 30;
  const auto plan = plan_eal(one_port(), facts);
  EXPECT_TRUE(plan.huge_pages);
  EXPECT_FALSE(has(plan, "--no-huge"));
  EXPECT_EQ(plan.warning, "");
  facts.free_huge_bytes = 2 << 20;  // some, but too few
  EXPECT_FALSE(plan_eal(one_port(), facts).huge_pages);
}

TEST(EalPlan, HonoursHugePagesOffAndRequired) {
  MachineFacts facts = four_cpus;
  facts.free_huge_bytes = std::uint64_t{8} << 30;
  Config config = one_port();
  config.eal.huge_pages = HugePages::off;
  EXPECT_TRUE(has(plan_eal(config, facts), "--no-huge"));
  EXPECT_EQ(plan_eal(config, facts).warning, "") << "it was asked for";
  config.eal.huge_pages = HugePages::required;
  config.eal.memory_mb = 256;
  EXPECT_TRUE(plan_eal(config, facts).huge_pages);
  EXPECT_EQ(error_of([&] { plan_eal(config, four_cpus); }),
            "eal.huge_pages: required, but 0 MiB of huge pages are free and 256 MiB are needed; to have "
            "them: echo 128 "
            "> /proc/sys/vm/nr_hugepages");
}

TEST(EalPlan, MoreCoresNeedMoreMemory) {
  Config config = one_port();
  const auto one = std::stoul(after(plan_eal(config, four_cpus), "-m"));
  config.cores = {1, 2, 3};
  const auto three = std::stoul(after(plan_eal(config, four_cpus), "-m"));
  EXPECT_GE((three - one) << 20, 2 * pool_memory(config.pool) - (2 << 20));
}

TEST(PciAddress, IsToldFromAVirtualDevice) {
  for (const char* device : {"0000:01:00.0", "01:00.0", "ABCD:ef:1f.7"})
    EXPECT_TRUE(is_pci_address(device)) << device;
  for (const char* device : {"", "net_tap0", "0000:01:00", "0000:01:00.0,x=1", "g000:01:00.0", "1:00.0"})
    EXPECT_FALSE(is_pci_address(device)) << device;
}

struct ProblemCase {
  const char* name;
  std::function<void(Config&)> spoil;
  const char* key;
};

VlanConfig vlan(std::uint16_t id, std::uint16_t mtu = 0) {
  return {.id = id, .addresses = {*IpPrefix::from_string("10.78.0.2/24")}, .mtu = mtu};
}

TEST(CheckConfig, TakesWhatIsAllowed) {
  Config only_v6 = one_port();
  only_v6.ports[0].addresses = {*IpPrefix::from_string("2001:db8::1/64")};
  EXPECT_FALSE(check_config(only_v6).has_value());
  Config trunk = one_port();
  trunk.ports[0].addresses.clear();
  trunk.ports[0].vlans = {vlan(1), vlan(4094, 576)};
  EXPECT_FALSE(check_config(trunk).has_value());
  Config by_routers = one_port();
  by_routers.ports[0].addresses.clear();
  by_routers.ports[0].router_advertisements = true;
  EXPECT_FALSE(check_config(by_routers).has_value());
}

TEST(CheckConfig, NamesTheKeyAtFault) {
  const std::vector<ProblemCase> cases = {
      {"no port", [](Config& c) { c.ports.clear(); }, "ports"},
      {"too many ports", [](Config& c) { c.ports.resize(9, c.ports[0]); }, "ports"},
      {"no device", [](Config& c) { c.ports[0].device = ",x"; }, "ports[0].device"},
      {"long name", [](Config& c) { c.ports[0].device = std::string(64, 'n'); }, "ports[0].device"},
      {"device twice", [](Config& c) { c.ports.push_back(c.ports[0]); }, "ports[1].device"},
      {"no address", [](Config& c) { c.ports[0].addresses.clear(); }, "ports[0].addresses"},
      {"nine IPv4 addresses",
       [](Config& c) { c.ports[0].addresses.assign(9, *IpPrefix::from_string("10.77.0.2/24")); }, "ports[0].addresses"},
      {"eight IPv6 addresses",
       [](Config& c) { c.ports[0].addresses.assign(8, *IpPrefix::from_string("2001:db8::1/64")); }, "ports[0].addresses"},
      {"IPv6 in small packets",
       [](Config& c) {
         c.ports[0].addresses = {*IpPrefix::from_string("2001:db8::1/64")};
         c.ports[0].mtu = 1279;
       },
       "ports[0].mtu"},
      {"VLAN 0", [](Config& c) { c.ports[0].vlans = {vlan(0)}; }, "ports[0].vlans[0].id"},
      {"VLAN 4095", [](Config& c) { c.ports[0].vlans = {vlan(4095)}; }, "ports[0].vlans[0].id"},
      {"a VLAN twice", [](Config& c) { c.ports[0].vlans = {vlan(5), vlan(5)}; }, "ports[0].vlans[1].id"},
      {"a VLAN without address", [](Config& c) { c.ports[0].vlans = {{.id = 5}}; }, "ports[0].vlans[0].addresses"},
      {"a VLAN's MTU", [](Config& c) { c.ports[0].vlans = {vlan(5, 1501)}; }, "ports[0].vlans[0].mtu"},
      {"a VLAN's small MTU", [](Config& c) { c.ports[0].vlans = {vlan(5, 575)}; }, "ports[0].vlans[0].mtu"},
      {"a card as exception port", [](Config& c) { c.ports[0].exception = "0000:01:00.0"; }, "ports[0].exception"},
      {"an exception port without a name", [](Config& c) { c.ports[0].exception = ",iface=x"; }, "ports[0].exception"},
      {"an exception port of a long name", [](Config& c) { c.ports[0].exception = std::string(64, 'n'); },
       "ports[0].exception"},
      {"the port itself as exception port", [](Config& c) { c.ports[0].exception = c.ports[0].device; },
       "ports[0].exception"},
      {"one exception port for two",
       [](Config& c) {
         c.ports[0].exception = "net_tap8,iface=h0";
         c.ports.push_back(c.ports[0]);
         c.ports[1].device = "net_tap9";
       },
       "ports[1].exception"},
      {"too many with exception ports",
       [](Config& c) {
         c.ports.resize(5, c.ports[0]);
         for (std::size_t i = 0; i < 5; ++i) {
           c.ports[i].device = "net_null" + std::to_string(i);
           c.ports[i].exception = "net_tap" + std::to_string(i);
         }
       },
       "ports"},
      {"too many VLANs",
       [](Config& c) {
         for (std::uint16_t i = 1; i <= interfaces_max; ++i) c.ports[0].vlans.push_back(vlan(i));
       },
       "ports"},
      {"small mtu", [](Config& c) { c.ports[0].mtu = 575; }, "ports[0].mtu"},
      {"large mtu", [](Config& c) { c.ports[0].mtu = 9001; }, "ports[0].mtu"},
      {"no rx ring", [](Config& c) { c.ports[0].rx_ring = 0; }, "ports[0].rx_ring"},
      {"no tx ring", [](Config& c) { c.ports[0].tx_ring = 0; }, "ports[0].tx_ring"},
      {"core twice", [](Config& c) { c.cores = {1, 1}; }, "cores[1]"},
      {"small pool", [](Config& c) { c.pool.packets = 100; }, "pool.packets"},
      {"few clones", [](Config& c) { c.pool.clones = 100; }, "pool.clones"},
      {"large cache", [](Config& c) { c.pool.cache = 513; }, "pool.cache"},
      {"little room", [](Config& c) { c.pool.packet_room = 255; }, "pool.packet_room"},
      {"negative drain", [](Config& c) { c.drain_timeout = Duration::from_ns(-1); }, "drain_timeout"},
      {"log level", [](Config& c) { c.log_level = "loud"; }, "log_level"},
  };
  EXPECT_FALSE(check_config(one_port()).has_value());
  for (const auto& test : cases) {
    Config config = one_port();
    test.spoil(config);
    const auto problem = check_config(config);
    ASSERT_TRUE(problem.has_value()) << test.name;
    EXPECT_EQ(problem->key, test.key) << test.name;
    EXPECT_FALSE(problem->text.empty()) << test.name;
  }
}

}  // namespace
}  // namespace pollux
