#include "ring_pair.h"

#include <rte_eth_ring.h>
#include <rte_ethdev.h>

namespace pollux::bench {
namespace {

constexpr std::uint32_t ring_size = 32768;

rte_ring* create_ring(const char* name) {
  rte_ring* const ring = rte_ring_create(name, ring_size, SOCKET_ID_ANY, RING_F_SP_ENQ | RING_F_SC_DEQ);
  POLLUX_CHECK(ring != nullptr, "no memory for ring %s", name);
  return ring;
}

std::uint16_t start_port(const char* name, rte_ring* rx, rte_ring* tx, rte_mempool* mempool) {
  const int id = rte_eth_from_rings(name, &rx, 1, &tx, 1, 0);
  POLLUX_CHECK(id >= 0, "net_ring port %s", name);
  const auto port = static_cast<std::uint16_t>(id);
  const rte_eth_conf config{};
  POLLUX_CHECK(rte_eth_dev_configure(port, 1, 1, &config) == 0, "configure %s", name);
  POLLUX_CHECK(rte_eth_rx_queue_setup(port, 0, 512, 0, nullptr, mempool) == 0, "rx queue of %s", name);
  POLLUX_CHECK(rte_eth_tx_queue_setup(port, 0, 512, 0, nullptr) == 0, "tx queue of %s", name);
  POLLUX_CHECK(rte_eth_dev_start(port) == 0, "start %s", name);
  return port;
}

}  // namespace

RingPair::RingPair()
    : pools{create_pool("client", 65535), create_pool("server", 65535)},
      to_server_(create_ring("to_server")),
      to_client_(create_ring("to_client")) {
  rte_mempool* const rx_mempool = pools[0].alloc().mbuf()->pool;  // net_ring passes mbufs on: it never allocates
  client_port_ = start_port("net_ring_client", to_client_, to_server_, rx_mempool);
  server_port_ = start_port("net_ring_server", to_server_, to_client_, rx_mempool);
}

RingPair::~RingPair() {
  for (const std::uint16_t port : {client_port_, server_port_}) rte_eth_dev_stop(port);
}

Host::Host(const RingEnd& end, const StackOptions& options, TimePoint now, const TxOffloads& offloads) : end_(end) {
  auto stack = Stack::create(options, end.pool, now);
  POLLUX_CHECK(stack.has_value(), "%s", stack.error().text.c_str());
  stack_ = std::move(*stack);
  InterfaceConfig config;
  config.name = "ring";
  config.mac = {{2, 0, 0, 0, 0, end.last_octet}};
  config.address = {IpAddress::v4(10, 0, 0, end.last_octet), 24};
  config.offloads = offloads;
  config.v6_addresses = {{IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, end.last_octet), 64}};
  auto interface = stack_->add_interface(config, now);
  POLLUX_CHECK(interface.has_value(), "%s", interface.error().text.c_str());
  loop_ = std::make_unique<CoreLoop<RingPort>>(*stack_, std::vector{RingPort(end.port)}, IdleOptions{.policy = IdlePolicy::spin});
}

std::uint16_t Host::turn(TimePoint now) noexcept {
  const std::uint64_t before = loop_->ports().front().received();
  loop_->turn(now);
  return static_cast<std::uint16_t>(loop_->ports().front().received() - before);
}

}  // namespace pollux::bench
