#include "support/test_peer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <utility>

namespace pollux::test {
namespace {

// Segments that a timer causes come within one tick of the timer wheel, never early.
constexpr Duration timer_tick = Duration::from_ns(1 << 16);

void put_option(std::vector<std::uint8_t>& out, std::initializer_list<std::uint32_t> octets) {
  for (const std::uint32_t octet : octets) out.push_back(static_cast<std::uint8_t>(octet));
}

}  // namespace

std::string pattern(std::int64_t seq, std::size_t length) {
  std::string text(length, '\0');
  for (std::size_t i = 0; i < length; ++i)
    text[i] = static_cast<char>('a' + (seq + static_cast<std::int64_t>(i)) % 23);
  return text;
}

namespace {

/// What ICMPv6 says in place of an ICMPv4 error (RFC 7915 4.2).
std::pair<std::uint8_t, std::uint8_t> icmpv6_of(std::uint8_t type, std::uint8_t code) {
  if (type == 11) return {3, code};
  if (type == 12) return {4, 0};
  if (type != 3) return {type, code};  // nothing in its place: an unknown error
  if (code == 4) return {2, 0};
  if (code == 3) return {1, 4};
  if (code == 2) return {4, 1};
  return {1, 0};
}

/// Another address of the same subnet.
IpAddress next_to(const IpAddress& address) {
  if (address.is_v4()) return IpAddress::v4(address.v4_value() + 100);
  auto octets = address.octets();
  octets[15] = static_cast<std::uint8_t>(octets[15] + 100);
  return IpAddress::v6_from_wire(octets.data());
}

}  // namespace

TestPeer::TestPeer(World& world, SimHost& host)
    : world_(world), host_(host), address_(next_to(host.ip())) {
  flows_[flow_key_];
  host.on_output([this](Frame frame) { hears(std::move(frame)); });
  world_.run_until(world_.now());
  inbox_.clear();  // the announcement of the stack's address
}

void TestPeer::use_ports(std::uint16_t peer_port, std::uint16_t stack_port) {
  flow_key_ = {peer_port, stack_port};
  flows_[flow_key_];
}

void TestPeer::forget(std::uint32_t isn) {
  flow() = Flow{};
  flow().isn = isn;
}

LinkIds TestPeer::ids() const {
  return {mac_, host_.mac(), address_, host_.ip()};
}

// --- Saying ------------------------------------------------------------------------------------------------

// The peer's clock runs on from the newest timestamp that a test gave.
std::uint32_t TestPeer::timestamp(std::uint8_t flags, const Seg& seg) {
  Flow& f = flow();
  const TimePoint now = world_.now();
  const std::uint32_t clock = f.ts_base + static_cast<std::uint32_t>((now - f.ts_base_at).ms());
  if (!seg.ts_value) return clock;
  if ((flags & SYN) != 0 || static_cast<std::int32_t>(*seg.ts_value - clock) > 0) {
    f.ts_base = *seg.ts_value;
    f.ts_base_at = now;
  }
  return *seg.ts_value;
}

std::vector<std::uint8_t> TestPeer::options_for(std::uint8_t flags, const Seg& seg) {
  std::vector<std::uint8_t> out = seg.raw_options;
  if (const std::uint32_t mss = seg.mss.value_or(0); seg.mss) put_option(out, {2, 4, mss >> 8, mss});
  if (seg.wscale) put_option(out, {1, 3, 3, *seg.wscale});
  if (seg.sack_permitted.value_or(false)) put_option(out, {1, 1, 4, 2});
  const bool implied = flow().timestamps && (flags & RST) == 0;
  if (seg.has_ts.value_or(seg.ts_value.has_value() || implied)) {
    const std::uint32_t value = timestamp(flags, seg);
    const std::uint32_t echo = seg.ts_echo.value_or((flags & ACK) != 0 ? flow().ts_heard : 0);
    put_option(out, {1, 1, 8, 10, value >> 24, value >> 16, value >> 8, value, echo >> 24, echo >> 16,
                     echo >> 8, echo});
    if ((flags & SYN) != 0) flow().offered_timestamps = true;
  }
  if (seg.sacks && !seg.sacks->empty()) {
    put_option(out, {1, 1, 5, static_cast<std::uint32_t>(2 + 8 * seg.sacks->size())});
    for (const auto& [left, right] : *seg.sacks)
      for (const std::int64_t edge : {left, right}) {
        const std::uint32_t value = stack_isn() + static_cast<std::uint32_t>(edge);
        put_option(out, {value >> 24, value >> 16, value >> 8, value});
      }
  }
  return out;
}

Frame TestPeer::make(std::uint8_t flags, const Seg& seg) {
  Flow& f = flow();
  const std::int64_t seq = seg.seq.value_or(f.snd_nxt);
  const std::string payload = seg.data ? *seg.data : pattern(seq, seg.len.value_or(0));
  TcpHeader header;
  header.source_port = flow_key_.first;
  header.destination_port = flow_key_.second;
  header.seq = f.isn + static_cast<std::uint32_t>(seq);
  const bool has_ack = (flags & ACK) != 0;
  if (has_ack || seg.ack)
    header.ack = f.stack_isn.value_or(0) + static_cast<std::uint32_t>(seg.ack.value_or(f.rcv_nxt));
  header.flags = flags;
  header.window = static_cast<std::uint16_t>(seg.window.value_or(f.window));
  header.urgent_pointer = seg.urgent.value_or(0);
  header.options = options_for(flags, seg);
  header.data_offset = seg.data_offset;
  header.bad_checksum = seg.bad_checksum;
  Ipv4Header ip = seg.ip;
  ip.tos = seg.tos.value_or(ip.tos);
  return tcp_frame(ids(), header, {reinterpret_cast<const std::uint8_t*>(payload.data()), payload.size()}, ip);
}

void TestPeer::sends(std::uint8_t flags, const Seg& seg) {
  Flow& f = flow();
  Frame frame = make(flags, seg);
  const Decoded d = decode(frame);
  if (seg.seq.value_or(f.snd_nxt) == f.snd_nxt && (flags & RST) == 0) f.snd_nxt += d.seq_length();
  note("  > " + relative(d, false));
  sends_frame(std::move(frame));
}

void TestPeer::sends_frame(Frame frame) {
  host_.receive(std::move(frame));
  if (!holding_) runs_now();
}

void TestPeer::together(const std::function<void()>& segments) {
  holding_ = true;
  segments();
  holding_ = false;
  runs_now();
}

void TestPeer::sends_icmp_error(std::uint8_t type, std::uint8_t code, std::int64_t quoted_seq,
                                std::uint32_t rest) {
  TcpHeader quoted;
  quoted.source_port = flow_key_.second;
  quoted.destination_port = flow_key_.first;
  quoted.seq = stack_isn() + static_cast<std::uint32_t>(quoted_seq);
  const Frame offender = tcp_frame({host_.mac(), mac_, host_.ip(), address_}, quoted, {});
  note("  > ICMP type " + std::to_string(type) + " code " + std::to_string(code));
  if (!address_.is_v4()) {
    const auto [v6_type, v6_code] = icmpv6_of(type, code);
    // Fragmentation needed has its MTU in 16 bits, packet too big in 32.
    sends_frame(icmpv6_frame(ids(), v6_type, v6_code, rest, FrameView(offender).subspan(14, 48)));
    return;
  }
  // RFC 792: the IP header and the first 8 octets behind it.
  sends_frame(icmp_frame(ids(), type, code, rest, FrameView(offender).subspan(14, 28)));
}

// --- Hearing -----------------------------------------------------------------------------------------------

void TestPeer::hears(Frame frame) {
  const Decoded d = decode(frame);
  if (d.kind == Decoded::Kind::arp && d.arp_op == ArpOp::request && answers_arp) {
    if (d.ids.source == d.ids.destination) return;  // the stack announces its address
    host_.receive(arp_frame({mac_, host_.mac(), d.ids.destination, host_.ip()}, ArpOp::reply));
    return;
  }
  if (d.kind == Decoded::Kind::icmpv6 && d.icmp_type == 135 && answers_arp) {
    host_.receive(nd_frame({mac_, host_.mac(), d.nd_target, d.ids.source}, 136, 0x60, d.nd_target, mac_));
    return;
  }
  if (d.kind == Decoded::Kind::tcp) learns(d);
  note("  < " + (d.kind == Decoded::Kind::tcp ? relative(d, true) : describe(frame)));
  inbox_.push_back({world_.now(), d, std::move(frame)});
}

void TestPeer::learns(const Decoded& d) {
  // The stack chose its port in an active open: the conversation that waits for "any" port is this one.
  const PortPair any{d.destination_port, 0};
  if (d.has(SYN) && flow_key_ == any && flows_.count({d.destination_port, d.source_port}) == 0) {
    flows_[{d.destination_port, d.source_port}] = flows_[any];
    flow_key_ = {d.destination_port, d.source_port};
  }
  const auto found = flows_.find({d.destination_port, d.source_port});
  if (found == flows_.end()) return;
  Flow& f = found->second;
  if (d.has(SYN) && !f.stack_isn) {
    f.stack_isn = d.seq;
    f.timestamps = f.offered_timestamps && d.ts_value;
  }
  if (d.ts_value) f.ts_heard = *d.ts_value;
  if (!f.stack_isn || d.has(RST)) return;
  const auto seq = static_cast<std::int32_t>(d.seq - *f.stack_isn);
  const std::int64_t end = std::int64_t{seq} + d.seq_length();
  if (seq <= f.rcv_nxt && end > f.rcv_nxt) f.rcv_nxt = end;
}

void TestPeer::runs_now() {
  world_.run_until(world_.now());
}

Decoded TestPeer::pops(std::uint8_t flags, const Seg& seg, const Where& where) {
  if (inbox_.empty()) {
    fails(where, "expected [" + flags_text(flags) + "], nothing came");
    return {};
  }
  const Decoded got = inbox_.front().segment;
  const std::string came =
      got.kind == Decoded::Kind::tcp ? relative(got, true) : describe(inbox_.front().frame);
  inbox_.pop_front();
  if (const std::string wrong = differences(got, flags, seg); !wrong.empty())
    fails(where, wrong + "\ncame: " + came);
  return got;
}

Decoded TestPeer::expects(std::uint8_t flags, const Seg& seg, Where where) {
  return pops(flags, seg, where);
}

Decoded TestPeer::expects_after(Duration delay, std::uint8_t flags, const Seg& seg, Where where) {
  return expects_between(delay, delay + timer_tick, flags, seg, where);
}

Decoded TestPeer::expects_between(Duration from, Duration to, std::uint8_t flags, const Seg& seg,
                                  Where where) {
  const TimePoint start = world_.now();
  while (inbox_.empty() && world_.step(start + to)) {
  }
  if (inbox_.empty()) {
    fails(where,
          "expected [" + flags_text(flags) + "] within " + std::to_string(to.seconds()) + " s, nothing came");
    return {};
  }
  const Duration took = inbox_.front().at - start;
  if (took < from)
    fails(where, "came after " + std::to_string(took.seconds()) + " s, expected not before " +
                     std::to_string(from.seconds()) + " s");
  runs_now();
  return pops(flags, seg, where);
}

void TestPeer::expects_nothing(Where where) {
  if (!inbox_.empty()) {
    const Arrival& first = inbox_.front();
    fails(where, "expected nothing, came " + (first.segment.kind == Decoded::Kind::tcp
                                                  ? relative(first.segment, true)
                                                  : describe(first.frame)));
  }
  inbox_.clear();
}

void TestPeer::expects_silence(Duration time, Where where) {
  expects_nothing(where);
  waits(time);
  expects_nothing(where);
}

std::vector<TestPeer::Arrival> TestPeer::take() {
  std::vector<Arrival> all(std::make_move_iterator(inbox_.begin()), std::make_move_iterator(inbox_.end()));
  inbox_.clear();
  return all;
}

Decoded TestPeer::expects_any(Where where) {
  if (inbox_.empty()) {
    fails(where, "expected a packet, nothing came");
    return {};
  }
  Decoded got = inbox_.front().segment;
  inbox_.pop_front();
  return got;
}

std::string TestPeer::differences(const Decoded& got, std::uint8_t flags, const Seg& want) const {
  if (got.kind != Decoded::Kind::tcp) return "expected TCP, came something else";
  std::string wrong;
  const auto differs = [&](const char* what, std::int64_t is, std::int64_t should) {
    if (is == should) return;
    wrong += std::string(what) + " is " + std::to_string(is) + ", expected " + std::to_string(should) + "; ";
  };
  if (!got.problem.empty()) wrong += got.problem + "; ";
  if (got.destination_port != flow_key_.first || got.source_port != flow_key_.second)
    wrong += "ports " + std::to_string(got.source_port) + " > " + std::to_string(got.destination_port) +
             " are another conversation's; ";
  const auto plain = [](std::uint8_t bits) { return static_cast<std::uint8_t>(bits & ~PSH); };
  if (plain(got.flags) != plain(flags))
    wrong += "flags [" + flags_text(got.flags) + "], expected [" + flags_text(flags) + "]; ";
  const Flow& f = flow();
  if (want.seq) differs("seq", static_cast<std::int32_t>(got.seq - f.stack_isn.value_or(0)), *want.seq);
  if (want.ack) differs("ack", static_cast<std::int32_t>(got.ack - f.isn), *want.ack);
  if (want.window) differs("window", got.window, *want.window);
  if (want.window_min && got.window < *want.window_min)
    wrong += "window is " + std::to_string(got.window) + ", expected at least " +
             std::to_string(*want.window_min) + "; ";
  if (want.window_max && got.window > *want.window_max)
    wrong += "window is " + std::to_string(got.window) + ", expected at most " +
             std::to_string(*want.window_max) + "; ";
  if (want.len) differs("length", static_cast<std::int64_t>(got.payload.size()), *want.len);
  if (want.data && std::string(got.payload.begin(), got.payload.end()) != *want.data)
    wrong += "payload differs; ";
  if (want.mss) differs("mss", got.mss.value_or(0), *want.mss);
  if (want.wscale) differs("window scale", got.window_scale.value_or(255), *want.wscale);
  if (want.ts_value) differs("ts value", got.ts_value.value_or(0), *want.ts_value);
  if (want.ts_echo) differs("ts echo", got.ts_echo, *want.ts_echo);
  if (want.sack_permitted) differs("presence of SACK-permitted", got.sack_permitted, *want.sack_permitted);
  if (want.sacks) {
    const auto text = [](const auto& blocks, std::uint32_t isn) {
      std::string all;
      for (const auto& [left, right] : blocks)
        all += (all.empty() ? "" : ",") + std::to_string(static_cast<std::int32_t>(left - isn)) + "-" +
               std::to_string(static_cast<std::int32_t>(right - isn));
      return all.empty() ? std::string("none") : all;
    };
    const std::string is = text(got.sacks, f.isn);
    const std::string should = text(*want.sacks, 0);
    if (is != should) wrong += "SACK blocks " + is + ", expected " + should + "; ";
  }
  if (want.has_mss) differs("presence of MSS", got.mss.has_value(), *want.has_mss);
  if (want.has_wscale) differs("presence of window scale", got.window_scale.has_value(), *want.has_wscale);
  if (want.has_ts) differs("presence of timestamp", got.ts_value.has_value(), *want.has_ts);
  if (want.push) differs("PSH", got.has(PSH), *want.push);
  if (want.tos) differs("tos", got.tos, *want.tos);
  if (want.urgent) differs("urgent pointer", got.urgent_pointer, *want.urgent);
  return wrong;
}

// --- Handshakes --------------------------------------------------------------------------------------------

void TestPeer::connects(const Seg& syn, Where where) {
  sends(SYN, syn);
  pops(SYN | ACK, {.seq = 0, .ack = flow().snd_nxt}, where);
  sends(ACK);
}

void TestPeer::accepts(const Seg& syn_ack, Where where) {
  pops(SYN, {.seq = 0}, where);
  sends(SYN | ACK, syn_ack);
  pops(ACK, {.seq = 1, .ack = flow().snd_nxt}, where);
}

// --- Time, and words for the reader ------------------------------------------------------------------------

void TestPeer::waits(Duration time) {
  note("    waits " + std::to_string(time.seconds()) + " s");
  world_.run_for(time);
}

std::string TestPeer::relative(const Decoded& d, bool from_stack) const {
  const PortPair key =
      from_stack ? PortPair{d.destination_port, d.source_port} : PortPair{d.source_port, d.destination_port};
  const auto found = flows_.find(key);
  const std::uint32_t peer = found == flows_.end() ? 0 : found->second.isn;
  const std::uint32_t stack = found == flows_.end() ? 0 : found->second.stack_isn.value_or(0);
  const auto seq = static_cast<std::int32_t>(d.seq - (from_stack ? stack : peer));
  const auto ack = static_cast<std::int32_t>(d.ack - (from_stack ? peer : stack));
  char line[192];
  std::snprintf(line, sizeof line, "[%s] seq %d ack %d win %u len %zu%s%s%s", flags_text(d.flags).c_str(),
                seq, d.has(ACK) ? ack : 0, d.window, d.payload.size(), d.mss ? " mss" : "",
                d.window_scale ? " wscale" : "", d.sack_permitted ? " sackok" : "");
  std::string all = line;
  if (d.tos != 0) all += " tos " + std::to_string(d.tos);
  if (d.ts_value) all += " ts " + std::to_string(*d.ts_value) + "/" + std::to_string(d.ts_echo);
  for (const auto& [left, right] : d.sacks) {
    const std::uint32_t isn = from_stack ? peer : stack;
    all += " sack " + std::to_string(static_cast<std::int32_t>(left - isn)) + "-" +
           std::to_string(static_cast<std::int32_t>(right - isn));
  }
  return all;
}

void TestPeer::note(std::string line) {
  char at[32];
  std::snprintf(at, sizeof at, "%12.6f", static_cast<double>(world_.now().ns()) * 1e-9);
  conversation_.push_back(at + line);
}

void TestPeer::fails(const Where& where, const std::string& what) {
  failed_ = true;
  std::string text = (where.text.empty() ? "" : "line: " + where.text + "\n") + what +
                     "\nthe conversation (peer > stack, peer < stack):\n";
  const std::size_t first = conversation_.size() > 40 ? conversation_.size() - 40 : 0;
  for (std::size_t i = first; i < conversation_.size(); ++i) text += conversation_[i] + "\n";
  ADD_FAILURE_AT(where.file, where.line) << text;
}

}  // namespace pollux::test
