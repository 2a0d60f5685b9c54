// WriteBuffer: room in the core's pool to write a message into that is then sent without a copy.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>
#include <utility>

#include "pollux/packet/bytes.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Move-only. Only the core that allocated it may touch it. Null (false) when moved from or when the pool was exhausted.
class WriteBuffer {
 public:
  static constexpr std::uint32_t size_max = PacketPool::alloc_max;

  WriteBuffer() noexcept = default;
  /// `size` octets, 1 to size_max, of undefined content.
  static WriteBuffer alloc(PacketPool& pool, std::uint32_t size) noexcept { return WriteBuffer(pool.alloc(size)); }

  explicit operator bool() const noexcept { return static_cast<bool>(packet_); }
  std::uint32_t size() const noexcept { return packet_ ? packet_.size() : 0; }
  /// Up to one mbuf's worth (PacketPool::room()) is in one piece.
  bool is_contiguous() const noexcept { return !packet_ || packet_.segment_count() == 1; }
  /// The first contiguous piece; valid until this is moved.
  std::span<std::uint8_t> front() noexcept {
    return packet_ ? std::span(packet_.data(), packet_.mbuf()->data_len) : std::span<std::uint8_t>{};
  }
  /// Calls f(std::span<uint8_t>) for every contiguous piece, in order.
  template <typename F>
  void for_each_piece(F&& f) {
    for (rte_mbuf* m = packet_.mbuf(); m != nullptr; m = m->next)
      f(std::span<std::uint8_t>(rte_pktmbuf_mtod(m, std::uint8_t*), m->data_len));
  }
  /// The first `n` octets (n <= size()), ready to be sent; the rest goes back to the pool.
  [[nodiscard]] Bytes take(std::uint32_t n) && noexcept {
    Bytes bytes(std::move(packet_));
    if (n < bytes.size()) bytes.truncate(n);
    return bytes;
  }
  [[nodiscard]] Bytes take() && noexcept { return Bytes(std::move(packet_)); }

 private:
  explicit WriteBuffer(Packet packet) noexcept : packet_(std::move(packet)) {}
  Packet packet_;
};

}  // namespace pollux
