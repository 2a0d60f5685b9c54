// The C API over one stack and a peer played by hand: what Linux's sockets would return, errno included.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>

#include <array>
#include <cerrno>
#include <string>

#include "pollux/sockets/socket_table.h"
#include "support/conversation.h"

namespace pollux::test {
namespace {

/// The simulation as a core's loop.
struct SimDriver final : LoopDriver {
  explicit SimDriver(Conversation& in) : c(in) {}
  bool turn(TimePoint until) noexcept override {
    ++turns;
    c.runs();
    if (!over && !until.is_never() && until > c.world.now()) c.world.run_until(until);
    return !over;
  }
  TimePoint now() noexcept override { return c.world.now(); }
  bool is_draining() const noexcept override { return over; }
  Conversation& c;
  bool over = false;
  int turns = 0;
};

struct Address {
  sockaddr_storage storage{};
  socklen_t length = sizeof(sockaddr_in);
  Address() = default;
  Address(const IpAddress& address, std::uint16_t port) {
    if (address.is_v4()) {
      auto& v4 = reinterpret_cast<sockaddr_in&>(storage);
      v4.sin_family = AF_INET;
      v4.sin_port = htons(port);
      v4.sin_addr.s_addr = htonl(address.v4_value());
    } else {
      auto& v6 = reinterpret_cast<sockaddr_in6&>(storage);
      v6.sin6_family = AF_INET6;
      v6.sin6_port = htons(port);
      std::memcpy(&v6.sin6_addr, address.octets().data(), 16);
      length = sizeof v6;
    }
  }
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
  sockaddr* out() {
    length = sizeof storage;
    return reinterpret_cast<sockaddr*>(&storage);
  }
  std::uint16_t port() const { return ntohs(reinterpret_cast<const sockaddr_in&>(storage).sin_port); }
};

/// -1 with errno, as one value.
template <typename T>
long result(T value) {
  return value < 0 ? -errno : static_cast<long>(value);
}

class Sockets : public testing::Test {
 protected:
  Sockets() { current_sockets() = {&c.host.stack().part<SocketTable>(), &driver}; }
  ~Sockets() override {
    c.host.sync();
    current_sockets().table->close_all();
    current_sockets() = {};
  }
  int family() const { return c.host.ip().is_v4() ? AF_INET : AF_INET6; }
  IpAddress any() const { return c.host.ip().is_v4() ? IpAddress() : IpAddress::v6(0, 0, 0, 0, 0, 0, 0, 0); }
  int socket(int type = SOCK_STREAM) {
    c.host.sync();
    const int fd = px_socket(family(), type, 0);
    EXPECT_GE(fd, PX_FD_FIRST);
    return fd;
  }
  int listens(int backlog = 16) {
    const int fd = socket();
    const Address at(any(), 7);
    EXPECT_EQ(px_bind(fd, at.get(), at.length), 0);
    EXPECT_EQ(px_listen(fd, backlog), 0);
    return fd;
  }
  /// A connection of the peer, accepted.
  int established() {
    const int listener = listens();
    c.peer.connects({.mss = 1460});
    const int fd = px_accept(listener, nullptr, nullptr);
    EXPECT_GE(fd, PX_FD_FIRST);
    return fd;
  }
  std::string reads(int fd, std::size_t n = 65536, int flags = 0) {
    std::string text(n, '\0');
    const ssize_t got = px_recv(fd, text.data(), n, flags);
    if (got < 0) return "errno " + std::to_string(errno);
    text.resize(static_cast<std::size_t>(got));
    return text;
  }
  /// What is ready now: "data:events" of each, in order.
  std::string ready(int max = 16, int timeout_ms = 0) {
    std::array<px_event, 16> events;
    const int n = px_poll(events.data(), max, timeout_ms);
    if (n < 0) return "errno " + std::to_string(errno);
    std::string text;
    for (int i = 0; i < n; ++i) {
      const px_event& e = events[static_cast<std::size_t>(i)];
      text += (text.empty() ? "" : " ") + std::to_string(e.data) + ":";
      for (const auto& [bit, letter] : {std::pair{PX_IN, 'i'}, {PX_OUT, 'o'}, {PX_ERR, 'e'}, {PX_HUP, 'h'}, {PX_RDHUP, 'r'}})
        if ((e.events & static_cast<std::uint32_t>(bit)) != 0) text += letter;
    }
    return text;
  }
  int option(int fd, int level, int name) {
    int value = -1;
    socklen_t length = sizeof value;
    return px_getsockopt(fd, level, name, &value, &length) == 0 ? value : -errno;
  }

