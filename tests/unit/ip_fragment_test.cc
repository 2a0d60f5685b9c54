// Fragments of both families: put together, refused, given up in time, and sent (RFC 791, 1858, 5722, 7112, 8200 4.5).
#include <algorithm>
#include <random>

#include "ip_v6_host.h"
#include "pollux/ip/reassembler.h"
#include "support/seed.h"

namespace pollux::test {
namespace {

/// One fragment of a datagram with identification `id`.
struct Piece {
  std::uint32_t offset;
  Frame payload;
  bool more;
  std::uint32_t id = 7;
  std::uint8_t protocol = 17;
  std::uint8_t tos = 0;
  IpAddress source4 = peer_ip;
  IpAddress source6 = peer_v6;
};

Frame v4_piece(const Piece& p) {
  return ipv4_frame({.source = p.source4,
                     .protocol = p.protocol,
                     .tos = p.tos,
                     .payload = p.payload,
                     .spoil = [&p](std::uint8_t* ip) {
                       store_be16(ip + 4, static_cast<std::uint16_t>(p.id));
                       store_be16(ip + 6, static_cast<std::uint16_t>((p.more ? 0x2000u : 0) | p.offset / 8));
                     }});
}

Frame v6_piece(const Piece& p) {
  Frame extension(Ipv6FragmentFields::size);
  Ipv6FragmentFields{.next_header = p.protocol,
                     .offset = static_cast<std::uint16_t>(p.offset),
                     .more = p.more,
                     .identification = p.id}
      .emit(extension.data());
  return ipv6_frame(v6_ids(p.source6), p.protocol, p.payload,
                    {.traffic_class = p.tos, .extensions = extension, .first_header = 44});
}

Frame slice(const Frame& of, std::size_t from, std::size_t to) {
  return Frame(of.begin() + static_cast<std::ptrdiff_t>(from), of.begin() + static_cast<std::ptrdiff_t>(to));
}

std::vector<Piece> cut(const Frame& payload, std::size_t size, std::uint32_t id = 7) {
  std::vector<Piece> pieces;
  for (std::size_t at = 0; at < payload.size(); at += size) {
    const std::size_t end = std::min(payload.size(), at + size);
    pieces.push_back({static_cast<std::uint32_t>(at), slice(payload, at, end), end < payload.size(), id});
  }
  return pieces;
}

Frame payload_of(const RxPacket& rx) {
  Frame bytes(rx.packet.size());
  rx.packet.copy_out(0, bytes);
  return bytes;
}

IpOptions quick() {
  return {.reassembly_timeout = Duration::from_s(5)};
}

class Fragments : public testing::TestWithParam<bool> {
 protected:
  bool v4() const { return GetParam(); }
  bool gives(const Piece& piece) { return host.input(v4() ? v4_piece(piece) : v6_piece(piece)); }
  std::uint64_t count(Counter four, Counter six) const { return host.counters[v4() ? four : six]; }
  std::uint64_t oks() const { return count(Counter::ip_reasm_oks, Counter::ip6_reasm_oks); }
  std::uint64_t fails() const { return count(Counter::ip_reasm_fails, Counter::ip6_reasm_fails); }
  IpAddress peer() const { return v4() ? peer_ip : peer_v6; }
  void reach() {
    if (v4())
      host.make_reachable(peer_ip, peer_mac);
    else
      host.reach();
    host.counters = {};
  }
  DropReason send(const Frame& payload, bool may_fragment = true, std::uint8_t tos = 0) {
    RouteCache cache;
    return host.ip.send(host.packet_of(payload),
                        {.source = v4() ? our_ip : our_v6, .destination = peer(), .protocol = 17, .tos = tos,
                         .may_fragment = may_fragment},
                        cache, host.now);
  }
  V6Host host{quick()};
};

INSTANTIATE_TEST_SUITE_P(Families, Fragments, testing::Bool(),
                         [](const auto& row) { return row.param ? "V4" : "V6"; });

// --- Input -----------------------------------------------------------------------------------------------

TEST_P(Fragments, InAnyOrderBecomeTheDatagram) {
  std::mt19937_64 random(seed_from_environment(4));
  const Frame payload = pattern(5000);
  for (int round = 0; round < 50; ++round) {
    auto pieces = cut(payload, 8 * (1 + random() % 180), 100u + static_cast<unsigned>(round));
    std::shuffle(pieces.begin(), pieces.end(), random);
    if (pieces.size() > Reassembler::fragments_per_datagram_max || pieces.size() < 2) continue;
    for (std::size_t i = 0; i < pieces.size(); ++i)
      ASSERT_EQ(gives(pieces[i]), i + 1 == pieces.size()) << "fragment " << i << " of " << pieces.size();
    EXPECT_EQ(payload_of(host.rx), payload);
    EXPECT_EQ(host.rx.protocol, 17);
    EXPECT_EQ(host.rx.source, peer());
    host.rx.packet.reset();
  }
  EXPECT_EQ(host.counters.drops(), 0u);
  EXPECT_EQ(fails(), 0u);
  EXPECT_GT(oks(), 10u);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Fragments, TheHeaderIsThatOfTheWholeDatagram) {
  const Frame payload = pattern(3000);
  auto pieces = cut(payload, 1480);
  std::reverse(pieces.begin(), pieces.end());
  for (Piece& piece : pieces) piece.tos = 0x28;
  for (const Piece& piece : pieces) (void)gives(piece);
  ASSERT_TRUE(host.rx.packet);
  EXPECT_EQ(host.rx.tos, 0x28);
  const std::uint8_t* const header = host.rx.packet.data() - host.rx.ip_header_length;
  if (v4()) {
    EXPECT_EQ(host.rx.ip_header_length, 20);
    EXPECT_EQ(load_be16(header + 2), 3020);
    EXPECT_EQ(load_be16(header + 6) & 0x3fff, 0);
    EXPECT_EQ(load_be16(header + 4), 7);
  } else {
    EXPECT_EQ(host.rx.ip_header_length, 40) << "the fragment header is gone";
    EXPECT_EQ(load_be16(header + 4), 3000);
    EXPECT_EQ(header[6], 17);
  }
}

TEST_P(Fragments, OfDifferentDatagramsDoNotMix) {
  const Frame a = pattern(2000);
  Frame b = a;
  std::reverse(b.begin(), b.end());
  const auto of_a = cut(a, 1480, 1);
  const auto of_b = cut(b, 1480, 2);
  EXPECT_FALSE(gives(of_a[0]));
  EXPECT_FALSE(gives(of_b[1]));
  Piece other_source = of_b[0];
  other_source.id = 1;
  other_source.source4 = gateway_ip;
  other_source.source6 = router_v6;
  EXPECT_FALSE(gives(other_source));
  ASSERT_TRUE(gives(of_a[1]));
  EXPECT_EQ(payload_of(host.rx), a);
  ASSERT_TRUE(gives(of_b[0]));
  EXPECT_EQ(payload_of(host.rx), b);
}

TEST_P(Fragments, ADuplicateIsDroppedAlone) {
  const auto pieces = cut(pattern(4000), 1480);
  EXPECT_FALSE(gives(pieces[0]));
  EXPECT_FALSE(gives(pieces[0]));
  EXPECT_FALSE(gives(pieces[2]));
  EXPECT_FALSE(gives(pieces[2]));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_duplicate), 2u);
  ASSERT_TRUE(gives(pieces[1]));
  EXPECT_EQ(payload_of(host.rx), pattern(4000));
}

