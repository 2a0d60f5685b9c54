// A whole stack between applications and a peer that both do what the input says, in virtual time. Beyond
// memory errors it is judged by: what it sends is well formed and a retransmission repeats itself
// (stack_peer), what it delivers is in order and handles die when they should (stack_apps), it comes to rest,
// every connection ends once both sides are gone, and no mbuf leaks.
#include <memory>

#include "fuzz.h"
#include "pollux/stack/stack.h"
#include "stack_apps.h"
#include "stack_peer.h"
#include "support/heap_pool.h"

using namespace pollux;
using namespace pollux::literals;

namespace {

constexpr std::uint32_t mbufs = 512;

/// The input's first octet: how the stack is set up, and how it ends.
enum Shape : std::uint8_t {
  end_by_abort = 1,
  one_mbuf_a_frame = 2,  // the device takes no chains
  no_timestamps = 4,
  no_scaling = 8,
  no_delayed_ack = 16,
  no_nagle = 32,
  quick_keepalive = 64,
  short_user_timeout = 128,
};

StackOptions small_stack(std::uint8_t shape) {
  StackOptions options;
  options.tcp.conn.timestamps = (shape & no_timestamps) == 0;
  options.tcp.conn.window_scaling = (shape & no_scaling) == 0;
  options.tcp.conn.delayed_ack = (shape & no_delayed_ack) == 0;
  options.tcp.conn.nagle = (shape & no_nagle) == 0;
  options.tcp.conn.keepalive = (shape & quick_keepalive) != 0;
  options.tcp.conn.keepalive_idle = 2_s;
  options.tcp.conn.keepalive_interval = 1_s;
  options.tcp.conn.keepalive_count = 3;
  if ((shape & short_user_timeout) != 0) options.tcp.conn.user_timeout = 5_s;
  options.ip.dad_solicitations = 0;
  options.ip.neighbors_max = 8;
  options.ip.neighbor_queue_max = 4;
  options.ip.reassembly_datagrams_max = 3;
  options.ip.reassembly_fragments_max = 24;
  options.ip.reassembly_source_max = 20;
  options.tcp.conn.receive_buffer = 16 * 1024;
  options.tcp.conn.send_buffer = 16 * 1024;
  options.tcp.connections_max = 16;
  options.tcp.time_wait_max = 4;
  options.tcp.listeners_max = 4;
  options.tcp.out_of_order_segments_max = 8;
  options.tcp.out_of_order_total_max = 32;
  options.udp.sockets_max = 4;
  options.secrets.isn_key = {1, 2};
  return options;
}

class World {
 public:
  explicit World(std::uint8_t shape) : stack_(make_stack(shape)), apps_(*stack_, peer_) {
    const auto added = stack_->add_interface({.name = "fuzz0",
                                              .mac = fuzz::StackPeer::to_stack.destination_mac,
                                              .address = {fuzz::StackPeer::to_stack.destination, 24},
                                              .mtu = fuzz::StackPeer::mtu,
                                              .offloads = {.multi_segment = (shape & one_mbuf_a_frame) == 0},
                                              .v6_addresses = {{fuzz::StackPeer::to_stack_v6.destination, 64}},
                                              .router_advertisements = true},
                                             now_);
    FUZZ_REQUIRE(added.has_value());
    FUZZ_REQUIRE(stack_->add_route({IpAddress(), 0}, fuzz::StackPeer::to_stack.source).has_value());
    FUZZ_REQUIRE(stack_->add_route({v6_unspecified, 0}, fuzz::StackPeer::to_stack_v6.source).has_value());
    for (const std::uint16_t port : {7, 9}) {
      listen(port);
      bind(port);
    }
    turn();
  }
  ~World() { deliver(); }

  void run(fuzz::Reader& in) {
    while (!in.done()) {
      step(in);
      apps_.check_handles();
    }
  }
  void finish_by_abort() {
    deliver();
    let_everything_go();
    stack_->abort_all(now_);
    turn();
    FUZZ_REQUIRE(stack_->connection_count() == 0);
  }
  /// The peer is gone for good: what the applications close ends by itself.
  void finish_by_silence() {
    deliver();
    let_everything_go();
    constexpr int turns_max = 20000;
    for (int turns = 0;; ++turns) {
      POLLUX_CHECK(turns < turns_max, "%u connections live on", stack_->connection_count());
      apps_.close_all();
      turn();
      if (stack_->connection_count() == 0 && stack_->tcp().time_wait_count() == 0) return;
      const TimePoint next = stack_->next_deadline();
      POLLUX_CHECK(!next.is_never(), "%u connections, %u in TIME-WAIT, and nothing to wait for",
                   stack_->connection_count(), stack_->tcp().time_wait_count());
      now_ = std::max(now_, next);
    }
  }

 private:
  std::unique_ptr<Stack> make_stack(std::uint8_t shape) {
    auto stack = Stack::create(small_stack(shape), pool_.pool(), now_);
    POLLUX_CHECK(stack.has_value(), "%s", stack ? "" : stack.error().text.c_str());
    return std::move(*stack);
  }

  void listen(std::uint16_t port) {
    const auto listener = stack_->tcp().listen({.port = port, .backlog = 4}, apps_);
    if (listener) listeners_[port % listeners_.size()] = *listener;
  }
  void bind(std::uint16_t port) {
    const auto socket =
        stack_->udp().bind({.port = port, .socket = {.coalesce = port == 9, .receive_buffer = 4096}}, apps_);
    if (socket) sockets_[port % sockets_.size()] = *socket;
  }

