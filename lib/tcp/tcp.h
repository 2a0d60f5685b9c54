// One core's TCP (RFC 9293): listeners, connections, TIME-WAIT, timers. The class is the table of contents; each
// group of private functions has a file of its own, named in the comment above it.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "pollux/base/counters.h"
#include "pollux/base/flight_recorder.h"
#include "pollux/base/hash_index.h"
#include "pollux/base/result.h"
#include "pollux/base/rng.h"
#include "pollux/base/siphash.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/ip/ip.h"
#include "pollux/packet/bytes.h"
#include "pollux/packet/compactor.h"
#include "pollux/tcp/conn.h"
#include "pollux/tcp/fast_open.h"
#include "pollux/tcp/info.h"
#include "pollux/tcp/local_ports.h"
#include "pollux/tcp/options.h"
#include "pollux/tcp/port_selector.h"
#include "pollux/tcp/segment.h"
#include "pollux/tcp/segment_burst.h"
#include "pollux/tcp/syn_cookie.h"
#include "pollux/tcp/tcb.h"
#include "pollux/tcp/time_wait.h"
#include "pollux/timer/timer_wheel.h"
#include "pollux/wire/icmp_error.h"

namespace pollux {

/// Secrets that peers must not learn. Draw them from the system's random source at start-up (Runtime does); fixed values
/// only in tests.
struct TcpSecrets {
  SipKey isn_key;         ///< RFC 6528
  SipKey syn_cookie_key;  ///< RFC 4987
  SipKey fast_open_key;   ///< RFC 7413
  std::uint64_t flow_hash_seed = 0;
};

/// What is wrong with connection options: the option's name and range. Null when nothing is.
const char* find_fault(const TcpConnOptions& options) noexcept;
/// Checks what an operator may set; the Error names the option and its range.
Result<void> check_options(const TcpOptions& options);

/// Not thread-safe: one core's. `Stack` drives it; applications call listen(), connect() and the handles.
/// `now` is what the last input(), advance() or flush() was given.
class Tcp {
 public:
  /// `local_ports`: for active opens; must outlive it. nullptr: the ephemeral range of `options`.
  Tcp(const TcpOptions& options, const TcpSecrets& secrets, Ip& ip, PacketPool pool, Rng& rng,
      FlightRecorder& flight, TimePoint now, const LocalPorts* local_ports = nullptr);
  ~Tcp();
  Tcp(const Tcp&) = delete;
  Tcp& operator=(const Tcp&) = delete;

  const Counters& counters() const noexcept { return counters_; }

  /// Opens a listener; `handler` must outlive it and every connection it accepts. Errors: port 0, address not
  /// ours, address and port already listened on, listeners_max reached, bad connection options.
  Result<TcpListener> listen(const TcpListenOptions& options, TcpHandler& handler);
  /// Starts a connection; on_connected or on_closed follows. send() may be called at once: it queues. Errors: no
  /// route, group destination (MUST-46), address not ours, local port taken or leading to another core, ports or
  /// connections exhausted.
  Result<TcpConn> connect(const TcpConnectOptions& options, TcpHandler& handler);

  /// The first step of change(): Errors as of check_options(), sizes of tables and the ephemeral ports that differ from
  /// those in force, too many different sets of connection options. Changes nothing that can be seen.
  Result<void> prepare(const TcpOptions& options);
  /// Takes over what prepare() has found good: new connections get these options, also those of listeners that were opened
  /// without options of their own. Open connections keep their TcpConnOptions; all else is for them too, from now on.
  void change(const TcpOptions& options);

