// SYN cookies (RFC 4987 3.6): a half-open connection that the peer remembers for us. What its SYN said is put
// into our initial sequence number (the MSS, under a keyed hash) and into the timestamp that it echoes
// (window scale, SACK, ECN).
#pragma once

#include <cstdint>
#include <optional>

#include "pollux/base/seq_num.h"
#include "pollux/base/siphash.h"
#include "pollux/base/time.h"
#include "pollux/tcp/flow_key.h"
#include "pollux/wire/tcp.h"

namespace pollux {

/// Of 32 bits 27 are hash, 2 the time and 3 the MSS: of all guesses one in 2^28 is right, while cookies are
/// out at all.
class SynCookies {
 public:
  /// How long a cookie is good for at least; twice this at most.
  static constexpr Duration period = Duration::from_s(64);

  explicit SynCookies(SipKey key) noexcept : key_(key) {}

  /// The initial sequence number that answers a SYN numbered `peer_isn` which offered `mss`.
  SeqNum make(const FlowKey& key, SeqNum peer_isn, std::uint16_t mss, TimePoint now) const noexcept;
  /// The MSS that was offered, rounded down to one that a cookie can hold; nothing when it is no cookie of
  /// ours or too old.
  std::optional<std::uint16_t> check(const FlowKey& key, SeqNum peer_isn, SeqNum cookie,
                                     TimePoint now) const noexcept;

  /// A timestamp, at most 64 ms before `clock_ms`, that holds the other options of a SYN.
  static std::uint32_t timestamp(std::uint32_t clock_ms, const TcpOptionValues& syn, bool ecn) noexcept;
  /// Those options, from its echo.
  static void read_timestamp(std::uint32_t stamp, TcpOptionValues& syn) noexcept;
  /// Whether ECN was agreed to.
  static bool has_ecn(std::uint32_t stamp) noexcept;

 private:
  std::uint32_t hash(const FlowKey& key, SeqNum peer_isn, std::uint64_t count,
                     std::uint32_t index) const noexcept;

  SipKey key_;
};

}  // namespace pollux