  Conversation c;
  SimDriver driver{c};
};

TEST_F(Sockets, AcceptReadWriteClose) {
  const int listener = listens();
  px_ctl(listener, PX_IN, 1);
  EXPECT_EQ(result(px_accept(listener, nullptr, nullptr)), -EAGAIN);
  EXPECT_EQ(ready(), "");
  c.peer.connects();
  EXPECT_EQ(ready(), "1:i");
  EXPECT_EQ(ready(), "1:i") << "level-triggered";
  Address peer;
  const int fd = px_accept(listener, peer.out(), &peer.length);
  EXPECT_EQ(peer.port(), c.peer.peer_port());
  EXPECT_EQ(ready(), "");
  px_ctl(fd, PX_IN, 2);
  EXPECT_EQ(reads(fd), "errno " + std::to_string(EAGAIN));
  c.peer.sends(ACK, {.data = "hello"});
  c.peer.expects(ACK);
  EXPECT_EQ(ready(), "2:i");
  EXPECT_EQ(reads(fd, 3, MSG_PEEK), "hel");
  EXPECT_EQ(reads(fd, 2), "he");
  EXPECT_EQ(reads(fd), "llo");
  EXPECT_EQ(px_send(fd, "back", 4, 0), 4);
  EXPECT_EQ(ready(), "");
  c.peer.expects(ACK, {.data = "back"});
  c.peer.sends(FIN | ACK, {.ack = 5});
  c.peer.expects(ACK);
  px_ctl(fd, PX_IN | PX_RDHUP, 2);
  EXPECT_EQ(ready(), "2:ir");
  EXPECT_EQ(reads(fd), "");
  c.host.sync();
  EXPECT_EQ(px_close(fd), 0);
  EXPECT_EQ(result(px_close(fd)), -EBADF);
  c.runs();
  c.peer.expects(FIN | ACK);
  c.peer.sends(ACK);
  EXPECT_EQ(c.host.tcp().connection_count(), 0u);
}

TEST_F(Sockets, PiecesAreGatheredAndScattered) {
  const int fd = established();
  c.peer.sends(ACK, {.data = "abcdef"});
  c.peer.sends(ACK, {.data = "ghij"});
  std::array<char, 4> first{}, second{}, third{};
  const std::array<iovec, 3> into = {iovec{first.data(), 4}, {second.data(), 1}, {third.data(), 4}};
  EXPECT_EQ(px_readv(fd, into.data(), 3), 9);
  EXPECT_EQ(std::string(first.data(), 4) + '|' + second[0] + '|' + std::string(third.data(), 4), "abcd|e|fghi");
  EXPECT_EQ(reads(fd), "j");
  c.peer.take();
  std::string one = "one ", two = "two";
  const std::array<iovec, 2> from = {iovec{one.data(), 4}, {two.data(), 3}};
  EXPECT_EQ(px_writev(fd, from.data(), 2), 7);
  c.runs();
  c.peer.expects(ACK, {.data = "one two"});
}

TEST_F(Sockets, AFullSendBufferBlocksUntilThereIsRoom) {
  const int fd = established();
  px_ctl(fd, PX_OUT, 5);
  EXPECT_EQ(ready(), "5:o");
  const std::string text(1 << 20, 'x');
  c.peer.sends(ACK, {.window = 0});
  const ssize_t taken = px_write(fd, text.data(), text.size());
  EXPECT_GT(taken, 10'000);
  EXPECT_LT(taken, 1 << 20);
  EXPECT_EQ(result(px_write(fd, "x", 1)), -EAGAIN);
  EXPECT_EQ(ready(), "");
  std::int64_t heard = 0;
  c.peer.sends(ACK, {.window = 65535});
  for (int i = 0; i < 1000 && heard < taken; ++i) {
    for (const auto& arrival : c.peer.take()) heard += static_cast<std::int64_t>(arrival.segment.payload.size());
    c.peer.sends(ACK, {.ack = heard + 1, .window = 65535});
  }
  EXPECT_EQ(heard, taken);
  EXPECT_EQ(ready(), "5:o");
}

TEST_F(Sockets, ConnectIsInProgressThenOpen) {
  const int fd = socket();
  px_ctl(fd, PX_OUT, 3);
  const Address to(c.peer.address(), 80), from(any(), 5000);
  EXPECT_EQ(px_bind(fd, from.get(), from.length), 0);
  c.peer.use_ports(80, 5000);
  EXPECT_EQ(result(px_connect(fd, to.get(), to.length)), -EINPROGRESS);
  EXPECT_EQ(result(px_connect(fd, to.get(), to.length)), -EALREADY);
  EXPECT_EQ(result(px_send(fd, "x", 1, 0)), -EAGAIN);
  Address name;
  EXPECT_EQ(result(px_getpeername(fd, name.out(), &name.length)), -ENOTCONN);
  EXPECT_EQ(ready(), "");
  c.peer.accepts();
  EXPECT_EQ(ready(), "3:o");
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0);
  EXPECT_EQ(result(px_connect(fd, to.get(), to.length)), -EISCONN);
  EXPECT_EQ(px_getpeername(fd, name.out(), &name.length), 0);
  EXPECT_EQ(name.port(), 80);
  EXPECT_EQ(px_getsockname(fd, name.out(), &name.length), 0);
  EXPECT_EQ(name.port(), 5000);
}

TEST_F(Sockets, AConnectThatIsRefusedSaysSo) {
  const int fd = socket();
  px_ctl(fd, PX_OUT, 3);
  const Address to(c.peer.address(), 80), from(any(), 5000);
  EXPECT_EQ(px_bind(fd, from.get(), from.length), 0);
  c.peer.use_ports(80, 5000);
  EXPECT_EQ(result(px_connect(fd, to.get(), to.length)), -EINPROGRESS);
  c.runs();
  c.peer.expects(SYN);
  c.peer.sends(RST | ACK, {.ack = 1});
  EXPECT_EQ(ready(), "3:oeh");
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_ERROR), 0) << "told once";
}

