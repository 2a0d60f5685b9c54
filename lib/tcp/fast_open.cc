// Fast Open: the cookies, and what differs in a handshake whose SYN brings data (RFC 7413).
#include "pollux/tcp/fast_open.h"

#include <algorithm>
#include <cstring>

#include "pollux/base/byte_order.h"
#include "pollux/tcp/tcp.h"

namespace pollux {

FastOpenCookies::Cookie FastOpenCookies::make(const IpAddress& local, const IpAddress& remote,
                                              std::uint64_t epoch) const noexcept {
  std::uint8_t input[16 + 16 + 8];
  std::memcpy(input, local.octets().data(), 16);
  std::memcpy(input + 16, remote.octets().data(), 16);
  store_be32(input + 32, static_cast<std::uint32_t>(epoch >> 32));
  store_be32(input + 36, static_cast<std::uint32_t>(epoch));
  const std::uint64_t hash = siphash24(key_, input);
  Cookie cookie;
  std::memcpy(cookie.data(), &hash, size);
  return cookie;
}

FastOpenCookies::Cookie FastOpenCookies::make(const IpAddress& local, const IpAddress& remote, TimePoint now) const noexcept {
  return make(local, remote, epoch(now));
}

bool FastOpenCookies::check(const IpAddress& local, const IpAddress& remote, std::span<const std::uint8_t> cookie,
                            TimePoint now) const noexcept {
  if (cookie.size() != size) return false;
  const Cookie current = make(local, remote, epoch(now));
  const Cookie previous = make(local, remote, epoch(now) - 1);
  return std::equal(cookie.begin(), cookie.end(), current.begin()) || std::equal(cookie.begin(), cookie.end(), previous.begin());
}

std::size_t FastOpenCache::slot(const IpAddress& server) const noexcept {
  return FlowKey{{}, server, 0, 0}.hash(seed_) % entries_.size();
}

const FastOpenCache::Entry* FastOpenCache::find(const IpAddress& server) const noexcept {
  const Entry& entry = entries_[slot(server)];
  return entry.size != 0 && entry.server == server ? &entry : nullptr;
}

void FastOpenCache::put(const IpAddress& server, std::uint16_t mss, std::span<const std::uint8_t> cookie) noexcept {
  Entry& entry = entries_[slot(server)];
  entry.server = server;
  entry.mss = mss;
  entry.size = static_cast<std::uint8_t>(cookie.size());
  std::copy(cookie.begin(), cookie.end(), entry.cookie.begin());
}

void FastOpenCache::forget(const IpAddress& server) noexcept {
  Entry& entry = entries_[slot(server)];
  if (entry.server == server) entry.size = 0;
}

// --- The client's side ---------------------------------------------------------------------------------------

// The option of our SYN, and how much queued data goes with it. Only the first SYN: a path that drops it lets the plain one
// through (RFC 7413 4.1.3).
std::uint32_t Tcp::offer_fast_open(const Tcb& tcb, TcpFields& fields) const noexcept {
  if (tcb.retries != 0) return 0;
  fields.options.has_fast_open = true;
  const FastOpenCache::Entry* known = fast_open_cache_.find(key_of(tcb).remote);
  if (known == nullptr) return 0;  // asks for a cookie
  fields.options.fast_open_size = known->size;
  fields.options.fast_open_cookie = known->cookie;
  const std::uint32_t mss = std::min(known->mss, local_mss(tcb.key.is_v4(), tcb.route, *tcb.options));
  const auto options_size = static_cast<std::uint32_t>(fields.options.emitted_size());
  return std::min(tcb.queue.size(), mss - std::min(mss, options_size));
}

// The SYN-ACK that answers our offer.
void Tcp::take_fast_open_answer(Tcb& tcb, const TcpOptionValues& options) noexcept {
  // RFC 7413 4.1.3.1: when only a SYN without the option got through, the next one goes without data.
  if (tcb.retries != 0) {
    fast_open_cache_.forget(key_of(tcb).remote);
  } else if (options.has_fast_open && options.fast_open_size != 0) {
    fast_open_cache_.put(key_of(tcb).remote, options.has_mss ? options.mss : default_mss(tcb.key.is_v4()),
                         std::span(options.fast_open_cookie).first(options.fast_open_size));
  }
}

// --- The server's side ---------------------------------------------------------------------------------------

// RFC 7413 4.2: a SYN with the option, of which a connection in SYN-RECEIVED was just made. A good cookie opens it at once.
DropReason Tcp::input_fast_open(Tcb& tcb, Segment& syn, const TcpOptionValues& options) noexcept {
  const auto cookie = std::span(options.fast_open_cookie).first(options.fast_open_size);
  if (!fast_open_cookies_.check(key_of(tcb).local, key_of(tcb).remote, cookie, now_)) {
    tcb.is.fast_open_cookie_due = true;  // asked for, or in place of a stale one; the data comes again
    return DropReason::none;
  }
  // RFC 7413 5.1: so many may wait for their first ACK; more take the usual way.
  if (fast_open_pending_ >= options_.fast_open_pending_max) return DropReason::none;
  ++fast_open_pending_;
  counters_.add(Counter::tcp_fast_open_passive);
  tcb.is.fast_open_pending = true;
  tcb.is.syn_ack_due = true;
  SendSpace& snd = tcb.snd;
  snd.una = snd.nxt = snd.max = tcb.iss + 1;  // the SYN-ACK is repeated by itself; the rest is as in ESTABLISHED
  tcb.rcv.edge = tcb.rcv.nxt + syn_window(*tcb.options);
  established(tcb);
  if (tcb.state == TcpState::closed || syn.length == 0) return DropReason::none;
  syn.seq = syn.seq + 1;
  syn.flags.bits &= static_cast<std::uint8_t>(~TcpFlags::syn);
  return process_text(tcb, syn);
}

// The first ACK of a connection that was opened by its SYN: the peer has our SYN-ACK.
void Tcp::confirm_fast_open(Tcb& tcb) noexcept {
  --fast_open_pending_;
  tcb.is.fast_open_pending = tcb.is.syn_ack_due = false;
  sample_handshake_rtt(tcb);
  tcb.retries = tcb.backoff = 0;
  tcb.progress = now_;
  if (tcb.board.empty()) tcb.rto_deadline = TimePoint::never();
}

}  // namespace pollux
