// The local ports from which a connection's answers reach one core, numbered so that any of them is found in constant
// time: the hash is linear, so in a block of ports whose low bits take every value each low half of a hash occurs
// exactly once.
#pragma once

#include <cstdint>
#include <vector>

#include "pollux/drivers_glue/steering.h"
#include "pollux/tcp/local_ports.h"

namespace pollux {

/// Immutable; one per core. `steering` must outlive it.
class SteeredPorts final : public LocalPorts {
 public:
  /// Of the range `first` to `last`, for `core`.
  SteeredPorts(const Steering& steering, std::uint16_t core, std::uint16_t first, std::uint16_t last);

  std::uint32_t count() const noexcept override { return blocks_ * static_cast<std::uint32_t>(mine_.size()); }
  std::uint16_t port(const FlowKey& key, std::uint32_t i) const noexcept override;
  std::uint32_t number(const FlowKey& key) const noexcept override;
  bool leads_here(const FlowKey& key) const noexcept override;

 private:
  /// The low bits of the hash of what `key` has besides its local port.
  std::uint32_t rest(const FlowKey& key) const noexcept;
  static std::uint32_t port_hash(std::uint32_t port) noexcept { return Steering::hash(static_cast<std::uint16_t>(port)); }

  const Steering& steering_;
  std::uint16_t core_;
  std::uint16_t first_;
  std::uint16_t last_;
  unsigned bits_ = 0;  // of a port that choose its place in a block
  std::uint32_t mask_ = 0;
  std::uint32_t first_block_ = 0;
  std::uint32_t blocks_ = 0;
  std::vector<std::uint16_t> place_;  // by the low bits of a hash: the only port in block 0 that has them
  std::vector<std::uint16_t> mine_;   // low bits of hashes that are this core's
  std::vector<std::uint16_t> rank_;   // where they stand in mine_
};

}  // namespace pollux
