// Sockets and ports: binding, connecting, finding.
#include "pollux/udp/udp.h"

#include <algorithm>
#include <string>

#include "pollux/base/check.h"

namespace pollux {

Udp::Udp(const UdpOptions& options, Ip& ip, PacketPool pool, Counters& counters, Rng& rng, UdpPortShare share)
    : options_(options),
      share_(share),
      ip_(ip),
      pool_(pool),
      counters_(counters),
      rng_(rng),
      ledger_(*this),
      kept_max_(options.kept_packets_max != 0 ? options.kept_packets_max : pool.size() / 4),
      sockets_(options.sockets_max),
      ports_(options.sockets_max),
      flows_(options.sockets_max),
      port_users_(65536) {
  POLLUX_CHECK(
      options.ephemeral_port_first != 0 && options.ephemeral_port_first <= options.ephemeral_port_last,
      "ephemeral UDP ports %u..%u", options.ephemeral_port_first, options.ephemeral_port_last);
  ledger_.ChargeLedger::release = &Udp::release;
  ranges_.reserve(port_ranges_max);
  flow_key_ = {rng.next(), rng.next()};
}

Udp::~Udp() = default;

std::uint32_t Udp::hash(std::uint16_t port) noexcept {
  return port * 0x9e3779b1u >> 16;
}

// Keyed: who may choose a peer's address and port shall not choose where it lies in the index.
std::uint32_t Udp::hash(std::uint16_t port, const Endpoint& remote) const noexcept {
  std::array<std::uint8_t, 20> key;
  std::ranges::copy(remote.address.octets(), key.begin());
  store_be16(&key[16], remote.port);
  store_be16(&key[18], port);
  return static_cast<std::uint32_t>(siphash24(flow_key_, key));
}

std::uint32_t Udp::find(std::uint16_t port, const IpAddress& address) const noexcept {
  static_assert(HashIndex::not_found == Slab<Socket>::nil);
  const std::uint32_t index = ports_.find(hash(port), [&](std::uint32_t i) {
    const Socket& socket = sockets_[i];
    return socket.port == port &&
           (socket.address.is_unspecified() || address.is_unspecified() || socket.address == address);
  });
  // Of sockets that share a port, who named the address comes first.
  if (shared_count_ != 0 && index != Slab<Socket>::nil && sockets_[index].address != address) [[unlikely]] {
    const std::uint32_t exact = ports_.find(hash(port), [&](std::uint32_t i) {
      return sockets_[i].port == port && sockets_[i].address == address;
    });
    if (exact != Slab<Socket>::nil) return exact;
  }
  if (index != Slab<Socket>::nil || ranges_.empty()) return index;
  return find_in_ranges(port, address);
}

std::uint32_t Udp::find_in_ranges(std::uint16_t port, const IpAddress& address) const noexcept {
  for (const std::uint32_t i : ranges_) {
    const Socket& socket = sockets_[i];
    if (socket.port <= port && port <= socket.port_last &&
        (socket.address.is_unspecified() || address.is_unspecified() || socket.address == address))
      return i;
  }
  return Slab<Socket>::nil;
}

std::uint32_t Udp::find_connected(std::uint16_t port, const IpAddress& address,
                                  const Endpoint& remote) const noexcept {
  return flows_.find(hash(port, remote), [&](std::uint32_t i) {
    const Socket& socket = sockets_[i];
    return socket.port == port && socket.remote == remote && socket.address == address;
  });
}

Result<void> Udp::check(const UdpBindOptions& options) const {
  if (options.port_last != 0 && options.port > options.port_last)
    return failure(ErrorCode::invalid_argument,
                   "the range ends at " + std::to_string(options.port_last) + ", before it begins");
  if (options.port_last > options.port) {
    if (options.port == 0)
      return failure(ErrorCode::invalid_argument, "a range of ports begins at 1 or above");
    if (options.remote.port != 0)
      return failure(ErrorCode::invalid_argument, "a socket on a range of ports cannot be connected");
    if (ranges_.size() == port_ranges_max)
      return failure(ErrorCode::limit_reached,
                     "all " + std::to_string(port_ranges_max) + " sockets on ranges are in use");
  }
  if (!options.address.is_unspecified() && !options.address.is_multicast() && !ip_.is_local(options.address))
    return failure(ErrorCode::address_unavailable, "not an address of this stack");
  if (sockets_.full())
    return failure(ErrorCode::limit_reached,
                   "all " + std::to_string(options_.sockets_max) + " sockets are in use (sockets_max)");
  return {};
}

bool Udp::is_free(std::uint16_t port, std::uint16_t last, const IpAddress& address,
                  bool share) const noexcept {
  const auto excludes = [&](std::uint32_t i) {
    const Socket& other = sockets_[i];
    return !(share && other.share) &&
           (other.address.is_unspecified() || address.is_unspecified() || other.address == address);
  };
  for (std::uint32_t p = port; p <= last; ++p)
    if (ports_.find(hash(static_cast<std::uint16_t>(p)), [&](std::uint32_t i) {
          return sockets_[i].port == p && excludes(i);
        }) != Slab<Socket>::nil)
      return false;
  return std::ranges::none_of(ranges_, [&](std::uint32_t i) {
    return sockets_[i].port <= last && port <= sockets_[i].port_last && excludes(i);
  });
}

std::size_t Udp::find_receivers(const RxPacket& packet, std::uint16_t port,
                                Receivers& receivers) const noexcept {
  const IpAddress& group = packet.destination;
  std::size_t count = 0;
  const auto consider = [&](std::uint32_t i) {
    const Socket& socket = sockets_[i];
    const bool hears = socket.address.is_unspecified() || socket.address == group;
    if (hears && count < receivers.size() &&
        (!group.is_multicast() || ip_.is_wanted(sockets_.handle(i), packet.interface, group, packet.source)))
      receivers[count++] = sockets_.handle(i);
  };
  (void)ports_.find(hash(port), [&](std::uint32_t i) {
    if (sockets_[i].port == port) consider(i);
    return false;
  });
  for (const std::uint32_t i : ranges_)
    if (sockets_[i].port <= port && port <= sockets_[i].port_last) consider(i);
  return count;
}

Result<UdpSocket> Udp::bind(const UdpBindOptions& options, UdpHandler& handler) {
  POLLUX_CHECK(ip_.owner().is_here(), "UDP bind() to port %u: called on another core than the stack's", options.port);
  const auto refused = [&](const Error& error) {
    return failure(error.code,
                   "UDP bind to " + Endpoint{options.address, options.port}.to_string() + ": " + error.text);
  };
  if (auto ok = check(options); !ok) return refused(ok.error());
  // One way to say "any".
  const IpAddress bound = options.address.is_unspecified() ? IpAddress() : options.address;
  IpAddress address = bound;
  if (options.remote.port != 0) {
    const auto chosen = address_towards(options.remote, bound);
    if (!chosen) return refused(chosen.error());
    address = *chosen;
  }
  std::uint16_t port = options.port;
  const std::uint16_t last = std::max(port, options.port_last);
  if (port == 0) {
    port = unused_port();
    if (port == 0)
      return refused(
          {ErrorCode::limit_reached, "every port in " + std::to_string(options_.ephemeral_port_first) + ".." +
                                         std::to_string(options_.ephemeral_port_last) + " is in use"});
  } else if (options.remote.port != 0) {
    if (find_connected(port, address, options.remote) != Slab<Socket>::nil)
      return refused({ErrorCode::address_in_use,
                      "another socket has this port and the peer " + options.remote.to_string()});
  } else if (options.share && port_users_[port] >= shared_max) {
    return refused({ErrorCode::limit_reached, "at most 32 sockets share a port"});
  } else if (!is_free(port, last, address, options.share)) {
    return refused({ErrorCode::address_in_use, last == port ? "another socket has this port"
                                                            : "another socket has a port of this range"});
  }
  const std::uint32_t index = sockets_.emplace(Socket{.handler = &handler,
                                                      .address = address,
                                                      .bound_address = bound,
                                                      .port = port,
                                                      .port_last = std::max(port, last),
                                                      .remote = options.remote,
                                                      .options = options.socket,
                                                      .share = options.share});
  shared_count_ += options.share;
  enter(index);
  return UdpSocket(this, sockets_.handle(index));
}

void Udp::enter(std::uint32_t index) noexcept {
  const Socket& socket = sockets_[index];
  if (socket.is_range()) {
    ranges_.push_back(index);
    return;
  }
  ++port_users_[socket.port];
  const bool inserted = socket.is_connected() ? flows_.insert(hash(socket.port, socket.remote), index)
                                              : ports_.insert(hash(socket.port), index);
  POLLUX_CHECK(inserted, "UDP index smaller than its %u sockets", options_.sockets_max);
}

void Udp::leave(std::uint32_t index) noexcept {
  const Socket& socket = sockets_[index];
  if (socket.is_range()) {
    std::erase(ranges_, index);
    return;
  }
  --port_users_[socket.port];
  if (socket.is_connected())
    flows_.erase(hash(socket.port, socket.remote), index);
  else
    ports_.erase(hash(socket.port), index);
}

// RFC 6056 3.3.1: a random start, then the next free one; at most the whole range is tried. A port that a
// connected socket has is not free: its peer would not be heard.
std::uint16_t Udp::unused_port() noexcept {
  const std::uint32_t range = options_.ephemeral_port_last - options_.ephemeral_port_first + 1u;
  const std::uint32_t start = rng_.below(range);
  for (std::uint32_t i = 0; i < range; ++i) {
    const auto port = static_cast<std::uint16_t>(options_.ephemeral_port_first + (start + i) % range);
    if (port % share_.cores != share_.core) continue;
    if (port_users_[port] == 0 && find_in_ranges(port, IpAddress()) == Slab<Socket>::nil) return port;
  }
  return 0;
}

// RFC 1122 4.1.3.5: what the application bound, else the address of the route.
Result<IpAddress> Udp::address_towards(const Endpoint& remote, const IpAddress& bound) const {
  const auto chosen = ip_.source_for(remote.address);
  if (remote.address.is_unspecified() || !chosen)
    return failure(ErrorCode::no_route, "no route to " + remote.to_string());
  if (bound.is_unspecified() || bound.is_multicast()) return *chosen;
  if (bound.is_v4() != remote.address.is_v4())
    return failure(ErrorCode::no_route, remote.to_string() + " is of the other family");
  return bound;
}

Result<void> Udp::connect(SlabHandle handle, const Endpoint& remote) {
  Socket* const socket = find(handle);
  const auto refused = [&](ErrorCode code, const std::string& why) {
    return failure(code, "UDP connect to " + remote.to_string() + ": " + why);
  };
  if (socket == nullptr) return refused(ErrorCode::invalid_argument, "the socket is closed");
  if (remote.port == 0) return refused(ErrorCode::invalid_argument, "expected a port");
  if (socket->is_range()) return refused(ErrorCode::invalid_argument, "the socket is on a range of ports");
  const auto address = address_towards(remote, socket->bound_address);
  if (!address) return refused(address.error().code, address.error().text);
  const std::uint32_t other = find_connected(socket->port, *address, remote);
  if (other != Slab<Socket>::nil && other != handle.index)
    return refused(ErrorCode::address_in_use,
                   "another socket has this peer on port " + std::to_string(socket->port));
  leave(handle.index);
  socket->address = *address;
  socket->remote = remote;
  enter(handle.index);
  return {};
}

Result<void> Udp::disconnect(SlabHandle handle) {
  Socket* const socket = find(handle);
  if (socket == nullptr || !socket->is_connected()) return {};
  if (!is_free(socket->port, socket->port, socket->bound_address, socket->share))
    return failure(ErrorCode::address_in_use,
                   "UDP disconnect: another socket has port " + std::to_string(socket->port));
  leave(handle.index);
  socket->address = socket->bound_address;
  socket->remote = {};
  enter(handle.index);
  return {};
}

void Udp::close(SlabHandle handle) noexcept {
  if (find(handle) == nullptr) return;
  ip_.leave_groups(handle);
  shared_count_ -= sockets_[handle.index].share;
  leave(handle.index);
  sockets_.erase(handle.index);
}

void Udp::release(ChargeLedger& ledger, SlabHandle owner, std::uint32_t octets) noexcept {
  if (Socket* const socket = static_cast<Ledger&>(ledger).udp.find(owner)) socket->kept -= octets;
}

}  // namespace pollux
