// Groups: membership, reports and answers over IGMP and MLD.
#include <map>

#include "ip_v6_host.h"
#include "pollux/wire/group_message.h"

namespace pollux::test {
namespace {

const IpAddress v4_group = IpAddress::v4(239, 1, 2, 3);
const IpAddress v6_group = IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 0, 0x1234);
const IpAddress router_link_local = peer_link_local;

struct Family {
  const char* name;
  IpAddress group;
  IpAddress other_group;
  IpAddress sources[3];
};
const Family v4_family = {"IPv4", v4_group, IpAddress::v4(239, 9, 9, 9),
                          {IpAddress::v4(198, 51, 100, 1), IpAddress::v4(198, 51, 100, 2), IpAddress::v4(198, 51, 100, 3)}};
const Family v6_family = {"IPv6", v6_group, IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 0, 0x9999),
                          {IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1), IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, 2),
                           IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, 3)}};

/// "to_ex 239.1.2.3 {}" per record; "v2 report 239.1.2.3" and the like for older messages. Headers are checked.
std::vector<std::string> said(const std::vector<SentFrame>& frames) {
  static const char* const names[] = {"", "is_in", "is_ex", "to_in", "to_ex", "allow", "block"};
  std::vector<std::string> records;
  for (const SentFrame& frame : frames) {
    const std::uint8_t* const ip = &frame.bytes[14];
    const bool v4 = ip[0] >> 4 == 4;
    const std::size_t header = v4 ? 24 : 48;
    const Frame message(ip + header, frame.bytes.data() + frame.bytes.size());
    const IpAddress destination = v4 ? IpAddress::v4_from_wire(ip + 16) : IpAddress::v6_from_wire(ip + 24);
    EXPECT_EQ(ethernet_of(frame.bytes).destination(), group_mac(destination));
    ChecksumSum sum;
    sum.add(message);
    if (v4) {
      EXPECT_EQ(ip[0], 0x46) << "router alert";
      EXPECT_EQ(load_be32(ip + 20), 0x94040000u);
      ChecksumSum ip_sum;
      ip_sum.add({ip, 24});
      EXPECT_EQ(ip_sum.folded(), 0xffff);
      EXPECT_EQ(load_be16(ip + 2), frame.bytes.size() - 14);
      EXPECT_EQ(ip[8], 1) << "TTL";
      EXPECT_EQ(ip[9], 2);
      EXPECT_EQ(IpAddress::v4_from_wire(ip + 12), our_ip);
    } else {
      EXPECT_EQ(load_be16(ip + 4), frame.bytes.size() - 54);
      EXPECT_EQ(ip[6], 0) << "hop-by-hop";
      EXPECT_EQ(ip[7], 1) << "hop limit";
      EXPECT_EQ(load_be32(ip + 40), 0x3a000502u);
      EXPECT_EQ(IpAddress::v6_from_wire(ip + 8), our_link_local);
      sum.add_pseudo_header(IpAddress::v6_from_wire(ip + 8), destination, 58, static_cast<std::uint32_t>(message.size()));
    }
    EXPECT_EQ(sum.folded(), 0xffff);
    const std::size_t size = v4 ? 4 : 16;
    const auto address = [&](std::size_t at) {
      return v4 ? IpAddress::v4_from_wire(&message[at]) : IpAddress::v6_from_wire(&message[at]);
    };
    static const std::map<int, std::string> old = {{0x12, "v1 report "}, {0x16, "v2 report "}, {0x17, "leave "},
                                                   {131, "v1 report "},  {132, "done "}};
    if (const auto found = old.find(message[0]); found != old.end()) {
      records.push_back(found->second + address(v4 ? 4 : 8).to_string() + " at " + destination.to_string());
      continue;
    }
    EXPECT_EQ(message[0], v4 ? 0x22 : 143);
    EXPECT_EQ(destination, v4 ? v4_membership_routers : v6_mld_routers);
    std::size_t at = 8;
    for (std::uint16_t n = load_be16(&message[6]); n > 0; --n) {
      const std::size_t count = load_be16(&message[at + 2]);
      std::string record = std::string(names[message[at]]) + ' ' + address(at + 4).to_string() + " {";
      for (std::size_t i = 0; i < count; ++i) record += (i ? "," : "") + address(at + 4 + size * (i + 1)).to_string();
      records.push_back(record + '}');
      at += 4 + size * (count + 1);
    }
    EXPECT_EQ(at, message.size());
  }
  return records;
}

