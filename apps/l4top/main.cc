// l4top: cores, ports, drops and connections of a running Pollux program, live.
#include <curses.h>
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <clocale>
#include <cstdio>
#include <exception>
#include <string>
#include <thread>

#include "l4top/view.h"

namespace {

using namespace pollux::app;

struct Arguments {
  std::string prefix;
  double interval_s = 1;
  bool once = false;
  bool json = false;
  std::string sort = "send_q";
};

std::string title(const TelemetryClient& client, const Json& view) {
  return fmt::format("l4top  {}  over {:.1f} s", client.prefix(), view["interval_s"].get<double>());
}

void once(TelemetryClient& client, const Arguments& a) {
  const Sample before = take_sample(client);
  std::this_thread::sleep_for(std::chrono::duration<double>(a.interval_s));
  const Json view = make_view(before, take_sample(client), a.sort);
  if (a.json) return fmt::print("{}\n", view.dump(1));
  constexpr std::size_t connections = 20;
  for (const auto& line : view_lines(view, title(client, view), a.sort, connections))
    fmt::print("{}\n", line);
}

/// The terminal, given back whatever happens.
class Screen {
 public:
  Screen() {
    std::setlocale(LC_ALL, "");
    if (newterm(nullptr, stdout, stdin) == nullptr)
      throw std::runtime_error("cannot use this terminal; try --once");
    cbreak();
    noecho();
    curs_set(0);
    keypad(stdscr, TRUE);
  }
  ~Screen() { endwin(); }
  Screen(const Screen&) = delete;
  Screen& operator=(const Screen&) = delete;

  void show(const std::vector<std::string>& lines, const std::string& help) {
    erase();
    const int rows = getmaxy(stdscr);
    const int columns = getmaxx(stdscr);
    for (int i = 0; i < std::min(rows - 1, static_cast<int>(lines.size())); ++i)
      mvaddnstr(i, 0, lines[static_cast<std::size_t>(i)].c_str(), columns);
    attron(A_REVERSE);
    mvaddnstr(rows - 1, 0, help.c_str(), columns);
    attroff(A_REVERSE);
    refresh();
  }
  /// A key, or ERR after `wait`.
  int key(std::chrono::milliseconds wait) {
    timeout(static_cast<int>(wait.count()));
    return getch();
  }
};

void live(TelemetryClient& client, Arguments a) {
  Screen screen;
  Sample before = take_sample(client);
  auto due = std::chrono::steady_clock::now();
  for (bool first = true;;) {
    const auto now = std::chrono::steady_clock::now();
    if (now >= due) {
      due = now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                      std::chrono::duration<double>(a.interval_s));
      if (first) due = now + std::chrono::milliseconds(200);
      first = false;
      Sample after = take_sample(client);
      const Json view = make_view(before, after, a.sort);
      before = std::move(after);
      const auto connections = static_cast<std::size_t>(std::max(LINES, 1));
      screen.show(
          view_lines(view, title(client, view), a.sort, connections),
          fmt::format(
              "q quit   s sort by the next of send_q recv_q in_flight cwnd srtt_us   + - interval {:.1f} s",
              a.interval_s));
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(due - std::chrono::steady_clock::now());
    switch (screen.key(std::max(left, std::chrono::milliseconds(1)))) {
      case 'q':
        return;
      case 's': {
        const auto& fields = sort_fields();
        const auto at = std::find(fields.begin(), fields.end(), a.sort);
        a.sort = at + 1 == fields.end() ? fields.front() : *(at + 1);
        due = {};
        break;
      }
      case '+':
        a.interval_s = std::min(a.interval_s * 2, 60.0);
        break;
      case '-':
        a.interval_s = std::max(a.interval_s / 2, 0.1);
        break;
      default:
        break;
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App cli;
  Arguments a;
  try {
    cli.description("Shows cores, ports, drops and connections of a running Pollux program, live.");
    cli.add_option("-p,--prefix", a.prefix, "eal.file_prefix of the program; needed when several run");
    cli.add_option("-i,--interval", a.interval_s, "seconds between two samples")
        ->capture_default_str()
        ->check(CLI::Range(0.1, 60.0));
    cli.add_option("--sort", a.sort, "field that connections are sorted by")
        ->capture_default_str()
        ->check(CLI::IsMember(sort_fields()));
    auto* only = cli.add_flag("--once", a.once, "print one view and end");
    cli.add_flag("--json", a.json, "the view as JSON, for scripts")->needs(only);
    cli.parse(argc, argv);
    TelemetryClient client(a.prefix);
    if (a.once)
      once(client, a);
    else
      live(client, a);
    return 0;
  } catch (const CLI::ParseError& error) {
    return cli.exit(error) == 0 ? 0 : 1;
  } catch (const std::exception& error) {
    fmt::print(stderr, "l4top: {}\n", error.what());
    return 1;
  }
}
