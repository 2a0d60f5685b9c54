#include "pollux/drivers_glue/random.h"

#include <fmt/core.h>
#include <sys/random.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace pollux {

void fill_random(std::span<std::uint8_t> out) {
  while (!out.empty()) {
    const ssize_t n = getrandom(out.data(), out.size(), 0);
    if (n > 0) {
      out = out.subspan(static_cast<std::size_t>(n));
    } else if (errno != EINTR) {
      throw std::runtime_error(
          fmt::format("getrandom: no random numbers from the kernel: {}", std::strerror(errno)));
    }
  }
}

std::uint64_t random_u64() {
  std::uint64_t value = 0;
  fill_random({reinterpret_cast<std::uint8_t*>(&value), sizeof value});
  return value;
}

StackSecrets random_secrets() {
  StackSecrets secrets;
  secrets.isn_key = {random_u64(), random_u64()};
  secrets.syn_cookie_key = {random_u64(), random_u64()};
  secrets.fast_open_key = {random_u64(), random_u64()};
  secrets.flow_hash_seed = random_u64();
  return secrets;
}

}  // namespace pollux
