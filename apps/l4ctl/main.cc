// l4ctl: asks and steers a running Pollux program through its telemetry socket.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "l4ctl/print.h"
#include "l4ctl/telemetry_client.h"

namespace {

using namespace pollux::app;

std::atomic<bool> interrupted = false;

struct Arguments {
  std::string prefix;
  bool json = false;
  bool zeros = false;
  std::string name;  // of a core, port or connection
  std::string core;
  std::vector<std::pair<std::string, std::string>> filter;
  std::string value;
  std::uint64_t timeout_ms = 5000;
  std::string file;
  std::string expression;
  std::string points = "rx+tx+drop";
  std::uint64_t count = 0;
  std::uint64_t seconds = 0;
  std::uint64_t snap_length = 2048;
};

void print(const Json& answer, const Arguments& arguments,
           const std::function<std::string(const Json&)>& text) {
  fmt::print("{}", arguments.json ? answer.dump(1) + "\n" : text(answer));
}

std::string question(std::string command,
                     const std::vector<std::pair<std::string, std::string>>& parameters) {
  for (const auto& [key, value] : parameters) {
    if (value.find(',') != std::string::npos)
      throw std::runtime_error(key + ": a comma cannot be part of it");
    command += "," + (key.empty() ? value : key + "=" + value);
  }
  return command;
}

/// Pages through a listing and joins its parts.
Json whole_listing(TelemetryClient& client, const std::string& command, const std::string& part,
                   std::vector<std::pair<std::string, std::string>> parameters) {
  Json all = Json::object();
  parameters.emplace_back("cursor", "");
  for (bool first = true;; first = false) {
    auto asked = parameters;
    if (first) asked.pop_back();
    const Json answer = client.ask(question(command, asked));
    all.update(answer[part]);
    if (!answer.contains("next")) return all;
    parameters.back().second = cell(answer["next"]);
  }
}

void show_connections(TelemetryClient& client, const Arguments& a) {
  print(whole_listing(client, "/pollux/connections", "connections", a.filter), a, connections_table);
}

void show_listeners(TelemetryClient& client, const Arguments& a) {
  print(client.ask(question("/pollux/listeners", a.filter)), a, [](const Json& answer) {
    Table table({"protocol", "local", "half-open", "backlog"});
    for (const auto& [name, l] : answer["tcp"].items())
      table.add({"tcp", cell(l["local"]), cell(l["half_open"]), cell(l["backlog"])});
    for (const auto& [name, local] : answer["udp"].items()) table.add({"udp", cell(local), "", ""});
    return table.text();
  });
}

void capture(TelemetryClient& client, const Arguments& a) {
  std::vector<std::pair<std::string, std::string>> parameters = {
      {"file", std::filesystem::absolute(a.file).lexically_normal()},
      {"snap_length", std::to_string(a.snap_length)},
      {"points", a.points}};
  if (a.count != 0) parameters.emplace_back("count", std::to_string(a.count));
  if (a.seconds != 0) parameters.emplace_back("seconds", std::to_string(a.seconds));
  if (!a.expression.empty()) parameters.emplace_back("filter", a.expression);
  std::signal(SIGINT, [](int) { interrupted = true; });
  std::signal(SIGTERM, [](int) { interrupted = true; });
  Json status = client.ask(question("/pollux/capture/start", parameters));
  fmt::print(stderr, "l4ctl: capturing from {} into {}; Ctrl-C ends it\n", client.prefix(),
             parameters[0].second);
  while (status["running"] != 0 && !interrupted) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    status = client.ask("/pollux/capture");
  }
  if (interrupted) status = client.ask("/pollux/capture/stop");
  print(status, a, [](const Json& s) {
    return fmt::format("{} packets captured, {} lost because the file did not keep up\n", cell(s["written"]),
                       cell(s["lost"]));
  });
}

using Action = std::function<void(TelemetryClient&, const Arguments&)>;

/// One thing to show by one question.
Action simple(std::string command, std::function<std::string(const Json&)> text) {
  return [command = std::move(command), text = std::move(text)](TelemetryClient& client, const Arguments& a) {
    std::vector<std::pair<std::string, std::string>> parameters = a.filter;
    if (!a.name.empty()) parameters.insert(parameters.begin(), {"", a.name});
    print(client.ask(question(command, parameters)), a, text);
  };
}