  // --- For Stack ------------------------------------------------------------------------------------------
  /// Takes one packet of a burst. It is handled by process_burst(), or before then when the burst is long.
  void input(RxPacket packet, TimePoint now) noexcept;
  /// Handles what input() took: call it at the end of the burst.
  void process_burst() noexcept;
  /// An ICMP error that quotes one of our segments.
  DropReason icmp_error(const IcmpError& error, TimePoint now) noexcept;
  /// False: a segment, as it comes out of Ip::input(), of no connection and to no listener here.
  bool owns(const RxPacket& packet) noexcept;
  void advance(TimePoint now) noexcept;
  void flush(TimePoint now) noexcept;
  TimePoint next_deadline() const noexcept;
  void start_drain() noexcept;
  void abort_all(TimePoint now) noexcept;

  /// Connections that exist, TIME-WAIT not included.
  std::uint32_t connection_count() const noexcept { return tcbs_.size() - defunct_count_; }
  std::uint32_t time_wait_count() const noexcept { return time_wait_.size(); }

  // --- For operators (info.h); a core answers between two turns ---------------------------------------------
  /// Fills `out` with connections that match the scan's filter; returns how many. Call again until scan.done.
  std::size_t list(TcpScan& scan, std::span<TcpInfo> out) const noexcept;
  /// Fills `out` with listeners from slot `next_slot` on; fewer than out.size(): there are no more.
  std::size_t list_listeners(std::uint32_t& next_slot, std::span<TcpListenerInfo> out) const noexcept;
  TcpUsage usage() const noexcept;
  /// What was sent from the application's own memory and is not complete.
  ExternalSends& external() noexcept { return external_; }
  const ExternalSends& external() const noexcept { return external_; }
  /// Whether a segment with these numbers is for a connection of this stack, in TIME-WAIT or half-open perhaps, or completes
  /// a handshake that it answered by a cookie. `opens`: it is a SYN, which is for none in TIME-WAIT. Changes nothing; for a
  /// hand-over between two stacks that share addresses.
  bool owns(const FlowKey& key, bool opens, SeqNum seq, SeqNum ack) noexcept;
  /// The connection that a handle names, for calls on behalf of an operator.
  TcpConn conn(SlabHandle handle) noexcept { return {this, handle}; }

  /// Octets of memory one established connection takes while idle: its slot and its share of the flow table.
  static constexpr std::size_t idle_connection_bytes() noexcept { return Slab<Tcb>::slot_bytes() + 2 * 8; }

 private:
  friend class TcpConn;
  friend class TcpListener;

  struct Listener {
    IpAddress address;
    std::uint16_t port = 0;
    std::uint32_t backlog = 0;
    std::uint32_t half_open = 0;
    TcpHandler* handler = nullptr;
    const TcpConnOptions* conn = nullptr;
    bool has_own_options = false;
    TimePoint cookies_until;  ///< SYN cookies that were sent may come back until then
  };
  struct Ledger : ChargeLedger {
    Tcp* tcp = nullptr;
  };
  /// Fields of a segment that is sent without a connection's state: RSTs, TIME-WAIT's ACKs, SYN cookies.
  struct BareSegment {
    FlowKey key;
    SeqNum seq;
    SeqNum ack;
    TcpFlags flags;
    std::uint16_t window = 0;
    std::uint8_t ttl = 64;
    std::uint8_t tos = 0;
    TcpOptionValues options = {};
  };

  /// The segment sent latest among all that peers have acknowledged.
  struct NewestDelivery {
    TimePoint sent_at;
    TimePoint acked_at;
  };

  enum class Output : std::uint8_t { done, more, batch_full, no_mbuf };
  struct AckEvent;

  static constexpr std::uint32_t time_wait_tag = 0x80000000u;
  static constexpr std::uint32_t timers_per_advance = 1024;
  static constexpr std::uint32_t run_min = 2;  // below, a template does not pay
  static constexpr std::uint32_t segments_per_turn = 64;  // of one connection; then the next one's turn
  static constexpr std::size_t option_sets_max = 64;
  static constexpr std::uint32_t fast_open_servers_max = 256;  // whose cookies are kept

