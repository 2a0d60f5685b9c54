// l4echo: echo, discard and chargen over TCP and UDP, and HTTP, on Pollux.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <exception>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>

#include "common/lcores.h"
#include "common/per_core.h"
#include "common/service_notify.h"
#include "l4echo/options.h"
#include "l4echo/services.h"
#include "pollux/config/live_config_file.h"
#include "pollux/drivers_glue/runtime.h"

namespace {

using namespace pollux;
using namespace pollux::app;

struct Arguments {
  std::string config;
  bool print_config = false;
  bool show_port = false;
  LiveConfigFile::Keys keys;
  std::map<const NumberOption*, std::uint32_t> numbers;  // those given
};

void declare(CLI::App& cli, Arguments& arguments) {
  cli.description(
      "Serves echo, discard and chargen over TCP and UDP, and HTTP/1.1, on the ports of a configuration file.\n"
      "Runs until SIGTERM or SIGINT, then lets open connections finish (drain_timeout) and prints the\n"
      "counters; SIGUSR1 prints them at any time; SIGHUP reads the file anew. Exit status: 0; 1 when it could not start, or connections\n"
      "had to be reset at the end.");
  cli.get_formatter()->column_width(32);
  cli.add_option("-c,--config", arguments.config,
                 "YAML file: network ports, addresses, cores, and these options under app");
  cli.add_flag(
      "--print-config", arguments.print_config,
      "print a file with every key, its meaning and its value (that of --config, or the default), and end");
  cli.add_flag("--show-port", arguments.show_port,
               "start the ports of --config, print what their drivers offer and what of it is used, and end");
  cli.add_option_function<std::string>(
      "--lcores",
      [&arguments](const std::string& text) {
        try {
          arguments.keys.emplace_back("cores", lcores_as_yaml(text));
        } catch (const std::invalid_argument& error) {
          throw CLI::ValidationError("--lcores", error.what());
        }
      },
      lcores_help);
  cli.add_option_function<std::vector<std::string>>(
         "--set",
         [&arguments](const std::vector<std::string>& given) {
           for (const std::string& key : given) {
             const auto equals = key.find('=');
             if (equals == std::string::npos) throw CLI::ValidationError("--set", "expected KEY=VALUE, found " + key);
             arguments.keys.emplace_back(key.substr(0, equals), key.substr(equals + 1));
           }
         },
         "a key of the file with another value, like tcp.nagle=false; may be repeated")
      ->allow_extra_args(false);
  for (const NumberOption& o : service_option_table()) {
    std::string name = o.key;
    std::replace(name.begin(), name.end(), '_', '-');
    cli.add_option_function<std::uint32_t>(
           "--" + name, [&arguments, &o](const std::uint32_t& value) { arguments.numbers[&o] = value; },
           o.doc)
        ->check(CLI::Range(o.min, o.max));
  }
}

void override_by_command_line(const Arguments& arguments, ServiceOptions& services) {
  for (const auto& [option, value] : arguments.numbers) {
    if (option->port != nullptr)
      services.*option->port = static_cast<std::uint16_t>(value);
    else
      services.*option->number = value;
  }
}

/// The configuration file of a program that serves by `options`. All outlive it.
std::unique_ptr<LiveConfigFile> live_file(const Arguments& arguments, const Config& config, ServiceOptions& options,
                                          ServiceOptions& proposed) {
  return std::make_unique<LiveConfigFile>(
      arguments.config, config,
      AppSettings{.present = [&] { return service_section(options); },
                  .fresh = [&] { return service_section(proposed = {}); },
                  .complete = [&] { override_by_command_line(arguments, proposed); },
                  .adopt = [&] { options = proposed; }},
      arguments.keys);
}

/// The file's values, overridden by the command line's.
void load(const Arguments& arguments, Config& config, ServiceOptions& services) {
  if (arguments.config.empty()) return override_by_command_line(arguments, services);
  ServiceOptions proposed;
  const auto file = live_file(arguments, config, services, proposed);
  config = file->reload().config;
  file->adopt();
}

/// Lets SIGHUP and l4ctl change `options`; the caller keeps all three until the runtime ends.
void allow_changes(Runtime& runtime, const Arguments& arguments, const Config& config, ServiceOptions& options,
                   ServiceOptions& proposed, PerCore<Services>& services) {
  runtime.describe_config(config_listing(config, service_section(options)));
  runtime.change_config_from(live_file(arguments, config, options, proposed));
  runtime.on_each_core_change(
      {.prepare = [&](Stack& stack) { return services.of(stack).prepare(stack, proposed); },
       .finish = [&](Stack& stack, bool committed) { services.of(stack).finish(committed); }});
}

int serve(const Arguments& arguments, const Config& config, ServiceOptions options) {
  PerCore<Services> services;  // outlives the stacks that call its handlers
  ServiceOptions proposed;
  Runtime runtime(config);
  allow_changes(runtime, arguments, config, options, proposed, services);
  std::atomic<std::size_t> cores_to_come{runtime.core_count()};
  runtime.on_each_core([&](Stack& stack) {
    services.emplace(stack, stack, options, config.tcp.connections_max);
    if (--cores_to_come != 0) return;
    fmt::print(stderr, "l4echo: serving\n");
    notify_service("READY=1");
  });
  runtime.on_each_core_tick(Duration::from_ms(10),
                            [&](Stack& stack, TimePoint now) { services.of(stack).tick(now); });
  const int status = runtime.run();
  notify_service("STOPPING=1");
  std::signal(SIGTERM, SIG_IGN);  // asked once and stopping: asked again, it still says what it counted
  std::signal(SIGINT, SIG_IGN);
  fmt::print(stderr, "{}", runtime.counters_text());
  return status;
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli;
  Arguments arguments;
  try {
    declare(cli, arguments);
    cli.parse(argc, argv);
    Config config;
    ServiceOptions services;
    load(arguments, config, services);
    if (arguments.print_config) {
      if (config.ports.empty())
        config.ports.push_back(
            {.device = "net_tap0,iface=px0", .addresses = {*IpPrefix::from_string("192.0.2.2/24")}});
      fmt::print("{}", to_yaml(config, service_section(services)));
      return 0;
    }
    if (arguments.config.empty()) throw CLI::RequiredError("--config");
    if (arguments.show_port) {
      fmt::print("{}", Runtime(config).ports_text());
      return 0;
    }
    return serve(arguments, config, services);
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "l4echo: {}\n", error.what());
    return 1;
  }
}
