// What a file sets, what it leaves alone, and the shipped sample.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <sstream>

#include "config_file.h"
#include "pollux/config/load.h"

namespace pollux {
namespace {

using test::ConfigFile;
using test::minimal_ports;

Config load(const std::string& text) {
  return load_config(ConfigFile(text).path());
}

Config sample() {
  Config config;
  config.ports.push_back(
      {.device = "net_tap0,iface=px0", .addresses = {*IpPrefix::from_string("10.77.0.2/24")}});
  return config;
}

std::string sample_path() {
  return std::string(POLLUX_SOURCE_ROOT) + "/config/l4echo.yaml";
}

std::string text_of(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

TEST(LoadConfig, LeavesDefaultsWhereTheFileIsSilent) {
  Config expected;
  expected.ports.push_back({.device = "net_null0", .addresses = {*IpPrefix::from_string("10.0.0.1/24")}});
  EXPECT_EQ(to_yaml(load(minimal_ports)), to_yaml(expected));
}

TEST(LoadConfig, SetsEveryKindOfValue) {
  const Config config = load(R"(
ports:
  - device: 0000:01:00.0
    addresses: [192.0.2.2/24]
    mtu: 9000
    promiscuous: true
  - device: "net_tap1,iface=px1"
    addresses:
      - 198.51.100.7/25
    vlans:
      - id: 5
        addresses: [10.5.0.2/24, "fd00:5::2/64"]
        mtu: 1400
      - {id: 6, addresses: [], router_advertisements: true}
routes:
  - {prefix: 0.0.0.0/0, gateway: 192.0.2.1}
neighbors:
  - {address: 192.0.2.1, mac: "02:00:00:00:00:aa"}
cores: [2, 3]
eal:
  huge_pages: required
  extra: [--legacy-mem, "--socket-mem=1,2"]
idle: spin
drain_timeout: 90s
ip: {neighbor_stale_max: 2h}
tcp:
  receive_buffer: 1MiB
  send_buffer: 100000
  delayed_ack_max: 40ms
  keepalive: true
udp:
log_level: debug
)");
  ASSERT_EQ(config.ports.size(), 2u);
  EXPECT_EQ(config.ports[0].device, "0000:01:00.0");
  EXPECT_EQ(config.ports[0].mtu, 9000);
  EXPECT_TRUE(config.ports[0].promiscuous);
  EXPECT_EQ(config.ports[1].device, "net_tap1,iface=px1");
  EXPECT_EQ(config.ports[1].mtu, 1500);
  ASSERT_EQ(config.ports[1].addresses.size(), 1u);
  EXPECT_EQ(config.ports[1].addresses[0].to_string(), "198.51.100.7/25");
  EXPECT_TRUE(config.ports[0].vlans.empty());
  ASSERT_EQ(config.ports[1].vlans.size(), 2u);
  EXPECT_EQ(config.ports[1].vlans[0].id, 5);
  EXPECT_EQ(config.ports[1].vlans[0].addresses.at(1).to_string(), "fd00:5::2/64");
  EXPECT_EQ(config.ports[1].vlans[0].mtu, 1400);
  EXPECT_EQ(config.ports[1].vlans[1].mtu, 0);
  EXPECT_TRUE(config.ports[1].vlans[1].router_advertisements);
  ASSERT_EQ(config.routes.size(), 1u);
  EXPECT_EQ(config.routes[0].prefix.to_string(), "0.0.0.0/0");
  EXPECT_EQ(config.routes[0].gateway.to_string(), "192.0.2.1");
  ASSERT_EQ(config.neighbors.size(), 1u);
  EXPECT_EQ(config.neighbors[0].address.to_string(), "192.0.2.1");
  EXPECT_EQ(config.neighbors[0].mac.to_string(), "02:00:00:00:00:aa");
  EXPECT_EQ(config.cores, (std::vector<unsigned>{2, 3}));
  EXPECT_EQ(config.eal.huge_pages, HugePages::required);
  EXPECT_EQ(config.eal.extra, (std::vector<std::string>{"--legacy-mem", "--socket-mem=1,2"}));
  EXPECT_EQ(config.idle, IdlePolicy::spin);
  EXPECT_EQ(config.drain_timeout, Duration::from_s(90));
  EXPECT_EQ(config.ip.neighbor_stale_max, Duration::from_s(7200));
  EXPECT_EQ(config.tcp.conn.receive_buffer, 1u << 20);
  EXPECT_EQ(config.tcp.conn.send_buffer, 100000u);
  EXPECT_EQ(config.tcp.delayed_ack_max, Duration::from_ms(40));
  EXPECT_TRUE(config.tcp.conn.keepalive);
  EXPECT_EQ(config.log_level, "debug");
}

TEST(ToYaml, LoadsAgainToTheSameValues) {
  Config config = sample();
  config.cores = {0, 1};
  config.ports[0].vlans = {{.id = 7, .addresses = {*IpPrefix::from_string("10.7.0.2/24")}, .mtu = 1400},
                           {.id = 8, .router_advertisements = true}};
  config.routes.push_back({*IpPrefix::from_string("0.0.0.0/0"), *IpAddress::from_string("10.77.0.1")});
  config.eal.file_prefix = "a \"quoted\" word";
  config.eal.extra = {"--log-level=lib.eal:debug", "a,b", "- #"};
  config.tcp.conn.receive_buffer = 300000;
  config.tcp.rto_initial = Duration::from_us(1'500'001);
  EXPECT_EQ(to_yaml(load(to_yaml(config))), to_yaml(config));
}

TEST(Cores, AreAListOrAuto) {
  const std::string port = "ports:\n  - {device: net_null0, addresses: [10.0.0.2/24]}\n";
  Config config = load(port + "cores: auto\n");
  EXPECT_TRUE(config.auto_cores);
  EXPECT_EQ(config.cores, std::vector<unsigned>{});
  EXPECT_NE(to_yaml(config).find("\ncores: auto\n"), std::string::npos);
  EXPECT_TRUE(load(to_yaml(config)).auto_cores);
  const auto listing = config_listing(config);
  EXPECT_EQ(std::ranges::count(listing, std::pair<std::string, std::string>("cores", "auto")), 1);
  EXPECT_FALSE(load(port + "cores: [1]\n").auto_cores);
  EXPECT_FALSE(load(port).auto_cores);
}

TEST(ConfigListing, NamesEveryValueInFull) {
  Config config = sample();
  config.cores = {0, 3};
  std::uint16_t port = 7;
  Section app;
  app.integer("echo_port", port, 1, 65535, "TCP echo");
  const auto listing = config_listing(config, app);
  const auto has = [&](const char* key, const char* value) {
    return std::find(listing.begin(), listing.end(), std::pair<std::string, std::string>(key, value)) != listing.end();
  };
  EXPECT_TRUE(has("ports[0].mtu", "1500"));
  EXPECT_TRUE(has("tcp.receive_buffer", "256KiB"));
  EXPECT_TRUE(has("cores", "0 3"));
  EXPECT_TRUE(has("app.echo_port", "7"));
}

// A field without a key cannot be configured. Sizes tell of a new field; then give it a key in
// config/schema.cc.
TEST(Schema, HasAKeyForEveryField) {
  EXPECT_EQ(sizeof(TcpConnOptions), 88u);
  EXPECT_EQ(sizeof(TcpOptions), 216u);
  EXPECT_EQ(sizeof(IpOptions), 88u);
  EXPECT_EQ(sizeof(PortConfig), 120u);
  EXPECT_EQ(sizeof(VlanConfig), 40u);
  EXPECT_EQ(sizeof(UdpOptions), 12u);
  EXPECT_EQ(sizeof(PoolConfig), 16u);
  EXPECT_EQ(sizeof(TelemetryConfig), 48u);
}

TEST(Schema, NamesAndDocumentsEveryKeyOnce) {
  Config config = sample();
  const std::function<void(const Section&)> look = [&](const Section& section) {
    std::vector<std::string> names;
    for (const ConfigKey& key : section.keys()) {
      EXPECT_FALSE(key.doc.empty()) << key.name;
      EXPECT_FALSE(key.doc.ends_with('.')) << key.name << ": the writer adds the full stop";
      EXPECT_EQ(std::count(names.begin(), names.end(), key.name), 0) << key.name;
      names.push_back(key.name);
      if (key.section != nullptr) look(*key.section);
      if (key.all_sections)
        for (const Section& element : key.all_sections()) look(element);
    }
  };
  look(config_section(config));
}

TEST(Sample, LoadsToTheDefaultsWithOneTapPort) {
  EXPECT_EQ(to_yaml(load_config(sample_path())), to_yaml(sample()));
}

// Every key with its comment and default, as the schema has them: the sample is the schema written out, after
// a few lines of introduction and before the program's own section.
TEST(Sample, ShowsEveryKeyWithItsCommentAndDefault) {
  const std::string text = text_of(sample_path());
  EXPECT_NE(text.find("\n\n" + to_yaml(sample())), std::string::npos)
      << "config/l4echo.yaml must contain exactly this:\n"
      << to_yaml(sample());
}

struct UnitCase {
  const char* text;
  std::int64_t value;  // -1: refused
};

TEST(Durations, TakeAUnitAndAreExact) {
  for (const auto& [text, value] : std::initializer_list<UnitCase>{{"0", 0},
                                                                   {"1ns", 1},
                                                                   {"5us", 5'000},
                                                                   {"40ms", 40'000'000},
                                                                   {"2s", 2'000'000'000},
                                                                   {"3m", 180'000'000'000},
                                                                   {"2h", 7'200'000'000'000},
                                                                   {"1d", 86'400'000'000'000},
                                                                   {"106751d", 9'223'286'400'000'000'000},
                                                                   {"106752d", -1},
                                                                   {"", -1},
                                                                   {"s", -1},
                                                                   {"1", -1},
                                                                   {"1 s", -1},
                                                                   {"-1s", -1},
                                                                   {"1.5s", -1},
                                                                   {"1S", -1}}) {
    const auto parsed = parse_duration(text);
    EXPECT_EQ(parsed ? parsed->ns() : -1, value) << text;
    if (parsed) {
      EXPECT_EQ(parse_duration(format_duration(*parsed)), parsed) << text;
    }
  }
  EXPECT_EQ(format_duration(Duration::from_ms(1500)), "1500ms");
  EXPECT_EQ(format_duration(Duration::from_s(7200)), "2h");
}

TEST(Sizes, TakeBinaryUnitsAndAreExact) {
  for (const auto& [text, value] : std::initializer_list<UnitCase>{{"0", 0},
                                                                   {"1", 1},
                                                                   {"4KiB", 4096},
                                                                   {"2MiB", 2 << 20},
                                                                   {"3GiB", 3LL << 30},
                                                                   {"9999999999GiB", -1},
                                                                   {"4KB", -1},
                                                                   {"4K", -1},
                                                                   {"KiB", -1},
                                                                   {"-1", -1},
                                                                   {"", -1}}) {
    const auto parsed = parse_size(text);
    EXPECT_EQ(parsed ? static_cast<std::int64_t>(*parsed) : -1, value) << text;
  }
  EXPECT_EQ(format_size(262144), "256KiB");
  EXPECT_EQ(format_size(1500), "1500");
}

}  // namespace
}  // namespace pollux
