// A fixed-capacity pool of T addressed by a 32-bit index, with a generation per slot so that a stale handle
// is recognised. Memory is reserved at construction and touched only when a slot is first used, so a large
// capacity costs address space, not RAM.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <utility>

#include "pollux/base/check.h"

namespace pollux {

/// Names a slot and the tenant it was issued for. 0 is never a live generation.
struct SlabHandle {
  std::uint32_t index = 0;
  std::uint32_t generation = 0;
  bool operator==(const SlabHandle&) const noexcept = default;
};

template <typename T>
class Slab {
 public:
  static constexpr std::uint32_t nil = 0xffffffffu;

  /// Reserves room for `capacity` elements (start-up only; aborts when the address space is refused).
  explicit Slab(std::uint32_t capacity) : capacity_(capacity) {
    POLLUX_CHECK(capacity > 0 && capacity < nil, "slab capacity %u", capacity);
    const std::size_t bytes = (sizeof(Slot) * capacity + alignof(Slot) - 1) / alignof(Slot) * alignof(Slot);
    slots_ = static_cast<Slot*>(std::aligned_alloc(alignof(Slot), bytes));
    POLLUX_CHECK(slots_ != nullptr, "no memory for %u slots of %zu bytes", capacity, sizeof(Slot));
  }
  ~Slab() {
    for (std::uint32_t i = 0; i < touched_; ++i)
      if (slots_[i].live) slots_[i].object()->~T();
    std::free(slots_);
  }
  Slab(const Slab&) = delete;
  Slab& operator=(const Slab&) = delete;

  std::uint32_t capacity() const noexcept { return capacity_; }
  std::uint32_t size() const noexcept { return size_; }
  bool full() const noexcept { return size_ == capacity_; }
  /// Slots below this have been used at least once: their memory was touched.
  std::uint32_t touched() const noexcept { return touched_; }
  /// Bytes one element costs in the slab, bookkeeping included.
  static constexpr std::size_t slot_bytes() noexcept { return sizeof(Slot); }

  /// Constructs an element and returns its index, or `nil` when the slab is full.
  template <typename... Args>
  std::uint32_t emplace(Args&&... args) noexcept {
    std::uint32_t index = free_head_;
    if (index != nil) {
      free_head_ = slots_[index].next_free;
    } else if (touched_ < capacity_) {
      index = touched_++;
      slots_[index].generation = 0;
      slots_[index].live = 0;
    } else {
      return nil;
    }
    Slot& slot = slots_[index];
    slot.generation = slot.generation + 1;
    if (slot.generation == 0) slot.generation = 1;  // 31 bits, and 0 is never live
    slot.live = 1;
    ::new (static_cast<void*>(slot.storage)) T(std::forward<Args>(args)...);
    ++size_;
    return index;
  }

  void erase(std::uint32_t index) noexcept {
    POLLUX_DCHECK(is_live(index));
    Slot& slot = slots_[index];
    slot.object()->~T();
    slot.live = 0;
    slot.next_free = free_head_;
    free_head_ = index;
    --size_;
  }

  T& operator[](std::uint32_t index) noexcept {
    POLLUX_DCHECK(is_live(index));
    return *slots_[index].object();
  }
  const T& operator[](std::uint32_t index) const noexcept {
    POLLUX_DCHECK(is_live(index));
    return *slots_[index].object();
  }

  bool is_live(std::uint32_t index) const noexcept { return index < touched_ && slots_[index].live; }
  SlabHandle handle(std::uint32_t index) const noexcept { return {index, slots_[index].generation}; }
  /// The element a handle names, or nullptr when that tenant is gone.
  T* find(SlabHandle h) noexcept {
    if (!is_live(h.index) || slots_[h.index].generation != h.generation) return nullptr;
    return slots_[h.index].object();
  }
  /// The index of an element of this slab, from its address.
  std::uint32_t index_of(const T& element) const noexcept {
    const auto offset = reinterpret_cast<const char*>(&element) - reinterpret_cast<const char*>(slots_);
    return static_cast<std::uint32_t>(static_cast<std::size_t>(offset) / sizeof(Slot));
  }

  /// Calls f(index, element) for every live element. Off the data path. f may erase the element it is given.
  template <typename F>
  void for_each(F&& f) {
    for (std::uint32_t i = 0; i < touched_; ++i)
      if (slots_[i].live) f(i, *slots_[i].object());
  }

 private:
  // What a handle is compared with lies in front, beside what an element's user looks at first.
  struct Slot {
    std::uint32_t next_free;  // meaningful while free
    std::uint32_t generation : 31;
    std::uint32_t live : 1;
    alignas(T) unsigned char storage[sizeof(T)];

    T* object() noexcept { return std::launder(reinterpret_cast<T*>(storage)); }
    const T* object() const noexcept { return std::launder(reinterpret_cast<const T*>(storage)); }
  };

  Slot* slots_ = nullptr;
  std::uint32_t capacity_;
  std::uint32_t touched_ = 0;  // slots below this have been used at least once
  std::uint32_t free_head_ = nil;
  std::uint32_t size_ = 0;
};

}  // namespace pollux
