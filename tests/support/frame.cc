#include "support/frame.h"

#include <algorithm>
#include <cstdio>

namespace pollux::test {
namespace {

void put16(Frame& out, std::uint32_t v) {
  out.push_back(static_cast<std::uint8_t>(v >> 8));
  out.push_back(static_cast<std::uint8_t>(v));
}
void put32(Frame& out, std::uint32_t v) {
  put16(out, v >> 16);
  put16(out, v & 0xffff);
}
void put(Frame& out, FrameView bytes) {
  out.insert(out.end(), bytes.begin(), bytes.end());
}
void poke16(Frame& out, std::size_t at, std::uint16_t v) {
  out[at] = static_cast<std::uint8_t>(v >> 8);
  out[at + 1] = static_cast<std::uint8_t>(v);
}
std::uint16_t get16(FrameView in, std::size_t at) {
  return static_cast<std::uint16_t>(in[at] << 8 | in[at + 1]);
}
std::uint32_t get32(FrameView in, std::size_t at) {
  return static_cast<std::uint32_t>(get16(in, at)) << 16 | get16(in, at + 2);
}

/// 4 or 16 octets.
FrameView ip_octets(const IpAddress& a) {
  return a.is_v4() ? FrameView(a.v4_octets(), 4) : FrameView(a.octets());
}

std::uint32_t pseudo_sum(const LinkIds& ids, std::uint8_t protocol, std::size_t length) {
  std::uint32_t sum = checksum_add(ip_octets(ids.source));
  sum = checksum_add(ip_octets(ids.destination), sum);
  return sum + protocol + static_cast<std::uint32_t>(length);
}

void put_ethernet(Frame& out, const MacAddress& to, const MacAddress& from, std::uint16_t type) {
  put(out, to.octets);
  put(out, from.octets);
  put16(out, type);
}

MacAddress mac_at(FrameView in, std::size_t at) {
  MacAddress mac;
  std::copy_n(in.begin() + static_cast<std::ptrdiff_t>(at), 6, mac.octets.begin());
  return mac;
}

std::string format(const char* text, auto... args) {
  char line[256];
  std::snprintf(line, sizeof line, text, args...);
  return line;
}

}  // namespace

std::uint32_t checksum_add(FrameView bytes, std::uint32_t sum) {
  std::uint64_t wide = sum;
  for (std::size_t i = 0; i + 1 < bytes.size(); i += 2) wide += get16(bytes, i);
  if (bytes.size() % 2 != 0) wide += static_cast<std::uint32_t>(bytes.back()) << 8;
  while (wide >> 16 != 0) wide = (wide & 0xffff) + (wide >> 16);
  return static_cast<std::uint32_t>(wide);
}

std::uint16_t checksum_of(std::uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~sum);
}

Frame ipv6_frame(const LinkIds& ids, std::uint8_t protocol, FrameView payload, const Ipv6Header& header) {
  Frame out;
  put_ethernet(out, ids.destination_mac, ids.source_mac, 0x86dd);
  put32(out, 0x60000000u | std::uint32_t{header.traffic_class} << 20);
  put16(out, header.payload_length.value_or(
                 static_cast<std::uint16_t>(header.extensions.size() + payload.size())));
  out.push_back(header.first_header.value_or(protocol));
  out.push_back(header.hop_limit);
  put(out, ip_octets(ids.source));
  put(out, ip_octets(ids.destination));
  put(out, header.extensions);
  put(out, payload);
  return out;
}

Frame icmpv6_message(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                     FrameView body) {
  Frame message{type, code, 0, 0};
  put32(message, rest);
  put(message, body);
  poke16(message, 2, checksum_of(checksum_add(message, pseudo_sum(ids, proto_icmpv6, message.size()))));
  return message;
}

Frame icmpv6_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                   FrameView body, std::uint8_t hop_limit) {
  return ipv6_frame(ids, proto_icmpv6, icmpv6_message(ids, type, code, rest, body), {.hop_limit = hop_limit});
}

Frame nd_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t flags, const IpAddress& target,
               const std::optional<MacAddress>& mac, std::uint8_t hop_limit) {
  Frame body;
  put(body, target.octets());
  if (mac) {
    body.push_back(type == 135 ? 1 : 2);
    body.push_back(1);
    put(body, mac->octets);
  }
  return icmpv6_frame(ids, type, 0, std::uint32_t{flags} << 24, body, hop_limit);
}

