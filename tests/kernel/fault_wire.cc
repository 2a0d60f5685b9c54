// A cable with faults between two ends of the machine, in real time: the simulator's link (SimLink), so what
// it is told is what tests/sim means by the same words. An end is a TAP device that this program makes
// (tap:NAME; it may then be moved into another network namespace) or an existing device beside which it sits
// (packet:NAME, by AF_PACKET), as the kernel's end of a net_tap port. Loss, reordering, the rate and its
// queue are those from the first end to the second; the delay is that of both ways. SIGTERM ends it and
// prints what was done to the frames.
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <utility>

#include "support/sim_link.h"

namespace pollux::test {
namespace {

constexpr std::size_t frame_max = 16384;

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "fault_wire: %s: %s\n", what.c_str(), std::strerror(errno));
  std::exit(1);
}

TimePoint clock_now() {
  const auto since = std::chrono::steady_clock::now().time_since_epoch();
  return TimePoint::from_ns(std::chrono::duration_cast<std::chrono::nanoseconds>(since).count());
}

int open_tap(const std::string& name) {
  const int fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK);
  if (fd < 0) fail("/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  name.copy(request.ifr_name, sizeof(request.ifr_name) - 1);
  if (ioctl(fd, TUNSETIFF, &request) < 0) fail("TAP device " + name);
  return fd;
}

int open_packet(const std::string& name) {
  const int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, htons(ETH_P_ALL));
  if (fd < 0) fail("AF_PACKET socket");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = static_cast<int>(if_nametoindex(name.c_str()));
  if (address.sll_ifindex == 0 || bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) < 0)
    fail("device " + name);
  const int on = 1, octets = 8 << 20;
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on));
  setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &octets, sizeof(octets));
  return fd;
}

int open_end(const std::string& end) {
  if (end.starts_with("tap:")) return open_tap(end.substr(4));
  if (end.starts_with("packet:")) return open_packet(end.substr(7));
  errno = EINVAL;
  fail("end '" + end + "' is neither tap:NAME nor packet:NAME");
}

/// Two ends, a link each way, and the frames that are under way.
class Wire {
 public:
  Wire(const std::array<std::string, 2>& ends, const std::array<LinkOptions, 2>& options, std::uint64_t seed)
      : rng_{Rng(seed), Rng(seed + 1)},
        links_{SimLink(options[0], [this](TimePoint at, Frame frame) { keep(1, at, std::move(frame)); }),
               SimLink(options[1], [this](TimePoint at, Frame frame) { keep(0, at, std::move(frame)); })} {
    for (std::size_t i = 0; i < 2; ++i) ends_[i] = {.fd = open_end(ends[i]), .events = POLLIN, .revents = 0};
  }
  Wire(const Wire&) = delete;
  Wire& operator=(const Wire&) = delete;
  ~Wire() {
    for (const pollfd& end : ends_) close(end.fd);
  }

  /// Until `ended`. `allowed` is the signal mask during waits.
  void run(const volatile std::sig_atomic_t& ended, const sigset_t& allowed) {
    while (!ended) {
      deliver(clock_now());
      wait(allowed);
      for (std::size_t i = 0; i < 2; ++i) take(i);
    }
  }

  const LinkCounts& counts(std::size_t from) const { return links_[from].counts(); }

 private:
  void keep(std::size_t to, TimePoint at, Frame frame) {
    under_way_.emplace(at, std::pair{to, std::move(frame)});
  }

  void deliver(TimePoint now) {
    while (!under_way_.empty() && under_way_.begin()->first <= now) {
      const auto& [to, frame] = under_way_.begin()->second;
      // A frame that a device has no room for, or that is down, is lost, as on any wire.
      [[maybe_unused]] const ssize_t written = write(ends_[to].fd, frame.data(), frame.size());
      under_way_.erase(under_way_.begin());
    }
  }

