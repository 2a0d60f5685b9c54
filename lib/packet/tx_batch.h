// The packets of one turn for one port: filled by Stack::flush, drained by the core loop's tx_burst. What a
// full device ring refuses stays in front for the next turn, and the missing room is back-pressure.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "pollux/packet/packet.h"

namespace pollux {

/// A FIFO of packets with a stated capacity. Owned by the stack; only its core may touch it.
class TxBatch {
 public:
  static constexpr std::uint32_t capacity = 512;

  TxBatch() noexcept = default;
  TxBatch(const TxBatch&) = delete;
  TxBatch& operator=(const TxBatch&) = delete;
  ~TxBatch() { clear(); }

  std::uint32_t size() const noexcept { return count_; }
  std::uint32_t room() const noexcept { return capacity - count_; }
  /// Takes the packet when there is room; otherwise false and `packet` is untouched.
  [[nodiscard]] bool push(Packet& packet) noexcept {
    if (count_ == capacity) return false;
    packets_[count_++] = packet.release();
    return true;
  }
  /// The waiting packets, oldest first, ready for rte_eth_tx_burst.
  std::span<rte_mbuf*> pending() noexcept { return {packets_.data(), count_}; }
  /// The first `n` of pending() now belong to the device.
  void consume(std::uint32_t n) noexcept;
  /// Frees what is waiting.
  void clear() noexcept;

 private:
  std::uint32_t count_ = 0;
  std::array<rte_mbuf*, capacity> packets_;
};

}  // namespace pollux