Frame ipv4_frame(const LinkIds& ids, std::uint8_t protocol, FrameView payload, const Ipv4Header& header) {
  if (!ids.source.is_v4())
    return ipv6_frame(ids, protocol, payload, {.hop_limit = header.ttl, .traffic_class = header.tos});
  const std::size_t header_length = 20 + header.options.size();
  Frame out;
  put_ethernet(out, ids.destination_mac, ids.source_mac, 0x0800);
  out.push_back(static_cast<std::uint8_t>(0x40 | header_length / 4));
  out.push_back(header.tos);
  put16(out, static_cast<std::uint32_t>(header_length + payload.size()));
  put16(out, header.id);
  put16(out, header.fragment);
  out.push_back(header.ttl);
  out.push_back(protocol);
  put16(out, 0);
  put(out, ip_octets(ids.source));
  put(out, ip_octets(ids.destination));
  put(out, header.options);
  const std::uint16_t sum = checksum_of(checksum_add(FrameView(out).subspan(14, header_length)));
  poke16(out, 24, header.bad_checksum ? static_cast<std::uint16_t>(sum ^ 0x0100) : sum);
  put(out, payload);
  return out;
}

Frame arp_frame(const LinkIds& ids, ArpOp op) {
  Frame out;
  put_ethernet(out, op == ArpOp::request ? MacAddress::broadcast() : ids.destination_mac, ids.source_mac,
               0x0806);
  put16(out, 1);
  put16(out, 0x0800);
  out.push_back(6);
  out.push_back(4);
  put16(out, static_cast<std::uint16_t>(op));
  put(out, ids.source_mac.octets);
  put(out, ip_octets(ids.source));
  put(out, op == ArpOp::request ? MacAddress{}.octets : ids.destination_mac.octets);
  put(out, ip_octets(ids.destination));
  return out;
}

Frame tcp_frame(const LinkIds& ids, const TcpHeader& header, FrameView payload, const Ipv4Header& ip) {
  Frame options = header.options;
  while (options.size() % 4 != 0) options.push_back(0);
  Frame segment;
  put16(segment, header.source_port);
  put16(segment, header.destination_port);
  put32(segment, header.seq);
  put32(segment, header.ack);
  const std::uint8_t offset = header.data_offset.value_or(static_cast<std::uint8_t>(5 + options.size() / 4));
  segment.push_back(static_cast<std::uint8_t>(offset << 4));
  segment.push_back(header.flags);
  put16(segment, header.window);
  put16(segment, 0);
  put16(segment, header.urgent_pointer);
  put(segment, options);
  put(segment, payload);
  const std::uint16_t sum = checksum_of(checksum_add(segment, pseudo_sum(ids, proto_tcp, segment.size())));
  poke16(segment, 16, header.bad_checksum ? static_cast<std::uint16_t>(sum ^ 0x0100) : sum);
  return ipv4_frame(ids, proto_tcp, segment, ip);
}

Frame udp_frame(const LinkIds& ids, std::uint16_t source_port, std::uint16_t destination_port,
                FrameView payload, bool bad_checksum) {
  Frame datagram;
  put16(datagram, source_port);
  put16(datagram, destination_port);
  put16(datagram, static_cast<std::uint32_t>(8 + payload.size()));
  put16(datagram, 0);
  put(datagram, payload);
  std::uint16_t sum = checksum_of(checksum_add(datagram, pseudo_sum(ids, proto_udp, datagram.size())));
  if (sum == 0) sum = 0xffff;
  poke16(datagram, 6, bad_checksum ? static_cast<std::uint16_t>(sum ^ 0x0100) : sum);
  return ipv4_frame(ids, proto_udp, datagram);
}

Frame icmp_frame(const LinkIds& ids, std::uint8_t type, std::uint8_t code, std::uint32_t rest,
                 FrameView body) {
  Frame message;
  message.push_back(type);
  message.push_back(code);
  put16(message, 0);
  put32(message, rest);
  put(message, body);
  poke16(message, 2, checksum_of(checksum_add(message)));
  return ipv4_frame(ids, proto_icmp, message);
}

