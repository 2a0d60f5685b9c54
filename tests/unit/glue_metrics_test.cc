// Prometheus: the text, and the listener that serves it.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <string>
#include <vector>

#include "pollux/drivers_glue/metrics_http.h"
#include "pollux/drivers_glue/metrics_text.h"

namespace pollux {
namespace {

TEST(MetricsText, HasEveryCounterUnitAndLabel) {
  std::vector<CoreReport> cores(2);
  cores[1].snapshot.counters.add(Counter::tcp_retrans_segs, 5);
  cores[1].snapshot.counters.drop(DropReason::udp_no_socket, 6);
  cores[0].snapshot.loop.busy_ns = 1'500'000'000;
  cores[0].snapshot.loop.busy_turns.record(300);
  cores[0].snapshot.loop.busy_turns.record(5000);
  cores[0].snapshot.tcp.connections = {3, 100, 4096};
  cores[0].snapshot.tcp.kept = {5, 16384, 0};
  cores[1].snapshot.queues[0] = {.port = 0, .queue = 1, .rx_packets = 8, .tx_packets = 9};
  cores[1].snapshot.queue_count = 1;
  const std::vector<PortMetrics> ports = {{{.name = "net_tap0", .stats = {}}, {{"rx_q0_errors", 7}}}};
  const std::string text = metrics_text(ports, cores);
  for (const char* line :
       {"# HELP pollux_tcp_retrans_segs_total segments retransmitted (TcpRetransSegs).\n",
        "# TYPE pollux_tcp_retrans_segs_total counter\n", "\npollux_tcp_retrans_segs_total{core=\"0\"} 0\n",
        "\npollux_tcp_retrans_segs_total{core=\"1\"} 5\n",
        "\npollux_dropped_packets_total{core=\"1\",reason=\"udp_no_socket\"} 6\n",
        "\npollux_loop_busy_turn_seconds_bucket{core=\"0\",le=\"2.56e-07\"} 0\n",
        "\npollux_loop_busy_turn_seconds_bucket{core=\"0\",le=\"1.024e-06\"} 1\n",
        "\npollux_loop_busy_turn_seconds_bucket{core=\"0\",le=\"+Inf\"} 2\n",
        "\npollux_loop_busy_turn_seconds_sum{core=\"0\"} 1.5\n", "\npollux_tcp_connections{core=\"0\"} 3\n",
        "\npollux_tcp_kept_packets{core=\"0\"} 5\n", "\npollux_tcp_kept_packets_limit{core=\"0\"} 16384\n",
        "\npollux_tcp_connections_limit{core=\"0\"} 100\n",
        "\npollux_tcp_connections_memory_bytes{core=\"0\"} 4096\n",
        "\npollux_port_receive_packets_total{port=\"net_tap0\"} 0\n",
        "\npollux_queue_receive_packets_total{port=\"net_tap0\",queue=\"1\",core=\"1\"} 8\n",
        "\npollux_queue_transmit_packets_total{port=\"net_tap0\",queue=\"1\",core=\"1\"} 9\n",
        "\npollux_port_driver_stat{port=\"net_tap0\",stat=\"rx_q0_errors\"} 7\n"})
    EXPECT_NE(text.find(line), std::string::npos) << line;
  std::size_t types = 0, at = 0;
  while ((at = text.find("# TYPE ", at + 1)) != std::string::npos) ++types;
  EXPECT_GT(types, counter_count);
}

class Http : public testing::Test {
 protected:
  int dial() const {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const std::string address = server.address();
    to.sin_port = htons(static_cast<std::uint16_t>(std::stoul(address.substr(address.rfind(':') + 1))));
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    return fd;
  }
  static void say(int fd, std::string_view text) {
    EXPECT_EQ(send(fd, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  /// Serves until the other side of `fd` closes; what it said.
  std::string hear(int fd) {
    std::string all;
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
    while (std::chrono::steady_clock::now() < end) {
      server.serve();
      pollfd ready{fd, POLLIN, 0};
      if (poll(&ready, 1, 1) != 1) continue;
      char piece[4096];
      const ssize_t n = recv(fd, piece, sizeof piece, 0);
      if (n <= 0) break;
      all.append(piece, static_cast<std::size_t>(n));
    }
    close(fd);
    return all;
  }
  std::string ask(std::string_view request) {
    const int fd = dial();
    say(fd, request);
    return hear(fd);
  }

  std::string body = "pollux_answer 42\n";
  MetricsHttp server{"127.0.0.1:0", [this] { return body; }};
};

TEST_F(Http, AnswersGetAndHead) {
  const std::string got = ask("GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_TRUE(
      got.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n"))
      << got;
  EXPECT_NE(got.find("Content-Length: 17\r\n"), std::string::npos);
  EXPECT_TRUE(got.ends_with("\r\n\r\npollux_answer 42\n"));
  EXPECT_TRUE(
      ask("HEAD /metrics HTTP/1.0\r\n\r\n").ends_with("Content-Length: 17\r\nConnection: close\r\n\r\n"));
  EXPECT_TRUE(ask("GET /metrics?x=1 HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST_F(Http, RefusesWhatItDoesNotKnow) {
  EXPECT_TRUE(ask("GET / HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(ask("POST /metrics HTTP/1.1\r\n\r\n")
                  .starts_with("HTTP/1.1 405 Method Not Allowed\r\nAllow: GET, HEAD\r\n"));
  for (const char* request :
       {"\r\n\r\n", "GET\r\n\r\n", "GET /metrics\r\n\r\n", "GET /metrics SPDY/3\r\n\r\n", "GET  \r\n\r\n"})
    EXPECT_TRUE(ask(request).starts_with("HTTP/1.1 400 ")) << request;
  EXPECT_TRUE(ask("GET /metrics HTTP/1.1\r\nX: " + std::string(MetricsHttp::request_max, 'x'))
                  .starts_with("HTTP/1.1 431 "));
}

TEST_F(Http, TakesARequestInPiecesAndSendsALargeReplyInPieces) {
  body.assign(8 << 20, 'x');
  const int fd = dial();
  for (const char c : std::string_view("GET /metrics HTTP/1.1\r\n\r\n")) {
    say(fd, {&c, 1});
    server.serve();
  }
  EXPECT_GT(hear(fd).size(), body.size());
}

TEST_F(Http, SilentClientsDoNotKeepOthersOut) {
  std::vector<int> silent;
  for (std::size_t i = 0; i < 3 * MetricsHttp::clients_max; ++i) {
    silent.push_back(dial());
    server.serve();
  }
  EXPECT_TRUE(ask("GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
  char octet = 0;
  EXPECT_EQ(recv(silent.front(), &octet, 1, MSG_DONTWAIT), 0) << "the first had to go, and was told";
  for (const int fd : silent) close(fd);
  server.serve();
  EXPECT_TRUE(ask("GET /metrics HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 200 "));
}

TEST(ListenAddress, IsAnAddressAndAPort) {
  for (const char* good : {"127.0.0.1:9464", "0.0.0.0:0", "[::1]:9464", "[::]:65535"})
    EXPECT_TRUE(is_listen_address(good)) << good;
  for (const char* bad : {"", "9464", ":9464", "localhost:9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
                          "::1:9464", "[127.0.0.1]:1", "1.2.3.4:9x"})
    EXPECT_FALSE(is_listen_address(bad)) << bad;
  EXPECT_THROW(MetricsHttp("192.0.2.77:1", [] { return ""; }), std::runtime_error)
      << "not an address of this machine";
}

}  // namespace
}  // namespace pollux
