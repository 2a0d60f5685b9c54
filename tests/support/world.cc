#include "support/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <utility>

namespace pollux::test {

World::World(std::uint64_t seed, TimePoint start)
    : seed_(seed), now_(start), rng_(seed), ipv6_(std::getenv("POLLUX_IPV6") != nullptr), tso_(std::getenv("POLLUX_TSO") != nullptr) {}

World::~World() {
  if (!::testing::Test::HasFailure()) return;
  std::printf("replay with POLLUX_SEED=%llu; the last packets:\n%s\n", static_cast<unsigned long long>(seed_),
              trace_.text().c_str());
}

SimHost& World::add_port(HostOptions options) {
  const std::size_t number = ports_.size() + 1;
  if (options.name.empty()) options.name = "h" + std::to_string(number);
  if (options.address.length == 0)
    options.address = {IpAddress::v4(10, 0, 0, static_cast<std::uint8_t>(number)), 24};
  if (tso_ && options.offloads == TxOffloads{})
    options.offloads = {.ipv4_checksum = true, .tcp_checksum = true, .udp_checksum = true, .tcp_segmentation = true};
  if (ipv6_ && options.v6_address.length == 0) {
    options.v6_address = {IpAddress::v6(0xfd00, 0, 0, 0, 0, 0, 0, static_cast<std::uint16_t>(number)), 64};
    options.stack.ip.dad_solicitations = 0;  // used at once, as an IPv4 address is
  }
  options.stack.seed = seed_ * 1000 + number;
  options.stack.secrets.isn_key = options.isn_key.value_or(SipKey{seed_ ^ 0x5eed, number});
  options.stack.secrets.syn_cookie_key = {seed_ ^ 0xc00c1e, number};
  options.stack.secrets.fast_open_key = {seed_ ^ 0xfa57, number};
  options.stack.secrets.flow_hash_seed = seed_ + number;
  const MacAddress mac{{0x02, 0, 0, 0, 0, static_cast<std::uint8_t>(number)}};
  ports_.push_back(std::make_unique<Port>());
  ports_.back()->host = std::make_unique<SimHost>(*this, options, mac);
  return *ports_.back()->host;
}

SimHost& World::add_host(HostOptions options, LinkOptions up, LinkOptions down) {
  const std::size_t index = ports_.size();
  SimHost& host = add_port(std::move(options));
  Port& port = *ports_[index];
  port.up = std::make_unique<SimLink>(up, [this, index](TimePoint when, Frame frame) {
    schedule(when, false, [this, index, frame = std::move(frame)] { switch_frame(index, frame); });
  });
  port.down = std::make_unique<SimLink>(down, [this, &host](TimePoint when, Frame frame) {
    schedule(when, false, [&host, frame = std::move(frame)] { host.receive(frame); });
  });
  host.on_output([this, index](Frame frame) {
    if (!ports_[index]->up->transmit(frame, now_, rng_))
      trace_.add(now_, ports_[index]->host->name(), "lost", frame);
  });
  return host;
}

SimHost& World::add_bare_host(HostOptions options) {
  return add_port(std::move(options));
}

// A switch that knows where everybody is: unicast goes to its port, everything else to all others. A
// corrupted address floods, so that a host also sees frames that are not for it.
void World::switch_frame(std::size_t from, const Frame& frame) {
  if (frame.size() < 6) return;
  MacAddress to;
  std::copy_n(frame.begin(), 6, to.octets.begin());
  std::vector<std::size_t> targets;
  for (std::size_t i = 0; i < ports_.size(); ++i) {
    if (i == from || !ports_[i]->down) continue;
    if (to == ports_[i]->host->mac()) {
      targets = {i};
      break;
    }
    targets.push_back(i);
  }
  for (const std::size_t i : targets)
    if (!ports_[i]->down->transmit(frame, now_, rng_))
      trace_.add(now_, ports_[i]->host->name(), "lost", frame);
}

void World::schedule(TimePoint when, bool is_application, std::function<void()> action) {
  events_.push({std::max(when, now_), order_++, is_application, std::move(action)});
}

void World::at(TimePoint when, std::function<void()> action) {
  schedule(when, true, std::move(action));
}

TimePoint World::next_moment() const {
  TimePoint next = events_.empty() ? TimePoint::never() : events_.top().when;
  for (const auto& port : ports_) next = std::min(next, port->host->wake());
  return std::max(next, now_);
}

void World::sync() {
  for (const auto& port : ports_) port->host->sync();
}

void World::run_events() {
  while (!events_.empty() && events_.top().when <= now_) {
    // top() is const; the action must be moved out, for it may own what cannot be copied cheaply.
    Event event = std::move(const_cast<Event&>(events_.top()));
    events_.pop();
    if (event.is_application) sync();
    event.action();
  }
}

bool World::step(TimePoint deadline) {
  const TimePoint next = next_moment();
  if (failed_ || next > deadline) return false;
  if (++moments_ > event_limit_) {
    fail("event limit reached: " + std::to_string(event_limit_));
    return false;
  }
  now_ = next;
  run_events();
  for (const auto& port : ports_)
    if (port->host->wake() <= now_) port->host->turn();
  return !failed_;
}

bool World::run_until(TimePoint deadline) {
  while (step(deadline)) {
  }
  if (failed_) return false;
  now_ = std::max(now_, deadline);
  sync();
  return true;
}

bool World::run_until(const std::function<bool()>& done, Duration limit) {
  const TimePoint deadline = now_ + limit;
  while (!done()) {
    if (step(deadline)) continue;
    if (!failed_ && !done()) fail("not done after " + std::to_string(limit.seconds()) + " s");
    return !failed_ && done();
  }
  sync();
  return !failed_;
}

bool World::run_until_idle(Duration limit) {
  const TimePoint deadline = now_ + limit;
  while (step(deadline)) {
  }
  if (!failed_ && !next_moment().is_never()) fail("not idle after " + std::to_string(limit.seconds()) + " s");
  return !failed_;
}

void World::fail(std::string what) {
  if (failed_) return;
  failed_ = true;
  trace_.note(now_, "BROKEN: " + what);
  ADD_FAILURE() << what << "\n  seed " << seed_ << " at " << static_cast<double>(now_.ns()) * 1e-9 << " s";
}

namespace {
std::uint64_t environment_number(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text != nullptr && *text != '\0' ? std::strtoull(text, nullptr, 0) : otherwise;
}
}  // namespace

std::vector<std::uint64_t> seeds_to_run(std::uint64_t default_count) {
  if (const std::uint64_t seed = environment_number("POLLUX_SEED", 0); seed != 0) return {seed};
  std::vector<std::uint64_t> seeds(environment_number("POLLUX_SEEDS", default_count));
  for (std::size_t i = 0; i < seeds.size(); ++i) seeds[i] = i + 1;
  return seeds;
}

std::uint64_t one_seed() {
  return environment_number("POLLUX_SEED", 1);
}

}  // namespace pollux::test
