#include "child.h"

#include <poll.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace pollux::test {
namespace {

constexpr unsigned child_seconds_max = 60;

[[noreturn]] void run_child(const std::function<void()>& body, int output) {
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  close(output);
  alarm(child_seconds_max);
  if (unshare(CLONE_NEWNET) != 0) {
    ADD_FAILURE() << "no network namespace: " << std::strerror(errno) << "; run this test as root";
  } else {
    shell("ip link set lo up");
    body();
  }
  std::fflush(nullptr);
  std::exit(testing::Test::HasFailure() ? 1 : 0);
}

}  // namespace

ChildResult in_child(const std::function<void()>& body) {
  std::array<int, 2> fds{};
  if (pipe(fds.data()) != 0) std::abort();
  std::fflush(nullptr);
  const pid_t pid = fork();
  if (pid == 0) {
    close(fds[0]);
    run_child(body, fds[1]);
  }
  close(fds[1]);
  ChildResult result;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = read(fds[0], buffer.data(), buffer.size())) > 0;)
    result.output.append(buffer.data(), static_cast<std::size_t>(n));
  close(fds[0]);
  int status = 0;
  waitpid(pid, &status, 0);
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

std::string expect_in_child(const std::function<void()>& body) {
  ChildResult result = in_child(body);
  EXPECT_EQ(result.exit_code, 0) << result.output;
  return std::move(result.output);
}

void shell(const std::string& command) {
  ASSERT_EQ(std::system(command.c_str()), 0) << command;
}

Config device_config(const std::string& device) {
  Config config;
  config.ports.push_back({.device = device,
                          .addresses = {*IpPrefix::from_string("10.77.0.2/24")},
                          .rx_ring = 512,
                          .tx_ring = 512});
  config.pool = {.packets = 4095, .clones = 4095, .cache = 64};
  config.eal.huge_pages = HugePages::off;
  config.tcp.connections_max = 1024;
  config.tcp.time_wait_max = 1024;
  return config;
}

Config tap_config() {
  return device_config("net_tap0,iface=px0");
}

void raise_kernel_side() {
  shell("ip address add 10.77.0.1/24 dev px0");
}

}  // namespace pollux::test
