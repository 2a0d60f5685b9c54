#include "l4echo/options.h"

namespace pollux::app {

const std::vector<NumberOption>& service_option_table() {
  using O = ServiceOptions;
  static const std::vector<NumberOption> table = {
      {"tcp_echo_port", 0, 65535, "TCP echo (RFC 862); 0: not offered", &O::tcp_echo_port, nullptr},
      {"tcp_discard_port", 0, 65535, "TCP discard (RFC 863)", &O::tcp_discard_port, nullptr},
      {"tcp_chargen_port", 0, 65535, "TCP character generator (RFC 864)", &O::tcp_chargen_port, nullptr},
      {"http_port", 0, 65535, "HTTP/1.1: GET /<n> is answered with n octets", &O::http_port, nullptr},
      {"udp_echo_port", 0, 65535, "UDP echo", &O::udp_echo_port, nullptr},
      {"udp_discard_port", 0, 65535, "UDP discard", &O::udp_discard_port, nullptr},
      {"udp_chargen_port", 0, 65535, "UDP character generator", &O::udp_chargen_port, nullptr},
      {"http_size", 0, 1u << 30, "Octets that GET / is answered with", nullptr, &O::http_size},
      {"backlog", 1, 1u << 20, "Half-open connections of each TCP port and core; beyond them, see tcp.syn_cookies",
       nullptr, &O::backlog},
  };
  return table;
}

Section service_section(ServiceOptions& options) {
  Section section;
  for (const NumberOption& o : service_option_table()) {
    if (o.port != nullptr)
      section.integer(o.key, options.*o.port, static_cast<std::uint16_t>(o.min),
                      static_cast<std::uint16_t>(o.max), o.doc);
    else
      section.integer(o.key, options.*o.number, o.min, o.max, o.doc);
  }
  section.mark_live_except({});
  return section;
}

}  // namespace pollux::app
