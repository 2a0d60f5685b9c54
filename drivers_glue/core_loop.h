// CoreLoop: what one polling core does over and over. A turn is rx -> input -> advance -> flush -> tx for
// every port, with one clock reading that the caller passes in; between turns the idle policy says how to
// wait.
#pragma once

#include <rte_mbuf.h>

#include <algorithm>
#include <array>
#include <concepts>
#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "pollux/drivers_glue/config.h"
#include "pollux/drivers_glue/telemetry_loop.h"
#include "pollux/stack/stack.h"

namespace pollux {

/// A queue pair of a port, or a test's stand-in for one.
template <typename P>
concept BurstPort = requires(P port, rte_mbuf** packets, std::uint16_t n) {
  /// Fills packets[0..n) with received frames, which now belong to the caller; returns how many.
  { port.rx_burst(packets, n) } noexcept -> std::same_as<std::uint16_t>;
  /// Takes ownership of the first packets; returns how many. The rest stays with the caller.
  { port.tx_burst(packets, n) } noexcept -> std::same_as<std::uint16_t>;
};

/// Stands between the loop and the stack's input while packets are captured.
class InputTap {
 public:
  /// Gives the burst to `stack`, as the loop would.
  virtual void input(Stack& stack, InterfaceId interface, std::span<rte_mbuf* const> burst,
                     TimePoint now) noexcept = 0;

 protected:
  ~InputTap() = default;
};

struct IdleOptions {
  IdlePolicy policy = IdlePolicy::adaptive;
  std::uint32_t polls = 1000;  ///< empty turns before the first sleep
  Duration sleep_max = Duration::from_ms(1);
  bool woken = false;  ///< every port's packets end a sleep, so that it may be long (adaptive)
};

/// What to do between two turns.
struct IdleStep {
  enum class Kind : std::uint8_t { spin, pause, sleep } kind = Kind::spin;
  Duration sleep;  ///< of Kind::sleep
};

/// Drives one Stack over its ports; port i is the stack's interface i. Owned and called by one core only.
template <BurstPort Port>
class CoreLoop {
 public:
  static constexpr std::uint16_t burst_max = 32;
  /// Timers wait for at most so many turns whose bursts were all full: 8,192 packets.
  static constexpr std::uint32_t turns_without_timers_max = 256;
  /// Sleeps shorter than this cost more than they save.
  static constexpr Duration sleep_min = Duration::from_us(2);
  /// IdlePolicy::adaptive: empty turns without a pause; the first sleep, each following one twice as long, where packets
  /// do not end it; the longest where they do.
  static constexpr std::uint32_t spin_turns = 64;
  static constexpr Duration sleep_first = Duration::from_us(10);
  /// Turns that are timed by stage after a long one.
  static constexpr std::uint32_t timed_turns_after_long = 65'536;
  static constexpr Duration woken_sleep_max = Duration::from_ms(500);

  using Tick = std::function<void(Stack&, TimePoint now)>;

  /// `stack` must outlive the loop and have as many ports.
  CoreLoop(Stack& stack, std::vector<Port> ports, const IdleOptions& idle)
      : stack_(stack), ports_(std::move(ports)), idle_(idle) {
    POLLUX_CHECK(stack.port_count() == ports_.size(), "the stack has %zu ports, the loop %zu",
                 stack.port_count(), ports_.size());
  }

  /// Calls `tick` from run_ticks() about every `period` (> 0), first one period after `now`. Ticks that were
  /// missed are not made up for.
  void add_tick(Duration period, Tick tick, TimePoint now) {
    ticks_.push_back({period, now + period, std::move(tick)});
  }

  /// One turn at `now`. True when a packet came or went.
  bool turn(TimePoint now) noexcept {
    const auto took_ns = static_cast<std::uint64_t>((now - turn_began_).ns());
    turn_began_ = now;
    if (took_ns >= account_from_ns_) [[unlikely]] account(now, took_ns);
    const bool busy = --turns_to_timed_ == 0 ? timed_stages(now) : stages(now, NoWatch());
    if (busy) {
      empty_turns_ = 0;
      next_sleep_ = sleep_first;
    } else {
      ++counters_.idle_turns;
      ++empty_turns_;
      if (stack_.has_external_sends()) [[unlikely]] reap();
    }
    return busy;
  }

  /// Calls the ticks that are due. Not noexcept: what a tick throws ends the loop.
  void run_ticks(TimePoint now) {
    for (auto& tick : ticks_) {
      if (now < tick.next) continue;
      tick.next = std::max(tick.next + tick.period, now);
      tick.call(stack_, now);
    }
  }