TEST_P(Fragments, OverlapsCondemnTheDatagram) {  // RFC 5722 3
  struct Row {
    const char* what;
    std::vector<Piece> pieces;
  };
  const auto piece = [](std::uint32_t from, std::uint32_t to, bool more) {
    return Piece{from, pattern(to - from), more};
  };
  std::uint64_t condemned = 0;
  for (const Row& row : std::initializer_list<Row>{
           {"the tail of the one before", {piece(0, 80, true), piece(72, 160, true)}},
           {"the head of the one behind", {piece(80, 160, true), piece(0, 88, true)}},
           {"inside another (teardrop)", {piece(0, 80, true), piece(24, 32, false)}},
           {"around another", {piece(24, 32, true), piece(0, 80, true)}},
           {"same start, other end", {piece(0, 80, true), piece(0, 72, true)}},
           {"two ends", {piece(80, 100, false), piece(160, 180, false)}},
           {"behind the end", {piece(80, 100, false), piece(104, 112, true)}},
           {"an end in front of data", {piece(160, 240, true), piece(80, 100, false)}},
           {"the end again with more to come", {piece(80, 104, false), piece(80, 104, true)}},
       }) {
    SCOPED_TRACE(row.what);
    V6Host fresh(quick());
    const auto input = [&](const Piece& p) { return fresh.input(v4() ? v4_piece(p) : v6_piece(p)); };
    for (const Piece& p : row.pieces) EXPECT_FALSE(input(p));
    EXPECT_EQ(fresh.drops(DropReason::ip_fragment_overlap), row.pieces.size());
    // What completes it otherwise comes too late, as does all of it anew.
    for (const Piece& p : cut(pattern(240), 80)) EXPECT_FALSE(input(p));
    EXPECT_EQ(fresh.heap.in_use(), 0u);
    fresh.run_for(Duration::from_s(6));
    EXPECT_EQ(fresh.counters[v4() ? Counter::ip_reasm_timeout : Counter::ip6_reasm_timeout], 0u);
    EXPECT_EQ(fresh.counters[v4() ? Counter::ip_reasm_fails : Counter::ip6_reasm_fails], 1u);
    bool whole = false;
    for (const Piece& p : cut(pattern(240), 80)) whole = input(p);
    EXPECT_TRUE(whole) << "its name is free again";
    ++condemned;
  }
  EXPECT_EQ(condemned, 9u);
}