Frame igmp(const Frame& body, const IpAddress& destination) {
  Frame message = body;
  ChecksumSum sum;
  sum.add(message);
  store_be16(&message[2], sum.finish());
  return ipv4_frame({.mac_destination = group_mac(destination),
                     .destination = destination,
                     .protocol = 2,
                     .ttl = 1,
                     .payload = message,
                     .options = {0x94, 4, 0, 0}});
}

Frame with(Frame frame, const IpAddress& address) {
  if (address.is_v4())
    frame.insert(frame.end(), address.v4_octets(), address.v4_octets() + 4);
  else
    frame.insert(frame.end(), address.octets().begin(), address.octets().end());
  return frame;
}

/// A query that is answered within `tenths` tenths of a second. `version` as QuerierVersion.
Frame query(bool v4, const IpAddress& group, std::uint8_t tenths, std::vector<IpAddress> sources = {},
            QuerierVersion version = QuerierVersion::v3) {
  const bool general = group.is_unspecified();
  const bool v3 = version == QuerierVersion::v3;
  Frame body;
  if (v4) {
    body = with({0x11, tenths, 0, 0}, group);
  } else {
    const std::uint16_t ms = static_cast<std::uint16_t>(tenths * 100);
    body = with({130, 0, 0, 0, static_cast<std::uint8_t>(ms >> 8), static_cast<std::uint8_t>(ms), 0, 0}, group);
  }
  if (v3) {
    body.insert(body.end(), {2, 125, 0, static_cast<std::uint8_t>(sources.size())});
    for (const IpAddress& source : sources) body = with(body, source);
  }
  if (v4) return igmp(body, general ? v4_all_hosts : group);
  const LinkIds ids = v6_ids(router_link_local, general ? v6_all_nodes : group);
  ChecksumSum sum;
  sum.add(body);
  sum.add_pseudo_header(ids.source, ids.destination, 58, static_cast<std::uint32_t>(body.size()));
  store_be16(&body[2], sum.finish());
  return ipv6_frame(ids, 58, body, {.hop_limit = 1, .extensions = {58, 0, 5, 2, 0, 0, 1, 0}, .first_header = 0});
}

GroupFilter any() {
  return {GroupMode::exclude, {}};
}
GroupFilter filter(GroupMode mode, std::initializer_list<IpAddress> sources) {
  GroupFilter f{mode, {}};
  for (const IpAddress& source : sources) EXPECT_TRUE(f.sources.add(source));
  return f;
}

class Groups : public testing::TestWithParam<Family> {
 protected:
  Groups() { group_name = f.group.to_string(); }
  void set(SlabHandle owner, const GroupFilter& wanted) {
    const auto ok = host.ip.set_membership(owner, 0, f.group, wanted);
    EXPECT_TRUE(ok) << (ok ? "" : ok.error().text);
  }
  std::vector<std::string> after(Duration time) {
    host.run_for(time);
    return said(host.sent());
  }
  std::vector<std::string> now() {
    host.ip.advance(host.now);
    return said(host.sent());
  }
  std::string source(std::size_t i) const { return f.sources[i].to_string(); }
  bool is_v4() const { return f.group.is_v4(); }
  void ask(const IpAddress& group, std::vector<IpAddress> sources = {}) {
    EXPECT_FALSE(host.input(query(is_v4(), group, 50, std::move(sources))));
  }
  IpAddress general() const { return is_v4() ? IpAddress() : v6_unspecified; }

  const Family f = GetParam();
  V6Host host;
  SlabHandle a{1, 1}, b{2, 1};
  std::string group_name;
  using Said = std::vector<std::string>;
};

TEST_P(Groups, JoiningAndLeavingAreSaidAtOnceAndOnceMore) {  // robustness 2
  set(a, any());
  EXPECT_TRUE(host.sent().empty()) << "not before the turn's timers";
  EXPECT_EQ(now(), Said{"to_ex " + group_name + " {}"});
  EXPECT_EQ(after(Duration::from_ms(1010)), Said{"to_ex " + group_name + " {}"});
  EXPECT_EQ(after(Duration::from_s(60)), Said{});
  set(a, {});
  EXPECT_EQ(now(), Said{"to_in " + group_name + " {}"});
  EXPECT_EQ(after(Duration::from_ms(1010)), Said{"to_in " + group_name + " {}"});
  EXPECT_EQ(after(Duration::from_s(60)), Said{});
  EXPECT_EQ(host.counters[is_v4() ? Counter::igmp_out_reports : Counter::mld_out_reports], 4u);
}

