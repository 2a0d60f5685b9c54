// The congestion seam: a closed set of controllers held in place, so no heap and no virtual call per ACK.
#pragma once

#include <variant>

#include "pollux/tcp/cc/newreno.h"

namespace pollux {

class CongestionControl {
 public:
  CongestionControl() noexcept = default;
  explicit CongestionControl(NewReno controller) noexcept : controller_(controller) {}

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
  /// Third duplicate ACK: fast retransmit starts.
  void on_recovery_enter(const CcLoss& loss) noexcept {
    std::visit([&](auto& c) { c.on_recovery_enter(loss); }, controller_);
  }
  void on_recovery_dup_ack() noexcept {
    std::visit([](auto& c) { c.on_recovery_dup_ack(); }, controller_);
  }
  void on_recovery_partial_ack(const CcAck& ack) noexcept {
    std::visit([&](auto& c) { c.on_recovery_partial_ack(ack); }, controller_);
  }
  void on_recovery_exit(const CcLoss& loss) noexcept {
    std::visit([&](auto& c) { c.on_recovery_exit(loss); }, controller_);
  }
  /// Retransmission timeout; `first` of this loss (not a repeated one).
  void on_timeout(const CcLoss& loss, bool first) noexcept {
    std::visit([&](auto& c) { c.on_timeout(loss, first); }, controller_);
  }
  /// Nothing was sent for longer than one RTO.
  void on_idle_restart() noexcept {
    std::visit([](auto& c) { c.on_idle_restart(); }, controller_);
  }
  /// The effective send MSS changed (path MTU).
  void set_mss(std::uint32_t mss) noexcept {
    std::visit([&](auto& c) { c.set_mss(mss); }, controller_);
  }

 private:
  std::variant<NewReno> controller_;
};

}  // namespace pollux
