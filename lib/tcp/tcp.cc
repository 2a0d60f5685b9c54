// The life of listeners and connections: opening, finding, ending.
#include "pollux/tcp/tcp.h"

#include <algorithm>
#include <cstring>
#include <tuple>

namespace pollux {
namespace {

Result<void> check(const TcpConnOptions& options) {
  if (const char* fault = find_fault(options))
    return failure(ErrorCode::invalid_argument, std::string("tcp option ") + fault);
  return {};
}

}  // namespace

const char* find_fault(const TcpConnOptions& o) noexcept {
  constexpr std::uint32_t buffer_min = 4096, buffer_max = 1u << 30;
  if (o.receive_buffer < buffer_min || o.receive_buffer > buffer_max)
    return "receive_buffer: expected 4 KiB to 1 GiB";
  if (o.receive_buffer_max > buffer_max) return "receive_buffer_max: expected 0 to 1 GiB";
  if (o.send_buffer_max > buffer_max) return "send_buffer_max: expected 0 to 1 GiB";
  if (o.send_buffer < buffer_min || o.send_buffer > buffer_max) return "send_buffer: expected 4 KiB to 1 GiB";
  if (o.retries_max < 1 || o.retries_max > 30) return "retries_max: expected 1 to 30";
  if (o.syn_retries_max < 1 || o.syn_retries_max > 30) return "syn_retries_max: expected 1 to 30";
  if (o.syn_ack_retries_max < 1 || o.syn_ack_retries_max > 30) return "syn_ack_retries_max: expected 1 to 30";
  if (o.ttl == 0) return "ttl: expected 1 to 255";
  if (o.keepalive_count == 0) return "keepalive_count: expected 1 to 255";
  if (o.keepalive_idle < Duration::from_ms(1)) return "keepalive_idle: expected at least 1 ms";
  if (o.keepalive_interval < Duration::from_ms(1)) return "keepalive_interval: expected at least 1 ms";
  constexpr Duration time_max = Duration::from_s(3'000'000);
  if (o.user_timeout < Duration{} || o.user_timeout > time_max) return "user_timeout: expected 0 to 3,000,000 s";
  if (o.linger < Duration{} || o.linger > time_max) return "linger: expected 0 to 3,000,000 s";
  if (o.mss_max != 0 && o.mss_max < 88) return "mss_max: expected 0 or 88 to 65,535";
  return nullptr;
}

Result<void> check_options(const TcpOptions& o) {
  const auto bad = [](const char* text) { return failure(ErrorCode::invalid_argument, std::string("tcp option ") + text); };
  if (o.connections_max == 0 || o.connections_max > (1u << 24)) return bad("connections_max: expected 1 to 16,777,216");
  if (o.time_wait_max == 0 || o.time_wait_max > (1u << 24)) return bad("time_wait_max: expected 1 to 16,777,216");
  if (o.listeners_max == 0 || o.listeners_max > 65535) return bad("listeners_max: expected 1 to 65,535");
  if (o.rto_min < Duration::from_ms(1) || o.rto_min > o.rto_max) return bad("rto_min: expected 1 ms to rto_max");
  if (o.rto_max > Duration::from_s(3600)) return bad("rto_max: expected at most 1 h");
  if (o.rto_initial < o.rto_min || o.rto_initial > o.rto_max) return bad("rto_initial: expected rto_min to rto_max");
  if (o.msl < Duration::from_ms(1) || o.msl > Duration::from_s(120)) return bad("msl: expected 1 ms to 120 s");
  // RFC 9293 MUST-40
  if (o.delayed_ack_max < Duration{} || o.delayed_ack_max >= Duration::from_ms(500))
    return bad("delayed_ack_max: expected below 500 ms");
  if (o.fast_open_key_lifetime < Duration::from_s(1)) return bad("fast_open_key_lifetime: expected at least 1 s");
  if (o.time_wait_reuse_after < Duration{}) return bad("time_wait_reuse_after: expected 0 or more");
  if (o.fin_wait_2_max < Duration::from_ms(1)) return bad("fin_wait_2_max: expected at least 1 ms");
  if (o.initial_window_segments == 0) return bad("initial_window_segments: expected 1 to 255");
  if (o.ephemeral_port_first == 0 || o.ephemeral_port_first > o.ephemeral_port_last)
    return bad("ephemeral_port_first: expected 1 to ephemeral_port_last");
  if (o.out_of_order_total_max == 0) return bad("out_of_order_total_max: expected at least 1");
  if (o.outstanding_segments_max == 0) return bad("outstanding_segments_max: expected at least 1");
  return check(o.conn);
}

Tcp::Tcp(const TcpOptions& options, const TcpSecrets& secrets, Ip& ip, PacketPool pool, Rng& rng,
         FlightRecorder& flight, TimePoint now, const LocalPorts* local_ports)
    : options_(options),
      secrets_(secrets),
      cookies_(secrets.syn_cookie_key),
      fast_open_cookies_(secrets.fast_open_key, options.fast_open_key_lifetime),
      fast_open_cache_(secrets.flow_hash_seed, fast_open_servers_max),
      ip_(ip),
      pool_(pool),
      rng_(rng),
      flight_(flight),
      now_(now),
      now_ms_(static_cast<std::uint32_t>(now.ms())),
      tcbs_(options.connections_max),
      v6_addresses_(options.connections_max),
      extras_(options.connections_max),
      disturbances_(options.connections_max),
      models_(options.connections_max),
      sent_rates_(std::make_unique_for_overwrite<SentRate[]>(options.outstanding_segments_max)),
      time_wait_(options.time_wait_max),
      flows_(options.connections_max + options.time_wait_max),
      plain_ports_(options.ephemeral_port_first, options.ephemeral_port_last),
      selector_(local_ports != nullptr ? *local_ports : plain_ports_, rng),
      listeners_(options.listeners_max),
      listener_index_(options.listeners_max),
      out_of_order_(options.out_of_order_total_max),
      sent_(options.outstanding_segments_max),
      timers_(now),
      pool_checked_at_(now) {
  ledger_.release = on_charge_released;
  ledger_.tcp = this;
  set_kept_max();
}

Tcp::~Tcp() {
  tcbs_.for_each([this](std::uint32_t, Tcb& tcb) {
    timers_.cancel(tcb);
    forget_segments(tcb);
    tcb.queue.clear();
    tcb.state = TcpState::closed;  // what on_complete() may ask for now
  });
  external_.complete_all();
}

// --- Opening -------------------------------------------------------------------------------------------------

Result<const TcpConnOptions*> Tcp::intern(const TcpConnOptions& options) {
  if (auto ok = check(options); !ok) return tl::unexpected(ok.error());
  for (const auto& set : option_sets_)
    if (*set == options) return set.get();
  if (option_sets_.size() == option_sets_max) forget_unused_options();
  if (option_sets_.size() == option_sets_max)
    return failure(ErrorCode::limit_reached, "more than 64 different sets of tcp connection options");
  option_sets_.push_back(std::make_unique<const TcpConnOptions>(options));
  return option_sets_.back().get();
}

/// Rare: it looks at every connection.
void Tcp::forget_unused_options() {
  std::vector<const TcpConnOptions*> used = {prepared_};
  const auto note = [&](const TcpConnOptions* options) {
    if (std::find(used.begin(), used.end(), options) == used.end()) used.push_back(options);
  };
  listeners_.for_each([&](std::uint32_t, Listener& listener) { note(listener.conn); });
  tcbs_.for_each([&](std::uint32_t, Tcb& tcb) {
    if (tcb.extras == Slab<ConnExtras>::nil) note(tcb.options);
  });
  std::erase_if(option_sets_, [&](const auto& set) { return std::find(used.begin(), used.end(), set.get()) == used.end(); });
}

Result<void> Tcp::prepare(const TcpOptions& options) {
  if (auto good = check_options(options); !good) return good;
  const auto sizes = [](const TcpOptions& o) {
    return std::tuple(o.connections_max, o.time_wait_max, o.listeners_max, o.out_of_order_total_max, o.outstanding_segments_max,
                      o.ephemeral_port_first, o.ephemeral_port_last, o.fast_open_key_lifetime);
  };
  if (sizes(options) != sizes(options_))
    return failure(ErrorCode::invalid_argument, "sizes of tables, ephemeral ports and key lifetimes are set at start");
  auto conn = intern(options.conn);
  if (!conn) return tl::unexpected(conn.error());
  prepared_ = *conn;
  return {};
}

void Tcp::change(const TcpOptions& options) {
  POLLUX_CHECK(prepared_ != nullptr && *prepared_ == options.conn, "options that prepare() has not seen");
  options_ = options;
  set_kept_max();
  listeners_.for_each([&](std::uint32_t, Listener& listener) {
    if (!listener.has_own_options) listener.conn = prepared_;
  });
}

Result<TcpListener> Tcp::listen(const TcpListenOptions& asked, TcpHandler& handler) {
  POLLUX_CHECK(ip_.owner().is_here(), "listen() on port %u: called on another core than the stack's", asked.port);
  TcpListenOptions options = asked;
  if (options.address.is_unspecified()) options.address = IpAddress();  // one way to say "any", of both families
  const Endpoint at{options.address, options.port};
  if (options.port == 0) return failure(ErrorCode::invalid_argument, "listen: port 0; expected 1 to 65535");
  if (options.backlog == 0) return failure(ErrorCode::invalid_argument, "listen: backlog 0; expected at least 1");
  if (!options.address.is_unspecified() && !ip_.is_local(options.address))
    return failure(ErrorCode::address_unavailable, "listen on " + at.to_string() + ": not an address of this stack");
  const auto taken = listener_index_.find(port_hash(options.port), [&](std::uint32_t i) {
    return listeners_[i].port == options.port && listeners_[i].address == options.address;
  });
  if (taken != HashIndex::not_found)
    return failure(ErrorCode::address_in_use, "listen on " + at.to_string() + ": a listener is there already");
  auto conn = intern(options.conn.value_or(options_.conn));
  if (!conn) return tl::unexpected(conn.error());

  const std::uint32_t index =
      listeners_.emplace(Listener{options.address, options.port, options.backlog, 0, &handler, *conn,
                                   options.conn.has_value(), {}});
  if (index == Slab<Listener>::nil)
    return failure(ErrorCode::limit_reached, "listen on " + at.to_string() + ": tcp.listeners_max listeners are open");
  POLLUX_CHECK(listener_index_.insert(port_hash(options.port), index), "listener index smaller than its slab");
  return TcpListener(this, listeners_.handle(index));
}

Result<TcpConn> Tcp::connect(const TcpConnectOptions& options, TcpHandler& handler) {
  POLLUX_CHECK(ip_.owner().is_here(), "connect(): called on another core than the stack's");
  const std::string what = "connect to " + options.remote.to_string() + ": ";
  if (options.remote.port == 0) return failure(ErrorCode::invalid_argument, what + "port 0; expected 1 to 65535");
  // RFC 9293 MUST-46: refuse broadcast and multicast destinations.
  if (options.remote.address.is_unspecified() || ip_.is_group(options.remote.address))
    return failure(ErrorCode::invalid_argument, what + "not a unicast address");
  FlowKey key{options.local.address, options.remote.address, options.local.port, options.remote.port};
  if (!key.local.is_unspecified() && key.local.is_v4() != key.remote.is_v4())
    return failure(ErrorCode::invalid_argument, what + key.local.to_string() + " is an address of the other family");
  if (key.local.is_unspecified()) {
    // RFC 9293 MUST-44: the IP layer picks the source address before the SYN.
    const auto source = ip_.source_for(key.remote);
    if (!source) return failure(ErrorCode::no_route, what + "no route");
    key.local = *source;
  } else if (!ip_.is_local(key.local)) {
    return failure(ErrorCode::address_unavailable, what + key.local.to_string() + " is not an address of this stack");
  }
  if (ip_.is_local(key.remote)) return failure(ErrorCode::no_route, what + "connections to the stack itself have no route");
  RouteCache route;
  if (!ip_.resolve(key.remote, route, now_)) return failure(ErrorCode::no_route, what + "no route");
  auto conn = intern(options.conn.value_or(options_.conn));
  if (!conn) return tl::unexpected(conn.error());

  if (key.local_port == 0) {
    key.local_port = selector_.pick(key, [&](const FlowKey& candidate) {
      return !is_available(find_flow(candidate, hash_of(candidate)), **conn);
    });
    if (key.local_port == 0) key.local_port = pick_time_wait_port(key, **conn);
    if (key.local_port == 0)
      return failure(ErrorCode::limit_reached, what + "every local port of " + key.local.to_string() +
                                                   " in tcp.ephemeral_port_first..last that leads to this core (" +
                                                   std::to_string(selector_.count()) +
                                                   ") is in use for it, by connections or TIME-WAIT");
  } else if (!selector_.leads_here(key)) {
    return failure(ErrorCode::address_unavailable, what + "answers to local port " + std::to_string(key.local_port) +
                                                       " reach another core; connect there, or let the stack choose");
  } else if (!is_available(find_flow(key, hash_of(key)), **conn)) {
    return failure(ErrorCode::address_in_use, what + "local port " + std::to_string(key.local_port) + " is in use for it");
  }
  const std::uint32_t hash = hash_of(key);
  const std::uint32_t old = find_flow(key, hash);  // in TIME-WAIT, if anything
  Tcb* tcb = create(key, hash, handler, **conn);
  if (tcb == nullptr) {
    if (old == HashIndex::not_found) selector_.freed(key);
    return failure(ErrorCode::limit_reached, what + "tcp.connections_max connections are open");
  }
  if (old != HashIndex::not_found) replace_time_wait(*tcb, old & ~time_wait_tag);
  tcb->route = route;
  enter(*tcb, TcpState::syn_sent);
  tcb->is.active_open = true;
  tcb->is.timestamps = (*conn)->timestamps;        // offered; the SYN's answer decides
  tcb->is.window_scaling = (*conn)->window_scaling;
  tcb->is.sack = (*conn)->sack;
  tcb->is.ecn = (*conn)->ecn == TcpEcn::active || (*conn)->congestion == TcpCongestion::dctcp;
  set_ecn_octet(*tcb);
  tcb->rcv.edge = tcb->rcv.nxt;
  counters_.add(Counter::tcp_active_opens);
  mark_dirty(*tcb);
  return handle_of(*tcb);
}

// RFC 6191 3: an active open may follow a connection in TIME-WAIT when timestamps tell their segments apart. Ours have moved
// on since then: their offset is the tuple's.
bool Tcp::is_available(std::uint32_t ref, const TcpConnOptions& options) const noexcept {
  if (ref == HashIndex::not_found) return true;
  if ((ref & time_wait_tag) == 0 || !options.timestamps || options_.time_wait_reuse_after == Duration{}) return false;
  const TimeWait& old = time_wait_[ref & ~time_wait_tag];
  const TimePoint since = old.expiry - options_.msl * 2;
  return old.timestamps && now_ >= since + options_.time_wait_reuse_after;
}

// A new connection takes the place of one in TIME-WAIT, with an ISN beyond every sequence number of the old one.
void Tcp::replace_time_wait(Tcb& tcb, std::uint32_t index) noexcept {
  const SeqNum beyond = time_wait_[index].snd_nxt + 0x10000u;
  flows_.erase(time_wait_[index].hash, index | time_wait_tag);  // its local port stays taken, by the new one
  time_wait_.remove(index);
  SendSpace& snd = tcb.snd;
  if (tcb.iss.before(beyond)) tcb.iss = snd.una = snd.nxt = snd.max = beyond;
  counters_.add(Counter::tcp_time_wait_reused);
}

// No port is free: one of those in TIME-WAIT that may be followed, by chance, as RFC 6056 3.3.1 has it.
std::uint16_t Tcp::pick_time_wait_port(const FlowKey& key, const TcpConnOptions& options) noexcept {
  constexpr int tries = 1024;
  const std::uint32_t count = options_.ephemeral_port_last - options_.ephemeral_port_first + 1u;
  FlowKey candidate = key;
  for (int i = 0; i < tries; ++i) {
    candidate.local_port = static_cast<std::uint16_t>(options_.ephemeral_port_first + rng_.below(count));
    if (!selector_.leads_here(candidate)) continue;
    if (is_available(find_flow(candidate, hash_of(candidate)), options)) return candidate.local_port;
  }
  return 0;
}

void Tcp::add_flow(const FlowKey& key, std::uint32_t hash, std::uint32_t ref) noexcept {
  const bool inserted = flows_.insert(hash, ref);
  POLLUX_CHECK(inserted, "flow index smaller than the tables it serves");
  selector_.taken(key);
}

void Tcp::remove_flow(const FlowKey& key, std::uint32_t hash, std::uint32_t ref) noexcept {
  flows_.erase(hash, ref);
  selector_.freed(key);
}

SeqNum Tcp::initial_sequence(const FlowKey& key, std::uint32_t& ts_offset) const noexcept {
  std::uint8_t input[36];
  std::memcpy(input, key.local.octets().data(), 16);
  std::memcpy(input + 16, key.remote.octets().data(), 16);
  store_be16(input + 32, key.local_port);
  store_be16(input + 34, key.remote_port);
  const std::uint64_t f = siphash24(secrets_.isn_key, input);
  ts_offset = static_cast<std::uint32_t>(f >> 32);
  // RFC 9293 3.4.1 and RFC 6528 3: ISN = M + F(4-tuple, secret), M ticking every 4 microseconds.
  return SeqNum(static_cast<std::uint32_t>(f) + static_cast<std::uint32_t>(now_.us() / 4));
}

Tcb* Tcp::create(const FlowKey& key, std::uint32_t hash, TcpHandler& handler, const TcpConnOptions& options) noexcept {
  const std::uint32_t index = tcbs_.emplace();
  if (index == Slab<Tcb>::nil) return nullptr;
  add_flow(key, hash, index);
  Tcb& tcb = tcbs_[index];
  tcb.key = key.local.is_v4() ? StoredKey(key) : StoredKey(key, v6_addresses_.emplace(key.local, key.remote));
  tcb.handler = &handler;
  tcb.options = &options;
  tcb.is.nagle = options.nagle;
  tcb.is.keepalive = options.keepalive;
  tcb.tos = options.tos & TcpConnOptions::diffserv_mask;
  tcb.iss = initial_sequence(key, tcb.ts_offset);
  tcb.snd.una = tcb.snd.nxt = tcb.snd.max = tcb.iss;
  tcb.last_received_ms = tcb.last_sent_ms = now_ms();
  tcb.progress = now_;
  return &tcb;
}

// --- Finding -------------------------------------------------------------------------------------------------

std::uint32_t Tcp::find_flow(const FlowKey& key, std::uint32_t hash) const noexcept {
  return flows_.find(hash, [&](std::uint32_t ref) {
    if ((ref & time_wait_tag) != 0) return time_wait_[ref & ~time_wait_tag].key == key;
    const Tcb& tcb = tcbs_[ref];
    return tcb.key.is_v4() ? tcb.key.is(key) : key_of(tcb) == key;
  });
}

Tcp::Listener* Tcp::find_listener(const IpAddress& local, std::uint16_t port) noexcept {
  const auto on = [&](const IpAddress& address) -> Listener* {
    const std::uint32_t i = listener_index_.find(port_hash(port), [&](std::uint32_t candidate) {
      return listeners_[candidate].port == port && listeners_[candidate].address == address;
    });
    return i == HashIndex::not_found ? nullptr : &listeners_[i];
  };
  if (Listener* exact = on(local)) return exact;
  return on(IpAddress());
}

Tcp::Listener* Tcp::find_listener(SlabHandle handle) noexcept {
  POLLUX_DCHECK(ip_.owner().is_here());
  return listeners_.find(handle);
}

Tcb* Tcp::find(SlabHandle handle) noexcept {
  POLLUX_DCHECK(ip_.owner().is_here());
  Tcb* tcb = tcbs_.find(handle);
  return tcb == nullptr || tcb->is.defunct ? nullptr : tcb;
}

// --- Living --------------------------------------------------------------------------------------------------

void Tcp::leave_half_open(Tcb& tcb) noexcept {
  if (tcb.state != TcpState::syn_received) return;
  if (Listener* listener = listeners_.find(tcb.listener)) --listener->half_open;
  tcb.listener = {};
}

// RFC 6928 2
std::uint32_t Tcp::initial_window(const Tcb& tcb) const noexcept {
  return std::min<std::uint32_t>(options_.initial_window_segments * std::uint32_t{tcb.mss},
                                 std::max<std::uint32_t>(2u * tcb.mss, 14600));
}

void Tcp::established(Tcb& tcb) noexcept {
  leave_half_open(tcb);
  tcb.round = {tcb.rcv.nxt.value(), now_ms()};
  enter(tcb, TcpState::established);
  if (tcb.retries != 0) tcb.rtt.note_lost_syn();
  // RFC 5681 3.1: after a SYN or SYN-ACK was lost the initial window MUST be one segment. RFC 6928 2: one that was sent twice
  // may only have been late, or its answer lost; with an RTO of a second that is no sign of congestion yet.
  tcb.first_cwnd = tcb.retries > 1 ? tcb.mss : initial_window(tcb);
  tcb.retries = tcb.backoff = 0;
  // RFC 6298 5.7: after a lost SYN the first data segments start from an RTO of 3 s unless a sample came.
  tcb.is.dctcp = tcb.is.ecn && tcb.options->congestion == TcpCongestion::dctcp;
  if (tcb.is.dctcp) extras_of(tcb).marks = MarkedShare(tcb.snd.una);
  if (Disturbance* const own = disturbance_of(tcb)) own->cc = new_controller(tcb);  // the handshake was disturbed
  if (tcb.options->congestion == TcpCongestion::bbr) start_model(tcb);
  if (tcb.is.ecn) counters_.add(Counter::tcp_ecn_opens);
  if (tcb.options->pacing) set_pacing(tcb, true);
  tcb.is.connected = true;
  arm_keepalive(tcb);
  tcb.handler->on_connected(handle_of(tcb));
  if (tcb.state == TcpState::established && tcb.is.fin_queued) enter(tcb, TcpState::fin_wait_1);
  if (tcb.queue.size() != 0 || tcb.is.fin_queued) mark_dirty(tcb);
}

// --- Ending --------------------------------------------------------------------------------------------------

void Tcp::detach(Tcb& tcb) noexcept {
  leave_half_open(tcb);
  if (tcb.is.fast_open_pending) --fast_open_pending_;
  tcb.is.fast_open_pending = false;
  timers_.cancel(tcb);
  tcb.rto_deadline = tcb.ack_deadline = tcb.idle_deadline = TimePoint::never();
  tcb.queue.clear();
  forget_segments(tcb);
}

void Tcp::forget_segments(Tcb& tcb) noexcept {
  tcb.board.clear(sent_, disorder_of(tcb));
  if (Disturbance* const own = disturbance_of(tcb)) own->out_of_order.clear(out_of_order_);
}

/// Its slot, and what else it had; nothing points at it any more.
void Tcp::release(Tcb& tcb) noexcept {
  if (tcb.extras != Slab<ConnExtras>::nil) {
    if (extras_[tcb.extras].model != Slab<PathModel>::nil) models_.erase(extras_[tcb.extras].model);
    extras_.erase(tcb.extras);
  }
  if (!tcb.key.is_v4()) v6_addresses_.erase(tcb.key.v6_index());
  if (Disturbance* const own = disturbance_of(tcb)) disturbances_.erase(disturbances_.index_of(*own));
  tcbs_.erase(tcbs_.index_of(tcb));
}

void Tcp::finish(Tcb& tcb, CloseReason reason) noexcept {
  const FlowKey key = key_of(tcb);
  remove_flow(key, hash_of(key), tcbs_.index_of(tcb));
  end(tcb, reason);
}

void Tcp::end(Tcb& tcb, CloseReason reason) noexcept {
  detach(tcb);
  counters_.add(Counter::tcp_closed);
  if (!tcb.is.connected) counters_.add(Counter::tcp_attempt_fails);
  const bool told = tcb.is.active_open || tcb.is.connected;  // a passive half-open one was never shown
  tcb.state = TcpState::closed;
  note(tcb, FlightEvent::closed, static_cast<std::uint8_t>(reason));
  if (told) tcb.handler->on_closed(handle_of(tcb), reason);
  tcb.is.defunct = true;
  ++defunct_count_;
  mark_dirty(tcb);  // the next flush frees the slot: whoever called us may still look at it
}

void Tcp::enter_time_wait(Tcb& tcb) noexcept {
  counters_.add(Counter::tcp_time_wait);
  if (time_wait_.full()) {
    counters_.add(Counter::tcp_time_wait_overflow);
    const std::uint32_t oldest = time_wait_.oldest();
    remove_flow(time_wait_[oldest].key, time_wait_[oldest].hash, oldest | time_wait_tag);
    time_wait_.remove(oldest);
  }
  TimeWait entry;
  entry.key = key_of(tcb);
  entry.hash = hash_of(entry.key);
  entry.snd_nxt = tcb.snd.max;
  entry.rcv_nxt = tcb.rcv.nxt;
  entry.ts_recent = tcb.ts_recent;
  entry.ts_offset = tcb.ts_offset;
  entry.timestamps = tcb.is.timestamps;
  entry.window = advertise(tcb);
  entry.ttl = tcb.options->ttl;
  entry.tos = tcb.tos;
  entry.route = tcb.route;
  entry.expiry = now_ + options_.msl * 2;
  BareSegment ack{.key = entry.key, .seq = tcb.snd.max, .ack = tcb.rcv.nxt, .flags = {TcpFlags::ack},
                  .window = entry.window, .ttl = entry.ttl, .tos = entry.tos};
  if (entry.timestamps) ack.options = timestamp_option(now_ms() + entry.ts_offset, entry.ts_recent);
  flows_.erase(entry.hash, tcbs_.index_of(tcb));  // its local port stays taken
  const std::uint32_t index = time_wait_.add(entry);
  add_flow(entry.key, entry.hash, index | time_wait_tag);
  if (tcb.is.ack_now || tcb.is.ack_pending) send_bare(ack, time_wait_[index].route);
  end(tcb, CloseReason::normal);  // last: a handler that connects again finds the ports in TIME-WAIT
}

bool Tcp::owns(const FlowKey& key, bool opens, SeqNum seq, SeqNum ack) noexcept {
  const std::uint32_t ref = find_flow(key, hash_of(key));
  if (ref != HashIndex::not_found) return (ref & time_wait_tag) == 0 || !opens;
  const Listener* const listener = opens ? nullptr : find_listener(key.local, key.local_port);
  return listener != nullptr && now_ < listener->cookies_until && cookies_.check(key, seq - 1, ack - 1, now_).has_value();
}

void Tcp::start_drain() noexcept {
  POLLUX_CHECK(ip_.owner().is_here(), "start_drain(): called on another core than the stack's");
  draining_ = true;
  tcbs_.for_each([this](std::uint32_t, Tcb& tcb) {
    if (tcb.state == TcpState::syn_received && !tcb.is.active_open) {
      send_reset(tcb);
      finish(tcb, CloseReason::stack_stopped);
    }
  });
}

void Tcp::abort_all(TimePoint now) noexcept {
  POLLUX_CHECK(ip_.owner().is_here(), "abort_all(): called on another core than the stack's");
  set_now(now);
  tcbs_.for_each([this](std::uint32_t, Tcb& tcb) {
    if (tcb.is.defunct) return;
    send_reset(tcb);
    finish(tcb, CloseReason::stack_stopped);
  });
}

void Tcp::on_charge_released(ChargeLedger& ledger, SlabHandle owner, std::uint32_t octets) noexcept {
  Tcp& tcp = *static_cast<Ledger&>(ledger).tcp;
  Tcb* tcb = tcp.find(owner);
  if (tcb == nullptr || tcb->state == TcpState::closed) return;
  POLLUX_DCHECK(tcb->rcv.kept >= octets);
  tcb->rcv.kept -= octets;
  tcp.consider_window_update(*tcb);
}

}  // namespace pollux