TEST_P(Fragments, ThatCannotBeRightAreRefusedByName) {
  EXPECT_FALSE(gives({8, pattern(15), true}));
  EXPECT_FALSE(gives({65528, pattern(8), false}));  // the ping of death
  EXPECT_FALSE(gives({8, {}, true}));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_malformed), 3u);
  EXPECT_EQ(fails(), 3u);
  host.ip.tx(0).clear();
  host.run_for(Duration::from_s(30));  // solicitations for the source, and the errors that waited for its answer
  host.ip.tx(0).clear();
  EXPECT_EQ(host.heap.in_use(), host.ip.tx(0).size());
}

TEST_P(Fragments, ATcpHeaderIsNotSpreadOverFragments) {  // RFC 1858, RFC 7112
  EXPECT_FALSE(gives({.offset = 0, .payload = pattern(8), .more = true, .protocol = 6}));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_tiny), 1u);
  if (!v4()) return;
  EXPECT_FALSE(gives({.offset = 8, .payload = pattern(64), .more = false, .protocol = 6}));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_tiny), 2u);
}

TEST(FragmentsV6, WhatIsWrongIsToldToTheSource) {  // RFC 8200 4.5
  struct Row {
    const char* what;
    Piece piece;
    std::uint8_t code;
    std::uint32_t pointer;
  };
  for (const Row& row : std::initializer_list<Row>{{"not of 8 octets", {8, pattern(15), true}, 0, 4},
                                                   {"beyond 65,535", {65528, pattern(8), false}, 0, 42},
                                                   {"no UDP header", {0, {}, true}, 0, 0},
                                                   {"half a TCP header", {0, pattern(16), true, 7, 6}, 3, 0}}) {
    SCOPED_TRACE(row.what);
    V6Host host(quick());
    host.reach();
    EXPECT_FALSE(host.input(v6_piece(row.piece)));
    if (row.piece.payload.empty()) {
      EXPECT_TRUE(host.sent().empty());
      continue;
    }
    const Decoded d = host.one_sent();
    EXPECT_EQ(d.icmp_type, 4);
    EXPECT_EQ(d.icmp_code, row.code);
    EXPECT_EQ(d.icmp_rest, row.pointer);
  }
}

