#include "stack_peer.h"

#include <algorithm>
#include <cstdio>
#include <utility>

namespace pollux::fuzz {
namespace {

using test::Decoded;
using test::Frame;

const MacAddress stack_mac{{0x02, 0, 0, 0, 0, 0x0a}};
const MacAddress peer_mac{{0x02, 0, 0, 0, 0, 0x0b}};
const IpAddress stack_ip = IpAddress::v4(192, 0, 2, 2);
const IpAddress peer_ip = IpAddress::v4(192, 0, 2, 1);

const IpAddress stack_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2);
const IpAddress peer_v6 = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);

/// The peer's ports tell the family of a flow.
constexpr std::uint16_t v6_ports = StackPeer::v6_ports;
bool is_v6(std::uint16_t remote_port) noexcept { return remote_port / 1000 == v6_ports / 1000; }

/// Nothing, a few octets, some segments, or far away.
std::uint32_t offset(std::uint8_t choice) noexcept {
  const int n = static_cast<std::int8_t>(choice);
  const int size = n < 0 ? -n : n;
  const int far = size <= 60 ? size : size <= 100 ? 60 + (size - 60) * 97 : (size - 100) * 0x3000000;
  return static_cast<std::uint32_t>(n < 0 ? -far : far);
}

std::vector<std::uint8_t> pattern(std::uint32_t seq, std::size_t length) {
  std::vector<std::uint8_t> octets(length);
  for (auto& octet : octets) octet = StackPeer::payload_octet(seq++);
  return octets;
}

void append_be32(std::vector<std::uint8_t>& to, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) to.push_back(static_cast<std::uint8_t>(value >> shift));
}

std::vector<std::uint8_t> timestamp(std::uint32_t value, std::uint32_t echo) {
  std::vector<std::uint8_t> octets{1, 1, 8, 10};
  append_be32(octets, value);
  append_be32(octets, echo);
  return octets;
}

std::vector<std::uint8_t> options(Reader& in, std::uint8_t kind, const Flow& flow, std::uint32_t ts_clock) {
  switch (kind) {
    case 1:
      return timestamp(ts_clock, flow.ts_value);
    case 2: {  // a usual SYN
      std::vector<std::uint8_t> octets{2, 4, 0x05, 0xb4, 1, 3, 3, 7};
      const auto stamp = timestamp(ts_clock, 0);
      octets.insert(octets.end(), stamp.begin(), stamp.end());
      return octets;
    }
    case 3:  // a SYN without timestamps, with an MSS and a scale of any size
      return {2, 4, in.u8(), in.u8(), 1, 3, 3, in.u8()};
    case 4: {
      const auto raw = in.bytes(in.u8() % 41);
      return {raw.begin(), raw.end()};
    }
    case 5:
      return timestamp(ts_clock + offset(in.u8()), flow.ts_value + offset(in.u8()));
    default:
      return {};
  }
}

}  // namespace

const test::LinkIds StackPeer::to_stack{
    .source_mac = peer_mac, .destination_mac = stack_mac, .source = peer_ip, .destination = stack_ip};

const test::LinkIds StackPeer::to_stack_v6{
    .source_mac = peer_mac, .destination_mac = stack_mac, .source = peer_v6, .destination = stack_v6};

void SentStreams::append(std::uint16_t local_port, std::uint16_t remote_port, std::uint64_t connection,
                         std::span<const std::uint8_t> octets) {
  Stream& stream = streams_[{local_port, remote_port}];
  if (stream.connection != connection) stream = {connection, {}};
  stream.octets.insert(stream.octets.end(), octets.begin(), octets.end());
}

bool SentStreams::holds(std::uint16_t local_port, std::uint16_t remote_port, std::uint32_t offset,
                        std::span<const std::uint8_t> octets) const {
  const auto stream = streams_.find({local_port, remote_port});
  if (stream == streams_.end() || stream->second.octets.size() < std::size_t{offset} + octets.size())
    return false;
  return std::ranges::equal(std::span(stream->second.octets).subspan(offset, octets.size()), octets);
}

