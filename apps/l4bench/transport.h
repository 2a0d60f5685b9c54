// The seam between the load generators and what carries their bytes.
#pragma once

#include <cstdint>
#include <span>

#include "pollux/tcp/conn.h"

namespace pollux::app {

/// Numbers the connections of one load, from 0.
using Slot = std::uint32_t;

/// Connections by slot, each slot at most one at a time. One thread's.
class Transport {
 public:
  virtual ~Transport() = default;
  /// Starts to open a connection; on_connected or on_closed follows later, never from within. False: no port
  /// or memory for it now.
  virtual bool connect(Slot slot) noexcept = 0;
  /// Octets taken. Load::on_writable follows once there is room again when that is less than all.
  virtual std::uint32_t send(Slot slot, std::span<const std::uint8_t> bytes) noexcept = 0;
  /// FIN after what was sent; receiving goes on until the peer's, then Load::on_closed.
  virtual void finish(Slot slot) noexcept = 0;
  /// RST. Load::on_closed(aborted) comes from within.
  virtual void abort(Slot slot) noexcept = 0;
  /// Monotonic nanoseconds.
  virtual std::int64_t now_ns() const noexcept = 0;
};

}  // namespace pollux::app