TEST(FragmentsV6, ExtensionHeadersOnBothSidesOfTheFragmentHeaderCount) {
  // Destination options, fragment header, destination options, UDP.
  const Frame options = {0, 0, 1, 4, 0, 0, 0, 0};
  const Frame datagram = udp_datagram({peer_v6, 9}, {our_v6, 7}, pattern(2000));
  Frame fragmentable = options;
  fragmentable[0] = 17;
  fragmentable.insert(fragmentable.end(), datagram.begin(), datagram.end());
  V6Host host(quick());
  bool whole = false;
  for (const Piece& p : cut(fragmentable, 1000)) {
    Frame extensions = options;
    extensions[0] = 44;
    Frame header(8);
    Ipv6FragmentFields{.next_header = 60, .offset = static_cast<std::uint16_t>(p.offset), .more = p.more,
                       .identification = 9}
        .emit(header.data());
    extensions.insert(extensions.end(), header.begin(), header.end());
    whole = host.input(ipv6_frame(v6_ids(), 17, p.payload, {.extensions = extensions, .first_header = 60}));
  }
  ASSERT_TRUE(whole);
  EXPECT_EQ(host.rx.protocol, 17);
  EXPECT_EQ(host.rx.ip_header_length, 56);
  EXPECT_EQ(payload_of(host.rx), datagram);
}

TEST_P(Fragments, ADatagramThatStaysIncompleteIsGivenUpAndTheSourceTold) {
  reach();
  EXPECT_FALSE(gives({0, pattern(800), true}));
  host.run_for(Duration::from_s(4));
  EXPECT_FALSE(gives({1600, pattern(8), false}));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_timeout), 0u);
  host.run_for(Duration::from_ms(1100));  // the time runs from the first fragment
  EXPECT_EQ(host.drops(DropReason::ip_fragment_timeout), 2u);
  EXPECT_EQ(count(Counter::ip_reasm_timeout, Counter::ip6_reasm_timeout), 1u);
  EXPECT_EQ(fails(), 1u);
  EXPECT_EQ(count(Counter::icmp_out_time_excds, Counter::icmp6_out_time_excds), 1u);
  const Decoded d = host.one_sent();
  EXPECT_EQ(d.icmp_type, v4() ? 11 : 3);
  EXPECT_EQ(d.icmp_code, 1);
  ASSERT_FALSE(d.payload.empty());
  EXPECT_EQ(d.payload[0] >> 4, v4() ? 4 : 6) << "it quotes the first fragment";
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Fragments, WithoutTheFirstFragmentNobodyIsTold) {
  reach();
  EXPECT_FALSE(gives({800, pattern(800), true}));
  host.run_for(Duration::from_s(6));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_timeout), 1u);
  EXPECT_TRUE(host.sent().empty());
}

TEST_P(Fragments, TooManyPiecesCondemn) {
  for (std::uint32_t i = 0; i < Reassembler::fragments_per_datagram_max; ++i)
    EXPECT_FALSE(gives({i * 16, pattern(8), true}));
  EXPECT_FALSE(gives({8000, pattern(8), true}));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_limit), Reassembler::fragments_per_datagram_max + 1u);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Fragments, AFloodOfFirstFragmentsPushesOutTheOldest) {
  V6Host small({.reassembly_datagrams_max = 8});
  const auto input = [&](const Piece& p) { return small.input(v4() ? v4_piece(p) : v6_piece(p)); };
  for (std::uint32_t id = 0; id < 100; ++id) EXPECT_FALSE(input({0, pattern(24), true, id}));
  EXPECT_EQ(small.drops(DropReason::ip_fragment_table_full), 92u);
  EXPECT_EQ(small.heap.in_use(), 8u);
  EXPECT_TRUE(input({24, pattern(24), false, 99})) << "the newest are whole in time";
}

