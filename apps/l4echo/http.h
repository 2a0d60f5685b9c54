// An HTTP/1.1 port for curl and wrk: GET /<n> is answered with n octets of text. Keep-alive and pipelining.
#pragma once

#include <array>
#include <cstdint>
#include <ctime>
#include <string_view>
#include <vector>

#include "common/retry_list.h"
#include "l4echo/http_request.h"
#include "pollux/base/slab.h"
#include "pollux/base/time.h"
#include "pollux/tcp/conn.h"

namespace pollux::app {

/// One per core. Requests of a connection are answered one after another; while an answer waits for the send
/// buffer, further requests stay in the receive window.
class HttpServer final : public TcpHandler {
 public:
  static constexpr std::size_t request_head_max = 8192;  ///< octets; more is answered with 431
  static constexpr std::size_t held_max = 512;  ///< pieces of pipelined input; more aborts the connection
  static constexpr Duration idle_max =
      Duration::from_s(60);  ///< without progress, then the connection is aborted
  static constexpr Duration linger_max = Duration::from_s(5);  ///< for the peer's FIN after ours

  /// `default_size`: octets of "/".
  HttpServer(std::uint32_t connections_max, std::uint64_t default_size);
  void set_size(std::uint64_t default_size) noexcept { default_size_ = default_size; }

  void on_connected(TcpConn conn) noexcept override;
  void on_data(TcpConn conn, Bytes bytes) noexcept override;
  void on_writable(TcpConn conn) noexcept override;
  void on_peer_closed(TcpConn conn) noexcept override;
  void on_closed(TcpConn conn, CloseReason reason) noexcept override;
  /// From the core's tick, at least once a second: retries, timeouts, the Date field (`wall`: UTC).
  void tick(TimePoint now, std::time_t wall) noexcept;

 private:
  struct Session {
    explicit Session(TcpConn c) noexcept : conn(c) {}
    TcpConn conn;
    TimePoint last_progress = TimePoint::never();  // never: since the last tick
    std::uint64_t body_size = 0;
    std::uint64_t body_sent = 0;
    std::uint16_t answer_size = 0;
    std::uint16_t answer_sent = 0;
    std::uint16_t head_size = 0;
    bool ends_after_answer = false;
    bool finished = false;     // our FIN is queued
    bool input_ended = false;  // the peer's FIN came
    std::uint32_t held_first = 0;
    std::vector<Bytes> held;                  // input behind the request being answered
    std::array<char, 256> answer;             // status line and fields
    std::array<char, request_head_max> head;  // of the request being read

    bool has_input() const noexcept { return held_first < held.size(); }
  };

  Session* session_of(TcpConn conn) noexcept;
  void serve(Session& session) noexcept;
  bool send_answer(Session& session) noexcept;
  bool read_request(Session& session) noexcept;
  void start_answer(Session& session, const HttpAnswer& answer) noexcept;
  void finish(Session& session) noexcept;

  Slab<Session> sessions_;
  RetryList retry_;
  std::uint64_t default_size_;
  TimePoint swept_;
  std::array<char, 30> date_{};
};

}  // namespace pollux::app
