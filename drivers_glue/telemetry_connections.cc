#include "pollux/drivers_glue/telemetry_connections.h"

#include <fmt/format.h>

#include <array>

namespace pollux {
namespace {

constexpr std::size_t page_max = 40;  // summaries that fit an answer

std::uint64_t us(Duration duration) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(duration.us(), 0));
}
std::uint64_t ms(Duration duration) noexcept {
  return static_cast<std::uint64_t>(std::max<std::int64_t>(duration.ms(), 0));
}

/// "SYN-SENT", as RFC 9293 spells states, is "syn_sent" in parameters and answers.
std::string state_word(TcpState state) {
  std::string word = tcp_state_name(state);
  for (char& c : word) c = c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return word;
}

IpAddress address(const std::string& key, const std::string& text) {
  const auto address = IpAddress::from_string(text);
  if (!address) throw TelemetryError(fmt::format("{}: expected an IP address, found '{}'", key, text));
  return *address;
}

ConnectionId take_id(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto word = parameters.take_word();
  const auto id = word ? ConnectionId::from_string(*word) : std::nullopt;
  if (!id || id->core >= source.core_count())
    throw TelemetryError(
        fmt::format("expected a connection as core/slot/generation, found '{}'", word.value_or("nothing")));
  parameters.finish("core/slot/generation");
  return *id;
}

/// Where a listing goes on: core and slot.
struct Cursor {
  std::size_t core = 0;
  std::uint32_t slot = 0;
};

Cursor take_cursor(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto text = parameters.take("cursor");
  if (!text) return {};
  const auto slash = text->find('/');
  const auto core = telemetry_number(std::string_view(*text).substr(0, slash));
  const auto slot =
      slash == std::string::npos ? std::nullopt : telemetry_number(std::string_view(*text).substr(slash + 1));
  if (!core || !slot || *core >= source.core_count() || *slot >= Slab<Tcb>::nil)
    throw TelemetryError(fmt::format("cursor: expected the 'next' of an earlier answer, found '{}'", *text));
  return {static_cast<std::size_t>(*core), static_cast<std::uint32_t>(*slot)};
}

}  // namespace

