// The headers that packets of one flow share, made once for many.
#pragma once

#include <array>
#include <cstdint>

#include "pollux/ip/interface.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv6.h"

namespace pollux {

/// Ethernet and IP headers of packets that are equally long; filled by Ip::prepare().
struct HeaderTemplate {
  static constexpr std::size_t size_max = EthernetFields::size + Ipv6Fields::size;

  std::array<std::uint8_t, size_max> octets;
  std::uint16_t ip_size = 0;         ///< of the IP header, behind the Ethernet one
  InterfaceId interface = 0;
  std::uint64_t offload_flags = 0;   ///< RTE_MBUF_F_TX_*: the IP version, and its checksum if the port makes it

  std::uint32_t size() const noexcept { return static_cast<std::uint32_t>(EthernetFields::size) + ip_size; }
};

}  // namespace pollux
