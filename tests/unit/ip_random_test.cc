// Frames that nobody sane sends: whatever comes, each is delivered, answered or counted, and no mbuf is lost.
#include "ip_host.h"
#include "support/seed.h"

namespace pollux::test {
namespace {

std::vector<Frame> seeds() {
  return {
      ipv4_frame({.payload = pattern(40)}),
      ipv4_frame({.protocol = 17, .payload = pattern(8), .options = {7, 3, 4, 1}}),
      icmp_frame(Icmpv4Type::echo_request, 0, 1, pattern(32)),
      icmp_frame(Icmpv4Type::destination_unreachable, 3, 0, pattern(28)),
      arp_request(peer_mac, peer_ip, our_ip),
      arp_reply(peer_mac, peer_ip),
  };
}

Frame mutated(Frame frame, Rng& rng) {
  for (std::uint32_t n = rng.below(4); n > 0 && !frame.empty(); --n) {
    const std::uint32_t at = rng.below(static_cast<std::uint32_t>(frame.size()));
    switch (rng.below(4)) {
      case 0:
        frame[at] = static_cast<std::uint8_t>(rng.next());
        break;
      case 1:
        frame[at] = static_cast<std::uint8_t>(frame[at] ^ 1u << rng.below(8));
        break;
      case 2:
        frame.resize(at);
        break;
      case 3:
        frame.resize(frame.size() + rng.below(64), 0);
        break;
    }
  }
  return frame;
}

TEST(IpRandom, EveryFrameIsDeliveredHandledOrCounted) {
  const std::uint64_t seed = seed_from_environment(1);
  Rng rng(seed);
  IpHost host({.neighbors_max = 16, .neighbor_queue_max = 2});
  const std::vector<Frame> from = seeds();
  for (int i = 0; i < 20000; ++i) {
    const Frame frame = mutated(from[rng.below(static_cast<std::uint32_t>(from.size()))], rng);
    Packet packet = host.heap.exact_copy_of(frame);
    // The NIC's word lets spoilt headers through to the checks behind the checksum.
    if (rng.chance(0.5)) packet.mbuf()->ol_flags |= RTE_MBUF_F_RX_IP_CKSUM_GOOD;
    if (frame.size() > 1 && rng.chance(0.3)) {
      const std::uint32_t cut = 1 + rng.below(static_cast<std::uint32_t>(frame.size()) - 1);
      Packet rest = host.heap.exact_copy_of(ByteView(frame).subspan(cut));
      packet.trim_to(cut);
      ASSERT_TRUE(packet.chain(rest));
    }
    const Counters before = host.counters;
    const bool delivered = host.input(std::move(packet));
    // A known neighbour's word about itself is taken in without a count.
    const bool is_arp =
        frame.size() >= 14 && load_be16(&frame[12]) == static_cast<std::uint16_t>(EtherType::arp);
    const bool handled =
        is_arp || host.counters[Counter::icmp_out_echo_reps] != before[Counter::icmp_out_echo_reps] ||
        host.counters[Counter::ip_reasm_reqds] != before[Counter::ip_reasm_reqds];
    ASSERT_TRUE(delivered || handled || host.counters.drops() != before.drops())
        << "frame " << i << ", seed " << seed;
    if (delivered) {
      ASSERT_LE(host.rx.ip_header_length, rte_pktmbuf_headroom(host.rx.packet.mbuf()));
      host.ip.send_unreachable(host.rx, UnreachableCode::port, host.now);
    }
    if (rng.chance(0.05)) host.run_for(Duration::from_ms(rng.below(5000)));
    if (rng.chance(0.05)) (void)host.send(peer_ip, pattern(rng.below(1500)));
    (void)host.sent();
  }
}

}  // namespace
}  // namespace pollux::test
