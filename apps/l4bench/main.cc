// l4bench: drives a TCP echo or discard server over Pollux or over kernel sockets and measures it.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <exception>
#include <fstream>
#include <stdexcept>
#include <string>

#include "common/lcores.h"
#include "l4bench/report.h"
#include "l4bench/run.h"
#include "pollux/config/live_config_file.h"

namespace {

using namespace pollux;
using namespace pollux::app;

struct Arguments {
  LoadOptions load;
  std::string via = "pollux";
  std::string config;
  LiveConfigFile::Keys keys;
  std::string remote;
  std::string json;
  double duration = 5;
  double warmup = 0.5;
};

void declare(CLI::App& cli, Arguments& a) {
  cli.description(
      "Measures a TCP server: echo round trips (rr), connect-echo-close cycles (cec), or a one-way stream.\n"
      "Every echoed octet is compared with what was sent. Exit status: 0 when nothing went wrong, 2 when\n"
      "connections failed or echoed something else, 1 when the run could not start.");
  cli.require_subcommand(1);
  cli.fallthrough();
  cli.get_formatter()->column_width(34);
  cli.add_option("-r,--remote", a.remote,
                 "server as ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT; port 7, or 9 for a stream without --verify")
      ->required();
  cli.add_option("--via", a.via, "what carries the connections: pollux (with --config) or kernel")
      ->check(CLI::IsMember({"pollux", "kernel"}))
      ->capture_default_str();
  cli.add_option("-c,--config", a.config, "YAML file with ports, addresses and cores, for --via pollux");
  cli.add_option_function<std::string>(
      "--lcores",
      [&a](const std::string& text) {
        try {
          a.keys.emplace_back("cores", lcores_as_yaml(text));
        } catch (const std::invalid_argument& error) {
          throw CLI::ValidationError("--lcores", error.what());
        }
      },
      lcores_help);
  cli.add_option("-n,--connections", a.load.connections, "connections at a time, over all cores")
      ->check(CLI::Range(1u, 1'000'000u))
      ->capture_default_str();
  cli.add_option("-d,--duration", a.duration, "seconds that are measured; with --bytes: the limit")
      ->check(CLI::Range(0.1, 86400.0))
      ->capture_default_str();
  cli.add_option("-w,--warmup", a.warmup, "seconds before that, after the first connection")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  cli.add_option("--json", a.json, "also write the results to this file as JSON; - is standard output");

  auto* rr = cli.add_subcommand("rr", "echo round trips: a message, its echo, the next message");
  auto* cec = cli.add_subcommand("cec", "connect, one round trip, close, again");
  auto* stream = cli.add_subcommand("stream", "as many octets as go");
  for (CLI::App* mode : {rr, cec})
    mode->add_option("-s,--size", a.load.size, "octets of a message")
        ->check(CLI::Range(1u, 1u << 30))
        ->capture_default_str();
  cec->add_flag("--reset", a.load.reset_close, "close with RST, which leaves no TIME-WAIT behind");
  stream->add_flag("--verify", a.load.verify, "the server echoes, and the echo is compared");
  stream->add_option("--bytes", a.load.bytes,
                     "octets for each connection, then close; default: until the time is up")
      ->check(CLI::Range(std::uint64_t{1}, std::uint64_t{1} << 50));
  rr->callback([&a] { a.load.mode = Mode::rr; });
  cec->callback([&a] { a.load.mode = Mode::cec; });
  stream->callback([&a] { a.load.mode = Mode::stream; });
}

Endpoint remote_of(const Arguments& a) {
  // ADDRESS, ADDRESS:PORT or, for IPv6 with a port, [ADDRESS]:PORT.
  auto colon = a.remote.rfind(':');
  std::string text = a.remote.substr(0, colon);
  if (colon != std::string::npos && a.remote.find(':') != colon) {
    const auto bracket = a.remote.rfind(']');
    const bool enclosed = a.remote.front() == '[' && bracket != std::string::npos;
    text = enclosed ? a.remote.substr(1, bracket - 1) : a.remote;
    if (!enclosed || bracket + 1 != colon) colon = std::string::npos;
    if (enclosed && bracket + 1 != a.remote.size() && colon == std::string::npos) text.clear();
  }
  const auto address = IpAddress::from_string(text);
  Endpoint remote{.address = address.value_or(IpAddress{}), .port = 7};
  if (a.load.mode == Mode::stream && !a.load.verify) remote.port = 9;
  bool port_ok = true;
  if (colon != std::string::npos) {
    const std::string port = a.remote.substr(colon + 1);
    port_ok = !port.empty() && port.size() <= 5 &&
              port.find_first_not_of("0123456789") == std::string::npos && std::stoul(port) - 1 < 65535;
    if (port_ok) remote.port = static_cast<std::uint16_t>(std::stoul(port));
  }
  if (!address || !port_ok)
    throw CLI::ValidationError("--remote",
                               fmt::format("\"{}\" is not ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT", a.remote));
  return remote;
}

int run(const Arguments& a, const Endpoint& remote) {
  LoadOptions load = a.load;
  load.duration_ns = static_cast<std::int64_t>(a.duration * 1e9);
  load.warmup_ns = load.bytes != 0 ? 0 : static_cast<std::int64_t>(a.warmup * 1e9);
  const Results results = a.via == "kernel" ? run_over_kernel(load, remote)
                                            : run_over_pollux(LiveConfigFile(a.config, {}, {}, a.keys).reload().config, load, remote);

  const Subject subject{.via = a.via, .remote = remote.to_string()};
  const std::string json = report_json(subject, load, results);
  if (a.json == "-") {
    std::fputs(json.c_str(), stdout);
  } else {
    std::fputs(report_text(subject, load, results).c_str(), stdout);
    if (!a.json.empty() && !(std::ofstream(a.json) << json << std::flush))
      throw std::runtime_error(fmt::format("cannot write {}", a.json));
  }
  return results.errors() == 0 && results.connections != 0 ? 0 : 2;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli;
  Arguments arguments;
  try {
    declare(cli, arguments);
    cli.parse(argc, argv);
    if (arguments.via == "pollux" && arguments.config.empty())
      throw CLI::ValidationError("--config", "a file is required for --via pollux");
    return run(arguments, remote_of(arguments));
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "l4bench: {}\n", error.what());
    return 1;
  }
}
