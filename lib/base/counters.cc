#include "pollux/base/counters.h"

namespace pollux {
namespace {

struct Named {
  const char* name;
  const char* text;
};

constexpr Named drop_names[] = {
    {"none", "not dropped"},
#define POLLUX_DROP(name, text) {#name, text},
#include "pollux/base/drop_reason.def"
#undef POLLUX_DROP
};
static_assert(std::size(drop_names) == drop_reason_count);

constexpr Named counter_names[] = {
#define POLLUX_COUNTER(name, label, text) {label, text},
#include "pollux/base/counter.def"
#undef POLLUX_COUNTER
};
static_assert(std::size(counter_names) == counter_count);

}  // namespace

const char* drop_reason_name(DropReason reason) noexcept { return drop_names[static_cast<std::size_t>(reason)].name; }
const char* drop_reason_text(DropReason reason) noexcept { return drop_names[static_cast<std::size_t>(reason)].text; }
const char* counter_label(Counter counter) noexcept { return counter_names[static_cast<std::size_t>(counter)].name; }
const char* counter_text(Counter counter) noexcept { return counter_names[static_cast<std::size_t>(counter)].text; }

std::uint64_t Counters::drops() const noexcept {
  std::uint64_t sum = 0;
  for (const auto n : drops_) sum += n;
  return sum;
}

Counters& Counters::operator+=(const Counters& other) noexcept {
  for (std::size_t i = 0; i < counter_count; ++i) values_[i] += other.values_[i];
  for (std::size_t i = 0; i < drop_reason_count; ++i) drops_[i] += other.drops_[i];
  return *this;
}

}  // namespace pollux