  // tcp.cc: life of listeners and connections
  static std::uint32_t port_hash(std::uint16_t port) noexcept { return port * 0x9e3779b1u; }
  Result<const TcpConnOptions*> intern(const TcpConnOptions& options);
  void forget_unused_options();
  std::uint32_t find_flow(const FlowKey& key, std::uint32_t hash) const noexcept;
  Listener* find_listener(const IpAddress& local, std::uint16_t port) noexcept;
  Listener* find_listener(SlabHandle handle) noexcept;
  Tcb* find(SlabHandle handle) noexcept;
  TcpConn handle_of(const Tcb& tcb) noexcept { return {this, tcbs_.handle(tcbs_.index_of(tcb))}; }
  FlowKey key_of(const Tcb& tcb) const noexcept {
    const StoredKey& key = tcb.key;
    if (key.is_v4()) return {key.v4_local(), key.v4_remote(), key.local_port, key.remote_port};
    const StoredKey::V6Addresses& addresses = v6_addresses_[key.v6_index()];
    return {addresses.local, addresses.remote, key.local_port, key.remote_port};
  }
  std::uint32_t hash_of(const FlowKey& key) const noexcept { return key.hash(secrets_.flow_hash_seed); }
  Tcb* create(const FlowKey& key, std::uint32_t hash, TcpHandler& handler, const TcpConnOptions& options) noexcept;
  void add_flow(const FlowKey& key, std::uint32_t hash, std::uint32_t ref) noexcept;
  void remove_flow(const FlowKey& key, std::uint32_t hash, std::uint32_t ref) noexcept;
  bool is_available(std::uint32_t ref, const TcpConnOptions& options) const noexcept;
  void replace_time_wait(Tcb& tcb, std::uint32_t index) noexcept;
  std::uint16_t pick_time_wait_port(const FlowKey& key, const TcpConnOptions& options) noexcept;
  SeqNum initial_sequence(const FlowKey& key, std::uint32_t& ts_offset) const noexcept;
  /// Takes the connection off the flow index and ends it.
  void finish(Tcb& tcb, CloseReason reason) noexcept;
  void end(Tcb& tcb, CloseReason reason) noexcept;  ///< its flow is off the index, or TIME-WAIT's by now
  void detach(Tcb& tcb) noexcept;
  void forget_segments(Tcb& tcb) noexcept;
  void release(Tcb& tcb) noexcept;
  void enter_time_wait(Tcb& tcb) noexcept;
  void leave_half_open(Tcb& tcb) noexcept;
  std::uint32_t initial_window(const Tcb& tcb) const noexcept;
  void established(Tcb& tcb) noexcept;
  static void on_charge_released(ChargeLedger& ledger, SlabHandle owner, std::uint32_t octets) noexcept;

  // conn.cc: the application's calls
  SendResult send(SlabHandle handle, Bytes& bytes) noexcept;
  SendResult send_copy(SlabHandle handle, std::span<const std::uint8_t> bytes) noexcept;
  SendResult send_external(SlabHandle handle, const ExternalMemory& memory, std::span<const std::uint8_t> bytes,
                           ExternalSend& send) noexcept;
  void shutdown_send(Tcb& tcb) noexcept;
  void close(SlabHandle handle) noexcept;
  void abort(SlabHandle handle, CloseReason reason) noexcept;
  std::uint32_t send_space(const Tcb& tcb) const noexcept;
  void close_listener(SlabHandle handle) noexcept;
  std::uint32_t send_limit(const Tcb& tcb) const noexcept;
  void note_overdraft(Tcb& tcb, std::uint32_t added) noexcept;
  bool is_writable(const Tcb& tcb) const noexcept;
  ConnExtras& extras_of(Tcb& tcb) noexcept;
  TcpConnOptions& own_options(Tcb& tcb) noexcept;