TEST_F(Sockets, AResetIsToldOnceThenItIsTheEnd) {
  const int fd = established();
  px_ctl(fd, PX_IN, 4);
  c.peer.sends(ACK, {.data = "last"});
  c.peer.sends(RST | ACK);
  EXPECT_EQ(ready(), "4:ieh");
  EXPECT_EQ(reads(fd), "last");
  EXPECT_EQ(reads(fd), "errno " + std::to_string(ECONNRESET));
  EXPECT_EQ(reads(fd), "");
  EXPECT_EQ(result(px_send(fd, "x", 1, 0)), -EPIPE);
}

TEST_F(Sockets, ClosingWithUnreadDataResets) {
  const int fd = established();
  c.peer.sends(ACK, {.data = "unheard"});
  c.peer.expects(ACK);
  c.host.sync();
  EXPECT_EQ(px_close(fd), 0);
  c.runs();
  c.peer.expects(RST | ACK);
}

TEST_F(Sockets, ShutdownSendsTheFinAndStillReads) {
  const int fd = established();
  c.host.sync();
  EXPECT_EQ(px_shutdown(fd, SHUT_WR), 0);
  c.runs();
  c.peer.expects(FIN | ACK);
  EXPECT_EQ(result(px_send(fd, "x", 1, 0)), -EPIPE);
  c.peer.sends(ACK, {.ack = 2, .data = "still"});
  EXPECT_EQ(reads(fd), "still");
  EXPECT_EQ(px_shutdown(fd, SHUT_RD), 0);
  EXPECT_EQ(reads(fd), "");
  EXPECT_EQ(result(px_shutdown(fd, 7)), -EINVAL);
}

TEST_F(Sockets, MoreThanTheBacklogAreReset) {
  const int listener = listens(1);
  c.peer.connects();
  c.peer.forget();
  c.peer.use_ports(40001, 7);
  c.peer.sends(SYN);
  c.peer.expects(SYN | ACK);
  c.peer.sends(ACK);
  c.peer.expects(RST | ACK);
  EXPECT_GE(px_accept(listener, nullptr, nullptr), PX_FD_FIRST);
  EXPECT_EQ(result(px_accept(listener, nullptr, nullptr)), -EAGAIN);
}