Flow& StackPeer::flow(std::uint16_t local_port, std::uint16_t remote_port) {
  const auto known = std::ranges::find_if(
      flows_, [&](const Flow& f) { return f.local_port == local_port && f.remote_port == remote_port; });
  if (known != flows_.end()) return *known;
  Flow fresh{.local_port = local_port, .remote_port = remote_port};
  fresh.wanted = 0xfffffff0u;  // sequence numbers wrap early
  if (flows_.size() < flows_max) return flows_.emplace_back(fresh);
  return flows_[oldest_++ % flows_max] = fresh;
}

Flow& StackPeer::choose_flow(std::uint8_t selector) {
  if (selector < 128 && !flows_.empty()) return flows_[selector % flows_.size()];
  constexpr std::uint16_t ports[] = {7, 9, 7, 81};  // nobody listens on 81
  return flow(ports[selector & 3], static_cast<std::uint16_t>((v6_ ? v6_ports : 40000) + (selector >> 2 & 7)));
}

void StackPeer::observe(test::FrameView frame) {
  POLLUX_CHECK(frame.size() <= std::size_t{mtu} + 14, "the stack sent a frame of %zu octets", frame.size());
  const Decoded d = test::decode(frame);
  POLLUX_CHECK(d.problem.empty(), "the stack sent: %s (%s)", test::describe(frame).c_str(),
               d.problem.c_str());
  if (d.kind == Decoded::Kind::tcp) observe_tcp(d);
  if (d.kind == Decoded::Kind::icmpv6 && d.icmp_type == 135 && d.nd_target == peer_v6)
    answers_.push_back(test::nd_frame(to_stack_v6, 136, 0x60, peer_v6, peer_mac));
  if (d.kind == Decoded::Kind::arp && d.arp_op == test::ArpOp::request && d.ids.destination == peer_ip)
    answers_.push_back(test::arp_frame(to_stack, test::ArpOp::reply));
}

void StackPeer::observe_tcp(const Decoded& d) {
  Flow& f = flow(d.source_port, d.destination_port);
  if (d.ts_value) f.ts_value = *d.ts_value;
  // A RST's numbers are those of the segment that it answers.
  if (d.has(test::RST)) return;
  if (d.has(test::ACK)) f.wanted = d.ack;
  const std::uint32_t end = d.seq + d.seq_length();
  if (d.has(test::SYN) && (!f.syn_seen || f.isn != d.seq)) {
    f.syn_seen = true;
    f.isn = d.seq;
    f.next = end;
  }
  if (static_cast<std::int32_t>(end - f.next) > 0) f.next = end;
  if (!f.syn_seen || d.payload.empty()) return;
  const std::uint32_t offset = d.seq + (d.has(test::SYN) ? 1 : 0) - (f.isn + 1);
  POLLUX_CHECK(sent_.holds(d.source_port, d.destination_port, offset, d.payload),
               "%zu octets at %u of the stream are not what the application sent", d.payload.size(), offset);
}

Frame StackPeer::tcp_segment(Reader& in) {
  Flow& f = choose_flow(in.u8());
  const std::uint8_t shape = in.u8();
  const bool same_ack = (shape & 0x08) != 0;  // as in the segment before: a duplicate
  ts_clock_ += 1;
  test::TcpHeader header{.source_port = f.remote_port,
                         .destination_port = f.local_port,
                         .seq = f.wanted + offset(in.u8()),
                         .ack = (same_ack ? f.acknowledged : f.next) + offset(in.u8()),
                         .flags = in.u8(),
                         .window = in.u16()};
  header.options = options(in, shape & 7, f, ts_clock_);
  if ((header.flags & test::URG) != 0) header.urgent_pointer = in.u16();
  header.bad_checksum = (shape & 0x70) == 0x70;
  f.acknowledged = header.ack;
  std::size_t length = in.u8();
  if ((shape & 0x80) != 0) length = std::min<std::size_t>(length * 8, 1460 - header.options.size());
  const std::uint32_t first = header.seq + ((header.flags & test::SYN) != 0 ? 1 : 0);
  return test::tcp_frame(is_v6(f.remote_port) ? to_stack_v6 : to_stack, header, pattern(first, length));
}

