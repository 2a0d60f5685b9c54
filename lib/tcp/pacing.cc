// How fast a connection sends when it is paced.
#include <algorithm>

#include "pollux/tcp/tcp.h"

namespace pollux {

// Linux's ratios: a round trip has room for twice the window while slow start doubles it, and for a fifth more afterwards, so
// that it is the window that limits.
std::uint64_t Tcp::pacing_rate(const Tcb& tcb) const noexcept {
  const std::uint64_t cap = tcb.options->pacing_rate_max;
  if (tcb.loss().by_model) {
    const std::uint64_t rate = model_of(tcb).bbr.pacing_rate();
    return cap != 0 ? std::min(rate, cap) : rate;
  }
  if (!tcb.rtt.has_sample()) return cap;
  const std::uint64_t percent = tcb.cwnd() < tcb.ssthresh() / 2 ? 200 : 120;
  const auto srtt_us = static_cast<std::uint64_t>(tcb.rtt.srtt().us());
  const std::uint64_t rate = std::max<std::uint64_t>(tcb.cwnd() * percent * 10'000 / srtt_us, 1);
  return cap != 0 ? std::min(rate, cap) : rate;
}

/// True when a segment of `octets` may not leave yet; the timer then brings the connection back. One that may and then finds no
/// room in the transmit batch counts again when it is tried again: a busy port slows its connections a little more.
bool Tcp::pacing_holds(Tcb& tcb, std::uint32_t octets) noexcept {
  const std::uint64_t rate = pacing_rate(tcb);
  if (rate == 0) return false;  // no round trip is known yet, and there is no cap
  Pacer& pacer = extras_of(tcb).pacer;
  const Duration burst = std::max(Pacer::burst_min, Pacer::time_of(2u * tcb.mss, rate));
  if (pacer.take(octets, rate, burst, now_)) return false;
  if (!tcb.is_armed() || pacer.resume_at() < tcb.deadline) timers_.arm(tcb, pacer.resume_at());
  // The rate follows the window, so the window counts as used, unless a cap leaves most of it empty (RFC 7661).
  tcb.is.cwnd_limited = tcb.in_flight() >= tcb.cwnd() / 2;
  counters_.add(Counter::tcp_pacing_waits);
  return true;
}

void Tcp::set_pacing(Tcb& tcb, bool on) noexcept {
  if (on) extras_of(tcb);
  tcb.is.paced = on || tcb.loss().by_model;
}

void Tcp::on_pacing_timer(Tcb& tcb) noexcept {
  Pacer& pacer = extras_of(tcb).pacer;
  if (pacer.resume_at() > now_) return;
  pacer.resume();
  mark_dirty(tcb);
}

}  // namespace pollux
