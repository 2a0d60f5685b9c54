#include "ip_host.h"

#include <numeric>
#include <utility>

#include "pollux/wire/udp.h"

namespace pollux::test {
namespace {

void append(Frame& to, const Frame& more) {
  to.insert(to.end(), more.begin(), more.end());
}

}  // namespace

Frame ipv4_frame(const Ipv4Spec& spec) {
  Frame frame(EthernetFields::size + Ipv4Fields::size);
  EthernetFields{.destination = spec.mac_destination, .source = peer_mac, .type = EtherType::ipv4}.emit(
      frame.data());
  const std::size_t header_length = Ipv4Fields::size + spec.options.size();
  Ipv4Fields{.tos = spec.tos,
             .total_length = static_cast<std::uint16_t>(header_length + spec.payload.size()),
             .ttl = spec.ttl,
             .protocol = spec.protocol,
             .source = spec.source,
             .destination = spec.destination}
      .emit(&frame[EthernetFields::size]);
  append(frame, spec.options);
  std::uint8_t* const ip = &frame[EthernetFields::size];
  ip[0] = static_cast<std::uint8_t>(0x40 | header_length / 4);
  if (spec.spoil) spec.spoil(ip);
  store_be16(ip + 10, 0);
  ChecksumSum sum;
  sum.add({ip, header_length});
  store_be16(ip + 10, sum.finish());
  append(frame, spec.payload);
  return frame;
}

Frame icmp_message(Icmpv4Type type, std::uint8_t code, std::uint32_t rest, const Frame& body) {
  Frame message(Icmpv4Fields::size);
  Icmpv4Fields{.type = type, .code = code, .rest = rest}.emit(message.data());
  append(message, body);
  ChecksumSum sum;
  sum.add(message);
  store_be16(&message[2], sum.finish());
  return message;
}

Frame icmp_frame(Icmpv4Type type, std::uint8_t code, std::uint32_t rest, const Frame& body) {
  return ipv4_frame({.protocol = 1, .payload = icmp_message(type, code, rest, body)});
}

Frame udp_datagram(const Endpoint& source, const Endpoint& destination, const Frame& payload, bool checksum) {
  Frame datagram(UdpFields::size);
  const auto length = static_cast<std::uint16_t>(UdpFields::size + payload.size());
  UdpFields{.source_port = source.port, .destination_port = destination.port, .length = length}.emit(
      datagram.data());
  append(datagram, payload);
  if (checksum) {
    ChecksumSum sum;
    sum.add(datagram);
    sum.add_pseudo_header(source.address, destination.address, 17, length);
    store_be16(&datagram[6], sum.finish() == 0 ? 0xffff : sum.finish());
  }
  return datagram;
}

Frame udp_frame(const Endpoint& source, const Endpoint& destination, const Frame& payload) {
  return ipv4_frame({.source = source.address,
                     .destination = destination.address,
                     .protocol = 17,
                     .payload = udp_datagram(source, destination, payload)});
}

Frame arp_frame(const ArpFields& arp, const MacAddress& mac_destination) {
  Frame frame(60);  // padded, as on the wire
  EthernetFields{.destination = mac_destination, .source = arp.sender_mac, .type = EtherType::arp}.emit(
      frame.data());
  arp.emit(&frame[EthernetFields::size]);
  return frame;
}

Frame arp_request(const MacAddress& mac, const IpAddress& from, const IpAddress& target) {
  return arp_frame(
      {.operation = ArpOperation::request, .sender_mac = mac, .sender_ip = from, .target_ip = target},
      MacAddress::broadcast());
}

Frame arp_reply(const MacAddress& mac, const IpAddress& from) {
  return arp_frame({.operation = ArpOperation::reply,
                    .sender_mac = mac,
                    .sender_ip = from,
                    .target_mac = our_mac,
                    .target_ip = our_ip},
                   our_mac);
}

Frame pattern(std::size_t size) {
  Frame bytes(size);
  std::iota(bytes.begin(), bytes.end(), std::uint8_t{0});
  return bytes;
}

EthernetView ethernet_of(const Frame& frame) {
  const auto view = EthernetView::parse(frame);
  EXPECT_TRUE(view.has_value());
  return view.value();
}

ArpView arp_of(const Frame& frame) {
  EXPECT_EQ(ethernet_of(frame).type(), EtherType::arp);
  const auto view = ArpView::parse(ByteView(frame).subspan(EthernetView::header_size));
  EXPECT_TRUE(view.has_value());
  return view.value();
}

Ipv4View ipv4_of(const Frame& frame) {
  EXPECT_EQ(ethernet_of(frame).type(), EtherType::ipv4);
  const ByteView bytes = ByteView(frame).subspan(EthernetView::header_size);
  const auto view = Ipv4View::parse(bytes, bytes.size(), false);
  EXPECT_TRUE(view.has_value());
  EXPECT_EQ(view.value().total_length(), bytes.size());
  return view.value();
}

Frame ip_payload_of(const Frame& frame) {
  const auto header_length =
      static_cast<std::ptrdiff_t>(EthernetView::header_size + ipv4_of(frame).header_length());
  return Frame(frame.begin() + header_length, frame.end());
}

IpHost::IpHost(const IpOptions& options, const InterfaceConfig& port)
    : ip(options, heap.pool(), rng) {
  const auto id = ip.add_interface(port, now);
  EXPECT_TRUE(id.has_value()) << (id ? "" : id.error().text);
  run_for(Duration::from_s(3));  // both announcements
  (void)sent();
  counters = {};
}

bool IpHost::input_split(const Frame& frame, const std::vector<std::size_t>& sizes) {
  Packet whole;
  std::size_t at = 0;
  for (std::size_t i = 0; i <= sizes.size(); ++i) {
    const std::size_t n = i < sizes.size() ? sizes[i] : frame.size() - at;
    Packet piece = heap.exact_copy_of(ByteView(frame).subspan(at, n));
    at += n;
    if (!whole)
      whole = std::move(piece);
    else
      EXPECT_TRUE(whole.chain(piece));
  }
  return input(std::move(whole));
}

std::vector<SentFrame> IpHost::sent(InterfaceId id) {
  std::vector<SentFrame> frames;
  TxBatch& tx = ip.tx(id);
  for (rte_mbuf* m : tx.pending()) {
    Packet packet(m);
    Frame bytes(packet.size());
    packet.copy_out(0, bytes);
    frames.push_back({.bytes = std::move(bytes),
                      .ol_flags = m->ol_flags,
                      .vlan_tci = m->vlan_tci,
                      .l2_len = static_cast<std::uint32_t>(m->l2_len),
                      .l3_len = static_cast<std::uint32_t>(m->l3_len),
                      .l4_len = static_cast<std::uint32_t>(m->l4_len),
                      .segments = m->nb_segs,
                      .buffer = m->buf_addr});
  }
  tx.consume(tx.size());
  return frames;
}

void IpHost::run_for(Duration duration) {
  const TimePoint end = now + duration;
  while (ip.next_deadline() <= end) {
    now = std::max(now + TimerWheel::tick, ip.next_deadline());
    ip.advance(now);
  }
  now = std::max(now, end);
  ip.advance(now);
}

void IpHost::make_reachable(const IpAddress& address, const MacAddress& mac) {
  EXPECT_EQ(send(address, pattern(8)), DropReason::none);
  EXPECT_FALSE(input(arp_reply(mac, address)));
  EXPECT_EQ(state_of(address), NeighborState::reachable);
  (void)sent();
}

DropReason IpHost::send(const IpAddress& destination, const Frame& payload, std::uint8_t protocol) {
  RouteCache cache;
  return ip.send(packet_of(payload), {.source = our_ip, .destination = destination, .protocol = protocol},
                 cache, now);
}

NeighborState IpHost::state_of(const IpAddress& address) {
  const std::uint32_t index = ip.neighbors().find(0, address);
  EXPECT_NE(index, NeighborTable::nil) << address.to_string() << " is not in the table";
  return index == NeighborTable::nil ? NeighborState::failed : ip.neighbors()[index].state;
}

Packet IpHost::packet_of(const Frame& bytes) {
  Packet packet = heap.pool().alloc();
  if (packet && !bytes.empty())
    std::copy(bytes.begin(), bytes.end(), packet.push_back(static_cast<std::uint32_t>(bytes.size())));
  return packet;
}

}  // namespace pollux::test