Frame StackPeer::udp_datagram(Reader& in) {
  constexpr std::uint16_t ports[] = {7, 9, 53, 0};
  const std::uint8_t choice = in.u8();
  const auto source_port = static_cast<std::uint16_t>(40000 + (choice >> 2 & 3));
  return test::udp_frame(ids(), source_port, ports[choice & 3], in.bytes(in.u8()),
                         (choice & 0xf0) == 0xf0);
}

Frame StackPeer::icmp_echo(Reader& in) {
  const std::uint32_t rest = in.u32();
  return v6_ ? test::icmpv6_frame(ids(), 128, 0, rest, in.bytes(in.u8()))
             : test::icmp_frame(ids(), 8, 0, rest, in.bytes(in.u8()));
}

Frame StackPeer::icmp_error(Reader& in) {
  const Flow& f = choose_flow(in.u8());
  const std::uint8_t type = in.u8();
  const std::uint8_t code = in.u8();
  const std::uint32_t rest = in.u16();
  const std::uint8_t how = in.u8();
  const bool v6 = is_v6(f.remote_port);
  const test::LinkIds from_stack{.source_mac = stack_mac,
                                 .destination_mac = peer_mac,
                                 .source = v6 ? stack_v6 : stack_ip,
                                 .destination = v6 ? peer_v6 : peer_ip};
  const Frame quoted = (how & 1) != 0 ? test::udp_frame(from_stack, 7, f.remote_port, {})
                                      : test::tcp_frame(from_stack,
                                                        {.source_port = f.local_port,
                                                         .destination_port = f.remote_port,
                                                         .seq = f.next - 1 + offset(in.u8()),
                                                         .flags = test::ACK},
                                                        {});
  const std::size_t cut = std::min<std::size_t>(quoted.size() - 14, std::size_t{v6 ? 40u : 20u} + 8 + (how >> 1));
  if (v6) return test::icmpv6_frame(to_stack_v6, type, code, rest, test::FrameView(quoted).subspan(14, cut));
  return test::icmp_frame(to_stack, type, code, rest, test::FrameView(quoted).subspan(14, cut));
}

Frame StackPeer::router_advertisement(Reader& in) {
  test::LinkIds ids = to_stack_v6;
  ids.source = IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, in.u8());
  ids.destination = v6_all_nodes;
  ids.destination_mac = group_mac(v6_all_nodes);
  const std::uint32_t rest = in.u16();  // the router's lifetime
  Frame body(8);
  const auto options = in.bytes(in.u8());
  body.insert(body.end(), options.begin(), options.end());
  return test::icmpv6_frame(ids, 134, 0, rest, body, 255);
}

Frame StackPeer::neighbor_discovery(Reader& in) {
  const std::uint8_t how = in.u8();
  if (how == 0xff) return router_advertisement(in);
  test::LinkIds ids = to_stack_v6;
  IpAddress target = (how & 1) != 0 ? peer_v6 : stack_v6;
  if ((how & 2) != 0) ids.source = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, in.u8());
  if ((how & 4) != 0) ids.source = v6_unspecified;
  if ((how & 8) != 0) ids.destination = target.solicited_node();
  if ((how & 16) != 0) target = IpAddress::v6(0x2001, 0xdb8, 0, 0, 0, 0, 0, in.u8());
  MacAddress mac = peer_mac;
  if ((how & 32) != 0) mac.octets[in.u8() % 6] = in.u8();
  if (ids.destination.is_multicast()) ids.destination_mac = group_mac(ids.destination);
  const auto type = static_cast<std::uint8_t>((how & 1) != 0 ? 136 : 135);
  return test::nd_frame(ids, type, in.u8(), target, (how & 64) != 0 ? std::nullopt : std::optional(mac),
                        (how & 128) != 0 ? in.u8() : 255);
}

