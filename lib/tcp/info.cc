// Snapshots of connections, listeners and tables.
#include "pollux/tcp/info.h"

#include <algorithm>
#include <array>

#include "pollux/tcp/tcp.h"

namespace pollux {
namespace {

template <typename T>
TcpUsage::Table table(const Slab<T>& slab) noexcept {
  return {slab.size(), slab.capacity(), std::uint64_t{slab.touched()} * Slab<T>::slot_bytes()};
}

Duration since_ms(std::uint32_t now_ms, std::uint32_t then_ms) noexcept {
  return Duration::from_ms(static_cast<std::int32_t>(now_ms - then_ms));
}

/// What the three deadlines stand for; the earliest wins. `probe_at`, `rto_at`: of a flight that is watched.
void fill_timer(TcpInfo& info, const Tcb& tcb, TimePoint probe_at, TimePoint rto_at, TimePoint now) noexcept {
  TimePoint next = TimePoint::never();
  const auto consider = [&](TimePoint deadline, TcpTimer timer) {
    if (deadline >= next) return;
    next = deadline;
    info.timer = timer;
  };
  if (tcb.timer_kind == TimerKind::flight && !tcb.rto_deadline.is_never()) {
    // The deadline is when the timer looks, and the probe may have been put off until then.
    consider(std::max(probe_at, tcb.rto_deadline), TcpTimer::tail_probe);
    consider(std::max(rto_at, tcb.rto_deadline), TcpTimer::retransmission);
  } else if (tcb.timer_kind == TimerKind::reordering) {
    consider(tcb.rto_deadline, TcpTimer::reordering);
  } else {
    // RFC 9293 3.8.6.1: with data waiting, nothing outstanding or a closed window, it is the persist timer.
    const bool persist =
        tcb.synchronized() && tcb.queue.size() != 0 && (tcb.board.empty() || tcb.snd.wnd == 0);
    consider(tcb.rto_deadline, persist ? TcpTimer::persist : TcpTimer::retransmission);
  }
  consider(tcb.ack_deadline, TcpTimer::delayed_ack);
  consider(tcb.idle_deadline, tcb.state == TcpState::fin_wait_2 ? TcpTimer::fin_wait_2 : TcpTimer::keepalive);
  if (info.timer != TcpTimer::none) info.timer_in = std::max(next - now, Duration{});
}

}  // namespace

const char* tcp_timer_name(TcpTimer timer) noexcept {
  static constexpr std::array names = {"none",       "retransmission", "persist",   "tail_probe",
                                       "reordering", "delayed_ack",    "keepalive", "fin_wait_2", "pacing"};
  return names[static_cast<std::size_t>(timer)];
}

const char* tcp_congestion_name(TcpCongestion congestion) noexcept {
  switch (congestion) {
    case TcpCongestion::newreno:
      return "newreno";
    case TcpCongestion::cubic:
      return "cubic";
    case TcpCongestion::dctcp:
      return "dctcp";
    case TcpCongestion::bbr:
      return "bbr";
    default:
      return "other";
  }
}

const char* recovery_mode_name(RecoveryMode mode) noexcept {
  switch (mode) {
    case RecoveryMode::open:
      return "open";
    case RecoveryMode::recovery:
      return "recovery";
    default:
      return "loss";
  }
}

bool TcpFilter::matches(const TcpInfo& info) const noexcept {
  if ((states >> static_cast<unsigned>(info.state) & 1) == 0) return false;
  if (!local.is_unspecified() && local != info.local.address) return false;
  if (!remote.is_unspecified() && remote != info.remote.address) return false;
  if (local_port != 0 && local_port != info.local.port) return false;
  if (remote_port != 0 && remote_port != info.remote.port) return false;
  return !only_troubled || info.recovery != RecoveryMode::open || info.retries != 0 ||
         (info.not_sent != 0 && info.peer_window == 0);
}

TcpInfo Tcp::info(const Tcb& tcb) const noexcept {
  TcpInfo info;
  info.handle = tcbs_.handle(tcbs_.index_of(tcb));
  info.state = tcb.state;
  const FlowKey key = key_of(tcb);
  info.local = {key.local, key.local_port};
  info.remote = {key.remote, key.remote_port};
  info.active_open = tcb.is.active_open;
  info.timestamps = tcb.is.timestamps;
  info.sack = tcb.is.sack;
  info.window_scaling = tcb.is.window_scaling;
  info.ecn = tcb.is.ecn;
  info.send_scale = tcb.send_scale;
  info.receive_scale = tcb.recv_scale;
  info.mss = tcb.mss;
  info.receive_mss = tcb.recv_mss;
  info.advertised_mss = tcb.advertised_mss;
  info.srtt = tcb.rtt.srtt();
  info.rttvar = tcb.rtt.rttvar();
  info.min_rtt = tcb.rtt.min_rtt();
  info.rto = current_rto(tcb);
  info.backoff = tcb.backoff;
  info.retries = tcb.retries;
  info.keepalives = tcb.keepalives_sent;
  const bool probe = !tcb.board.empty() && wants_tail_probe(tcb);
  fill_timer(info, tcb, probe ? tail_probe_time(tcb) : TimePoint::never(), rto_expiry(tcb, tcb.progress), now_);
  info.congestion = tcb.options->congestion;
  info.recovery = tcb.loss().mode;
  info.reducing = tcb.loss().in_cwr && tcb.snd.una.before(tcb.loss().cwr_end);
  if (tcb.is.connected) {
    info.cwnd = tcb.cwnd();
    info.ssthresh = tcb.ssthresh();
  }
  if (tcb.is.paced) {
    info.pacing_rate = pacing_rate(tcb);
    const TimePoint resume_at = extras_[tcb.extras].pacer.resume_at();
    if (!resume_at.is_never() && (info.timer == TcpTimer::none || resume_at - now_ < info.timer_in)) {
      info.timer = TcpTimer::pacing;
      info.timer_in = std::max(resume_at - now_, Duration{});
    }
  }
  info.delivery_rate = tcb.disturbance->rate.octets_per_s();
  if (tcb.loss().by_model) fill_model(info, tcb);
  info.in_flight = tcb.in_flight();
  info.sacked = tcb.disorder().sacked();
  info.lost = tcb.disorder().lost();
  info.duplicate_acks = tcb.loss().dup_acks;
  info.reordering_seen = tcb.loss().rack.reordering_seen();
  info.reordering_steps = tcb.loss().rack.window_steps();
  fill_data(info, tcb);
  info.last_received = since_ms(now_ms(), tcb.last_received_ms);
  info.last_sent = since_ms(now_ms(), tcb.last_sent_ms);
  return info;
}

void Tcp::fill_data(TcpInfo& info, const Tcb& tcb) const noexcept {
  info.send_queue = tcb.queue.size();
  info.send_buffer = tcb.options->send_buffer;
  info.peer_window = tcb.snd.wnd;
  info.receive_kept = tcb.rcv.kept;
  info.receive_buffer = tcb.options->receive_buffer;
  info.receive_window = tcb.rcv.window();
  info.out_of_order = tcb.out_of_order().count();
  info.retransmits = tcb.disturbance->retransmits;
  info.busy = Tcb::busy_tick * tcb.busy_ticks;
  if (!tcb.board.empty()) info.busy += now_ - tcb.progress;
  info.window_limited = Duration::from_ms(tcb.disturbance->limits.receive_window_ms(now_ms()));
  info.buffer_limited = Duration::from_ms(tcb.disturbance->limits.send_buffer_ms(now_ms()));
  if (!tcb.synchronized()) return;
  const std::uint32_t sent = std::min(static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una), info.send_queue);
  info.not_sent = info.send_queue - sent;
  // Between the initial sequence numbers and these lie the SYNs, and FINs once they are through.
  const bool fin_acknowledged = tcb.is.fin_queued && !tcb.fin_outstanding();
  info.acknowledged = static_cast<std::uint32_t>(tcb.snd.una - tcb.iss) - 1 - fin_acknowledged;
}

