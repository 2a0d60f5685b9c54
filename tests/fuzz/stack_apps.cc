#include "stack_apps.h"

#include <algorithm>

namespace pollux::fuzz {
namespace {

constexpr auto filler = [] {
  std::array<std::uint8_t, 8192> octets{};
  for (std::size_t i = 0; i < octets.size(); ++i) octets[i] = static_cast<std::uint8_t>(i * 7 + i / 256);
  return octets;
}();

constexpr std::uint64_t position_known = 0x100;  // in a connection's user data, with the last octet below it

}  // namespace

void StackApps::connect(std::uint8_t choice) {
  const bool v6 = (choice & 0x40) != 0;
  const IpAddress near = v6 ? StackPeer::to_stack_v6.source : StackPeer::to_stack.source;
  const IpAddress far =
      v6 ? IpAddress::v6(0x2001, 0xdb8, 1, 0, 0, 0, 0, choice) : IpAddress::v4(198, 51, 100, choice);
  const int port = (v6 ? StackPeer::v6_ports + 100 : 50000) + (choice & 3);
  const auto conn = stack_.tcp().connect(
      {.remote = {(choice & 0x80) != 0 ? far : near, static_cast<std::uint16_t>(port)}}, *this);
  if (conn) remember(*conn);
}

void StackApps::remember(TcpConn conn) {
  if (std::ranges::find(conns_, conn) == conns_.end()) conns_.push_back(conn);
}

void StackApps::keep(Bytes bytes) {
  if (kept_.size() < kept_max) kept_.push_back(std::move(bytes));
}

/// Calls `send`, which returns a SendResult, and notes what it accepted of `octets`.
template <typename Send>
void StackApps::send_and_record(TcpConn conn, std::span<const std::uint8_t> octets, Send&& send) noexcept {
  const std::uint16_t local_port = conn.local().port;
  const std::uint16_t remote_port = conn.remote().port;
  const SendResult result = send();
  FUZZ_REQUIRE(result.accepted <= octets.size());
  FUZZ_REQUIRE(result.status != SendStatus::ok || result.accepted == octets.size());
  if (result.accepted == 0) return;
  const std::uint64_t connection = std::uint64_t{conn.handle().index} << 32 | conn.handle().generation;
  peer_.sent_streams().append(local_port, remote_port, connection, octets.first(result.accepted));
}

void StackApps::send_filler(TcpConn conn, std::size_t size) noexcept {
  const auto octets = std::span(filler).first(std::min(size, filler.size()));
  send_and_record(conn, octets, [&] { return conn.send(octets); });
}

void StackApps::send_bytes(TcpConn conn, Bytes& bytes) noexcept {
  std::vector<std::uint8_t> octets(bytes.size());
  if (!octets.empty()) bytes.copy_out(0, octets);
  send_and_record(conn, octets, [&] {
    const SendResult result = conn.send(std::move(bytes));
    FUZZ_REQUIRE(result.accepted + bytes.size() == octets.size());  // what it did not take stays
    return result;
  });
}

void StackApps::act(Reader& in) {
  const std::uint8_t what = in.u8();
  const std::uint8_t which = in.u8();
  const auto& from = (what & 0x80) != 0 && !closed_.empty() ? closed_ : conns_;
  if (from.empty()) return;
  TcpConn conn = from[which % from.size()];
  const bool stale = &from == &closed_;
  switch (what & 0x0f) {
    case 0:
      return send_filler(conn, std::size_t{in.u8()} * 32);
    case 1:
      return conn.close();
    case 2:
      return conn.shutdown_send();
    case 3:
      return conn.abort();
    case 4: {  // bytes that some connection delivered, on any connection
      if (kept_.empty()) return;
      Bytes& bytes = kept_[in.u8() % kept_.size()];
      return send_bytes(conn, bytes);
    }
    case 5: {
      if (kept_.empty()) return;
      Bytes& bytes = kept_[in.u8() % kept_.size()];
      const std::uint32_t cut = bytes.empty() ? 0 : in.u8() % (bytes.size() + 1);
      return keep(bytes.split_front(stack_.pool(), cut));
    }
    case 6: {
      if (kept_.empty()) return;
      const std::size_t i = in.u8() % kept_.size();
      kept_.erase(kept_.begin() + static_cast<std::ptrdiff_t>(i));
      return;
    }
    case 7: {
      if (kept_.empty()) return;
      Bytes& bytes = kept_[in.u8() % kept_.size()];
      const std::uint32_t cut = bytes.empty() ? 0 : in.u8() % (bytes.size() + 1);
      return (what & 0x10) != 0 ? bytes.remove_prefix(cut) : bytes.truncate(cut);
    }
    case 8:
      FUZZ_REQUIRE(conn.set_nagle(in.u8() & 1) != stale);
      return;
    case 9:
      FUZZ_REQUIRE(conn.set_keepalive(in.u8() & 1) != stale);
      return;
    case 10:
      FUZZ_REQUIRE(conn.set_user_timeout(Duration::from_ms(in.u16())) != stale);
      return;
    default:
      FUZZ_REQUIRE(conn.is_open() != stale);
      FUZZ_REQUIRE(!stale || (conn.state() == TcpState::closed && conn.send_space() == 0 &&
                              conn.unacknowledged() == 0));
  }
}

void StackApps::close_all() {
  for (TcpConn conn : std::vector<TcpConn>(conns_)) conn.close();
}

void StackApps::check_handles() const {
  for (const TcpConn& conn : conns_) FUZZ_REQUIRE(conn.is_open());
  for (const TcpConn& conn : closed_) FUZZ_REQUIRE(!conn.is_open());
}

void StackApps::on_connected(TcpConn conn) noexcept {
  remember(conn);
  switch (reaction_ >> 3 & 3) {
    case 1:
      return send_filler(conn, 3000);
    case 2:
      return conn.close();
    case 3:
      return conn.abort();
    default:
      return;
  }
}

void StackApps::check_order(TcpConn conn, const Bytes& bytes) {
  if (peer_.may_have_forged()) return;
  std::uint64_t position = conn.user_data();
  bytes.for_each_piece([&](std::span<const std::uint8_t> piece) {
    for (const std::uint8_t octet : piece) {
      POLLUX_CHECK(position == 0 || octet == static_cast<std::uint8_t>(position + 1),
                   "octet %02x delivered behind %02x", octet, static_cast<unsigned>(position & 0xff));
      position = position_known | octet;
    }
  });
  conn.set_user_data(position);
}

void StackApps::on_data(TcpConn conn, Bytes bytes) noexcept {
  FUZZ_REQUIRE(!bytes.empty() && conn.is_open());
  check_order(conn, bytes);
  switch (reaction_ & 7) {
    case 0:
      return send_bytes(conn, bytes);
    case 1:
      return keep(std::move(bytes));
    case 2:
      return;
    case 3: {
      Bytes front = bytes.split_front(stack_.pool(), bytes.size() / 2);
      keep(std::move(front));
      return send_bytes(conn, bytes);
    }
    case 4:
      return conn.abort();
    case 5:
      keep(std::move(bytes));
      return conn.close();
    case 6:
      send_bytes(conn, bytes);
      return conn.shutdown_send();
    default:
      return connect(0);
  }
}

void StackApps::on_writable(TcpConn conn) noexcept {
  send_filler(conn, 1000);
}

void StackApps::on_peer_closed(TcpConn conn) noexcept {
  switch (reaction_ >> 5 & 3) {
    case 0:
      return conn.close();
    case 1:
      return;
    case 2:
      return conn.abort();
    default:
      return send_filler(conn, 2000);
  }
}

void StackApps::on_closed(TcpConn conn, CloseReason) noexcept {
  for (const TcpConn& before : closed_) FUZZ_REQUIRE(before != conn);  // the last callback, once
  std::erase(conns_, conn);
  if (closed_.size() == 64) closed_.erase(closed_.begin());
  if ((reaction_ & 0x80) != 0) connect(1);
  closed_.push_back(conn);
}

void StackApps::on_datagrams(UdpSocket socket, std::span<Datagram> datagrams) noexcept {
  FUZZ_REQUIRE(!datagrams.empty() && datagrams.size() <= Udp::datagrams_per_call_max);
  for (Datagram& datagram : datagrams) {
    switch (reaction_ & 3) {
      case 0:
        if ((reaction_ & 0x20) != 0) (void)socket.connect(datagram.remote);
        (void)socket.send_segmented(datagram.remote, std::move(datagram.data), datagram.segment_size, datagram.local);
        if ((reaction_ & 0x10) != 0) (void)socket.disconnect();
        break;
      case 1:
        keep(std::move(datagram.data));
        break;
      case 2:
        if ((reaction_ & 0x10) != 0) socket.cork();
        (void)socket.send_to(datagram.remote, std::span(filler).first(datagram.data.size() * 8));
        if ((reaction_ & 0x20) != 0) (void)socket.uncork();
        break;
      default:
        socket.close();
    }
  }
}

}  // namespace pollux::fuzz