Frame StackPeer::arp(Reader& in) {
  if (v6_) return neighbor_discovery(in);
  const std::uint8_t how = in.u8();
  test::LinkIds ids = to_stack;
  if ((how & 2) != 0) ids.source = IpAddress::v4(192, 0, 2, in.u8());
  if ((how & 4) != 0) ids.source_mac.octets[in.u8() % 6] = in.u8();
  if ((how & 8) != 0) ids.destination = IpAddress::v4(192, 0, 2, in.u8());
  return test::arp_frame(ids, (how & 1) != 0 ? test::ArpOp::reply : test::ArpOp::request);
}

Frame StackPeer::ip_packet(Reader& in) {
  const std::uint8_t how = in.u8();
  const std::uint8_t protocol = in.u8();
  if (protocol == test::proto_tcp || v6_) note_forgery();  // an extension header may lead to TCP
  if (v6_) {
    test::Ipv6Header header{.hop_limit = in.u8()};
    const auto octets = in.bytes(in.u8());
    header.extensions.assign(octets.begin(), octets.end());
    header.first_header = in.u8();
    return test::ipv6_frame(to_stack_v6, protocol, in.bytes(in.u8()), header);
  }
  test::LinkIds ids = to_stack;
  if ((how & 1) != 0) ids.source = IpAddress::v4(in.u32());
  if ((how & 2) != 0) ids.destination = IpAddress::v4(in.u32());
  test::Ipv4Header header;
  if ((how & 4) != 0) header.fragment = in.u16();
  if ((how & 8) != 0) {
    const auto octets = in.bytes(in.u8() % 11 * 4);
    header.options.assign(octets.begin(), octets.end());
    header.options.resize((header.options.size() + 3) / 4 * 4);
  }
  if ((how & 16) != 0) header.ttl = in.u8();
  return test::ipv4_frame(ids, protocol, in.bytes(in.u8()), header);
}

Frame StackPeer::fragment(Reader& in) {
  const std::uint8_t which = in.u8();
  const auto id = static_cast<std::uint16_t>(which & 3);
  const std::uint32_t offset = in.u8() * 8u;
  const std::size_t length = in.u8() * 8u + ((which & 4) != 0 ? 0 : which >> 5);
  Frame body(200u + 300u * id, 'f');
  Frame whole = id == 3 ? (v6_ ? test::icmpv6_frame(to_stack_v6, 128, 0, 1, body) : test::icmp_frame(to_stack, 8, 0, 1, body))
                        : test::udp_frame(ids(), 40001, 7, body);
  const std::size_t headers = 14 + (v6_ ? 40 : 20);
  const std::uint8_t protocol = whole[v6_ ? 20 : 23];
  whole.erase(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(headers));
  const std::size_t from = std::min<std::size_t>(offset, whole.size());
  const std::size_t to = std::min(from + length, whole.size());
  const bool more = (which & 8) != 0 ? (which & 16) != 0 : to < whole.size();
  const test::FrameView piece = test::FrameView(whole).subspan(from, to - from);
  if (!v6_)
    return test::ipv4_frame(to_stack, protocol, piece,
                            {.id = id, .fragment = static_cast<std::uint16_t>((more ? 0x2000u : 0) | offset / 8)});
  Frame extension = {protocol, 0, static_cast<std::uint8_t>(offset >> 8), static_cast<std::uint8_t>(offset | (more ? 1u : 0u)),
                     0, 0, 0, static_cast<std::uint8_t>(id)};
  return test::ipv6_frame(to_stack_v6, protocol, piece, {.extensions = extension, .first_header = 44});
}

}  // namespace pollux::fuzz
