// A random network with random applications, drawn from one seed, run to its end and checked.
#pragma once

#include <memory>
#include <vector>

#include "stream.h"
#include "support/world.h"

namespace pollux::test {

/// How bad the cables are.
enum class Weather : std::uint8_t {
  clean,   ///< nothing is lost, plenty of room: a retransmission is a bug
  random,  ///< anything up to 10 % loss, with reordering, duplicates, corruption, thin and long cables
};

class Network {
 public:
  /// `ipv6`: the connections run over IPv6.
  Network(std::uint64_t seed, Weather weather, bool ipv6 = false);
  /// Opens the connections, runs until both ends of each are closed and TIME-WAIT is over, and checks that
  /// nothing is left behind. False when something was wrong (the test has failed then).
  bool run();

  World& world() noexcept { return world_; }
  std::uint64_t octets() const;
  std::uint32_t flows() const noexcept { return flows_; }

 private:
  LinkOptions draw_link();
  HostOptions draw_host(bool ipv6);
  TcpConnOptions draw_conn();
  AppLimits draw_apps();
  void draw_trouble();
  void open_one();
  bool all_closed() const;
  void check_nothing_left();
  void check_clean();

  World world_;
  Weather weather_;
  std::vector<std::unique_ptr<StreamApp>> apps_;
  std::uint32_t flows_ = 0;
  std::uint32_t flows_opened_ = 0;
};

}  // namespace pollux::test