TEST_P(Fragments, OneSourceHasItsShareAndOthersHaveTheirs) {
  V6Host small({.reassembly_source_max = 20});
  const auto input = [&](const Piece& p) { return small.input(v4() ? v4_piece(p) : v6_piece(p)); };
  Piece others{0, pattern(24), true, 1000};
  others.source4 = gateway_ip;
  others.source6 = router_v6;
  EXPECT_FALSE(input(others));
  for (std::uint32_t id = 0; id < 100; ++id) EXPECT_FALSE(input({0, pattern(24), true, id}));
  EXPECT_EQ(small.drops(DropReason::ip_fragment_source_limit), 80u);
  EXPECT_EQ(small.heap.in_use(), 21u);
  others.offset = 24;
  others.more = false;
  EXPECT_TRUE(input(others)) << "although it was the oldest of all";
}

TEST_P(Fragments, NeverHoldMoreThanAQuarterOfThePool) {
  V6Host host2({.reassembly_datagrams_max = 60000, .reassembly_fragments_max = 1 << 20, .reassembly_source_max = 1 << 20});
  const auto input = [&](const Piece& p) { return host2.input(v4() ? v4_piece(p) : v6_piece(p)); };
  const std::uint32_t quarter = host2.heap.pool().size() / 4;
  for (std::uint32_t id = 0; id < quarter + 100; ++id) EXPECT_FALSE(input({0, pattern(24), true, id}));
  EXPECT_EQ(host2.heap.in_use(), quarter);
}

TEST_P(Fragments, EcnMarksSurviveAndMixedOnesDoNot) {  // RFC 3168 5.3
  auto pieces = cut(pattern(2000), 1480);
  pieces[0].tos = 2;
  pieces[1].tos = 3;
  EXPECT_FALSE(gives(pieces[0]));
  ASSERT_TRUE(gives(pieces[1]));
  EXPECT_EQ(host.rx.tos & 3, 3);
  host.rx.packet.reset();
  pieces[0].tos = 0;
  EXPECT_FALSE(gives(pieces[0]));
  EXPECT_FALSE(gives(pieces[1]));
  EXPECT_EQ(host.drops(DropReason::ip_fragment_ecn), 2u);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Fragments, AnEmptyPoolLosesTheDatagramAndNothingElse) {
  const auto pieces = cut(pattern(2000), 1480);
  EXPECT_FALSE(gives(pieces[0]));
  Packet last = host.heap.exact_copy_of(v4() ? v4_piece(pieces[1]) : v6_piece(pieces[1]));
  host.heap.set_limit(0);
  EXPECT_FALSE(host.input(std::move(last)));
  EXPECT_EQ(host.drops(DropReason::no_mbuf), 1u);
  host.heap.set_limit(65536);
  EXPECT_EQ(host.heap.in_use(), 0u);
}

// --- Another core's --------------------------------------------------------------------------------------

struct Elsewhere final : FrameSteering {
  Verdict steer(InterfaceId, Packet& frame) noexcept override {
    if (verdict == Verdict::taken) got = std::move(frame);
    return verdict;
  }
  bool give(std::uint16_t, InterfaceId, Packet&) noexcept override { return false; }
  Verdict verdict = Verdict::taken;
  Packet got;
};

TEST_P(Fragments, OfAnotherCoresFlowGoThereAsOneFrame) {
  Elsewhere elsewhere;
  host.ip.set_steering(&elsewhere);
  const Frame payload = pattern(4000);
  for (const Piece& p : cut(payload, 1480)) EXPECT_FALSE(gives(p));
  ASSERT_TRUE(elsewhere.got);
  EXPECT_EQ(host.counters[Counter::handed_over], 1u);
  EXPECT_EQ(host.counters.drops(), 0u);
  V6Host owner;
  ASSERT_TRUE(owner.input(std::move(elsewhere.got)));
  EXPECT_EQ(payload_of(owner.rx), payload);
  elsewhere.verdict = FrameSteering::Verdict::full;
  for (const Piece& p : cut(payload, 1480)) EXPECT_FALSE(gives(p));
  EXPECT_EQ(host.drops(DropReason::handover_full), 1u);
}

