#include "stream.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstring>

namespace pollux::test {
namespace {

std::uint64_t mix(std::uint64_t x) {
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Many flows are tiny, some are large.
std::uint32_t flow_octets(Rng& rng, std::uint32_t max) {
  const std::uint32_t bound = std::max<std::uint32_t>(max >> rng.below(10), 1);
  return rng.below(bound + 1);
}

Duration up_to(Rng& rng, Duration max) {
  return Duration::from_ns(
      rng.below(static_cast<std::uint32_t>(std::clamp<std::int64_t>(max.ns(), 1, 4'000'000'000))));
}

}  // namespace

void fill_stream(std::uint64_t salt, std::uint64_t offset, std::span<std::uint8_t> out) {
  std::size_t i = 0;
  while (i < out.size()) {
    const std::uint64_t word = mix(salt + (offset + i) / 8);
    const std::size_t first = (offset + i) % 8;
    for (std::size_t k = first; k < 8 && i < out.size(); ++k, ++i)
      out[i] = static_cast<std::uint8_t>(word >> (8 * k));
  }
}

/// One end of one connection. Lives as long as its app: late events find it.
class StreamEnd {
 public:
  StreamEnd(StreamApp& app, TcpConn conn, const FlowPlan& plan, bool is_client, std::uint64_t seed)
      : app_(app), conn_(conn), plan_(plan), is_client_(is_client), rng_(seed) {
    const std::uint32_t down = plan.echo ? plan.up_octets : plan.down_octets;
    to_send_ = is_client ? plan.up_octets : (plan.echo ? 0 : down);
    to_receive_ = is_client ? down : plan.up_octets;
    if (is_client ? plan.client_aborts : plan.server_aborts) {
      aborts_ = true;
      abort_after_ = rng_.below(to_send_ + to_receive_ + 1);
    }
  }

  void pump() {
    if (!open_ || sending_done_) return;
    for (int writes = 0; sent_ < to_send_; ++writes) {
      if (writes == 50 || (app_.limits_.pause_max.ns() > 0 && rng_.below(4) == 0))
        return later(up_to(rng_, app_.limits_.pause_max));
      if (!write_some()) return;
      if (aborted_by_plan()) return;
    }
    if (!is_client_ && plan_.echo) return;
    sending_done_ = true;
    finish_sending();
  }

  void data(Bytes bytes) {
    check(bytes);
    received_ += bytes.size();
    app_.received_ += bytes.size();
    if (received_ > to_receive_) problem("received more than the peer sent");
    if (aborted_by_plan()) return;
    if (!is_client_ && plan_.echo) {
      const std::uint32_t size = bytes.size();
      const SendResult result = conn_.send(std::move(bytes));
      if (result.status != SendStatus::ok || result.accepted != size)
        problem("echo of own Bytes was not accepted whole");
      return;
    }
    if (rng_.chance(app_.limits_.keep)) keep(std::move(bytes));
    if (received_ == to_receive_ && sending_done_ && rng_.below(2) == 0)
      conn_.close();  // before the peer's FIN
  }

  void peer_closed() {
    if (peer_closed_) problem("on_peer_closed twice");
    peer_closed_ = true;
    if (received_ != to_receive_) problem("FIN before all data");
    if (!is_client_ && plan_.echo) {
      conn_.shutdown_send();
    } else if (sending_done_ && rng_.below(2) == 0) {
      conn_.close();
    }
  }

  void closed(CloseReason reason) {
    if (!open_) problem("on_closed twice");
    open_ = false;
    --app_.open_;
    const bool may_break = plan_.client_aborts || plan_.server_aborts;
    if (reason == CloseReason::normal) {
      if (received_ != to_receive_) problem("closed normally with data missing");
      if (sent_ != to_send_) problem("closed normally with data unsent");
    } else if (reason != CloseReason::aborted || !aborts_) {
      if (!may_break || (reason != CloseReason::reset_by_peer && reason != CloseReason::refused))
        problem(std::string("closed: ") + close_reason_name(reason));
    }
    kept_.clear();
  }

 private:
  void later(Duration delay) {
    app_.world_.after(delay, [this] { pump(); });
  }

  bool write_some() {
    const std::uint32_t n = std::min(1 + rng_.below(app_.limits_.write_max), to_send_ - sent_);
    std::vector<std::uint8_t> octets(n);
    fill_stream(send_salt(), sent_, octets);
    SendResult result;
    if (rng_.below(2) == 0) {
      result = conn_.send(octets);
    } else {
      Bytes bytes = Bytes::copy_of(app_.host_.stack().pool(), octets);
      if (bytes.empty()) {
        later(Duration::from_ms(1));
        return false;
      }
      result = conn_.send(std::move(bytes));
      if (result.status == SendStatus::ok && result.accepted != n) problem("send(Bytes) ok but not whole");
    }
    sent_ += result.accepted;
    if (result.status == SendStatus::ok) return true;
    if (result.status == SendStatus::no_memory) later(Duration::from_ms(1));
    if (result.status == SendStatus::closed && open_) problem("send() says closed on an open connection");
    return false;  // would_block: on_writable follows
  }

  void finish_sending() {
    if (rng_.below(2) == 0 && received_ == to_receive_) {
      conn_.close();
    } else {
      conn_.shutdown_send();
    }
  }

  void keep(Bytes bytes) {
    // Some of it may go at once, from either end: the window must count exactly what is kept.
    if (rng_.below(4) == 0) bytes.remove_prefix(rng_.below(bytes.size() + 1));
    kept_.push_back(std::move(bytes));
    app_.world_.after(up_to(rng_, app_.limits_.keep_max), [this] {
      if (!kept_.empty()) kept_.erase(kept_.begin());
    });
  }

  bool aborted_by_plan() {
    if (!aborts_ || sent_ + received_ < abort_after_ || !open_) return false;
    aborts_now_ = true;
    conn_.abort();
    return true;
  }

  void check(const Bytes& bytes) {
    std::uint64_t at = received_;
    if (bytes.empty()) problem("on_data with nothing");
    bytes.for_each_piece([&](std::span<const std::uint8_t> piece) {
      std::vector<std::uint8_t> expected(piece.size());
      fill_stream(receive_salt(), at, expected);
      if (std::memcmp(expected.data(), piece.data(), piece.size()) != 0)
        problem("wrong octets received near offset " + std::to_string(at));
      at += piece.size();
    });
  }

  std::uint64_t send_salt() const { return plan_.salt + (is_client_ ? 0 : 0x100000000u); }
  std::uint64_t receive_salt() const { return plan_.salt + (is_client_ && !plan_.echo ? 0x100000000u : 0); }

  void problem(const std::string& what) {
    app_.world_.fail(app_.name() + (is_client_ ? " client" : " server") + " of port " +
                     std::to_string(port_) + ": " + what + " (sent " + std::to_string(sent_) + "/" +
                     std::to_string(to_send_) + ", received " + std::to_string(received_) + "/" +
                     std::to_string(to_receive_) + ")");
  }

  StreamApp& app_;
  TcpConn conn_;
  FlowPlan plan_;
  bool is_client_;
  Rng rng_;
  std::uint16_t port_ = is_client_ ? conn_.local().port : conn_.remote().port;
  std::uint32_t to_send_ = 0;
  std::uint32_t to_receive_ = 0;
  std::uint32_t sent_ = 0;
  std::uint32_t received_ = 0;
  std::uint32_t abort_after_ = 0;
  bool aborts_ = false;
  bool aborts_now_ = false;
  bool sending_done_ = false;
  bool peer_closed_ = false;
  bool open_ = true;
  std::vector<Bytes> kept_;
};

StreamApp::StreamApp(World& world, SimHost& host, const AppLimits& limits)
    : world_(world), host_(host), limits_(limits) {}
StreamApp::~StreamApp() = default;

FlowPlan StreamApp::plan_for(std::uint16_t client_port) const {
  Rng rng(mix(world_.seed()) + client_port);
  FlowPlan plan;
  plan.salt = rng.next();
  plan.up_octets = flow_octets(rng, limits_.octets_max);
  plan.down_octets = flow_octets(rng, limits_.octets_max);
  plan.echo = rng.chance(limits_.echo);
  if (rng.chance(limits_.abort)) (rng.below(2) == 0 ? plan.client_aborts : plan.server_aborts) = true;
  return plan;
}

StreamEnd& StreamApp::add_end(TcpConn conn, bool is_client) {
  const std::uint16_t port = is_client ? conn.local().port : conn.remote().port;
  const std::uint64_t seed = mix(world_.seed() * 2 + (is_client ? 1 : 0)) + port;
  ends_.push_back(std::make_unique<StreamEnd>(*this, conn, plan_for(port), is_client, seed));
  ++open_;
  conn.set_user_data(reinterpret_cast<std::uint64_t>(ends_.back().get()));
  return *ends_.back();
}

void StreamApp::listen(std::uint16_t port, const TcpConnOptions& options) {
  const auto result = host_.tcp().listen({.port = port, .conn = options}, *this);
  if (!result) world_.fail("listen: " + result.error().text);
}

void StreamApp::connect(SimHost& server, std::uint16_t port, const TcpConnOptions& options) {
  connect({.remote = {server.ip(), port}, .conn = options}, true);
}

void StreamApp::connect(const TcpConnectOptions& options, bool is_client) {
  const auto result = host_.tcp().connect(options, *this);
  if (result) {
    add_end(*result, is_client);
  } else {
    world_.fail("connect: " + result.error().text);
  }
}

namespace {
StreamEnd* end_of(TcpConn conn) {
  return reinterpret_cast<StreamEnd*>(conn.user_data());
}
}  // namespace

void StreamApp::on_connected(TcpConn conn) noexcept {
  StreamEnd* end = end_of(conn);
  (end != nullptr ? *end : add_end(conn, false)).pump();
}
void StreamApp::on_data(TcpConn conn, Bytes bytes) noexcept {
  end_of(conn)->data(std::move(bytes));
}
void StreamApp::on_writable(TcpConn conn) noexcept {
  end_of(conn)->pump();
}
void StreamApp::on_peer_closed(TcpConn conn) noexcept {
  end_of(conn)->peer_closed();
}
void StreamApp::on_closed(TcpConn conn, CloseReason reason) noexcept {
  end_of(conn)->closed(reason);
}

}  // namespace pollux::test
