// What a core loop counts about itself: turns, where their time goes, and how long they take.
#pragma once

#include <rte_cycles.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "pollux/base/time.h"

namespace pollux {

/// The steps of a turn, in their order.
enum class LoopStage : std::uint8_t { rx, input, advance, flush, tx, count_ };
inline constexpr std::size_t loop_stages = static_cast<std::size_t>(LoopStage::count_);
inline constexpr std::array<const char*, loop_stages> loop_stage_names = {"rx", "input", "advance", "flush",
                                                                          "tx"};

/// What a long turn was spent on, as FlightEvent::long_turn's code: a stage, or
inline constexpr std::uint8_t long_turn_between = loop_stages;       ///< what follows them: ticks, messages
inline constexpr std::uint8_t long_turn_untimed = loop_stages + 1;   ///< nobody knows: the stages were not timed
inline constexpr std::size_t long_turn_causes = loop_stages + 2;
inline constexpr std::array<const char*, long_turn_causes> long_turn_names = {"rx", "input",   "advance", "flush",
                                                                              "tx", "between", "untimed"};

/// How long turns took: log-linear buckets as HDR histograms have them, each at most a quarter of its values
/// wide, so that recording is a few instructions without a branch.
class TurnHistogram {
 public:
  static constexpr unsigned linear_bits = 2;
  static constexpr unsigned value_bits = 64;
  static constexpr std::size_t buckets = (value_bits - linear_bits + 1) << linear_bits;

  void record(std::uint64_t ns) noexcept {
    ++counts_[bucket_of(ns)];
    if (ns > max_ns_) [[unlikely]] max_ns_ = ns;
  }
  TurnHistogram& operator+=(const TurnHistogram& other) noexcept {
    for (std::size_t i = 0; i < buckets; ++i) counts_[i] += other.counts_[i];
    max_ns_ = std::max(max_ns_, other.max_ns_);
    return *this;
  }

  std::uint64_t count() const noexcept { return at_most(~std::uint64_t{0}); }
  std::uint64_t max_ns() const noexcept { return max_ns_; }
  /// Turns that took at most `ns`; exact where `ns` + 1 is a power of two.
  std::uint64_t at_most(std::uint64_t ns) const noexcept {
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < buckets && last_of(i) <= ns; ++i) sum += counts_[i];
    return sum;
  }
  /// What a share `q` (0..1) of the turns did not exceed, rounded up to its bucket's end; 0 when there were
  /// none.
  std::uint64_t quantile(double q) const noexcept {
    const auto wanted = std::max(q * static_cast<double>(count()), 1.0);
    std::uint64_t seen = 0;
    for (std::size_t i = 0; i < buckets; ++i) {
      seen += counts_[i];
      if (static_cast<double>(seen) >= wanted) return std::min(last_of(i), max_ns_);
    }
    return 0;
  }

 private:
  static constexpr std::uint64_t linear = std::uint64_t{1} << linear_bits;
  static constexpr std::size_t bucket_of(std::uint64_t value) noexcept {
    // The highest bit's place, as one instruction gives it.
    const unsigned shift = (static_cast<unsigned>(std::countl_zero(value | linear)) ^ 63) - linear_bits;
    return static_cast<std::size_t>(shift * linear + (value >> shift));
  }
  static constexpr std::uint64_t last_of(std::size_t bucket) noexcept {
    if (bucket < linear) return bucket;
    const auto shift = static_cast<unsigned>(bucket / linear - 1);
    return (((bucket % linear) + linear + 1) << shift) - 1;
  }

  std::array<std::uint64_t, buckets> counts_{};
  std::uint64_t max_ns_ = 0;
};

/// Plain numbers of the owning core; copied into snapshots.
struct LoopCounters {
  /// One turn in so many has its stages timed: a time stamp between stages costs as much as an empty turn.
  static constexpr std::uint64_t stage_sample_every = 64;

  std::uint64_t turns = 0;
  std::uint64_t idle_turns = 0;  ///< turns that neither received nor sent
  std::uint64_t sleeps = 0;
  std::uint64_t rx_full = 0;        ///< bursts as large as allowed: more may have waited
  std::uint64_t time_squeeze = 0;   ///< turns that ended with packets or timers left, their budget being used up
  std::uint64_t tx_refused = 0;     ///< turns in which a port did not take all packets
  std::uint64_t busy_ns = 0;        ///< time in turns that received or sent, application callbacks included
  std::uint64_t idle_ns = 0;        ///< time in other turns, pauses and sleeps included
  std::uint64_t sampled_turns = 0;  ///< busy turns whose stages were timed
  std::array<std::uint64_t, loop_stages> sampled_cycles{};  ///< of those, by stage (time stamp counter)
  TurnHistogram busy_turns;                                 ///< how long busy turns took
  std::array<std::uint64_t, long_turn_causes> long_turns{};  ///< busy turns beyond the threshold, by what took longest

  /// The latest turn whose stages were timed.
  struct Timed {
    std::uint64_t turn = 0;
    std::array<std::uint64_t, loop_stages> cycles{};
    std::uint64_t end = 0;  ///< time stamp counter
  } timed;

  /// Accounts for the turn that ends at `now`; before the first turn there is none. How long it took when it was busy.
  std::uint64_t end_turn(TimePoint now) noexcept {
    const auto ns = static_cast<std::uint64_t>((now - turn_began).ns());
    turn_began = now;
    if (turn_was_busy) {
      busy_ns += ns;
      busy_turns.record(ns);
      return ns;
    }
    if (turns != 0) idle_ns += ns;
    return 0;
  }

  /// What took longest in the turn that ends now, before the next one is counted.
  std::uint8_t cause_of_long_turn() const noexcept {
    if (timed.turn != turns) return long_turn_untimed;
    const auto longest = std::max_element(timed.cycles.begin(), timed.cycles.end());
    return rte_rdtsc() - timed.end > *longest ? long_turn_between
                                              : static_cast<std::uint8_t>(longest - timed.cycles.begin());
  }

  /// The part of the sampled turns' time that `stage` took, 0..1.
  double stage_share(LoopStage stage) const noexcept {
    std::uint64_t sum = 0;
    for (const auto cycles : sampled_cycles) sum += cycles;
    return sum == 0 ? 0
                    : static_cast<double>(sampled_cycles[static_cast<std::size_t>(stage)]) /
                          static_cast<double>(sum);
  }

  TimePoint turn_began;
  bool turn_was_busy = false;
};

/// Times the stages of one turn.
class StageWatch {
 public:
  StageWatch() noexcept : last_(rte_rdtsc()) {}
  /// The time since the last call, or the beginning, belongs to `stage`.
  void lap(LoopStage stage) noexcept {
    const std::uint64_t tsc = rte_rdtsc();
    cycles_[static_cast<std::size_t>(stage)] += tsc - last_;
    last_ = tsc;
  }
  void finish(LoopCounters& counters, bool busy) noexcept {
    counters.timed = {counters.turns, cycles_, last_};
    if (!busy || counters.turns % LoopCounters::stage_sample_every != 0) return;
    ++counters.sampled_turns;
    for (std::size_t i = 0; i < loop_stages; ++i) counters.sampled_cycles[i] += cycles_[i];
  }

 private:
  std::uint64_t last_;
  std::array<std::uint64_t, loop_stages> cycles_{};
};

/// Stands in where stages are not timed.
struct NoWatch {
  void lap(LoopStage) noexcept {}
  void finish(LoopCounters&, bool) noexcept {}
};

}  // namespace pollux