TEST(FragmentNumbers, OfSeveralCoresNeverMeet) {
  constexpr std::uint16_t cores = 3;  // no power of two
  std::vector<int> core_of(65536, -1);
  for (std::uint16_t core = 0; core < cores; ++core) {
    IpHost host;
    host.ip.set_steering(nullptr, core, cores);
    host.make_reachable(peer_ip, peer_mac);
    // Until all of a core's numbers have been used, and the first of them again.
    for (int i = 0; i < 65536 / cores + 100; ++i) {
      RouteCache cache;
      const IpSend send{.source = our_ip, .destination = peer_ip, .protocol = 253, .may_fragment = true};
      ASSERT_EQ(host.ip.send(host.heap.pool().copy_of(pattern(1488)), send, cache, host.now), DropReason::none);
      const auto sent = host.sent();
      ASSERT_EQ(sent.size(), 2u);
      int& owner = core_of[load_be16(&sent[0].bytes[18])];
      ASSERT_TRUE(owner == -1 || owner == core) << "core " << core << " and core " << owner;
      owner = core;
    }
  }
  for (int core = 0; core < cores; ++core) EXPECT_GE(std::count(core_of.begin(), core_of.end(), core), 65536 / cores - 1);
}

// --- Output ----------------------------------------------------------------------------------------------

TEST_P(Fragments, ALargePacketLeavesInPiecesThatFit) {
  reach();
  for (const std::size_t size : {1481u, 1500u, 2960u, 5000u, 20000u}) {
    SCOPED_TRACE(size);
    host.counters = {};
    Frame payload = pattern(size);
    RouteCache cache;
    Packet packet = host.heap.pool().copy_of(payload);
    EXPECT_EQ(host.ip.send(std::move(packet),
                           {.source = v4() ? our_ip : our_v6, .destination = peer(), .protocol = 253, .tos = 0x10,
                            .may_fragment = true},
                           cache, host.now),
              DropReason::none);
    const auto sent = host.sent();
    EXPECT_EQ(sent.size(), host.ip.fragment_count(peer(), static_cast<std::uint32_t>(size), 0));
    EXPECT_EQ(count(Counter::ip_frag_creates, Counter::ip6_frag_creates), sent.size());
    EXPECT_EQ(count(Counter::ip_frag_oks, Counter::ip6_frag_oks), 1u);
    Frame joined;
    std::uint32_t id = 0;
    for (std::size_t i = 0; i < sent.size(); ++i) {
      const Frame& f = sent[i].bytes;
      ASSERT_LE(f.size(), 1514u);
      const bool more = i + 1 < sent.size();
      std::size_t headers = 0;
      std::uint32_t piece_id = 0;
      if (v4()) {
        const Ipv4View ip = ipv4_of(f);  // checks the checksum and the length
        EXPECT_FALSE(ip.dont_fragment());
        EXPECT_EQ(ip.more_fragments(), more);
        EXPECT_EQ(ip.fragment_offset(), joined.size());
        EXPECT_EQ(ip.tos(), 0x10);
        EXPECT_EQ(ip.protocol(), 253);
        piece_id = ip.identification();
        headers = 34;
      } else {
        EXPECT_EQ(load_be16(&f[14 + 4]), f.size() - 54);
        EXPECT_EQ(f[14 + 6], 44);
        EXPECT_EQ(f[54], 253);
        EXPECT_EQ(load_be16(&f[56]), joined.size() | (more ? 1u : 0u));
        piece_id = load_be32(&f[58]);
        headers = 62;
      }
      if (i == 0) id = piece_id;
      EXPECT_EQ(piece_id, id);
      joined.insert(joined.end(), f.begin() + static_cast<std::ptrdiff_t>(headers), f.end());
    }
    EXPECT_EQ(joined, payload);
  }
  EXPECT_EQ(host.heap.in_use(), 0u);
}

TEST_P(Fragments, WhatMustNotBeCutIsNot) {
  reach();
  EXPECT_EQ(send(pattern(1481), false), DropReason::ip_too_big);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(count(Counter::ip_frag_fails, Counter::ip6_frag_fails), 1u);
}