namespace {

void decode_tcp_options(FrameView options, Decoded& out) {
  std::size_t i = 0;
  while (i < options.size()) {
    const std::uint8_t kind = options[i];
    if (kind == 0) {  // RFC 9293 MUST-69: padding behind the list is zero
      for (; i < options.size(); ++i)
        if (options[i] != 0) out.problem = "TCP option padding is not zero";
      return;
    }
    if (kind == 1) {
      ++i;
      continue;
    }
    if (i + 1 >= options.size() || options[i + 1] < 2 || i + options[i + 1] > options.size()) {
      out.problem = "TCP option overruns the header";
      return;
    }
    const std::uint8_t length = options[i + 1];
    if (kind == 2 && length == 4) out.mss = get16(options, i + 2);
    if (kind == 3 && length == 3) out.window_scale = options[i + 2];
    if (kind == 4 && length == 2) out.sack_permitted = true;
    if (kind == 5)
      for (std::size_t at = i + 2; at + 8 <= i + length; at += 8)
        out.sacks.emplace_back(get32(options, at), get32(options, at + 4));
    if (kind == 8 && length == 10) {
      out.ts_value = get32(options, i + 2);
      out.ts_echo = get32(options, i + 6);
    }
    i += length;
  }
}

void decode_tcp(FrameView in, Decoded& out) {
  out.kind = Decoded::Kind::tcp;
  if (in.size() < 20) {
    out.problem = "TCP header truncated";
    return;
  }
  out.source_port = get16(in, 0);
  out.destination_port = get16(in, 2);
  out.seq = get32(in, 4);
  out.ack = get32(in, 8);
  out.flags = in[13];
  out.window = get16(in, 14);
  out.urgent_pointer = get16(in, 18);
  const std::size_t header = static_cast<std::size_t>(in[12] >> 4) * 4;
  if (header < 20 || header > in.size()) {
    out.problem = "TCP data offset";
    return;
  }
  out.options_length = header - 20;
  decode_tcp_options(in.subspan(20, header - 20), out);
  out.payload.assign(in.begin() + static_cast<std::ptrdiff_t>(header), in.end());
  if (checksum_of(checksum_add(in, pseudo_sum(out.ids, proto_tcp, in.size()))) != 0)
    out.problem = "TCP checksum";
}

void decode_udp(FrameView in, Decoded& out) {
  out.kind = Decoded::Kind::udp;
  if (in.size() < 8 || get16(in, 4) < 8 || get16(in, 4) > in.size()) {
    out.problem = "UDP length";
    return;
  }
  in = in.first(get16(in, 4));
  out.source_port = get16(in, 0);
  out.destination_port = get16(in, 2);
  out.payload.assign(in.begin() + 8, in.end());
  if (get16(in, 6) == 0) return;  // RFC 768: none computed
  if (checksum_of(checksum_add(in, pseudo_sum(out.ids, proto_udp, in.size()))) != 0)
    out.problem = "UDP checksum";
}

void decode_icmp(FrameView in, Decoded& out) {
  out.kind = Decoded::Kind::icmp;
  if (in.size() < 8) {
    out.problem = "ICMP truncated";
    return;
  }
  out.icmp_type = in[0];
  out.icmp_code = in[1];
  out.icmp_rest = get32(in, 4);
  out.payload.assign(in.begin() + 8, in.end());
  if (checksum_of(checksum_add(in)) != 0) out.problem = "ICMP checksum";
}

void decode_icmpv6(FrameView in, Decoded& out) {
  decode_icmp(in, out);
  out.kind = Decoded::Kind::icmpv6;
  if (in.size() < 8) return;
  out.problem.clear();
  if (checksum_of(checksum_add(in, pseudo_sum(out.ids, proto_icmpv6, in.size()))) != 0)
    out.problem = "ICMPv6 checksum";
  if ((out.icmp_type != 135 && out.icmp_type != 136) || in.size() < 24) return;
  out.nd_target = IpAddress::v6_from_wire(&in[8]);
  if (in.size() >= 32) out.nd_mac = mac_at(in, 26);
}

void decode_transport(FrameView in, std::uint8_t protocol, Decoded& out) {
  if (protocol == proto_tcp) decode_tcp(in, out);
  if (protocol == proto_udp) decode_udp(in, out);
  if (protocol == proto_icmp) decode_icmp(in, out);
  if (protocol == proto_icmpv6) decode_icmpv6(in, out);
}

/// Without extension headers, which the stack does not send in front of a transport, save hop-by-hop options
/// (MLD).
void decode_ipv6(FrameView in, Decoded& out) {
  if (in.size() < 40 || in[0] >> 4 != 6 || 40u + get16(in, 4) > in.size()) {
    out.problem = "IPv6 header";
    return;
  }
  out.ip_length = static_cast<std::uint16_t>(40 + get16(in, 4));
  out.tos = static_cast<std::uint8_t>(get16(in, 0) >> 4);
  out.ttl = in[7];
  out.ids.source = IpAddress::v6_from_wire(&in[8]);
  out.ids.destination = IpAddress::v6_from_wire(&in[24]);
  std::uint8_t next = in[6];
  std::size_t at = 40;
  if (next == 0 && out.ip_length >= 48) {
    next = in[at];
    at += 8u * (in[at + 1] + 1u);
  }
  out.is_fragment = next == 44;
  if (at <= out.ip_length) decode_transport(in.subspan(at, out.ip_length - at), next, out);
}

void decode_arp(FrameView in, Decoded& out) {
  out.kind = Decoded::Kind::arp;
  if (in.size() < 28 || get16(in, 0) != 1 || get16(in, 2) != 0x0800 || in[4] != 6 || in[5] != 4) {
    out.problem = "ARP malformed";
    return;
  }
  out.arp_op = static_cast<ArpOp>(get16(in, 6));
  out.ids.source_mac = mac_at(in, 8);
  out.ids.source = IpAddress::v4(get32(in, 14));
  out.ids.destination_mac = mac_at(in, 18);
  out.ids.destination = IpAddress::v4(get32(in, 24));
}

}  // namespace