/// The key as the file has it: ports[0].mtu for ports/0/mtu.
std::string key_of(const std::string& name) {
  std::string key;
  std::size_t start = 0;
  while (start <= name.size()) {
    const std::size_t end = std::min(name.find('/', start), name.size());
    const std::string part = name.substr(start, end - start);
    const bool is_number = !part.empty() && part.find_first_not_of("0123456789") == std::string::npos;
    key += is_number ? "[" + part + "]" : (key.empty() ? "" : ".") + part;
    start = end + 1;
  }
  return key;
}

std::string changes_text(const Json& answer) {
  std::string text;
  for (const auto& [number, change] : answer["changes"].items()) text += cell(change) + "\n";
  return text.empty() ? "nothing changed\n" : text;
}

std::string plain(const Json& answer) {
  return lines(answer);
}

void add_filter(CLI::App& command, Arguments& a, const std::string& option, const std::string& key,
                const std::string& doc) {
  command.add_option_function<std::string>(
      option, [&a, key](const std::string& value) { a.filter.emplace_back(key, value); }, doc);
}

void declare_show(CLI::App& cli, Arguments& a, Action& action) {
  CLI::App* show = cli.add_subcommand("show", "counters, connections and all else that can be seen")
                       ->require_subcommand(1);
  const auto add = [&](const char* name, const char* doc, Action what) {
    return show->add_subcommand(name, doc)->callback([&action, what = std::move(what)] { action = what; });
  };
  auto* counters =
      add("counters", "counters and drops (nstat)", [](TelemetryClient& client, const Arguments& arguments) {
        simple("/pollux/counters", [&](const Json& answer) { return lines(answer, arguments.zeros); })(
            client, arguments);
      });
  counters->add_flag("--zeros", a.zeros, "show what is zero too");
  add_filter(*counters, a, "--core", "core", "one core's; else the sum");
  add("cores", "polling cores (mpstat, softnet_stat)",
      simple("/pollux/cores", [](const Json& j) { return table_of(j, "core"); }));
  add("core", "loop, pools and tables of a core", simple("/pollux/core", plain))
      ->add_option("core", a.name, "its number")
      ->required();
  add("ports", "addresses and statistics of ports (ip -s link)",
      simple("/pollux/ports", [](const Json& j) { return table_of(j, "port"); }));
  add("queues", "queue pairs, their cores and packets",
      simple("/pollux/queues", [](const Json& j) { return table_of(j, "port/queue"); }));
  add("xstats", "everything a port's driver counts (ethtool -S)", simple("/pollux/xstats", plain))
      ->add_option("port", a.name, "its name or number; else the first");
  auto* connections = add("connections", "TCP connections (ss -ti)", show_connections);
  for (const auto& [option, key, doc] : {std::tuple{"--state", "state", "established, syn_sent, ..."},
                                         {"--local", "local", "local address"},
                                         {"--remote", "remote", "remote address"},
                                         {"--local-port", "local_port", "local port"},
                                         {"--remote-port", "remote_port", "remote port"},
                                         {"--core", "core", "one core's"}})
    add_filter(*connections, a, option, key, doc);
  connections->add_flag_callback(
      "--troubled", [&a] { a.filter.emplace_back("troubled", "1"); },
      "only those that recover from loss, retransmit, or wait for a window");
  add("connection", "all about one connection", simple("/pollux/connection", plain))
      ->add_option("id", a.name, "as show connections says it")
      ->required();
  auto* events =
      add("events", "last events of a core or connection", simple("/pollux/events", [](const Json& answer) {
            std::string text;
            for (const auto& [number, line] : answer["events"].items()) text += cell(line) + "\n";
            return text;
          }));
  add_filter(*events, a, "--core", "core", "one core's; else core 0's");
  add_filter(*events, a, "--connection", "connection", "one connection's");
  add_filter(*events, a, "--last", "last", "so many; 100");
  add_filter(*add("listeners", "listening sockets (ss -ltu)", show_listeners), a, "--core", "core",
             "one core's; else core 0's");
  auto* neighbors =
      add("neighbors", "neighbour table (ip neigh)", [](TelemetryClient& client, const Arguments& arguments) {
        print(whole_listing(client, "/pollux/neighbors", "neighbors", arguments.filter), arguments,
              [](const Json& j) { return table_of(j, "neighbor"); });
      });
  add_filter(*neighbors, a, "--core", "core", "one core's; else core 0's");
  add("routes", "routes (ip route)", [](TelemetryClient& client, const Arguments& arguments) {
    print(whole_listing(client, "/pollux/routes", "routes", arguments.filter), arguments,
          [](const Json& j) { return table_of(j, "route"); });
  });
  add("memory", "memory of the process and its tables", simple("/pollux/memory", plain));
  add("config", "the configuration in force", simple("/pollux/config", plain));
}

