#include "pollux/ip/path_mtu.h"

#include <algorithm>
#include <cstring>
#include <iterator>

#include "pollux/ip/interface.h"

namespace pollux {
namespace {

// RFC 1191 7.1: a router that knows nothing of discovery names no size; then the next common one below ours.
std::uint32_t plateau_below(std::uint32_t size, std::uint32_t floor) noexcept {
  static constexpr std::uint32_t plateaus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006};
  const auto* at =
      std::find_if(std::begin(plateaus), std::end(plateaus), [&](std::uint32_t p) { return p < size; });
  return at == std::end(plateaus) ? floor : std::max(*at, floor);
}

}  // namespace

std::uint32_t path_mtu_floor(bool v4) noexcept {
  return v4 ? 552 : v6_mtu_min;
}

std::uint32_t believable_path_mtu(bool v4, std::uint32_t claimed, std::uint32_t size) noexcept {
  // RFC 791, RFC 8200 5: every path carries that.
  const std::uint32_t carried_by_all = v4 ? 68 : v6_mtu_min;
  const std::uint32_t floor = path_mtu_floor(v4);
  // RFC 8201 4: over IPv6 every router names a size.
  if (claimed == 0 && v4) claimed = plateau_below(size, floor);
  // RFC 5927 7.1: no router asks for what no packet of ours exceeds, or for less than all carry.
  if (claimed >= size || claimed < carried_by_all) return 0;
  const std::uint32_t mtu = std::max(claimed, floor);
  return mtu < size ? mtu : 0;
}

std::uint32_t PathMtuTable::place_of(const IpAddress& destination) const noexcept {
  std::uint64_t half[2];
  std::memcpy(half, destination.octets().data(), sizeof half);
  const std::uint64_t h = ((half[0] ^ seed_) * 0x9e3779b97f4a7c15u ^ half[1]) * 0xbf58476d1ce4e5b9u;
  return static_cast<std::uint32_t>((h >> 32) % (paths_max / ways)) * ways;
}

const PathMtuTable::Path* PathMtuTable::find(const IpAddress& destination, TimePoint now) const noexcept {
  const Path* const first = &paths_[place_of(destination)];
  const Path* const found = std::find_if(
      first, first + ways, [&](const Path& p) { return now < p.until && p.destination == destination; });
  return found == first + ways ? nullptr : found;
}

void PathMtuTable::set(const IpAddress& destination, std::uint16_t mtu, bool smaller,
                       TimePoint now) noexcept {
  Path* const first = &paths_[place_of(destination)];
  Path* path = std::find_if(first, first + ways, [&](const Path& p) { return p.destination == destination; });
  if (path == first + ways)
    path =
        std::min_element(first, first + ways, [](const Path& a, const Path& b) { return a.until < b.until; });
  until_ = now + lifetime;
  *path = {.destination = destination, .mtu = mtu, .smaller = smaller, .until = until_};
}

}  // namespace pollux
