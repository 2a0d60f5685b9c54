// Brings a connection of the stack under test into any state of RFC 9293 3.3.2.
#pragma once

#include <cstdint>
#include <string>

#include "support/conversation.h"

namespace pollux::test {

/// The eleven states; SYN-RECEIVED twice, for RFC 9293 MUST-11. Bits, so that a row names several.
enum StateBit : std::uint16_t {
  CLOSED = 1 << 0,
  LISTEN = 1 << 1,
  SYN_SENT = 1 << 2,
  SYN_RCVD = 1 << 3,         ///< from a passive open
  SYN_RCVD_ACTIVE = 1 << 4,  ///< from a simultaneous open
  ESTAB = 1 << 5,
  FIN_WAIT_1 = 1 << 6,
  FIN_WAIT_2 = 1 << 7,
  CLOSE_WAIT = 1 << 8,
  CLOSING = 1 << 9,
  LAST_ACK = 1 << 10,
  TIME_WAIT = 1 << 11,
};
inline constexpr int state_bits = 12;
const char* state_bit_name(StateBit state);

/// Relative sequence numbers of the connection in the state it was driven to.
struct Numbers {
  std::int64_t rcv_nxt = 0;  ///< what the stack expects next from the peer
  std::int64_t snd_nxt = 0;  ///< one past what the stack has sent
};

/// `syn` are the peer's SYN or SYN+ACK options.
Numbers drive_to(Conversation& c, StateBit state, const Seg& syn = {.mss = 1460});

}  // namespace pollux::test
