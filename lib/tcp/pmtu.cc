// Path MTU discovery: RFC 1191, with RFC 5927's care about forged ICMP, and black holes, which drop large packets and say
// nothing (RFC 4821 7.7, RFC 8899 4.3).
#include <algorithm>

#include "pollux/ip/path_mtu.h"
#include "pollux/tcp/tcp.h"

namespace pollux {
namespace {

std::uint32_t mtu_floor(const Tcb& tcb) noexcept { return path_mtu_floor(tcb.key.is_v4()); }
constexpr Duration lower_mtu_lasts = Duration::from_s(600);  // RFC 1191 6.3

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
      return;
    }
}

// RFC 1191 6.3: paths change; after a while the full size is tried again.
void Tcp::consider_full_mtu(Tcb& tcb) noexcept {
  ConnExtras& extras = extras_[tcb.extras];
  if (extras.full_mss == 0 || now_ < extras.lower_mtu_until) return;
  tcb.mss = extras.full_mss;
  extras.full_mss = 0;
  CongestionControl& cc = disturb(tcb).cc;
  cc.set_mss(tcb.mss);
  if (cc.cwnd() < tcb.mss) cc.set_cwnd(tcb.mss);  // a window of one segment is one of the new size
}

}  // namespace pollux
