// Packet: the move-only owner of one mbuf chain that holds (part of) a frame.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>
#include <utility>

#include "pollux/base/check.h"

namespace pollux {

/// Owns an mbuf chain and frees it when destroyed. Null (false) when empty or moved from. Only the owning
/// core may use it. Sizes are octets.
class Packet {
 public:
  Packet() noexcept = default;
  /// Takes ownership of `head` (may be nullptr).
  explicit Packet(rte_mbuf* head) noexcept : head_(head) {}
  Packet(Packet&& other) noexcept : head_(std::exchange(other.head_, nullptr)) {}
  Packet& operator=(Packet&& other) noexcept {
    if (this != &other) {
      reset();
      head_ = std::exchange(other.head_, nullptr);
    }
    return *this;
  }
  ~Packet() { reset(); }

  explicit operator bool() const noexcept { return head_ != nullptr; }
  rte_mbuf* mbuf() const noexcept { return head_; }
  /// Gives ownership away.
  [[nodiscard]] rte_mbuf* release() noexcept { return std::exchange(head_, nullptr); }
  void reset() noexcept {
    if (head_ != nullptr) rte_pktmbuf_free(std::exchange(head_, nullptr));
  }

  std::uint32_t size() const noexcept { return head_->pkt_len; }
  std::uint32_t segment_count() const noexcept { return head_->nb_segs; }
  std::uint8_t* data() const noexcept { return rte_pktmbuf_mtod(head_, std::uint8_t*); }
  /// True when nobody else can see `segment`'s buffer: it is its own, and no clone refers to it.
  static bool is_writable(const rte_mbuf* segment) noexcept {
    return RTE_MBUF_DIRECT(segment) && rte_mbuf_refcnt_read(segment) == 1;
  }
  /// The first segment's bytes: headers are parsed here.
  std::span<const std::uint8_t> front() const noexcept { return {data(), head_->data_len}; }

  /// Adds `n` octets in front and returns their address, or nullptr when the headroom is too small or the
  /// first segment's buffer is shared (writing would change bytes that someone else reads).
  std::uint8_t* push_front(std::uint32_t n) noexcept {
    if (!is_writable(head_) || n > rte_pktmbuf_headroom(head_)) return nullptr;
    return reinterpret_cast<std::uint8_t*>(rte_pktmbuf_prepend(head_, static_cast<std::uint16_t>(n)));
  }
  /// Adds `n` octets at the end of the last segment and returns their address, or nullptr when its tailroom
  /// is too small or its buffer is shared.
  std::uint8_t* push_back(std::uint32_t n) noexcept {
    rte_mbuf* const last = rte_pktmbuf_lastseg(head_);
    if (!is_writable(last) || n > rte_pktmbuf_tailroom(last)) return nullptr;
    return reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(head_, static_cast<std::uint16_t>(n)));
  }
  /// Removes the first `n` octets, across segments; emptied leading segments are freed, but a packet keeps at
  /// least one segment. n <= size().
  void pull_front(std::uint32_t n) noexcept {
    if (n >= head_->data_len) [[unlikely]]
      return pull_segments(n);
    pull_from_head(n);
  }
  /// Keeps the first `n` octets, across segments; segments behind them are freed. n <= size().
  void trim_to(std::uint32_t n) noexcept;
  /// Appends `tail`'s segments. Returns false, with `tail` untouched, when the chain would exceed
  /// RTE_MBUF_MAX_NB_SEGS.
  [[nodiscard]] bool chain(Packet& tail) noexcept {
    if (rte_pktmbuf_chain(head_, tail.head_) != 0) return false;
    tail.head_ = nullptr;
    return true;
  }
  /// Copies octets [offset, offset + out.size()) to `out`; the range must be within the packet.
  void copy_out(std::uint32_t offset, std::span<std::uint8_t> out) const noexcept;

 private:
  void pull_from_head(std::uint32_t n) noexcept {
    head_->data_off = static_cast<std::uint16_t>(head_->data_off + n);
    head_->data_len = static_cast<std::uint16_t>(head_->data_len - n);
    head_->pkt_len -= n;
  }
  void pull_segments(std::uint32_t n) noexcept;

  rte_mbuf* head_ = nullptr;
};

}  // namespace pollux
