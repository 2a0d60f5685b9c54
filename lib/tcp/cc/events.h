// What TCP tells a congestion controller. Numbers in, window out: no controller sees a connection.
#pragma once

#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

/// New data was acknowledged.
struct CcAck {
  std::uint32_t acked = 0;        ///< octets newly acknowledged
  std::uint32_t in_flight = 0;    ///< octets outstanding after this ACK
  bool window_limited = false;    ///< the window was in use up to cwnd when this data was sent (RFC 7661)
  TimePoint now;
};

/// Loss was detected, or recovery ended.
struct CcLoss {
  std::uint32_t in_flight = 0;    ///< octets outstanding when it was detected
  TimePoint now;
};

}  // namespace pollux
