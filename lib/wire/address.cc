#include "pollux/wire/address.h"

#include <algorithm>
#include <cstdio>

namespace pollux {
namespace {

int hex_digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

/// Takes a decimal number of at most three digits from the front of `text`. A leading zero is refused: some
/// readers take "010" for octal 8 (RFC 6943 3.1.1).
std::optional<std::uint32_t> take_decimal(std::string_view& text) noexcept {
  std::size_t digits = 0;
  std::uint32_t value = 0;
  while (digits < text.size() && digits < 4 && text[digits] >= '0' && text[digits] <= '9')
    value = value * 10 + static_cast<std::uint32_t>(text[digits++] - '0');
  if (digits == 0 || digits > 3 || (digits > 1 && text[0] == '0')) return std::nullopt;
  text.remove_prefix(digits);
  return value;
}

/// All of `text` as a dotted quad, written to `out` in network order.
bool parse_v4(std::string_view text, std::uint8_t* out) noexcept {
  for (int i = 0; i < 4; ++i) {
    if (i > 0) {
      if (text.empty() || text[0] != '.') return false;
      text.remove_prefix(1);
    }
    const auto octet = take_decimal(text);
    if (!octet || *octet > 255) return false;
    out[i] = static_cast<std::uint8_t>(*octet);
  }
  return text.empty();
}

/// Takes one to four hexadecimal digits from the front of `text`.
std::optional<std::uint16_t> take_group(std::string_view& text) noexcept {
  std::size_t digits = 0;
  std::uint32_t value = 0;
  while (digits < text.size() && hex_digit(text[digits]) >= 0) {
    if (digits == 4) return std::nullopt;
    value = value << 4 | static_cast<std::uint32_t>(hex_digit(text[digits++]));
  }
  if (digits == 0) return std::nullopt;
  text.remove_prefix(digits);
  return static_cast<std::uint16_t>(value);
}

/// All of `text` as RFC 4291 2.2 (full, compressed or mixed form), written to `out` in network order.
bool parse_v6(std::string_view text, std::uint8_t* out) noexcept {
  std::uint8_t octets[16] = {};
  std::size_t used = 0;
  std::optional<std::size_t> gap;  // where "::" stood
  if (text.starts_with("::")) {
    gap = 0;
    text.remove_prefix(2);
  }
  while (!text.empty()) {
    if (used == 16) return false;
    // RFC 4291 2.2 form 3: the last 32 bits may be a dotted quad.
    if (text.find(':') == text.npos && text.find('.') != text.npos) {
      if (used > 12 || !parse_v4(text, octets + used)) return false;
      used += 4;
      break;
    }
    const auto group = take_group(text);
    if (!group) return false;
    store_be16(octets + used, *group);
    used += 2;
    if (text.empty()) break;
    if (text[0] != ':') return false;
    text.remove_prefix(1);
    if (text.empty()) return false;  // a single ':' at the end
    if (text[0] == ':') {
      if (gap) return false;
      gap = used;
      text.remove_prefix(1);
    }
  }
  // "::" stands for at least one group of zeros.
  if (gap ? used > 14 : used != 16) return false;
  const std::size_t head = gap.value_or(16);
  std::memset(out, 0, 16);
  std::memcpy(out, octets, head);
  std::memcpy(out + 16 - (used - head), octets + head, used - head);
  return true;
}

/// RFC 5952 4: lower case, no leading zeros, "::" for the first longest run of two or more zero groups.
std::string format_v6(const std::array<std::uint8_t, 16>& octets) {
  int best_start = 8;
  int best_length = 1;
  for (int i = 0; i < 8;) {
    int end = i;
    while (end < 8 && load_be16(&octets[2 * static_cast<std::size_t>(end)]) == 0) ++end;
    if (end - i > best_length) {
      best_start = i;
      best_length = end - i;
    }
    i = end + 1;
  }
  std::string text;
  for (int i = 0; i < 8; ++i) {
    if (i == best_start) {
      text += "::";
      i += best_length - 1;
      continue;
    }
    if (!text.empty() && text.back() != ':') text += ':';
    char group[5];
    std::snprintf(group, sizeof group, "%x", load_be16(&octets[2 * static_cast<std::size_t>(i)]));
    text += group;
  }
  return text;
}

}  // namespace

std::optional<MacAddress> MacAddress::from_string(std::string_view text) noexcept {
  if (text.size() != 17) return std::nullopt;
  MacAddress mac;
  for (std::size_t i = 0; i < 6; ++i) {
    const int high = hex_digit(text[3 * i]);
    const int low = hex_digit(text[3 * i + 1]);
    if (high < 0 || low < 0 || (i < 5 && text[3 * i + 2] != ':')) return std::nullopt;
    mac.octets[i] = static_cast<std::uint8_t>(high << 4 | low);
  }
  return mac;
}

std::string MacAddress::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", octets[0], octets[1], octets[2],
                octets[3], octets[4], octets[5]);
  return text;
}