std::optional<ConnectionId> ConnectionId::from_string(std::string_view text) noexcept {
  std::array<std::uint64_t, 3> parts{};
  for (std::size_t i = 0; i < parts.size(); ++i) {
    const auto end = i + 1 < parts.size() ? text.find('/') : text.size();
    if (end == std::string_view::npos) return std::nullopt;
    const auto number = telemetry_number(text.substr(0, end));
    if (!number || *number > 0xffffffff) return std::nullopt;
    parts[i] = *number;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return ConnectionId{static_cast<std::size_t>(parts[0]),
                      {static_cast<std::uint32_t>(parts[1]), static_cast<std::uint32_t>(parts[2])}};
}

std::string ConnectionId::to_string() const {
  return fmt::format("{}/{}/{}", core, handle.index, handle.generation);
}

TcpFilter take_filter(TelemetryParameters& parameters) {
  TcpFilter filter;
  if (const auto name = parameters.take("state")) {
    filter.states = 0;
    for (int i = 0; i <= static_cast<int>(TcpState::time_wait); ++i)
      if (state_word(static_cast<TcpState>(i)) == *name) filter.states = static_cast<std::uint16_t>(1u << i);
    if (filter.states == 0)
      throw TelemetryError(
          fmt::format("state: expected a TCP state like established or fin_wait_1, found '{}'", *name));
  }
  if (const auto text = parameters.take("local")) filter.local = address("local", *text);
  if (const auto text = parameters.take("remote")) filter.remote = address("remote", *text);
  filter.local_port = static_cast<std::uint16_t>(parameters.take_number("local_port", 1, 65535).value_or(0));
  filter.remote_port =
      static_cast<std::uint16_t>(parameters.take_number("remote_port", 1, 65535).value_or(0));
  filter.only_troubled = parameters.take_number("troubled", 0, 1).value_or(0) != 0;
  return filter;
}

TelemetryDict connection_summary(const TcpInfo& info) {
  TelemetryDict value;
  value.add("state", state_word(info.state))
      .add("local", info.local.to_string())
      .add("remote", info.remote.to_string())
      .add("recv_q", info.receive_kept)
      .add("send_q", info.send_queue)
      .add("srtt_us", us(info.srtt))
      .add("cwnd", info.cwnd)
      .add("in_flight", info.in_flight);
  if (info.recovery != RecoveryMode::open) value.add("recovery", recovery_mode_name(info.recovery));
  if (info.retries != 0) value.add("retries", info.retries);
  return value;
}

TelemetryDict connection_value(const TcpInfo& i) {
  TelemetryDict value;
  value.add("state", state_word(i.state))
      .add("local", i.local.to_string())
      .add("remote", i.remote.to_string())
      .add("opened_by", i.active_open ? "us" : "peer")
      .add("timestamps", i.timestamps)
      .add("sack", i.sack)
      .add("ecn", i.ecn)
      .add("window_scaling", i.window_scaling)
      .add("send_scale", i.send_scale)
      .add("receive_scale", i.receive_scale)
      .add("mss", i.mss)
      .add("receive_mss", i.receive_mss)
      .add("advertised_mss", i.advertised_mss)
      .add("srtt_us", us(i.srtt))
      .add("rttvar_us", us(i.rttvar))
      .add("min_rtt_us", us(i.min_rtt))
      .add("rto_us", us(i.rto))
      .add("backoff", i.backoff)
      .add("retries", i.retries)
      .add("keepalives", i.keepalives)
      .add("timer", tcp_timer_name(i.timer))
      .add("timer_in_us", us(i.timer_in))
      .add("congestion", tcp_congestion_name(i.congestion))
      .add("recovery", recovery_mode_name(i.recovery))
      .add("reducing", i.reducing)
      .add("cwnd", i.cwnd)
      .add("ssthresh", i.ssthresh)
      .add("pacing_rate", i.pacing_rate)
      .add("delivery_rate", i.delivery_rate)
      .add("bbr_state", i.congestion == TcpCongestion::bbr ? bbr_state_name(i.bbr_state) : "")
      .add("in_flight", i.in_flight)
      .add("sacked", i.sacked)
      .add("lost", i.lost)
      .add("duplicate_acks", i.duplicate_acks)
      .add("reordering_seen", i.reordering_seen)
      .add("reordering_steps", i.reordering_steps)
      .add("send_q", i.send_queue)
      .add("not_sent", i.not_sent)
      .add("send_buffer", i.send_buffer)
      .add("peer_window", i.peer_window)
      .add("acknowledged_modulo_2_32", i.acknowledged)
      .add("retransmits", i.retransmits)
      .add("busy_ms", ms(i.busy))
      .add("window_limited_ms", ms(i.window_limited))
      .add("buffer_limited_ms", ms(i.buffer_limited))
      .add("recv_q", i.receive_kept)
      .add("receive_buffer", i.receive_buffer)
      .add("receive_window", i.receive_window)
      .add("out_of_order", i.out_of_order)
      .add("last_received_ms", ms(i.last_received))
      .add("last_sent_ms", ms(i.last_sent));
  return value;
}

TelemetryDict answer_connections(TelemetrySource& source, TelemetryParameters& parameters) {
  const auto only_core = parameters.take_number("core", 0, source.core_count() - 1);
  const std::size_t limit = parameters.take_number("limit", 1, page_max).value_or(page_max);
  Cursor cursor = take_cursor(source, parameters);
  TcpScan scan{.filter = take_filter(parameters), .next_slot = cursor.slot};
  parameters.finish("core, state, local, remote, local_port, remote_port, troubled, limit, cursor");
  if (only_core && *only_core > cursor.core) cursor.core = *only_core;
  const std::size_t last = only_core ? *only_core : source.core_count() - 1;

  TelemetryDict found;
  std::array<TcpInfo, page_max> infos;
  while (cursor.core <= last && found.entries().size() < limit) {
    std::size_t count = 0;
    const bool ran = source.on_core(cursor.core, [&](PollingCore& on) {
      count = on.stack()->tcp().list(scan, std::span(infos).first(limit - found.entries().size()));
    });
    for (std::size_t i = 0; i < count; ++i)
      found.add(ConnectionId{cursor.core, infos[i].handle}.to_string(), connection_summary(infos[i]));
    if (!ran || scan.done) {
      ++cursor.core;
      scan = {.filter = scan.filter};
    }
  }
  TelemetryDict answer;
  if (cursor.core <= last) answer.add("next", fmt::format("{}/{}", cursor.core, scan.next_slot));
  return answer.add("connections", std::move(found));
}

TelemetryDict answer_connection(TelemetrySource& source, TelemetryParameters& parameters) {
  const ConnectionId id = take_id(source, parameters);
  TcpInfo info;
  source.on_core(id.core, [&](PollingCore& on) { info = on.stack()->tcp().conn(id.handle).info(); });
  if (info.state == TcpState::closed)
    throw TelemetryError(fmt::format("connection {} is gone", id.to_string()));
  return connection_value(info);
}

TelemetryDict answer_close(TelemetrySource& source, TelemetryParameters& parameters) {
  const ConnectionId id = take_id(source, parameters);
  bool closed = false;
  source.on_core(id.core, [&](PollingCore& on) {
    TcpConn conn = on.stack()->tcp().conn(id.handle);
    closed = conn.is_open();
    conn.abort();
  });
  if (!closed) throw TelemetryError(fmt::format("connection {} is gone", id.to_string()));
  return TelemetryDict().add("closed", id.to_string());
}

TelemetryDict answer_listeners(TelemetrySource& source, TelemetryParameters& parameters) {
  const std::size_t core = parameters.take_number("core", 0, source.core_count() - 1).value_or(0);
  parameters.finish("core=N");
  constexpr std::size_t shown_max = 100;
  std::array<TcpListenerInfo, shown_max> listeners;
  std::array<Endpoint, shown_max> sockets;
  std::size_t listener_count = 0, socket_count = 0;
  source.on_core(core, [&](PollingCore& on) {
    std::uint32_t slot = 0;
    listener_count = on.stack()->tcp().list_listeners(slot, listeners);
    on.stack()->udp().for_each_socket([&](const Endpoint& local) {
      if (socket_count < shown_max) sockets[socket_count++] = local;
    });
  });
  TelemetryDict tcp, udp;
  for (const auto& listener : std::span(listeners).first(listener_count))
    tcp.add(fmt::format("{}", tcp.entries().size()), TelemetryDict()
                                                         .add("local", listener.local.to_string())
                                                         .add("half_open", listener.half_open)
                                                         .add("backlog", listener.backlog));
  for (const Endpoint& local : std::span(sockets).first(socket_count))
    udp.add(fmt::format("{}", udp.entries().size()), local.to_string());
  return TelemetryDict().add("tcp", std::move(tcp)).add("udp", std::move(udp));
}

}  // namespace pollux
