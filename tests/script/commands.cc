// The commands of the language besides ">" and "<", one row each.
#include <algorithm>
#include <sstream>

#include "pollux/config/section.h"
#include "runner.h"

namespace pollux::test {
namespace {

using Act = std::function<void(Runner&, const Where&)>;

constexpr std::int64_t many = 1'000'000'000;

// Steps that only look need nothing of what has come so far; all others want it to have been expected.
Act doing(Act act) {
  return [act = std::move(act)](Runner& r, const Where& w) {
    r.waits({}, w);
    if (!r.c.peer.failed()) act(r, w);
    r.c.runs();
  };
}

std::string at_least_and_at_most(std::int64_t from, std::int64_t to) {
  return std::to_string(from) + (from == to ? "" : ".." + std::to_string(to));
}

std::pair<std::int64_t, std::int64_t> range(Words& words, const char* expected) {
  const std::string word = words.peek();
  const std::size_t dots = word.find("..");
  const auto from = whole_number(word.substr(0, dots), 0, many);
  const auto to = dots == std::string::npos ? from : whole_number(word.substr(dots + 2), 0, many);
  if (!from || !to || *to < *from) words.fail(expected);
  words.take(expected);
  return {*from, *to};
}

template <typename T, std::size_t N>
T one_of(Words& words, const std::pair<const char*, T> (&choices)[N]) {
  std::string names;
  for (const auto& [name, value] : choices) {
    if (words.peek() == name) {
      words.take(name);
      return value;
    }
    names += (names.empty() ? "" : " | ") + std::string(name);
  }
  words.fail(names);
}

// --- Connections
// ---------------------------------------------------------------------------------------------

Act parse_listen(Words& words) {
  TcpListenOptions options{.port = 7};
  if (words.peek() == "backlog") {
    words.take("");
    options.backlog = static_cast<std::uint32_t>(words.number("backlog 1..65535", 1, 65535));
  }
  return doing([options](Runner& r, const Where&) { r.c.listens(options); });
}

Act parse_accept(Words& words) {
  Duration rtt;
  if (words.peek().starts_with("rtt=")) {
    const auto value = parse_duration(words.peek().substr(4));
    if (!value) words.fail("rtt=TIME");
    rtt = *value;
    words.take("");
  }
  ScriptSegment syn;
  parse_fields(words, false, syn);
  return doing([syn, rtt](Runner& r, const Where& w) { r.accepts(syn, rtt, w); });
}

Act parse_connect(Words&) {
  return doing([](Runner& r, const Where&) { r.c.connects(); });
}

Act parse_send(Words& words) {
  const auto text = unquoted(words.peek());
  const std::int64_t length = text ? static_cast<std::int64_t>(text->size())
                                   : words.number("octets 1..10000000, or \"text\"", 1, 10'000'000);
  if (text) words.take("");
  std::int64_t accepted = length;
  if (words.peek() == "takes") {
    words.take("");
    accepted = words.number("takes 0..octets", 0, length);
  }
  return doing([text, length, accepted](Runner& r, const Where& w) {
    if (text) {
      r.app_sends(*text, accepted, w);
    } else {
      r.app_sends_pattern(length, accepted, w);
    }
  });
}

Act parse_read(Words& words) {
  if (const auto text = unquoted(words.peek())) {
    words.take("");
    return [text](Runner& r, const Where& w) { r.app_has_read(*text, w); };
  }
  const std::int64_t length = words.number("octets, or \"text\"", 0, many);
  return [length](Runner& r, const Where& w) { r.app_has_read_pattern(length, w); };
}

Act parse_keep(Words&) {
  return doing([](Runner& r, const Where&) { r.c.app.keep = true; });
}

Act parse_echo(Words&) {
  return doing([](Runner& r, const Where&) { r.c.app.echo = true; });
}

Act parse_release(Words& words) {
  const std::int64_t count = words.done() ? many : words.number("how many deliveries", 1, many);
  return doing([count](Runner& r, const Where& w) {
    auto& kept = r.c.app.kept;
    r.check(!kept.empty(), "the application keeps nothing", w);
    r.c.app.keep = false;
    kept.erase(kept.begin(),
               kept.begin() + std::min<std::ptrdiff_t>(count, static_cast<std::ptrdiff_t>(kept.size())));
  });
}

Act parse_close(Words&) {
  return doing([](Runner& r, const Where&) { r.c.app.conn.close(); });
}
Act parse_shutdown(Words&) {
  return doing([](Runner& r, const Where&) { r.c.app.conn.shutdown_send(); });
}
Act parse_abort(Words&) {
  return doing([](Runner& r, const Where&) { r.c.app.conn.abort(); });
}
Act parse_unlisten(Words&) {
  return doing([](Runner& r, const Where&) { r.c.listener.close(); });
}

Act parse_set(Words& words) {
  const std::string option = words.take("nagle | keepalive | user_timeout | tos");
  std::function<bool(TcpConn&)> set;
  if (option == "nagle" || option == "keepalive") {
    const bool on = one_of<bool>(words, {{"true", true}, {"false", false}});
    set = [on, nagle = option == "nagle"](TcpConn& conn) {
      return nagle ? conn.set_nagle(on) : conn.set_keepalive(on);
    };
  } else if (option == "user_timeout") {
    set = [time = words.duration("a time")](TcpConn& conn) { return conn.set_user_timeout(time); };
  } else if (option == "tos") {
    set = [tos = static_cast<std::uint8_t>(words.number("0..255", 0, 255))](TcpConn& conn) {
      return conn.set_tos(tos);
    };
  } else {
    words.fail("nagle | keepalive | user_timeout | tos", "'" + option + "'");
  }
  return doing([set](Runner& r, const Where& w) {
    r.check(set(r.c.app.conn), "the connection refused the option", w);
  });
}

// --- The peer
// ------------------------------------------------------------------------------------------------

Act parse_peer(Words& words) {
  const std::string what = words.take("isn | window | next | port");
  const std::int64_t value = words.number("a number", -0xffffffffLL, 0xffffffffLL);
  if (what == "isn")
    return doing([value](Runner& r, const Where&) { r.c.peer.forget(static_cast<std::uint32_t>(value)); });
  if (what == "window")
    return [value](Runner& r, const Where&) { r.c.peer.set_window(static_cast<std::uint32_t>(value)); };
  if (what == "next") return [value](Runner& r, const Where&) { r.c.peer.set_snd_nxt(value); };
  if (what == "port")
    return [value](Runner& r, const Where&) {
      r.c.peer.use_ports(static_cast<std::uint16_t>(value), r.c.peer.stack_port());
    };
  words.fail("isn | window | next | port", "'" + what + "'");
}

Act parse_icmp(Words& words) {
  struct Kind {
    std::uint8_t type, code;
  };
  const Kind kind = one_of<Kind>(words, {{"net_unreachable", {3, 0}},
                                         {"host_unreachable", {3, 1}},
                                         {"protocol_unreachable", {3, 2}},
                                         {"port_unreachable", {3, 3}},
                                         {"fragmentation_needed", {3, 4}},
                                         {"source_quench", {4, 0}},
                                         {"time_exceeded", {11, 0}},
                                         {"parameter_problem", {12, 0}}});
  std::int64_t seq = 0;
  std::uint32_t mtu = 0;
  while (!words.done()) {
    const std::string word = words.take("");
    const auto number =
        whole_number(word.substr(std::min<std::size_t>(4, word.size())), -0xffffffffLL, 0xffffffffLL);
    if (!number || !(word.starts_with("seq=") || word.starts_with("mtu=")))
      words.fail("seq=N or mtu=N", "'" + word + "'");
    if (word.starts_with("seq=")) {
      seq = *number;
    } else {
      mtu = static_cast<std::uint32_t>(*number);
    }
  }
  return doing([=](Runner& r, const Where&) { r.c.peer.sends_icmp_error(kind.type, kind.code, seq, mtu); });
}

Act parse_round(Words& words) {
  const Duration rtt = words.duration("the round-trip time");
  std::int64_t every = 1;
  std::int64_t times = 1;
  std::set<std::int64_t> lost;
  constexpr const char* choices = "every N, times N or lose N,N...";
  while (!words.done()) {
    const std::string word = words.take(choices);
    if (word == "lose") {
      std::stringstream numbers(words.take("lose N,N..."));
      for (std::string number; std::getline(numbers, number, ',');) {
        const auto value = whole_number(number, 1, 10'000);
        if (!value) words.fail("lose N,N...", "'" + number + "'");
        lost.insert(*value);
      }
    } else if (word == "every" || word == "times") {
      (word == "every" ? every : times) = words.number("a number 1..10000", 1, 10'000);
    } else {
      words.fail(choices, "'" + word + "'");
    }
  }
  return [=](Runner& r, const Where& w) {
    for (std::int64_t i = 0; i < times && !r.c.peer.failed(); ++i)
      r.round_trip(rtt, static_cast<std::uint32_t>(every), lost, w);
  };
}

Act parse_ignore(Words&) {
  return [](Runner& r, const Where&) { r.c.peer.take(); };
}

// --- Looking
// -------------------------------------------------------------------------------------------------

Act parse_wait(Words& words) {
  const Duration time = words.duration("a time");
  return [time](Runner& r, const Where& w) { r.waits({.given = true, .from = time, .to = time}, w); };
}

Act parse_flight(Words& words) {
  const auto [from, to] = range(words, "octets, or FROM..TO");
  return [low = from, high = to](Runner& r, const Where& w) {
    r.check(
        r.flight() >= low && r.flight() <= high,
        std::to_string(r.flight()) + " octets are outstanding, expected " + at_least_and_at_most(low, high),
        w);
  };
}

Act parse_state(Words& words) {
  const std::string name = words.take("a state of RFC 9293, as ESTABLISHED or CLOSE-WAIT");
  for (int i = 0; i <= static_cast<int>(TcpState::time_wait); ++i) {
    const auto state = static_cast<TcpState>(i);
    if (name != tcp_state_name(state)) continue;
    return [state](Runner& r, const Where& w) {
      r.check(r.state() == state, std::string("the connection is in ") + tcp_state_name(r.state()), w);
    };
  }
  words.fail("a state of RFC 9293, as ESTABLISHED or CLOSE-WAIT", "'" + name + "'");
}

Act parse_closed(Words& words) {
  const auto reason = one_of<CloseReason>(words, {{"normal", CloseReason::normal},
                                                  {"reset_by_peer", CloseReason::reset_by_peer},
                                                  {"refused", CloseReason::refused},
                                                  {"timed_out", CloseReason::timed_out},
                                                  {"unreachable", CloseReason::unreachable},
                                                  {"aborted", CloseReason::aborted}});
  return [reason](Runner& r, const Where& w) {
    const std::uint64_t times = r.news(AppEvent::closed);
    r.check(times == 1, "on_closed came " + std::to_string(times) + " times", w);
    if (times == 1)
      r.check(r.c.app.closed.back() == reason,
              std::string("on_closed says: ") + close_reason_name(r.c.app.closed.back()), w);
  };
}

Act parse_event(Words& words) {
  const auto event = one_of<AppEvent>(words, {{"connected", AppEvent::connected},
                                              {"writable", AppEvent::writable},
                                              {"peer_closed", AppEvent::peer_closed},
                                              {"soft_error", AppEvent::soft_error},
                                              {"closed", AppEvent::closed}});
  const std::int64_t times = words.done() ? 1 : words.number("how often since the last look", 0, many);
  return [event, times](Runner& r, const Where& w) {
    const std::uint64_t seen = r.news(event);
    r.check(seen == static_cast<std::uint64_t>(times),
            "came " + std::to_string(seen) + " times, expected " + std::to_string(times), w);
  };
}

Act parse_counter(Words& words) {
  const std::string name = words.take("a counter's name, as l4echo prints it, or a drop reason");
  const auto [from, to] = range(words, "its value, or FROM..TO");
  std::function<std::uint64_t(const Counters&)> read;
  for (std::size_t i = 0; i < counter_count; ++i)
    if (name == counter_label(static_cast<Counter>(i)))
      read = [i](const Counters& counters) { return counters[static_cast<Counter>(i)]; };
  for (std::size_t i = 1; i < drop_reason_count; ++i)
    if (name == drop_reason_name(static_cast<DropReason>(i)))
      read = [i](const Counters& counters) { return counters[static_cast<DropReason>(i)]; };
  if (!read) words.fail("a counter's name, as l4echo prints it, or a drop reason", "'" + name + "'");
  return [read, low = from, high = to](Runner& r, const Where& w) {
    const auto value = static_cast<std::int64_t>(read(r.c.host.counters()));
    r.check(value >= low && value <= high,
            "the counter is " + std::to_string(value) + ", expected " + at_least_and_at_most(low, high), w);
  };
}

struct Command {
  const char* name;
  CommandParser parse;
};

constexpr Command commands[] = {
    {"listen", parse_listen},     {"accept", parse_accept},   {"connect", parse_connect},
    {"send", parse_send},         {"read", parse_read},       {"keep", parse_keep},
    {"release", parse_release},   {"echo", parse_echo},       {"close", parse_close},
    {"shutdown", parse_shutdown}, {"abort", parse_abort},     {"unlisten", parse_unlisten},
    {"set", parse_set},           {"peer", parse_peer},       {"icmp", parse_icmp},
    {"round", parse_round},       {"ignore", parse_ignore},   {"wait", parse_wait},
    {"flight", parse_flight},     {"state", parse_state},     {"closed", parse_closed},
    {"event", parse_event},       {"counter", parse_counter},
};

}  // namespace

CommandParser find_command(std::string_view name) {
  for (const Command& command : commands)
    if (name == command.name) return command.parse;
  return nullptr;
}

std::string command_names() {
  std::string names;
  for (const Command& command : commands) names += (names.empty() ? "" : " ") + std::string(command.name);
  return names;
}

}  // namespace pollux::test
