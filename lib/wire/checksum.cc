#include "pollux/wire/checksum.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace pollux {

#if defined(__x86_64__)
namespace {

// Read once, before main(): which instructions there are does not change.
const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;

// 32-bit words are summed in 64-bit lanes, so nothing carries out. `size` is a multiple of 64.
[[gnu::target("avx2")]] std::uint64_t sum_avx2(const std::uint8_t* from, std::size_t size) noexcept {
  const __m256i low_words = _mm256_set1_epi64x(0xffffffff);
  __m256i sums[4] = {};
  for (const std::uint8_t* const end = from + size; from != end; from += 64) {
    const __m256i a = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    const __m256i b = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 32));
    sums[0] = _mm256_add_epi64(sums[0], _mm256_and_si256(a, low_words));
    sums[1] = _mm256_add_epi64(sums[1], _mm256_srli_epi64(a, 32));
    sums[2] = _mm256_add_epi64(sums[2], _mm256_and_si256(b, low_words));
    sums[3] = _mm256_add_epi64(sums[3], _mm256_srli_epi64(b, 32));
  }
  const __m256i sum = _mm256_add_epi64(_mm256_add_epi64(sums[0], sums[1]), _mm256_add_epi64(sums[2], sums[3]));
  const __m128i half = _mm_add_epi64(_mm256_castsi256_si128(sum), _mm256_extracti128_si256(sum, 1));
  return static_cast<std::uint64_t>(_mm_extract_epi64(half, 0)) + static_cast<std::uint64_t>(_mm_extract_epi64(half, 1));
}

}  // namespace
#endif

std::uint64_t ChecksumSum::sum_bulk(const std::uint8_t* from, std::size_t size) noexcept {
  ChecksumSum total;
#if defined(__x86_64__)
  constexpr std::size_t wide_min = 256;  // below, the chain of additions is over before the wide loop has begun
  if (size >= wide_min && has_avx2) {
    const std::size_t wide = size / 64 * 64;
    total.sum_ = sum_avx2(from, wide);
    from += wide;
    size -= wide;
  }
  unsigned long long sum = total.sum_;
  for (const std::uint8_t* const end = from + size; from != end; from += bulk_size) {
    unsigned char carry = _addcarry_u64(0, sum, load<std::uint64_t>(from), &sum);
    carry = _addcarry_u64(carry, sum, load<std::uint64_t>(from + 8), &sum);
    carry = _addcarry_u64(carry, sum, load<std::uint64_t>(from + 16), &sum);
    carry = _addcarry_u64(carry, sum, load<std::uint64_t>(from + 24), &sum);
    sum += carry;
  }
  total.sum_ = sum;
#else
  for (const std::uint8_t* const end = from + size; from != end; from += 8) total.accumulate(load<std::uint64_t>(from));
#endif
  return total.sum_;
}

}  // namespace pollux
