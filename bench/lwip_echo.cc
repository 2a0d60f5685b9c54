#include "lwip_echo.h"

#include <vector>

// The C library and lwIP each have a struct of this name.
#define ip6_hdr lwip_ip6_hdr
#include <lwip/etharp.h>
#include <lwip/init.h>
#include <lwip/tcp.h>
#include <lwip/timeouts.h>
#include <netif/ethernet.h>
#undef ip6_hdr

namespace pollux::bench {
namespace {

constexpr std::uint16_t burst_max = 32;
constexpr std::uint32_t slots_max = 65'536;
constexpr Duration timers_period = Duration::from_ms(1);  // lwIP reads the clock when it looks at its timers

/// A received segment of a packet, lent to lwIP.
struct Slot {
  pbuf_custom custom;  // first: lwIP gives it back by this address
  rte_mbuf* segment;
  Slot* next_free;
};

struct Global {
  std::vector<Slot> slots = std::vector<Slot>(slots_max);
  Slot* free = nullptr;
  PacketPool pool;
  TxBatch tx;
  netif interface;
  std::uint32_t connections = 0;

  explicit Global(const PacketPool& p) : pool(p) {
    for (Slot& slot : slots) {
      slot.next_free = free;
      free = &slot;
    }
  }
};
Global* global;

void give_back(pbuf* p) {
  auto* const slot = reinterpret_cast<Slot*>(p);
  rte_pktmbuf_free_seg(slot->segment);
  slot->next_free = global->free;
  global->free = slot;
}

/// The packet as lwIP sees packets, octets in place.
pbuf* lend(rte_mbuf* packet) {
  pbuf* whole = nullptr;
  for (rte_mbuf *m = packet, *next; m != nullptr; m = next) {
    next = m->next;
    m->next = nullptr;
    m->nb_segs = 1;
    Slot* const slot = global->free;
    POLLUX_CHECK(slot != nullptr, "lwIP keeps %u segments", slots_max);
    global->free = slot->next_free;
    slot->segment = m;
    slot->custom.custom_free_function = give_back;
    pbuf* const p = pbuf_alloced_custom(PBUF_RAW, m->data_len, PBUF_REF, &slot->custom, rte_pktmbuf_mtod(m, void*), m->data_len);
    if (whole == nullptr)
      whole = p;
    else
      pbuf_cat(whole, p);
  }
  return whole;
}

err_t send_frame(netif*, pbuf* p) {
  Packet packet = global->pool.alloc();
  if (!packet) return ERR_MEM;
  std::uint8_t* const to = packet.push_back(p->tot_len);
  if (to == nullptr) return ERR_BUF;
  pbuf_copy_partial(p, to, p->tot_len, 0);
  return global->tx.push(packet) ? ERR_OK : ERR_MEM;
}

err_t set_up(netif* interface) {
  interface->linkoutput = send_frame;
  interface->output = etharp_output;
  interface->mtu = 1500;
  interface->hwaddr_len = 6;
  interface->flags = NETIF_FLAG_BROADCAST | NETIF_FLAG_ETHARP | NETIF_FLAG_ETHERNET;
  return ERR_OK;
}

err_t on_recv(void*, tcp_pcb* pcb, pbuf* p, err_t) {
  if (p == nullptr) {
    --global->connections;
    tcp_recv(pcb, nullptr);
    return tcp_close(pcb);
  }
  tcp_recved(pcb, p->tot_len);
  for (const pbuf* q = p; q != nullptr; q = q->next)
    POLLUX_CHECK(tcp_write(pcb, q->payload, q->len, TCP_WRITE_FLAG_COPY) == ERR_OK, "lwIP takes no %u octets", q->len);
  pbuf_free(p);
  return ERR_OK;  // tcp_input() sends it now
}

void on_error(void*, err_t) { --global->connections; }

err_t on_accept(void*, tcp_pcb* pcb, err_t error) {
  if (error != ERR_OK) return error;
  ++global->connections;
  tcp_nagle_disable(pcb);
  tcp_recv(pcb, on_recv);
  tcp_err(pcb, on_error);
  return ERR_OK;
}

}  // namespace

LwipEcho& LwipEcho::on(const RingEnd& end, std::uint16_t port) {
  static LwipEcho only(end, port);
  return only;
}

LwipEcho::LwipEcho(const RingEnd& end, std::uint16_t port) : port_id_(end.port), rx_(end.rx) {
  global = new Global(end.pool);
  lwip_init();
  ip4_addr_t address, mask, gateway;
  IP4_ADDR(&address, 10, 0, 0, end.last_octet);
  IP4_ADDR(&mask, 255, 255, 255, 0);
  ip4_addr_set_zero(&gateway);
  netif& interface = global->interface;
  POLLUX_CHECK(netif_add(&interface, &address, &mask, &gateway, nullptr, set_up, ethernet_input) != nullptr, "netif_add");
  const std::uint8_t mac[6] = {2, 0, 0, 0, 0, end.last_octet};
  std::copy(std::begin(mac), std::end(mac), interface.hwaddr);
  netif_set_default(&interface);
  netif_set_link_up(&interface);
  netif_set_up(&interface);
  tcp_pcb* pcb = tcp_new();
  POLLUX_CHECK(pcb != nullptr && tcp_bind(pcb, IP_ADDR_ANY, port) == ERR_OK, "lwIP cannot bind");
  pcb = tcp_listen_with_backlog(pcb, 255);
  POLLUX_CHECK(pcb != nullptr, "lwIP cannot listen");
  tcp_accept(pcb, on_accept);
}

std::uint32_t LwipEcho::connection_count() const { return global->connections; }

std::uint16_t LwipEcho::turn(TimePoint now) noexcept {
  rte_mbuf* burst[burst_max];
  const std::uint16_t received = rte_eth_rx_burst(port_id_, 0, burst, burst_max);
  for (std::uint16_t i = 0; i < received; ++i) {
    pbuf* const p = lend(burst[i]);
    if (global->interface.input(p, &global->interface) != ERR_OK) pbuf_free(p);
  }
  if (now >= timers_due_) {
    timers_due_ = now + timers_period;
    sys_check_timeouts();
  }
  TxBatch& tx = global->tx;
  if (tx.size() != 0)
    tx.consume(rte_eth_tx_burst(port_id_, 0, tx.pending().data(), static_cast<std::uint16_t>(tx.size())));
  return received;
}

}  // namespace pollux::bench
