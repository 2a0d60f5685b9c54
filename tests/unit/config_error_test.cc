// Every mistake in a file is named with its line and key, and what was expected there.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "config_file.h"
#include "pollux/config/load.h"

namespace pollux {
namespace {

using test::ConfigFile;
using test::minimal_ports;

/// What load_config says about a file with this text, without the path; "" when it accepts the file.
std::string complaint(const std::string& text) {
  const ConfigFile file(text);
  try {
    load_config(file.path());
  } catch (const ConfigError& error) {
    const std::string what = error.what();
    EXPECT_TRUE(what.starts_with(file.path() + ":")) << what;
    return what.substr(file.path().size() + 1);
  }
  return "";
}

struct Case {
  const char* name;
  std::string text;  // of the file
  std::string complaint;
};

void PrintTo(const Case& test, std::ostream* out) {
  *out << test.name;
}

class Mistake : public testing::TestWithParam<Case> {};

TEST_P(Mistake, IsNamedWithLineKeyAndWhatWasExpected) {
  EXPECT_EQ(complaint(GetParam().text), GetParam().complaint);
}

std::string with_ports(const std::string& text) {
  return minimal_ports + text;
}

const std::string port_start = "ports:\n  - device: net_null0\n    addresses: [10.0.0.1/24]\n";

INSTANTIATE_TEST_SUITE_P(
    Yaml, Mistake,
    testing::Values(Case{"syntax", "ports: [\n", "2: YAML: end of sequence flow not found"},
                    Case{"tab", "ports:\n\t- a\n", "2: YAML: illegal block entry"},
                    Case{"two_documents", with_ports("---\na: 1\n"),
                         "4: YAML: expected one document, found 2"},
                    Case{"list_document", "- a\n- b\n", "1: file: expected a map of settings"},
                    Case{"word_document", "hello\n", "1: file: expected a map of settings"},
                    Case{"empty_document", "",
                         "1: ports: is missing; expected a list of maps, each item introduced by '-'"},
                    Case{"comment_only", "# nothing\n",
                         "1: ports: is missing; expected a list of maps, each item introduced by '-'"},
                    Case{"map_as_key", with_ports("{a: b}: c\n"), "3: YAML: a key must be a word"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Keys, Mistake,
    testing::Values(Case{"misspelt", with_ports("tpc: {}\n"), "3: tpc: unknown key; did you mean 'tcp'?"},
                    Case{"misspelt_inside", with_ports("tcp:\n  nagel: true\n"),
                         "4: tcp.nagel: unknown key; did you mean 'nagle'?"},
                    Case{"dashes_for_underscores", with_ports("drain-timeout: 1s\n"),
                         "3: drain-timeout: unknown key; did you mean 'drain_timeout'?"},
                    Case{"capitals", with_ports("TCP: {}\n"), "3: TCP: unknown key; did you mean 'tcp'?"},
                    Case{"nothing_like_it", with_ports("udp:\n  zebra: 1\n"),
                         "4: udp.zebra: unknown key; expected one of sockets_max, kept_packets_max, "
                         "ephemeral_port_first, ephemeral_port_last"},
                    Case{"in_a_port", port_start + "    mut: 1500\n",
                         "4: ports[0].mut: unknown key; did you mean 'mtu'?"},
                    Case{"twice", with_ports("tcp: {}\nudp: {}\ntcp: {}\n"),
                         "5: tcp: given twice, first in line 3"},
                    Case{"twice_inside", with_ports("pool:\n  cache: 1\n  cache: 2\n"),
                         "5: pool.cache: given twice, first in line 4"},
                    Case{"no_device", "ports:\n  - addresses: [10.0.0.1/24]\n",
                         "2: ports[0].device: is missing; expected a PCI address like 0000:01:00.0 or a "
                         "virtual device like "
                         "net_tap0,iface=px0"},
                    Case{"no_addresses", "ports:\n  - device: net_null0\n",
                         "2: ports[0].addresses: is missing; expected a list [...] of items, each an "
                         "address with a prefix length, "
                         "like 192.0.2.2/24 or 2001:db8::2/64"},
                    Case{"no_gateway", with_ports("routes:\n  - prefix: 0.0.0.0/0\n"),
                         "4: routes[0].gateway: is missing; expected an address, like 192.0.2.1 or 2001:db8::1"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Values_, Mistake,
    testing::Values(
        Case{"word_for_integer", port_start + "    mtu: big\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found 'big'"},
        Case{"trailing_letters", port_start + "    mtu: 1500x\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found '1500x'"},
        Case{"fraction", port_start + "    mtu: 1500.5\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found '1500.5'"},
        Case{"below_range", port_start + "    mtu: 575\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found '575'"},
        Case{"above_range", port_start + "    mtu: 9001\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found '9001'"},
        Case{"beyond_64_bits", port_start + "    mtu: 99999999999999999999\n",
             "4: ports[0].mtu: expected an integer from 576 to 9000, found '99999999999999999999'"},
        Case{"negative", with_ports("idle_polls: -1\n"),
             "3: idle_polls: expected an integer from 1 to 1000000000, found '-1'"},
        Case{"list_for_integer", with_ports("idle_polls: [1]\n"),
             "3: idle_polls: expected an integer from 1 to 1000000000, found a list"},
        Case{"nothing_for_integer", with_ports("idle_polls:\n"),
             "3: idle_polls: expected an integer from 1 to 1000000000, found nothing"},
        Case{"yes_for_true", with_ports("tcp:\n  nagle: yes\n"),
             "4: tcp.nagle: expected true or false, found 'yes'"},
        Case{"duration_without_unit", with_ports("drain_timeout: 5\n"),
             "3: drain_timeout: expected a duration from 0 to 1d, with its unit, found '5'"},
        Case{"duration_with_unknown_unit", with_ports("drain_timeout: 5sec\n"),
             "3: drain_timeout: expected a duration from 0 to 1d, with its unit, found '5sec'"},
        Case{"duration_too_long", with_ports("tcp:\n  delayed_ack_max: 500ms\n"),
             "4: tcp.delayed_ack_max: expected a duration from 1ms to 499ms, with its unit, found '500ms'"},
        Case{"duration_that_overflows", with_ports("drain_timeout: 9999999999999h\n"),
             "3: drain_timeout: expected a duration from 0 to 1d, with its unit, found '9999999999999h'"},
        Case{"size_with_unknown_unit", with_ports("tcp:\n  send_buffer: 256KB\n"),
             "4: tcp.send_buffer: expected a size from 4KiB to 1GiB, found '256KB'"},
        Case{"size_too_small", with_ports("tcp:\n  send_buffer: 4095\n"),
             "4: tcp.send_buffer: expected a size from 4KiB to 1GiB, found '4095'"},
        Case{"unknown_choice", with_ports("idle: nap\n"),
             "3: idle: expected one of spin | pause | adaptive | sleep, found 'nap'"},
        Case{"log_level", with_ports("log_level: loud\n"),
             "3: log_level: expected error, warning, info or debug, found 'loud'"},
        Case{"map_for_word", with_ports("idle: {}\n"),
             "3: idle: expected one of spin | pause | adaptive | sleep, found a map"},
        Case{"word_for_map", with_ports("tcp: on\n"), "3: tcp: expected a map of settings"},
        Case{"map_for_list", "ports: {}\n",
             "1: ports: expected a list of maps, each item introduced by '-', found a map"},
        Case{"word_in_list_of_maps", "ports: [net_null0]\n", "1: ports[0]: expected a map of settings"},
        Case{"word_for_list", with_ports("cores: 1\n"),
             "3: cores: expected auto or a list [...] of items, each an integer from 0 to 1023, found '1'"},
        Case{"another_word_for_list", with_ports("cores: Auto\n"),
             "3: cores: expected auto or a list [...] of items, each an integer from 0 to 1023, found 'Auto'"},
        Case{"bad_item", with_ports("cores: [1,\n        two]\n"),
             "4: cores[1]: expected an integer from 0 to 1023, found 'two'"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Addresses, Mistake,
    testing::Values(
        Case{"no_prefix_length", "ports:\n  - device: a\n    addresses: [10.0.0.1]\n",
             "3: ports[0].addresses[0]: expected an address with a prefix length, like 192.0.2.2/24 or "
             "2001:db8::2/64, "
             "found '10.0.0.1'"},
        Case{"long_prefix", "ports:\n  - device: a\n    addresses: [10.0.0.1/33]\n",
             "3: ports[0].addresses[0]: expected an address with a prefix length, like 192.0.2.2/24 or "
             "2001:db8::2/64, "
             "found "
             "'10.0.0.1/33'"},
        Case{"octet_256", "ports:\n  - device: a\n    addresses: [10.0.0.256/24]\n",
             "3: ports[0].addresses[0]: expected an address with a prefix length, like 192.0.2.2/24 or "
             "2001:db8::2/64, "
             "found "
             "'10.0.0.256/24'"},
        Case{"nine",
             "ports:\n  - device: a\n    addresses: [10.0.0.1/24, 10.0.0.2/24, 10.0.0.3/24, 10.0.0.4/24, 10.0.0.5/24, "
             "10.0.0.6/24, 10.0.0.7/24, 10.0.0.8/24, 10.0.0.9/24]\n",
             "3: ports[0].addresses: expected at most 8 IPv4 addresses, found 9"},
        Case{"none", "ports:\n  - device: a\n    addresses: []\n",
             "3: ports[0].addresses: expected at least one address"},
        Case{"vlan_without_address", port_start + "    vlans:\n      - id: 5\n",
             "5: ports[0].vlans[0].addresses: is missing; expected a list [...] of items, each an address with a prefix "
             "length, like 192.0.2.2/24 or 2001:db8::2/64"},
        Case{"vlan_id", port_start + "    vlans:\n      - {id: 4095, addresses: [10.1.0.1/24]}\n",
             "5: ports[0].vlans[0].id: expected an integer from 1 to 4094, found '4095'"},
        Case{"vlan_key", port_start + "    vlans:\n      - {id: 5, adresses: [10.1.0.1/24]}\n",
             "5: ports[0].vlans[0].adresses: unknown key; did you mean 'addresses'?"},
        Case{"vlan_twice",
             port_start + "    vlans:\n      - {id: 5, addresses: [10.1.0.1/24]}\n      - {id: 5, addresses: [10.2.0.1/24]}\n",
             "6: ports[0].vlans[1].id: 5 is vlans[0] already"},
        Case{"vlan_mtu", port_start + "    vlans:\n      - {id: 5, addresses: [10.1.0.1/24], mtu: 1501}\n",
             "5: ports[0].vlans[0].mtu: expected 576 to the port's mtu, 1500, or 0; found 1501"},
        Case{"gateway_with_length", with_ports("routes:\n  - {prefix: 0.0.0.0/0, gateway: 10.0.0.2/24}\n"),
             "4: routes[0].gateway: expected an address, like 192.0.2.1 or 2001:db8::1, found '10.0.0.2/24'"}),
    [](const auto& test) { return test.param.name; });

INSTANTIATE_TEST_SUITE_P(
    Rules, Mistake,
    testing::Values(
        Case{"no_ports", "ports: []\n", "1: ports: expected at least one port"},
        Case{"same_device_twice",
             port_start + "  - device: net_null0,size=64\n    addresses: [10.0.1.1/24]\n",
             "4: ports[1].device: net_null0 is ports[0] already"},
        Case{"empty_device", "ports:\n  - device: \"\"\n    addresses: [10.0.0.1/24]\n",
             "2: ports[0].device: expected a PCI address like 0000:01:00.0 or a virtual device like "
             "net_tap0,iface=px0"},
        Case{"auto_and_shared", with_ports("cores: auto\nshare_cpus: true\n"),
             "4: share_cpus: expected false with cores: auto, which takes every CPU once"},
        Case{"same_core_twice", with_ports("cores: [1, 2, 1]\n"), "3: cores[2]: CPU 1 is listed twice (share_cpus: true allows it)"},
        Case{"pool_smaller_than_rings", with_ports("pool:\n  packets: 1000\n"),
             "4: pool.packets: expected at least 3072 (rings of all ports, twice pool.cache and a transmit "
             "batch), found "
             "1000"},
        Case{"rings_larger_than_pool", port_start + "    rx_ring: 32768\n    tx_ring: 32768\n",
             "1: pool.packets: expected at least 66560 (rings of all ports, twice pool.cache and a transmit "
             "batch), found "
             "65535"},
        Case{"port_range", with_ports("tcp:\n  ephemeral_port_last: 100\n"),
             "4: tcp.ephemeral_port_last: expected at least ephemeral_port_first, 32768, found 100"},
        Case{"rto_range", with_ports("tcp:\n  rto_initial: 5s\n  rto_min: 10s\n"),
             "4: tcp.rto_initial: expected rto_min, 10s, to rto_max, 2m, found 5s"},
        Case{"rto_range_by_default", with_ports("tcp:\n  rto_min: 10s\n"),
             "3: tcp.rto_initial: expected rto_min, 10s, to rto_max, 2m, found 1s"}),
    [](const auto& test) { return test.param.name; });

TEST(ConfigFileAccess, NamesTheFileAndTheReason) {
  const auto say = [](const std::string& path) {
    try {
      load_config(path);
    } catch (const ConfigError& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(say("/no/such/file.yaml"), "/no/such/file.yaml: cannot be read: No such file or directory");
  EXPECT_EQ(say("/"), "/: cannot be read: Is a directory");
}

TEST(ConfigFileAccess, RefusesWhatIsNoConfigurationForItsSize) {
  EXPECT_TRUE(complaint(std::string((1 << 20) + 1, '#')).ends_with("larger than 1048576 octets"));
  const std::string deep(200, '[');
  EXPECT_EQ(complaint("ports: " + deep + std::string(200, ']')), "1: YAML: nested more than 32 deep");
}

// The fields of the defaults must not be touched by a file that is refused: load_config returns nothing then,
// and a Section's fields are the caller's own.
TEST(AppSection, ReportsMistakesUnderApp) {
  std::uint16_t port = 7;
  Section app;
  app.integer("tcp_echo_port", port, 0, 65535, "Port of the echo service");
  const auto say = [&](const std::string& text) {
    const ConfigFile file(with_ports(text));
    try {
      load_config(file.path(), app);
    } catch (const ConfigError& error) {
      return std::string(error.what()).substr(file.path().size() + 1);
    }
    return std::string();
  };
  EXPECT_EQ(say("app:\n  tcp_echo_prot: 8\n"),
            "4: app.tcp_echo_prot: unknown key; did you mean 'tcp_echo_port'?");
  EXPECT_EQ(say("app:\n  tcp_echo_port: 65536\n"),
            "4: app.tcp_echo_port: expected an integer from 0 to 65535, found '65536'");
  EXPECT_EQ(say("app: 5\n"), "3: app: expected a map of settings");
  EXPECT_EQ(port, 7);
  EXPECT_EQ(say("app:\n  tcp_echo_port: 9\n"), "");
  EXPECT_EQ(port, 9);
}

TEST(AppSection, IsTheProgramsOwnWithoutADescription) {
  EXPECT_EQ(complaint(with_ports("app:\n  anything: [1, 2]\n")), "");
}

}  // namespace
}  // namespace pollux
