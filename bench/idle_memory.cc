// Memory of idle established TCP connections on the server, counted from the stack's own structures and seen as
// growth of the process. The clients are frames made by hand, so nothing but the server's memory grows.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "common.h"
#include "pollux/stack/stack.h"
#include "pollux/wire/arp.h"
#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/tcp.h"

namespace pollux::bench {
namespace {

constexpr MacAddress server_mac{{2, 0, 0, 0, 0, 1}};
constexpr MacAddress client_mac{{2, 0, 0, 0, 0, 2}};
constexpr IpAddress server_address = IpAddress::v4(10, 0, 0, 1);
constexpr std::uint16_t server_port = 7;

std::int64_t resident_bytes() {
  std::ifstream statm("/proc/self/statm");
  std::int64_t total = 0;
  std::int64_t resident = 0;
  POLLUX_CHECK(static_cast<bool>(statm >> total >> resident), "/proc/self/statm is not readable");
  return resident * sysconf(_SC_PAGESIZE);
}

struct Server final : TcpHandler {
  void on_connected(TcpConn) noexcept override { ++connected; }
  void on_data(TcpConn, Bytes) noexcept override {}
  void on_closed(TcpConn, CloseReason reason) noexcept override {
    POLLUX_CHECK(reason == CloseReason::stack_stopped, "a connection ended: %s", close_reason_name(reason));
  }
  std::uint32_t connected = 0;
};

// Many hosts behind one MAC address: answers ARP, and every SYN-ACK by the ACK that completes the handshake.
class Clients {
 public:
  Clients(Stack& stack, InterfaceId interface, PacketPool pool) : stack_(stack), interface_(interface), pool_(pool) {}

