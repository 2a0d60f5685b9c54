#include "pollux/tcp/time_wait.h"

namespace pollux {

std::uint32_t TimeWaitTable::add(const TimeWait& entry) noexcept {
  const std::uint32_t index = slab_.emplace(entry);
  POLLUX_DCHECK(index != nil);
  link_newest(index);
  return index;
}

void TimeWaitTable::remove(std::uint32_t index) noexcept {
  unlink(index);
  slab_.erase(index);
}

void TimeWaitTable::restart(std::uint32_t index, TimePoint expiry) noexcept {
  unlink(index);
  slab_[index].expiry = expiry;
  link_newest(index);
}

void TimeWaitTable::link_newest(std::uint32_t index) noexcept {
  TimeWait& entry = slab_[index];
  entry.older = newest_;
  entry.newer = nil;
  if (newest_ != nil) {
    slab_[newest_].newer = index;
  } else {
    oldest_ = index;
  }
  newest_ = index;
}

void TimeWaitTable::unlink(std::uint32_t index) noexcept {
  const TimeWait& entry = slab_[index];
  if (entry.older != nil) {
    slab_[entry.older].newer = entry.newer;
  } else {
    oldest_ = entry.newer;
  }
  if (entry.newer != nil) {
    slab_[entry.newer].older = entry.older;
  } else {
    newest_ = entry.older;
  }
}

}  // namespace pollux
