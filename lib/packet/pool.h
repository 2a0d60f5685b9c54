// Where mbufs come from: a data pool (mbufs with room for a frame) and a clone pool (mbufs without room, that
// refer to another mbuf's bytes). A PacketPool does not own the mempools; drivers_glue creates them on the
// port's NUMA node, tests plug in a pool whose every mbuf is its own heap block (tests/support/heap_pool.h).
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>

#include "pollux/packet/packet.h"

namespace pollux {

/// One core's pools. Copyable (two pointers). Only the owning core may call it.
class PacketPool {
 public:
  PacketPool(rte_mempool* data, rte_mempool* clones) noexcept : data_(data), clones_(clones) {}

  /// An empty packet with RTE_PKTMBUF_HEADROOM octets of headroom; a null Packet when exhausted.
  Packet alloc() noexcept { return Packet(rte_pktmbuf_alloc(data_)); }
  /// A packet of `size` octets (1 to alloc_max) that hold nothing yet, headroom in front; null, and nothing leaked, when
  /// that is too many or the pool is exhausted.
  Packet alloc(std::uint32_t size) noexcept;
  static constexpr std::uint32_t alloc_max = 1u << 20;
  /// A one-segment packet without headroom that refers to octets [offset, offset + length) of the single
  /// segment `of`, without copying; keeps that buffer alive. Null when the clone pool is exhausted.
  /// `of` itself may be indirect or external. offset + length <= of.data_len.
  Packet reference(rte_mbuf& of, std::uint32_t offset, std::uint32_t length) noexcept;
  /// A one-segment packet without headroom that is the `length` octets at `at`, which live outside the pools; their
  /// `shared` count gets one more reference, dropped with the last mbuf that refers to them. `iova`: `at`, as devices see
  /// it. Null when the clone pool is exhausted.
  Packet external(const std::uint8_t* at, rte_iova_t iova, std::uint16_t length, rte_mbuf_ext_shared_info& shared) noexcept;
  /// Copies `bytes` (up to alloc_max) into freshly allocated, chained mbufs; null (nothing leaked) like alloc().
  Packet copy_of(std::span<const std::uint8_t> bytes) noexcept;
  /// The same with the octets of `packet` and `front` octets that lie in front of them in its first segment.
  Packet copy_of(const Packet& packet, std::uint32_t front = 0) noexcept;
  /// Splits `packet`, 0 < n < packet.size(): returns its first `n` octets and leaves the rest in `packet`.
  /// Payload is not copied: only an mbuf that the cut goes through is referenced from both sides, so neither
  /// side of such a cut can be written. Null, with `packet` unchanged, when the clone pool is exhausted.
  Packet split_front(Packet& packet, std::uint32_t n) noexcept;

  /// Payload octets one data mbuf holds behind its headroom.
  std::uint32_t room() const noexcept { return rte_pktmbuf_data_room_size(data_) - RTE_PKTMBUF_HEADROOM; }
  /// Data mbufs not in use now / in all. O(1) but sums per-core caches: call it once a turn, not per packet.
  std::uint32_t available() const noexcept { return rte_mempool_avail_count(data_); }
  std::uint32_t size() const noexcept { return data_->size; }
  /// The NUMA node that the mbufs lie on; SOCKET_ID_ANY (-1): none in particular.
  int socket() const noexcept { return data_->socket_id; }
  /// For DPDK's own functions that make packets.
  rte_mempool* data_mempool() noexcept { return data_; }
  rte_mempool* clone_mempool() noexcept { return clones_; }
  std::uint32_t in_use() const noexcept { return rte_mempool_in_use_count(data_); }
  /// The same for clone mbufs.
  std::uint32_t clones_available() const noexcept { return rte_mempool_avail_count(clones_); }
  std::uint32_t clones_size() const noexcept { return clones_->size; }
  std::uint32_t clones_in_use() const noexcept { return rte_mempool_in_use_count(clones_); }

 private:
  rte_mempool* data_;
  rte_mempool* clones_;
};

}  // namespace pollux