  void connect(std::uint32_t index, TimePoint now) {
    constexpr std::uint32_t ports = 50'000;
    TcpFields syn;
    syn.source_port = static_cast<std::uint16_t>(10'000 + index % ports);
    syn.sequence = SeqNum(index);
    syn.flags.bits = TcpFlags::syn;
    syn.options.has_mss = true;
    syn.options.mss = 1460;
    syn.options.has_window_scale = true;
    syn.options.window_scale = 7;
    syn.options.has_timestamp = true;
    syn.options.ts_value = 1;
    send(IpAddress::v4(10, 1, 0, static_cast<std::uint8_t>(1 + index / ports)), syn, now);
  }

  void answer_everything(TimePoint now) {
    for (;;) {
      stack_.flush(now);
      TxBatch& tx = stack_.tx(interface_);
      if (tx.size() == 0) return;
      std::vector<Packet> frames;
      for (rte_mbuf* frame : tx.pending()) frames.emplace_back(frame);
      tx.consume(tx.size());
      for (const Packet& frame : frames) answer(frame, now);
    }
  }

 private:
  void answer(const Packet& frame, TimePoint now) {
    const auto ethernet = EthernetView::parse(frame.front());
    const ByteView body = frame.front().subspan(EthernetView::header_size);
    if (ethernet->type() == EtherType::arp) return answer_arp(*ArpView::parse(body), now);
    const auto ip = Ipv4View::parse(body, body.size(), false);
    POLLUX_CHECK(ip.has_value(), "the server sent a bad IPv4 packet");
    const auto tcp = TcpView::parse(body.subspan(ip->header_length()));
    POLLUX_CHECK(tcp.has_value(), "the server sent a bad TCP segment");
    if (!tcp->flags().has(TcpFlags::syn)) return;
    const auto options = TcpOptionValues::parse(tcp->options());
    TcpFields ack;
    ack.source_port = tcp->destination_port();
    ack.sequence = tcp->acknowledgment();
    ack.acknowledgment = tcp->sequence() + 1;
    ack.flags.bits = TcpFlags::ack;
    ack.options.has_timestamp = options->has_timestamp;
    ack.options.ts_value = 2;
    ack.options.ts_echo = options->ts_value;
    send(ip->destination(), ack, now);
  }

  void answer_arp(const ArpView& request, TimePoint now) {
    if (request.operation() != ArpOperation::request || request.target_ip() == server_address) return;
    const ArpFields reply{.operation = ArpOperation::reply,
                          .sender_mac = client_mac,
                          .sender_ip = request.target_ip(),
                          .target_mac = server_mac,
                          .target_ip = server_address};
    Packet frame = allocate();
    EthernetFields{.destination = server_mac, .source = client_mac, .type = EtherType::arp}.emit(
        frame.push_back(EthernetFields::size));
    reply.emit(frame.push_back(ArpFields::size));
    input(std::move(frame), now);
  }

  void send(const IpAddress& source, TcpFields& tcp, TimePoint now) {
    tcp.destination_port = server_port;
    tcp.window = 65535;
    const auto length = static_cast<std::uint16_t>(tcp.header_length());
    Packet frame = allocate();
    EthernetFields{.destination = server_mac, .source = client_mac}.emit(frame.push_back(EthernetFields::size));
    const Ipv4Fields ip{.total_length = static_cast<std::uint16_t>(Ipv4Fields::size + length),
                        .protocol = static_cast<std::uint8_t>(IpProtocol::tcp),
                        .source = source,
                        .destination = server_address};
    ip.emit(frame.push_back(Ipv4Fields::size));
    std::uint8_t* const segment = frame.push_back(length);
    tcp.emit(segment);
    ChecksumSum sum;
    sum.add_pseudo_header(source, server_address, ip.protocol, length);
    sum.add({segment, length});
    store_be16(segment + 16, sum.finish());
    input(std::move(frame), now);
  }

  Packet allocate() {
    Packet frame = pool_.alloc();
    POLLUX_CHECK(static_cast<bool>(frame), "no mbuf for a client's frame");
    return frame;
  }
  void input(Packet frame, TimePoint now) {
    rte_mbuf* const m = frame.release();
    stack_.input(interface_, {&m, 1}, now);
  }

  Stack& stack_;
  InterfaceId interface_;
  PacketPool pool_;
};

// So that the pool's memory is resident before anything is measured.
void touch_all(PacketPool pool) {
  std::vector<Packet> packets;
  while (Packet packet = pool.alloc()) {
    if (std::uint8_t* const at = packet.push_back(pool.room())) std::fill(at, at + pool.room(), std::uint8_t{0});
    packets.push_back(std::move(packet));
  }
}

int run(std::uint32_t connections, const std::string& json_path, const char* program) {
  start_eal(program, 256);
  PacketPool pool = create_pool("server", 4095);
  touch_all(pool);

  TimePoint now = TimePoint::from_ns(1'000'000'000);
  StackOptions options;
  options.tcp.connections_max = connections;
  const std::int64_t before_stack = resident_bytes();
  auto created = Stack::create(options, pool, now);
  POLLUX_CHECK(created.has_value(), "%s", created.error().text.c_str());
  Stack& stack = **created;
  InterfaceConfig config{.name = "client", .mac = server_mac, .address = {server_address, 8}};
  const auto interface = stack.add_interface(config, now);
  POLLUX_CHECK(interface.has_value(), "%s", interface.error().text.c_str());
  Server server;
  const auto listener = stack.tcp().listen({.port = server_port}, server);
  POLLUX_CHECK(listener.has_value(), "%s", listener.error().text.c_str());
  Clients clients(stack, *interface, pool);
  clients.answer_everything(now);

  const std::int64_t before_connections = resident_bytes();
  for (std::uint32_t i = 0; i < connections; ++i) {
    clients.connect(i, now);
    clients.answer_everything(now);
  }
  for (int i = 0; i < 100; ++i) {  // ten seconds of nothing: what is not needed while idle must be gone
    now = now + 100_ms;
    stack.advance(now);
    clients.answer_everything(now);
  }
  const std::int64_t after = resident_bytes();
  POLLUX_CHECK(server.connected == connections && stack.connection_count() == connections,
               "%u connections were accepted and %u are left; expected %u", server.connected,
               stack.connection_count(), connections);
  const std::uint32_t mbufs = pool.in_use() + pool.clones_in_use();
  POLLUX_CHECK(mbufs == 0, "idle connections hold %u mbufs", mbufs);

  const std::size_t counted = Tcp::idle_connection_bytes();
  const double grown = static_cast<double>(after - before_connections) / connections;
  const double all = static_cast<double>(after - before_stack) / connections;
  std::printf("%u idle established connections, octets each on the server\n", connections);
  std::printf("  %-58s %8zu\n", "by the stack's structures (connection slot, flow table share)", counted);
  std::printf("  %-58s %8.1f\n", "growth of resident memory while they were opened", grown);
  std::printf("  %-58s %8.1f\n", "the same with the whole stack and its tables", all);
  if (!json_path.empty()) {
    std::ofstream(json_path) << nlohmann::json{{"benchmark", "idle_memory"}, {"connections", connections},
                                               {"structure_bytes", counted}, {"resident_growth_bytes", grown},
                                               {"resident_with_stack_bytes", all}}
                                    .dump(2)
                             << '\n';
  }
  stack.abort_all(now);
  stack.flush(now);
  return 0;
}

}  // namespace
}  // namespace pollux::bench

int main(int argc, char** argv) {
  std::uint32_t connections = 10'000;
  std::string json_path;
  CLI::App app("Octets of server memory per idle established TCP connection");
  app.add_option("--connections", connections)->check(CLI::Range(1, 10'000'000))->capture_default_str();
  app.add_option("--json", json_path, "write the results here too");
  CLI11_PARSE(app, argc, argv);
  return pollux::bench::run(connections, json_path, argv[0]);
}
