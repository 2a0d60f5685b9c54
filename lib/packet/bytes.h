// Bytes: payload that an application may keep, look at, split, send or drop. It owns the very mbufs the NIC
// wrote (or that the pool gave), without headers. What a connection delivered is charged to that connection's
// receive window until it is dropped or sent back on it.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "pollux/base/slab.h"
#include "pollux/packet/packet.h"
#include "pollux/packet/pool.h"

namespace pollux {

/// Told when charged bytes are dropped. Lives as long as every Bytes charged to it (a Stack outlives its
/// Bytes: destroy what you kept before you destroy the Stack).
struct ChargeLedger {
  std::uint32_t mbufs = 0;  ///< in all Bytes that are charged here
  void (*release)(ChargeLedger& self, SlabHandle owner, std::uint32_t octets) noexcept = nullptr;
};

/// Move-only. Only the owning core may touch or destroy it. Empty after a move.
class Bytes {
 public:
  Bytes() noexcept = default;
  /// Wraps a packet that holds only payload. With a ledger, size() octets are charged to `owner` already, and its mbufs to
  /// the ledger.
  explicit Bytes(Packet packet, ChargeLedger* ledger = nullptr, SlabHandle owner = {}) noexcept
      : packet_(std::move(packet)), ledger_(ledger), owner_(owner) {}
  Bytes(Bytes&& other) noexcept
      : packet_(std::move(other.packet_)),
        ledger_(std::exchange(other.ledger_, nullptr)),
        owner_(other.owner_) {}
  Bytes& operator=(Bytes&& other) noexcept {
    if (this != &other) {
      reset();
      packet_ = std::move(other.packet_);
      ledger_ = std::exchange(other.ledger_, nullptr);
      owner_ = other.owner_;
    }
    return *this;
  }
  ~Bytes() { reset(); }

  /// A copy of `bytes` in the core's pool; empty when the pool is exhausted or `bytes` is empty.
  static Bytes copy_of(PacketPool& pool, std::span<const std::uint8_t> bytes) noexcept {
    return bytes.empty() ? Bytes() : Bytes(pool.copy_of(bytes));
  }

  bool empty() const noexcept { return size() == 0; }
  explicit operator bool() const noexcept { return !empty(); }
  std::uint32_t size() const noexcept { return packet_ ? packet_.size() : 0; }
  /// The first contiguous piece; all of it when is_contiguous(). Valid until this is moved, split or dropped.
  std::span<const std::uint8_t> front() const noexcept {
    return packet_ ? packet_.front() : std::span<const std::uint8_t>{};
  }
  bool is_contiguous() const noexcept { return !packet_ || packet_.segment_count() == 1; }
  /// Calls f(std::span<const uint8_t>) for every contiguous piece in order.
  template <typename F>
  void for_each_piece(F&& f) const {
    for (const rte_mbuf* m = packet_.mbuf(); m != nullptr; m = m->next)
      if (m->data_len != 0)
        f(std::span<const std::uint8_t>(rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len));
  }
  /// Copies octets [offset, offset + out.size()), which must be within.
  void copy_out(std::uint32_t offset, std::span<std::uint8_t> out) const noexcept {
    packet_.copy_out(offset, out);
  }
  /// A std::string copy, for tests and text protocols.
  std::string to_string() const;

  /// Drops the first / all but the first `n` octets (n <= size()); their charge is released.
  void remove_prefix(std::uint32_t n) noexcept;
  void truncate(std::uint32_t n) noexcept;
  /// Splits off the first `n` octets (n <= size()) with their share of the charge, without copying payload.
  /// On an exhausted pool the result is empty and this is unchanged.
  [[nodiscard]] Bytes split_front(PacketPool& pool, std::uint32_t n) noexcept;
  /// Drops everything.
  void reset() noexcept {
    if (!packet_) return;
    release_charge(packet_.size(), packet_.segment_count());
    packet_.reset();
    ledger_ = nullptr;
  }

  /// For transports: the packet to look at; its buffers stay unchanged.
  const Packet& packet() const noexcept { return packet_; }
  /// For transports: whose window these bytes are charged to, if any.
  bool is_charged_to(const ChargeLedger* ledger, SlabHandle owner) const noexcept {
    return ledger_ == ledger && ledger_ != nullptr && owner_ == owner;
  }
  /// For the ledger's owner: takes the packet without telling the ledger, which has settled the charge
  /// itself.
  [[nodiscard]] Packet detach() noexcept {
    ledger_ = nullptr;
    return std::move(packet_);
  }
  /// For transports: takes the packet; the charge is released now.
  [[nodiscard]] Packet take_packet() noexcept {
    if (packet_) release_charge(packet_.size(), packet_.segment_count());
    ledger_ = nullptr;
    return std::move(packet_);
  }

 private:
  void release_charge(std::uint32_t octets, std::uint32_t mbufs) noexcept {
    if (ledger_ == nullptr) return;
    ledger_->mbufs -= mbufs;
    if (octets != 0) ledger_->release(*ledger_, owner_, octets);
  }
  Packet packet_;
  ChargeLedger* ledger_ = nullptr;
  SlabHandle owner_;
};

}  // namespace pollux
