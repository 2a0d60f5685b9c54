// Checksums over chains against a byte-by-byte sum.
#include "pollux/packet/checksum.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "packet_chain.h"
#include "pollux/base/rng.h"
#include "support/seed.h"

namespace pollux {
namespace {

using test::chain_of;
using test::HeapPool;

// RFC 1071, octet by octet.
std::uint16_t naive_sum(std::string_view text) {
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < text.size(); ++i)
    sum += static_cast<std::uint64_t>(static_cast<std::uint8_t>(text[i])) << (i % 2 == 0 ? 8 : 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

std::string random_text(Rng& rng, std::size_t n) {
  std::string text(n, '\0');
  for (char& c : text) c = static_cast<char>(rng.next());
  return text;
}

TEST(SumChain, IsRightForEveryCutIntoThreeAndEveryRange) {
  Rng rng(test::seed_from_environment(20'260'103));
  HeapPool heap;
  constexpr std::uint32_t n = 13;
  const std::string text = random_text(rng, n);
  for (std::uint32_t a = 0; a <= n; ++a) {
    for (std::uint32_t b = a; b <= n; ++b) {
      const Packet packet = chain_of(heap.pool(), text, {a, b - a, n - b});
      for (std::uint32_t offset = 0; offset <= n; ++offset) {
        for (std::uint32_t length = 0; length <= n - offset; ++length) {
          ASSERT_EQ(sum_chain(packet.mbuf(), offset, length).folded(), naive_sum(text.substr(offset, length)))
              << "cut at " << a << " and " << b << ", " << length << " octets from " << offset;
        }
      }
    }
  }
}

TEST(SumChain, IsRightForRandomChains) {
  Rng rng(test::seed_from_environment(20'260'104));
  HeapPool heap;
  for (int round = 0; round < 500; ++round) {
    std::vector<std::uint32_t> sizes(1 + rng.below(12));
    std::uint32_t total = 0;
    for (std::uint32_t& size : sizes) total += size = rng.below(rng.chance(0.3) ? 1500 : 40);
    const std::string text = rng.chance(0.1) ? std::string(total, '\xff') : random_text(rng, total);
    const Packet packet = chain_of(heap.pool(), text, sizes);
    const std::uint32_t offset = rng.below(total + 1);
    const std::uint32_t length = rng.below(total - offset + 1);
    ASSERT_EQ(sum_chain(packet.mbuf(), offset, length).folded(), naive_sum(text.substr(offset, length)));
  }
}

TEST(RxChecksum, OnlyGoodIsGood) {
  rte_mbuf m{};
  using Flags = std::vector<std::uint64_t>;
  for (const std::uint64_t flags : Flags{RTE_MBUF_F_RX_L4_CKSUM_UNKNOWN, RTE_MBUF_F_RX_L4_CKSUM_BAD,
                                         RTE_MBUF_F_RX_L4_CKSUM_NONE, RTE_MBUF_F_RX_IP_CKSUM_GOOD}) {
    m.ol_flags = flags;
    EXPECT_FALSE(rx_l4_checksum_good(&m)) << flags;
  }
  for (const std::uint64_t flags : Flags{RTE_MBUF_F_RX_IP_CKSUM_UNKNOWN, RTE_MBUF_F_RX_IP_CKSUM_BAD,
                                         RTE_MBUF_F_RX_IP_CKSUM_NONE, RTE_MBUF_F_RX_L4_CKSUM_GOOD}) {
    m.ol_flags = flags;
    EXPECT_FALSE(rx_ip_checksum_good(&m)) << flags;
  }
  m.ol_flags = RTE_MBUF_F_RX_IP_CKSUM_GOOD | RTE_MBUF_F_RX_L4_CKSUM_GOOD;
  EXPECT_TRUE(rx_ip_checksum_good(&m));
  EXPECT_TRUE(rx_l4_checksum_good(&m));
}

}  // namespace
}  // namespace pollux