TEST_P(Groups, TheFrameOfAGroupIsTakenWhileItIsJoined) {
  const auto taken = [&] {
    if (is_v4())
      return host.input(ipv4_frame({.mac_destination = group_mac(f.group), .destination = f.group, .protocol = 17}));
    return host.input(ipv6_frame(v6_ids(peer_v6, f.group), 17, pattern(20)));
  };
  EXPECT_FALSE(taken());
  EXPECT_EQ(host.drops(DropReason::ip_not_local), 1u);
  set(a, any());
  EXPECT_TRUE(taken());
  EXPECT_TRUE(host.rx.to_group);
  set(a, {});
  EXPECT_FALSE(taken()) << "leaving is not membership";
}

TEST_P(Groups, TheSumOfTheSocketsIsSaid) {  // RFC 3376 3.2
  set(a, filter(GroupMode::include, {f.sources[0]}));
  EXPECT_EQ(now(), Said{"allow " + group_name + " {" + source(0) + "}"});
  (void)after(Duration::from_s(3));
  set(b, filter(GroupMode::include, {f.sources[1]}));
  EXPECT_EQ(now(), Said{"allow " + group_name + " {" + source(1) + "}"});
  (void)after(Duration::from_s(3));
  set(b, filter(GroupMode::exclude, {f.sources[0], f.sources[2]}));
  EXPECT_EQ(now(), Said{"to_ex " + group_name + " {" + source(2) + "}"}) << "socket a wants source 0";
  (void)after(Duration::from_s(3));
  set(a, {});
  EXPECT_EQ(now(), Said{"block " + group_name + " {" + source(0) + "}"});
  (void)after(Duration::from_s(3));
  set(b, filter(GroupMode::include, {f.sources[1]}));
  EXPECT_EQ(now(), Said{"to_in " + group_name + " {" + source(1) + "}"});
  (void)after(Duration::from_s(3));
  host.ip.leave_groups(b);
  EXPECT_EQ(now(), Said{"block " + group_name + " {" + source(1) + "}"});
  (void)after(Duration::from_s(3));
  EXPECT_FALSE(host.ip.is_member(0, f.group));
  EXPECT_EQ(after(Duration::from_s(60)), Said{});
}

TEST_P(Groups, AChangeInTheMiddleOfAnotherIsSaidWithIt) {  // RFC 3376 5.1
  set(a, filter(GroupMode::include, {f.sources[0]}));
  (void)now();
  set(a, filter(GroupMode::include, {f.sources[0], f.sources[1]}));
  EXPECT_EQ(now(), Said{"allow " + group_name + " {" + source(0) + "," + source(1) + "}"});
  set(a, filter(GroupMode::include, {f.sources[1]}));
  EXPECT_EQ(now(), (Said{"allow " + group_name + " {" + source(1) + "}", "block " + group_name + " {" + source(0) + "}"}));
}

TEST_P(Groups, AGeneralQueryIsAnsweredOnceWithinItsTime) {
  set(a, any());
  ASSERT_TRUE(host.ip.set_membership(b, 0, f.other_group, filter(GroupMode::include, {f.sources[0]})));
  (void)after(Duration::from_s(5));
  ask(general());
  EXPECT_EQ(now(), Said{}) << "nothing is sent in answer to an event";
  EXPECT_EQ(after(Duration::from_s(5)),
            (Said{"is_ex " + group_name + " {}", "is_in " + f.other_group.to_string() + " {" + source(0) + "}"}));
  EXPECT_EQ(after(Duration::from_s(30)), Said{});
}

