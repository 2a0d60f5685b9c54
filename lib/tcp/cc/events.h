// What TCP tells a congestion controller. Numbers in, window out: no controller sees a connection.
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/time.h"

namespace pollux {

/// The slow start threshold at first: RFC 5681 3.1 wants it arbitrarily high.
constexpr std::uint32_t no_ssthresh = 0x7fffffff;

/// New data was acknowledged or SACKed, outside fast recovery.
struct CcAck {
  std::uint32_t acked = 0;        ///< octets newly acknowledged
  bool window_limited = false;    ///< the window was in use up to cwnd when this data was sent (RFC 7661)
  bool paced = false;             ///< what a larger window lets go does not go at once
  Duration rtt;                   ///< of this ACK's newest never-retransmitted octet; zero: no sample
  Duration srtt;                  ///< smoothed; zero before the first sample
  SeqNum una;                     ///< SND.UNA after this ACK ...
  SeqNum nxt;                     ///< ... and SND.NXT: where the next round trip ends
  TimePoint now;
};

/// Loss was detected, or the peer echoes congestion marks.
struct CcLoss {
  std::uint32_t in_flight = 0;    ///< octets outstanding when it was detected
  float share = 1;                ///< less than 1: only so much of the window met congestion (DCTCP's alpha, RFC 8257 3.3)
  TimePoint now;
};

}  // namespace pollux
