// Which local ports an active open may choose from. With one core: the ephemeral range. With several, only those
// whose answers reach the core that opens; whoever spreads packets over cores knows which (drivers_glue).
#pragma once

#include <cstdint>

#include "pollux/tcp/flow_key.h"

namespace pollux {

/// Numbers the ports that suit a connection: 0 to count() - 1, in an order of its own for every destination. Calls look
/// at all of `key` but, except where said, its local_port.
class LocalPorts {
 public:
  virtual ~LocalPorts() = default;
  /// The same for all connections.
  virtual std::uint32_t count() const noexcept = 0;
  /// Port number `i` < count(); 0 when there is none behind that number.
  virtual std::uint16_t port(const FlowKey& key, std::uint32_t i) const noexcept = 0;
  /// The number of key.local_port; count() when it has none.
  virtual std::uint32_t number(const FlowKey& key) const noexcept = 0;
  /// Whether answers to key.local_port, of the range or not, reach this core.
  virtual bool leads_here(const FlowKey& key) const noexcept = 0;
};

/// Every port from `first` to `last`, all of them ours.
class PlainPorts final : public LocalPorts {
 public:
  PlainPorts(std::uint16_t first, std::uint16_t last) noexcept : first_(first), count_(last - first + 1u) {}
  std::uint32_t count() const noexcept override { return count_; }
  std::uint16_t port(const FlowKey&, std::uint32_t i) const noexcept override {
    return static_cast<std::uint16_t>(first_ + i);
  }
  std::uint32_t number(const FlowKey& key) const noexcept override {
    const std::uint32_t i = key.local_port - std::uint32_t{first_};
    return i < count_ ? i : count_;
  }
  bool leads_here(const FlowKey&) const noexcept override { return true; }

 private:
  std::uint16_t first_;
  std::uint32_t count_;
};

}  // namespace pollux
