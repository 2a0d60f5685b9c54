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
/// wide.
class TurnHistogram {
 public:
  static constexpr unsigned linear_bits = 2;
  static constexpr unsigned value_bits = 64;
  static constexpr std::size_t buckets = (value_bits - linear_bits + 1) << linear_bits;

  /// A turn that stands for `weight`.
  void record(std::uint64_t ns, std::uint64_t weight = 1) noexcept {
    counts_[bucket_of(ns)] += weight;
    if (ns > max_ns_) max_ns_ = ns;
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

/// Plain numbers of the owning core; copied into snapshots. A turn of some hundred nanoseconds would pay dearly for an
/// account of its own, and one that serves many packets would not notice. So turns of `short_turn_ns` or longer are all in
/// the times and the histogram, and one in `sample_every` of the shorter ones is, standing for that many.
struct LoopCounters {
  /// Not a divisor of any pattern that a load may have: every second turn busy, say.
  static constexpr std::uint64_t sample_every = 509;
  static constexpr std::uint64_t short_turn_ns = 4096;

  std::uint64_t turns = 0;
  std::uint64_t idle_turns = 0;  ///< turns that neither received nor sent
  std::uint64_t sleeps = 0;
  std::uint64_t rx_full = 0;        ///< bursts as large as allowed: more may have waited
  std::uint64_t time_squeeze = 0;   ///< budgets of packets or of timers that were used up
  std::uint64_t tx_refused = 0;     ///< turns in which a port did not take all packets
  std::uint64_t busy_ns = 0;        ///< time in turns that received or sent, application callbacks included; see above
  std::uint64_t idle_ns = 0;        ///< time in other turns, pauses and sleeps included; see above
  std::uint64_t sampled_turns = 0;  ///< busy turns whose stages were timed
  std::array<std::uint64_t, loop_stages> sampled_cycles{};  ///< of those, by stage (time stamp counter)
  TurnHistogram busy_turns;                                 ///< how long busy turns took; see above
  std::array<std::uint64_t, long_turn_causes> long_turns{};  ///< busy turns beyond the threshold, by what took longest

  /// The latest turn whose stages were timed.
  struct Timed {
    std::uint64_t turn = 0;
    std::array<std::uint64_t, loop_stages> cycles{};
    std::uint64_t end = 0;  ///< time stamp counter
  } timed;

  /// A turn of `ns` is over that stands for `weight`.
  void account(std::uint64_t ns, std::uint64_t weight, bool busy) noexcept {
    (busy ? busy_ns : idle_ns) += ns * weight;
    if (busy) busy_turns.record(ns, weight);
  }

  /// What took longest in turn number `turn`, which ends now.
  std::uint8_t cause_of_long_turn(std::uint64_t turn) const noexcept {
    if (timed.turn != turn) return long_turn_untimed;
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
};

/// Times the stages of one turn.
class StageWatch {
 public:
  /// `turn`: its number. `sampled`: it was due for the sums, whatever became of the last ones.
  StageWatch(std::uint64_t turn, bool sampled) noexcept : last_(rte_rdtsc()), turn_(turn), sampled_(sampled) {}
  /// The time since the last call, or the beginning, belongs to `stage`.
  void lap(LoopStage stage) noexcept {
    const std::uint64_t tsc = rte_rdtsc();
    cycles_[static_cast<std::size_t>(stage)] += tsc - last_;
    last_ = tsc;
  }
  void finish(LoopCounters& counters, bool busy) noexcept {
    counters.timed = {turn_, cycles_, last_};
    if (!busy || !sampled_) return;
    ++counters.sampled_turns;
    for (std::size_t i = 0; i < loop_stages; ++i) counters.sampled_cycles[i] += cycles_[i];
  }

 private:
  std::uint64_t last_;
  std::uint64_t turn_;
  bool sampled_;
  std::array<std::uint64_t, loop_stages> cycles_{};
};

/// Stands in where stages are not timed.
struct NoWatch {
  void lap(LoopStage) noexcept {}
  void finish(LoopCounters&, bool) noexcept {}
};

}  // namespace pollux
