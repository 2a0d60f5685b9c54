// IGMP (RFC 1112, 2236, 3376) and MLD (RFC 2710, 3810): who asks for the members of groups, and what members say.
#pragma once

#include <cstdint>
#include <span>

#include "pollux/base/time.h"
#include "pollux/wire/address.h"
#include "pollux/wire/parsed.h"

namespace pollux {

/// 224.0.0.1 and 224.0.0.22, where hosts and routers with IGMPv3 listen (RFC 3376 4); 224.0.0.2.
inline constexpr IpAddress v4_all_hosts = IpAddress::v4(224, 0, 0, 1);
inline constexpr IpAddress v4_all_routers = IpAddress::v4(224, 0, 0, 2);
inline constexpr IpAddress v4_membership_routers = IpAddress::v4(224, 0, 0, 22);

/// The first octet of a message: IGMP's types, and ICMPv6's of MLD.
enum class IgmpType : std::uint8_t { query = 0x11, report_v1 = 0x12, report_v2 = 0x16, leave = 0x17, report_v3 = 0x22 };
enum class MldType : std::uint8_t { query = 130, report_v1 = 131, done = 132, report_v2 = 143 };

/// The newest protocol that a querier on the link speaks: RFC 3376 7.2.1, RFC 3810 8.2.1. MLDv1 is IGMPv2's like.
enum class QuerierVersion : std::uint8_t { v1 = 1, v2 = 2, v3 = 3 };

/// A query (RFC 3376 4.1, RFC 3810 5.1), its checksum verified.
struct GroupQuery {
  QuerierVersion version = QuerierVersion::v3;
  IpAddress group;        ///< unspecified: about all groups
  Duration max_response;  ///< answers come within this
  /// 0: not said.
  std::uint8_t robustness = 0;
  Duration interval;  ///< between general queries; 0: not said
  ByteView sources;   ///< as they lie in the message; source() reads them

  /// Rejects what is cut short or asks about no group (group_malformed). `message`: all of it.
  static Parsed<GroupQuery> parse_igmp(ByteView message) noexcept;
  static Parsed<GroupQuery> parse_mld(ByteView message) noexcept;

  std::size_t source_count() const noexcept { return sources.size() / (group.is_v4() ? 4 : 16); }
  IpAddress source(std::size_t i) const noexcept {
    return group.is_v4() ? IpAddress::v4_from_wire(&sources[4 * i]) : IpAddress::v6_from_wire(&sources[16 * i]);
  }
};

/// RFC 3376 4.2.12, RFC 3810 5.2.12.
enum class GroupRecordType : std::uint8_t {
  is_include = 1,
  is_exclude = 2,
  to_include = 3,
  to_exclude = 4,
  allow = 5,
  block = 6,
};

/// Writes an IGMPv3 or MLDv2 report, record by record, into `out`. The checksum field stays 0.
class GroupReportWriter {
 public:
  static constexpr std::size_t header_size = 8;
  /// `out`: room for a header and more. The groups decide the family.
  GroupReportWriter(std::span<std::uint8_t> out, bool v4) noexcept;
  /// False, with nothing written, when there is no room.
  [[nodiscard]] bool add(GroupRecordType type, const IpAddress& group, std::span<const IpAddress> sources) noexcept;
  std::size_t size() const noexcept { return size_; }
  std::size_t records() const noexcept { return records_; }

 private:
  std::span<std::uint8_t> out_;
  std::size_t size_ = header_size;
  std::size_t records_ = 0;
  bool v4_;
};

/// An IGMPv1 or v2 message about one group: 8 octets, the checksum field 0.
inline constexpr std::size_t igmp_v2_size = 8;
void emit_igmp_v2(std::uint8_t* out, IgmpType type, const IpAddress& group) noexcept;
/// The same in MLDv1: 24 octets.
inline constexpr std::size_t mld_v1_size = 24;
void emit_mld_v1(std::uint8_t* out, MldType type, const IpAddress& group) noexcept;

}  // namespace pollux