TEST_F(Sockets, ClosingAListenerResetsWhoeverWaits) {
  const int listener = listens();
  c.peer.connects();
  c.host.sync();
  EXPECT_EQ(px_close(listener), 0);
  c.runs();
  c.peer.expects(RST | ACK);
  const int again = listens();  // the port is free
  EXPECT_GE(again, PX_FD_FIRST);
}

TEST_F(Sockets, EverybodyHasATurnInPoll) {
  const int listener = listens();
  for (std::uint16_t i = 0; i < 3; ++i) {
    c.peer.use_ports(static_cast<std::uint16_t>(40000 + i), 7);
    c.peer.forget();
    c.peer.connects();
    const int fd = px_accept(listener, nullptr, nullptr);
    px_ctl(fd, PX_OUT, 10u + i);
  }
  EXPECT_EQ(ready(1), "10:o");
  EXPECT_EQ(ready(1), "11:o");
  EXPECT_EQ(ready(1), "12:o");
  EXPECT_EQ(ready(1), "10:o");
  EXPECT_EQ(ready(), "11:o 12:o 10:o");
}

TEST_F(Sockets, PollWaitsAsLongAsItIsToldAndMovesPacketsEachTime) {
  const int listener = listens();
  px_ctl(listener, PX_IN, 1);
  const TimePoint begun = c.world.now();
  EXPECT_EQ(ready(16, 250), "");
  EXPECT_EQ(c.world.now() - begun, 250_ms);
  c.peer.connects();
  driver.turns = 0;
  EXPECT_EQ(ready(16, 250), "1:i");
  EXPECT_EQ(driver.turns, 1);
  EXPECT_EQ(c.world.now() - begun, 250_ms);
  px_ctl(listener, 0, 0);
  EXPECT_EQ(ready(), "");
  driver.over = true;
  EXPECT_EQ(px_is_draining(), 1);
  EXPECT_EQ(ready(16, -1), "errno " + std::to_string(ESHUTDOWN));
}

TEST_F(Sockets, OptionsDoWhatTheySayOrAreRefused) {
  const int fd = established();
  const int on = 1;
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 0);
  EXPECT_EQ(px_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on), 0);
  EXPECT_EQ(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
  EXPECT_EQ(px_send(fd, "a", 1, 0), 1);
  c.runs();
  EXPECT_EQ(px_send(fd, "b", 1, 0), 1);
  c.runs();
  c.peer.expects(ACK, {.data = "a"});
  c.peer.expects(ACK, {.data = "b"});  // Nagle would have held it back
  EXPECT_EQ(px_setsockopt(fd, IPPROTO_TCP, TCP_CORK, &on, sizeof on), 0);
  EXPECT_EQ(px_send(fd, "c", 1, 0), 1);
  c.runs();
  c.peer.expects_nothing();
  EXPECT_EQ(px_setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on), 0);
  EXPECT_EQ(result(px_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &on, sizeof on)), -ENOPROTOOPT);
  EXPECT_EQ(result(px_setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, 1)), -EINVAL);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_DOMAIN), family());
  EXPECT_EQ(option(fd, SOL_SOCKET, SO_ACCEPTCONN), 0);
  const linger at_once{1, 0};
  EXPECT_EQ(px_setsockopt(fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once), 0);
  c.host.sync();
  px_close(fd);
  c.runs();
  c.peer.expects(RST | ACK);
}

