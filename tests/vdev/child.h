// Tests with a real EAL: it starts once per process, so each test's body runs in a process of its own, in a
// network namespace that goes away with it.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <string>

#include "pollux/drivers_glue/config.h"

namespace pollux::test {

struct ChildResult {
  int exit_code = -1;  ///< 0 when no expectation failed; 128 + signal when one ended it
  std::string output;  ///< standard output and error
};

/// Forks, enters a fresh network namespace (loopback up), runs `body` and its expectations there, and waits
/// at most 60 s. Needs root.
ChildResult in_child(const std::function<void()>& body);
/// The same; the test fails, with the child's output, unless everything went well.
std::string expect_in_child(const std::function<void()>& body);

/// In a child: runs a shell command, which must succeed.
void shell(const std::string& command);

/// One net_tap port, px0 on the kernel's side, 10.77.0.2/24 on ours, small pools, one core, no huge pages.
Config tap_config();
/// The same for any virtual device.
Config device_config(const std::string& device);
/// In a child, after Runtime has started: gives px0 10.77.0.1/24.
void raise_kernel_side();

}  // namespace pollux::test