  /// What the idle policy says after a turn at `now`.
  IdleStep idle_step(TimePoint now) noexcept {
    if (empty_turns_ == 0 || idle_.policy == IdlePolicy::spin) return {IdleStep::Kind::spin, {}};
    if (idle_.policy == IdlePolicy::adaptive && empty_turns_ < std::min(spin_turns, idle_.polls))
      return {IdleStep::Kind::spin, {}};
    if (idle_.policy == IdlePolicy::pause || empty_turns_ < idle_.polls) return {IdleStep::Kind::pause, {}};
    const Duration wait = std::min(sleep_limit(), next_due() - now);
    if (wait < sleep_min || tx_waiting()) return {IdleStep::Kind::pause, {}};
    ++counters_.sleeps;
    return {IdleStep::Kind::sleep, wait};
  }
  /// When timers or ticks are due next.
  TimePoint next_due() const noexcept {
    TimePoint due = stack_.next_deadline();
    for (const auto& tick : ticks_) due = std::min(due, tick.next);
    return due;
  }
  /// True when another core left something, or a port has refused packets: this is no time to sleep.
  bool has_waiting() noexcept {
    if constexpr (requires(Port port) { port.has_waiting(); })
      for (const Port& port : ports_)
        if (port.has_waiting()) return true;
    return tx_waiting();
  }

  /// True when a port has refused packets that still wait.
  bool tx_waiting() noexcept {
    for (InterfaceId i = 0; i < ports_.size(); ++i)
      if (stack_.tx(i).size() != 0) return true;
    return false;
  }

  LoopCounters counters() const noexcept {
    LoopCounters counters = counters_;
    counters.turns = turns();
    counters.time_squeeze += stack_.timers_behind();
    return counters;
  }
  /// Busy turns that take longer are counted and recorded; 0: none.
  void set_long_turn(Duration limit) noexcept {
    long_turn_ns_ = limit <= Duration{} ? ~std::uint64_t{0} : static_cast<std::uint64_t>(limit.ns());
    account_from_ns_ = 0;  // until the next turn's account, which knows the new limit
  }
  /// Another way to wait, from now on.
  void set_idle(const IdleOptions& idle) noexcept {
    idle_ = idle;
    next_sleep_ = sleep_first;
  }
  /// From now on input passes through `tap`; nullptr: straight to the stack again.
  void set_tap(InputTap* tap) noexcept { tap_ = tap; }
  std::span<const Port> ports() const noexcept { return ports_; }

 private:
  struct TickEntry {
    Duration period;
    TimePoint next;
    Tick call;
  };

  /// Of those that have begun.
  std::uint64_t turns() const noexcept { return timed_turn_ - turns_to_timed_; }
  void time_turn(std::uint64_t number) noexcept {
    turns_to_timed_ = number - turns();
    timed_turn_ = number;
  }
  /// Apart, so that the other turns have the stages in line.
  [[gnu::noinline, gnu::cold]] bool timed_stages(TimePoint now) noexcept {
    const std::uint64_t turn = timed_turn_;
    const bool sampled = turn >= sampled_turn_;
    if (sampled) {
      sampled_turn_ = turn + LoopCounters::sample_every;
      // What the stages' time stamps cost is not to be in the account: it is the next turn's.
      sample_ = Sample::next_turn;
      account_from_ns_ = 0;
    }
    time_turn(turn < timed_until_turn_ ? turn + 1 : sampled_turn_);
    return stages(now, StageWatch(turn, sampled));
  }
  /// The turn that ends at `now` is a long one or a sample, or the one before a sample. Before the first turn there is none.
  [[gnu::noinline, gnu::cold]] void account(TimePoint now, std::uint64_t took_ns) noexcept {
    const bool sampled = sample_ == Sample::this_turn;
    sample_ = sample_ == Sample::next_turn ? Sample::this_turn : Sample::none;
    account_from_ns_ = sample_ == Sample::none ? std::min(LoopCounters::short_turn_ns, long_turn_ns_) : 0;
    if (turns() == 0) return;
    const bool busy = empty_turns_ == 0;
    if (took_ns >= LoopCounters::short_turn_ns)
      counters_.account(took_ns, 1, busy);
    else if (sampled)
      counters_.account(took_ns, LoopCounters::sample_every, busy);
    if (busy && took_ns > long_turn_ns_) note_long_turn(now, took_ns);
  }
  /// Long turns come in series: the next ones are timed, so that they can say what they were spent on.
  void note_long_turn(TimePoint now, std::uint64_t took_ns) noexcept {
    const std::uint8_t cause = counters_.cause_of_long_turn(turns());
    ++counters_.long_turns[cause];
    time_turn(turns() + 1);
    timed_until_turn_ = turns() + timed_turns_after_long;
    stack_.flight().record({.at = now,
                            .connection = {},
                            .detail = static_cast<std::uint32_t>(std::min<std::uint64_t>(took_ns / 1000, 0xffffffff)),
                            .event = FlightEvent::long_turn,
                            .code = cause});
  }

