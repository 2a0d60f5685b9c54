// An IGMP or MLD query, and the reports that a member's state makes of it.
#include "fuzz.h"
#include "pollux/wire/group_message.h"

using namespace pollux;

namespace {

void check(const Parsed<GroupQuery>& query, std::size_t size, bool v4) {
  if (!query) {
    FUZZ_REQUIRE(query.error() == DropReason::group_malformed);
    return;
  }
  FUZZ_REQUIRE(query->group.is_v4() == v4);
  FUZZ_REQUIRE(query->group.is_unspecified() || query->group.is_multicast());
  FUZZ_REQUIRE(query->sources.size() <= size && query->max_response >= Duration{});
  FUZZ_REQUIRE(query->robustness < 8);
  // What was asked about fits, or not, and is written within the room.
  IpAddress sources[64];
  const std::size_t count = std::min<std::size_t>(query->source_count(), 64);
  for (std::size_t i = 0; i < count; ++i) sources[i] = query->source(i);
  fuzz::ExactBlock report(512);
  GroupReportWriter writer(report.span(), v4);
  std::size_t written = 0;
  while (writer.add(GroupRecordType::is_include, query->group, {sources, count})) ++written;
  FUZZ_REQUIRE(writer.records() == written && writer.size() <= report.span().size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::ExactBlock message({data, size});
  check(GroupQuery::parse_igmp(message.span()), size, true);
  check(GroupQuery::parse_mld(message.span()), size, false);
  return 0;
}
