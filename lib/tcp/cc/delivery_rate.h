// How fast the path delivers: a sample with each ACK (draft-ietf-ccwg-bbr 4.1). Only connections whose controller has a model of
// the path keep this.
#pragma once

#include <algorithm>
#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

/// What is remembered of a segment when it leaves. Beside the record of the scoreboard, in memory that is touched only for
/// those who need it, so without constructors.
struct SentRate {
  std::uint64_t delivered;      ///< octets delivered before it was sent ...
  std::int64_t delivered_ns;    ///< ... and when the last of them was
  std::int64_t first_sent_ns;   ///< when the flight began that it belongs to
  std::uint64_t lost;           ///< octets lost before
  std::uint32_t in_flight;      ///< with itself
  bool app_limited;             ///< the application had left the path partly empty
};

/// What one ACK tells of the path.
struct RateSample {
  double rate = 0;                    ///< octets a second; 0: none
  std::uint32_t delivered = 0;        ///< octets, between the sending of the newest segment it covers and now
  std::uint64_t prior_delivered = 0;  ///< in all, when that segment was sent
  std::uint32_t in_flight_then = 0;   ///< when it was sent
  std::uint32_t lost = 0;             ///< octets lost since
  bool has_segment = false;           ///< the five above are valid
  bool app_limited = false;
  Duration rtt;                       ///< zero: no sample
  std::uint32_t newly_acked = 0;      ///< octets, SACKed ones too
  std::uint32_t in_flight = 0;        ///< after it
  std::uint64_t total_delivered = 0;
  bool in_recovery = false;
  bool window_limited = false;        ///< the window was in use up to cwnd within the last round trip
  TimePoint now;
};

class DeliveryRate {
 public:
  /// A segment leaves, also one that leaves again. `in_flight`: with it.
  SentRate on_sent(std::uint32_t octets, std::uint32_t in_flight, TimePoint now) noexcept {
    if (in_flight <= octets) first_sent_ns_ = delivered_ns_ = now.ns();  // a new flight
    return {delivered_, delivered_ns_, first_sent_ns_, lost_, in_flight, app_limited_until_ != 0};
  }
  void on_lost(std::uint32_t octets) noexcept { lost_ += octets; }
  void on_delivered(std::uint32_t octets, TimePoint now) noexcept {
    delivered_ += octets;
    delivered_ns_ = now.ns();
    if (app_limited_until_ != 0 && delivered_ > app_limited_until_) app_limited_until_ = 0;
  }
  /// After on_delivered() of what the ACK covers. `newest`: the segment of it that was sent last, at `sent_at`. An interval
  /// shorter than `min_rtt` is of an ACK that came too soon to be true, and gives no rate.
  void sample(const SentRate& newest, TimePoint sent_at, Duration min_rtt, RateSample& rs) noexcept {
    rs.has_segment = true;
    rs.prior_delivered = newest.delivered;
    rs.app_limited = newest.app_limited;
    rs.in_flight_then = newest.in_flight;
    rs.lost = static_cast<std::uint32_t>(lost_ - newest.lost);
    rs.delivered = static_cast<std::uint32_t>(delivered_ - newest.delivered);
    // 4.1.2.3: what ACKs say is never faster than what was sent.
    const std::int64_t send_ns = sent_at.ns() - newest.first_sent_ns;
    const std::int64_t ack_ns = delivered_ns_ - newest.delivered_ns;
    first_sent_ns_ = sent_at.ns();
    const std::int64_t interval_ns = std::max(send_ns, ack_ns);
    if (interval_ns >= std::max<std::int64_t>(min_rtt.ns(), 1)) rs.rate = rs.delivered * 1e9 / static_cast<double>(interval_ns);
  }
  /// The application leaves the path partly empty: what is sent until these octets are delivered says little of it.
  void mark_app_limited(std::uint32_t in_flight) noexcept {
    app_limited_until_ = std::max<std::uint64_t>(delivered_ + in_flight, 1);
  }
  std::uint64_t delivered() const noexcept { return delivered_; }
  std::uint64_t lost() const noexcept { return lost_; }
  bool app_limited() const noexcept { return app_limited_until_ != 0; }

 private:
  std::uint64_t delivered_ = 0;  // C.delivered
  std::int64_t delivered_ns_ = 0;
  std::int64_t first_sent_ns_ = 0;
  std::uint64_t lost_ = 0;
  std::uint64_t app_limited_until_ = 0;  // C.app_limited
};

}  // namespace pollux
