#include "pollux/wire/checksum.h"

#include <gtest/gtest.h>

#include <numeric>
#include <vector>

#include "pollux/base/rng.h"
#include "support/seed.h"

namespace pollux {
namespace {

using Octets = std::vector<std::uint8_t>;

/// RFC 1071 1, word by word.
std::uint16_t naive_sum(std::span<const std::uint8_t> bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); ++i) {
    sum += i % 2 == 0 ? std::uint32_t{bytes[i]} << 8 : bytes[i];
    sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(sum);
}

std::uint16_t sum_of(std::span<const std::uint8_t> bytes) {
  ChecksumSum sum;
  sum.add(bytes);
  return sum.folded();
}

Octets random_octets(Rng& rng, std::size_t size) {
  Octets bytes(size);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(rng.next());
  return bytes;
}

TEST(Checksum, MatchesTheExampleOfRfc1071) {
  const Octets data{0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7};
  EXPECT_EQ(sum_of(data), 0xddf2);
  ChecksumSum sum;
  sum.add(data);
  EXPECT_EQ(sum.finish(), static_cast<std::uint16_t>(~0xddf2));
}

TEST(Checksum, OfNothingAndOfZerosIsZeroAndNothingElseIs) {
  EXPECT_EQ(sum_of({}), 0);
  EXPECT_EQ(sum_of(Octets(100)), 0);
  Octets all_ones(1500, 0xff);
  EXPECT_EQ(sum_of(all_ones), 0xffff) << "minus zero stays minus zero";
  EXPECT_EQ(sum_of(Octets(65535, 0xff)), 0xff00) << "an odd octet is padded";
  Octets one(64);
  one[63] = 1;
  EXPECT_EQ(sum_of(one), 1);
}

TEST(Checksum, AgreesWithTheNaiveSumForEverySizeAndAlignment) {
  Rng rng(test::seed_from_environment(6));
  for (std::size_t size = 0; size <= 700; ++size) {  // long ones take another way
    for (std::size_t skew = 0; skew < 8; ++skew) {
      const Octets storage = random_octets(rng, skew + size);
      const std::span<const std::uint8_t> bytes = std::span(storage).subspan(skew);
      ASSERT_EQ(sum_of(bytes), naive_sum(bytes)) << size << " octets at " << skew;
    }
  }
  for (const std::size_t size : {1460u, 9000u, 65535u}) {
    const Octets bytes = random_octets(rng, size);
    ASSERT_EQ(sum_of(bytes), naive_sum(bytes)) << size;
    const Octets ones(size, 0xff);
    ASSERT_EQ(sum_of(ones), naive_sum(ones)) << size;
  }
}

TEST(Checksum, IsTheSameForEverySplitInTwo) {
  Rng rng(test::seed_from_environment(7));
  for (const std::size_t size : {1u, 2u, 7u, 63u, 64u, 65u, 131u}) {
    const Octets bytes = random_octets(rng, size);
    for (std::size_t cut = 0; cut <= size; ++cut) {
      ChecksumSum sum;
      sum.add(std::span(bytes).first(cut));
      const auto rest = std::span(bytes).subspan(cut);
      if (cut % 2 == 0)
        sum.add(rest);
      else
        sum.add_at_odd_offset(rest);
      ASSERT_EQ(sum.folded(), naive_sum(bytes)) << size << " cut at " << cut;
    }
  }
}

TEST(Checksum, IsTheSameForRandomSplitsInMany) {
  Rng rng(test::seed_from_environment(8));
  for (int round = 0; round < 500; ++round) {
    const Octets bytes = random_octets(rng, rng.below(3000));
    ChecksumSum sum;
    for (std::size_t at = 0; at < bytes.size();) {
      const std::size_t piece = std::min<std::size_t>(bytes.size() - at, 1 + rng.below(round % 2 ? 5 : 700));
      const auto part = std::span(bytes).subspan(at, piece);
      if (at % 2 == 0)
        sum.add(part);
      else
        sum.add_at_odd_offset(part);
      at += piece;
    }
    ASSERT_EQ(sum.folded(), naive_sum(bytes)) << "round " << round;
  }
}

TEST(Checksum, CarriesOutOf64BitsAreNotLost) {
  // Each piece adds almost 2^64: without the end-around carry the sum would lose one per wrap.
  const Octets ones(32, 0xff);
  ChecksumSum sum;
  for (int i = 0; i < 1000; ++i) sum.add(ones);
  sum.add_u16(2);
  EXPECT_EQ(sum.folded(), 2) << "0xffff is the zero of one's complement";
}

TEST(Checksum, FieldsCountAsTheirOctets) {
  const Octets octets{0x12, 0x34, 0xde, 0xad, 0xbe, 0xef};
  ChecksumSum sum;
  sum.add_u16(0x1234);
  sum.add_u32(0xdeadbeef);
  EXPECT_EQ(sum.folded(), naive_sum(octets));
}

TEST(Checksum, PseudoHeaderOfBothFamilies) {
  struct Case {
    const char* source;
    const char* destination;
    std::uint8_t protocol;
    std::uint32_t length;
    Octets octets;
  };
  const Case cases[] = {
      // RFC 9293 3.1: source, destination, zero, protocol, TCP length.
      {"192.0.2.1", "198.51.100.2", 6, 1460, {192, 0, 2, 1, 198, 51, 100, 2, 0, 6, 0x05, 0xb4}},
      {"255.255.255.255",
       "255.255.255.255",
       17,
       65535,
       {255, 255, 255, 255, 255, 255, 255, 255, 0, 17, 255, 255}},
      // RFC 8200 8.1: source, destination, 32-bit length, zero, next header.
      {"2001:db8::1", "fe80::2", 17, 0x00012345, {0x20, 0x01, 0x0d, 0xb8, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0,
                                                  0,    1,    0xfe, 0x80, 0, 0, 0,    0,    0, 0, 0, 0, 0, 0,
                                                  0,    0,    0,    2,    0, 1, 0x23, 0x45, 0, 0, 0, 17}},
  };
  for (const Case& c : cases) {
    ChecksumSum sum;
    sum.add_pseudo_header(*IpAddress::from_string(c.source), *IpAddress::from_string(c.destination),
                          c.protocol, c.length);
    EXPECT_EQ(sum.folded(), naive_sum(c.octets)) << c.source;
  }
}

TEST(Checksum, OkExactlyForDataThatCarriesItsChecksum) {
  Rng rng(test::seed_from_environment(9));
  for (int round = 0; round < 200; ++round) {
    Octets bytes = random_octets(rng, 4 + rng.below(100));
    store_be16(&bytes[2], 0);
    ChecksumSum sum;
    sum.add(bytes);
    store_be16(&bytes[2], sum.finish());
    ASSERT_TRUE(checksum_ok(bytes));
    const std::size_t at = rng.below(static_cast<std::uint32_t>(bytes.size()));
    bytes[at] = static_cast<std::uint8_t>(bytes[at] ^ (1u << rng.below(8)));
    ASSERT_FALSE(checksum_ok(bytes)) << "one flipped bit";
  }
}

}  // namespace
}  // namespace pollux
