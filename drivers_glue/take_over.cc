#include "pollux/drivers_glue/take_over.h"

#include <fmt/format.h>
#include <rte_eal.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>

#include "pollux/drivers_glue/log.h"

namespace pollux {
namespace {

constexpr std::size_t reply_max = 17'000;  // DPDK's 16 KiB and the greeting
constexpr auto retry_interval = std::chrono::milliseconds(50);
constexpr auto retry_max = std::chrono::seconds(60);

std::vector<MacAddress> own_macs(TelemetrySource& source) {
  std::vector<MacAddress> macs;
  for (const auto& port : source.port_list()) macs.push_back(port->interface().mac);
  return macs;
}

std::string error_in(const std::string& json) {
  return json_text(json, "error").value_or("");
}

}  // namespace

TelemetryPeer::TelemetryPeer(const std::string& file_prefix) {
  const std::string own = rte_eal_get_runtime_dir();
  const std::string path = own.substr(0, own.rfind('/') + 1) + file_prefix + "/dpdk_telemetry.v2";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) throw std::runtime_error(fmt::format("take_over: {} is too long", path));
  std::copy(path.begin(), path.end(), address.sun_path);
  fd_ = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (fd_ < 0 || connect(fd_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    const int error = errno;
    if (fd_ >= 0) close(fd_);
    throw std::runtime_error(fmt::format("take_over: no program answers at {}: {}", path, std::strerror(error)));
  }
  receive();  // its greeting
}

TelemetryPeer::~TelemetryPeer() {
  close(fd_);
}

std::string TelemetryPeer::receive() {
  std::string reply(reply_max, '\0');
  ssize_t n;
  do n = recv(fd_, reply.data(), reply.size(), 0);
  while (n < 0 && errno == EINTR);
  if (n <= 0) throw std::runtime_error("take_over: the program has ended");
  reply.resize(static_cast<std::size_t>(n));
  return reply;
}

std::string TelemetryPeer::ask(const std::string& question) {
  if (send(fd_, question.data(), question.size(), MSG_NOSIGNAL) < 0) throw std::runtime_error("take_over: the program has ended");
  return receive();
}

void TelemetryPeer::wait_for_end() noexcept {
  char octet;
  ssize_t n;
  do n = recv(fd_, &octet, 1, 0);
  while (n > 0 || (n < 0 && errno == EINTR));
}

void TelemetryPeer::cancel() noexcept {
  shutdown(fd_, SHUT_RDWR);
}

std::optional<std::string> json_text(const std::string& json, const std::string& name) {
  const std::string key = "\"" + name + "\":\"";
  const auto at = json.find(key);
  if (at == std::string::npos) return std::nullopt;
  const auto begin = at + key.size();
  return json.substr(begin, json.find('"', begin) - begin);
}

TakeOver::TakeOver(TelemetrySource& source, const std::string& file_prefix, std::function<void(const std::string&)> failed)
    : source_(source), file_prefix_(file_prefix), failed_(std::move(failed)), peer_(file_prefix), thread_([this] { run(); }) {}

void TakeOver::stop() noexcept {
  cancelled_ = true;
  peer_.cancel();
  if (thread_.joinable()) thread_.join();
}

/// Asks again while that program has not come to its own end of a hand-over.
std::vector<MacAddress> TakeOver::ask_for_offer() {
  const auto give_up = std::chrono::steady_clock::now() + retry_max;
  for (;;) {
    const std::string answer = peer_.ask("/pollux/hand_over");
    std::vector<MacAddress> macs;
    while (const auto text = json_text(answer, fmt::format("mac_{}", macs.size()))) {
      const auto mac = MacAddress::from_string(*text);
      if (!mac) break;
      macs.push_back(*mac);
    }
    if (macs.size() == source_.port_list().size()) return macs;
    if (!macs.empty())
      throw std::runtime_error(fmt::format("take_over: {} has {} ports, we have {}", file_prefix_, macs.size(),
                                           source_.port_list().size()));
    const std::string error = error_in(answer);
    if (!error.starts_with("not yet") || cancelled_ || std::chrono::steady_clock::now() > give_up)
      throw std::runtime_error(fmt::format("take_over: {} refuses: {}", file_prefix_, error));
    std::this_thread::sleep_for(retry_interval);
  }
}

void TakeOver::run() {
  try {
    // Each step leaves nobody refused: we accept, and pass on what we do not know, before that program passes anything on;
    // it no longer answers for the addresses before we do.
    const std::vector<MacAddress> theirs = ask_for_offer();
    const std::vector<MacAddress> ours = own_macs(source_);
    for (std::size_t core = 0; core < source_.core_count(); ++core)
      source_.on_core(core, [&](PollingCore& on) { on.start_hand_over(HandOverRole::successor, ours, theirs); });
    std::string question = "/pollux/hand_over";
    for (std::size_t i = 0; i < ours.size(); ++i) question += fmt::format(",mac_{}={}", i, ours[i].to_string());
    const std::string answer = peer_.ask(question);
    if (!json_text(answer, "mac_0")) throw std::runtime_error(fmt::format("take_over: {} refuses: {}", file_prefix_, error_in(answer)));
    source_.on_core(0, [](PollingCore& on) { on.set_primary(true); });
    log_info("taking over from {}", file_prefix_);
    peer_.wait_for_end();
    for (std::size_t core = 0; core < source_.core_count(); ++core)
      source_.on_core(core, [](PollingCore& on) { on.end_hand_over(); });
    if (!cancelled_) log_info("{} has ended; all connections are ours", file_prefix_);
  } catch (const std::exception& error) {
    if (!cancelled_) failed_(error.what());
  }
  running_ = false;
}

}  // namespace pollux
