#include "support/tcp_monitor.h"

#include <algorithm>

namespace pollux::test {
namespace {

std::int32_t distance(std::uint32_t to, std::uint32_t from) {
  return static_cast<std::int32_t>(to - from);
}
bool is_after(std::uint32_t a, std::uint32_t b) {
  return distance(a, b) > 0;
}

std::string numbers(const char* rule, std::uint32_t got, std::uint32_t limit) {
  return std::string(rule) + " (" + std::to_string(got) + " against " + std::to_string(limit) + ")";
}

}  // namespace

void Stretches::add(std::uint32_t seq, std::uint32_t length) {
  std::int64_t from = distance(seq, base_);
  std::int64_t to = from + length;
  auto at = std::lower_bound(stretches_.begin(), stretches_.end(), from, [](const auto& s, std::int64_t f) { return s.second < f; });
  auto last = at;
  for (; last != stretches_.end() && last->first <= to; ++last) {
    from = std::min(from, last->first);
    to = std::max(to, last->second);
  }
  at = stretches_.erase(at, last);
  stretches_.insert(at, {from, to});
}

bool Stretches::has(std::uint32_t from, std::uint32_t to) const {
  const std::int64_t left = distance(from, base_), right = distance(to, base_);
  return std::any_of(stretches_.begin(), stretches_.end(), [&](const auto& s) { return s.first <= left && right <= s.second; });
}

void TcpMonitor::received(const Decoded& frame) {
  if (frame.kind != Decoded::Kind::tcp || !frame.problem.empty() || frame.has(RST)) return;
  Flow& flow = flows_[{frame.ids.destination, frame.destination_port, frame.ids.source, frame.source_port}];
  if (frame.has(SYN)) {
    flow.peer_mss = frame.mss.value_or(frame.ids.source.is_v4() ? 536 : 1220);  // RFC 9293 MUST-15
    flow.peer_scale = frame.window_scale;
    if (flow.peer_scale && *flow.peer_scale > 14) flow.peer_scale = 14;  // RFC 7323 2.3
    flow.peer_timestamps = frame.ts_value.has_value();
    // A SYN that comes late says nothing any more.
    if (flow.came.known() && frame.seq != flow.peer_isn) {
      flow.uncertain = flow.uncertain || flow.sent_syn;
      flow.came.forget();
    }
    if (!flow.came.known() && !flow.uncertain) flow.came.begin(frame.seq);
    if (!flow.peer_acked || frame.seq != flow.peer_isn) {
      flow.peer_ecn = frame.has(ECE);
      flow.peer_isn = frame.seq;
      flow.peer_acked = false;
    }
  } else {
    flow.peer_acked = true;
  }
  if (flow.came.known()) flow.came.add(frame.seq, frame.seq_length());
  if (!frame.has(ACK)) return;
  // Unscaled in a SYN (RFC 7323 2.2). A segment the stack ignores may be counted too: the edge is an upper
  // bound.
  const std::uint32_t scale = !frame.has(SYN) && flow.peer_scale ? *flow.peer_scale : 0;
  const std::uint32_t edge = frame.ack + (std::uint32_t{frame.window} << scale);
  if (!flow.offered || is_after(edge, flow.offered_edge)) flow.offered_edge = edge;
  flow.offered = true;
}

std::string TcpMonitor::check_options(const Decoded& frame, const Flow& flow) {
  if (frame.mss && !frame.has(SYN)) return "RFC 9293 MUST-65: MSS option outside a SYN";
  if (frame.window_scale && !frame.has(SYN)) return "RFC 7323 2.1: window scale option outside a SYN";
  if (frame.has(RST)) return "";
  // RFC 9293 MUST-16: options count against the peer's MSS. A peer that claims less than it must take is not
  // obeyed. A SYN's data goes by the MSS of an earlier connection (RFC 7413 4.1.3).
  const std::uint32_t limit = std::max<std::uint32_t>(flow.peer_mss, 88);
  const auto size = static_cast<std::uint32_t>(frame.payload.size() + frame.options_length);
  if (size > limit && !frame.payload.empty() && !frame.has(SYN))
    return numbers("RFC 9293 MUST-16: segment above the peer's MSS", size, limit);
  const bool negotiated = flow.peer_timestamps && flow.own_timestamps;
  if (!frame.has(SYN) && frame.ts_value.has_value() != negotiated)
    return negotiated ? "RFC 7323 3.2: negotiated timestamp is missing"
                      : "RFC 7323 3.2: timestamp was not negotiated";
  return "";
}

std::string TcpMonitor::check_ecn(const Decoded& frame, const Flow& flow) const {
  if ((frame.tos & 3) == 0) return "";
  if (frame.has(SYN)) return flow.own_ecn ? "" : "RFC 3168 6.1.1: a SYN that claims ECN capability and does not ask for it";
  if (!flow.own_ecn || !flow.peer_ecn) return "RFC 3168 6.1.1: ECN was not negotiated";
  if (flow.own_ect_syn) return "";
  if (ecn_plus_plus_ && (!frame.payload.empty() || frame.has(FIN) || frame.has(RST))) return "";
  if (frame.payload.empty()) return "RFC 3168 6.1.4: a segment without data that claims ECN capability";
  if (is_after(flow.sent_end, frame.seq)) return "RFC 3168 6.1.5: a retransmission that claims ECN capability";
  return "";
}

std::string TcpMonitor::check_sequence(const Decoded& frame, Flow& flow, bool lost_some) {
  const std::uint32_t end = frame.seq + frame.seq_length();
  if (!lost_some && !frame.has(SYN) && is_after(frame.seq, flow.sent_end))
    return numbers("a gap in what was sent: sequence number beyond SND.NXT", frame.seq, flow.sent_end);
  // One octet beyond the offered window is a zero-window probe or a FIN (RFC 9293 3.8.6.1).
  if (!frame.has(SYN) && flow.offered && frame.seq_length() > 0 && is_after(end, flow.offered_edge + 1))
    return numbers("sent beyond the right edge the peer offered", end, flow.offered_edge);
  if (flow.sent_fin && is_after(end, flow.fin_end))
    return numbers("sent something after the FIN", end, flow.fin_end);
  if (frame.has(FIN)) {
    if (flow.sent_fin && end != flow.fin_end) return numbers("the FIN moved", end, flow.fin_end);
    flow.sent_fin = true;
    flow.fin_end = end;
  }
  if (is_after(end, flow.sent_end)) flow.sent_end = end;
  return "";
}

std::string TcpMonitor::check_ack(const Decoded& frame, Flow& flow) {
  const std::uint32_t scale = !frame.has(SYN) && flow.scaled() ? *flow.own_scale : 0;
  const std::uint32_t edge = frame.ack + (std::uint32_t{frame.window} << scale);
  std::string problem;
  if (flow.sent_ack) {
    if (is_after(flow.last_ack, frame.ack))
      problem = numbers("the acknowledgment number went back", frame.ack, flow.last_ack);
    // RFC 9293 SHLD-14, RFC 7323 2.4: rounding to the scale's granularity is no excuse, it can round up.
    if (is_after(flow.own_edge, edge))
      problem = numbers("RFC 9293 SHLD-14: the receive window shrank", edge, flow.own_edge);
  }
  if (!flow.sent_ack || is_after(edge, flow.own_edge)) flow.own_edge = edge;
  flow.last_ack = frame.ack;
  flow.sent_ack = true;
  return problem;
}

// Only of segments with SACKs or new acknowledgments of a connection whose SYN was seen.
std::string TcpMonitor::check_sacks(const Decoded& frame, const Flow& flow) {
  if (!flow.came.known() || frame.has(SYN)) return "";
  if (!flow.came.has(flow.peer_isn, frame.ack)) return numbers("acknowledges what has not come", frame.ack, flow.peer_isn);
  for (std::size_t i = 0; i < frame.sacks.size(); ++i) {
    const auto& [left, right] = frame.sacks[i];
    if (!is_after(right, left)) return numbers("RFC 2018 3: an empty SACK block", right, left);
    if (!flow.came.has(left, right)) return numbers("RFC 2018 4: a SACK block of what has not come", left, right);
    // RFC 2883 4: the first block may tell of a duplicate: below the acknowledgment, or inside the second block.
    if (i == 0 && !is_after(right, frame.ack)) continue;
    if (i == 0 && frame.sacks.size() > 1 && !is_after(frame.sacks[1].first, left) && !is_after(right, frame.sacks[1].second)) continue;
    if (!is_after(left, frame.ack)) return numbers("RFC 2018 3: a SACK block that is acknowledged", left, frame.ack);
    for (std::size_t j = i + 1; j < frame.sacks.size(); ++j)
      if (is_after(frame.sacks[j].second, left) && is_after(right, frame.sacks[j].first))
        return numbers("RFC 2018 3: SACK blocks that overlap", left, frame.sacks[j].first);
  }
  return "";
}

std::string TcpMonitor::sent(const Decoded& frame, bool lost_some) {
  if (!frame.problem.empty()) return "sent a malformed packet: " + frame.problem;
  if (frame.ip_length > mtu_) return numbers("packet above the MTU", frame.ip_length, mtu_);
  if (frame.kind != Decoded::Kind::tcp) return "";
  if (frame.has(SYN) && (frame.has(FIN) || frame.has(RST))) return "SYN together with FIN or RST";
  if (frame.has(RST) && frame.has(FIN)) return "RST together with FIN";
  Flow& flow = flows_[{frame.ids.source, frame.source_port, frame.ids.destination, frame.destination_port}];
  if (frame.has(RST)) return "";
  if (!frame.has(SYN) && !frame.has(ACK)) return "a synchronized segment without ACK";
  if (frame.has(SYN) && (!flow.sent_syn || frame.seq != flow.isn)) {
    // A new incarnation. What the peer's SYN said stays when this answers it.
    Flow fresh;
    if (frame.has(ACK)) {
      fresh.peer_mss = flow.peer_mss;
      fresh.peer_scale = flow.peer_scale;
      fresh.peer_timestamps = flow.peer_timestamps;
      fresh.peer_ecn = flow.peer_ecn;
      fresh.peer_isn = flow.peer_isn;
      fresh.came = flow.came;
      fresh.uncertain = flow.uncertain;
    }
    flow = fresh;
    flow.sent_syn = true;
    flow.isn = frame.seq;
    flow.sent_end = frame.seq;
  }
  if (!flow.sent_syn) return "";  // a bare ACK of no connection of ours that we saw start
  if (frame.has(SYN)) {
    flow.own_scale = frame.window_scale;
    flow.own_timestamps = frame.ts_value.has_value();
    flow.own_ecn = frame.has(ECE);
    flow.own_ect_syn = (frame.tos & 3) != 0;
  }
  std::string problem = check_options(frame, flow);
  if (problem.empty()) problem = check_ecn(frame, flow);
  if (problem.empty()) problem = check_sequence(frame, flow, lost_some);
  if (problem.empty() && frame.has(ACK)) problem = check_ack(frame, flow);
  if (problem.empty() && frame.has(ACK)) problem = check_sacks(frame, flow);
  return problem;
}

}  // namespace pollux::test