TEST_P(Fragments, AWholePacketWaitsForTheNeighbour) {
  EXPECT_EQ(send(pattern(2000)), DropReason::none);
  (void)host.sent();  // the question
  EXPECT_FALSE(host.input(v4() ? arp_reply(peer_mac, peer_ip)
                               : advertisement(peer_v6, nd_solicited | nd_override, peer_mac)));
  const auto sent = host.sent();
  ASSERT_EQ(sent.size(), 2u);
  for (const SentFrame& frame : sent) EXPECT_EQ(ethernet_of(frame.bytes).destination(), peer_mac);
}

TEST_P(Fragments, AllOfThemFitTheBatchOrNoneLeaves) {
  reach();
  while (host.ip.tx(0).room() > 1) ASSERT_EQ(send(pattern(8)), DropReason::none);
  EXPECT_EQ(send(pattern(2000)), DropReason::tx_batch_full);
  EXPECT_EQ(host.ip.tx(0).room(), 1u);
}

TEST_P(Fragments, WithoutMbufsForAllOfThemNoneLeaves) {
  reach();
  RouteCache cache;
  Packet packet = host.heap.pool().copy_of(pattern(5000));
  host.heap.set_limit(packet.segment_count() + 2);  // of the four that the fragments' headers take
  EXPECT_EQ(host.ip.send(std::move(packet),
                         {.source = v4() ? our_ip : our_v6, .destination = peer(), .protocol = 253, .may_fragment = true},
                         cache, host.now),
            DropReason::no_mbuf);
  EXPECT_EQ(count(Counter::ip_frag_fails, Counter::ip6_frag_fails), 1u);
  EXPECT_TRUE(host.sent().empty());
  EXPECT_EQ(host.heap.in_use(), 0u);
  host.heap.set_limit(65536);
  EXPECT_EQ(send(pattern(2000)), DropReason::none);
  EXPECT_EQ(host.sent().size(), 2u);
}

TEST_P(Fragments, IdentificationsDifferFromDatagramToDatagram) {
  reach();
  std::vector<std::uint32_t> ids;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(send(pattern(2000)), DropReason::none);
    const auto sent = host.sent();
    ASSERT_EQ(sent.size(), 2u);
    ids.push_back(v4() ? load_be16(&sent[0].bytes[18]) : load_be32(&sent[0].bytes[58]));
  }
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::adjacent_find(ids.begin(), ids.end()), ids.end());
}

TEST_P(Fragments, WhatWeSendWeCanPutTogether) {
  reach();
  const Frame payload = pattern(20000);
  RouteCache cache;
  EXPECT_EQ(host.ip.send(host.heap.pool().copy_of(payload),
                         {.source = v4() ? our_ip : our_v6, .destination = peer(), .protocol = 17, .may_fragment = true},
                         cache, host.now),
            DropReason::none);
  InterfaceConfig theirs = v6_port();
  theirs.mac = peer_mac;
  theirs.address = {peer_ip, 24};
  theirs.v6_addresses = {{peer_v6, 64}};
  V6Host other({}, theirs);
  bool whole = false;
  for (const SentFrame& frame : host.sent()) whole = other.input(frame.bytes);
  ASSERT_TRUE(whole);
  EXPECT_EQ(payload_of(other.rx), payload);
}

TEST_P(Fragments, ALargeEchoRequestIsAnsweredWhole) {
  reach();
  const Frame body = pattern(9000);
  const Frame message = v4() ? icmp_message(Icmpv4Type::echo_request, 0, 0x00010002, body)
                             : icmpv6_message(v6_ids(), 128, 0, 0x00010002, body);
  for (Piece p : cut(message, 1400)) {
    p.protocol = v4() ? 1 : 58;
    EXPECT_FALSE(gives(p));
  }
  EXPECT_EQ(host.sent().size(), 7u);
  EXPECT_EQ(count(Counter::icmp_out_echo_reps, Counter::icmp6_out_echo_reps), 1u);
}

}  // namespace
}  // namespace pollux::test
