// Which groups one port listens to, and what it has to say about them: the group member's half of IGMPv3 (RFC
// 3376 3 to 5) and MLDv2 (RFC 3810 4 to 6). Keeps state and times; lib/ip/groups.cc writes and sends the
// messages.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "pollux/base/result.h"
#include "pollux/base/rng.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/interface.h"
#include "pollux/wire/address.h"
#include "pollux/wire/group_message.h"

namespace pollux {

enum class GroupMode : std::uint8_t {
  include,  ///< from the listed sources only; from none: not a member
  exclude,  ///< from every source but the listed ones
};

/// A small set of addresses.
class SourceList {
 public:
  static constexpr std::size_t capacity = 32;

  std::span<const IpAddress> items() const noexcept { return {items_.data(), count_}; }
  bool empty() const noexcept { return count_ == 0; }
  void clear() noexcept { count_ = 0; }
  bool contains(const IpAddress& address) const noexcept;
  /// False when it is full. Adding what is there is no change.
  bool add(const IpAddress& address) noexcept;
  void remove(const IpAddress& address) noexcept;
  bool operator==(const SourceList& other) const noexcept;  ///< as sets

 private:
  std::array<IpAddress, capacity> items_{};
  std::size_t count_ = 0;
};

/// What is listened to: by one socket, or by a port as the sum of its sockets.
struct GroupFilter {
  GroupMode mode = GroupMode::include;
  SourceList sources;

  bool is_member() const noexcept { return mode == GroupMode::exclude || !sources.empty(); }
  bool accepts(const IpAddress& source) const noexcept {
    return sources.contains(source) == (mode == GroupMode::include);
  }
  bool operator==(const GroupFilter&) const noexcept = default;
};

/// One socket's membership of one group on one port.
struct GroupMembership {
  SlabHandle owner;
  InterfaceId interface = 0;
  IpAddress group;
  GroupFilter filter;
};

/// One group on one port.
struct Group {
  IpAddress address;
  GroupFilter filter;  ///< not a member: leaving, and gone once that has been said
  // What changed and has to be said `..._left` more times, from `change_at` on (RFC 3376 5.1).
  std::uint8_t mode_changes_left = 0;
  std::uint8_t source_changes_left = 0;
  SourceList allowed;
  SourceList blocked;
  TimePoint change_at = TimePoint::never();
  // A query about this group that is to be answered (RFC 3376 5.2); no sources asked: about all.
  TimePoint answer_at = TimePoint::never();
  SourceList asked;
};

/// One family's groups on one port.
class GroupTable {
 public:
  static constexpr std::size_t groups_max = 64;

  explicit GroupTable(bool v4) : v4_(v4) { groups_.reserve(groups_max); }

  bool v4() const noexcept { return v4_; }
  std::span<const Group> groups() const noexcept { return groups_; }
  const Group* find(const IpAddress& group) const noexcept;
  bool is_member(const IpAddress& group) const noexcept {
    const Group* const found = find(group);
    return found != nullptr && found->filter.is_member();
  }
  bool full() const noexcept { return groups_.size() == groups_max; }
  QuerierVersion version() const noexcept { return version_; }

  /// The port's filter of a group is this now; what changed is due to be said at once. Needs room for a new
  /// group.
  void set(const IpAddress& group, const GroupFilter& filter, TimePoint now) noexcept;
  /// RFC 3376 5.2 and 7.2.1: when to answer, and which version to speak.
  void query(const GroupQuery& query, TimePoint now, Rng& rng) noexcept;

  TimePoint due() const noexcept { return due_; }
  /// Where another core speaks for this port, instead of advance(): calls tell(group, filter) for each group
  /// that changed; false: once more a little later.
  template <typename Tell>
  void tell(TimePoint now, Tell&& tell) noexcept;
  /// Calls say(group, record type, sources) for each current-state or change record that is due, in IGMPv3's
  /// and MLDv2's form, and `leave(group)`, `report(group)` in that of older queriers. Sets the next times.
  template <typename Say, typename Report, typename Leave>
  void advance(TimePoint now, Rng& rng, Say&& say, Report&& report, Leave&& leave) noexcept;

