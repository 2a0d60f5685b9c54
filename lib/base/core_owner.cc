#include "pollux/base/core_owner.h"

namespace pollux {

const void* CoreOwner::marker() noexcept {
  static thread_local char of_this_thread;
  return &of_this_thread;
}

}  // namespace pollux
