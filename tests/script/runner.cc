#include "runner.h"

#include <algorithm>

namespace pollux::test {
namespace {

constexpr std::uint32_t peer_ts_base = 5'000'000;  // relative timestamp 0 of the peer

HostOptions host_options(const Script& script) {
  HostOptions options;
  options.mtu = script.mtu;
  return options;
}

}  // namespace

Runner::Runner(const Script& script) : c(script.tcp, host_options(script)), script_(script) {}

void Runner::run() {
  for (const Step& step : script_.steps) {
    const Where where(script_.path.c_str(), step.line, step.text);
    step.act(*this, where);
    if (c.world.failed()) check(false, "the stack broke an invariant in this step (see above)", where);
    if (c.peer.failed()) return;
  }
  c.peer.expects_nothing({script_.path.c_str(), script_.steps.back().line + 1, "end of the script"});
}

// --- Segments
// ------------------------------------------------------------------------------------------------

// Relative timestamps to the ones on the wire.
Seg Runner::with_timestamps(const ScriptSegment& segment, bool from_stack) {
  Seg seg = segment.seg;
  const auto offset = [](std::uint32_t base, std::int64_t value) {
    return base + static_cast<std::uint32_t>(value);
  };
  if (from_stack) {
    if (segment.ts_value) seg.ts_value = offset(stack_ts_base_.value_or(0), *segment.ts_value);
    if (segment.ts_echo) seg.ts_echo = offset(peer_ts_base, *segment.ts_echo);
    return seg;
  }
  const bool first = (segment.flags & SYN) != 0 && segment.timestamp;
  if (segment.ts_value || first) seg.ts_value = offset(peer_ts_base, segment.ts_value.value_or(0));
  if (segment.ts_echo) seg.ts_echo = offset(stack_ts_base_.value_or(0), *segment.ts_echo);
  return seg;
}

// Looks at what lies in the inbox without taking it.
void Runner::note_arrivals() {
  for (const TestPeer::Arrival& arrival : c.peer.inbox()) {
    const Decoded& d = arrival.segment;
    if (d.kind != Decoded::Kind::tcp || d.has(RST)) continue;
    if (d.has(SYN) && d.ts_value && !stack_ts_base_) stack_ts_base_ = d.ts_value;
    if (d.has(SYN)) stack_sack_ = d.sack_permitted;
    const auto seq = static_cast<std::int32_t>(d.seq - c.peer.stack_isn());
    heard_end_ = std::max(heard_end_, seq + static_cast<std::int64_t>(d.seq_length()));
  }
}

void Runner::sends(const ScriptSegment& segment, const Where&) {
  ScriptSegment next = segment;
  for (std::uint32_t i = 0; i < segment.times; ++i) {
    const Seg seg = with_timestamps(next, false);
    if ((segment.flags & SYN) != 0) peer_sack_ = seg.sack_permitted.value_or(false);
    c.peer.sends(segment.flags, seg);
    if ((segment.flags & ACK) != 0)
      acknowledged_ = std::max(acknowledged_, seg.ack.value_or(c.peer.rcv_nxt()));
    if (next.seg.seq) *next.seg.seq += next.seg.len.value_or(0);
    note_arrivals();
  }
}

void Runner::burst(const std::vector<Step>& segments, const Where&) {
  c.peer.together([&] {
    for (const Step& step : segments) step.act(*this, {script_.path.c_str(), step.line, step.text});
  });
  note_arrivals();
}

void Runner::expects(const ScriptSegment& segment, const StepTime& time, const Where& where) {
  ScriptSegment next = segment;
  for (std::uint32_t i = 0; i < segment.times && !c.peer.failed(); ++i) {
    // The first timestamp of all is relative 0, so it has to be known before it is compared.
    note_arrivals();
    const bool waits_for_it = i == 0 && time.given;
    const Seg seg = with_timestamps(next, true);
    const Decoded got = waits_for_it ? c.peer.expects_between(time.from, time.to, segment.flags, seg, where)
                                     : c.peer.expects(segment.flags, seg, where);
    if (c.peer.failed()) return;
    check_payload(got, where);
    const auto seq = static_cast<std::int32_t>(got.seq - c.peer.stack_isn());
    if (!got.has(RST)) heard_end_ = std::max(heard_end_, seq + static_cast<std::int64_t>(got.seq_length()));
    note_arrivals();
    if (next.seg.seq) *next.seg.seq += next.seg.len.value_or(0);
  }
}

void Runner::check_payload(const Decoded& got, const Where& where) {
  if (got.payload.empty()) return;
  const auto seq = static_cast<std::int32_t>(got.seq - c.peer.stack_isn());
  const std::string octets(got.payload.begin(), got.payload.end());
  const std::string& sent = c.app.echo ? c.app.received : sent_data_;
  const bool inside = seq >= 1 && static_cast<std::size_t>(seq) - 1 + octets.size() <= sent.size();
  check(inside && sent.compare(static_cast<std::size_t>(seq - 1), octets.size(), octets) == 0,
        "the payload is not what the application has sent there", where);
}

void Runner::waits(const StepTime& time, const Where& where) {
  c.peer.expects_nothing(where);
  if (!time.given || c.peer.failed()) return;
  c.peer.waits(time.from);
  c.peer.expects_nothing(where);
}

void Runner::passes(const StepTime& time) {
  if (time.given) c.peer.waits(time.from);
  note_arrivals();
}

void Runner::accepts(const ScriptSegment& syn, Duration rtt, const Where& where) {
  c.listens();
  ScriptSegment first = syn;
  first.flags = SYN;
  sends(first, where);
  expects({.flags = SYN | ACK, .seg = {.seq = 0, .ack = c.peer.snd_nxt()}}, {}, where);
  if (c.peer.failed()) return;
  if (rtt > Duration{}) c.peer.waits(rtt);
  sends({.flags = ACK}, where);
  check(c.app.conn.state() == TcpState::established, "the connection is not ESTABLISHED", where);
  news(AppEvent::connected);
}

// A segment reaches the peer; what the peer says to it.
Seg Runner::arrives(Range segment) {
  Seg seg;
  std::vector<std::pair<std::int64_t, std::int64_t>> blocks;
  const auto holder = above_gaps_.upper_bound(segment.start);
  const bool kept = holder != above_gaps_.begin() && std::prev(holder)->second >= segment.end;
  if (segment.end <= acknowledged_ || kept)
    blocks.emplace_back(segment.start, segment.end);  // RFC 2883: a duplicate
  Range merged = segment;
  for (auto at = above_gaps_.begin(); at != above_gaps_.end();) {
    if (at->second < merged.start || at->first > merged.end) {
      ++at;
      continue;
    }
    merged = {std::min(merged.start, at->first), std::max(merged.end, at->second)};
    at = above_gaps_.erase(at);
  }
  if (merged.start <= acknowledged_) {
    acknowledged_ = std::max(acknowledged_, merged.end);
  } else {
    above_gaps_[merged.start] = merged.end;
    blocks.emplace_back(merged.start, merged.end);  // RFC 2018 4: the latest first
  }
  for (auto at = above_gaps_.rbegin(); at != above_gaps_.rend() && blocks.size() < 3; ++at)
    if (at->first != merged.start) blocks.emplace_back(at->first, at->second);
  seg.ack = acknowledged_;
  if (peer_sack_ && stack_sack_ && !blocks.empty()) seg.sacks = blocks;
  return seg;
}

void Runner::round_trip(Duration rtt, std::uint32_t every, const std::set<std::int64_t>& lost,
                        const Where& where) {
  note_arrivals();
  std::vector<Range> segments;
  std::int64_t number = 0;
  for (const TestPeer::Arrival& arrival : c.peer.take()) {
    const Decoded& d = arrival.segment;
    const auto seq = static_cast<std::int32_t>(d.seq - c.peer.stack_isn());
    check(d.kind == Decoded::Kind::tcp && !d.payload.empty(),
          "a round trip acknowledges data, and something else came", where);
    check_payload(d, where);
    if (!lost.contains(++number)) segments.push_back({seq, seq + static_cast<std::int64_t>(d.seq_length())});
  }
  check(number != 0, "nothing has come that a round trip could acknowledge", where);
  check(lost.empty() || *lost.rbegin() <= number, "fewer segments have come than one that is to be lost",
        where);
  if (c.peer.failed()) return;
  c.peer.waits(rtt);
  c.peer.together([&] {
    for (std::size_t i = 0; i < segments.size(); ++i) {
      const bool in_order = segments[i].start == acknowledged_ && above_gaps_.empty();
      const Seg seg = arrives(segments[i]);
      if (in_order && i % every != every - 1 && i + 1 != segments.size()) continue;
      c.peer.sends(ACK, seg);
    }
  });
  note_arrivals();
}

std::int64_t Runner::flight() const {
  return heard_end_ - acknowledged_;
}

// --- The application
// -----------------------------------------------------------------------------------------

void Runner::app_sends(const std::string& data, std::int64_t accepted, const Where& where) {
  const auto result = c.app.conn.send(data);
  check(result.accepted == accepted,
        "send took " + std::to_string(result.accepted) + " octets, expected " + std::to_string(accepted),
        where);
  sent_data_ += data.substr(0, result.accepted);
  c.runs();
  note_arrivals();
}

void Runner::app_sends_pattern(std::int64_t length, std::int64_t accepted, const Where& where) {
  app_sends(pattern(static_cast<std::int64_t>(sent_data_.size()) + 1, static_cast<std::size_t>(length)),
            accepted, where);
}

void Runner::app_has_read(const std::string& data, const Where& where) {
  const std::string got = c.app.received.substr(read_);
  read_ = c.app.received.size();
  check(got.size() == data.size(),
        "the application got " + std::to_string(got.size()) + " octets, expected " +
            std::to_string(data.size()),
        where);
  check(got.size() != data.size() || got == data, "the application got other octets than were sent", where);
}

void Runner::app_has_read_pattern(std::int64_t length, const Where& where) {
  app_has_read(pattern(static_cast<std::int64_t>(read_) + 1, static_cast<std::size_t>(length)), where);
}

std::uint64_t Runner::news(AppEvent event) {
  const std::array<std::uint64_t, app_event_count> now{
      c.app.connections.size(), c.app.writable, c.app.peer_closed, c.app.soft_errors, c.app.closed.size()};
  const auto i = static_cast<std::size_t>(event);
  return now[i] - std::exchange(seen_[i], now[i]);
}

TcpState Runner::state() {
  return c.state();
}

}  // namespace pollux::test
