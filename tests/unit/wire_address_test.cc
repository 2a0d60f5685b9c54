#include "pollux/wire/address.h"

#include <gtest/gtest.h>

#include <unordered_map>

#include "pollux/base/rng.h"
#include "support/seed.h"

namespace pollux {
namespace {

IpAddress ip(const char* text) {
  const auto address = IpAddress::from_string(text);
  EXPECT_TRUE(address) << text;
  return address.value_or(IpAddress());
}

TEST(MacAddress, TextRoundTrips) {
  const auto mac = MacAddress::from_string("02:Ab:cD:00:0f:ff");
  ASSERT_TRUE(mac);
  EXPECT_EQ(*mac, (MacAddress{{0x02, 0xab, 0xcd, 0x00, 0x0f, 0xff}}));
  EXPECT_EQ(mac->to_string(), "02:ab:cd:00:0f:ff");
}

TEST(MacAddress, RefusesOtherText) {
  for (const char* text :
       {"", "02:00:00:00:00", "02:00:00:00:00:0", "02:00:00:00:00:000", "02:00:00:00:00:0g",
        "02-00-00-00-00-00", "0200.0000.0000", "02:00:00:00:00:00 ", "2:0:0:0:0:0:0:0:0"})
    EXPECT_FALSE(MacAddress::from_string(text)) << text;
}

TEST(MacAddress, KnowsGroupBroadcastAndZero) {
  EXPECT_TRUE(MacAddress::broadcast().is_broadcast());
  EXPECT_TRUE(MacAddress::broadcast().is_group());
  EXPECT_TRUE((MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}).is_group());
  EXPECT_FALSE((MacAddress{{0x01, 0, 0x5e, 0, 0, 1}}).is_broadcast());
  EXPECT_FALSE((MacAddress{{0x02, 0, 0, 0, 0, 1}}).is_group());
  EXPECT_TRUE(MacAddress{}.is_zero());
}

TEST(IpAddress, TextBecomesCanonical) {
  struct Case {
    const char* text;
    const char* canonical;
  };
  const Case cases[] = {
      {"0.0.0.0", "0.0.0.0"},
      {"255.255.255.255", "255.255.255.255"},
      {"192.0.2.1", "192.0.2.1"},
      {"::", "::"},
      {"::1", "::1"},
      {"1::", "1::"},
      {"0:0:0:0:0:0:0:0", "::"},
      {"2001:db8::1", "2001:db8::1"},
      // RFC 5952 4.1: leading zeros are suppressed. 4.3: lower case.
      {"2001:0DB8:0000:0000:0000:0000:0000:00AA", "2001:db8::aa"},
      // RFC 5952 4.2.1: shortened as much as possible. 4.2.2: one group alone is not shortened.
      {"2001:db8:0:0:0:0:2:1", "2001:db8::2:1"},
      {"2001:db8:0:1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      {"2001:db8::1:1:1:1:1", "2001:db8:0:1:1:1:1:1"},
      // RFC 5952 4.2.3: the longest run, and the first of equal ones.
      {"2001:0:0:1:0:0:0:1", "2001:0:0:1::1"},
      {"2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1"},
      {"1:2:3:4:5:6:0:0", "1:2:3:4:5:6::"},
      {"0:0:3:4:5:6:7:8", "::3:4:5:6:7:8"},
      {"::2:3:4:5:6:7:8", "0:2:3:4:5:6:7:8"},
      {"1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:0"},
      // RFC 4291 2.2 form 3; an IPv4-mapped address is the IPv4 address itself here.
      {"64:ff9b::192.0.2.33", "64:ff9b::c000:221"},
      {"1:2:3:4:5:6:7.8.9.10", "1:2:3:4:5:6:708:90a"},
      {"::ffff:192.0.2.1", "192.0.2.1"},
      {"::ffff:c000:201", "192.0.2.1"},
  };
  for (const auto& [text, canonical] : cases) EXPECT_EQ(ip(text).to_string(), canonical) << text;
}

TEST(IpAddress, RefusesOtherText) {
  for (const char* text : {
           "",
           " ",
           "1",
           "1.2.3",
           "1.2.3.4.5",
           "1.2.3.256",
           "1.2.3.1000",
           "1..2.3",
           ".1.2.3",
           "1.2.3.",
           "1.2.3.4 ",
           " 1.2.3.4",
           "1.2.3.-4",
           "1.2.3.+4",
           "0x7f.0.0.1",
           "01.2.3.4",
           "1.2.3.04",
           "1.2.3.00",
           "1,2,3,4",
           ":",
           ":::",
           "1",
           "1:2",
           "1:2:3:4:5:6:7",
           "1:2:3:4:5:6:7:8:9",
           "1:2:3:4:5:6:7:8::",
           "::1:2:3:4:5:6:7:8",
           "1::2::3",
           "1:::2",
           "1:2:3:4:5:6:7:",
           ":1:2:3:4:5:6:7",
           "1:",
           "::1:",
           "12345::",
           "::g",
           "::1%eth0",
           "::1.2.3",
           "::1.2.3.4:5",
           "1:2:3:4:5:6:7:1.2.3.4",
           "::1.2.3.256",
           "[::1]",
           "::1/64",
           "1::2 ",
       })
    EXPECT_FALSE(IpAddress::from_string(text)) << '"' << text << '"';
}

TEST(IpAddress, TextOfRandomAddressesRoundTrips) {
  Rng rng(test::seed_from_environment(5));
  for (int i = 0; i < 5000; ++i) {
    std::string text;
    for (int group = 0; group < 8; ++group) {
      char digits[8];
      std::snprintf(digits, sizeof digits, "%s%x", group > 0 ? ":" : "",
                    rng.chance(0.5) ? 0 : rng.below(0x10000));
      text += digits;
    }
    const IpAddress address = ip(text.c_str());
    ASSERT_EQ(ip(address.to_string().c_str()), address) << text;
  }
}

TEST(IpAddress, ValuesAndPredicates) {
  struct Case {
    const char* text;
    bool v4, unspecified, multicast, loopback, broadcast;
  };
  const Case cases[] = {
      {"0.0.0.0", true, true, false, false, false},
      {"127.0.0.1", true, false, false, true, false},
      {"127.255.0.9", true, false, false, true, false},
      {"128.0.0.1", true, false, false, false, false},
      {"223.255.255.255", true, false, false, false, false},
      {"224.0.0.1", true, false, true, false, false},
      {"239.255.255.255", true, false, true, false, false},
      {"240.0.0.1", true, false, false, false, false},
      {"255.255.255.255", true, false, false, false, true},
      {"::", false, true, false, false, false},
      {"::1", false, false, false, true, false},
      {"ff02::1", false, false, true, false, false},
      {"fe80::1", false, false, false, false, false},
  };
  for (const Case& c : cases) {
    SCOPED_TRACE(c.text);
    const IpAddress address = ip(c.text);
    EXPECT_EQ(address.is_v4(), c.v4);
    EXPECT_EQ(address.is_unspecified(), c.unspecified);
    EXPECT_EQ(address.is_multicast(), c.multicast);
    EXPECT_EQ(address.is_loopback(), c.loopback);
    EXPECT_EQ(address.is_limited_broadcast(), c.broadcast);
  }
  EXPECT_EQ(IpAddress(), ip("0.0.0.0"));
  EXPECT_EQ(IpAddress::v4(0xc0000201), ip("192.0.2.1"));
  EXPECT_EQ(IpAddress::v4(192, 0, 2, 1), ip("192.0.2.1"));
  EXPECT_EQ(ip("192.0.2.1").v4_value(), 0xc0000201u);
  const std::uint8_t wire[4] = {192, 0, 2, 1};
  EXPECT_EQ(IpAddress::v4_from_wire(wire), ip("192.0.2.1"));
  EXPECT_LT(ip("192.0.2.1"), ip("192.0.2.2"));
  EXPECT_LT(ip("1.0.0.255"), ip("2.0.0.0"));
}

TEST(Endpoint, TextBracketsIpv6) {
  EXPECT_EQ((Endpoint{ip("192.0.2.1"), 7}).to_string(), "192.0.2.1:7");
  EXPECT_EQ((Endpoint{ip("2001:db8::1"), 65535}).to_string(), "[2001:db8::1]:65535");
}

TEST(IpPrefix, ContainsItsAddressesOnly) {
  struct Case {
    const char* prefix;
    const char* address;
    bool inside;
  };
  const Case cases[] = {
      {"192.0.2.0/24", "192.0.2.0", true},
      {"192.0.2.0/24", "192.0.2.255", true},
      {"192.0.2.0/24", "192.0.3.0", false},
      {"192.0.2.77/24", "192.0.2.1", true},
      {"192.0.2.64/26", "192.0.2.127", true},
      {"192.0.2.64/26", "192.0.2.128", false},
      {"192.0.2.64/26", "192.0.2.63", false},
      {"10.0.0.0/7", "11.255.0.1", true},
      {"10.0.0.0/7", "12.0.0.1", false},
      {"192.0.2.1/32", "192.0.2.1", true},
      {"192.0.2.1/32", "192.0.2.0", false},
      {"192.0.2.0/31", "192.0.2.1", true},
      {"0.0.0.0/0", "255.1.2.3", true},
      {"0.0.0.0/0", "2001:db8::1", false},
      {"::/0", "2001:db8::1", true},
      {"::/0", "192.0.2.1", false},
      {"2001:db8::/32", "2001:db8:ffff::1", true},
      {"2001:db8::/32", "2001:db9::1", false},
      {"2001:db8::/33", "2001:db8:8000::", false},
      {"::1/128", "::1", true},
      {"::1/128", "::2", false},
  };
  for (const auto& [prefix_text, address, inside] : cases) {
    const auto prefix = IpPrefix::from_string(prefix_text);
    ASSERT_TRUE(prefix) << prefix_text;
    EXPECT_EQ(prefix->contains(ip(address)), inside) << address << " in " << prefix_text;
    EXPECT_EQ(prefix->to_string(), prefix_text);
  }
}

TEST(IpPrefix, RefusesOtherText) {
  for (const char* text :
       {"", "/", "192.0.2.0", "192.0.2.0/", "192.0.2.0/33", "192.0.2.0/-1", "192.0.2.0/024", "192.0.2.0/24 ",
        "192.0.2/24", "/24", "192.0.2.0/24/8", "::/129", "::/1000", "x/8"})
    EXPECT_FALSE(IpPrefix::from_string(text)) << text;
}

}  // namespace
}  // namespace pollux
