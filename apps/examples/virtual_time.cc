// Two stacks in one thread, no device and no Runtime: packets are carried by hand and time is a number. This
// is how to put Stack into another event loop, a simulator or a test tool, and it prints a whole TCP
// conversation: the handshake, "hello" and its echo, both FINs and the end of TIME-WAIT, a minute later at no
// cost.
//
// EAL serves only to create the packet pool (no huge pages, no devices). Nothing here transmits or waits.
#include <pollux/pollux.h>
#include <rte_eal.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/tcp.h"

using namespace pollux;

namespace {

constexpr Duration one_way_delay = Duration::from_ms(10);

struct Echo final : TcpHandler {
  void on_data(TcpConn conn, Bytes bytes) noexcept override { conn.send(std::move(bytes)); }
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    std::printf("              server: closed (%s)\n", close_reason_name(reason));
  }
};

struct Client final : TcpHandler {
  void on_connected(TcpConn conn) noexcept override {
    std::printf("              client: connected, says hello\n");
    if (conn.send("hello").status != SendStatus::ok) conn.abort();
  }
  void on_data(TcpConn conn, Bytes bytes) noexcept override {
    std::printf("              client: hears %s, closes\n", bytes.to_string().c_str());
    conn.close();
  }
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    std::printf("              client: closed (%s)\n", close_reason_name(reason));
  }
};

/// Exits with the text of a failed call.
template <typename T>
T need(Result<T> result) {
  if (result) return std::move(*result);
  std::fprintf(stderr, "virtual_time: %s\n", result.error().text.c_str());
  std::exit(1);
}

/// A stack with one interface, 192.0.2.<number>/24.
std::unique_ptr<Stack> make_stack(std::uint8_t number, PacketPool pool, TimePoint now) {
  StackOptions options;
  options.seed = number;  // every run is the same; a real program draws secrets and seed at random
  auto stack = need(Stack::create(options, pool, now));
  InterfaceConfig interface;
  interface.name = "wire" + std::to_string(number);
  interface.mac = MacAddress{{0x02, 0, 0, 0, 0, number}};
  interface.address = IpPrefix{IpAddress::v4(192, 0, 2, number), 24};
  need(stack->add_interface(interface, now));
  return stack;
}

/// One line for a frame, the way tcpdump would put it.
void print_frame(TimePoint now, const rte_mbuf* m) {
  const ByteView bytes(rte_pktmbuf_mtod(m, const std::uint8_t*), m->data_len);
  const auto ethernet = EthernetView::parse(bytes);
  const double ms = static_cast<double>(now.ns()) * 1e-6;
  if (!ethernet || ethernet->type() != EtherType::ipv4) {
    std::printf("%9.3f ms  ARP\n", ms);
    return;
  }
  const ByteView packet = bytes.subspan(EthernetView::header_size);
  const auto ip = Ipv4View::parse(packet, packet.size(), false);
  if (!ip || ip->protocol() != static_cast<std::uint8_t>(IpProtocol::tcp)) return;
  const auto tcp = TcpView::parse(packet.subspan(ip->header_length()));
  if (!tcp) return;
  const TcpFlags flags = tcp->flags();
  std::printf("%9.3f ms  %s:%u > %s:%u %s%s%s%s%s seq %u ack %u win %u len %zu\n", ms,
              ip->source().to_string().c_str(), unsigned{tcp->source_port()},
              ip->destination().to_string().c_str(), unsigned{tcp->destination_port()},
              flags.has(TcpFlags::syn) ? "S" : "", flags.has(TcpFlags::fin) ? "F" : "",
              flags.has(TcpFlags::psh) ? "P" : "", flags.has(TcpFlags::rst) ? "R" : "",
              flags.has(TcpFlags::ack) ? "." : "", unsigned{tcp->sequence().value()},
              unsigned{tcp->acknowledgment().value()}, unsigned{tcp->window()},
              ip->total_length() - ip->header_length() - tcp->header_length());
}

/// Frames under way from one stack to the other.
class Wire {
 public:
  Wire(Stack& from, Stack& to) : from_(from), to_(to) {}

  /// One turn of `from`: timers, then output. What it gave starts on its way.
  void turn(TimePoint now) {
    from_.advance(now);
    from_.flush(now);
    TxBatch& tx = from_.tx(0);
    for (rte_mbuf* m : tx.pending()) {
      print_frame(now, m);
      frames_.push_back({now + one_way_delay, m});
    }
    tx.consume(tx.size());
  }
  /// Gives `to` what has arrived; the frames are then its own.
  void deliver(TimePoint now) {
    std::vector<rte_mbuf*> burst;
    for (; !frames_.empty() && frames_.front().arrival <= now; frames_.pop_front())
      burst.push_back(frames_.front().mbuf);
    if (!burst.empty()) to_.input(0, burst, now);
  }
  TimePoint next_arrival() const { return frames_.empty() ? TimePoint::never() : frames_.front().arrival; }

 private:
  struct Frame {
    TimePoint arrival;
    rte_mbuf* mbuf;
  };
  Stack& from_;
  Stack& to_;
  std::deque<Frame> frames_;
};

void converse(PacketPool pool) {
  TimePoint now;
  const auto server = make_stack(2, pool, now);
  const auto client = make_stack(1, pool, now);
  Echo echo;
  Client caller;
  need(server->tcp().listen({.port = 7}, echo));
  need(client->tcp().connect({.remote = {IpAddress::v4(192, 0, 2, 2), 7}}, caller));

  Wire there(*client, *server);
  Wire back(*server, *client);
  const TimePoint end = now + Duration::from_s(120);
  while (now < end) {
    there.deliver(now);
    back.deliver(now);
    there.turn(now);
    back.turn(now);
    // The next moment at which anything can happen; a loop with devices would poll them until then.
    const TimePoint next = std::min(
        {there.next_arrival(), back.next_arrival(), client->next_deadline(), server->next_deadline(), end});
    now = std::max(now, next);
  }
  std::printf("after 120 s: %u + %u connections, %u + %u in TIME-WAIT\n", server->connection_count(),
              client->connection_count(), server->tcp().time_wait_count(), client->tcp().time_wait_count());
}

}  // namespace

int main() {
  std::array arguments{
      "virtual_time", "--no-huge", "--no-pci",       "--no-shconf",   "--file-prefix=virtual_time",
      "-m",           "64",        "--no-telemetry", "--log-level=4", "--lcores=0"};
  std::vector<char*> argv;
  for (const char* argument : arguments) argv.push_back(const_cast<char*>(argument));
  if (rte_eal_init(static_cast<int>(argv.size()), argv.data()) < 0) {
    std::fprintf(stderr, "virtual_time: EAL did not start\n");
    return 1;
  }
  rte_mempool* data = rte_pktmbuf_pool_create("data", 1023, 0, 0, RTE_PKTMBUF_HEADROOM + 2048, SOCKET_ID_ANY);
  rte_mempool* clones = rte_pktmbuf_pool_create("clones", 1023, 0, 0, 0, SOCKET_ID_ANY);
  if (data == nullptr || clones == nullptr) {
    std::fprintf(stderr, "virtual_time: no memory for the packet pools\n");
    return 1;
  }
  converse(PacketPool(data, clones));
  const unsigned leaked = rte_mempool_in_use_count(data) + rte_mempool_in_use_count(clones);
  std::printf("packets not returned: %u\n", leaked);
  rte_mempool_free(data);
  rte_mempool_free(clones);
  rte_eal_cleanup();
  return leaked == 0 ? 0 : 1;
}
