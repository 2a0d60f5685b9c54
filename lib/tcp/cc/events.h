// What TCP tells a congestion controller. Numbers in, window out: no controller sees a connection.
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/time.h"

namespace pollux {

/// New data was acknowledged or SACKed, outside fast recovery.
struct CcAck {
  std::uint32_t acked = 0;        ///< octets newly acknowledged
  bool window_limited = false;    ///< the window was in use up to cwnd when this data was sent (RFC 7661)
  Duration rtt;                   ///< of this ACK's newest never-retransmitted octet; zero: no sample
  Duration srtt;                  ///< smoothed; zero before the first sample
  SeqNum una;                     ///< SND.UNA after this ACK ...
  SeqNum nxt;                     ///< ... and SND.NXT: where the next round trip ends
  TimePoint now;
};

/// Loss was detected.
struct CcLoss {
  std::uint32_t in_flight = 0;    ///< octets outstanding when it was detected
  TimePoint now;
};

}  // namespace pollux
