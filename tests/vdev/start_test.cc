// Starting a Runtime and what is left when it has gone; and every way in which starting fails.
#include <gtest/gtest.h>
#include <linux/capability.h>
#include <net/if.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <functional>

#include "child.h"
#include "echo_app.h"
#include "pollux/drivers_glue/eal.h"
#include "pollux/drivers_glue/pools.h"
#include "pollux/drivers_glue/port.h"
#include "pollux/drivers_glue/runtime.h"

namespace pollux {
namespace {

using test::device_config;
using test::expect_in_child;
using test::tap_config;

std::string start_error(const Config& config) {
  try {
    const Runtime runtime(config);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "";
}

bool interface_exists(const char* name) {
  return if_nametoindex(name) != 0;
}

bool same_signals(const sigset_t& a, const sigset_t& b) {
  for (int signal = 1; signal <= SIGRTMAX; ++signal)
    if (sigismember(&a, signal) != sigismember(&b, signal)) return false;
  return true;
}

/// The process before a Runtime; afterwards it must look like that again. (EAL's threads stay, asleep:
/// DPDK 22.11 does not end them.)
struct ProcessState {
  sigset_t signals;
  cpu_set_t cpus;

  ProcessState() {
    pthread_sigmask(SIG_BLOCK, nullptr, &signals);
    sched_getaffinity(0, sizeof cpus, &cpus);
  }
  void expect_restored() const {
    const ProcessState now;
    EXPECT_TRUE(same_signals(now.signals, signals)) << "signal mask";
    EXPECT_TRUE(CPU_EQUAL(&now.cpus, &cpus)) << "CPUs";
    EXPECT_FALSE(interface_exists("px0"));
  }
};

TEST(Start, AndStopReleaseEverything) {
  expect_in_child([] {
    const ProcessState before;
    {
      Runtime runtime(tap_config());
      EXPECT_TRUE(interface_exists("px0"));
      EXPECT_EQ(runtime.core_count(), 1u);
      runtime.on_each_core_tick(Duration::from_ms(1), [&](Stack&, TimePoint) { runtime.stop(); });
      EXPECT_EQ(runtime.run(), 0);
    }
    before.expect_restored();
  });
}

TEST(Start, WithoutRunReleasesEverythingToo) {
  expect_in_child([] {
    const ProcessState before;
    {
      const Runtime runtime(tap_config());
    }
    before.expect_restored();
  });
}

TEST(Start, WarnsWhenThereAreNoHugePages) {
  Config config = tap_config();
  config.eal.huge_pages = HugePages::automatic;
  config.eal.memory_mb = 16'384;  // more than is free in huge pages; touched only as far as used
  const auto output = expect_in_child([&] { EXPECT_EQ(start_error(config), ""); });
  EXPECT_NE(output.find("warning: running without huge pages"), std::string::npos) << output;
}

TEST(Start, SaysLittle) {
  const auto output = expect_in_child([] { const Runtime runtime(tap_config()); });
  EXPECT_EQ(std::count(output.begin(), output.end(), '\n'), 1) << output;
  EXPECT_NE(output.find("pollux: port net_tap0: kernel interface px0, address 10.77.0.2/24, MAC "),
            std::string::npos)
      << output;
  Config quiet = tap_config();
  quiet.log_level = "error";
  EXPECT_EQ(expect_in_child([&] { const Runtime runtime(quiet); }), "");
}

TEST(Start, OursAndTheKernelsMacAddressDiffer) {
  expect_in_child([] {
    Runtime runtime(tap_config());
    MacAddress ours;
    runtime.on_each_core([&](Stack& stack) { ours = stack.ip().interface(0).mac; });
    runtime.stop();
    runtime.run();
    test::shell("ip link show px0 | grep -q ether && ! ip link show px0 | grep -q " + ours.to_string());
    EXPECT_FALSE(ours.is_group());
  });
}

TEST(Start, ASecondRuntimeIsRefused) {
  expect_in_child([] {
    const Runtime first(tap_config());
    const std::string expected =
        "a Runtime was started in this process before; DPDK's EAL starts once in a process";
    EXPECT_EQ(start_error(device_config("net_null0")), expected);
    EXPECT_TRUE(interface_exists("px0")) << "the first one lives on";
  });
}

struct FailureCase {
  const char* name;
  Config config;
  std::vector<std::string> words;  // of the error text
};

void PrintTo(const FailureCase& test, std::ostream* out) {
  *out << test.name;
}

Config with(Config config, const std::function<void(Config&)>& change) {
  change(config);
  return config;
}

class StartFailure : public testing::TestWithParam<FailureCase> {};

TEST_P(StartFailure, NamesTheCauseAndLeavesNothingBehind) {
  expect_in_child([&] {
    const ProcessState before;
    const std::string error = start_error(GetParam().config);
    for (const auto& word : GetParam().words)
      EXPECT_NE(error.find(word), std::string::npos) << word << "\nis not in\n" << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << "one line";
    before.expect_restored();
  });
}

INSTANTIATE_TEST_SUITE_P(
    Start, StartFailure,
    testing::Values(
        FailureCase{"config",
                    with(tap_config(), [](Config& c) { c.ports[0].mtu = 100; }),
                    {"ports[0].mtu: expected 576 to 9000, found 100"}},
        FailureCase{"no_such_pci_device",
                    device_config("0000:fe:1f.7"),
                    {"port 0000:fe:1f.7", "this machine has no such PCI device"}},
        FailureCase{"no_such_driver", device_config("net_nosuch0"), {"port net_nosuch0: cannot be created"}},
        FailureCase{"bad_driver_arguments",
                    device_config("net_af_packet0,iface=nosuch0"),
                    {"port net_af_packet0,iface=nosuch0: cannot be created"}},
        FailureCase{"long_interface_name",
                    device_config("net_tap0,iface=a_name_of_more_than_15"),
                    {"port net_tap0,iface=a_name_of_more_than_15: cannot be created"}},
        FailureCase{"mtu_beyond_the_driver",
                    with(tap_config(), [](Config& c) { c.ports[0].mtu = 9000; }),
                    {"port net_tap0: mtu 9000 is out of its driver's range 46 to 1504"}},
        FailureCase{
            "no_such_cpu", with(tap_config(), [](Config& c) { c.cores = {1000}; }), {"cores: CPU 1000"}},
        FailureCase{"little_memory",
                    with(tap_config(), [](Config& c) { c.eal.memory_mb = 8; }),
                    {"pool.packets: cannot make the packet pool", "raise eal.memory_mb"}},
        FailureCase{"huge_pages_required",
                    with(tap_config(),
                         [](Config& c) {
                           c.eal.huge_pages = HugePages::required;
                           c.eal.memory_mb = 1'000'000;
                         }),
                    {"eal.huge_pages: required", "/proc/sys/vm/nr_hugepages"}},
        FailureCase{"bad_eal_argument",
                    with(tap_config(), [](Config& c) { c.eal.extra = {"--no-such-option"}; }),
                    {"eal: DPDK did not start", "--no-such-option"}},
        FailureCase{
            "bad_address",
            with(tap_config(), [](Config& c) { c.ports[0].addresses = {{IpAddress::v4(224, 0, 0, 1), 24}}; }),
            {"port net_tap0: ", "224.0.0.1"}},
        FailureCase{"gateway_elsewhere",
                    with(tap_config(),
                         [](Config& c) { c.routes = {{{IpAddress(), 0}, IpAddress::v4(10, 78, 0, 1)}}; }),
                    {"route to 0.0.0.0/0: ", "10.78.0.1"}},
        FailureCase{"second_port",
                    with(tap_config(),
                         [](Config& c) {
                           c.ports.push_back(
                               {.device = "net_nosuch0", .addresses = {{IpAddress::v4(10, 78, 0, 2), 24}}});
                         }),
                    {"port net_nosuch0: cannot be created"}}),
    [](const auto& test) { return test.param.name; });

TEST(Start, APortWithoutRssServesSeveralCoresInSoftwareAndSaysSo) {
  expect_in_child([] {
    const Config config = tap_config();
    const Eal eal(config);
    const CorePools one("one", config.pool, eal, 0);
    const CorePools two("two", config.pool, eal, 0);
    Port port(config.ports[0]);
    const Steering steering(2);
    rte_mempool* pools[] = {one.data(), two.data()};
    port.start(pools, config.pool.packet_room, eal.socket_for(0), &steering);
    EXPECT_EQ(port.queues(), 2);
    EXPECT_EQ(port.steering_mode(), SteeringMode::software);
    EXPECT_EQ(port.steering_text(),
              "2 cores over 2 queues; flows are handed to their core in software: its driver net_tap has no RSS");
  });
}

/// As an ordinary user has it: no capability at all.
void drop_capabilities() {
  __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
  __user_cap_data_struct data[2] = {};
  ASSERT_EQ(syscall(SYS_capset, &header, data), 0);
}

TEST(Start, WithoutPermissionForTapSaysWhatIsMissing) {
  expect_in_child([] {
    drop_capabilities();
    const auto error = start_error(tap_config());
    EXPECT_NE(error.find("no permission to make a TAP interface (run as root or with CAP_NET_ADMIN)"),
              std::string::npos)
        << error;
  });
}

TEST(Start, WithoutAccessToTheTunDeviceSaysSo) {
  expect_in_child([] {
    // A mount namespace in which /dev/net/tun is an ordinary user's to look at only.
    ASSERT_EQ(unshare(CLONE_NEWNS), 0);
    test::shell("mount --make-rprivate / && mount -t tmpfs none /dev/net");
    const auto error = start_error(tap_config());
    EXPECT_NE(error.find("/dev/net/tun cannot be opened: No such file or directory"), std::string::npos)
        << error;
  });
}

}  // namespace
}  // namespace pollux
