#include "network.h"

#include <array>
#include <string>

namespace pollux::test {
namespace {

template <typename T, std::size_t N>
T one_of(Rng& rng, const std::array<T, N>& choices) {
  return choices[rng.below(N)];
}

constexpr std::uint16_t server_port = 7;

}  // namespace

LinkOptions Network::draw_link() {
  Rng& rng = world_.rng();
  LinkOptions link;
  if (weather_ == Weather::clean) {
    link.bits_per_second =
        one_of<std::uint64_t>(rng, std::array<std::uint64_t, 3>{0, 1'000'000'000, 10'000'000'000});
    link.delay = Duration::from_us(1 + rng.below(5000));
    link.queue_max = 1'000'000;
    if (world_.seed() % 2 == 1) link.mark_above = 3;
    return link;
  }
  link.bits_per_second = one_of<std::uint64_t>(
      rng, std::array<std::uint64_t, 5>{0, 2'000'000, 10'000'000, 100'000'000, 1'000'000'000});
  link.delay = one_of(rng, std::array{Duration::from_us(5), Duration::from_us(100), Duration::from_ms(2),
                                      Duration::from_ms(20), Duration::from_ms(80)});
  if (rng.below(3) == 0) link.jitter = link.delay;
  link.queue_max = one_of(rng, std::array<std::uint32_t, 4>{5, 20, 100, 1000});
  link.loss = one_of(rng, std::array{0.0, 0.0, 0.001, 0.01, 0.03, 0.1});
  link.reorder = one_of(rng, std::array{0.0, 0.0, 0.01, 0.1});
  link.reorder_delay =
      one_of(rng, std::array{Duration::from_us(50), Duration::from_ms(1), Duration::from_ms(30)});
  link.duplicate = one_of(rng, std::array{0.0, 0.0, 0.01, 0.05});
  link.corrupt = one_of(rng, std::array{0.0, 0.0, 0.005, 0.03});
  if (world_.seed() % 2 == 1) link.mark_above = link.queue_max / 2;
  return link;
}

HostOptions Network::draw_host(bool ipv6) {
  Rng& rng = world_.rng();
  HostOptions host;
  host.mtu = one_of(rng, std::array<std::uint16_t, 4>{1500, 1500, 576, 9000});
  if (ipv6) host.mtu = std::max(host.mtu, v6_mtu_min);
  host.offloads.ipv4_checksum = rng.below(2) == 0;
  host.offloads.tcp_checksum = rng.below(2) == 0;
  host.offloads.udp_checksum = rng.below(2) == 0;
  host.offloads.multi_segment = rng.below(4) != 0;
  host.pool_room = one_of(rng, std::array<std::uint16_t, 3>{2048, 2048, 512});
  if (!host.offloads.multi_segment) {  // a chain must fit one mbuf
    host.pool_room = 2048;
    host.mtu = std::min<std::uint16_t>(host.mtu, 1500);
  }
  host.burst = one_of(rng, std::array<std::uint32_t, 3>{1, 4, 32});
  host.tx_ring = one_of(rng, std::array<std::uint32_t, 3>{0, 0, 8});
  host.turn = one_of(rng, std::array{Duration{}, Duration::from_us(10), Duration::from_us(150)});
  host.stack.tcp.conn = draw_conn();
  host.stack.tcp.conn.syn_ack_retries_max = 12;  // so that only a bug, not bad luck, fails a handshake
  host.stack.tcp.conn.syn_retries_max = 12;
  // By the seed's number, not drawn: what is drawn stays what it was. Cookies only where nothing is lost: a handshake that
  // nobody remembers ends with its ACK.
  if (weather_ == Weather::clean && world_.seed() % 4 == 0) host.stack.tcp.syn_cookies = TcpSynCookies::on;
  if (world_.seed() % 3 == 0) host.stack.tcp.conn.not_sent_low_water = 3000;
  if (world_.seed() % 5 == 0) host.stack.tcp.conn.mss_max = 700;
  if (world_.seed() % 2 == 0) host.stack.tcp.conn.black_hole_detection = true;
  if (weather_ == Weather::random)
    host.stack.tcp.out_of_order_segments_max = one_of(rng, std::array<std::uint32_t, 3>{4, 64, 1024});
  return host;
}

TcpConnOptions Network::draw_conn() {
  Rng& rng = world_.rng();
  TcpConnOptions conn;
  const std::array<std::uint32_t, 5> buffers{4096, 10'000, 65'535, 256 * 1024, 256 * 1024};
  conn.receive_buffer = one_of(rng, buffers);
  conn.send_buffer = one_of(rng, buffers);
  conn.nagle = rng.below(2) == 0;
  conn.timestamps = rng.below(2) == 0;
  conn.window_scaling = rng.below(2) == 0;
  conn.delayed_ack = rng.below(3) != 0;
  if (world_.seed() % 4 != 0) conn.ecn = TcpEcn::active;
  if (world_.seed() % 5 == 3) conn.congestion = TcpCongestion::bbr;
  conn.retries_max = 25;
  // A lost RST leaves the other end waiting for ever, unless it asks.
  conn.keepalive = true;
  conn.keepalive_idle = Duration::from_s(30);
  conn.keepalive_interval = Duration::from_s(10);
  conn.keepalive_count = 20;
  return conn;
}

AppLimits Network::draw_apps() {
  Rng& rng = world_.rng();
  AppLimits limits;
  limits.write_max = one_of(rng, std::array<std::uint32_t, 4>{10, 500, 5000, 50'000});
  limits.octets_max = std::min<std::uint32_t>(400'000, limits.write_max * 2000);
  limits.pause_max =
      one_of(rng, std::array{Duration{}, Duration{}, Duration::from_us(300), Duration::from_ms(5)});
  limits.keep = one_of(rng, std::array{0.0, 0.2, 1.0});
  limits.keep_max =
      one_of(rng, std::array{Duration::from_us(100), Duration::from_ms(5), Duration::from_ms(60)});
  limits.echo = 0.3;
  if (weather_ == Weather::random) limits.abort = one_of(rng, std::array{0.0, 0.0, 0.2});
  return limits;
}

Network::Network(std::uint64_t seed, Weather weather, bool ipv6) : world_(seed), weather_(weather) {
  if (ipv6) world_.use_ipv6();
  Rng& rng = world_.rng();
  const AppLimits limits = draw_apps();
  const std::size_t hosts = 2 + rng.below(3);
  for (std::size_t i = 0; i < hosts; ++i) {
    // Faults sit on the way up; the way down has its own bandwidth and queue.
    const LinkOptions up = draw_link();
    LinkOptions down = draw_link();
    down.loss = down.reorder = down.duplicate = down.corrupt = 0;
    HostOptions options = draw_host(ipv6);
    SimHost& host = world_.add_host(options, up, down);
    apps_.push_back(std::make_unique<StreamApp>(world_, host, limits));
    apps_.back()->listen(server_port, draw_conn());
  }
  flows_ = 1 + rng.below(1 + rng.below(16));
  for (std::uint32_t i = 0; i < flows_; ++i)
    world_.after(Duration::from_us(rng.below(50'000)), [this] { open_one(); });
  if (weather_ == Weather::random) draw_trouble();
}

void Network::open_one() {
  Rng& rng = world_.rng();
  const std::uint32_t count = static_cast<std::uint32_t>(apps_.size());
  const std::uint32_t client = rng.below(count);
  const std::uint32_t server = (client + 1 + rng.below(count - 1)) % count;
  apps_[client]->connect(world_.host(server), server_port, draw_conn());
  ++flows_opened_;
}

// What befalls a machine in its life: its pool runs dry for a while, its cable is out for a while.
void Network::draw_trouble() {
  Rng& rng = world_.rng();
  if (rng.below(5) == 0) {
    SimHost& host = world_.host(rng.below(static_cast<std::uint32_t>(world_.host_count())));
    const Duration start = Duration::from_us(rng.below(200'000));
    const std::uint32_t limit = rng.below(40);
    world_.after(start, [&host, limit] { host.pool().set_limit(limit); });
    world_.after(start + Duration::from_us(rng.below(300'000)), [&host] { host.pool().set_limit(65536); });
  }
  if (rng.below(8) == 0) {
    SimLink& link = world_.up(rng.below(static_cast<std::uint32_t>(world_.host_count())));
    const double loss = link.options().loss;
    const Duration start = Duration::from_us(rng.below(200'000));
    world_.after(start, [&link] { link.options().loss = 1; });
    world_.after(start + Duration::from_us(rng.below(3'000'000)),
                 [&link, loss] { link.options().loss = loss; });
  }
}

bool Network::all_closed() const {
  if (flows_opened_ < flows_) return false;
  for (const auto& app : apps_)
    if (app->open_ends() != 0) return false;
  return true;
}

std::uint64_t Network::octets() const {
  std::uint64_t sum = 0;
  for (const auto& app : apps_) sum += app->octets_received();
  return sum;
}

bool Network::run() {
  const Duration hour = Duration::from_s(3600);
  if (!world_.run_until([this] { return all_closed(); }, hour)) return false;
  if (!world_.run_until_idle(hour)) return false;
  check_nothing_left();
  if (weather_ == Weather::clean) check_clean();
  return !world_.failed();
}

void Network::check_nothing_left() {
  for (std::size_t i = 0; i < world_.host_count(); ++i) {
    SimHost& host = world_.host(i);
    const auto check = [&](std::uint64_t value, const char* what) {
      if (value != 0) world_.fail(host.name() + " still has " + std::to_string(value) + " " + what);
    };
    check(host.tcp().connection_count(), "connections");
    check(host.tcp().time_wait_count(), "connections in TIME-WAIT");
    check(host.pool().in_use(), "mbufs in use");
    check(apps_[i]->open_ends(), "open ends");
  }
}

// On cables that lose nothing, nothing is sent twice, dropped, or waited for by a timer.
void Network::check_clean() {
  for (std::size_t i = 0; i < world_.host_count(); ++i) {
    SimHost& host = world_.host(i);
    const Counters& counters = host.counters();
    const auto check = [&](std::uint64_t value, const char* what) {
      if (value != 0)
        world_.fail(host.name() + ": " + std::to_string(value) + " " + what + " on a clean cable");
    };
    check(counters[Counter::tcp_retrans_segs], "retransmitted segments");
    check(counters[Counter::tcp_timeouts], "timeouts");
    check(counters[Counter::tcp_fast_retrans], "fast retransmissions");
    check(counters[Counter::tcp_ofo_queue], "segments out of order");
    check(counters[Counter::tcp_challenge_acks], "challenge ACKs");
    check(counters[Counter::tcp_out_rsts], "RSTs");
    check(counters[Counter::tcp_attempt_fails], "failed handshakes");
    check(host.frames_missed(), "missed frames");
    for (std::size_t r = 0; r < drop_reason_count; ++r) {
      const auto reason = static_cast<DropReason>(r);
      // Broadcasts and multicasts between the others.
      if (reason == DropReason::arp_not_for_us || reason == DropReason::nd_not_for_us ||
          reason == DropReason::ip_not_local)
        continue;
      check(counters[reason], drop_reason_name(reason));
    }
  }
}

}  // namespace pollux::test
