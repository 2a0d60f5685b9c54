// What a running program's configuration may become: the file anew, or one key set.
#include <gtest/gtest.h>

#include <fstream>

#include "config_file.h"
#include "pollux/config/live_config_file.h"

namespace pollux {
namespace {

using test::ConfigFile;
using test::minimal_ports;

std::string changes_of(const ConfigProposal& proposal) {
  std::string text;
  for (const ConfigChange& change : proposal.changes) text += change.text() + (change.live ? "\n" : " (restart)\n");
  return text;
}

class LiveConfig : public testing::Test {
 protected:
  std::string refusal(const std::function<void()>& f) {
    try {
      f();
    } catch (const ConfigError& error) {
      return error.what();
    }
    return "no error";
  }
  void write(const std::string& text) { std::ofstream(file.path()) << text; }

  struct Own {
    std::uint16_t port = 7;
  };
  static Section describe(Own& settings) {
    Section section;
    section.integer("port", settings.port, 1, 65535, "a port").live = true;
    return section;
  }

  ConfigFile file{minimal_ports};
  Own own, proposed;
  LiveConfigFile live{file.path(), load_config(file.path()),
                      {.present = [this] { return describe(own); },
                       .fresh = [this] { return describe(proposed = {}); },
                       .complete = [this] { completed = true; },
                       .adopt = [this] { own = proposed; }}};
  bool completed = false;
};

TEST_F(LiveConfig, TheSameFileChangesNothing) {
  EXPECT_EQ(changes_of(live.reload()), "");
  EXPECT_TRUE(completed) << "the command line goes before the file";
}

TEST_F(LiveConfig, SaysWhatChangesAndWhatNeedsARestart) {
  write(std::string(minimal_ports) + "tcp: {nagle: false, connections_max: 9}\nroutes: [{prefix: 0.0.0.0/0, gateway: 10.0.0.9}]\n"
                                     "app: {port: 8}\n");
  EXPECT_EQ(changes_of(live.reload()),
            "routes[0].prefix: (none) -> 0.0.0.0/0\nroutes[0].gateway: (none) -> 10.0.0.9\n"
            "tcp.nagle: true -> false\ntcp.connections_max: 65536 -> 9 (restart)\napp.port: 7 -> 8\n");
  EXPECT_EQ(proposed.port, 8);
  EXPECT_EQ(own.port, 7) << "not before it is adopted";
  EXPECT_EQ(changes_of(live.reload()).find("app.port: 7 -> 8") == std::string::npos, false) << "asked again, the same";
  live.adopt();
  EXPECT_EQ(own.port, 8);
  EXPECT_EQ(changes_of(live.reload()), "");
  write(minimal_ports);
  EXPECT_NE(changes_of(live.reload()).find("routes[0].gateway: 10.0.0.9 -> (none)\n"), std::string::npos);
}

TEST_F(LiveConfig, PortsThatComeOrGoNeedARestartTheirAddressesDoNot) {
  write("ports:\n  - {device: net_null0, addresses: [10.0.0.2/24], mtu: 1400}\n  - {device: net_null1, addresses: [10.1.0.1/24]}\n");
  const std::string changes = changes_of(live.reload());
  EXPECT_NE(changes.find("ports[0].addresses: 10.0.0.1/24 -> 10.0.0.2/24\n"), std::string::npos) << changes;
  EXPECT_NE(changes.find("ports[0].mtu: 1500 -> 1400 (restart)\n"), std::string::npos) << changes;
  EXPECT_NE(changes.find("ports[1].addresses: (none) -> 10.1.0.1/24 (restart)\n"), std::string::npos) << changes;
}

TEST_F(LiveConfig, SetsOneKeyOfWhatIsInForce) {
  EXPECT_EQ(changes_of(live.set("tcp.nagle", "false")), "tcp.nagle: true -> false\n");
  EXPECT_FALSE(completed) << "what is set goes before the command line";
  live.adopt();
  EXPECT_EQ(changes_of(live.set("app.port", "9")), "app.port: 7 -> 9\n");
  EXPECT_EQ(changes_of(live.set("ports[0].addresses", "[10.0.0.2/24, 'fd00::2/64']")),
            "ports[0].addresses: 10.0.0.1/24 -> 10.0.0.2/24 fd00::2/64\n");
  EXPECT_EQ(changes_of(live.set("tcp", "{nagle: true}")), "tcp.nagle: false -> true\n") << "a map is set as a whole";
}

TEST_F(LiveConfig, WhatTheCommandLineSetGoesBeforeTheFile) {
  LiveConfigFile both(file.path(), load_config(file.path()), {}, {{"ports[0].device", "net_null7"}, {"tcp.nagle", "false"}});
  const ConfigProposal first = both.reload();
  EXPECT_EQ(changes_of(first), "ports[0].device: net_null0 -> net_null7 (restart)\ntcp.nagle: true -> false\n");
  EXPECT_EQ(first.config.ports[0].device, "net_null7");
  both.adopt();
  write(std::string(minimal_ports) + "tcp: {nagle: true, ttl: 9}\n");
  EXPECT_EQ(changes_of(both.reload()), "tcp.ttl: 64 -> 9\n");
}

TEST_F(LiveConfig, MistakesNameFileLineAndKeyAndChangeNothing) {
  write(std::string(minimal_ports) + "tcp:\n  nagel: true\n");
  EXPECT_EQ(refusal([&] { live.reload(); }), file.path() + ":4: tcp.nagel: unknown key; did you mean 'nagle'?");
  EXPECT_EQ(refusal([&] { live.set("tcp.ttl", "0"); }), "tcp.ttl: expected an integer from 1 to 255, found '0'");
  EXPECT_EQ(refusal([&] { live.set("tcp.nagel", "true"); }), "tcp.nagel: unknown key; did you mean 'nagle'?");
  EXPECT_EQ(refusal([&] { live.set("tcp.nagle.x", "true"); }), "tcp.nagle.x: unknown key: what it is in is a value, no map");
  EXPECT_EQ(refusal([&] { live.set("ports[1].mtu", "1500"); }), "ports[1].mtu: ports has 1 items, counted from 0");
  EXPECT_EQ(refusal([&] { live.set("tcp[0]", "1"); }), "tcp[0]: tcp is no list");
  EXPECT_NE(refusal([&] { live.set("tcp.nagle", "[1"); }).find("tcp.nagle:1: YAML"), std::string::npos);
  EXPECT_EQ(refusal([&] { live.set("tcp.rto_min", "9s"); }).substr(0, 16), "tcp.rto_initial:") << "rules between keys too";
  write(minimal_ports);
  EXPECT_EQ(changes_of(live.reload()), "");
}

}  // namespace
}  // namespace pollux
