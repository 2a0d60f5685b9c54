// Reads one HTTP/1.x request head (RFC 9112) and says how to answer it. Bytes in, verdict out.
#pragma once

#include <cstdint>
#include <string_view>

namespace pollux::app {

struct HttpAnswer {
  unsigned status = 200;        ///< 200, 400, 404, 405, 505; 431 is the caller's, who knows the limit
  bool keep_alive = false;      ///< another request may follow
  bool is_http_1_0 = false;     ///< keep_alive must be said explicitly
  bool send_body = true;        ///< false for HEAD
  std::uint64_t body_size = 0;  ///< of a 200
};

/// The largest body that /<n> may ask for: 1 TiB.
inline constexpr std::uint64_t http_body_size_max = std::uint64_t{1} << 40;

/// `head` ends with its empty line. A target of "/" means `default_size` octets. A request that brings a body
/// of its own is answered, but the connection ends after that: bodies are not read.
HttpAnswer read_http_request(std::string_view head, std::uint64_t default_size) noexcept;

/// "OK", "Not Found", ...
const char* http_status_text(unsigned status) noexcept;

}  // namespace pollux::app
