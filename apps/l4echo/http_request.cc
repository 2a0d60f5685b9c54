#include "l4echo/http_request.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace pollux::app {
namespace {

constexpr HttpAnswer refuse(unsigned status) {
  return HttpAnswer{.status = status};
}

/// RFC 9110 5.6.2.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos;
  });
}

bool equals_ignoring_case(std::string_view a, std::string_view lower) {
  return a.size() == lower.size() && std::equal(a.begin(), a.end(), lower.begin(), [](char x, char y) {
           return (x >= 'A' && x <= 'Z' ? static_cast<char>(x + 32) : x) == y;
         });
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  return first == std::string_view::npos ? std::string_view{}
                                         : text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

/// Cuts `text` at the first `separator`; what was before it is returned, what is behind it stays.
std::string_view cut(std::string_view& text, std::string_view separator) {
  const auto at = text.find(separator);
  const std::string_view before = text.substr(0, at);
  text = at == std::string_view::npos ? std::string_view{} : text.substr(at + separator.size());
  return before;
}

std::optional<std::uint64_t> decimal(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

struct Fields {
  unsigned hosts = 0;
  bool close = false;
  bool keep_alive = false;
  bool has_body = false;
};

void read_connection(std::string_view value, Fields& fields) {
  while (!value.empty()) {
    const std::string_view option = trim(cut(value, ","));
    if (equals_ignoring_case(option, "close")) fields.close = true;
    if (equals_ignoring_case(option, "keep-alive")) fields.keep_alive = true;
  }
}

/// False when a line is malformed. `lines` ends with the empty line.
bool read_fields(std::string_view lines, Fields& fields) {
  std::optional<std::uint64_t> length;
  for (std::string_view line = cut(lines, "\r\n"); !line.empty(); line = cut(lines, "\r\n")) {
    if (line.find(':') == std::string_view::npos) return false;
    const std::string_view name = cut(line, ":");
    // RFC 9112 5.1: no blank before the colon; 5.2: a server refuses folded lines. Both fail as tokens.
    if (!is_token(name)) return false;
    const std::string_view value = trim(line);
    if (value.find_first_of(std::string_view("\r\n\0", 3)) != std::string_view::npos)
      return false;  // RFC 9110 5.5
    if (equals_ignoring_case(name, "host")) ++fields.hosts;
    if (equals_ignoring_case(name, "connection")) read_connection(value, fields);
    if (equals_ignoring_case(name, "transfer-encoding")) fields.has_body = true;
    if (equals_ignoring_case(name, "content-length")) {
      const auto octets = decimal(value);
      if (!octets || (length && *length != *octets)) return false;  // RFC 9112 6.3, 4 and 5
      length = octets;
    }
  }
  fields.has_body |= length.value_or(0) != 0;
  return true;
}

/// The path of "/path?query" or of "http://host/path" (RFC 9112 3.2.2); nullopt for other forms.
std::optional<std::string_view> path_of(std::string_view target) {
  if (equals_ignoring_case(target.substr(0, 7), "http://")) {
    const auto slash = target.find('/', 7);
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
  }
  if (target.empty() || target.front() != '/') return std::nullopt;
  return target.substr(0, target.find('?'));
}

}  // namespace

HttpAnswer read_http_request(std::string_view head, std::uint64_t default_size) noexcept {
  while (head.starts_with("\r\n")) head.remove_prefix(2);  // RFC 9112 2.2: empty lines before a request
  std::string_view line = cut(head, "\r\n");
  const std::string_view method = cut(line, " ");
  const std::string_view target = cut(line, " ");
  const std::string_view version = line;
  if (!is_token(method) || version.size() != 8 || !version.starts_with("HTTP/") || version[6] != '.')
    return refuse(400);
  const char major = version[5], minor = version[7];
  if (major < '0' || major > '9' || minor < '0' || minor > '9') return refuse(400);
  if (major != '1') return refuse(505);

  Fields fields;
  if (!read_fields(head, fields)) return refuse(400);
  HttpAnswer answer;
  answer.is_http_1_0 = minor == '0';
  // RFC 9112 3.2: exactly one Host in HTTP/1.1.
  if (fields.hosts > 1 || (!answer.is_http_1_0 && fields.hosts == 0)) return refuse(400);
  // RFC 9112 9.3.
  answer.keep_alive = !fields.has_body && !fields.close && (!answer.is_http_1_0 || fields.keep_alive);
  answer.send_body = method != "HEAD";
  if (method != "GET" && method != "HEAD") {
    answer.status = 405;
    return answer;
  }
  const auto path = path_of(target);
  if (!path) return refuse(400);
  const auto size = *path == "/" ? std::optional(default_size) : decimal(path->substr(1));
  if (size && *size <= http_body_size_max) {
    answer.body_size = *size;
  } else {
    answer.status = 404;
  }
  return answer;
}

const char* http_status_text(unsigned status) noexcept {
  switch (status) {
    case 200:
      return "OK";
    case 400:
      return "Bad Request";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    default:
      return "HTTP Version Not Supported";
  }
}

}  // namespace pollux::app
