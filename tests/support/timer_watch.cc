#include "support/timer_watch.h"

#include <algorithm>
#include <array>

namespace pollux::test {
namespace {

// What the peer, the network or the user timeout must put an end to.
bool waits_for_something(const TcpInfo& info) {
  switch (info.state) {
    case TcpState::syn_sent:
    case TcpState::syn_received:
    case TcpState::fin_wait_1:
    case TcpState::closing:
    case TcpState::last_ack:
      return true;
    default:
      return info.in_flight + info.sacked + info.lost + info.not_sent != 0;
  }
}

std::string describe(const TcpInfo& info) {
  return info.local.to_string() + " to " + info.remote.to_string() + " in state " + std::to_string(static_cast<int>(info.state));
}

}  // namespace

std::string check_timers(Stack& stack, TimePoint now) {
  // Short of mbufs or room in the port, work is put off: the stack comes back to it by itself, within a millisecond.
  constexpr Duration put_off_max = Duration::from_ms(1);
  const TimePoint wake = stack.next_deadline();
  const bool work_left = wake <= now + put_off_max;
  const TcpUsage usage = stack.tcp().usage();
  if (usage.timers_armed > usage.connections.used) return "more timers than connections";
  std::array<TcpInfo, 16> infos;
  for (TcpScan scan; !scan.done;) {
    const std::size_t count = stack.tcp().list(scan, infos);
    for (const TcpInfo& info : std::span(infos).first(count)) {
      if (info.timer == TcpTimer::none) {
        if (waits_for_something(info) && !work_left) return describe(info) + " waits, and no timer runs";
        continue;
      }
      // The wheel fires in the tick that follows at the latest.
      if (wake > now + info.timer_in + TimerWheel::tick)
        return describe(info) + ": the stack sleeps beyond its timer " + tcp_timer_name(info.timer);
    }
  }
  return {};
}

}  // namespace pollux::test