  void step(fuzz::Reader& in) {
    const std::uint8_t op = in.u8();
    const bool in_pieces = (op & 0x40) != 0;
    const bool same_burst = (op & 0x80) != 0;
    peer_.use_v6((op & 0x20) != 0);
    switch (op & 0x0f) {
      case 0:
        receive(peer_.udp_datagram(in), in_pieces, in);
        break;
      case 1:
        receive(peer_.icmp_echo(in), in_pieces, in);
        break;
      case 2:
        receive(peer_.icmp_error(in), in_pieces, in);
        break;
      case 3:
        receive(peer_.arp(in), in_pieces, in);
        break;
      case 4:
        receive(peer_.ip_packet(in), in_pieces, in);
        break;
      case 5: {
        peer_.note_forgery();
        const auto frame = in.bytes(in.u8());
        receive({frame.begin(), frame.end()}, in_pieces, in);
        break;
      }
      case 6:
        now_ = now_ + Duration::from_ns(std::int64_t{1} << in.u8() % 38);  // up to 137 s
        break;
      case 7:
      case 8:
        apps_.act(in);
        break;
      case 9:
        set_up(in);
        break;
      case 15:
        receive(peer_.fragment(in), in_pieces, in);
        break;
      default:
        receive(peer_.tcp_segment(in), in_pieces, in);
    }
    if (same_burst && burst_.size() < 32) return;
    turn();
  }

  void set_up(fuzz::Reader& in) {
    const std::uint8_t what = in.u8();
    const std::uint8_t value = in.u8();
    switch (what % 9) {
      case 0:
        return apps_.set_reaction(value);
      case 1:
        return apps_.connect(value);
      case 2:
        return listen(value);
      case 3:
        return listeners_[value % listeners_.size()].close();
      case 4:
        return bind(value);
      case 5:
        return sockets_[value % sockets_.size()].close();
      case 6:
        return pool_.set_limit(value < 128 ? value : mbufs);
      case 7:
        device_takes_ = value;
        return;
      default:
        if (value == 0xff) stack_->start_drain();
    }
  }

  /// One frame from the wire, in one mbuf or in two.
  void receive(const test::Frame& frame, bool in_pieces, fuzz::Reader& in) {
    const std::size_t cut = in_pieces ? std::min<std::size_t>(in.u8(), frame.size()) : frame.size();
    Packet packet = pool_.exact_copy_of(std::span(frame).first(cut));
    if (!packet) return;  // the device has no buffer to receive into
    if (cut < frame.size()) {
      Packet tail = pool_.exact_copy_of(std::span(frame).subspan(cut));
      if (!tail || !packet.chain(tail)) return;
    }
    burst_.push_back(packet.release());
  }

  void deliver() {
    stack_->input(0, burst_, now_);
    burst_.clear();
  }

  /// Turns of the core loop until nothing is left to do now.
  void turn() {
    constexpr int turns_max = 1000;
    for (int turns = 0;; ++turns) {
      deliver();
      stack_->advance(now_);
      stack_->flush(now_);
      const bool all_sent = transmit();
      const bool answered = answer();
      if (!answered && (!all_sent || stack_->next_deadline() > now_)) return;
      POLLUX_CHECK(turns < turns_max, "still busy after %d turns", turns);
    }
  }

  /// True when the device took everything.
  bool transmit() {
    TxBatch& tx = stack_->tx(0);
    const auto taken = tx.pending().first(std::min<std::size_t>(device_takes_, tx.size()));
    for (rte_mbuf* m : taken) {
      const Packet packet(m);
      frame_.resize(packet.size());
      packet.copy_out(0, frame_);
      peer_.observe(frame_);
    }
    tx.consume(static_cast<std::uint32_t>(taken.size()));
    return tx.size() == 0;
  }

  bool answer() {
    const auto answers = peer_.take_answers();
    if (silent_) return false;
    for (const test::Frame& frame : answers) {
      Packet packet = pool_.exact_copy_of(frame);
      if (packet) burst_.push_back(packet.release());
    }
    return !burst_.empty();
  }

  void let_everything_go() {
    pool_.set_limit(mbufs);
    device_takes_ = mbufs;
    apps_.set_reaction(2);
    apps_.drop_kept();
    for (auto& listener : listeners_) listener.close();
    turn();
    silent_ = true;
  }

  TimePoint now_ = TimePoint::from_ns(1'000'000'000);
  test::HeapPool pool_{mbufs, 1600};
  fuzz::StackPeer peer_;
  std::unique_ptr<Stack> stack_;
  fuzz::StackApps apps_;
  std::array<TcpListener, 4> listeners_;
  std::array<UdpSocket, 4> sockets_;
  std::vector<rte_mbuf*> burst_;
  std::vector<std::uint8_t> frame_;
  std::size_t device_takes_ = mbufs;
  bool silent_ = false;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Reader in({data, size});
  const std::uint8_t shape = in.u8();
  World world(shape);
  world.run(in);
  if ((shape & end_by_abort) != 0)
    world.finish_by_abort();
  else
    world.finish_by_silence();
  return 0;
}
