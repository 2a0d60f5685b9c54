// What l4echo can be told: the `app` map of the configuration file, and the same on the command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pollux/config/section.h"

namespace pollux::app {

/// Ports in host byte order; 0 leaves a service out.
struct ServiceOptions {
  std::uint16_t tcp_echo_port = 7;
  std::uint16_t tcp_discard_port = 9;
  std::uint16_t tcp_chargen_port = 19;
  std::uint16_t http_port = 80;
  std::uint16_t udp_echo_port = 7;
  std::uint16_t udp_discard_port = 9;
  std::uint16_t udp_chargen_port = 19;
  std::uint32_t http_size = 4096;  ///< octets of "/"
  std::uint32_t backlog = 4096;    ///< half-open connections of each TCP port
};

struct NumberOption {
  const char* key;  ///< in the file; on the command line with - for _
  std::uint32_t min;
  std::uint32_t max;
  const char* doc;
  std::uint16_t ServiceOptions::* port;  ///< this or `number`
  std::uint32_t ServiceOptions::* number;
};

/// Every option, for both ways of giving it.
const std::vector<NumberOption>& service_option_table();
/// Binds the `app` map to `options`.
Section service_section(ServiceOptions& options);

}  // namespace pollux::app
