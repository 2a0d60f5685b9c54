// The text that SIGUSR1 prints.
#include <gtest/gtest.h>

#include "pollux/drivers_glue/counters_text.h"

namespace pollux {
namespace {

TEST(CountersText, ShowsWhatIsNotZeroSummedOverCoresWithItsMeaning) {
  std::vector<CoreReport> cores(2);
  cores[0].cpu = 3;
  cores[0].snapshot.counters.add(Counter::tcp_in_segs, 40);
  cores[0].snapshot.counters.drop(DropReason::tcp_bad_checksum, 2);
  cores[0].snapshot.packets_in_use = 17;
  cores[0].snapshot.packets = 1000;
  cores[0].snapshot.packets_free_min = 11;
  cores[0].snapshot.loop.busy_ns = 2'500'000'000;
  cores[0].snapshot.loop.busy_turns.record(64'000);
  cores[0].snapshot.loop.sampled_cycles = {1, 2, 3, 4, 0};
  cores[1].snapshot.counters.add(Counter::tcp_in_segs, 2);
  cores[1].snapshot.counters.drop(DropReason::ip_no_route, 1);
  std::vector<PortReport> ports = {{.name = "net_tap0", .stats = {}}};
  ports[0].stats.ipackets = 123;
  ports[0].stats.rx_nombuf = 9;

  const std::string text = counters_text(ports, cores);
  for (const char* line :
       {"TcpInSegs                                     42  segments received, bad ones included\n",
        "dropped                                        3  packets dropped, by reason:\n",
        "  tcp_bad_checksum                             2  TCP checksum is wrong\n",
        "  ip_no_route                                  1  no route to the destination\n",
        "port net_tap0: received 123 packets", "9 without mbuf",
        "core 0 on CPU 3: 0 connections, mbufs in use 17 of 1000", "fewest free mbufs 11", "core 1 on CPU 0",
        "core 0 busy 2.500 s", "the longest 64.0 us", " rx 10 % input 20 % advance 30 % flush 40 % tx 0 %\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line << "\nis not in\n" << text;
  EXPECT_EQ(text.find("TcpOutSegs"), std::string::npos) << "zero counters are left out";
  EXPECT_EQ(total_counters(cores)[Counter::tcp_in_segs], 42u);
}

}  // namespace
}  // namespace pollux
