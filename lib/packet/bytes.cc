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
  packet_.pull_front(n);
  release_charge(n);
}

void Bytes::truncate(std::uint32_t n) noexcept {
  if (n == 0) return reset();
  const std::uint32_t cut = size() - n;
  packet_.trim_to(n);
  release_charge(cut);
}

Bytes Bytes::split_front(PacketPool& pool, std::uint32_t n) noexcept {
  if (n == 0) return Bytes();
  if (n == size()) return std::move(*this);
  Packet front = pool.split_front(packet_, n);
  return front ? Bytes(std::move(front), ledger_, owner_) : Bytes();
}

}  // namespace pollux
