#include "pollux/tcp/port_selector.h"

#include <bit>

namespace pollux {
namespace {

/// The first set bit of `words` from bit `start` on, going round; there is one.
std::uint32_t next_set(const std::vector<std::uint64_t>& words, std::uint32_t start) noexcept {
  const auto size = static_cast<std::uint32_t>(words.size());
  std::uint32_t at = start / 64;
  std::uint64_t word = words[at] & ~std::uint64_t{0} << start % 64;
  while (word == 0) {
    at = at + 1 == size ? 0 : at + 1;
    word = words[at];
  }
  return at * 64 + static_cast<std::uint32_t>(std::countr_zero(word));
}

}  // namespace

PortSelector::PortSelector(const LocalPorts& ports, Rng& rng) : ports_(ports), rng_(rng) {}
PortSelector::~PortSelector() = default;

std::uint32_t PortSelector::find(const FlowKey& key) const noexcept {
  if (destinations_.size() == 0) return Slab<Destination>::nil;
  static_assert(HashIndex::not_found == Slab<Destination>::nil);
  const FlowKey wanted = without_port(key);
  return index_.find(wanted.hash(0), [&](std::uint32_t i) { return destinations_[i].key == wanted; });
}

PortSelector::Destination& PortSelector::make(const FlowKey& key) {
  if (destinations_.full()) {
    forget(next_victim_);
    next_victim_ = (next_victim_ + 1) % destinations_max;
  }
  const std::uint32_t words = (ports_.count() + 63) / 64;
  Destination made{.key = without_port(key),
                   .hash = without_port(key).hash(0),
                   .free = std::vector<std::uint64_t>(words),
                   .summary = std::vector<std::uint64_t>((words + 63) / 64)};
  const std::uint32_t index = destinations_.emplace(std::move(made));
  const bool inserted = index_.insert(destinations_[index].hash, index);
  POLLUX_CHECK(inserted, "destination index smaller than its slab");
  return destinations_[index];
}

void PortSelector::forget(std::uint32_t index) noexcept {
  index_.erase(destinations_[index].hash, index);
  destinations_.erase(index);
}

void PortSelector::set_free(Destination& destination, std::uint32_t i) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << i % 64;
  destination.free_count += (destination.free[i / 64] & bit) == 0;
  destination.free[i / 64] |= bit;
  destination.summary[i / 4096] |= std::uint64_t{1} << i / 64 % 64;
}

void PortSelector::set_taken(Destination& destination, std::uint32_t i) noexcept {
  const std::uint64_t bit = std::uint64_t{1} << i % 64;
  destination.free_count -= (destination.free[i / 64] & bit) != 0;
  destination.free[i / 64] &= ~bit;
  if (destination.free[i / 64] == 0) destination.summary[i / 4096] &= ~(std::uint64_t{1} << i / 64 % 64);
}

void PortSelector::note(const FlowKey& key, bool is_free) noexcept {
  const std::uint32_t index = find(key);
  if (index == Slab<Destination>::nil) return;
  const std::uint32_t i = ports_.number(key);
  if (i == ports_.count()) return;
  Destination& destination = destinations_[index];
  if (!is_free) {
    set_taken(destination, i);
    return;
  }
  set_free(destination, i);
  if (destination.free_count > ports_.count() / 4 * 3) forget(index);  // random tries do again
}

/// A random word that has some, and a random place in it to begin at.
std::uint16_t PortSelector::take_free(Destination& destination) noexcept {
  if (destination.free_count == 0) return 0;
  const auto words = static_cast<std::uint32_t>(destination.free.size());
  const std::uint32_t word = next_set(destination.summary, rng_.below(words));
  const auto turned = static_cast<int>(rng_.below(64));
  const std::uint64_t bits = std::rotr(destination.free[word], turned);
  const std::uint32_t i = word * 64 + static_cast<std::uint32_t>(std::countr_zero(bits) + turned) % 64;
  const std::uint16_t port = ports_.port(destination.key, i);
  set_taken(destination, i);  // the connection says so too; until then it must not be given away twice
  return port;
}

}  // namespace pollux