TEST_F(Sockets, DatagramsComeAndGoWhole) {
  const int fd = socket(SOCK_DGRAM);
  px_ctl(fd, PX_IN, 6);
  const Address at(any(), 9);
  EXPECT_EQ(px_bind(fd, at.get(), at.length), 0);
  EXPECT_EQ(reads(fd), "errno " + std::to_string(EAGAIN));
  const LinkIds ids = c.peer.ids();
  const auto arrives = [&](std::string_view text) {
    c.peer.sends_frame(udp_frame(ids, 6000, 9, Frame(text.begin(), text.end())));
  };
  arrives("first");
  arrives("second one");
  EXPECT_EQ(ready(), "6:i");
  EXPECT_EQ(reads(fd, 100, MSG_PEEK), "first");
  std::array<char, 3> small{};
  Address from;
  EXPECT_EQ(px_recvfrom(fd, small.data(), small.size(), MSG_TRUNC, from.out(), &from.length), 5);
  EXPECT_EQ(std::string(small.data(), 3), "fir");
  EXPECT_EQ(from.port(), 6000);
  EXPECT_EQ(reads(fd), "second one");
  EXPECT_EQ(ready(), "");
  EXPECT_EQ(result(px_send(fd, "x", 1, 0)), -EDESTADDRREQ);
  EXPECT_EQ(px_sendto(fd, "reply", 5, 0, from.get(), from.length), 5);
  c.runs();
  Decoded heard = c.peer.expects_any();
  EXPECT_EQ(heard.destination_port, 6000);
  EXPECT_EQ(std::string(heard.payload.begin(), heard.payload.end()), "reply");
  EXPECT_EQ(px_connect(fd, from.get(), from.length), 0);
  std::string one = "in ", two = "pieces";
  const std::array<iovec, 2> pieces = {iovec{one.data(), 3}, {two.data(), 6}};
  EXPECT_EQ(px_writev(fd, pieces.data(), 2), 9);
  c.runs();
  heard = c.peer.expects_any();
  EXPECT_EQ(std::string(heard.payload.begin(), heard.payload.end()), "in pieces");
  const std::string large(70'000, 'x');
  EXPECT_EQ(result(px_send(fd, large.data(), large.size(), 0)), -EMSGSIZE);
}

TEST_F(Sockets, AClosedDescriptorIsNobodys) {
  const int fd = established();
  EXPECT_EQ(px_close(fd), 0);
  EXPECT_EQ(result(px_close(fd)), -EBADF);
  EXPECT_EQ(result(px_send(fd, "x", 1, 0)), -EBADF);
  EXPECT_EQ(result(px_ctl(fd, PX_IN, 0)), -EBADF);
  EXPECT_EQ(reads(fd), "errno " + std::to_string(EBADF));
}

TEST_F(Sockets, MistakesHaveTheirErrno) {
  EXPECT_EQ(result(px_socket(AF_UNIX, SOCK_STREAM, 0)), -EAFNOSUPPORT);
  EXPECT_EQ(result(px_socket(AF_INET, SOCK_RAW, 0)), -ESOCKTNOSUPPORT);
  EXPECT_EQ(result(px_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP)), -EPROTONOSUPPORT);
  EXPECT_EQ(result(px_listen(3, 1)), -EBADF);
  const int fd = socket();
  EXPECT_EQ(result(px_listen(fd, 1)), -EINVAL) << "no port";
  const Address at(any(), 7), six(IpAddress::v6(0xfe80, 0, 0, 0, 0, 0, 0, 1), 7);
  EXPECT_EQ(result(px_bind(fd, at.get(), 4)), -EINVAL);
  EXPECT_EQ(px_bind(fd, at.get(), at.length), 0);
  EXPECT_EQ(result(px_bind(fd, at.get(), at.length)), -EINVAL);
  EXPECT_EQ(px_listen(fd, 1), 0);
  const int other = socket();
  EXPECT_EQ(px_bind(other, at.get(), at.length), 0);
  EXPECT_EQ(result(px_listen(other, 1)), -EADDRINUSE);
  const int four = px_socket(AF_INET, SOCK_STREAM, 0);
  EXPECT_EQ(result(px_bind(four, six.get(), six.length)), -EAFNOSUPPORT);
  EXPECT_EQ(reads(four), "errno " + std::to_string(ENOTCONN));
  EXPECT_EQ(result(px_send(four, "x", 1, 0)), -EPIPE);
  EXPECT_EQ(result(px_recv(four, nullptr, 0, MSG_OOB)), -EOPNOTSUPP);
  EXPECT_EQ(result(px_accept(four, nullptr, nullptr)), -EINVAL);
  EXPECT_EQ(result(px_ctl(four, 1u << 30, 0)), -EINVAL);
  EXPECT_EQ(result(px_poll(nullptr, 1, 0)), -EINVAL);
  const CurrentSockets mine = std::exchange(current_sockets(), {});
  EXPECT_EQ(result(px_socket(AF_INET, SOCK_STREAM, 0)), -EPERM) << "not a polling core";
  current_sockets() = mine;
}

}  // namespace
}  // namespace pollux::test
