#include "support/sim_host.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdlib>

#include "support/timer_watch.h"
#include "support/world.h"

namespace pollux::test {
namespace {

bool lost_output(const Counters& counters) {
  for (const DropReason reason : {DropReason::neighbor_queue_full, DropReason::neighbor_unreachable,
                                  DropReason::no_mbuf, DropReason::tx_batch_full, DropReason::ip_no_route})
    if (counters[reason] != 0) return true;
  return false;
}

std::unique_ptr<Stack> make_stack(const HostOptions& options, MacAddress mac, PacketPool pool,
                                  TimePoint now) {
  auto stack = Stack::create(options.stack, pool, now);
  if (!stack) {
    ADD_FAILURE() << "Stack::create: " << stack.error().text;
    std::abort();
  }
  InterfaceConfig config;
  config.name = options.name;
  config.mac = mac;
  config.address = options.address;
  config.mtu = options.mtu;
  config.offloads = options.offloads;
  if (options.v6_address.length != 0) config.v6_addresses = {options.v6_address};
  if (auto id = (*stack)->add_interface(config, now); !id) {
    ADD_FAILURE() << "add_interface: " << id.error().text;
    std::abort();
  }
  return std::move(*stack);
}

}  // namespace

SimHost::SimHost(World& world, const HostOptions& options, MacAddress mac)
    : world_(world),
      options_(options),
      mac_(mac),
      pool_(options.pool_packets, options.pool_room),
      stack_(make_stack(options_, mac, pool_.pool(), world.now())),
      monitor_(options.mtu, options.stack.tcp.conn.ecn_plus_plus),
      not_before_(world.now()),
      last_turn_(world.now()) {}

SimHost::~SimHost() = default;

TimePoint SimHost::wake() const {
  const bool busy = !arrived_.empty() || stack_->tx(0).size() != 0;
  const TimePoint due = busy ? world_.now() : stack_->next_deadline();
  return std::max(due, not_before_);
}

void SimHost::sync() {
  if (last_turn_ == world_.now()) return;
  last_turn_ = world_.now();
  stack_->advance(world_.now());
}

void SimHost::take_input(TimePoint now) {
  std::vector<rte_mbuf*> burst;
  while (!arrived_.empty() && burst.size() < options_.burst) {
    const Frame frame = std::move(arrived_.front());
    arrived_.pop_front();
    Packet packet =
        frame.size() <= options_.pool_room ? pool_.exact_copy_of(frame) : pool_.pool().copy_of(frame);
    if (!packet) {  // as a port without mbufs: the frame is missed
      ++frames_missed_;
      world_.trace().add(now, name(), "nobuf", frame);
      continue;
    }
    world_.trace().add(now, name(), "in", frame);
    monitor_.received(decode(frame));
    burst.push_back(packet.release());
  }
  if (!burst.empty()) stack_->input(0, burst, now);
}

// The frame as it leaves the port: what the stack asked the port to compute is computed here.
Frame SimHost::finish_frame(const rte_mbuf& packet) const {
  Frame frame;
  std::uint32_t segments = 0;
  for (const rte_mbuf* m = &packet; m != nullptr; m = m->next, ++segments) {
    const auto* data = rte_pktmbuf_mtod(m, const std::uint8_t*);
    frame.insert(frame.end(), data, data + m->data_len);
  }
  if (frame.size() != packet.pkt_len || segments != packet.nb_segs)
    world_.fail(name() + ": mbuf chain disagrees with its pkt_len or nb_segs");
  if (segments > 1 && !options_.offloads.multi_segment)
    world_.fail(name() + ": chain sent to a port that takes none");
  const std::uint64_t asked = packet.ol_flags;
  const std::uint64_t l4 = asked & RTE_MBUF_F_TX_L4_MASK;
  if (((asked & RTE_MBUF_F_TX_IP_CKSUM) != 0 && !options_.offloads.ipv4_checksum) ||
      (l4 == RTE_MBUF_F_TX_TCP_CKSUM && !options_.offloads.tcp_checksum) ||
      (l4 == RTE_MBUF_F_TX_UDP_CKSUM && !options_.offloads.udp_checksum))
    world_.fail(name() + ": asked the port for a checksum it does not offer");
  const auto store = [&](std::size_t at, std::uint16_t value) {
    frame[at] = static_cast<std::uint8_t>(value >> 8);
    frame[at + 1] = static_cast<std::uint8_t>(value);
  };
  const FrameView view(frame);
  const std::size_t ip = packet.l2_len;
  const std::size_t transport = ip + packet.l3_len;
  if (l4 != 0) {
    const std::size_t field = transport + (l4 == RTE_MBUF_F_TX_UDP_CKSUM ? 6u : 16u);
    const bool cut = (asked & RTE_MBUF_F_TX_TCP_SEG) != 0;
    const bool v6 = (asked & RTE_MBUF_F_TX_IPV6) != 0;
    if (v6 == ((asked & RTE_MBUF_F_TX_IPV4) != 0)) world_.fail(name() + ": a checksum of no or both IP versions");
    // What the stack has to leave in the field: the pseudo-header's sum, without the length when the port cuts.
    const auto length = static_cast<std::uint32_t>(frame.size() - transport);
    std::uint32_t sum = v6 ? checksum_add(view.subspan(ip + 8, 32)) + frame[ip + 6]
                           : checksum_add(view.subspan(ip + 12, 8)) + frame[ip + 9];
    const std::uint32_t left = std::uint32_t{frame[field]} << 8 | frame[field + 1];
    if (left != (~checksum_of(sum + (cut ? 0 : length)) & 0xffffu)) world_.fail(name() + ": wrong sum of the pseudo-header");
    store(field, 0);
    sum += length;
    sum = checksum_add(view.subspan(transport), sum);
    store(field, checksum_of(sum));
  }
  if ((asked & RTE_MBUF_F_TX_IP_CKSUM) != 0) {
    store(ip + 10, 0);
    store(ip + 10, checksum_of(checksum_add(view.subspan(ip, packet.l3_len))));
  }
  return frame;
}

// TSO as a card does it: each segment has the headers with a length, a number and checksums of its own; PSH and FIN are the
// last one's.
std::vector<Frame> SimHost::cut(const rte_mbuf& packet) const {
  const Frame whole = finish_frame(packet);
  const std::size_t ip = packet.l2_len;
  const std::size_t tcp = ip + packet.l3_len;
  const std::size_t headers = tcp + packet.l4_len;
  const bool v6 = (packet.ol_flags & RTE_MBUF_F_TX_IPV6) != 0;
  if (!options_.offloads.tcp_segmentation || packet.tso_segsz == 0 || packet.nb_segs > options_.offloads.mbufs_max ||
      whole.size() - ip > 65535 || (whole[tcp + 12] >> 4) * 4u != packet.l4_len)
    world_.fail(name() + ": asked the port for a cut that it does not make");
  std::vector<Frame> frames;
  for (std::size_t at = headers; at < whole.size(); at += packet.tso_segsz) {
    const std::size_t end = std::min<std::size_t>(whole.size(), at + packet.tso_segsz);
    Frame frame(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(headers));
    frame.insert(frame.end(), whole.begin() + static_cast<std::ptrdiff_t>(at), whole.begin() + static_cast<std::ptrdiff_t>(end));
    const auto put = [&](std::size_t field, std::size_t value) {
      frame[field] = static_cast<std::uint8_t>(value >> 8);
      frame[field + 1] = static_cast<std::uint8_t>(value);
    };
    const FrameView view(frame);
    const std::size_t length = frame.size() - tcp;
    put(ip + (v6 ? 4 : 2), v6 ? length : length + packet.l3_len);
    if (!v6) {
      put(ip + 10, 0);
      put(ip + 10, checksum_of(checksum_add(view.subspan(ip, packet.l3_len))));
    }
    const std::uint32_t sequence = (std::uint32_t{whole[tcp + 4]} << 24 | std::uint32_t{whole[tcp + 5]} << 16 |
                                    std::uint32_t{whole[tcp + 6]} << 8 | whole[tcp + 7]) + static_cast<std::uint32_t>(at - headers);
    put(tcp + 4, sequence >> 16);
    put(tcp + 6, sequence & 0xffff);
    if (end != whole.size()) frame[tcp + 13] &= static_cast<std::uint8_t>(~(TcpFlags::psh | TcpFlags::fin));
    put(tcp + 16, 0);
    const auto octets = static_cast<std::uint32_t>(length);
    const std::uint32_t pseudo = v6 ? checksum_add(view.subspan(ip + 8, 32)) + frame[ip + 6] + octets
                                    : checksum_add(view.subspan(ip + 12, 8)) + frame[ip + 9] + octets;
    put(tcp + 16, checksum_of(checksum_add(view.subspan(tcp), pseudo)));
    frames.push_back(std::move(frame));
  }
  return frames;
}

bool SimHost::give_output() {
  TxBatch& batch = stack_->tx(0);
  const auto pending = batch.pending();
  const auto limit = static_cast<std::uint32_t>(pending.size());
  const std::uint32_t taken = options_.tx_ring == 0 ? limit : std::min(options_.tx_ring, limit);
  for (std::uint32_t i = 0; i < taken; ++i) {
    std::vector<Frame> frames;
    if ((pending[i]->ol_flags & RTE_MBUF_F_TX_TCP_SEG) != 0)
      frames = cut(*pending[i]);
    else
      frames.push_back(finish_frame(*pending[i]));
    if (keeps_sent_)
      sent_.emplace_back(pending[i]);
    else
      rte_pktmbuf_free(pending[i]);
    for (Frame& frame : frames) {
      world_.trace().add(world_.now(), name(), "out", frame);
      if (const std::string problem = monitor_.sent(decode(frame), lost_output(counters())); !problem.empty())
        world_.fail(name() + ": " + problem + "\n  in " + describe(frame));
      if (output_) output_(std::move(frame));
    }
  }
  batch.consume(taken);
  if (taken < limit) not_before_ = std::max(not_before_, world_.now() + Duration::from_us(5));
  return taken != 0;
}

void SimHost::turn() {
  const TimePoint now = world_.now();
  last_turn_ = now;
  bool progress = !arrived_.empty();
  if (options_.turn.ns() > 0) {
    const auto bound = static_cast<std::uint32_t>(options_.turn.ns());
    not_before_ = now + Duration::from_ns(world_.rng().below(bound));
  }
  take_input(now);
  stack_->advance(now);
  stack_->flush(now);
  progress |= give_output();
  watch_progress(progress, now);
  // Not in every turn: it looks at all connections.
  constexpr std::uint32_t watched_turns = 7;
  if (++turns_ % watched_turns != 0 || stack_->tx(0).size() != 0) return;
  if (const std::string problem = check_timers(*stack_, now); !problem.empty()) world_.fail(name() + ": " + problem);
}

// A stack that says "now" again and again without doing anything would spin a real core and stop virtual
// time.
void SimHost::watch_progress(bool progress, TimePoint now) {
  if (progress || stack_->next_deadline() > now) {
    idle_turns_ = 0;
    return;
  }
  not_before_ = std::max(not_before_, now + Duration::from_us(10));
  if (++idle_turns_ > turns_without_progress_max)
    world_.fail(name() + ": livelock: next_deadline() is due again and again, and nothing happens");
}

}  // namespace pollux::test
