#include "support/heap_pool.h"

#include <rte_mempool.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "support/eal.h"

namespace pollux::test {
namespace {

constexpr char ops_name[] = "pollux_heap";

// A mempool as rte_mempool_create_empty() would lay it out (private data right behind), but without the EAL's
// memory. struct rte_mempool is public and its fast path is inline, so this is all that rte_pktmbuf_* need.
struct HeapMempool {
  rte_mempool mempool;
  rte_pktmbuf_pool_private mbuf_private;
  std::uint32_t limit;
  std::uint32_t in_use;
  std::uint16_t next_buffer_octets;  // of the blocks that are allocated next
};
static_assert(offsetof(HeapMempool, mbuf_private) == sizeof(rte_mempool),
              "rte_mempool_get_priv() looks here");

HeapMempool& owner_of(const rte_mempool* mempool) {
  return *static_cast<HeapMempool*>(mempool->pool_data);
}

// rte_mempool_in_use_count() is size less available: keep `size` so that it holds after the limit shrank too.
void update_size(HeapMempool& pool) {
  pool.mempool.size = std::max(pool.limit, pool.in_use);
}

// [ unused | rte_mempool_objhdr | rte_mbuf | buffer ]: the mbuf is cache-aligned and the buffer ends the
// block.
constexpr std::size_t mbuf_offset = RTE_CACHE_LINE_SIZE;
static_assert(sizeof(rte_mempool_objhdr) <= mbuf_offset);

rte_mbuf* new_mbuf(HeapMempool& pool) {
  void* block = nullptr;
  if (posix_memalign(&block, RTE_CACHE_LINE_SIZE, mbuf_offset + sizeof(rte_mbuf) + pool.next_buffer_octets) !=
      0)
    return nullptr;
  auto* const m = reinterpret_cast<rte_mbuf*>(static_cast<std::uint8_t*>(block) + mbuf_offset);
  rte_mempool_objhdr* const header = reinterpret_cast<rte_mempool_objhdr*>(m) - 1;
  std::memset(static_cast<void*>(header), 0, sizeof *header);
  header->mp = &pool.mempool;
  header->iova = reinterpret_cast<rte_iova_t>(m);

  std::memset(static_cast<void*>(m), 0, sizeof *m);  // as rte_pktmbuf_init()
  m->buf_addr = m + 1;
  m->buf_iova = header->iova + sizeof *m;
  m->buf_len = pool.next_buffer_octets;
  m->data_off = std::min<std::uint16_t>(RTE_PKTMBUF_HEADROOM, m->buf_len);
  m->pool = &pool.mempool;
  m->nb_segs = 1;
  m->port = RTE_MBUF_PORT_INVALID;
  rte_mbuf_refcnt_set(m, 1);
  return m;
}

void delete_mbuf(void* m) {
  std::free(static_cast<std::uint8_t*>(m) - mbuf_offset);
}

int heap_alloc(rte_mempool*) {
  return 0;
}

int heap_enqueue(rte_mempool* mempool, void* const* objects, unsigned count) {
  HeapMempool& pool = owner_of(mempool);
  POLLUX_CHECK(count <= pool.in_use, "%u mbufs freed, %u in use", count, pool.in_use);
  std::for_each(objects, objects + count, delete_mbuf);
  pool.in_use -= count;
  update_size(pool);
  return 0;
}

int heap_dequeue(rte_mempool* mempool, void** objects, unsigned count) {
  HeapMempool& pool = owner_of(mempool);
  if (pool.limit < pool.in_use || pool.limit - pool.in_use < count) return -ENOENT;
  for (unsigned i = 0; i < count; ++i) {
    objects[i] = new_mbuf(pool);
    POLLUX_CHECK(objects[i] != nullptr, "no heap for an mbuf");
  }
  pool.in_use += count;
  return 0;
}

unsigned heap_count(const rte_mempool* mempool) {
  return mempool->size - owner_of(mempool).in_use;
}

const rte_mempool_ops heap_ops = [] {
  rte_mempool_ops ops{};
  std::strcpy(ops.name, ops_name);
  ops.alloc = heap_alloc;
  ops.enqueue = heap_enqueue;
  ops.dequeue = heap_dequeue;
  ops.get_count = heap_count;
  return ops;
}();

// Once in a process, before main(); needs no EAL and does not disturb one. Pools name their ops by this
// index.
const int heap_ops_index = rte_mempool_register_ops(&heap_ops);

void init_mempool(HeapMempool& pool, const char* name, std::uint32_t limit, std::uint16_t buffer_octets) {
  std::memset(static_cast<void*>(&pool), 0, sizeof pool);
  std::strncpy(pool.mempool.name, name, sizeof pool.mempool.name - 1);
  pool.mempool.pool_data = &pool;
  pool.mempool.socket_id = SOCKET_ID_ANY;
  pool.mempool.cache_size = 0;  // rte_lcore_id() is not consulted then
  pool.mempool.elt_size = static_cast<std::uint32_t>(sizeof(rte_mbuf) + buffer_octets);
  pool.mempool.header_size = sizeof(rte_mempool_objhdr);
  pool.mempool.private_data_size = sizeof pool.mbuf_private;
  pool.mempool.ops_index = heap_ops_index;
  pool.mbuf_private.mbuf_data_room_size = buffer_octets;
  pool.limit = limit;
  pool.next_buffer_octets = buffer_octets;
  update_size(pool);
}

}  // namespace

struct HeapPool::Impl {
  HeapMempool data;
  HeapMempool clones;
};

HeapPool::HeapPool(std::uint32_t packets, std::uint16_t room) : impl_(std::make_unique<Impl>()) {
  ensure_eal();  // not for the mbufs: stacks keep their routes in DPDK's memory
  POLLUX_CHECK(heap_ops_index >= 0, "mempool ops not registered: %d", heap_ops_index);
  POLLUX_CHECK(room <= UINT16_MAX - RTE_PKTMBUF_HEADROOM, "room of %u octets", room);
  init_mempool(impl_->data, "heap_data", packets, static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + room));
  init_mempool(impl_->clones, "heap_clones", packets, 0);
}

HeapPool::~HeapPool() {
  POLLUX_CHECK(in_use() == 0, "leak: %u data mbufs and %u clones still in use", impl_->data.in_use,
               impl_->clones.in_use);
}

PacketPool HeapPool::pool() noexcept {
  return {&impl_->data.mempool, &impl_->clones.mempool};
}

std::uint32_t HeapPool::in_use() const noexcept {
  return impl_->data.in_use + impl_->clones.in_use;
}

void HeapPool::set_limit(std::uint32_t packets) noexcept {
  for (HeapMempool* pool : {&impl_->data, &impl_->clones}) {
    pool->limit = packets;
    update_size(*pool);
  }
}

Packet HeapPool::exact_copy_of(std::span<const std::uint8_t> bytes) noexcept {
  const std::uint16_t room = std::exchange(impl_->data.next_buffer_octets,
                                           static_cast<std::uint16_t>(RTE_PKTMBUF_HEADROOM + bytes.size()));
  Packet packet = pool().copy_of(bytes);
  impl_->data.next_buffer_octets = room;
  return packet;
}

}  // namespace pollux::test
