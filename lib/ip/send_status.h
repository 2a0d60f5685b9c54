// What became of an application's send.
#pragma once

#include <cstdint>

namespace pollux {

enum class SendStatus : std::uint8_t {
  ok,           ///< all accepted
  would_block,  ///< only part accepted (SendResult::accepted); on_writable follows
  closed,       ///< the handle is stale, or the sending side was closed
  too_large,    ///< a datagram larger than the path's MTU allows
  no_route,     ///< no route or no source address for the destination
  no_memory,    ///< packet pool exhausted; try again later
};

/// accepted: octets taken. Less than asked only with would_block, closed or no_memory.
struct SendResult {
  std::uint32_t accepted = 0;
  SendStatus status = SendStatus::ok;
};

}  // namespace pollux