  // pmtu.cc: path MTU (RFC 1191, RFC 5927), black holes (RFC 4821)
  DropReason packet_too_big(Tcb& tcb, SeqNum quoted, std::uint32_t mtu) noexcept;
  void lower_mtu(Tcb& tcb, std::uint32_t size) noexcept;
  void consider_lower_mtu(Tcb& tcb) noexcept;
  void consider_full_mtu(Tcb& tcb) noexcept;
  void raise_mtu(Tcb& tcb, std::uint16_t mss) noexcept;
  std::uint16_t next_probe_mss(const Tcb& tcb) const noexcept;
  Output send_mtu_probe(Tcb& tcb, std::uint32_t budget, bool& sent) noexcept;
  void consider_mtu_probe(Tcb& tcb) noexcept;
  bool take_lost_mtu_probe(Tcb& tcb) noexcept;
  void forget_mtu_probe(Tcb& tcb, SeqNum again) noexcept;
  void end_search_if_done(Tcb& tcb) noexcept;

  // urgent.cc: the urgent mark (RFC 9293 3.8.5)
  SendResult send_urgent(SlabHandle handle, std::span<const std::uint8_t> bytes) noexcept;
  void stamp_urgent(Tcb& tcb, TcpFields& fields) noexcept;
  void take_urgent(Tcb& tcb, const Segment& seg) noexcept;
  bool deliver_up_to_mark(Tcb& tcb, Packet payload) noexcept;
  std::uint32_t urgent_remaining(const Tcb& tcb) const noexcept;

  // What the flight recorder is told
  void note(const Tcb& tcb, FlightEvent event, std::uint8_t code = 0, std::uint32_t detail = 0) noexcept {
    flight_.record({now_, tcbs_.handle(tcbs_.index_of(tcb)), detail, event, code});
  }
  void enter(Tcb& tcb, TcpState state) noexcept {
    tcb.state = state;
    note(tcb, FlightEvent::state, static_cast<std::uint8_t>(state));
  }

  // info.cc
  TcpInfo info(const Tcb& tcb) const noexcept;
  TcpInfo info(SlabHandle handle) const noexcept;
  void fill_data(TcpInfo& info, const Tcb& tcb) const noexcept;

  // input.cc: validation, demultiplexing, segments without a connection
  void process(SegmentBurst::Entry& entry) noexcept;
  DropReason parse(RxPacket& packet, FlowKey& key, Segment& seg, TcpOptionValues& options) noexcept;
  DropReason input_connection(Tcb& tcb, Segment& seg, const TcpOptionValues& options) noexcept;
  DropReason input_no_connection(const FlowKey& key, const Segment& seg) noexcept;
  DropReason reopen(Listener& listener, std::uint32_t index, const Segment& syn, const TcpOptionValues& options) noexcept;
  DropReason input_time_wait(std::uint32_t index, Segment& seg, const TcpOptionValues& options) noexcept;

  // handshake.cc: LISTEN, SYN-SENT, SYN-RECEIVED
  DropReason input_listen(Listener& listener, const FlowKey& key, std::uint32_t hash, Segment& seg,
                          const TcpOptionValues& options) noexcept;
  Tcb* accept(Listener& listener, const FlowKey& key, std::uint32_t hash, const RouteCache& route) noexcept;
  void take_syn(Tcb& tcb, const Segment& syn, const TcpOptionValues& options) noexcept;
  void send_syn_cookie(Listener& listener, const FlowKey& key, RouteCache& route, const Segment& syn,
                       const TcpOptionValues& options) noexcept;
  DropReason input_syn_cookie(Listener& listener, const FlowKey& key, std::uint32_t hash, Segment& seg) noexcept;
  DropReason input_syn_sent(Tcb& tcb, Segment& seg, const TcpOptionValues& options) noexcept;
  void apply_syn_options(Tcb& tcb, const Segment& seg, const TcpOptionValues& options) noexcept;
  std::uint16_t local_mss(bool v4, const RouteCache& route, const TcpConnOptions& options) const noexcept;
  static std::uint16_t syn_window(const TcpConnOptions& options) noexcept;
  static TcpOptionValues timestamp_option(std::uint32_t value, std::uint32_t echo) noexcept;
  static std::uint8_t receive_scale(const TcpConnOptions& options) noexcept;

