// What a connection costs in memory, and how far apart what an echo touches lies.
#include <gtest/gtest.h>

#include "pollux/tcp/tcp.h"

namespace pollux {
namespace {

template <typename Field>
std::size_t end_of(const Tcb& tcb, const Field& field) {
  return static_cast<std::size_t>(reinterpret_cast<const char*>(&field) - reinterpret_cast<const char*>(&tcb)) + sizeof(Field);
}

// lib/tcp/tcb.h "every segment": the slot's generation, which every handle is made of, lies in front of it.
TEST(TcbLayout, WhatAnEchoTouchesFitsFourCacheLines) {
  constexpr std::size_t cache_line = 64, generation = sizeof(SlabHandle);
  const Tcb tcb{};
  EXPECT_EQ(end_of(tcb, tcb.disturbance) + generation, 4 * cache_line) << "the last of them";
  std::size_t last = 0;
  for (const std::size_t end : {end_of(tcb, tcb.key), end_of(tcb, tcb.is), end_of(tcb, tcb.rcv), end_of(tcb, tcb.snd),
                                end_of(tcb, tcb.ts_offset), end_of(tcb, tcb.recv_mss), end_of(tcb, tcb.first_cwnd),
                                end_of(tcb, tcb.queue), end_of(tcb, tcb.handler), end_of(tcb, tcb.route), end_of(tcb, tcb.extras),
                                end_of(tcb, tcb.progress), end_of(tcb, tcb.rtt), end_of(tcb, tcb.board), end_of(tcb, tcb.options),
                                end_of(tcb, tcb.disturbance)}) {
    EXPECT_GT(end, last);
    last = end;
  }
}

TEST(TcbLayout, AnIdleConnectionTakes320Octets) {
  EXPECT_LE(Tcp::idle_connection_bytes(), 320u) << "its slot and its share of the flow table";
}

}  // namespace
}  // namespace pollux
