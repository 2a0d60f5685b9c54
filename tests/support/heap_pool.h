// A packet pool whose every mbuf is its own heap block, so that AddressSanitizer sees a one-octet over-read
// or a use after free that an ordinary mempool hides. Also the way to run out of mbufs on
// purpose.
#pragma once

#include <cstdint>
#include <memory>
#include <span>

#include "pollux/packet/pool.h"

namespace pollux::test {

/// A data pool and a clone pool. Every buffer ends where its heap block ends. One thread.
class HeapPool {
 public:
  /// At most `packets` data mbufs and as many clones may be in use at once; alloc fails beyond. `room`:
  /// payload octets behind the headroom.
  explicit HeapPool(std::uint32_t packets = 65536, std::uint16_t room = 2048);
  /// Aborts when a packet is still in use: no test leaks an mbuf.
  ~HeapPool();
  HeapPool(const HeapPool&) = delete;
  HeapPool& operator=(const HeapPool&) = delete;

  PacketPool pool() noexcept;
  std::uint32_t in_use() const noexcept;  ///< data mbufs plus clones
  /// Changes the limit from now on (0: every alloc fails), to provoke exhaustion and recovery.
  void set_limit(std::uint32_t packets) noexcept;
  /// A one-segment packet that holds `bytes` (at most 65,407) and has no tailroom: reading one octet behind
  /// what was "received" leaves the heap block. Null when the limit is reached.
  Packet exact_copy_of(std::span<const std::uint8_t> bytes) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::test
