#include "pollux/tcp/syn_cookie.h"

#include <cstring>
#include <iterator>

#include "pollux/base/byte_order.h"

namespace pollux {
namespace {

// Common offers: RFC 9293's defaults, tunnels, Ethernet, jumbo frames. The first is the least we use at all.
constexpr std::uint16_t mss_values[] = {64, 536, 1220, 1360, 1400, 1440, 1460, 8940};
constexpr std::uint32_t index_bits = 3, time_bits = 2;
static_assert(std::size(mss_values) == 1u << index_bits);

constexpr std::uint32_t option_mask = 0x3f;  // of a timestamp in ms
constexpr std::uint32_t scale_mask = 0x0f, no_scale = 0x0f, sack_bit = 0x10, ecn_bit = 0x20;

std::uint64_t period_of(TimePoint now) noexcept {
  return static_cast<std::uint64_t>(now.ns() / SynCookies::period.ns());
}

}  // namespace

std::uint32_t SynCookies::hash(const FlowKey& key, SeqNum peer_isn, std::uint64_t count,
                               std::uint32_t index) const noexcept {
  std::uint8_t input[16 + 16 + 2 + 2 + 4 + 8 + 4];
  std::memcpy(input, key.local.octets().data(), 16);
  std::memcpy(input + 16, key.remote.octets().data(), 16);
  store_be16(input + 32, key.local_port);
  store_be16(input + 34, key.remote_port);
  store_be32(input + 36, peer_isn.value());
  store_be32(input + 40, static_cast<std::uint32_t>(count >> 32));
  store_be32(input + 44, static_cast<std::uint32_t>(count));
  store_be32(input + 48, index);
  return static_cast<std::uint32_t>(siphash24(key_, input)) << (index_bits + time_bits);
}

SeqNum SynCookies::make(const FlowKey& key, SeqNum peer_isn, std::uint16_t mss,
                        TimePoint now) const noexcept {
  std::uint32_t index = std::size(mss_values) - 1;
  while (index > 0 && mss_values[index] > mss) --index;
  const std::uint64_t count = period_of(now);
  const auto time = static_cast<std::uint32_t>(count) & ((1u << time_bits) - 1);
  return SeqNum(hash(key, peer_isn, count, index) | time << index_bits | index);
}

std::optional<std::uint16_t> SynCookies::check(const FlowKey& key, SeqNum peer_isn, SeqNum cookie,
                                               TimePoint now) const noexcept {
  const std::uint32_t index = cookie.value() & ((1u << index_bits) - 1);
  const std::uint64_t age = (period_of(now) - (cookie.value() >> index_bits)) & ((1u << time_bits) - 1);
  if (age > 1) return std::nullopt;
  const std::uint32_t expected = hash(key, peer_isn, period_of(now) - age, index);
  if ((cookie.value() ^ expected) >> (index_bits + time_bits) != 0) return std::nullopt;
  return mss_values[index];
}

std::uint32_t SynCookies::timestamp(std::uint32_t clock_ms, const TcpOptionValues& syn, bool ecn) noexcept {
  const std::uint32_t bits = (syn.has_window_scale ? syn.window_scale : no_scale) |
                             (syn.sack_permitted ? sack_bit : 0) | (ecn ? ecn_bit : 0);
  const std::uint32_t stamp = (clock_ms & ~option_mask) | bits;
  // Not ahead of the clock: later segments must not look older than this one (RFC 7323 5).
  return static_cast<std::int32_t>(stamp - clock_ms) > 0 ? stamp - (option_mask + 1) : stamp;
}

void SynCookies::read_timestamp(std::uint32_t stamp, TcpOptionValues& syn) noexcept {
  const std::uint32_t scale = stamp & scale_mask;
  syn.has_window_scale = scale != no_scale;
  syn.window_scale = static_cast<std::uint8_t>(syn.has_window_scale ? scale : 0);
  syn.sack_permitted = (stamp & sack_bit) != 0;
}

bool SynCookies::has_ecn(std::uint32_t stamp) noexcept { return (stamp & ecn_bit) != 0; }

}  // namespace pollux
