#include "support/sim_link.h"

#include <algorithm>
#include <utility>

namespace pollux::test {
namespace {

bool is_arp(const Frame& frame) {
  return frame.size() >= 14 && frame[12] == 0x08 && frame[13] == 0x06;
}

std::uint32_t bound_of(Duration d) {
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(d.ns(), 1, 0xffffffff));
}

// An error burst within one octet: RFC 1071's sum catches every burst of up to 15 bits, so a corrupted frame
// that is accepted is a bug, never bad luck.
void corrupt_one_octet(Frame& frame, Rng& rng) {
  const std::uint32_t at = rng.below(static_cast<std::uint32_t>(frame.size()));
  frame[at] = static_cast<std::uint8_t>(frame[at] ^ (1 + rng.below(255)));
}

// RFC 3168 5: ECT becomes CE. False for packets that are neither.
bool mark_congestion(Frame& frame) {
  constexpr std::size_t ip = 14;
  if (frame.size() < ip + 40) return false;
  if (frame[12] == 0x86 && frame[13] == 0xdd) {
    if ((frame[ip + 1] & 0x30) == 0) return false;
    frame[ip + 1] |= 0x30;
    return true;
  }
  if (frame[12] != 0x08 || frame[13] != 0x00 || (frame[ip + 1] & 3) == 0) return false;
  frame[ip + 1] |= 3;
  frame[ip + 10] = frame[ip + 11] = 0;
  const std::uint16_t sum = checksum_of(checksum_add(FrameView(frame).subspan(ip, (frame[ip] & 15u) * 4)));
  frame[ip + 10] = static_cast<std::uint8_t>(sum >> 8);
  frame[ip + 11] = static_cast<std::uint8_t>(sum);
  return true;
}

}  // namespace

TimePoint SimLink::serialise(std::size_t octets, TimePoint now) {
  if (options_.bits_per_second == 0) return now;
  const std::size_t on_wire = octets + 24;  // preamble, FCS and gap
  const auto ns = static_cast<std::int64_t>(on_wire * 8 * 1'000'000'000ull / options_.bits_per_second);
  busy_until_ = std::max(busy_until_, now) + Duration::from_ns(ns);
  leaving_.push_back(busy_until_);
  return busy_until_;
}

bool SimLink::transmit(Frame frame, TimePoint now, Rng& rng) {
  ++counts_.sent;
  if (losing_ == 0 && rng.chance(options_.loss)) losing_ = options_.loss_run;
  if (losing_ != 0 || (drop_if && drop_if(decode(frame)))) {
    if (losing_ != 0) --losing_;
    ++counts_.lost;
    return false;
  }
  while (!leaving_.empty() && leaving_.front() <= now) leaving_.pop_front();
  counts_.waiting += leaving_.size();
  if (leaving_.size() >= options_.queue_max) {
    ++counts_.overflowed;
    return false;
  }
  if (leaving_.size() >= options_.mark_above && mark_congestion(frame)) ++counts_.marked;
  TimePoint arrival = serialise(frame.size(), now) + options_.delay;
  if (options_.jitter.ns() > 0) arrival = arrival + Duration::from_ns(rng.below(bound_of(options_.jitter)));
  if (rng.chance(options_.reorder)) {
    ++counts_.reordered;
    arrival = arrival + Duration::from_ns(rng.below(bound_of(options_.reorder_delay)));
  } else {
    arrival = last_arrival_ = std::max(arrival, last_arrival_);
  }
  if (rng.chance(options_.duplicate)) {
    ++counts_.duplicated;
    ++counts_.delivered;
    deliver_(arrival + Duration::from_ns(rng.below(bound_of(options_.reorder_delay))), frame);
  }
  if (rng.chance(options_.corrupt) && (options_.corrupt_arp || !is_arp(frame))) {
    ++counts_.corrupted;
    corrupt_one_octet(frame, rng);
  }
  ++counts_.delivered;
  deliver_(arrival, std::move(frame));
  return true;
}

}  // namespace pollux::test
