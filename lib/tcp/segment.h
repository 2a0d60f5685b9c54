// A received segment after validation: what the numbered steps of RFC 9293 3.10.7 look at.
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/packet/packet.h"
#include "pollux/wire/tcp.h"

namespace pollux {

/// RFC 3168 5: the two low bits of IP's Diffserv octet.
enum class EcnCodepoint : std::uint8_t { not_ect, ect_1, ect_0, ce };

struct Segment {
  SeqNum seq;
  SeqNum ack;
  std::uint32_t length = 0;  ///< payload octets
  std::uint32_t window = 0;  ///< as received, unscaled
  TcpFlags flags;
  EcnCodepoint ecn = EcnCodepoint::not_ect;  ///< of its IP packet
  std::uint16_t urgent_pointer = 0;  ///< set when flags has URG
  std::uint16_t merged = 1;  ///< how many segments came as this one (GRO)
  bool has_timestamp = false;
  std::uint32_t ts_value = 0;
  std::uint32_t ts_echo = 0;
  const TcpOptionValues* options = nullptr;  ///< all options, where there are more than a timestamp
  Packet payload;            ///< `length` octets; null when there are none or once they are taken

  /// SEG.LEN: payload plus SYN and FIN (RFC 9293 3.4).
  std::uint32_t sequence_length() const noexcept {
    return length + (flags.has(TcpFlags::syn) ? 1u : 0u) + (flags.has(TcpFlags::fin) ? 1u : 0u);
  }
  SeqNum end() const noexcept { return seq + sequence_length(); }
};

}  // namespace pollux