Decoded decode(FrameView frame) {
  Decoded out;
  if (frame.size() < 14) {
    out.problem = "frame truncated";
    return out;
  }
  out.ids.destination_mac = mac_at(frame, 0);
  out.ids.source_mac = mac_at(frame, 6);
  const std::uint16_t type = get16(frame, 12);
  const FrameView in = frame.subspan(14);
  if (type == 0x0806) {
    decode_arp(in, out);
    return out;
  }
  if (type == 0x86dd) decode_ipv6(in, out);
  if (type != 0x0800) return out;
  const std::size_t header = in.empty() ? 0 : static_cast<std::size_t>(in[0] & 0x0f) * 4;
  if (in.size() < 20 || in[0] >> 4 != 4 || header < 20 || header > in.size() || get16(in, 2) > in.size() ||
      get16(in, 2) < header) {
    out.problem = "IPv4 header";
    return out;
  }
  out.ip_length = get16(in, 2);
  out.tos = in[1];
  out.ttl = in[8];
  out.is_fragment = (get16(in, 6) & 0x3fff) != 0;
  out.ids.source = IpAddress::v4(get32(in, 12));
  out.ids.destination = IpAddress::v4(get32(in, 16));
  const FrameView payload = in.subspan(header, out.ip_length - header);
  if (!out.is_fragment) decode_transport(payload, in[9], out);
  if (checksum_of(checksum_add(in.first(header))) != 0) out.problem = "IPv4 header checksum";
  return out;
}

std::string flags_text(std::uint8_t flags) {
  std::string text;
  if (flags & SYN) text += 'S';
  if (flags & FIN) text += 'F';
  if (flags & RST) text += 'R';
  if (flags & PSH) text += 'P';
  if (flags & URG) text += 'U';
  if (flags & 0x40) text += 'E';
  if (flags & 0x80) text += 'W';
  if (flags & ACK) text += '.';
  return text.empty() ? "none" : text;
}

std::string describe(FrameView frame) {
  const Decoded d = decode(frame);
  const std::string from = d.ids.source.to_string();
  const std::string to = d.ids.destination.to_string();
  std::string line;
  switch (d.kind) {
    case Decoded::Kind::arp:
      line = d.arp_op == ArpOp::request ? "ARP who-has " + to + " tell " + from
                                        : "ARP " + from + " is-at " + d.ids.source_mac.to_string();
      break;
    case Decoded::Kind::tcp:
      line = format("%s:%u > %s:%u [%s] seq %u", from.c_str(), d.source_port, to.c_str(), d.destination_port,
                    flags_text(d.flags).c_str(), d.seq);
      if (d.has(ACK)) line += format(" ack %u", d.ack);
      line += format(" win %u", d.window);
      if (d.mss) line += format(" mss %u", *d.mss);
      if (d.window_scale) line += format(" wscale %u", *d.window_scale);
      if (d.sack_permitted) line += " sackOK";
      if (d.ts_value) line += format(" ts %u/%u", *d.ts_value, d.ts_echo);
      for (const auto& [left, right] : d.sacks) line += format(" sack %u-%u", left, right);
      line += format(" len %zu", d.payload.size());
      break;
    case Decoded::Kind::udp:
      line = format("%s:%u > %s:%u UDP len %zu", from.c_str(), d.source_port, to.c_str(), d.destination_port,
                    d.payload.size());
      break;
    case Decoded::Kind::icmp:
      line = format("%s > %s ICMP type %u code %u len %zu", from.c_str(), to.c_str(), d.icmp_type,
                    d.icmp_code, d.payload.size());
      break;
    case Decoded::Kind::icmpv6:
      line = format("%s > %s ICMPv6 type %u code %u len %zu", from.c_str(), to.c_str(), d.icmp_type,
                    d.icmp_code, d.payload.size());
      if (!d.nd_target.is_v4()) line += " target " + d.nd_target.to_string();
      break;
    case Decoded::Kind::other:
      line = format("%s > %s other, %zu octets", from.c_str(), to.c_str(), frame.size());
      break;
  }
  if (!d.problem.empty()) line += " (bad: " + d.problem + ")";
  return line;
}

}  // namespace pollux::test