  void take_handshake_ack(Tcb& tcb, SeqNum ack) noexcept;
  static std::uint16_t default_mss(bool v4) noexcept;

  // pacing.cc
  std::uint64_t pacing_rate(const Tcb& tcb) const noexcept;
  bool pacing_holds(Tcb& tcb, std::uint32_t octets) noexcept;
  void set_pacing(Tcb& tcb, bool on) noexcept;
  void on_pacing_timer(Tcb& tcb) noexcept;

  // path_model.cc: BBR
  void start_model(Tcb& tcb) noexcept;
  PathModel& model_of(const Tcb& tcb) noexcept { return models_[extras_[tcb.extras].model]; }
  const PathModel& model_of(const Tcb& tcb) const noexcept { return models_[extras_[tcb.extras].model]; }
  Output send_measured(Tcb& tcb, std::uint32_t length, bool fin) noexcept;
  void note_sent(Tcb& tcb, std::uint32_t index) noexcept;
  void note_losses(Tcb& tcb, std::uint32_t to_repair_before) noexcept;
  void tell_model(Tcb& tcb, const AckEvent& event) noexcept;
  void fill_model(TcpInfo& info, const Tcb& tcb) const noexcept;

  // ecn.cc: RFC 3168
  static bool takes_ecn(const TcpConnOptions& options) noexcept {
    return options.ecn != TcpEcn::off || options.congestion == TcpCongestion::dctcp;
  }
  static bool asks_for_ecn(const TcpConnOptions& options, const Segment& syn) noexcept;
  static void set_ecn_octet(Tcb& tcb) noexcept;
  static std::uint8_t data_tos(const Tcb& tcb) noexcept;
  static std::uint8_t capable(std::uint8_t tos) noexcept {
    return static_cast<std::uint8_t>(tos | static_cast<std::uint8_t>(EcnCodepoint::ect_0));
  }
  void take_handshake_mark(Tcb& tcb) noexcept;
  static bool agrees_to_ecn(const Segment& syn_ack) noexcept;
  void offer_ecn(Tcb& tcb, TcpFields& fields) noexcept;
  void take_congestion_mark(Tcb& tcb, const Segment& seg) noexcept;
  void take_dctcp_mark(Tcb& tcb, bool marked) noexcept;

  // fast_open.cc: RFC 7413
  std::uint32_t offer_fast_open(const Tcb& tcb, TcpFields& fields) const noexcept;
  void take_fast_open_answer(Tcb& tcb, const TcpOptionValues& options) noexcept;
  DropReason input_fast_open(Tcb& tcb, Segment& syn, const TcpOptionValues& options) noexcept;
  void confirm_fast_open(Tcb& tcb) noexcept;

  // established.cc: the numbered steps for synchronized states and SYN-RECEIVED
  static bool is_predicted(const Tcb& tcb, const Segment& seg) noexcept;
  DropReason fast_path(Tcb& tcb, Segment& seg) noexcept;
  DropReason established_input(Tcb& tcb, Segment& seg) noexcept;
  DropReason check_sequence(Tcb& tcb, Segment& seg) noexcept;
  DropReason check_reset(Tcb& tcb, const Segment& seg) noexcept;
  DropReason check_syn(Tcb& tcb, Segment& seg) noexcept;
  DropReason check_ack(Tcb& tcb, const Segment& seg) noexcept;
  DropReason process_text(Tcb& tcb, Segment& seg) noexcept;
  DropReason process_fin(Tcb& tcb) noexcept;
  void challenge(Tcb& tcb) noexcept;
  void note_received(Tcb& tcb) const noexcept {
    tcb.last_received_ms = now_ms();
    tcb.keepalives_sent = 0;
  }

  /// What one ACK tells.
  struct AckEvent {
    Delivery delivery;
    std::uint32_t acked = 0;  ///< octets by which SND.UNA advanced
    std::uint32_t needless = 0;  ///< segments sent again in this episode of loss that arrived twice (D-SACK)
    bool duplicate = false;   ///< RFC 5681 2
    bool dsack = false;
    bool ece = false;         ///< RFC 3168 6.1.2: the flight met congestion
  };