 private:
  Group* find_mutable(const IpAddress& group) noexcept { return const_cast<Group*>(find(group)); }
  void change_sources(Group& group, const GroupFilter& before) noexcept;
  template <typename Say>
  static void say_state(const Group& group, Say&& say) noexcept;
  template <typename Say>
  static void say_asked(const Group& group, Say&& say) noexcept;
  template <typename Say>
  static void say_change(const Group& group, Say&& say) noexcept;
  static bool next_change(Group& group, TimePoint now, Duration interval, Rng& rng) noexcept;
  void update_due() noexcept;

  bool v4_;
  std::vector<Group> groups_;
  TimePoint answer_all_at_ = TimePoint::never();  // RFC 3376 5.2: the interface timer of a general query
  QuerierVersion version_ = QuerierVersion::v3;
  TimePoint older_until_[2] = {};  // a querier of version 1, 2 is taken to be there
  std::uint8_t robustness_ = 2;    // RFC 3376 8.1
  Duration query_interval_ = Duration::from_s(125);
  TimePoint due_ = TimePoint::never();
};

template <typename Say>
void GroupTable::say_state(const Group& group, Say&& say) noexcept {
  say(group.address,
      group.filter.mode == GroupMode::include ? GroupRecordType::is_include : GroupRecordType::is_exclude,
      group.filter.sources.items());
}

// RFC 3376 5.2: of the sources that were asked about, those that are wanted.
template <typename Say>
void GroupTable::say_asked(const Group& group, Say&& say) noexcept {
  if (group.asked.empty()) return say_state(group, say);
  SourceList wanted;
  for (const IpAddress& source : group.asked.items())
    if (group.filter.accepts(source)) (void)wanted.add(source);
  if (!wanted.empty()) say(group.address, GroupRecordType::is_include, wanted.items());
}

template <typename Say>
void GroupTable::say_change(const Group& group, Say&& say) noexcept {
  if (group.mode_changes_left != 0) {
    say(group.address,
        group.filter.mode == GroupMode::include ? GroupRecordType::to_include : GroupRecordType::to_exclude,
        group.filter.sources.items());
    return;
  }
  if (!group.allowed.empty()) say(group.address, GroupRecordType::allow, group.allowed.items());
  if (!group.blocked.empty()) say(group.address, GroupRecordType::block, group.blocked.items());
}

template <typename Say, typename Report, typename Leave>
void GroupTable::advance(TimePoint now, Rng& rng, Say&& say, Report&& report, Leave&& leave) noexcept {
  // RFC 3376 7.2.1: without further queries of an old querier the newest version is back.
  version_ = now < older_until_[0]   ? QuerierVersion::v1
             : now < older_until_[1] ? QuerierVersion::v2
                                     : QuerierVersion::v3;
  const bool newest = version_ == QuerierVersion::v3;
  // RFC 3376 8.11, RFC 2236 8.10: the unsolicited report interval.
  const Duration interval = newest || !v4_ ? Duration::from_s(1) : Duration::from_s(10);
  const bool answer_all = now >= answer_all_at_;
  if (answer_all) answer_all_at_ = TimePoint::never();
  for (std::size_t i = 0; i < groups_.size();) {
    Group& group = groups_[i];
    const bool member = group.filter.is_member();
    if (member && (answer_all || now >= group.answer_at)) {
      if (!newest)
        report(group.address);
      else if (answer_all)
        say_state(group, say);
      else
        say_asked(group, say);
      group.answer_at = TimePoint::never();
      group.asked.clear();
    }
    bool keep = true;
    if (now >= group.change_at) {
      if (newest)
        say_change(group, say);
      else if (member)
        report(group.address);
      else if (version_ == QuerierVersion::v2)
        leave(group.address);
      if (!newest && !member) group.mode_changes_left = 0;  // RFC 2236 3: a leave is said once
      keep = next_change(group, now, interval, rng) || member;
    }
    if (keep) {
      ++i;
    } else {
      groups_.erase(groups_.begin() + static_cast<std::ptrdiff_t>(i));
    }
  }
  update_due();
}

template <typename Tell>
void GroupTable::tell(TimePoint now, Tell&& tell) noexcept {
  constexpr Duration again = Duration::from_ms(10);
  for (Group& group : groups_) {
    if (now < group.change_at) continue;
    group.change_at = tell(group.address, group.filter) ? TimePoint::never() : now + again;
  }
  std::erase_if(groups_, [](const Group& g) { return g.change_at.is_never() && !g.filter.is_member(); });
  update_due();
}

}  // namespace pollux
