// DPDK's memory for tests whose stacks keep routes (rte_fib), without devices, huge pages, telemetry or pinned threads.
#pragma once

namespace pollux::test {

/// Starts an EAL in this process unless one of these calls has. HeapPool does; a test that only needs DPDK's memory may.
void ensure_eal();

}  // namespace pollux::test
