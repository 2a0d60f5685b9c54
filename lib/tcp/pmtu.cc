// Path MTU discovery: RFC 1191, with RFC 5927's care about forged ICMP; black holes, which drop large packets and say nothing
// (RFC 4821 7.7, RFC 8899 4.3), and the search for what passes them (RFC 4821 7.2 to 7.6).
#include <algorithm>
#include <utility>

#include "pollux/ip/path_mtu.h"
#include "pollux/tcp/tcp.h"

namespace pollux {
namespace {

std::uint32_t mtu_floor(const Tcb& tcb) noexcept { return path_mtu_floor(tcb.key.is_v4()); }
constexpr Duration lower_mtu_lasts = Duration::from_s(600);  // RFC 1191 6.3, RFC 8899 5.1.1 PMTU_RAISE_TIMER
constexpr int search_ends_within = 16;  // octets: what is left to find is not worth the probe

/// What a full segment has around its payload.
std::uint32_t overhead(const Tcb& tcb) noexcept {
  return (tcb.key.is_v4() ? 40u : 60u) + (tcb.is.timestamps ? 12u : 0u);
}

}  // namespace

// The error quotes a segment that is outstanding (RFC 5927 4).
DropReason Tcp::packet_too_big(Tcb& tcb, SeqNum quoted, std::uint32_t mtu) noexcept {
  if (!tcb.synchronized()) return DropReason::none;  // our SYNs are small; it is not about us
  const std::uint32_t ours = tcb.mss + overhead(tcb);
  const std::uint32_t size = believable_path_mtu(tcb.key.is_v4(), mtu, ours);
  if (size == 0) return DropReason::icmp_implausible_mtu;
  // RFC 5927 7.2: full segments got through before, so the claim is believed only once the quoted one times out.
  const bool worked_before = static_cast<std::uint32_t>(tcb.snd.una - tcb.iss) > tcb.mss;
  if (worked_before && tcb.retries == 0) {
    ConnExtras& extras = extras_of(tcb);
    extras.claimed_mtu = static_cast<std::uint16_t>(size);
    extras.claim_quotes = quoted;
    return DropReason::none;
  }
  lower_mtu(tcb, size);
  tcb.board.mark_all_lost(sent_, disturb(tcb).disorder, false);  // cut to the new size as it goes out again, at once
  mark_dirty(tcb);
  return DropReason::none;
}

void Tcp::lower_mtu(Tcb& tcb, std::uint32_t size) noexcept {
  ConnExtras& extras = extras_of(tcb);
  if (extras.full_mss == 0) extras.full_mss = tcb.mss;
  extras.claimed_mtu = 0;
  extras.probe_mss = 0;
  extras.mss_too_large = static_cast<std::uint16_t>(extras.full_mss + 1);
  extras.lower_mtu_until = now_ + lower_mtu_lasts;
  tcb.mss = static_cast<std::uint16_t>(size - overhead(tcb));
  disturb(tcb).cc.set_mss(tcb.mss);
  counters_.add(Counter::tcp_mtu_lowered);
}

// A retransmission timeout: it confirms a claim that waits, or, the third in a row, tells of a black hole.
void Tcp::consider_lower_mtu(Tcb& tcb) noexcept {
  if (tcb.extras != Slab<ConnExtras>::nil) {
    ConnExtras& extras = extras_[tcb.extras];
    const std::uint32_t claimed = extras.claimed_mtu;
    extras.claimed_mtu = 0;
    if (claimed != 0 && extras.claim_quotes.after_eq(tcb.snd.una) && claimed < tcb.mss + overhead(tcb)) {
      lower_mtu(tcb, claimed);
      return;
    }
  }
  constexpr std::uint8_t timeouts = 3;
  // RFC 8899 5.1.2: BASE_PLPMTU; then what everything carries.
  const std::uint32_t sizes[] = {std::max(1200u, mtu_floor(tcb)), mtu_floor(tcb)};
  if (!tcb.options->black_hole_detection || tcb.retries < timeouts || tcb.board.empty()) return;
  for (const std::uint32_t size : sizes)
    if (sent_[tcb.board.first()].length() + overhead(tcb) > size && tcb.mss + overhead(tcb) > size) {
      lower_mtu(tcb, size);
      extras_of(tcb).lower_mtu_until = now_;  // it is a guess: the search begins at once
      return;
    }
}

void Tcp::raise_mtu(Tcb& tcb, std::uint16_t mss) noexcept {
  ConnExtras& extras = extras_[tcb.extras];
  tcb.mss = mss;
  if (mss == extras.full_mss) extras.full_mss = 0;
  CongestionControl& cc = disturb(tcb).cc;
  cc.set_mss(tcb.mss);
  if (cc.cwnd() < tcb.mss) cc.set_cwnd(tcb.mss);  // a window of one segment is one of the new size
}

// RFC 1191 6.3: paths change; after a while the full size is tried again. Where routers are not trusted to say that it is too
// large, probes try it (send_mtu_probe).
void Tcp::consider_full_mtu(Tcb& tcb) noexcept {
  const ConnExtras& extras = extras_[tcb.extras];
  if (extras.full_mss == 0 || now_ < extras.lower_mtu_until || tcb.options->black_hole_detection) return;
  raise_mtu(tcb, extras.full_mss);
}

// --- The search, RFC 4821 7 ----------------------------------------------------------------------------------

// RFC 4821 7.3: the full size first, which a path that has healed takes; then halves of what is left.
std::uint16_t Tcp::next_probe_mss(const Tcb& tcb) const noexcept {
  const ConnExtras& extras = extras_[tcb.extras];
  if (extras.mss_too_large > extras.full_mss) return extras.full_mss;
  return static_cast<std::uint16_t>((tcb.mss + extras.mss_too_large) / 2);
}

// A segment of new data that is larger than the path is known to carry. RFC 4821 7.4: only where its loss does no harm, with
// enough data behind it for its loss to be noticed by what arrives, and nothing wrong otherwise. `budget`: what the congestion
// window leaves for now; while it grows, it leaves room for more than a segment once a round trip at least.
Tcp::Output Tcp::send_mtu_probe(Tcb& tcb, std::uint32_t budget, bool& sent) noexcept {
  constexpr std::uint32_t segments_behind = 4;
  const ConnExtras& extras = extras_[tcb.extras];
  if (extras.full_mss == 0 || extras.probe_mss != 0 || now_ < extras.lower_mtu_until || !tcb.options->black_hole_detection ||
      tcb.loss().mode != RecoveryMode::open || tcb.disorder().sacked() != 0 || tcb.retries != 0 || tcb.snd.nxt != tcb.snd.max ||
      tcb.is.urgent_out)
    return Output::done;
  const std::uint16_t mss = next_probe_mss(tcb);
  const std::uint32_t needed = mss + segments_behind * tcb.mss;
  const auto position = static_cast<std::uint32_t>(tcb.snd.nxt - tcb.snd.una);
  if (position > tcb.queue.size() || tcb.queue.size() - position < needed || tcb.snd.wnd < position + needed || tcb.cwnd() < needed ||
      budget < mss)
    return Output::done;
  const SeqNum start = tcb.snd.nxt;
  if (tcb.is.paced && pacing_holds(tcb, mss)) return Output::done;
  const Output result = tcb.is.paced ? send_measured(tcb, mss, false) : send_new(tcb, mss, false);
  if (result != Output::done) return result;
  extras_of(tcb).probe_mss = mss;
  extras_of(tcb).probe_start = start;
  sent = true;
  return Output::done;
}

// RFC 4821 7.6.1: all of it arrived as it was sent.
void Tcp::consider_mtu_probe(Tcb& tcb) noexcept {
  ConnExtras& extras = extras_[tcb.extras];
  if (tcb.snd.una.before(extras.probe_start + extras.probe_mss)) return;
  const std::uint16_t mss = std::exchange(extras.probe_mss, std::uint16_t{0});
  if (mss > tcb.mss) raise_mtu(tcb, mss);
  counters_.add(Counter::tcp_mtu_probe_success);
  end_search_if_done(tcb);
}

// RFC 4821 7.6.2: only the probe is lost: that is its answer, and no sign of congestion. It goes again in smaller segments.
// True when that was it.
bool Tcp::take_lost_mtu_probe(Tcb& tcb) noexcept {
  if (tcb.extras == Slab<ConnExtras>::nil || extras_[tcb.extras].probe_mss == 0) return false;
  ConnExtras& extras = extras_[tcb.extras];
  const std::uint32_t lost = next_lost(tcb);
  const SeqNum end = extras.probe_start + extras.probe_mss;
  if (lost == Scoreboard::nil || sent_[lost].start.before(extras.probe_start) || !sent_[lost].start.before(end)) return false;
  const bool alone = tcb.disorder().to_repair() <= sent_[lost].length();
  counters_.add(Counter::tcp_mtu_probe_fail);
  extras.mss_too_large = std::exchange(extras.probe_mss, std::uint16_t{0});
  end_search_if_done(tcb);
  return alone;
}

// A part of the probe is sent again, with others or for another reason: whatever arrives now proves nothing.
void Tcp::forget_mtu_probe(Tcb& tcb, SeqNum again) noexcept {
  ConnExtras& extras = extras_[tcb.extras];
  const bool of_probe = !again.before(extras.probe_start) && again.before(extras.probe_start + extras.probe_mss);
  if (of_probe) extras.probe_mss = 0;
}

void Tcp::end_search_if_done(Tcb& tcb) noexcept {
  ConnExtras& extras = extras_[tcb.extras];
  if (extras.full_mss == 0 || extras.mss_too_large - tcb.mss > search_ends_within) return;
  extras.mss_too_large = static_cast<std::uint16_t>(extras.full_mss + 1);
  extras.lower_mtu_until = now_ + lower_mtu_lasts;
}

}  // namespace pollux
