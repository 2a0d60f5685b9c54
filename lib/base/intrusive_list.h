// A circular doubly linked list of nodes embedded in their owners: O(1) insert and remove, no allocation.
// An element must be unlinked before it is destroyed; is_linked() tells.
#pragma once

#include <cstddef>

#include "pollux/base/check.h"

namespace pollux {

struct ListNode {
  ListNode* prev = nullptr;
  ListNode* next = nullptr;

  bool is_linked() const noexcept { return next != nullptr; }
  void unlink() noexcept {
    POLLUX_DCHECK(is_linked());
    prev->next = next;
    next->prev = prev;
    prev = next = nullptr;
  }
};

/// A list of T through its member `Node` (a ListNode). The list must outlive its elements' links and must
/// not move. Not thread-safe.
template <typename T, ListNode T::*Node>
class IntrusiveList {
 public:
  IntrusiveList() noexcept { head_.prev = head_.next = &head_; }
  IntrusiveList(const IntrusiveList&) = delete;
  IntrusiveList& operator=(const IntrusiveList&) = delete;

  bool empty() const noexcept { return head_.next == &head_; }
  void push_back(T& element) noexcept { insert_before(head_, element.*Node); }
  void push_front(T& element) noexcept { insert_before(*head_.next, element.*Node); }
  T& front() noexcept { return *owner(head_.next); }
  T& pop_front() noexcept {
    POLLUX_DCHECK(!empty());
    T& element = front();
    (element.*Node).unlink();
    return element;
  }
  /// The element behind `element`, or nullptr at the end.
  T* next(T& element) noexcept {
    ListNode* n = (element.*Node).next;
    return n == &head_ ? nullptr : owner(n);
  }

  static T* owner(ListNode* node) noexcept {
    // Offset of the member inside T, computed on a fake address as offsetof does for a member pointer.
    alignas(T) static const char storage[sizeof(T)] = {};
    static const std::size_t offset = static_cast<std::size_t>(
        reinterpret_cast<const char*>(&(reinterpret_cast<const T*>(storage)->*Node)) - storage);
    return reinterpret_cast<T*>(reinterpret_cast<char*>(node) - offset);
  }

 private:
  static void insert_before(ListNode& where, ListNode& node) noexcept {
    POLLUX_DCHECK(!node.is_linked());
    node.prev = where.prev;
    node.next = &where;
    where.prev->next = &node;
    where.prev = &node;
  }
  ListNode head_;
};

}  // namespace pollux
