// The 4-tuple that names a connection, and its hash.
#pragma once

#include <cstdint>
#include <cstring>

#include "pollux/wire/address.h"

namespace pollux {

struct FlowKey {
  IpAddress local;
  IpAddress remote;
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;

  bool operator==(const FlowKey& other) const noexcept {
    return local_port == other.local_port && remote_port == other.remote_port && remote == other.remote &&
           local == other.local;
  }

  /// A seeded 32-bit hash by two 64x64 -> 128 bit multiplications (the folded-multiply family): without the
  /// seed a peer cannot aim its ports at one bucket.
  std::uint32_t hash(std::uint64_t seed) const noexcept {
    std::uint64_t words[4];
    std::memcpy(words, local.octets().data(), 16);
    std::memcpy(words + 2, remote.octets().data(), 16);
    const std::uint64_t ports = std::uint64_t{local_port} << 16 | remote_port;
    const std::uint64_t a = fold(words[0] ^ words[2] ^ seed, words[1] ^ 0x9e3779b97f4a7c15u);
    const std::uint64_t b = fold(words[3] ^ a, (ports ^ seed) * 0xff51afd7ed558ccdu | 1);
    return static_cast<std::uint32_t>(b ^ (b >> 32));
  }

 private:
  static std::uint64_t fold(std::uint64_t x, std::uint64_t y) noexcept {
    const unsigned __int128 product = static_cast<unsigned __int128>(x) * y;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
};

/// A FlowKey as a connection keeps it. An IPv4 one is whole; what an IPv6 one holds besides the ports is where the addresses
/// lie.
class StoredKey {
 public:
  struct V6Addresses {
    IpAddress local;
    IpAddress remote;
  };
  std::uint16_t local_port = 0;
  std::uint16_t remote_port = 0;

  StoredKey() noexcept = default;
  /// Of an IPv4 connection.
  explicit StoredKey(const FlowKey& key) noexcept
      : local_port(key.local_port), remote_port(key.remote_port), local_(key.local.v4_word()), remote_(key.remote.v4_word()) {}
  /// Of an IPv6 connection, `index`: of its addresses.
  StoredKey(const FlowKey& key, std::uint32_t index) noexcept
      : local_port(key.local_port), remote_port(key.remote_port), local_(v6_tag), remote_(index) {}

  bool is_v4() const noexcept { return local_ != v6_tag; }
  /// Whether `key` is this one of an IPv4 connection. The addresses of a FlowKey are of one family.
  bool is(const FlowKey& key) const noexcept {
    return local_port == key.local_port && remote_port == key.remote_port && key.remote.v4_word() == remote_ &&
           key.local.v4_word() == local_ && key.remote.is_v4();
  }
  std::uint32_t v6_index() const noexcept { return remote_; }
  /// Of an IPv4 connection.
  IpAddress v4_local() const noexcept { return IpAddress::v4_from_word(local_); }
  IpAddress v4_remote() const noexcept { return IpAddress::v4_from_word(remote_); }

 private:
  static constexpr std::uint32_t v6_tag = 0xffffffffu;  // the limited broadcast address is nobody's
  std::uint32_t local_ = 0;
  std::uint32_t remote_ = 0;
};

}  // namespace pollux
