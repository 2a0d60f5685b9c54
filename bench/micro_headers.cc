// Parsing and writing the headers that every TCP segment carries.
#include <benchmark/benchmark.h>

#include <array>

#include "pollux/wire/ethernet.h"
#include "pollux/wire/ipv4.h"
#include "pollux/wire/tcp.h"

namespace pollux {
namespace {

constexpr std::size_t ip_at = EthernetFields::size;
constexpr std::size_t tcp_at = ip_at + Ipv4Fields::size;

TcpFields data_segment() {
  TcpFields tcp;
  tcp.source_port = 40000;
  tcp.destination_port = 7;
  tcp.sequence = SeqNum(1000);
  tcp.acknowledgment = SeqNum(2000);
  tcp.flags.bits = TcpFlags::ack | TcpFlags::psh;
  tcp.window = 500;
  tcp.options.has_timestamp = true;
  tcp.options.ts_value = 1;
  tcp.options.ts_echo = 2;
  return tcp;
}

struct Frame {
  Frame() {
    EthernetFields{.destination = {{2, 0, 0, 0, 0, 1}}, .source = {{2, 0, 0, 0, 0, 2}}}.emit(octets.data());
    Ipv4Fields{.total_length = 20 + 32 + 64,
               .protocol = 6,
               .source = IpAddress::v4(192, 0, 2, 1),
               .destination = IpAddress::v4(192, 0, 2, 2)}
        .emit(octets.data() + ip_at);
    data_segment().emit(octets.data() + tcp_at);
  }
  std::array<std::uint8_t, ip_at + 20 + 32 + 64> octets{};
};

void ParseHeaders(benchmark::State& state) {
  Frame frame;
  for (auto _ : state) {
    benchmark::DoNotOptimize(frame.octets.data());
    benchmark::ClobberMemory();
    const auto ethernet = EthernetView::parse(frame.octets);
    const ByteView body = ByteView(frame.octets).subspan(ip_at);
    const auto ip = Ipv4View::parse(body, body.size(), false);
    const auto tcp = TcpView::parse(body.subspan(ip->header_length()));
    std::uint32_t sum = static_cast<std::uint32_t>(ethernet->type()) + tcp->sequence().value();
    if (tcp->has_only_timestamp()) sum += tcp->fast_ts_value();
    benchmark::DoNotOptimize(sum);
  }
}
BENCHMARK(ParseHeaders);

void ParseSynOptions(benchmark::State& state) {
  TcpOptionValues syn;
  syn.has_mss = syn.has_window_scale = syn.has_timestamp = syn.sack_permitted = true;
  syn.mss = 1460;
  std::array<std::uint8_t, 40> out{};
  const std::size_t n = syn.emit(out.data());
  for (auto _ : state) {
    benchmark::DoNotOptimize(out.data());
    benchmark::ClobberMemory();
    benchmark::DoNotOptimize(TcpOptionValues::parse({out.data(), n}));
  }
}
BENCHMARK(ParseSynOptions);

void EmitHeaders(benchmark::State& state) {
  const EthernetFields ethernet{.destination = {{2, 0, 0, 0, 0, 1}}, .source = {{2, 0, 0, 0, 0, 2}}};
  Ipv4Fields ip{.total_length = 20 + 32 + 64,
                .protocol = 6,
                .source = IpAddress::v4(192, 0, 2, 1),
                .destination = IpAddress::v4(192, 0, 2, 2)};
  TcpFields tcp = data_segment();
  std::array<std::uint8_t, 128> out{};
  for (auto _ : state) {
    ++ip.identification;
    tcp.sequence += 64;
    ethernet.emit(out.data());
    ip.emit(out.data() + ip_at);
    benchmark::DoNotOptimize(tcp.emit(out.data() + tcp_at));
    benchmark::ClobberMemory();
  }
}
BENCHMARK(EmitHeaders);

}  // namespace
}  // namespace pollux
