// One IPv6 address of a port, from its duplicate address detection on (RFC 4862 5.4).
#pragma once

#include <cstdint>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"

namespace pollux {

enum class V6AddressState : std::uint8_t {
  tentative,  ///< asked for; nobody answers for it yet, neither do we
  assigned,
  duplicate,  ///< another station has it: never used
};

struct V6Address {
  IpPrefix prefix;  ///< the address itself with its subnet's length
  V6AddressState state = V6AddressState::tentative;
  std::uint8_t solicitations = 0;          ///< of duplicate address detection, sent so far
  TimePoint next_at = TimePoint::never();  ///< next step of duplicate address detection
  bool autoconfigured = false;             ///< formed from a prefix that a router advertised (RFC 4862 5.5)
  bool deprecated = false;                 ///< a source only where there is no other (RFC 4862 5.5.4)
  TimePoint preferred_until = TimePoint::never();
  TimePoint valid_until = TimePoint::never();  ///< forgotten then

  const IpAddress& address() const noexcept { return prefix.address; }
  bool is_assigned() const noexcept { return state == V6AddressState::assigned; }
};

}  // namespace pollux
