// A packet pool whose every mbuf is its own heap block, so that AddressSanitizer sees a one-octet over-read or a
// use after free that an ordinary mempool hides. Needs no EAL. Also the way to run out of mbufs on purpose.
#pragma once

#include <cstdint>
#include <memory>

#include "pollux/packet/pool.h"

namespace pollux::test {

class HeapPool {
 public:
  /// At most `packets` data mbufs and as many clones may be in use at once; alloc fails beyond.
  explicit HeapPool(std::uint32_t packets = 65536, std::uint16_t room = 2048);
  /// Aborts when a packet is still in use: no test leaks an mbuf.
  ~HeapPool();
  HeapPool(const HeapPool&) = delete;
  HeapPool& operator=(const HeapPool&) = delete;

  PacketPool pool() noexcept;
  std::uint32_t in_use() const noexcept;  ///< data mbufs plus clones
  /// Changes the limit from now on (0: every alloc fails), to provoke exhaustion and recovery.
  void set_limit(std::uint32_t packets) noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace pollux::test
