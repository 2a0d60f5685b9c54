// A received IP packet on its way to a transport: validated, and cut to the IP payload.
#pragma once

#include <cstdint>

#include "pollux/ip/interface.h"
#include "pollux/packet/packet.h"
#include "pollux/wire/address.h"

namespace pollux {

struct RxPacket {
  Packet packet;  ///< data() is the transport header; the IP header still lies in the headroom in front of it
  IpAddress source;
  IpAddress destination;
  InterfaceId interface = 0;
  std::uint8_t protocol = 0;
  std::uint8_t ttl = 0;
  std::uint8_t tos = 0;
  std::uint16_t ip_header_length = 0;  ///< octets, options or extension headers included
  bool to_group = false;               ///< destination (IP or MAC) is broadcast or multicast
};

}  // namespace pollux
