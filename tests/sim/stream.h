// Random applications for the simulator: each end of a connection sends a stream of position-dependent octets
// in random pieces, checks every octet it gets, keeps what it got for random times, and closes or aborts as
// its plan says.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "support/world.h"

namespace pollux::test {

/// What both ends of one connection will do; both derive it from the world's seed and the client's port.
struct FlowPlan {
  std::uint64_t salt = 0;
  std::uint32_t up_octets = 0;    ///< client to server
  std::uint32_t down_octets = 0;  ///< server to client; ignored for an echo
  bool echo = false;              ///< the server returns what it gets, without a copy
  bool client_aborts = false;     ///< at a random point
  bool server_aborts = false;
};

/// Bounds of the applications' behaviour in one run.
struct AppLimits {
  std::uint32_t octets_max = 400'000;  ///< per direction of a flow
  std::uint32_t write_max = 20'000;    ///< octets per send()
  Duration pause_max = {};             ///< between writes
  Duration keep_max = {};              ///< how long deliveries are kept
  double keep = 0;                     ///< probability per delivery
  double abort = 0;                    ///< probability per flow
  double echo = 0;                     ///< probability per flow
};

/// Octets [offset, offset + out.size()) of the stream `salt`.
void fill_stream(std::uint64_t salt, std::uint64_t offset, std::span<std::uint8_t> out);

class StreamEnd;

/// The handler of every connection of one host. Also the ledger of what became of them.
class StreamApp final : public TcpHandler {
 public:
  StreamApp(World& world, SimHost& host, const AppLimits& limits);
  ~StreamApp() override;

  void listen(std::uint16_t port, const TcpConnOptions& options);
  /// Opens a connection now, if the stack has room for it.
  void connect(SimHost& server, std::uint16_t port, const TcpConnOptions& options);
  /// A connection with both ends' ports given: for simultaneous opens.
  void connect(const TcpConnectOptions& options, bool is_client);

  std::uint32_t open_ends() const noexcept { return open_; }
  std::uint64_t octets_received() const noexcept { return received_; }
  std::uint32_t ends() const noexcept { return static_cast<std::uint32_t>(ends_.size()); }
  const std::string& name() const noexcept { return host_.name(); }

  void on_connected(TcpConn conn) noexcept override;
  void on_data(TcpConn conn, Bytes bytes) noexcept override;
  void on_writable(TcpConn conn) noexcept override;
  void on_peer_closed(TcpConn conn) noexcept override;
  void on_closed(TcpConn conn, CloseReason reason) noexcept override;

 private:
  friend class StreamEnd;
  FlowPlan plan_for(std::uint16_t client_port) const;
  StreamEnd& add_end(TcpConn conn, bool is_client);

  World& world_;
  SimHost& host_;
  AppLimits limits_;
  std::vector<std::unique_ptr<StreamEnd>> ends_;
  std::uint32_t open_ = 0;
  std::uint64_t received_ = 0;
};

}  // namespace pollux::test
