#include "l4echo/http.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <span>
#include <utility>

#include "common/pattern.h"

namespace pollux::app {
namespace {
constexpr std::string_view head_end = "\r\n\r\n";
}

HttpServer::HttpServer(std::uint32_t connections_max, std::uint64_t default_size)
    : sessions_(connections_max), retry_(connections_max), default_size_(default_size) {
  tick(TimePoint{}, std::time(nullptr));
}

/// User data is the session's index plus one; 0 means that the table was full.
HttpServer::Session* HttpServer::session_of(TcpConn conn) noexcept {
  const std::uint64_t word = conn.user_data();
  return word == 0 ? nullptr : &sessions_[static_cast<std::uint32_t>(word - 1)];
}

void HttpServer::on_connected(TcpConn conn) noexcept {
  const std::uint32_t index = sessions_.emplace(conn);
  if (index == Slab<Session>::nil) return conn.abort();
  conn.set_user_data(std::uint64_t{index} + 1);
  conn.set_nagle(false);  // the end of an answer must not wait for a delayed ACK
}

void HttpServer::on_closed(TcpConn conn, CloseReason) noexcept {
  if (session_of(conn) != nullptr) sessions_.erase(static_cast<std::uint32_t>(conn.user_data() - 1));
}

void HttpServer::on_data(TcpConn conn, Bytes bytes) noexcept {
  Session* session = session_of(conn);
  if (session == nullptr || session->finished) return;
  if (session->held.size() == held_max) return conn.abort();
  session->held.push_back(std::move(bytes));
  serve(*session);
}

void HttpServer::on_writable(TcpConn conn) noexcept {
  if (Session* session = session_of(conn)) serve(*session);
}

void HttpServer::on_peer_closed(TcpConn conn) noexcept {
  Session* session = session_of(conn);
  if (session == nullptr) return;
  session->input_ended = true;
  serve(*session);
}

/// Goes as far as the send buffer and the input allow.
void HttpServer::serve(Session& session) noexcept {
  session.last_progress = TimePoint::never();
  while (!session.finished && send_answer(session)) {
    if (session.ends_after_answer || (!read_request(session) && session.input_ended)) {
      finish(session);
    } else if (session.answer_size == 0) {
      return;  // the rest of a request is still to come
    }
  }
  if (session.finished && session.input_ended) session.conn.close();
}

/// True when nothing of the answer is left.
bool HttpServer::send_answer(Session& session) noexcept {
  SendResult sent{};
  while (session.answer_sent < session.answer_size) {
    sent = session.conn.send(std::string_view(session.answer.data() + session.answer_sent,
                                              std::size_t{session.answer_size} - session.answer_sent));
    session.answer_sent = static_cast<std::uint16_t>(session.answer_sent + sent.accepted);
    if (sent.status != SendStatus::ok) break;
  }
  while (sent.status == SendStatus::ok && session.body_sent < session.body_size) {
    sent = session.conn.send(pattern_at(session.body_sent, session.body_size - session.body_sent));
    session.body_sent += sent.accepted;
  }
  if (sent.status == SendStatus::no_memory) retry_.add(session.conn);
  if (sent.status != SendStatus::ok) return false;
  session.answer_size = session.answer_sent = 0;
  session.body_size = session.body_sent = 0;
  return true;
}

/// Moves input into `head` up to the empty line. True when a request was complete: its answer is started.
bool HttpServer::read_request(Session& session) noexcept {
  while (session.has_input()) {
    Bytes& bytes = session.held[session.held_first];
    const auto piece = bytes.front();
    const std::size_t taken = std::min(piece.size(), request_head_max - session.head_size);
    std::memcpy(session.head.data() + session.head_size, piece.data(), taken);
    const std::string_view head(session.head.data(), session.head_size + taken);
    const std::size_t end = head.find(head_end, session.head_size < 3 ? 0 : session.head_size - 3u);
    const std::size_t used =
        end == std::string_view::npos ? taken : end + head_end.size() - session.head_size;

    if (used == bytes.size()) {
      bytes.reset();
      if (++session.held_first == session.held.size()) {
        session.held.clear();
        session.held_first = 0;
      }
    } else {
      bytes.remove_prefix(static_cast<std::uint32_t>(used));
    }
    if (end != std::string_view::npos) {
      session.head_size = 0;
      start_answer(session, read_http_request(head.substr(0, end + head_end.size()), default_size_));
      return true;
    }
    session.head_size = static_cast<std::uint16_t>(head.size());
    if (session.head_size == request_head_max) {
      start_answer(session, HttpAnswer{.status = 431});
      return true;
    }
  }
  return false;
}

void HttpServer::start_answer(Session& session, const HttpAnswer& answer) noexcept {
  const auto* text = http_status_text(answer.status);
  // RFC 9110 15.5.6: a 405 names the methods that are allowed.
  const auto end = fmt::format_to_n(
      session.answer.data(), session.answer.size(),
      "HTTP/1.1 {} {}\r\nDate: {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n{}{}\r\n",
      answer.status, text, date_.data(), answer.body_size, answer.status == 405 ? "Allow: GET, HEAD\r\n" : "",
      !answer.keep_alive   ? "Connection: close\r\n"
      : answer.is_http_1_0 ? "Connection: keep-alive\r\n"
                           : "");
  session.answer_size = static_cast<std::uint16_t>(end.size);
  session.body_size = answer.send_body ? answer.body_size : 0;
  session.ends_after_answer = !answer.keep_alive;
}

/// Our FIN; what the peer still sends is thrown away until its own FIN, so that no RST overtakes the answer
/// (RFC 9112 9.6).
void HttpServer::finish(Session& session) noexcept {
  session.finished = true;
  session.held.clear();
  session.held_first = 0;
  session.conn.shutdown_send();
}

void HttpServer::tick(TimePoint now, std::time_t wall) noexcept {
  retry_.retry_all([this](TcpConn conn) { on_writable(conn); });
  if (date_[0] != '\0' && now - swept_ < Duration::from_s(1)) return;
  swept_ = now;
  std::tm utc{};
  gmtime_r(&wall, &utc);
  std::strftime(date_.data(), date_.size(), "%a, %d %b %Y %H:%M:%S GMT", &utc);
  sessions_.for_each([now](std::uint32_t, Session& session) {
    if (session.last_progress.is_never()) session.last_progress = now;
    if (now - session.last_progress > (session.finished ? linger_max : idle_max)) session.conn.abort();
  });
}

}  // namespace pollux::app
