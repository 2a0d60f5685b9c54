// What the application sent and the peer has not acknowledged yet: a chain of mbufs from SND.UNA on. Segments
// take their payload by copy when small and by reference when large; a retransmission starts from the same bytes.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

#include "pollux/packet/packet.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Positions count octets from the queue's front (SND.UNA).
class SendQueue {
 public:
  /// Payloads up to this size are copied behind the headers: one mbuf instead of two, and cheaper than the
  /// reference's own header up to a few cache lines.
  static constexpr std::uint32_t copy_max = 256;
  /// A segment refers to at most this many pieces unless the caller says more; one made of more is copied together.
  static constexpr std::uint32_t pieces_max = 8;

  SendQueue() noexcept = default;
  SendQueue(const SendQueue&) = delete;
  SendQueue& operator=(const SendQueue&) = delete;
  ~SendQueue() { clear(); }

  std::uint32_t size() const noexcept { return size_; }

  /// Takes a payload chain; small ones are copied behind the last octet when there is room.
  void append(Packet payload) noexcept;
  /// Copies as much of `bytes` as the pool allows; returns the octets taken.
  std::uint32_t append_copy(PacketPool& pool, std::span<const std::uint8_t> bytes) noexcept;
  /// The peer acknowledged `n` octets (n <= size()): they are freed.
  void acknowledge(std::uint32_t n) noexcept;
  /// A packet that holds octets [position, position + length), with room for headers in front. Null when the pool
  /// is exhausted. Sequential positions cost O(1); position 0 too.
  Packet segment(PacketPool& pool, std::uint32_t position, std::uint32_t length,
                 std::uint32_t pieces = pieces_max) noexcept;
  void clear() noexcept;

 private:
  struct Place {
    rte_mbuf* mbuf = nullptr;
    std::uint32_t offset = 0;    // within mbuf
    std::uint32_t position = 0;  // of that octet within the queue
  };
  Place locate(std::uint32_t position) const noexcept;
  /// Mbufs that `length` octets from `from` lie in; stops counting above `most`.
  static std::uint32_t piece_count(Place from, std::uint32_t length, std::uint32_t most) noexcept;
  bool tail_takes(std::uint32_t n) const noexcept;

  rte_mbuf* head_ = nullptr;
  rte_mbuf* tail_ = nullptr;
  Place cursor_;  // where the last segment() ended
  std::uint32_t size_ = 0;
};

}  // namespace pollux
