#include "pollux/drivers_glue/capture_file.h"

#include <bit>
#include <cstring>

namespace pollux {
namespace {

// Block and option codes of the pcapng format (draft-ietf-opsawg-pcapng, 4 and 3.5).
constexpr std::uint32_t section_header = 0x0A0D0D0A;
constexpr std::uint32_t interface_description = 1;
constexpr std::uint32_t enhanced_packet = 6;
constexpr std::uint32_t byte_order_magic = 0x1A2B3C4D;
constexpr std::uint16_t end_of_options = 0;
constexpr std::uint16_t comment_option = 1;
constexpr std::uint16_t section_program = 4;
constexpr std::uint16_t interface_name = 2;
constexpr std::uint16_t time_resolution = 9;
constexpr std::uint16_t packet_flags = 2;
constexpr std::uint16_t link_ethernet = 1;

static_assert(std::endian::native ==
              std::endian::little);  // the file says so by its magic number, we do not swap

std::string_view as_text(const std::uint32_t& value) noexcept {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}

}  // namespace

PcapngWriter::PcapngWriter(std::string_view program, std::span<const std::string> ports,
                           std::uint32_t snap_length) {
  const std::size_t section = begin_block(section_header);
  u32(byte_order_magic);
  u16(1);  // version 1.0
  u16(0);
  u32(0xffffffff);  // length of the section: not known
  u32(0xffffffff);
  option(section_program, program);
  option(end_of_options, "");
  end_block(section);
  for (const std::string& port : ports) {
    const std::size_t interface = begin_block(interface_description);
    u16(link_ethernet);
    u16(0);
    u32(snap_length);
    option(interface_name, port);
    option(time_resolution, "\x09");  // 10^-9 s
    option(end_of_options, "");
    end_block(interface);
  }
}

void PcapngWriter::add(std::size_t port, std::uint64_t unix_ns, std::span<const std::uint8_t> captured,
                       std::uint32_t length, Direction direction, std::string_view comment) {
  const std::size_t packet = begin_block(enhanced_packet);
  u32(static_cast<std::uint32_t>(port));
  u32(static_cast<std::uint32_t>(unix_ns >> 32));
  u32(static_cast<std::uint32_t>(unix_ns));
  u32(static_cast<std::uint32_t>(captured.size()));
  u32(length);
  octets(captured);
  option(packet_flags, as_text(static_cast<std::uint32_t>(direction)));
  if (!comment.empty()) option(comment_option, comment);
  option(end_of_options, "");
  end_block(packet);
}

void PcapngWriter::u16(std::uint16_t value) {
  data_.push_back(static_cast<std::uint8_t>(value));
  data_.push_back(static_cast<std::uint8_t>(value >> 8));
}

void PcapngWriter::u32(std::uint32_t value) {
  u16(static_cast<std::uint16_t>(value));
  u16(static_cast<std::uint16_t>(value >> 16));
}

void PcapngWriter::octets(std::span<const std::uint8_t> bytes) {
  data_.insert(data_.end(), bytes.begin(), bytes.end());
  while (data_.size() % 4 != 0) data_.push_back(0);
}

void PcapngWriter::option(std::uint16_t code, std::string_view value) {
  u16(code);
  u16(static_cast<std::uint16_t>(value.size()));
  octets({reinterpret_cast<const std::uint8_t*>(value.data()), value.size()});
}

// A block says its length at both ends.
std::size_t PcapngWriter::begin_block(std::uint32_t type) {
  const std::size_t start = data_.size();
  u32(type);
  u32(0);
  return start;
}

void PcapngWriter::end_block(std::size_t start) {
  const auto length = static_cast<std::uint32_t>(data_.size() + 4 - start);
  u32(length);
  std::memcpy(&data_[start + 4], &length, sizeof length);
}

}  // namespace pollux