  void wait(const sigset_t& allowed) {
    timespec timeout{};
    if (!under_way_.empty()) {
      const std::int64_t ns = std::max<std::int64_t>(0, (under_way_.begin()->first - clock_now()).ns());
      timeout = {.tv_sec = ns / 1'000'000'000, .tv_nsec = ns % 1'000'000'000};
    }
    ppoll(ends_.data(), ends_.size(), under_way_.empty() ? nullptr : &timeout, &allowed);
  }

  void take(std::size_t from) {
    std::array<std::uint8_t, frame_max> octets;
    for (int burst = 0; burst < 64; ++burst) {
      const ssize_t size = read(ends_[from].fd, octets.data(), octets.size());
      if (size <= 0) return;  // nothing more, or the device is down
      links_[from].transmit(Frame(octets.begin(), octets.begin() + size), clock_now(), rng_[from]);
    }
  }

  std::array<pollfd, 2> ends_{};
  std::array<Rng, 2> rng_;
  std::array<SimLink, 2> links_;
  std::multimap<TimePoint, std::pair<std::size_t, Frame>> under_way_;  // equal times stay in order
};

volatile std::sig_atomic_t ended = 0;

void print(const char* direction, const LinkCounts& c) {
  std::printf("%s: %llu frames, %llu lost, %llu beyond the queue, %llu held back, %llu duplicated\n",
              direction, static_cast<unsigned long long>(c.sent), static_cast<unsigned long long>(c.lost),
              static_cast<unsigned long long>(c.overflowed), static_cast<unsigned long long>(c.reordered),
              static_cast<unsigned long long>(c.duplicated));
}

int run_wire(int argc, char** argv) {
  std::array<std::string, 2> ends;
  double rate_mbit = 0, delay_ms = 0, reorder_ms = 0;
  std::uint64_t seed = 1;
  LinkOptions there, back;
  there.queue_max = back.queue_max = 100'000;
  CLI::App app("A cable with faults between two ends, each tap:NAME or packet:NAME.");
  app.add_option("first", ends[0])->required();
  app.add_option("second", ends[1])->required();
  const auto option = [&](const char* name, auto& value, const char* what) {
    app.add_option(name, value, what)->capture_default_str();
  };
  option("--rate", rate_mbit, "Mbit/s from the first end to the second; 0: no limit");
  option("--queue", there.queue_max, "frames that may wait for the wire there");
  option("--delay", delay_ms, "milliseconds, each way");
  option("--loss", there.loss, "probability of a frame's loss there");
  option("--loss-back", back.loss, "probability of a frame's loss on the way back");
  option("--reorder", there.reorder, "probability that a frame is held back there");
  option("--reorder-delay", reorder_ms, "milliseconds that it is held back, at most");
  option("--seed", seed, "of every fault");
  CLI11_PARSE(app, argc, argv);
  there.bits_per_second = static_cast<std::uint64_t>(rate_mbit * 1e6);
  there.delay = back.delay = Duration::from_us(static_cast<std::int64_t>(delay_ms * 1000));
  there.reorder_delay = Duration::from_us(static_cast<std::int64_t>(reorder_ms * 1000));

  sigset_t blocked, before;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGTERM);
  sigaddset(&blocked, SIGINT);
  sigprocmask(SIG_BLOCK, &blocked, &before);  // they arrive only while it waits
  struct sigaction action{};
  action.sa_handler = [](int) { ended = 1; };
  sigaction(SIGTERM, &action, nullptr);
  sigaction(SIGINT, &action, nullptr);
  prctl(PR_SET_TIMERSLACK, 1);  // frames are due to the microsecond

  Wire wire(ends, {there, back}, seed);
  std::puts("fault_wire: ready");
  std::fflush(stdout);
  wire.run(ended, before);
  print("there", wire.counts(0));
  print("back", wire.counts(1));
  return 0;
}

}  // namespace
}  // namespace pollux::test

int main(int argc, char** argv) {
  return pollux::test::run_wire(argc, argv);
}
