// Finding a flow among a thousand and among a million.
#include <benchmark/benchmark.h>

#include <vector>

#include "pollux/base/hash_index.h"
#include "pollux/base/rng.h"

namespace pollux {
namespace {

class Flows {
 public:
  explicit Flows(std::uint32_t count) : index_(count), hashes_(count) {
    Rng rng(1);
    for (std::uint32_t i = 0; i < count; ++i) {
      hashes_[i] = static_cast<std::uint32_t>(rng.next());
      POLLUX_CHECK(index_.insert(hashes_[i], i), "index full at %u", i);
    }
  }
  const HashIndex& index() const { return index_; }
  std::uint32_t hash(std::uint32_t flow) const { return hashes_[flow]; }
  std::uint32_t size() const { return static_cast<std::uint32_t>(hashes_.size()); }

 private:
  HashIndex index_;
  std::vector<std::uint32_t> hashes_;
};

// The order of lookups is random and drawn beforehand, so that nothing but the lookup is timed.
std::vector<std::uint32_t> random_hashes(const Flows& flows, bool present) {
  Rng rng(2);
  std::vector<std::uint32_t> hashes(1 << 16);
  for (std::uint32_t& hash : hashes)
    hash = present ? flows.hash(rng.below(flows.size())) : static_cast<std::uint32_t>(rng.next());
  return hashes;
}

void lookup(benchmark::State& state, bool present) {
  const Flows flows(static_cast<std::uint32_t>(state.range(0)));
  const std::vector<std::uint32_t> hashes = random_hashes(flows, present);
  std::size_t i = 0;
  for (auto _ : state)
    benchmark::DoNotOptimize(flows.index().find(hashes[i++ % hashes.size()], [](std::uint32_t) { return true; }));
}
void HashIndexHit(benchmark::State& state) { lookup(state, true); }
void HashIndexMiss(benchmark::State& state) { lookup(state, false); }
BENCHMARK(HashIndexHit)->Arg(1'000)->Arg(1'000'000);
BENCHMARK(HashIndexMiss)->Arg(1'000)->Arg(1'000'000);

// As over a burst: prefetch all, then look them up.
void HashIndexHitPrefetched(benchmark::State& state) {
  const Flows flows(static_cast<std::uint32_t>(state.range(0)));
  const std::vector<std::uint32_t> hashes = random_hashes(flows, true);
  constexpr std::size_t burst = 32;
  std::size_t first = 0;
  while (state.KeepRunningBatch(burst)) {
    for (std::size_t i = 0; i < burst; ++i) flows.index().prefetch(hashes[first + i]);
    for (std::size_t i = 0; i < burst; ++i)
      benchmark::DoNotOptimize(flows.index().find(hashes[first + i], [](std::uint32_t) { return true; }));
    first = (first + burst) % hashes.size();
  }
}
BENCHMARK(HashIndexHitPrefetched)->Arg(1'000)->Arg(1'000'000);

void HashIndexInsertAndErase(benchmark::State& state) {
  const auto count = static_cast<std::uint32_t>(state.range(0));
  HashIndex index(count + 1);
  Rng rng(3);
  for (std::uint32_t i = 0; i < count; ++i)
    POLLUX_CHECK(index.insert(static_cast<std::uint32_t>(rng.next()), i), "index full at %u", i);
  for (auto _ : state) {
    const auto hash = static_cast<std::uint32_t>(rng.next());
    benchmark::DoNotOptimize(index.insert(hash, count));
    index.erase(hash, count);
  }
}
BENCHMARK(HashIndexInsertAndErase)->Arg(1'000)->Arg(1'000'000);

}  // namespace
}  // namespace pollux