TcpInfo Tcp::info(SlabHandle handle) const noexcept {
  POLLUX_DCHECK(ip_.owner().is_here());
  const bool exists = tcbs_.is_live(handle.index) && tcbs_.handle(handle.index) == handle;
  return exists && !tcbs_[handle.index].is.defunct ? info(tcbs_[handle.index]) : TcpInfo{};
}

TcpInfo TcpConn::info() const noexcept { return tcp_ == nullptr ? TcpInfo{} : tcp_->info(handle_); }

std::size_t Tcp::list(TcpScan& scan, std::span<TcpInfo> out) const noexcept {
  std::size_t count = 0;
  const std::uint32_t end = std::min(scan.next_slot + TcpScan::slots_max, tcbs_.touched());
  for (; scan.next_slot < end && count < out.size(); ++scan.next_slot) {
    if (!tcbs_.is_live(scan.next_slot) || tcbs_[scan.next_slot].is.defunct) continue;
    out[count] = info(tcbs_[scan.next_slot]);
    if (scan.filter.matches(out[count])) ++count;
  }
  scan.done = scan.next_slot >= tcbs_.touched();
  return count;
}

std::size_t Tcp::list_listeners(std::uint32_t& next_slot, std::span<TcpListenerInfo> out) const noexcept {
  std::size_t count = 0;
  for (; next_slot < listeners_.touched() && count < out.size(); ++next_slot) {
    if (!listeners_.is_live(next_slot)) continue;
    const Listener& listener = listeners_[next_slot];
    out[count++] = {{listener.address, listener.port}, listener.backlog, listener.half_open};
  }
  return count;
}

TcpUsage Tcp::usage() const noexcept {
  TcpUsage usage;
  usage.connections = table(tcbs_);
  usage.connections.used = connection_count();
  usage.disturbed = table(disturbances_);
  usage.time_wait = table(time_wait_.slab());
  usage.listeners = table(listeners_);
  usage.out_of_order = table(out_of_order_);
  usage.kept = {.used = ledger_.mbufs, .max = kept_max_};
  usage.outstanding = table(sent_);
  usage.timers_armed = timers_.armed();
  return usage;
}

}  // namespace pollux
