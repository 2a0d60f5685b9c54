#include "pollux/wire/group_message.h"

#include <algorithm>
#include <cstring>

namespace pollux {
namespace {

/// RFC 3376 4.1.1 and 4.1.7: below 128 the value itself, else 1mmm eeee... : (mant | 0x10) << (exp + 3).
std::uint32_t float_code(std::uint8_t code) noexcept {
  if (code < 128) return code;
  return ((code & 0x0fu) | 0x10u) << (((code >> 4) & 0x07u) + 3);
}

/// RFC 3810 5.1.3: the same with 16 bits: (mant | 0x1000) << (exp + 3).
std::uint32_t float_code_16(std::uint16_t code) noexcept {
  if (code < 32768) return code;
  return ((code & 0x0fffu) | 0x1000u) << (((code >> 12) & 0x07u) + 3);
}

bool is_queried_group(const IpAddress& group) noexcept {
  return group.is_unspecified() || group.is_multicast();
}

/// What both protocols have behind the group: flags, interval, sources.
void read_tail(ByteView tail, GroupQuery& query) noexcept {
  query.robustness = tail[0] & 0x07;
  query.interval = Duration::from_s(float_code(tail[1]));
}

}  // namespace

Parsed<GroupQuery> GroupQuery::parse_igmp(ByteView message) noexcept {
  constexpr std::size_t v3_size = 12;
  constexpr std::size_t address_size = 4;
  // RFC 3376 7.1: the length and the code tell the version; lengths in between are of no version.
  if (message.size() < igmp_v2_size || (message.size() > igmp_v2_size && message.size() < v3_size))
    return reject(DropReason::group_malformed);
  GroupQuery query;
  query.group = IpAddress::v4_from_wire(&message[4]);
  if (!is_queried_group(query.group)) return reject(DropReason::group_malformed);
  const std::uint8_t code = message[1];
  if (message.size() == igmp_v2_size) {
    query.version = code == 0 ? QuerierVersion::v1 : QuerierVersion::v2;
    // RFC 2236 4: a version 1 query stands for ten seconds.
    query.max_response = Duration::from_ms(code == 0 ? 10'000 : 100 * std::int64_t{code});
    return query;
  }
  query.max_response = Duration::from_ms(100 * std::int64_t{float_code(code)});
  const std::size_t count = load_be16(&message[10]);
  if (v3_size + count * address_size > message.size()) return reject(DropReason::group_malformed);
  if (count != 0 && query.group.is_unspecified()) return reject(DropReason::group_malformed);
  read_tail(message.subspan(8), query);
  query.sources = message.subspan(v3_size, count * address_size);
  return query;
}

Parsed<GroupQuery> GroupQuery::parse_mld(ByteView message) noexcept {
  constexpr std::size_t v2_size = 28;
  constexpr std::size_t address_size = 16;
  // RFC 3810 8.1.
  if (message.size() < mld_v1_size || (message.size() > mld_v1_size && message.size() < v2_size) || message[1] != 0)
    return reject(DropReason::group_malformed);
  GroupQuery query;
  query.group = IpAddress::v6_from_wire(&message[8]);
  if (query.group.is_v4() || !is_queried_group(query.group)) return reject(DropReason::group_malformed);
  const std::uint16_t code = load_be16(&message[4]);
  if (message.size() == mld_v1_size) {
    query.version = QuerierVersion::v2;
    query.max_response = Duration::from_ms(code);
    return query;
  }
  query.max_response = Duration::from_ms(float_code_16(code));
  const std::size_t count = load_be16(&message[26]);
  if (v2_size + count * address_size > message.size()) return reject(DropReason::group_malformed);
  if (count != 0 && query.group.is_unspecified()) return reject(DropReason::group_malformed);
  read_tail(message.subspan(24), query);
  query.sources = message.subspan(v2_size, count * address_size);
  return query;
}

GroupReportWriter::GroupReportWriter(std::span<std::uint8_t> out, bool v4) noexcept : out_(out), v4_(v4) {
  std::fill_n(out.begin(), header_size, std::uint8_t{0});
  out[0] = v4 ? static_cast<std::uint8_t>(IgmpType::report_v3) : static_cast<std::uint8_t>(MldType::report_v2);
}

bool GroupReportWriter::add(GroupRecordType type, const IpAddress& group,
                            std::span<const IpAddress> sources) noexcept {
  const std::size_t address_size = v4_ ? 4 : 16;
  const std::size_t size = 4 + address_size * (1 + sources.size());
  if (size_ + size > out_.size()) return false;
  std::uint8_t* to = &out_[size_];
  to[0] = static_cast<std::uint8_t>(type);
  to[1] = 0;  // no auxiliary data
  store_be16(to + 2, static_cast<std::uint16_t>(sources.size()));
  to += 4;
  const auto put = [&](const IpAddress& address) {
    std::memcpy(to, v4_ ? address.v4_octets() : address.octets().data(), address_size);
    to += address_size;
  };
  put(group);
  for (const IpAddress& source : sources) put(source);
  size_ += size;
  ++records_;
  store_be16(&out_[6], static_cast<std::uint16_t>(records_));
  return true;
}

void emit_igmp_v2(std::uint8_t* out, IgmpType type, const IpAddress& group) noexcept {
  std::memset(out, 0, igmp_v2_size);
  out[0] = static_cast<std::uint8_t>(type);
  std::memcpy(out + 4, group.v4_octets(), 4);
}

void emit_mld_v1(std::uint8_t* out, MldType type, const IpAddress& group) noexcept {
  std::memset(out, 0, mld_v1_size);
  out[0] = static_cast<std::uint8_t>(type);
  std::memcpy(out + 8, group.octets().data(), 16);
}

}  // namespace pollux
