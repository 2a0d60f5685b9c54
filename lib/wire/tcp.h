// TCP header and options (RFC 9293 3.1, 3.2; RFC 7323; RFC 2018).
#pragma once

#include <array>

#include "pollux/base/byte_order.h"
#include "pollux/base/seq_num.h"
#include "pollux/wire/parsed.h"

namespace pollux {

/// The control bits of octet 13 of the header.
struct TcpFlags {
  static constexpr std::uint8_t fin = 0x01, syn = 0x02, rst = 0x04, psh = 0x08, ack = 0x10, urg = 0x20,
                                ece = 0x40, cwr = 0x80;
  std::uint8_t bits = 0;

  constexpr bool has(std::uint8_t flag) const noexcept { return (bits & flag) != 0; }
  constexpr bool has_all(std::uint8_t flags) const noexcept { return (bits & flags) == flags; }
  constexpr bool operator==(const TcpFlags&) const noexcept = default;
};

/// Option kinds that are read and written (RFC 9293 3.2, RFC 7323, RFC 2018).
enum class TcpOptionKind : std::uint8_t {
  end_of_list = 0,
  no_operation = 1,
  mss = 2,
  window_scale = 3,
  sack_permitted = 4,
  sack = 5,
  timestamp = 8,
  fast_open = 34,
};

/// One SACK block (RFC 2018 3): left <= octets < right.
struct SackBlock {
  SeqNum left;
  SeqNum right;
};

/// Options of one segment, as received or to be sent. Unknown options are skipped (RFC 9293 MUST-6).
struct TcpOptionValues {
  static constexpr std::size_t sack_blocks_max = 4;
  /// NOP NOP TS(10), the layout of RFC 7323 appendix A.
  static constexpr std::size_t timestamp_size = 12;

  bool has_mss = false;
  bool has_window_scale = false;
  bool has_timestamp = false;
  bool sack_permitted = false;
  bool has_fast_open = false;         ///< RFC 7413 2; a size of 0 asks for a cookie
  std::uint8_t fast_open_size = 0;    ///< octets of the cookie: 0, or even and 4 to 16
  std::uint8_t window_scale = 0;  ///< as received; RFC 7323 2.3: values above 14 count as 14 (parse clamps)
  std::uint8_t sack_count = 0;
  std::uint16_t mss = 0;
  std::uint32_t ts_value = 0;
  std::uint32_t ts_echo = 0;
  std::array<SackBlock, sack_blocks_max> sacks{};
  std::array<std::uint8_t, 16> fast_open_cookie{};

  /// `options` is the header's part behind octet 20. Rejects only lengths that are illegal or overrun.
  static Parsed<TcpOptionValues> parse(ByteView options) noexcept;
  /// Octets emit() will write: a multiple of 4, at most 40.
  std::size_t emitted_size() const noexcept {
    if (is_timestamp_or_none()) [[likely]]
      return has_timestamp ? timestamp_size : 0;
    return emitted_size_slow();
  }
  /// Writes the options, each padded by NOPs in front to a multiple of 4, and returns emitted_size(). SACK
  /// blocks come last, as many as fit: 4, or 3 beside a timestamp (RFC 2018 3).
  std::size_t emit(std::uint8_t* out) const noexcept {
    if (!is_timestamp_or_none()) [[unlikely]]
      return emit_slow(out);
    if (!has_timestamp) return 0;
    emit_timestamp(out);
    return timestamp_size;
  }

 private:
  /// What every segment without SYN or SACK carries.
  bool is_timestamp_or_none() const noexcept {
    return !has_mss && !has_window_scale && !sack_permitted && !has_fast_open && sack_count == 0;
  }
  void emit_timestamp(std::uint8_t* out) const noexcept {
    store_be32(out, 0x0101080a);
    store_be32(out + 4, ts_value);
    store_be32(out + 8, ts_echo);
  }
  std::size_t size_before_sacks() const noexcept;
  std::size_t sacks_that_fit(std::size_t size_before) const noexcept;
  std::size_t emitted_size_slow() const noexcept;
  std::size_t emit_slow(std::uint8_t* out) const noexcept;
};

/// A checked TCP header: data offset at least 5 and within the segment and within the contiguous bytes.
class TcpView {
 public:
  static constexpr std::size_t header_size_min = 20;
  static constexpr std::size_t header_size_max = 60;
  /// What the options of a timestamped data segment take.
  static constexpr std::size_t timestamp_option_size = TcpOptionValues::timestamp_size;

  static Parsed<TcpView> parse(ByteView bytes) noexcept {
    if (bytes.size() < header_size_min) return reject(DropReason::tcp_truncated);
    const std::size_t length = static_cast<std::size_t>(bytes[12] >> 4) * 4;
    if (length < header_size_min || length > bytes.size()) return reject(DropReason::tcp_bad_offset);
    return TcpView(bytes.data());
  }
  std::uint16_t source_port() const noexcept { return load_be16(data_); }
  std::uint16_t destination_port() const noexcept { return load_be16(data_ + 2); }
  SeqNum sequence() const noexcept { return SeqNum(load_be32(data_ + 4)); }
  SeqNum acknowledgment() const noexcept { return SeqNum(load_be32(data_ + 8)); }
  std::size_t header_length() const noexcept { return static_cast<std::size_t>(data_[12] >> 4) * 4; }
  TcpFlags flags() const noexcept { return TcpFlags{data_[13]}; }
  /// Unscaled, unsigned (RFC 9293 MUST-1).
  std::uint16_t window() const noexcept { return load_be16(data_ + 14); }
  std::uint16_t checksum() const noexcept { return load_be16(data_ + 16); }
  std::uint16_t urgent_pointer() const noexcept { return load_be16(data_ + 18); }
  ByteView options() const noexcept { return {data_ + header_size_min, header_length() - header_size_min}; }
  /// True when the options are exactly NOP NOP TS: then `ts_value`/`ts_echo` may be read without parsing.
  bool has_only_timestamp() const noexcept {
    return header_length() == header_size_min + timestamp_option_size && load_be32(data_ + 20) == 0x0101080a;
  }
  std::uint32_t fast_ts_value() const noexcept { return load_be32(data_ + 24); }
  std::uint32_t fast_ts_echo() const noexcept { return load_be32(data_ + 28); }

 private:
  explicit TcpView(const std::uint8_t* data) noexcept : data_(data) {}
  const std::uint8_t* data_;
};

struct TcpFields {
  std::uint16_t source_port = 0;
  std::uint16_t destination_port = 0;
  SeqNum sequence;
  SeqNum acknowledgment;
  TcpFlags flags;
  std::uint16_t window = 0;  // unscaled
  std::uint16_t urgent_pointer = 0;
  TcpOptionValues options;

  std::size_t header_length() const noexcept { return TcpView::header_size_min + options.emitted_size(); }
  /// Writes header_length() octets with a zero checksum field (offset 16); returns that length.
  std::size_t emit(std::uint8_t* out) const noexcept {
    const std::size_t length = TcpView::header_size_min + options.emit(out + TcpView::header_size_min);
    store_be16(out, source_port);
    store_be16(out + 2, destination_port);
    store_be32(out + 4, sequence.value());
    store_be32(out + 8, acknowledgment.value());
    out[12] = static_cast<std::uint8_t>(length / 4 << 4);
    out[13] = flags.bits;
    store_be16(out + 14, window);
    store_be16(out + 16, 0);
    store_be16(out + 18, urgent_pointer);
    return length;
  }
};

}  // namespace pollux
