// What the packet tests share: chains of chosen segment sizes, and their content as a string.
#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/packet/pool.h"
#include "support/heap_pool.h"

namespace pollux::test {

inline std::span<const std::uint8_t> octets(std::string_view text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

/// `content` cut into segments of the given sizes (0 is allowed); they must add up to content.size().
inline Packet chain_of(PacketPool pool, std::string_view content, const std::vector<std::uint32_t>& sizes) {
  Packet head;
  for (const std::uint32_t size : sizes) {
    Packet segment = pool.copy_of(octets(content.substr(0, size)));
    content.remove_prefix(size);
    if (!head) {
      head = std::move(segment);
    } else {
      EXPECT_TRUE(head.chain(segment));
    }
  }
  EXPECT_TRUE(content.empty());
  return head;
}

/// The content, read segment by segment.
inline std::string text_of(const Packet& packet) {
  std::string text;
  for (const rte_mbuf* m = packet.mbuf(); m != nullptr; m = m->next)
    text.append(rte_pktmbuf_mtod(m, const char*), m->data_len);
  return text;
}

/// Fails the test when DPDK's own check of the chain finds fault with it.
inline void expect_sound(const Packet& packet) {
  const char* reason = nullptr;
  EXPECT_EQ(rte_mbuf_check(packet.mbuf(), 1, &reason), 0) << reason;
}

inline std::string alphabet(std::size_t n) {
  std::string text(n, '\0');
  for (std::size_t i = 0; i < n; ++i) text[i] = static_cast<char>('a' + i * 7 % 26);
  return text;
}

}  // namespace pollux::test
