// Whose core something belongs to. There is no lock around what one core owns, so a call from another core corrupts it
// without a sound: entry points ask here instead (DCHECK on the data path, CHECK where calls are rare).
#pragma once

namespace pollux {

/// Remembers a thread, by the address of a marker that each thread has its own of; so asking makes no system call.
class CoreOwner {
 public:
  /// The calling thread is the owner from now on.
  void take() noexcept { owner_ = marker(); }
  /// Nobody is: any one thread may go on, and the next take() decides.
  void leave() noexcept { owner_ = nullptr; }
  bool is_taken() const noexcept { return owner_ != nullptr; }
  /// True on the owner's thread, and on every thread while there is no owner.
  bool is_here() const noexcept { return owner_ == nullptr || owner_ == marker(); }

 private:
  static const void* marker() noexcept;  // not inline: one for the whole process, shared libraries included
  const void* owner_ = nullptr;
};

}  // namespace pollux