  template <typename Watch>
  bool stages(TimePoint now, Watch watch) noexcept {
    more_waits_ = false;
    bool busy = receive(now, watch);
    // What a timer waits for may lie behind a full burst, all the more after the thread stood still: it is heard first,
    // for some turns.
    if (!more_waits_ || ++turns_without_timers_ == turns_without_timers_max) {
      turns_without_timers_ = 0;
      stack_.advance(now);
    }
    watch.lap(LoopStage::advance);
    stack_.flush(now);
    watch.lap(LoopStage::flush);
    busy |= transmit();
    watch.lap(LoopStage::tx);
    watch.finish(counters_, busy);
    return busy;
  }

  template <typename Watch>
  bool receive(TimePoint now, Watch& watch) noexcept {
    bool any = false;
    for (InterfaceId i = 0; i < ports_.size(); ++i) {
      const std::uint16_t n = ports_[i].rx_burst(burst_.data(), burst_max);
      watch.lap(LoopStage::rx);
      if constexpr (requires { ports_[i].helped_others(); }) any |= ports_[i].helped_others();
      if (n == 0) continue;
      any = true;
      if (n == burst_max) {
        if (!more_waits_) ++counters_.time_squeeze;
        more_waits_ = true;
        ++counters_.rx_full;
      }
      if (tap_ == nullptr) [[likely]]
        stack_.input(i, {burst_.data(), n}, now);
      else
        tap_->input(stack_, i, {burst_.data(), n}, now);
      watch.lap(LoopStage::input);
    }
    return any;
  }

  /// The application waits for memory that a device may have read long ago.
  void reap() noexcept {
    if constexpr (requires(Port port) { port.reap(); })
      for (Port& port : ports_) port.reap();
  }

  bool transmit() noexcept {
    bool any = false;
    for (InterfaceId i = 0; i < ports_.size(); ++i) {
      TxBatch& batch = stack_.tx(i);
      if (batch.size() == 0) continue;
      const std::uint32_t sent = send_all(ports_[i], batch.pending());
      batch.consume(sent);
      any |= sent != 0;
      if (batch.size() != 0) [[unlikely]] ++counters_.tx_refused;
    }
    return any;
  }

  /// A driver may take less than it has room for (bursts of its own size), so ask until it takes nothing.
  static std::uint32_t send_all(Port& port, std::span<rte_mbuf*> packets) noexcept {
    std::uint32_t sent = 0;
    while (sent < packets.size()) {
      const std::uint16_t n =
          port.tx_burst(packets.data() + sent, static_cast<std::uint16_t>(packets.size() - sent));
      if (n == 0) break;
      sent += n;
    }
    return sent;
  }

  Duration sleep_limit() noexcept {
    if (idle_.policy != IdlePolicy::adaptive) return idle_.sleep_max;
    if (idle_.woken) return woken_sleep_max;
    const Duration limit = std::min(next_sleep_, idle_.sleep_max);
    next_sleep_ = std::min(next_sleep_ * 2, idle_.sleep_max);
    return limit;
  }

  Stack& stack_;
  std::vector<Port> ports_;
  IdleOptions idle_;
  InputTap* tap_ = nullptr;
  std::uint64_t long_turn_ns_ = ~std::uint64_t{0};
  TimePoint turn_began_;
  std::uint64_t account_from_ns_ = 0;  ///< turns that took so long, or longer, pass through account()
  std::uint64_t timed_turn_ = LoopCounters::sample_every;  ///< the next whose stages are timed, by number
  std::uint64_t turns_to_timed_ = timed_turn_;             ///< one subtraction counts a turn and finds the one to time
  std::uint64_t sampled_turn_ = LoopCounters::sample_every;
  std::uint64_t timed_until_turn_ = 0;
  std::uint64_t empty_turns_ = 0;
  Duration next_sleep_ = sleep_first;
  std::uint32_t turns_without_timers_ = 0;
  enum class Sample : std::uint8_t { none, next_turn, this_turn } sample_ = Sample::none;
  bool more_waits_ = false;  // a port gave a full burst in this turn
  LoopCounters counters_;
  std::vector<TickEntry> ticks_;
  std::array<rte_mbuf*, burst_max> burst_;
};

}  // namespace pollux
