// Chooses the local port of an active open in constant time, however many are taken. A few random tries do while a
// destination has ports to spare (RFC 6056 3.3.1). When they fail, its free ports are written down once, in a bitmap
// that is kept up to date from then on; finding one there takes three bit scans.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/base/hash_index.h"
#include "pollux/base/rng.h"
#include "pollux/base/slab.h"
#include "pollux/tcp/local_ports.h"

namespace pollux {

/// One core's. A destination here is a connection's 4-tuple without the local port.
class PortSelector {
 public:
  static constexpr std::uint32_t tries_max = 8;          ///< at random, before a destination gets a bitmap
  static constexpr std::uint32_t destinations_max = 64;  ///< with a bitmap; then the one first made gives way

  /// `ports` and `rng` must outlive it.
  PortSelector(const LocalPorts& ports, Rng& rng);
  ~PortSelector();

  /// A port for `key` (its local_port is ignored) for which is_taken(FlowKey) is false; 0 when all are taken. Allocates
  /// when a destination's ports run low.
  template <typename IsTaken>
  std::uint16_t pick(FlowKey key, IsTaken&& is_taken) {
    if (ports_.count() == 0) return 0;
    const std::uint32_t known = find(key);
    if (known != Slab<Destination>::nil) return take_free(destinations_[known]);
    for (std::uint32_t i = 0; i < tries_max; ++i) {
      key.local_port = ports_.port(key, rng_.below(ports_.count()));
      if (key.local_port != 0 && !is_taken(key)) return key.local_port;
    }
    Destination& made = make(key);
    for (std::uint32_t i = 0; i < ports_.count(); ++i) {
      key.local_port = ports_.port(key, i);
      if (key.local_port != 0 && !is_taken(key)) set_free(made, i);
    }
    return take_free(made);
  }

  /// Connections that come and go, whoever opened them.
  void taken(const FlowKey& key) noexcept {
    if (destinations_.size() != 0) [[unlikely]]
      note(key, false);
  }
  void freed(const FlowKey& key) noexcept {
    if (destinations_.size() != 0) [[unlikely]]
      note(key, true);
  }
  bool leads_here(const FlowKey& key) const noexcept { return ports_.leads_here(key); }
  std::uint32_t count() const noexcept { return ports_.count(); }
  /// Destinations with a bitmap.
  std::uint32_t destinations() const noexcept { return destinations_.size(); }

 private:
  struct Destination {
    FlowKey key;
    std::uint32_t hash = 0;
    std::uint32_t free_count = 0;
    std::vector<std::uint64_t> free;     // a bit per number
    std::vector<std::uint64_t> summary;  // a bit per word of `free` that is not zero
  };

  static FlowKey without_port(FlowKey key) noexcept {
    key.local_port = 0;
    return key;
  }
  std::uint32_t find(const FlowKey& key) const noexcept;
  Destination& make(const FlowKey& key);
  void forget(std::uint32_t index) noexcept;
  void note(const FlowKey& key, bool is_free) noexcept;
  static void set_free(Destination& destination, std::uint32_t i) noexcept;
  static void set_taken(Destination& destination, std::uint32_t i) noexcept;
  std::uint16_t take_free(Destination& destination) noexcept;

  const LocalPorts& ports_;
  Rng& rng_;
  std::uint32_t next_victim_ = 0;
  Slab<Destination> destinations_{destinations_max};
  HashIndex index_{destinations_max};
};

}  // namespace pollux
