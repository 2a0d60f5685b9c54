// TCP Fast Open's cookies (RFC 7413): those that a server gives out, and those that a client was given.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/base/siphash.h"
#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

/// RFC 7413 4.1.2: a cookie proves that its bearer has received at the address it claims. The key changes by itself: a
/// cookie is good for one to two lifetimes. Nothing is stored.
class FastOpenCookies {
 public:
  static constexpr std::size_t size = 8;
  using Cookie = std::array<std::uint8_t, size>;

  FastOpenCookies(SipKey key, Duration lifetime) noexcept : key_(key), lifetime_(lifetime) {}
  Cookie make(const IpAddress& local, const IpAddress& remote, TimePoint now) const noexcept;
  bool check(const IpAddress& local, const IpAddress& remote, std::span<const std::uint8_t> cookie, TimePoint now) const noexcept;

 private:
  Cookie make(const IpAddress& local, const IpAddress& remote, std::uint64_t epoch) const noexcept;
  std::uint64_t epoch(TimePoint now) const noexcept { return static_cast<std::uint64_t>(now.ns() / lifetime_.ns()); }

  SipKey key_;
  Duration lifetime_;
};

/// RFC 7413 4.1.3: what servers gave us, by address. A fixed table: a newer server may take an older one's place.
class FastOpenCache {
 public:
  struct Entry {
    IpAddress server;
    std::uint16_t mss = 0;  ///< what it announced
    std::uint8_t size = 0;  ///< of the cookie; 0: the entry is free
    std::array<std::uint8_t, 16> cookie{};
  };

  FastOpenCache(std::uint64_t seed, std::uint32_t entries) : seed_(seed), entries_(entries) {}
  /// Null when that server gave none.
  const Entry* find(const IpAddress& server) const noexcept;
  void put(const IpAddress& server, std::uint16_t mss, std::span<const std::uint8_t> cookie) noexcept;
  void forget(const IpAddress& server) noexcept;

 private:
  std::size_t slot(const IpAddress& server) const noexcept;

  std::uint64_t seed_;
  std::vector<Entry> entries_;
};

}  // namespace pollux