  // ack.cc: what an acceptable ACK changes (RFC 9293 3.10.7.4 fifth, RFC 6298)
  void update_window(Tcb& tcb, const Segment& seg) noexcept;
  void process_ack(Tcb& tcb, const Segment& seg) noexcept;
  void take_sacks(Tcb& tcb, const Segment& seg, AckEvent& event) noexcept;
  void sample_rtt(Tcb& tcb, const Segment& seg, const Delivery& delivery, bool dsack) noexcept;
  void sample_handshake_rtt(Tcb& tcb) noexcept;
  void note_busy(Tcb& tcb) const noexcept;
  void our_fin_acknowledged(Tcb& tcb) noexcept;

  // recovery.cc: loss detection and recovery (RFC 5681, 6582, 6675, 8985, 9937)
  /// The connection's own Disturbance; null while it has none.
  static Disturbance* disturbance_of(Tcb& tcb) noexcept {
    return tcb.is_undisturbed() ? nullptr : const_cast<Disturbance*>(tcb.disturbance);  // in disturbances_, which is not const
  }
  static Disorder* disorder_of(Tcb& tcb) noexcept { return tcb.is_undisturbed() ? nullptr : &disturbance_of(tcb)->disorder; }
  /// The same, made now if need be.
  Disturbance& disturb(Tcb& tcb) noexcept { return tcb.is_undisturbed() ? make_disturbance(tcb) : *disturbance_of(tcb); }
  Disturbance& make_disturbance(Tcb& tcb) noexcept;
  std::uint32_t next_lost(Tcb& tcb) noexcept {
    Disorder* const disorder = disorder_of(tcb);
    return disorder == nullptr ? Scoreboard::nil : tcb.board.next_lost(sent_, *disorder);
  }
  static CongestionControl new_controller(const Tcb& tcb) noexcept;
  static void note_new_data(Tcb& tcb, std::uint32_t octets) noexcept {
    if (Disturbance* const own = disturbance_of(tcb)) own->loss.prr.on_sent(octets);
  }
  void update_recovery(Tcb& tcb, AckEvent& event) noexcept;
  void update_disturbed(Tcb& tcb, AckEvent& event) noexcept;
  bool undo_if_needless(Tcb& tcb, const AckEvent& event) noexcept;
  void undo(Tcb& tcb) noexcept;
  void tell_congestion_control(Tcb& tcb, const AckEvent& event, std::uint32_t acked) noexcept;
  bool detect_loss(Tcb& tcb, AckEvent& event) noexcept;
  bool detect_loss_by_duplicates(Tcb& tcb, AckEvent& event) noexcept;
  void enter_recovery(Tcb& tcb, const AckEvent& event) noexcept;
  void reduce_window(Tcb& tcb, const AckEvent& event) noexcept;
  void enter_cwr(Tcb& tcb, const AckEvent& event) noexcept;
  void check_tail_probe(Tcb& tcb, const AckEvent& event) noexcept;
  void on_reordering_timeout(Tcb& tcb) noexcept;

  // receive.cc: delivery, out-of-order data, the window we advertise
  void deliver(Tcb& tcb, Packet payload) noexcept;
  Packet compacted(Packet payload) noexcept;
  static void note_segment_size(Tcb& tcb, const Segment& seg) noexcept;
  bool must_refuse_text(const Tcb& tcb) const noexcept;
  DropReason queue_out_of_order(Tcb& tcb, Segment& seg) noexcept;
  void note_duplicate(Tcb& tcb, const Segment& seg) noexcept;
  void tune_receive_buffer(Tcb& tcb) noexcept;
  std::uint32_t free_receive_space(const Tcb& tcb) const noexcept;
  std::uint32_t overdraft(const Tcb& tcb) const noexcept {
    return tcb.extras == Slab<ConnExtras>::nil ? 0 : extras_[tcb.extras].overdraft;
  }
  std::uint16_t advertise(Tcb& tcb) noexcept;
  void consider_window_update(Tcb& tcb) noexcept;

