// One port as the stack sees it: addresses, MTU, offloads and the batch of packets that wait for its driver.
#pragma once

#include <cstdint>
#include <string>

#include "pollux/packet/checksum.h"
#include "pollux/packet/tx_batch.h"
#include "pollux/wire/address.h"

namespace pollux {

using InterfaceId = std::uint8_t;
inline constexpr std::size_t interfaces_max = 8;

struct InterfaceConfig {
  std::string name;  ///< for messages, e.g. "net_tap0"
  MacAddress mac;
  IpPrefix address;          ///< our address with its subnet's length, e.g. 192.0.2.2/24
  std::uint16_t mtu = 1500;  ///< octets of IP packet, 576..9000
  TxOffloads offloads;
  /// Announces the address, answers for it and defends it. False on a core that shares the address with one that does,
  /// and only learns from what it sees.
  bool primary = true;
};

}  // namespace pollux
