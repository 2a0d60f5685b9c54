// The test pool in a process that runs an EAL, side by side with an ordinary mempool.
#include <gtest/gtest.h>

#include "packet_chain.h"
#include "support/eal.h"
#include "support/heap_pool.h"

namespace pollux::test {
namespace {

TEST(HeapPool, WorksBesideTheEalAndItsMempools) {
  ensure_eal();
  rte_mempool* const data =
      rte_pktmbuf_pool_create("data", 63, 16, 0, RTE_MBUF_DEFAULT_BUF_SIZE, SOCKET_ID_ANY);
  rte_mempool* const clones = rte_pktmbuf_pool_create("clones", 63, 16, 0, 0, SOCKET_ID_ANY);
  ASSERT_NE(data, nullptr);
  ASSERT_NE(clones, nullptr);
  {
    PacketPool eal(data, clones);
    HeapPool heap;
    // Segments and references of both kinds in one chain.
    Packet chain = chain_of(eal, "abcd", {4});
    Packet heap_part = chain_of(heap.pool(), "efgh", {4});
    Packet eal_reference_to_heap = eal.reference(*heap_part.mbuf(), 1, 2);
    Packet heap_reference_to_eal = heap.pool().reference(*chain.mbuf(), 2, 2);
    ASSERT_TRUE(chain.chain(heap_part));
    ASSERT_TRUE(chain.chain(eal_reference_to_heap));
    ASSERT_TRUE(chain.chain(heap_reference_to_eal));
    EXPECT_EQ(text_of(chain), "abcdefghfgcd");
    expect_sound(chain);
    chain.reset();
    EXPECT_EQ(eal.in_use() + eal.clones_in_use() + heap.in_use(), 0u);
  }
  rte_mempool_free(clones);
  rte_mempool_free(data);
}

}  // namespace
}  // namespace pollux::test