  // output.cc: what leaves, and when
  void mark_dirty(Tcb& tcb) noexcept;
  void check_pool() noexcept;
  void set_kept_max() noexcept { kept_max_ = options_.kept_packets_max != 0 ? options_.kept_packets_max : pool_.size() / 4; }
  Output output(Tcb& tcb) noexcept;
  Output output_first(Tcb& tcb) noexcept;
  Output send_owed_acks(Tcb& tcb) noexcept;
  void note_limit(Tcb& tcb) noexcept;
  Output output_repair(Tcb& tcb) noexcept;
  Output output_data(Tcb& tcb) noexcept;
  Output retransmit(Tcb& tcb, std::uint32_t index) noexcept;
  Output send_tail_probe(Tcb& tcb) noexcept;
  std::uint32_t sendable(Tcb& tcb, std::uint32_t budget, bool& fin) const noexcept;
  Output send_new(Tcb& tcb, std::uint32_t length, bool fin) noexcept;
  struct RunHeader;
  std::uint32_t run_length(const Tcb& tcb, std::uint32_t budget, std::uint32_t limit) noexcept;
  std::uint32_t send_run(Tcb& tcb, std::uint32_t count) noexcept;
  static void ask_for_cutting(Packet& packet, const RunHeader& header, const IpSend& send, std::uint16_t mss) noexcept;
  static void put_header(Packet& packet, const RunHeader& header, SeqNum sequence) noexcept;
  /// Whatever was sent carried the latest ACK.
  static void note_ack_sent(Tcb& tcb) noexcept {
    tcb.is.ack_now = tcb.is.ack_pending = false;
    tcb.rcv.unacked = 0;
    tcb.ack_deadline = TimePoint::never();
  }
  Output send_segment(Tcb& tcb, SeqNum seq, std::uint32_t length, bool fin) noexcept;
  Output send_empty(Tcb& tcb, SeqNum seq) noexcept;
  Output send_syn(Tcb& tcb) noexcept;
  void stamp(const Tcb& tcb, TcpFields& fields) const noexcept;
  void add_sacks(Tcb& tcb, TcpFields& fields) noexcept;
  Output transmit(Tcb& tcb, Packet packet, TcpFields& fields) noexcept;
  Output transmit_capable(Tcb& tcb, Packet packet, TcpFields& fields, bool first_data) noexcept;
  IpSend ip_send(const Tcb& tcb, std::uint8_t tos) const noexcept {
    if (!tcb.key.is_v4()) [[unlikely]] return ip_send_v6(tcb, tos);
    return {.source = tcb.key.v4_local(), .destination = tcb.key.v4_remote(),
            .protocol = static_cast<std::uint8_t>(IpProtocol::tcp), .ttl = tcb.options->ttl, .tos = tos};
  }
  IpSend ip_send_v6(const Tcb& tcb, std::uint8_t tos) const noexcept;
  inline Output hand_over(Tcb& tcb, Packet packet, const TcpFields& fields) noexcept;
  void finish_segment(Packet packet, const TcpFields& fields, const IpSend& send, RouteCache& route) noexcept;
  void send_bare(const BareSegment& segment, RouteCache& route) noexcept;
  void send_reset(Tcb& tcb) noexcept;

