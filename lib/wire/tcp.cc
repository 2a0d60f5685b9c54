#include "pollux/wire/tcp.h"

#include <algorithm>

namespace pollux {
namespace {

using K = TcpOptionKind;

constexpr std::size_t options_size_max = TcpView::header_size_max - TcpView::header_size_min;
constexpr std::uint8_t window_scale_max = 14;

/// Reads one known option of `length` octets at `option`; false when that length is illegal for its kind.
bool read_option(TcpOptionValues& values, const std::uint8_t* option, std::size_t length) noexcept {
  switch (static_cast<K>(option[0])) {
    case K::mss:  // RFC 9293 3.2
      if (length != 4) return false;
      values.has_mss = true;
      values.mss = load_be16(option + 2);
      return true;
    case K::window_scale:  // RFC 7323 2.3: a shift count above 14 MUST be taken as 14
      if (length != 3) return false;
      values.has_window_scale = true;
      values.window_scale = std::min(option[2], window_scale_max);
      return true;
    case K::sack_permitted:  // RFC 2018 2
      if (length != 2) return false;
      values.sack_permitted = true;
      return true;
    case K::sack: {  // RFC 2018 3: 2 + 8n octets
      const std::size_t count = (length - 2) / 8;
      if (count == 0 || count > TcpOptionValues::sack_blocks_max || length != 2 + 8 * count) return false;
      for (std::size_t i = 0; i < count; ++i) {
        values.sacks[i].left = SeqNum(load_be32(option + 2 + 8 * i));
        values.sacks[i].right = SeqNum(load_be32(option + 6 + 8 * i));
      }
      values.sack_count = static_cast<std::uint8_t>(count);
      return true;
    }
    case K::timestamp:  // RFC 7323 3.2
      if (length != 10) return false;
      values.has_timestamp = true;
      values.ts_value = load_be32(option + 2);
      values.ts_echo = load_be32(option + 6);
      return true;
    case K::fast_open: {  // RFC 7413 2 and 4.1.1: what is no cookie is no option, and no reason to drop the segment
      const std::size_t size = length - 2;
      if (size != 0 && (size < 4 || size > values.fast_open_cookie.size() || size % 2 != 0)) return true;
      values.has_fast_open = true;
      values.fast_open_size = static_cast<std::uint8_t>(size);
      std::copy_n(option + 2, size, values.fast_open_cookie.begin());
      return true;
    }
    default:  // RFC 9293 MUST-6: options that are not implemented are ignored
      return true;
  }
}

}  // namespace

Parsed<TcpOptionValues> TcpOptionValues::parse(ByteView options) noexcept {
  TcpOptionValues values;
  for (std::size_t i = 0; i < options.size();) {
    if (options[i] == static_cast<std::uint8_t>(K::end_of_list)) break;
    if (options[i] == static_cast<std::uint8_t>(K::no_operation)) {
      ++i;
      continue;
    }
    // RFC 9293 MUST-7: be prepared for an illegal option length.
    const std::size_t left = options.size() - i;
    if (left < 2 || options[i + 1] < 2 || options[i + 1] > left) return reject(DropReason::tcp_bad_option);
    if (!read_option(values, &options[i], options[i + 1])) return reject(DropReason::tcp_bad_option);
    i += options[i + 1];
  }
  return values;
}

std::size_t TcpOptionValues::size_before_sacks() const noexcept {
  std::size_t size = 0;
  if (has_mss) size += 4;
  if (has_timestamp)
    size += timestamp_size;  // SACK-permitted takes the place of its padding
  else if (sack_permitted)
    size += 4;
  if (has_window_scale) size += 4;
  if (has_fast_open) size += (2u + fast_open_size + 3u) / 4u * 4u;
  return size;
}

std::size_t TcpOptionValues::sacks_that_fit(std::size_t size_before) const noexcept {
  const std::size_t fit = size_before + 4 > options_size_max ? 0 : (options_size_max - size_before - 4) / 8;
  return std::min<std::size_t>({sack_count, sack_blocks_max, fit});
}

std::size_t TcpOptionValues::emitted_size_slow() const noexcept {
  const std::size_t size = size_before_sacks();
  const std::size_t sack_blocks = sacks_that_fit(size);
  return sack_blocks == 0 ? size : size + 4 + 8 * sack_blocks;
}

std::size_t TcpOptionValues::emit_slow(std::uint8_t* out) const noexcept {
  constexpr std::uint32_t nops = 0x01010000u;  // NOP NOP in front of a 16-bit kind and length
  std::uint8_t* to = out;
  if (has_mss) {
    store_be32(to, 0x02040000u | mss);
    to += 4;
  }
  if (has_timestamp) {
    emit_timestamp(to);
    if (sack_permitted) store_be16(to, 0x0402);
    to += timestamp_size;
  } else if (sack_permitted) {
    store_be32(to, nops | 0x0402u);
    to += 4;
  }
  if (has_window_scale) {
    store_be32(to, 0x01030300u | window_scale);
    to += 4;
  }
  if (has_fast_open) {
    const std::size_t length = 2u + fast_open_size;
    if (length % 4 != 0) {
      store_be16(to, 0x0101);  // NOP NOP
      to += 2;
    }
    to[0] = static_cast<std::uint8_t>(K::fast_open);
    to[1] = static_cast<std::uint8_t>(length);
    std::copy_n(fast_open_cookie.begin(), fast_open_size, to + 2);
    to += length;
  }
  const std::size_t sack_blocks = sacks_that_fit(static_cast<std::size_t>(to - out));
  if (sack_blocks != 0) {
    store_be32(to, nops | 0x0500u | static_cast<std::uint32_t>(2 + 8 * sack_blocks));
    to += 4;
    for (std::size_t i = 0; i < sack_blocks; ++i, to += 8) {
      store_be32(to, sacks[i].left.value());
      store_be32(to + 4, sacks[i].right.value());
    }
  }
  return static_cast<std::size_t>(to - out);
}

}  // namespace pollux