void declare_actions(CLI::App& cli, Arguments& a, Action& action) {
  auto* close = cli.add_subcommand("close", "reset a connection (ss -K)")->callback([&] {
    action = simple("/pollux/close", plain);
  });
  close->add_option("id", a.name, "as show connections says it")->required();
  auto* level = cli.add_subcommand("log-level", "say or set the log level")->callback([&] {
    action = simple("/pollux/log_level", plain);
  });
  level->add_option("level", a.name, "error, warning, info or debug; nothing: only say it");
  auto* drain = cli.add_subcommand("drain", "accept no more, let connections finish, then end the program")
                    ->callback([&] {
                      a.filter = {{"timeout_ms", std::to_string(a.timeout_ms)}};
                      action = simple("/pollux/drain", plain);
                    });
  drain->add_option("--timeout-ms", a.timeout_ms, "reset what is open after this long")
      ->capture_default_str();
  cli.add_subcommand("reload", "take the configuration file over anew, whole or not at all (systemctl reload)")->callback([&] {
    action = simple("/pollux/reload", changes_text);
  });
  auto* set = cli.add_subcommand("set", "set one key of the configuration in force (sysctl -w)")->callback([&] {
    action = [](TelemetryClient& client, const Arguments& given) {
      print(client.ask("/pollux/set," + key_of(given.name) + "=" + given.value), given, changes_text);
    };
  });
  set->add_option("key", a.name, "as show config has it, with . or / between its parts: tcp.nagle, ports[0].addresses")
      ->required();
  set->add_option("value", a.value, "as the file would say it: false, 40ms, '[192.0.2.2/24, \"2001:db8::2/64\"]'")->required();
  auto* ask = cli.add_subcommand("ask", "any command of the telemetry socket, as JSON")->callback([&] {
    action = [](TelemetryClient& client, const Arguments& given) {
      fmt::print("{}\n", client.ask(given.name).dump(1));
    };
  });
  ask->add_option("command", a.name, "like /pollux/core,0 or /ethdev/stats,0")->required();
  auto* take = cli.add_subcommand("capture", "capture packets into a pcapng file (tcpdump)")->callback([&] {
    action = capture;
  });
  take->add_option("-w,--file", a.file, "the file; the program writes it")->required();
  take->add_option("-f,--filter", a.expression, "as pcap-filter(7) says, like 'tcp port 80'");
  take->add_option("-c,--count", a.count, "end after so many packets")->check(CLI::Range(1, 1'000'000'000));
  take->add_option("--seconds", a.seconds, "end after so long; 1 h when not given")
      ->check(CLI::Range(1, 604'800));
  take->add_option("-s,--snap-length", a.snap_length, "octets kept of a packet")
      ->capture_default_str()
      ->check(CLI::Range(1, 16'384));
  take->add_option("--points", a.points, "where: any of rx, tx, drop, joined by +")->capture_default_str();
}

/// Becomes l4top, which is installed beside this program. Returns only by an exception.
[[noreturn]] void become_top(const Arguments& a, const std::vector<std::string>& rest) {
  std::vector<std::string> words = {std::filesystem::read_symlink("/proc/self/exe").parent_path() / "l4top"};
  if (!a.prefix.empty()) words.insert(words.end(), {"--prefix", a.prefix});
  words.insert(words.end(), rest.begin(), rest.end());
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  execv(argv[0], argv.data());
  throw std::runtime_error(words[0] + ": " + std::strerror(errno));
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli;
  Arguments arguments;
  Action action;
  try {
    cli.description("Asks and steers a running Pollux program through its telemetry socket.");
    cli.require_subcommand(1);
    cli.fallthrough();
    cli.add_option("-p,--prefix", arguments.prefix,
                   "eal.file_prefix of the program; needed when several run");
    cli.add_flag("-j,--json", arguments.json, "print JSON");
    declare_show(cli, arguments, action);
    declare_actions(cli, arguments, action);
    const auto* top = cli.add_subcommand("top", "the live view: l4top, with its options")->prefix_command()->fallthrough(false);
    cli.parse(argc, argv);
    if (top->parsed()) become_top(arguments, top->remaining());
    TelemetryClient client(arguments.prefix);
    action(client, arguments);
    return 0;
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "l4ctl: {}\n", error.what());
    return 1;
  }
}
