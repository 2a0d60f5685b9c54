#include "pollux/drivers_glue/steered_ports.h"

#include <bit>

#include "pollux/base/check.h"

namespace pollux {
namespace {

constexpr std::uint16_t none = 0xffff;

/// By low `bits` of a hash, the port below 2^bits that has them; empty when two ports share some.
std::vector<std::uint16_t> places(unsigned bits) {
  const std::uint32_t size = 1u << bits;
  std::vector<std::uint16_t> place(size, none);
  for (std::uint32_t port = 0; port < size; ++port) {
    auto& entry = place[Steering::hash(static_cast<std::uint16_t>(port)) & (size - 1)];
    if (entry != none) return {};
    entry = static_cast<std::uint16_t>(port);
  }
  return place;
}

}  // namespace

SteeredPorts::SteeredPorts(const Steering& steering, std::uint16_t core, std::uint16_t first, std::uint16_t last)
    : steering_(steering), core_(core), first_(first), last_(last) {
  bits_ = static_cast<unsigned>(std::countr_zero(steering.buckets()));
  for (place_ = places(bits_); place_.empty(); place_ = places(bits_)) {  // 8 bits serve 128 buckets
    ++bits_;
    POLLUX_CHECK(bits_ < 16, "no block of ports has every hash");
  }
  mask_ = (1u << bits_) - 1;
  first_block_ = first >> bits_;
  blocks_ = (last >> bits_) - first_block_ + 1;
  rank_.assign(mask_ + 1, none);
  for (std::uint32_t low = 0; low <= mask_; ++low) {
    if (steering.fields().tcp_ports && steering.owner_of_bucket(low) != core) continue;
    rank_[low] = static_cast<std::uint16_t>(mine_.size());
    mine_.push_back(static_cast<std::uint16_t>(low));
  }
}

std::uint32_t SteeredPorts::rest(const FlowKey& key) const noexcept {
  return port_hash(static_cast<std::uint32_t>(Steering::fold(key.local) ^ Steering::fold(key.remote) ^ key.remote_port));
}

std::uint16_t SteeredPorts::port(const FlowKey& key, std::uint32_t i) const noexcept {
  const auto per_block = static_cast<std::uint32_t>(mine_.size());
  const std::uint32_t base = (first_block_ + i / per_block) << bits_;
  // The hash of all must end in this core's bits; what port and block add to it is free to choose.
  const std::uint32_t place = place_[(mine_[i % per_block] ^ rest(key) ^ port_hash(base)) & mask_];
  const std::uint32_t port = base | place;
  if (port < first_ || port > last_) return 0;  // the range begins or ends within a block
  if (!steering_.fields().tcp_ports) {
    FlowKey candidate = key;
    candidate.local_port = static_cast<std::uint16_t>(port);
    if (!leads_here(candidate)) return 0;  // addresses alone decide, and no port would help
  }
  return static_cast<std::uint16_t>(port);
}

std::uint32_t SteeredPorts::number(const FlowKey& key) const noexcept {
  if (key.local_port < first_ || key.local_port > last_) return count();
  const std::uint16_t rank = rank_[(rest(key) ^ port_hash(key.local_port)) & mask_];
  if (rank == none) return count();
  return ((key.local_port >> bits_) - first_block_) * static_cast<std::uint32_t>(mine_.size()) + rank;
}

bool SteeredPorts::leads_here(const FlowKey& key) const noexcept {
  return steering_.owner_of_flow(IpProtocol::tcp, {key.local, key.local_port}, {key.remote, key.remote_port}) == core_;
}

}  // namespace pollux
