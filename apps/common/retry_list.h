// Connections whose send met an exhausted packet pool: no on_writable announces its recovery, so a tick asks
// again.
#pragma once

#include <cstddef>
#include <vector>

#include "pollux/tcp/conn.h"

namespace pollux::app {

/// Bounded: a connection that finds no place is aborted, since nothing else would wake it up.
class RetryList {
 public:
  explicit RetryList(std::size_t limit) { conns_.reserve(limit); }

  void add(TcpConn conn) noexcept {
    if (conns_.size() < conns_.capacity()) {
      conns_.push_back(conn);
    } else {
      conn.abort();
    }
  }
  /// Calls retry(conn) for all that wait now; retry may add() them again.
  template <typename F>
  void retry_all(F&& retry) noexcept {
    for (std::size_t n = conns_.size(); n > 0; --n) {
      const TcpConn conn = conns_.back();
      conns_.pop_back();
      retry(conn);
    }
  }

 private:
  std::vector<TcpConn> conns_;
};

}  // namespace pollux::app
