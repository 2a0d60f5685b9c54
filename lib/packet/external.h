// The application's own memory as payload: sent without a copy, and given back by a callback once the peer has
// acknowledged it and no device reads it any more.
#pragma once

#include <rte_mbuf.h>

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/packet/packet.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// A region that devices may read, and its addresses as they see them. Runtime::register_memory makes one for its ports.
/// Immutable, so that every core may use it; it must outlive what is sent from it.
class ExternalMemory {
 public:
  /// For a Stack that is driven by hand and whose packets no device reads by itself.
  explicit ExternalMemory(std::span<const std::uint8_t> region) noexcept : region_(region) {}
  /// `pages`: the IO address of each page of `page_size` octets, first to last; `region` begins with a page.
  ExternalMemory(std::span<const std::uint8_t> region, std::size_t page_size, std::vector<rte_iova_t> pages);

  std::span<const std::uint8_t> region() const noexcept { return region_; }
  bool contains(std::span<const std::uint8_t> bytes) const noexcept {
    return bytes.data() >= region_.data() && bytes.data() + bytes.size() <= region_.data() + region_.size();
  }
  struct Piece {
    rte_iova_t iova;
    std::uint32_t length;  ///< octets that follow each other for a device too, at most what was asked for
  };
  /// Of the octets at `at`, which with `length` must be within.
  Piece piece_at(const std::uint8_t* at, std::uint32_t length) const noexcept;

 private:
  std::span<const std::uint8_t> region_;
  std::size_t page_size_ = 0;
  std::vector<rte_iova_t> pages_;  // none: a device sees the addresses that we see
};

/// One sending of external memory. The application owns it: neither it nor the octets sent may change or go before
/// on_complete(), or before the Runtime is gone. It can be used again from within on_complete() on.
class ExternalSend {
 public:
  ExternalSend() noexcept { rte_mbuf_ext_refcnt_set(&shared_, nobody); }
  ExternalSend(const ExternalSend&) = delete;
  ExternalSend& operator=(const ExternalSend&) = delete;

  /// Everything that was accepted has been acknowledged, or its connection is gone, and no device reads it. Once per
  /// sending, on the core that sent, from Stack::flush. Any call of the application's is allowed inside.
  virtual void on_complete() noexcept = 0;
  bool is_pending() const noexcept { return pending_; }

  virtual ~ExternalSend() {
    POLLUX_CHECK(!pending_ && rte_mbuf_ext_refcnt_read(&shared_) == nobody, "destroyed while its octets are being sent");
  }

 private:
  friend class ExternalSends;
  /// What the shared count says when the last reference is gone and nobody looks at it again: whoever dropped that one, on
  /// whatever core, goes on to read the callback when the count is 0.
  static constexpr std::uint16_t nobody = UINT16_MAX;
  static void on_last_reference(void* octets, void* send) noexcept;

  rte_mbuf_ext_shared_info shared_{};
  ExternalSend* next_ = nullptr;
  bool pending_ = false;  // in the list of the core that sent
};

/// One core's sendings that are not complete. The reference count that mbufs share says when one is: only then does
/// nobody, on whatever core, refer to the octets.
class ExternalSends {
 public:
  static constexpr std::uint32_t send_max = 1u << 20;  ///< octets of one sending: its references are counted in 16 bits
  static constexpr std::uint32_t polls_max = 16;       ///< looked at in one poll()

  ExternalSends() noexcept = default;
  ExternalSends(const ExternalSends&) = delete;
  ExternalSends& operator=(const ExternalSends&) = delete;
  ~ExternalSends();

  /// A packet of `bytes` (1 to send_max octets of `memory`) for `send`, which must not be pending. Null, and nothing
  /// pending, when the clone pool is exhausted.
  Packet wrap(PacketPool& pool, const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
              ExternalSend& send) noexcept;
  /// Calls on_complete() of those that are, as far as polls_max goes; the next call goes on with others.
  void poll() noexcept;
  void complete_all() noexcept;  ///< poll() until each has been looked at
  std::uint32_t pending() const noexcept { return count_; }

 private:
  void push(ExternalSend& send) noexcept;
  ExternalSend* head_ = nullptr;
  ExternalSend* tail_ = nullptr;
  std::uint32_t count_ = 0;
};

}  // namespace pollux