std::optional<IpAddress> IpAddress::from_string(std::string_view text) noexcept {
  IpAddress address;
  const bool ok = text.find(':') == text.npos ? parse_v4(text, &address.octets_[12])
                                              : parse_v6(text, address.octets_.data());
  if (!ok) return std::nullopt;
  return address;
}

std::string IpAddress::to_string() const {
  if (!is_v4()) return format_v6(octets_);
  char text[16];
  std::snprintf(text, sizeof text, "%u.%u.%u.%u", octets_[12], octets_[13], octets_[14], octets_[15]);
  return text;
}

bool IpAddress::is_loopback() const noexcept {
  if (is_v4()) return octets_[12] == 127;
  return octets_ == std::array<std::uint8_t, 16>{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
}

IpAddress IpAddress::with_interface_id(const MacAddress& mac) const noexcept {
  IpAddress address = *this;
  std::uint8_t* const id = &address.octets_[8];
  std::memcpy(id, mac.octets.data(), 3);
  id[0] ^= 0x02;  // the universal/local bit, inverted
  id[3] = 0xff;
  id[4] = 0xfe;
  std::memcpy(id + 5, &mac.octets[3], 3);
  return address;
}

IpAddress IpAddress::v6_link_local(const MacAddress& mac) noexcept {
  return v6(0xfe80, 0, 0, 0, 0, 0, 0, 0).with_interface_id(mac);
}

IpAddress IpAddress::solicited_node() const noexcept {
  IpAddress group = v6(0xff02, 0, 0, 0, 0, 1, 0xff00, 0);
  std::memcpy(&group.octets_[13], &octets_[13], 3);
  return group;
}

std::uint8_t IpAddress::common_prefix_length(const IpAddress& other) const noexcept {
  if (is_v4() != other.is_v4()) return 0;
  const std::size_t first = is_v4() ? 12 : 0;
  std::size_t bits = 0;
  for (std::size_t i = first; i < 16; ++i) {
    const auto difference = static_cast<std::uint32_t>(octets_[i] ^ other.octets_[i]);
    if (difference == 0) {
      bits += 8;
      continue;
    }
    bits += static_cast<std::size_t>(__builtin_clz(difference)) - 24;
    break;
  }
  return static_cast<std::uint8_t>(bits);
}

std::string Endpoint::to_string() const {
  std::string text = address.to_string();
  if (!address.is_v4()) text.insert(0, 1, '[').push_back(']');
  return text.append(1, ':').append(std::to_string(port));
}

bool IpPrefix::contains(const IpAddress& other) const noexcept {
  if (address.is_v4() != other.is_v4()) return false;
  const std::size_t bits = length + (address.is_v4() ? 96u : 0u);
  const std::size_t whole = bits / 8;
  if (std::memcmp(address.octets().data(), other.octets().data(), whole) != 0) return false;
  if (bits % 8 == 0) return true;
  const int difference = address.octets()[whole] ^ other.octets()[whole];
  return (difference >> (8 - bits % 8)) == 0;
}

std::optional<IpPrefix> IpPrefix::from_string(std::string_view text) noexcept {
  const std::size_t slash = text.find('/');
  if (slash == text.npos) return std::nullopt;
  const auto address = IpAddress::from_string(text.substr(0, slash));
  std::string_view rest = text.substr(slash + 1);
  const auto length = take_decimal(rest);
  if (!address || !length || !rest.empty() || *length > (address->is_v4() ? 32u : 128u)) return std::nullopt;
  return IpPrefix{*address, static_cast<std::uint8_t>(*length)};
}

std::string IpPrefix::to_string() const {
  return address.to_string() + "/" + std::to_string(length);
}

}  // namespace pollux
