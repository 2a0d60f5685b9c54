// The congestion seam: a closed set of controllers held in place, so no heap and no virtual call per ACK.
#pragma once

#include <variant>

#include "pollux/tcp/cc/bbr.h"
#include "pollux/tcp/cc/cubic.h"
#include "pollux/tcp/cc/newreno.h"

namespace pollux {

class CongestionControl {
 public:
  CongestionControl() noexcept = default;
  explicit CongestionControl(NewReno controller) noexcept : controller_(controller) {}
  explicit CongestionControl(Cubic controller) noexcept : controller_(controller) {}
  explicit CongestionControl(BbrWindow controller) noexcept : controller_(controller) {}

  /// Octets that may be outstanding.
  std::uint32_t cwnd() const noexcept {
    return std::visit([](const auto& c) { return c.cwnd(); }, controller_);
  }
  std::uint32_t ssthresh() const noexcept {
    return std::visit([](const auto& c) { return c.ssthresh(); }, controller_);
  }
  void on_ack(const CcAck& ack) noexcept {
    std::visit([&](auto& c) { c.on_ack(ack); }, controller_);
  }
  /// Loss was detected and fast recovery begins: sets ssthresh. Until it ends, set_cwnd() says what may go.
  void on_congestion(const CcLoss& loss) noexcept {
    std::visit([&](auto& c) { c.on_congestion(loss); }, controller_);
  }
  void set_cwnd(std::uint32_t octets) noexcept {
    std::visit([&](auto& c) { c.set_cwnd(octets); }, controller_);
  }
  /// Retransmission timeout; `first` of this loss (not a repeated one).
  void on_timeout(const CcLoss& loss, bool first) noexcept {
    std::visit([&](auto& c) { c.on_timeout(loss, first); }, controller_);
  }
  /// The last on_congestion() or on_timeout() was a mistake (RFC 4015 3.2): back to the window and ssthresh before it.
  void undo() noexcept {
    std::visit([](auto& c) { c.undo(); }, controller_);
  }
  /// Nothing was sent for longer than one RTO: back to what a new connection may send.
  void on_idle_restart(std::uint32_t initial_window) noexcept {
    std::visit([&](auto& c) { c.on_idle_restart(initial_window); }, controller_);
  }
  /// The effective send MSS changed (path MTU).
  void set_mss(std::uint32_t mss) noexcept {
    std::visit([&](auto& c) { c.set_mss(mss); }, controller_);
  }

 private:
  std::variant<NewReno, Cubic, BbrWindow> controller_;
};

}  // namespace pollux
