// Every key of the configuration file: its name, range and meaning.
#include <fmt/core.h>

#include "pollux/config/load.h"

namespace pollux {
namespace {

using namespace literals;

constexpr std::uint32_t count_max = 16'777'216;
constexpr Duration hour = Duration::from_s(3600);
constexpr Duration day = hour * 24;

constexpr const char* router_advertisements_doc =
    "Take IPv6 addresses, prefixes, default routers and the MTU from router advertisements (RFC 4861, RFC 4862)";

Section vlan_section(VlanConfig& vlan) {
  Section s;
  s.integer("id", vlan.id, 1, vlan_id_max, "The VLAN's id in the tag (IEEE 802.1Q)").required = true;
  ConfigKey& addresses = s.prefixes("addresses", vlan.addresses, "As the port's");
  addresses.required = addresses.live = true;
  s.integer("mtu", vlan.mtu, 0, 9000, "Octets of the largest IP packet, at most the port's mtu; 0: the same");
  s.boolean("router_advertisements", vlan.router_advertisements, router_advertisements_doc);
  return s;
}

Section port_section(PortConfig& port) {
  Section s;
  s.text("device", port.device, "a PCI address like 0000:01:00.0 or a virtual device like net_tap0,iface=px0",
         "The port: a PCI address, or a virtual device as DPDK's --vdev takes it")
      .required = true;
  ConfigKey& addresses =
      s.prefixes("addresses", port.addresses,
                 "Our addresses with their subnet's length: up to 8 of IPv4, and up to 7 of IPv6, with which the port also has "
                 "the link-local address of its MAC. [] where only VLANs have addresses");
  addresses.required = addresses.live = true;
  s.integer("mtu", port.mtu, 576, 9000, "Octets of the largest IP packet");
  s.integer("rx_ring", port.rx_ring, 1, 32768,
            "Receive descriptors per core; adjusted to the driver's limits");
  s.integer("tx_ring", port.tx_ring, 1, 32768,
            "Transmit descriptors per core; adjusted to the driver's limits");
  s.boolean("promiscuous", port.promiscuous,
            "Take frames for other MAC addresses from the wire (and count them as dropped)");
  s.boolean("router_advertisements", port.router_advertisements, router_advertisements_doc);
  s.sections("vlans", port.vlans, vlan_section,
             "VLANs (IEEE 802.1Q), each an interface of its own with keys id, addresses, mtu and router_advertisements; untagged "
             "frames are the port's");
  s.text("exception", port.exception, "a virtual device like net_tap1,iface=host0, or nothing",
         "A virtual device that leads to the kernel: packets for protocols, ports and addresses that nobody here has go there, "
         "and what the kernel sends on it leaves through this port");
  return s;
}

Section route_section(RouteConfig& route) {
  Section s;
  s.prefix("prefix", route.prefix, "Where to; 0.0.0.0/0 and ::/0 are the default routes").required = true;
  s.address("gateway", route.gateway, "The router, in the subnet of a port").required = true;
  return s;
}

Section neighbor_section(NeighborConfig& neighbor) {
  Section s;
  s.address("address", neighbor.address, "The neighbour's address, in the subnet of a port").required = true;
  s.mac("mac", neighbor.mac, "Its MAC address").required = true;
  return s;
}

Section pool_section(PoolConfig& pool) {
  Section s;
  s.integer("packets", pool.packets, 1, count_max, "Packet buffers; 2^n - 1 wastes no memory");
  s.integer("clones", pool.clones, 1, count_max, "References to packet buffers (splitting, retransmission)");
  s.integer("cache", pool.cache, 0, 512, "Buffers that a core keeps at hand, below the shared pool");
  s.integer("packet_room", pool.packet_room, 256, 16384, "Octets of frame that one buffer holds");
  return s;
}

Section eal_section(EalConfig& eal) {
  Section s;
  s.text("file_prefix", eal.file_prefix, "a word",
         "Name under which DPDK keeps this process's files apart from others'; empty: pollux-PID");
  s.choice<HugePages>(
      "huge_pages", eal.huge_pages,
      {{"automatic", HugePages::automatic}, {"required", HugePages::required}, {"off", HugePages::off}},
      "Huge pages: automatic uses them when enough are free, else warns and runs without");
  s.boolean("multi_process", eal.multi_process,
            "Let dpdk-dumpcap and other DPDK programs attach; needs huge pages and a file_prefix");
  s.integer("memory_mb", eal.memory_mb, 0, 1'048'576,
            "MiB of memory for DPDK; without huge pages it is all there is. 0: enough for the pools");
  s.texts("extra", eal.extra, "Further DPDK EAL arguments, word by word");
  return s;
}

Section ip_section(IpOptions& ip) {
  Section s;
  s.integer("neighbors_max", ip.neighbors_max, 16, 1'048'576, "Neighbours (ARP and neighbour discovery entries) per core");
  s.integer("neighbor_queue_max", ip.neighbor_queue_max, 1, 1024,
            "Packets kept per neighbour while its MAC address is asked for; then the oldest is dropped");
  s.duration("arp_retry", ip.arp_retry, 10_ms, 60_s, "Time between ARP requests or neighbour solicitations");
  s.integer("arp_attempts_max", ip.arp_attempts_max, 1, 20,
            "ARP requests or neighbour solicitations before a neighbour counts as unreachable");
  s.duration("neighbor_reachable", ip.neighbor_reachable, 1_s, day,
             "How long a neighbour is trusted after a confirmation");
  s.duration("neighbor_delay", ip.neighbor_delay, 10_ms, 60_s,
             "How long traffic to a neighbour may confirm it before it is probed (RFC 4861 7.3.3)");
  s.duration("neighbor_stale_max", ip.neighbor_stale_max, 1_s, day * 7,
             "When an unused neighbour is forgotten");
  s.integer("icmp_errors_per_second", ip.icmp_errors_per_second, 0, 1'000'000,
            "ICMP errors sent per core and second at most (RFC 1812 4.3.2.8); 0: none");
  s.integer("ttl", ip.ttl, 1, 255, "Time to live (hop limit) of ICMP and UDP packets");
  s.integer("dad_solicitations", ip.dad_solicitations, 0, 10,
            "Solicitations that look for another owner of an IPv6 address before it is used, arp_retry apart "
            "(RFC 4862 5.4); 0: none");
  s.integer("reassembly_datagrams_max", ip.reassembly_datagrams_max, 1, 65535,
            "Datagrams per core of which some fragments are missing; then the oldest is given up");
  s.integer("reassembly_fragments_max", ip.reassembly_fragments_max, 1, 1'048'576,
            "Fragments kept per core, at most a quarter of its packet buffers; then the oldest datagram is given up");
  s.integer("reassembly_source_max", ip.reassembly_source_max, 1, 1'048'576,
            "Fragments kept of one source; then its oldest datagram is given up");
  s.duration("reassembly_timeout", ip.reassembly_timeout, 100_ms, 120_s,
             "How long a datagram waits for its missing fragments (RFC 1122 3.3.2, RFC 8200 4.5)");
  s.integer("routes_max", ip.routes_max, 1, RouteTable::routes_limit,
            "Routes of each family per core, subnets of ports included; each costs 420 octets of DPDK's memory, used or not, and "
            "the same again during a reload");
  s.mark_live_except({"neighbors_max", "neighbor_queue_max", "reassembly_datagrams_max", "reassembly_fragments_max",
                      "reassembly_source_max", "reassembly_timeout", "routes_max"});
  return s;
}

/// first <= last, in a map with both keys.
void add_port_range(Section& s, std::uint16_t& first, std::uint16_t& last) {
  s.integer("ephemeral_port_first", first, 1, 65535, "First local port of those chosen for us");
  s.integer("ephemeral_port_last", last, 1, 65535, "Last local port of those chosen for us");
  s.rule("ephemeral_port_last", [&first, &last]() -> std::optional<std::string> {
    if (first <= last) return std::nullopt;
    return fmt::format("expected at least ephemeral_port_first, {}, found {}", first, last);
  });
}

void add_connection_keys(Section& s, TcpConnOptions& conn) {
  constexpr std::uint32_t kib = 1024;
  s.size("receive_buffer", conn.receive_buffer, 4 * kib, kib * kib * kib,
         "Octets per connection that were received and are still kept by the application");
  s.size("receive_buffer_max", conn.receive_buffer_max, 0, kib * kib * kib,
         "What the receive buffer may grow to, with what arrives in a round trip; 0: it does not");
  s.size("send_buffer", conn.send_buffer, 4 * kib, kib * kib * kib,
         "Octets per connection that were taken for sending and are not yet acknowledged");
  s.size("send_buffer_max", conn.send_buffer_max, 0, kib * kib * kib,
         "What the send buffer may grow to, with the congestion window; 0: it does not");
  s.boolean("nagle", conn.nagle, "Hold small segments back while data is unacknowledged (RFC 9293 3.7.4)");
  s.boolean("timestamps", conn.timestamps, "Offer timestamps (RFC 7323)");
  s.boolean("window_scaling", conn.window_scaling, "Offer window scaling (RFC 7323)");
  s.boolean("sack", conn.sack, "Offer selective acknowledgment (RFC 2018) and recover by RACK-TLP (RFC 8985)");
  s.choice<TcpCongestion>("congestion", conn.congestion,
                          {{"cubic", TcpCongestion::cubic}, {"newreno", TcpCongestion::newreno}, {"dctcp", TcpCongestion::dctcp},
                           {"bbr", TcpCongestion::bbr}},
                          "Congestion control: CUBIC (RFC 9438), NewReno (RFC 5681), DCTCP (RFC 8257), which takes ECN and "
                          "belongs into networks whose queues mark early, or BBR (version 3), which always paces");
  s.choice<TcpEcn>("ecn", conn.ecn, {{"off", TcpEcn::off}, {"passive", TcpEcn::passive}, {"active", TcpEcn::active}},
                   "Explicit congestion notification (RFC 3168): never, when the peer asks, or asked for by active opens too");
  s.boolean("ecn_plus_plus", conn.ecn_plus_plus,
            "With ECN, SYN-ACKs, FINs, RSTs, retransmissions and window probes may be marked too, in place of being dropped");
  s.boolean("pacing", conn.pacing, "Space segments over the round trip, in bursts of about a millisecond");
  s.size("pacing_rate_max", conn.pacing_rate_max, 0, 2 * kib * kib * kib,
         "Payload octets a second that a paced connection sends at most; 0: as many as its window allows");
  s.boolean("delayed_ack", conn.delayed_ack,
            "Acknowledge every second segment or after delayed_ack_max (RFC 9293 3.8.6.3)");
  s.boolean("keepalive", conn.keepalive, "Probe idle connections (RFC 9293 3.8.4)");
  s.duration("keepalive_idle", conn.keepalive_idle, 1_s, day * 30, "Idle time before the first probe");
  s.duration("keepalive_interval", conn.keepalive_interval, 1_s, hour, "Time between probes");
  s.integer("keepalive_count", conn.keepalive_count, 1, 127,
            "Unanswered probes before a connection is given up");
  s.duration(
      "user_timeout", conn.user_timeout, 0_s, day * 30,
      "Give a connection up when data stays unacknowledged this long (RFC 5482); 0: retries_max decides");
  s.duration("linger", conn.linger, 0_s, day * 30,
             "Reset a closed connection when its data stays unacknowledged this long; 0: retries_max decides");
  s.boolean("reset_on_close", conn.reset_on_close, "Closing a connection resets it");
  s.integer("mss_max", conn.mss_max, 0, 65535,
            "Largest segment to send and to ask for, at least 88; 0: as the MTU has it");
  s.boolean("black_hole_detection", conn.black_hole_detection,
            "Send smaller packets after three timeouts in a row, as large ones may be dropped silently, and search for the "
            "largest that pass (RFC 4821)");
  s.size("not_sent_low_water", conn.not_sent_low_water, 0, kib * kib * kib,
         "Octets per connection that wait unsent before the application has to wait; 0: as many as the send buffer holds");
  s.integer("retries_max", conn.retries_max, 1, 30, "Retransmissions before a connection is given up");
  s.integer("syn_retries_max", conn.syn_retries_max, 1, 30, "Retransmissions of a SYN");
  s.integer("syn_ack_retries_max", conn.syn_ack_retries_max, 1, 30, "Retransmissions of a SYN-ACK");
  s.boolean("fast_open", conn.fast_open,
            "TCP Fast Open (RFC 7413): data that comes with a SYN is taken before the handshake is complete");
  s.integer("ttl", conn.ttl, 1, 255, "Time to live of TCP packets");
  s.integer("tos", conn.tos, 0, 255, "Differentiated services octet of TCP packets; its two low bits, ECN's, count as 0");
}

Section tcp_section(TcpOptions& tcp) {
  Section s;
  add_connection_keys(s, tcp.conn);
  s.integer("connections_max", tcp.connections_max, 1, count_max,
            "Connections per core, TIME-WAIT not included");
  s.integer("time_wait_max", tcp.time_wait_max, 1, count_max,
            "Connections in TIME-WAIT per core; then the oldest ends early");
  s.integer("listeners_max", tcp.listeners_max, 1, 65535, "Listening ports per core");
  s.duration("msl", tcp.msl, 1_ms, 120_s, "Maximum segment lifetime; TIME-WAIT lasts twice this");
  s.duration("time_wait_reuse_after", tcp.time_wait_reuse_after, 0_s, 120_s,
             "When the ports of a connection in TIME-WAIT may be taken for a new one, with timestamps (RFC 6191); 0: never");
  s.boolean("rfc1337", tcp.rfc1337, "Resets do not end TIME-WAIT (RFC 1337)");
  s.duration("rto_min", tcp.rto_min, 1_ms, 60_s,
             "Shortest retransmission timeout (RFC 6298 2.4 says 1s, Linux 200ms)");
  s.duration("rto_max", tcp.rto_max, 1_s, hour, "Longest retransmission timeout");
  s.duration("rto_initial", tcp.rto_initial, 1_ms, 60_s,
             "Retransmission timeout before the first measurement");
  s.duration("delayed_ack_max", tcp.delayed_ack_max, 1_ms, 499_ms,
             "Longest delay of an ACK (RFC 9293 3.8.6.3: below 500ms)");
  s.choice<TcpSynCookies>("syn_cookies", tcp.syn_cookies,
                          {{"off", TcpSynCookies::off}, {"pressure", TcpSynCookies::pressure}, {"on", TcpSynCookies::on}},
                          "SYNs that are answered by a cookie, without memory (RFC 4987): none, those beyond a listener's "
                          "backlog, or all");
  s.integer("fast_open_pending_max", tcp.fast_open_pending_max, 0, count_max,
            "Connections per core that were opened by a SYN alone and not yet acknowledged (RFC 7413 5.1)");
  s.duration("fast_open_key_lifetime", tcp.fast_open_key_lifetime, 1_s, day * 30,
             "When the key of Fast Open cookies changes; cookies of the last key stay good");
  s.integer("initial_window_segments", tcp.initial_window_segments, 1, 64,
            "Initial congestion window in segments (RFC 6928)");
  s.integer("challenge_acks_per_second", tcp.challenge_acks_per_second, 1, 1'000'000,
            "Challenge ACKs sent per core and second at most (RFC 5961 7)");
  s.integer("out_of_order_segments_max", tcp.out_of_order_segments_max, 1, 65535,
            "Segments per connection that wait for a missing one");
  s.integer("out_of_order_total_max", tcp.out_of_order_total_max, 1, count_max,
            "The same for all connections of a core");
  s.integer("kept_packets_max", tcp.kept_packets_max, 0, count_max,
            "Packets of a core's pool that applications may keep of what they received; beyond, small pieces are copied "
            "together. 0: a quarter of the pool");
  s.integer("outstanding_segments_max", tcp.outstanding_segments_max, 1, count_max,
            "Segments sent and not yet acknowledged, for all connections of a core");
  s.duration("fin_wait_2_max", tcp.fin_wait_2_max, 1_s, day,
             "How long a closed connection waits for the peer's end");
  add_port_range(s, tcp.ephemeral_port_first, tcp.ephemeral_port_last);
  s.rule("mss_max", [&tcp]() -> std::optional<std::string> {
    if (tcp.conn.mss_max == 0 || tcp.conn.mss_max >= 88) return std::nullopt;
    return fmt::format("expected 0 or at least 88, found {}", tcp.conn.mss_max);
  });
  s.rule("rto_initial", [&tcp]() -> std::optional<std::string> {
    if (tcp.rto_min <= tcp.rto_initial && tcp.rto_initial <= tcp.rto_max) return std::nullopt;
    return fmt::format("expected rto_min, {}, to rto_max, {}, found {}", format_duration(tcp.rto_min),
                       format_duration(tcp.rto_max), format_duration(tcp.rto_initial));
  });
  s.mark_live_except({"connections_max", "time_wait_max", "listeners_max", "fast_open_key_lifetime", "out_of_order_total_max",
                      "outstanding_segments_max", "ephemeral_port_first", "ephemeral_port_last"});
  return s;
}

Section udp_section(UdpOptions& udp) {
  Section s;
  s.integer("sockets_max", udp.sockets_max, 1, 65535, "Sockets per core");
  s.integer("kept_packets_max", udp.kept_packets_max, 0, count_max,
            "Packets of a core's pool that applications may keep of what they received; beyond, small datagrams are copied "
            "together. 0: a quarter of the pool");
  add_port_range(s, udp.ephemeral_port_first, udp.ephemeral_port_last);
  return s;
}

Section telemetry_section(TelemetryConfig& telemetry) {
  Section s;
  s.boolean("socket", telemetry.socket,
            "Answer dpdk-telemetry.py and l4ctl on DPDK's telemetry socket, in /run/dpdk/<file_prefix>");
  s.integer("flight_records", telemetry.flight_records, 0, 1'048'576,
            "Last events (states, losses, resets, drops) kept per core, 24 octets each: 0 or a power of two");
  s.rule("flight_records", [&telemetry]() -> std::optional<std::string> {
    const std::uint32_t n = telemetry.flight_records;
    if ((n & (n - 1)) == 0) return std::nullopt;
    return fmt::format("expected 0 or a power of two, found {}", n);
  });
  s.duration("long_turn", telemetry.long_turn, 0_s, 60_s,
             "Turns of a core's loop that move packets and take longer are counted and kept as events, with the stage that took "
             "most of them; 0: none")
      .live = true;
  s.text("metrics", telemetry.metrics, "an address and a port, or nothing",
         "Kernel address where Prometheus scrapes /metrics, like 127.0.0.1:9464; empty: nowhere");
  return s;
}

}  // namespace

Section config_section(Config& config) {
  Section s;
  s.sections("ports", config.ports, port_section, "The network ports").required = true;
  s.sections("routes", config.routes, route_section,
             "Routes through gateways; a port's own subnet needs none")
      .live = true;
  s.sections("neighbors", config.neighbors, neighbor_section,
             "Neighbours that are never asked for their MAC address, nor believed when they tell another")
      .live = true;
  s.integers_or("auto", config.auto_cores, "cores", config.cores, 1023,
                "CPUs that poll, one stack each; empty: the last CPU of the process; auto: those that the process may run on, on "
                "the ports' NUMA nodes if there are such, from the last downwards, as many as the port with the fewest queues has");
  s.boolean("share_cpus", config.share_cpus, "Let cores name a CPU more than once: slow, for tests");
  s.section("pool", pool_section(config.pool), "Packet buffers of each core");
  s.section("eal", eal_section(config.eal), "How DPDK's environment abstraction layer starts");
  s.choice<IdlePolicy>(
      "idle", config.idle,
      {{"spin", IdlePolicy::spin},
       {"pause", IdlePolicy::pause},
       {"adaptive", IdlePolicy::adaptive},
       {"sleep", IdlePolicy::sleep}},
      "Between polls that find nothing: spin; pause the CPU for a moment; adaptive: spin, then pause, then wait for a "
      "packet, a timer or a message; sleep: pause, then sleep for idle_sleep_us_max")
      .live = true;
  s.integer("idle_polls", config.idle_polls, 1, 1'000'000'000, "Empty polls before the first sleep").live = true;
  s.integer("idle_sleep_us_max", config.idle_sleep_us_max, 1, 100'000,
            "Microseconds of the longest sleep that a packet does not end, the driver having no receive interrupts: added "
            "latency")
      .live = true;
  s.duration("drain_timeout", config.drain_timeout, 0_s, day,
             "On SIGTERM and SIGINT, time for open connections to finish before they are reset")
      .live = true;
  s.section("ip", ip_section(config.ip), "IP, ARP, neighbour discovery and ICMP");
  s.section("tcp", tcp_section(config.tcp), "TCP");
  s.section("udp", udp_section(config.udp), "UDP");
  s.section("telemetry", telemetry_section(config.telemetry), "What operators see while it runs");
  s.text("take_over", config.take_over, "a word",
         "eal.file_prefix of a running program with these addresses: accept its new connections from now on, while it drains; "
         "empty: none");
  s.text("log_level", config.log_level, "one of error | warning | info | debug",
         "What is worth a line on standard error")
      .live = true;
  return s;
}

}  // namespace pollux
