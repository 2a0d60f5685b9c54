// What routers of a link have told a port about it (RFC 4861 6.3, RFC 4862 5.5).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

/// Bounded: what does not fit is ignored.
struct Autoconf {
  static constexpr std::size_t routers_max = 4;
  static constexpr std::size_t prefixes_max = 8;

  struct Router {
    IpAddress address;  ///< link-local
    TimePoint until;
  };
  struct OnLinkPrefix {  ///< a connected route stands for it
    IpPrefix prefix;
    TimePoint until;
  };

  std::array<Router, routers_max> routers;
  std::size_t router_count = 0;
  std::array<OnLinkPrefix, prefixes_max> prefixes;
  std::size_t prefix_count = 0;
  std::uint8_t solicitations = 0;              ///< sent since the link-local address is ours
  TimePoint solicit_at = TimePoint::never();   ///< the next one
};

}  // namespace pollux
