// What routers have said about the way to a destination: how large a packet reaches it in one piece (RFC
// 1191, RFC 8201).
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

/// The size to use after a packet of `size` octets (with its IP header) was called too big for a next hop of
/// `claimed` (0: an IPv4 router that knows nothing of discovery); 0: no router says that (RFC 5927 7.1, RFC
/// 8201 4).
std::uint32_t believable_path_mtu(bool v4, std::uint32_t claimed, std::uint32_t size) noexcept;
/// Smaller paths are not believed in: RFC 879's 536 and 16; RFC 8200 5's 1280.
std::uint32_t path_mtu_floor(bool v4) noexcept;

/// Bounded: of the paths that share a place the one that was heard of longest ago is forgotten first.
class PathMtuTable {
 public:
  static constexpr std::uint32_t paths_max = 256;
  static constexpr Duration lifetime =
      Duration::from_s(600);  ///< RFC 1191 6.3, RFC 8201 5.3: then the full size is tried

  /// `seed`: secret, so that nobody chooses who shares a place.
  explicit PathMtuTable(std::uint64_t seed) : seed_(seed), paths_(paths_max) {}

  struct Path {
    IpAddress destination;
    std::uint16_t mtu = 0;
    bool smaller = false;  ///< a router named less than the floor: IPv4 packets leave without DF
    TimePoint until;       ///< not in use from then on
  };

  /// False: nothing is known about any path. One comparison.
  bool in_use(TimePoint now) const noexcept { return now < until_; }
  /// nullptr: nothing is known.
  const Path* find(const IpAddress& destination, TimePoint now) const noexcept;
  void set(const IpAddress& destination, std::uint16_t mtu, bool smaller, TimePoint now) noexcept;

 private:
  static constexpr std::uint32_t ways = 4;
  std::uint32_t place_of(const IpAddress& destination) const noexcept;

  std::uint64_t seed_;
  TimePoint until_;  // of the path that is known longest
  std::vector<Path> paths_;
};

}  // namespace pollux
