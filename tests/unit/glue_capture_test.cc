// Captures without a device: the file's octets, and how a dropped packet's reason is told. tests/kernel reads
// real ones.
#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <vector>

#include "pollux/drivers_glue/capture.h"
#include "pollux/drivers_glue/capture_file.h"

namespace pollux {
namespace {

std::uint32_t u32(std::span<const std::uint8_t> data, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, &data[at], sizeof value);
  return value;
}

/// Type and total length of each block; checks that both lengths agree.
std::vector<std::pair<std::uint32_t, std::size_t>> blocks(std::span<const std::uint8_t> data) {
  std::vector<std::pair<std::uint32_t, std::size_t>> all;
  while (!data.empty()) {
    const std::uint32_t length = u32(data, 4);
    EXPECT_EQ(length % 4, 0u);
    EXPECT_EQ(u32(data, length - 4), length);
    all.emplace_back(u32(data, 0), length);
    data = data.subspan(length);
  }
  return all;
}

TEST(Pcapng, IsASectionInterfacesAndPackets) {
  const std::vector<std::string> ports = {"net_tap0", "0000:01:00.0"};
  PcapngWriter writer("Pollux", ports, 2048);
  const std::size_t head = writer.data().size();
  const std::vector<std::uint8_t> octets = {1, 2, 3, 4, 5};
  writer.add(1, 0x123456789abcdef0, octets, 1500, PcapngWriter::Direction::in, "dropped: x: y");
  writer.add(0, 1, octets, 5, PcapngWriter::Direction::out, "");
  const auto all = blocks(writer.data());
  ASSERT_EQ(all.size(), 5u);
  EXPECT_EQ(all[0].first, 0x0a0d0d0au);
  EXPECT_EQ(all[1].first, 1u);
  EXPECT_EQ(all[2].first, 1u);
  EXPECT_EQ(all[3].first, 6u);
  const auto packet = writer.data().subspan(head);
  EXPECT_EQ(u32(packet, 8), 1u) << "interface";
  EXPECT_EQ(u32(packet, 12), 0x12345678u);
  EXPECT_EQ(u32(packet, 16), 0x9abcdef0u);
  EXPECT_EQ(u32(packet, 20), 5u) << "captured";
  EXPECT_EQ(u32(packet, 24), 1500u) << "on the wire";
  EXPECT_EQ(packet[32], 5) << "the last octet, then padding";
  EXPECT_EQ(u32(packet, 36), 0x00040002u) << "option 2, 4 octets";
  EXPECT_EQ(u32(packet, 40), 1u) << "inbound";
  EXPECT_EQ(std::memcmp(&packet[48], "dropped: x: y", 13), 0);
  EXPECT_EQ(all[3].second - all[4].second, 20u) << "no comment, no option";
}

TEST(InputDrop, IsTheReasonThatGrewAndConcernsTheReceivedPacket) {
  Counters before;
  before.drop(DropReason::udp_no_socket, 3);
  Counters after = before;
  EXPECT_EQ(input_drop(before, after), DropReason::none);
  after.drop(DropReason::tx_batch_full);
  after.drop(DropReason::icmp_rate_limited);
  EXPECT_EQ(input_drop(before, after), DropReason::none) << "the answer was dropped, not the question";
  after.drop(DropReason::udp_no_socket);
  EXPECT_EQ(input_drop(before, after), DropReason::udp_no_socket);
}

}  // namespace
}  // namespace pollux
