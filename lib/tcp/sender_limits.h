// What a snapshot tells of a sender's past: what held it back and for how long, and how fast the path delivered.
#pragma once

#include <cstdint>

#include "pollux/base/seq_num.h"
#include "pollux/base/time.h"

namespace pollux {

/// What keeps a sender, neither its congestion window nor its application, from sending more.
enum class SenderLimit : std::uint8_t {
  none,
  receive_window,  ///< data waits, and the peer's window has no room for it (RFC 4898 SndLimTimeRwin)
  send_buffer,     ///< all that the buffer took is sent; the application has more than it takes
};

/// Times are the core's 32-bit milliseconds: they wrap after 49 days.
class SenderLimits {
 public:
  SenderLimit current() const noexcept { return current_; }
  void set(SenderLimit limit, std::uint32_t now_ms) noexcept {
    if (limit == current_) return;
    count(now_ms);
    current_ = limit;
    since_ms_ = now_ms;
  }
  /// In all, up to now.
  std::uint32_t receive_window_ms(std::uint32_t now_ms) const noexcept { return at(now_ms).receive_window_ms_; }
  std::uint32_t send_buffer_ms(std::uint32_t now_ms) const noexcept { return at(now_ms).send_buffer_ms_; }

 private:
  void count(std::uint32_t now_ms) noexcept {
    if (current_ == SenderLimit::receive_window) receive_window_ms_ += now_ms - since_ms_;
    if (current_ == SenderLimit::send_buffer) send_buffer_ms_ += now_ms - since_ms_;
  }
  SenderLimits at(std::uint32_t now_ms) const noexcept {
    SenderLimits then = *this;
    then.count(now_ms);
    return then;
  }

  std::uint32_t receive_window_ms_ = 0;
  std::uint32_t send_buffer_ms_ = 0;
  std::uint32_t since_ms_ = 0;
  SenderLimit current_ = SenderLimit::none;
};

/// What was acknowledged in the last whole round trip, by the time that it took.
class RoundRate {
 public:
  /// SND.UNA advanced to `una`.
  void on_ack(SeqNum una, SeqNum nxt, TimePoint now) noexcept {
    if (open_ && una.before(end_)) return;
    if (open_ && now > since_)
      octets_per_s_ = std::uint64_t{static_cast<std::uint32_t>(una - from_)} * 1'000'000'000u / static_cast<std::uint64_t>((now - since_).ns());
    from_ = una;
    end_ = nxt;
    since_ = now;
    open_ = una.before(nxt);  // nothing outstanding: what comes next is timed by the application
  }
  /// 0: no round trip of outstanding data is over yet.
  std::uint64_t octets_per_s() const noexcept { return octets_per_s_; }

 private:
  TimePoint since_;
  std::uint64_t octets_per_s_ = 0;
  SeqNum from_;
  SeqNum end_;
  bool open_ = false;
};

}  // namespace pollux
