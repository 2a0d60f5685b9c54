#include "pollux/packet/bytes.h"

namespace pollux {

std::string Bytes::to_string() const {
  std::string text;
  text.reserve(size());
  for_each_piece([&text](std::span<const std::uint8_t> piece) {
    text.append(reinterpret_cast<const char*>(piece.data()), piece.size());
  });
  return text;
}

void Bytes::remove_prefix(std::uint32_t n) noexcept {
  if (n == size()) return reset();  // gives the buffer back too
  const std::uint32_t mbufs = packet_.segment_count();
  packet_.pull_front(n);
  release_charge(n, mbufs - packet_.segment_count());
}

void Bytes::truncate(std::uint32_t n) noexcept {
  if (n == 0) return reset();
  const std::uint32_t cut = size() - n;
  const std::uint32_t mbufs = packet_.segment_count();
  packet_.trim_to(n);
  release_charge(cut, mbufs - packet_.segment_count());
}

Bytes Bytes::split_front(PacketPool& pool, std::uint32_t n) noexcept {
  if (n == 0) return Bytes();
  if (n == size()) return std::move(*this);
  const std::uint32_t mbufs = packet_.segment_count();
  Packet front = pool.split_front(packet_, n);
  if (!front) return Bytes();
  if (ledger_ != nullptr) ledger_->mbufs += front.segment_count() + packet_.segment_count() - mbufs;  // of a cut through one
  return Bytes(std::move(front), ledger_, owner_);
}

}  // namespace pollux