  // timers.cc
  void set_deadline(Tcb& tcb, TimePoint& deadline, TimePoint when) noexcept;
  [[gnu::always_inline]] inline bool has_expired_time_wait() const noexcept;
  [[gnu::cold]] void expire_time_wait() noexcept;
  void on_timer(Tcb& tcb) noexcept;
  void on_retransmission_timeout(Tcb& tcb) noexcept;
  void on_idle_timeout(Tcb& tcb) noexcept;
  void restart_rto(Tcb& tcb) noexcept;
  void watch_flight(Tcb& tcb) noexcept;
  TimePoint rto_expiry(const Tcb& tcb, TimePoint since) const noexcept;
  Duration answer_max(const Tcb& tcb) const noexcept;
  Duration answer_min() const noexcept { return options_.rto_min / 20; }
  static bool wants_tail_probe(const Tcb& tcb) noexcept;
  TimePoint tail_probe_time(const Tcb& tcb) const noexcept;
  void on_flight_timer(Tcb& tcb, TimePoint due) noexcept;
  bool path_is_slow(const Tcb& tcb) const noexcept;
  void on_retransmission_timer(Tcb& tcb, TimePoint due) noexcept;
  Duration current_rto(const Tcb& tcb) const noexcept;
  void arm_keepalive(Tcb& tcb) noexcept;
  RttLimits rtt_limits() const noexcept { return {options_.rto_initial, options_.rto_min, options_.rto_max}; }
  std::uint32_t now_ms() const noexcept { return now_ms_; }
  void set_now(TimePoint now) noexcept {
    if (now == now_) return;
    now_ = now;
    now_ms_ = static_cast<std::uint32_t>(now.ms());
  }

  TcpOptions options_;
  TcpSecrets secrets_;
  SynCookies cookies_;
  FastOpenCookies fast_open_cookies_;
  FastOpenCache fast_open_cache_;
  std::uint32_t fast_open_pending_ = 0;
  Ip& ip_;
  PacketPool pool_;
  Counters counters_;  // here and not the stack's: one instruction counts
  Rng& rng_;
  FlightRecorder& flight_;
  TimePoint now_;
  std::uint32_t now_ms_;

  ExternalSends external_;        // outlives the queues that hold what it counts
  SegmentBurst burst_;
  Slab<Tcb> tcbs_;
  Slab<StoredKey::V6Addresses> v6_addresses_;  // of connections
  Slab<ConnExtras> extras_;
  Slab<Disturbance> disturbances_;
  Slab<PathModel> models_;
  std::unique_ptr<SentRate[]> sent_rates_;  // beside the records of sent_; touched only with BBR
  std::uint32_t newest_lost_ = Scoreboard::nil;  // of the last detection that found a loss
  TimeWaitTable time_wait_;
  HashIndex flows_;               // refs: tcbs_ index, or time_wait_tag | time_wait_ index
  PlainPorts plain_ports_;
  PortSelector selector_;         // of local ports
  Slab<Listener> listeners_;
  HashIndex listener_index_;      // by port
  OutOfOrderSlab out_of_order_;
  SentSlab sent_;
  TimerWheel timers_;
  Ledger ledger_;
  Compactor compactor_;
  std::uint32_t kept_max_ = 0;    // mbufs that applications may keep before small deliveries are copied
  std::vector<std::unique_ptr<const TcpConnOptions>> option_sets_;
  const TcpConnOptions* prepared_ = nullptr;  // between prepare() and change()

  std::uint32_t dirty_head_ = Slab<Tcb>::nil;
  std::uint32_t dirty_tail_ = Slab<Tcb>::nil;
  std::uint32_t dirty_count_ = 0;
  std::uint32_t defunct_count_ = 0;
  std::array<NewestDelivery, interfaces_max> newest_delivery_{};  // by interface
  TimePoint blocked_until_;       // no mbufs: flush waits this long before it tries again
  TimePoint pool_checked_at_;
  bool timers_pending_ = false;   // the last advance() ran out of budget
  bool pool_low_ = false;         // below 1/8: a connection gets what it needs to go on, no more
  bool pool_starved_ = false;     // below 1/32: what is left is for ACKs, headers and the receive ring
  bool clones_low_ = false;       // below 1/4: what is kept is not copied together any more
  bool draining_ = false;
  std::int64_t challenge_second_ = -1;
  std::uint32_t challenges_this_second_ = 0;
};

}  // namespace pollux
