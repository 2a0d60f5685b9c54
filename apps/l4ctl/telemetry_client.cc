#include "l4ctl/telemetry_client.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <stdexcept>

namespace pollux::app {
namespace {

constexpr const char* socket_name = "dpdk_telemetry.v2";
constexpr std::size_t greeting_max = 1024;
constexpr int answer_seconds_max = 10;

}  // namespace

std::string runtime_folder() {
  const char* xdg = std::getenv("XDG_RUNTIME_DIR");
  const std::string base = geteuid() == 0 ? "/var/run" : xdg != nullptr ? xdg : "/tmp";
  return base + "/dpdk";
}

TelemetryClient::TelemetryClient(const std::string& prefix) {
  if (!prefix.empty()) {
    const std::string path = runtime_folder() + "/" + prefix + "/" + socket_name;
    if (!connect_to(path))
      throw std::runtime_error(
          fmt::format("no program answers at {}: {}. Is eal.file_prefix {} and telemetry.socket true?", path,
                      std::strerror(errno), prefix));
    prefix_ = prefix;
    return;
  }
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(runtime_folder(), error)) {
    if (!connect_to(entry.path() / socket_name)) continue;
    const Json commands = ask_softly("/");
    if (commands.is_array() &&
        std::find(commands.begin(), commands.end(), "/pollux/counters") != commands.end())
      found.push_back(entry.path().filename());
  }
  if (found.empty())
    throw std::runtime_error("no Pollux program with a telemetry socket runs under this user");
  std::sort(found.begin(), found.end());
  if (found.size() > 1)
    throw std::runtime_error(
        fmt::format("several programs run; choose one by --prefix: {}", fmt::join(found, ", ")));
  prefix_ = found.front();
  if (!connect_to(runtime_folder() + "/" + prefix_ + "/" + socket_name))
    throw std::runtime_error(fmt::format("{} has ended", prefix_));
}

TelemetryClient::~TelemetryClient() {
  if (fd_ >= 0) close(fd_);
}

bool TelemetryClient::connect_to(const std::string& path) {
  if (fd_ >= 0) close(fd_);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    throw std::runtime_error(fmt::format("{}: the path is too long", path));
  std::copy(path.begin(), path.end(), address.sun_path);
  fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd_ < 0) throw std::runtime_error(fmt::format("socket: {}", std::strerror(errno)));
  const timeval patience{answer_seconds_max, 0};
  setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  if (connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) return false;
  reply_max_ = greeting_max;
  const Json greeting = Json::parse(receive(), nullptr, false);
  if (!greeting.is_object()) return false;
  reply_max_ = greeting.value("max_output_len", 16384u) + greeting_max;
  return true;
}

std::string TelemetryClient::receive() {
  std::string reply(reply_max_, '\0');
  const ssize_t n = recv(fd_, reply.data(), reply.size(), 0);
  if (n < 0 && errno == EAGAIN)
    throw std::runtime_error(
        fmt::format("no answer within {} s: the program may be stuck", answer_seconds_max));
  if (n <= 0) throw std::runtime_error("the program has closed the connection");
  reply.resize(static_cast<std::size_t>(n));
  return reply;
}

Json TelemetryClient::ask_softly(const std::string& command) {
  if (send(fd_, command.data(), command.size(), MSG_NOSIGNAL) < 0)
    throw std::runtime_error("the program has closed the connection");
  const Json reply = Json::parse(receive(), nullptr, false);
  if (!reply.is_object() || reply.empty())
    throw std::runtime_error(fmt::format("{}: the answer is not JSON", command));
  return reply.begin().value();
}

Json TelemetryClient::ask(const std::string& command) {
  Json answer = ask_softly(command);
  if (answer.is_null())
    throw std::runtime_error(fmt::format("{}: the program knows no such command", command));
  if (answer.is_object() && answer.contains("error")) {
    std::string text = answer["error"].get<std::string>();
    for (int i = 1; answer.contains(fmt::format("error_{}", i)); ++i)  // a long one comes in pieces
      text += answer[fmt::format("error_{}", i)].get<std::string>();
    throw std::runtime_error(text);
  }
  return answer;
}

}  // namespace pollux::app
