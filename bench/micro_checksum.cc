// The Internet checksum at the sizes that packets have.
#include <benchmark/benchmark.h>

#include <vector>

#include "pollux/wire/checksum.h"

namespace pollux {
namespace {

void Checksum(benchmark::State& state) {
  const std::vector<std::uint8_t> bytes(static_cast<std::size_t>(state.range(0)), 0xa5);
  for (auto _ : state) {
    ChecksumSum sum;
    sum.add(bytes);
    benchmark::DoNotOptimize(sum.finish());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(Checksum)->Arg(20)->Arg(64)->Arg(576)->Arg(1460)->Arg(8960);

void ChecksumAtOddOffset(benchmark::State& state) {
  const std::vector<std::uint8_t> bytes(static_cast<std::size_t>(state.range(0)), 0xa5);
  for (auto _ : state) {
    ChecksumSum sum;
    sum.add_at_odd_offset(bytes);
    benchmark::DoNotOptimize(sum.finish());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(ChecksumAtOddOffset)->Arg(1460);

void PseudoHeader(benchmark::State& state) {
  IpAddress source = IpAddress::v4(192, 0, 2, 1);
  IpAddress destination = IpAddress::v4(192, 0, 2, 2);
  for (auto _ : state) {
    benchmark::DoNotOptimize(source);
    benchmark::DoNotOptimize(destination);
    ChecksumSum sum;
    sum.add_pseudo_header(source, destination, 6, 84);
    benchmark::DoNotOptimize(sum.finish());
  }
}
BENCHMARK(PseudoHeader);

}  // namespace
}  // namespace pollux
