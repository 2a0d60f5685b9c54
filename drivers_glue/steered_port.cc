#include "pollux/drivers_glue/steered_port.h"

#include <algorithm>

#include "pollux/drivers_glue/log.h"

namespace pollux {
namespace {

unsigned dequeue(rte_ring& ring, rte_mbuf** packets, unsigned n) noexcept {
  return rte_ring_sc_dequeue_burst(&ring, reinterpret_cast<void**>(packets), n, nullptr);
}

unsigned enqueue(rte_ring& ring, rte_mbuf** packets, unsigned n) noexcept {
  return rte_ring_sp_enqueue_burst(&ring, reinterpret_cast<void**>(packets), n, nullptr);
}

}  // namespace

SteeredPort::SteeredPort(std::optional<PortQueue> queue, Handover& handover, std::uint16_t core, PacketPool pool)
    : queue_(queue), shared_(std::make_unique<Shared>(handover, core, pool)) {}

SteeredPort::Shared::Shared(Handover& h, std::uint16_t c, PacketPool p)
    : handover(h), steering(h.steering()), pool(p), core(c), outboxes(h.steering().cores()) {}

SteeredPort::Shared::~Shared() {
  for (std::uint32_t i = 0; i < relay_count; ++i) rte_pktmbuf_free(relayed[i]);
}

std::uint16_t SteeredPort::Shared::rx_burst(std::optional<PortQueue>& queue, rte_mbuf** packets,
                                            std::uint16_t n) noexcept {
  // Neither source starves the other: half of the burst is open to what others received.
  std::uint16_t count = take_over(packets, queue ? n / 2 : n);
  if (queue) {
    relay(*queue);
    const auto room = std::min<std::uint16_t>(burst_max, static_cast<std::uint16_t>(n - count));
    const std::uint16_t received = queue->rx_burst(packets + count, room);
    if (received != 0) {
      count = static_cast<std::uint16_t>(count + sort(packets + count, received));
      deliver();
    }
    if (count < n) count = static_cast<std::uint16_t>(count + take_over(packets + count, n - count));
  }
  return count;
}

std::uint16_t SteeredPort::Shared::take_over(rte_mbuf** packets, std::uint16_t n) noexcept {
  const auto cores = static_cast<std::uint16_t>(steering.cores());
  std::uint16_t count = 0;
  std::uint16_t source = next_source;
  for (std::uint16_t i = 0; i < cores && count < n; ++i) {
    if (source != core) {
      rte_ring& ring = handover.to_owner(source, core);
      if (rte_ring_empty(&ring) == 0)
        count = static_cast<std::uint16_t>(count + dequeue(ring, packets + count, n - count));
    }
    source = source + 1 == cores ? std::uint16_t{0} : static_cast<std::uint16_t>(source + 1);
  }
  if (count == n) next_source = source;  // whoever was left out comes first the next time
  counters.taken_over += count;
  return count;
}

bool SteeredPort::Shared::has_waiting() const noexcept {
  if (relay_count != 0) return true;
  for (std::uint16_t from = 0; from < steering.cores(); ++from) {
    if (from == core) continue;
    if (rte_ring_empty(&handover.to_owner(from, core)) == 0) return true;
    if (from >= handover.queues() && handover.transmitter_of(from) == core &&
        rte_ring_empty(&handover.to_wire(from)) == 0)
      return true;
  }
  return false;
}

/// Leaves the core's own packets in front and returns their number.
std::uint16_t SteeredPort::Shared::sort(rte_mbuf** packets, std::uint16_t n) noexcept {
  constexpr std::uint16_t prefetch_ahead = 3;
  std::uint16_t kept = 0;
  for (std::uint16_t i = 0; i < n; ++i) {
    if (i + prefetch_ahead < n) __builtin_prefetch(rte_pktmbuf_mtod(packets[i + prefetch_ahead], const void*));
    rte_mbuf* packet = packets[i];
    const FrameOwner owner =
        steering.owner_of_frame({rte_pktmbuf_mtod(packet, const std::uint8_t*), packet->data_len});
    if (owner.kind == FrameOwner::Kind::flow) [[likely]]
      check_rss(*packet, owner);
    else if (owner.kind == FrameOwner::Kind::everyone && (packet = share(packet)) == nullptr)
      continue;
    if (owner.core == core || owner.kind == FrameOwner::Kind::everyone)
      packets[kept++] = packet;
    else
      post(owner.core, packet);
  }
  return kept;
}

void SteeredPort::Shared::check_rss(const rte_mbuf& packet, const FrameOwner& owner) noexcept {
  if (handover.mode() != SteeringMode::rss) return;
  counters.wrong_core += owner.core != core;
  if ((packet.ol_flags & RTE_MBUF_F_RX_RSS_HASH) == 0) return;
  ++counters.hash_checked;
  if (packet.hash.rss == owner.hash) [[likely]]
    return;
  ++counters.hash_wrong;
  if (handover.distrust_rss())
    log_warning(
        "port {}: its driver reports the RSS hash {:#010x} where {:#010x} is right; from here on flows are handed to "
        "their core in software",
        handover.port(), packet.hash.rss, owner.hash);
}

/// The packet itself goes to the primary core, which answers it, and a copy to every other. Returns what stays here.
rte_mbuf* SteeredPort::Shared::share(rte_mbuf* packet) noexcept {
  rte_mbuf* mine = nullptr;
  for (std::uint16_t to = 0; to < steering.cores(); ++to) {
    if (to == Steering::primary_core) continue;
    Packet copy = pool.copy_of({rte_pktmbuf_mtod(packet, const std::uint8_t*), packet->data_len});
    if (!copy) {
      ++counters.copies_lost;
      continue;
    }
    copy.mbuf()->vlan_tci = packet->vlan_tci;  // the tag that the card took off
    copy.mbuf()->ol_flags |= packet->ol_flags & (RTE_MBUF_F_RX_VLAN | RTE_MBUF_F_RX_VLAN_STRIPPED);
    if (to == core) {
      mine = copy.release();
    } else {
      post(to, copy.release());
    }
  }
  if (core == Steering::primary_core) return packet;
  post(Steering::primary_core, packet);
  return mine;
}

void SteeredPort::Shared::post(std::uint16_t to, rte_mbuf* packet) noexcept {
  Outbox& box = outboxes[to];
  box.packets[box.count++] = packet;  // at most one per received packet, so never more than a burst
}

void SteeredPort::Shared::deliver() noexcept {
  for (std::uint16_t to = 0; to < steering.cores(); ++to) {
    Outbox& box = outboxes[to];
    if (box.count == 0) continue;
    const unsigned taken = enqueue(handover.to_owner(core, to), box.packets.data(), box.count);
    counters.handed_over += taken;
    counters.handover_full += box.count - taken;
    for (unsigned i = taken; i < box.count; ++i) rte_pktmbuf_free(box.packets[i]);
    box.count = 0;
    moved = true;
    handover.notify(to);
  }
}

std::uint16_t SteeredPort::Shared::tx_burst(rte_mbuf** packets, std::uint16_t n) noexcept {
  const unsigned taken = enqueue(handover.to_wire(core), packets, n);
  handover.notify(handover.transmitter_of(core));
  return static_cast<std::uint16_t>(taken);
}

/// Sends for cores that have no queue, a burst from each; what the device refuses waits for the next turn.
void SteeredPort::Shared::relay(PortQueue& queue) noexcept {
  for (unsigned from = handover.queues(); from < steering.cores(); ++from) {
    if (handover.transmitter_of(from) != core) continue;
    if (relay_count == 0) {
      rte_ring& ring = handover.to_wire(from);
      if (rte_ring_empty(&ring) != 0) continue;
      relay_count = dequeue(ring, relayed.data(), burst_max);
    }
    std::uint16_t sent = 0;
    while (sent < relay_count) {
      const std::uint16_t taken = queue.tx_burst(relayed.data() + sent, static_cast<std::uint16_t>(relay_count - sent));
      if (taken == 0) break;
      sent = static_cast<std::uint16_t>(sent + taken);
    }
    counters.tx_relayed += sent;
    moved |= sent != 0;
    std::copy(relayed.begin() + sent, relayed.begin() + relay_count, relayed.begin());
    relay_count -= sent;
    if (relay_count != 0) return;
  }
}

}  // namespace pollux
