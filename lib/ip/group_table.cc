#include "pollux/ip/group_table.h"

#include <algorithm>

#include "pollux/base/check.h"

namespace pollux {

bool SourceList::contains(const IpAddress& address) const noexcept {
  return std::ranges::find(items(), address) != items().end();
}

bool SourceList::add(const IpAddress& address) noexcept {
  if (contains(address)) return true;
  if (count_ == capacity) return false;
  items_[count_++] = address;
  return true;
}

void SourceList::remove(const IpAddress& address) noexcept {
  const auto end = items_.begin() + static_cast<std::ptrdiff_t>(count_);
  const auto found = std::find(items_.begin(), end, address);
  if (found == end) return;
  *found = items_[--count_];
}

bool SourceList::operator==(const SourceList& other) const noexcept {
  return count_ == other.count_ &&
         std::ranges::all_of(items(), [&](const IpAddress& address) { return other.contains(address); });
}

const Group* GroupTable::find(const IpAddress& group) const noexcept {
  const auto found = std::ranges::find(groups_, group, &Group::address);
  return found == groups_.end() ? nullptr : &*found;
}

void GroupTable::set(const IpAddress& address, const GroupFilter& filter, TimePoint now) noexcept {
  Group* group = find_mutable(address);
  if (group == nullptr) {
    if (!filter.is_member()) return;
    POLLUX_CHECK(!full(), "more than %zu groups", groups_max);
    groups_.push_back({.address = address});
    group = &groups_.back();
  }
  if (group->filter == filter) return;
  const GroupFilter before = group->filter;
  group->filter = filter;
  if (before.mode != filter.mode) {
    group->mode_changes_left = robustness_;
    group->source_changes_left = 0;
    group->allowed.clear();
    group->blocked.clear();
  } else {
    change_sources(*group, before);
  }
  group->change_at = now;
  update_due();
}

// RFC 3376 5.1: what has been said often enough is over; what has not is said together with the new change.
void GroupTable::change_sources(Group& group, const GroupFilter& before) noexcept {
  const auto wanted = [](const GroupFilter& filter, const IpAddress& source) { return filter.accepts(source); };
  const auto note = [&](const IpAddress& source) {
    const bool now_wanted = wanted(group.filter, source);
    if (now_wanted == wanted(before, source)) return;
    (now_wanted ? group.blocked : group.allowed).remove(source);
    (void)(now_wanted ? group.allowed : group.blocked).add(source);
  };
  for (const IpAddress& source : before.sources.items()) note(source);
  for (const IpAddress& source : group.filter.sources.items()) note(source);
  group.source_changes_left = robustness_;
}

void GroupTable::query(const GroupQuery& query, TimePoint now, Rng& rng) noexcept {
  if (query.version != QuerierVersion::v3) {
    // RFC 3376 8.12: the older version querier present timeout.
    const std::size_t which = query.version == QuerierVersion::v1 ? 0 : 1;
    older_until_[which] = now + query_interval_ * robustness_ + Duration::from_s(10);
    version_ = std::min(version_, query.version);
  } else {
    // RFC 3376 4.1.6, 4.1.7: a host adopts the querier's values.
    if (query.robustness != 0) robustness_ = query.robustness;
    if (query.interval != Duration{}) query_interval_ = query.interval;
  }
  const auto range_ms = static_cast<std::uint32_t>(std::max<std::int64_t>(query.max_response.ns() / 1'000'000, 1));
  const TimePoint at = now + Duration::from_ms(rng.below(range_ms));
  if (answer_all_at_ <= at) return;  // RFC 3376 5.2 rule 1: that answer says all
  if (query.group.is_unspecified()) {
    answer_all_at_ = at;
  } else if (Group* const group = find_mutable(query.group); group != nullptr && group->filter.is_member()) {
    const bool pending = !group->answer_at.is_never();
    if (query.sources.empty() || (pending && group->asked.empty())) {
      group->asked.clear();  // rules 3 and 4: about the whole group
    } else {
      for (std::size_t i = 0; i < query.source_count(); ++i)
        if (!group->asked.add(query.source(i))) {
          group->asked.clear();  // more than can be remembered: the answer says all
          break;
        }
    }
    group->answer_at = std::min(group->answer_at, at);
  }
  update_due();
}

// Whether there is more to say.
bool GroupTable::next_change(Group& group, TimePoint now, Duration interval, Rng& rng) noexcept {
  if (group.mode_changes_left != 0) --group.mode_changes_left;
  if (group.source_changes_left != 0) --group.source_changes_left;
  if (group.source_changes_left == 0) {
    group.allowed.clear();
    group.blocked.clear();
  }
  const bool more = group.mode_changes_left != 0 || group.source_changes_left != 0;
  const auto range_ms = static_cast<std::uint32_t>(interval.ns() / 1'000'000);
  group.change_at = more ? now + Duration::from_ms(1 + rng.below(range_ms)) : TimePoint::never();
  return more;
}

void GroupTable::update_due() noexcept {
  due_ = answer_all_at_;
  for (const Group& group : groups_) due_ = std::min({due_, group.change_at, group.answer_at});
}

}  // namespace pollux
