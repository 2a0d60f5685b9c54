// An open-addressing index from a 32-bit hash to a 32-bit reference. Keys stay with what they name (a Tcb, a
// neighbour, ...): the caller compares. Linear probing, power-of-two size, load at most one half, deletion by
// backward shift (no tombstones, so lookups never degrade). 8 bytes an entry.
#pragma once

#include <bit>
#include <cstdint>
#include <memory>

#include "pollux/base/check.h"

namespace pollux {

class HashIndex {
 public:
  static constexpr std::uint32_t not_found = 0xffffffffu;

  /// Room for `max_entries` entries; allocates once, here.
  explicit HashIndex(std::uint32_t max_entries)
      : mask_(std::bit_ceil(static_cast<std::uint64_t>(max_entries) * 2) - 1),
        max_entries_(max_entries),
        entries_(std::make_unique<Entry[]>(mask_ + 1)) {
    POLLUX_CHECK(max_entries > 0 && max_entries <= (1u << 30), "hash index of %u entries", max_entries);
  }

  std::uint32_t size() const noexcept { return size_; }
  std::size_t memory_bytes() const noexcept { return (mask_ + 1) * sizeof(Entry); }

  /// The reference stored under `hash` for which `is_match(ref)` is true, or `not_found`.
  template <typename IsMatch>
  std::uint32_t find(std::uint32_t hash, IsMatch&& is_match) const noexcept {
    for (std::uint64_t i = hash & mask_; entries_[i].ref_plus_one != 0; i = (i + 1) & mask_) {
      if (entries_[i].hash == hash && is_match(entries_[i].ref_plus_one - 1)) return entries_[i].ref_plus_one - 1;
    }
    return not_found;
  }

  /// Adds `ref` under `hash`; the caller has made sure it is not there. False when the index is full.
  [[nodiscard]] bool insert(std::uint32_t hash, std::uint32_t ref) noexcept {
    POLLUX_DCHECK(ref != not_found);
    if (size_ >= max_entries_) return false;
    std::uint64_t i = hash & mask_;
    while (entries_[i].ref_plus_one != 0) i = (i + 1) & mask_;
    entries_[i] = {hash, ref + 1};
    ++size_;
    return true;
  }

  /// Removes `ref` from under `hash`; it must be there.
  void erase(std::uint32_t hash, std::uint32_t ref) noexcept {
    std::uint64_t hole = locate(hash, ref);
    --size_;
    for (std::uint64_t i = (hole + 1) & mask_; entries_[i].ref_plus_one != 0; i = (i + 1) & mask_) {
      const std::uint64_t home = entries_[i].hash & mask_;
      // Entry i may fill the hole only if its probe path from `home` passes over the hole.
      if (((i - home) & mask_) >= ((i - hole) & mask_)) {
        entries_[hole] = entries_[i];
        hole = i;
      }
    }
    entries_[hole] = {};
  }

  /// Points the entry of `old_ref` at `new_ref` instead (a connection entering TIME-WAIT, say).
  void replace(std::uint32_t hash, std::uint32_t old_ref, std::uint32_t new_ref) noexcept {
    entries_[locate(hash, old_ref)].ref_plus_one = new_ref + 1;
  }

  void prefetch(std::uint32_t hash) const noexcept { __builtin_prefetch(&entries_[hash & mask_]); }

 private:
  struct Entry {
    std::uint32_t hash = 0;
    std::uint32_t ref_plus_one = 0;  // 0: empty
  };

  std::uint64_t locate(std::uint32_t hash, std::uint32_t ref) const noexcept {
    std::uint64_t i = hash & mask_;
    while (entries_[i].ref_plus_one != ref + 1 || entries_[i].hash != hash) {
      POLLUX_CHECK(entries_[i].ref_plus_one != 0, "hash index lost ref %u hash %08x", ref, hash);
      i = (i + 1) & mask_;
    }
    return i;
  }

  std::uint64_t mask_;
  std::uint32_t max_entries_;
  std::uint32_t size_ = 0;
  std::unique_ptr<Entry[]> entries_;
};

}  // namespace pollux
