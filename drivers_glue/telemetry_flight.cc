#include "pollux/drivers_glue/telemetry_flight.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <span>

namespace pollux {
namespace {

constexpr std::int64_t ns_per_s = 1'000'000'000;
constexpr std::size_t events_max = 100;  // that fit an answer
constexpr std::size_t line_max = 160;
constexpr std::uint64_t written_max = 100;  // after a failed CHECK

std::int64_t clock_ns(clockid_t clock) noexcept {
  timespec ts{};
  clock_gettime(clock, &ts);
  return std::int64_t{ts.tv_sec} * ns_per_s + ts.tv_nsec;
}

/// The line in `out`, without a newline; returns its length. Neither allocates nor fails.
std::size_t format_line(const FlightRecord& r, std::size_t core, std::int64_t to_unix,
                        std::array<char, line_max>& out) noexcept {
  const std::int64_t at = r.at.ns() + to_unix;
  const std::time_t second = at / ns_per_s;
  std::tm utc{};
  gmtime_r(&second, &utc);
  std::size_t n = std::strftime(out.data(), out.size(), "%Y-%m-%d %H:%M:%S", &utc);
  const auto add = [&](auto format, const auto&... values) {
    n += std::min(fmt::format_to_n(out.data() + n, out.size() - n, fmt::runtime(format), values...).size,
                  out.size() - n);
  };
  add(".{:06} ", at % ns_per_s / 1000);
  if (r.connection.generation != 0) add("{}/{}/{} ", core, r.connection.index, r.connection.generation);
  switch (r.event) {
    case FlightEvent::state:
      add("state {}", tcp_state_name(static_cast<TcpState>(r.code)));
      break;
    case FlightEvent::closed:
      add("closed: {}", close_reason_name(static_cast<CloseReason>(r.code)));
      break;
    case FlightEvent::retransmission:
      add("retransmitted from octet {}", r.detail);
      break;
    case FlightEvent::tail_probe:
      add("tail loss probe up to octet {}", r.detail);
      break;
    case FlightEvent::marked:
      add("congestion marks");
      break;
    case FlightEvent::fast_recovery:
      add("fast recovery, {} octets lost", r.detail);
      break;
    case FlightEvent::recovered:
      add("recovered");
      break;
    case FlightEvent::timeout:
      add("retransmission timeout {} in a row", r.code);
      break;
    case FlightEvent::reset_sent:
      add("sent RST");
      break;
    case FlightEvent::long_turn:
      add("core {} turn of {} us, longest: {}", core, r.detail, long_turn_names[r.code % long_turn_causes]);
      break;
    case FlightEvent::drops:
      add("core {} dropped {} x {}", core, r.detail, drop_reason_name(static_cast<DropReason>(r.code)));
      break;
  }
  return n;
}

}  // namespace

std::int64_t to_unix_ns() noexcept {
  return clock_ns(CLOCK_REALTIME) - clock_ns(CLOCK_MONOTONIC);
}

std::string flight_line(const FlightRecord& record, std::size_t core, std::int64_t to_unix_ns) {
  std::array<char, line_max> line;
  return {line.data(), format_line(record, core, to_unix_ns, line)};
}

void write_flight(const FlightRecorder& recorder, std::size_t core) noexcept {
  std::array<char, line_max> line;
  const auto write_line = [&](std::size_t length) {
    line[std::min(length, line_max - 1)] = '\n';
    // There is nobody to tell if standard error does not take it.
    [[maybe_unused]] const auto n = write(STDERR_FILENO, line.data(), std::min(length, line_max - 1) + 1);
  };
  write_line(fmt::format_to_n(line.data(), line_max,
                              "flight recorder of core {}, last {} of {} events:", core,
                              std::min(recorder.count() - recorder.first(), written_max), recorder.count())
                 .size);
  const std::int64_t to_unix = to_unix_ns();
  for (std::uint64_t i =
           std::max(recorder.first(), recorder.count() - std::min(recorder.count(), written_max));
       i < recorder.count(); ++i)
    write_line(format_line(recorder[i], core, to_unix, line));
}

TelemetryDict answer_events(TelemetrySource& source, TelemetryParameters& parameters) {
  std::size_t core = parameters.take_number("core", 0, source.core_count() - 1).value_or(0);
  const std::uint64_t last = parameters.take_number("last", 1, events_max).value_or(events_max);
  std::optional<ConnectionId> connection;
  if (const auto text = parameters.take("connection")) {
    connection = ConnectionId::from_string(*text);
    if (!connection || connection->core >= source.core_count())
      throw TelemetryError(fmt::format("connection: expected core/slot/generation, found '{}'", *text));
    core = connection->core;
  }
  parameters.finish("core=N, connection=ID, last=N");

  std::array<FlightRecord, events_max> records;
  std::array<std::uint64_t, events_max> numbers;
  std::size_t count = 0;
  std::uint64_t total = 0;
  source.on_core(core, [&](PollingCore& on) {
    const FlightRecorder& recorder = on.stack()->flight();
    total = recorder.count();
    for (std::uint64_t i = recorder.count(); i-- > recorder.first() && count < last;) {
      if (connection && recorder[i].connection != connection->handle) continue;
      numbers[count] = i;
      records[count++] = recorder[i];
    }
  });
  TelemetryDict events;
  const std::int64_t to_unix = to_unix_ns();
  for (std::size_t i = count; i-- > 0;)
    events.add(fmt::format("{}", numbers[i]), flight_line(records[i], core, to_unix));
  return TelemetryDict().add("recorded", total).add("events", std::move(events));
}

void DropWatch::look(const Counters& counters, FlightRecorder& recorder, TimePoint now) noexcept {
  for (std::size_t i = 1; i < drop_reason_count; ++i) {
    const auto reason = static_cast<DropReason>(i);
    const std::uint64_t more = counters[reason] - seen_[reason];
    if (more == 0) continue;
    recorder.record({.at = now,
                     .connection = {},
                     .detail = static_cast<std::uint32_t>(std::min<std::uint64_t>(more, 0xffffffff)),
                     .event = FlightEvent::drops,
                     .code = static_cast<std::uint8_t>(i)});
    seen_.drop(reason, more);
  }
}

}  // namespace pollux
