#include "pollux/wire/checksum.h"

namespace pollux {
namespace {

__extension__ typedef unsigned __int128 Wide;  // low half: the sum; high half: how often it carried

}  // namespace

std::uint64_t ChecksumSum::sum_bulk(const std::uint8_t* from, std::size_t size) noexcept {
  Wide even = 0;  // two chains of add-with-carry, which the CPU runs side by side
  Wide odd = 0;
  for (const std::uint8_t* const end = from + size; from != end; from += bulk_size) {
    even += load<std::uint64_t>(from);
    odd += load<std::uint64_t>(from + 8);
    even += load<std::uint64_t>(from + 16);
    odd += load<std::uint64_t>(from + 24);
  }
  const Wide sum = even + odd;
  ChecksumSum total;
  total.accumulate(static_cast<std::uint64_t>(sum));
  total.accumulate(static_cast<std::uint64_t>(sum >> 64));
  return total.sum_;
}

}  // namespace pollux