TEST_P(Groups, AQueryAboutAGroupOrItsSourcesIsAnsweredByWhatIsWanted) {  // RFC 3376 5.2
  set(a, filter(GroupMode::exclude, {f.sources[0]}));
  (void)after(Duration::from_s(5));
  ask(f.group);
  EXPECT_EQ(after(Duration::from_s(5)), Said{"is_ex " + group_name + " {" + source(0) + "}"});
  ask(f.group, {f.sources[0], f.sources[1]});
  EXPECT_EQ(after(Duration::from_s(5)), Said{"is_in " + group_name + " {" + source(1) + "}"});
  ask(f.group, {f.sources[0]});
  EXPECT_EQ(after(Duration::from_s(5)), Said{}) << "none of them is wanted";
  ask(f.group, {f.sources[1]});
  ask(f.group, {f.sources[2]});
  EXPECT_EQ(after(Duration::from_s(5)), Said{"is_in " + group_name + " {" + source(1) + "," + source(2) + "}"});
  ask(f.group, {f.sources[1]});
  ask(f.group);
  EXPECT_EQ(after(Duration::from_s(5)), Said{"is_ex " + group_name + " {" + source(0) + "}"}) << "the wider question";
  if (is_v4()) {
    EXPECT_FALSE(host.input(query(true, f.other_group, 50)));
    EXPECT_EQ(host.drops(DropReason::ip_not_local), 1u);
  }
  EXPECT_EQ(after(Duration::from_s(5)), Said{});
}

TEST_P(Groups, AnOlderQuerierIsAnsweredInItsOwnVersionUntilItIsGone) {  // RFC 3376 7.2.1, RFC 3810 8.2.1
  set(a, any());
  (void)after(Duration::from_s(5));
  EXPECT_FALSE(host.input(query(is_v4(), general(), 50, {}, QuerierVersion::v2)));
  const Said report{(is_v4() ? "v2 report " : "v1 report ") + group_name + " at " + group_name};
  EXPECT_EQ(after(Duration::from_s(5)), report);
  set(a, {});
  EXPECT_EQ(now(), Said{is_v4() ? "leave " + group_name + " at 224.0.0.2" : "done " + group_name + " at ff02::2"});
  EXPECT_EQ(after(Duration::from_s(60)), Said{}) << "once";
  set(a, any());
  EXPECT_EQ(now(), report);
  EXPECT_EQ(after(Duration::from_s(20)), report);
  (void)after(Duration::from_s(300));
  ask(general());
  EXPECT_EQ(after(Duration::from_s(5)), Said{"is_ex " + group_name + " {}"});
}

TEST_P(Groups, MistakesAndLimitsAreRefused) {
  const auto code = [&](const IpAddress& group, const GroupFilter& wanted, InterfaceId id = 0) {
    const auto result = host.ip.set_membership(a, id, group, wanted);
    return result ? -1 : static_cast<int>(result.error().code);
  };
  const int invalid = static_cast<int>(ErrorCode::invalid_argument);
  const int limit = static_cast<int>(ErrorCode::limit_reached);
  EXPECT_EQ(code(f.sources[0], any()), invalid);
  EXPECT_EQ(code(is_v4() ? v4_all_hosts : v6_all_nodes, any()), invalid);
  EXPECT_EQ(code(f.group, {}), invalid) << "leaving what was not joined";
  EXPECT_EQ(code(f.group, any(), 1), invalid) << "no such port";
  for (std::uint8_t i = 0; i < 64; ++i) {
    const IpAddress group = is_v4() ? IpAddress::v4(239, 0, 0, i) : IpAddress::v6(0xff05, 0, 0, 0, 0, 0, 1, i);
    EXPECT_EQ(code(group, any()), -1);
  }
  EXPECT_EQ(code(f.group, any()), limit);
}

TEST_P(Groups, MoreSourcesThanCanBeSaidAreRefusedAndChangeNothing) {
  GroupFilter many{GroupMode::include, {}};
  for (std::uint8_t i = 0; i < 32; ++i)
    EXPECT_TRUE(many.sources.add(is_v4() ? IpAddress::v4(198, 51, 100, i) : IpAddress::v6(0x2001, 0xdb8, 2, 0, 0, 0, 0, i)));
  set(a, many);
  (void)after(Duration::from_s(5));
  const GroupFilter more = filter(GroupMode::include, {is_v4() ? IpAddress::v4(198, 51, 100, 200) : peer_v6});
  const auto refused = host.ip.set_membership(b, 0, f.group, more);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::limit_reached);
  EXPECT_EQ(after(Duration::from_s(5)), Said{});
  EXPECT_FALSE(host.ip.is_wanted(b, 0, f.group, peer_v6));
  const auto left = host.ip.set_membership(b, 0, f.group, {});
  ASSERT_FALSE(left);
  EXPECT_NE(left.error().text.find("was not joined"), std::string::npos) << left.error().text;
}

