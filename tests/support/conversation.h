// One stack under test, one application on it, and one peer played by hand: all that most TCP tests need.
#pragma once

#include <gtest/gtest.h>

#include "support/test_app.h"
#include "support/test_peer.h"
#include "support/world.h"

namespace pollux::test {

/// The options that conversations start from: immediate ACKs and no timestamps, so that a script states only
/// what it is about. Tests of those features turn them on.
inline TcpOptions plain_tcp() {
  TcpOptions options;
  options.conn.delayed_ack = false;
  options.conn.timestamps = false;
  options.conn.window_scaling = false;
  options.conn.receive_buffer = 65535;
  options.conn.receive_buffer_max = options.conn.send_buffer_max = 0;  // they stay as they are
  return options;
}

struct Conversation {
  explicit Conversation(const TcpOptions& tcp = plain_tcp(), HostOptions options = {})
      : host(world.add_bare_host(with_tcp(std::move(options), tcp))), peer(world, host) {}

  /// The stack listens on port 7.
  void listens(const TcpListenOptions& options = {.port = 7}) {
    auto result = host.tcp().listen(options, app);
    ASSERT_TRUE(result) << result.error().text;
    listener = *result;
  }
  /// The stack listens and the peer connects: ESTABLISHED, with nothing unexpected left.
  void established(const Seg& syn = {.mss = 1460}) {
    listens();
    peer.connects(syn);
    peer.expects_nothing();
    ASSERT_EQ(app.conn.state(), TcpState::established);
  }
  /// The stack opens a connection to port 80 of the peer; its SYN is in the peer's inbox.
  void connects(TcpConnectOptions options = {}) {
    if (options.remote.port == 0) options.remote = {peer.address(), 80};
    peer.use_ports(options.remote.port, options.local.port);
    host.sync();
    auto result = host.tcp().connect(options, app);
    ASSERT_TRUE(result) << result.error().text;
    app.conn = *result;
    runs();
  }
  /// Everything that is due at this moment happens.
  void runs() { world.run_until(world.now()); }
  /// The application sends; nothing is transmitted before the next turn.
  void queues(std::string_view text) { EXPECT_EQ(app.conn.send(text).accepted, text.size()); }
  /// The application sends, and the stack has its turn.
  void sends(std::string_view text) {
    queues(text);
    runs();
  }
  /// The state the connection is in now; `closed` when there is none (a listener may still be there).
  TcpState state() {
    if (app.conn.is_open()) return app.conn.state();
    if (host.tcp().time_wait_count() != 0) return TcpState::time_wait;
    // Passively opened and not yet established: the application has no handle yet.
    if (host.tcp().connection_count() != 0) return TcpState::syn_received;
    return TcpState::closed;
  }
  std::uint64_t count(Counter counter) { return host.counters()[counter]; }
  std::uint64_t dropped(DropReason reason) { return host.counters()[reason]; }

  World world{one_seed()};
  SimHost& host;
  TestApp app;
  TestPeer peer;
  TcpListener listener;

 private:
  static HostOptions with_tcp(HostOptions options, const TcpOptions& tcp) {
    options.stack.tcp = tcp;
    return options;
  }
};

}  // namespace pollux::test
