// A pcapng file, as Wireshark and tshark read it: one interface a port, nanoseconds, direction and comment of
// a packet.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace pollux {

/// Gathers blocks in memory; whoever owns the file writes data() and clears it.
class PcapngWriter {
 public:
  enum class Direction : std::uint8_t { in = 1, out = 2 };

  /// Begins the file: section header and one interface description for each of `ports`, Ethernet.
  PcapngWriter(std::string_view program, std::span<const std::string> ports, std::uint32_t snap_length);

  /// Appends one packet of interface `port`: `octets` are its first ones, `length` what it had on the wire.
  /// An empty comment is left out.
  void add(std::size_t port, std::uint64_t unix_ns, std::span<const std::uint8_t> octets,
           std::uint32_t length, Direction direction, std::string_view comment);

  std::span<const std::uint8_t> data() const noexcept { return data_; }
  void clear() noexcept { data_.clear(); }

 private:
  void u16(std::uint16_t value);
  void u32(std::uint32_t value);
  void octets(std::span<const std::uint8_t> bytes);  // padded to a multiple of 4
  void option(std::uint16_t code, std::string_view value);
  std::size_t begin_block(std::uint32_t type);
  void end_block(std::size_t start);

  std::vector<std::uint8_t> data_;
};

}  // namespace pollux