TEST_P(Groups, AMembershipIsOnePorts) {
  InterfaceConfig vlan = {.name = "port0.5", .address = {IpAddress::v4(10, 5, 0, 1), 24}, .vlan = 5, .port = 0};
  vlan.v6_addresses = {{IpAddress::v6(0x2001, 0xdb8, 5, 0, 0, 0, 0, 1), 64}};
  ASSERT_TRUE(host.ip.add_interface(vlan, host.now));
  set(a, any());
  EXPECT_TRUE(host.ip.is_wanted(a, 0, f.group, f.sources[0]));
  EXPECT_FALSE(host.ip.is_wanted(a, 1, f.group, f.sources[0]));
  EXPECT_FALSE(host.ip.is_member(1, f.group));
  (void)host.sent();
}

TEST_P(Groups, ForgedAndMalformedQueriesAreDropped) {
  set(a, any());
  (void)after(Duration::from_s(5));
  const Frame right = query(is_v4(), f.group, 10);
  const auto expect_dropped = [&](Frame frame, DropReason reason) {
    const auto before = host.drops(reason);
    EXPECT_FALSE(host.input(frame));
    EXPECT_EQ(host.drops(reason), before + 1);
  };
  Frame wrong_sum = right;
  wrong_sum.back() ^= 1;
  expect_dropped(wrong_sum, DropReason::icmp_bad_checksum);
  if (is_v4()) {
    expect_dropped(igmp(with({0x11, 10, 0, 0}, f.sources[0]), f.group), DropReason::group_malformed);
    expect_dropped(igmp(with({0x11, 10, 0, 0}, IpAddress()), f.group), DropReason::group_malformed);
    expect_dropped(igmp({0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 0, 1}, f.group), DropReason::group_malformed);
    expect_dropped(igmp({0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125}, f.group), DropReason::group_malformed);
    expect_dropped(igmp(with({0x16, 0, 0, 0}, f.group), f.group), DropReason::group_ignored);
    expect_dropped(igmp({0x11, 10, 0, 0}, f.group), DropReason::group_malformed);
  } else {
    Frame routed = right;
    routed[14 + 7] = 64;
    expect_dropped(routed, DropReason::group_malformed);
    Frame no_alert = right;  // the option becomes padding
    no_alert[14 + 40 + 2] = 1;
    expect_dropped(no_alert, DropReason::group_malformed);
  }
  EXPECT_EQ(after(Duration::from_s(5)), Said{});
}

INSTANTIATE_TEST_SUITE_P(Families, Groups, testing::Values(v4_family, v6_family),
                         [](const auto& row) { return row.param.name; });

TEST(GroupQueries, LargeTimesAreFloatingPoint) {  // RFC 3376 4.1.1, RFC 3810 5.1.3
  const auto igmp_ms = [](std::uint8_t code) {
    return GroupQuery::parse_igmp(Frame{0x11, code, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})->max_response.ms();
  };
  EXPECT_EQ(igmp_ms(127), 12'700);
  EXPECT_EQ(igmp_ms(128), 12'800);
  EXPECT_EQ(igmp_ms(255), 3'174'400);
  Frame mld(28, 0);
  mld[0] = 130;
  store_be16(&mld[4], 0xffff);
  EXPECT_EQ(GroupQuery::parse_mld(mld)->max_response.ms(), 8'387'584);
}

TEST(GroupReports, ManyRecordsAreSeveralReports) {
  V6Host host;
  for (std::uint8_t i = 0; i < 64; ++i) {
    GroupFilter many{GroupMode::include, {}};
    for (std::uint8_t s = 0; s < 32; ++s) EXPECT_TRUE(many.sources.add(IpAddress::v4(198, 51, 100, s)));
    ASSERT_TRUE(host.ip.set_membership({1, 1}, 0, IpAddress::v4(239, 0, 0, i), many));
  }
  host.ip.advance(host.now);
  const auto frames = host.sent();
  EXPECT_EQ(frames.size(), 7u) << "10 records of 136 octets in each MTU";
  EXPECT_EQ(said(frames).size(), 64u);
}

}  // namespace
}  // namespace pollux::test
