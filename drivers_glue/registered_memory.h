// Memory of the application's that the ports' devices may read.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "pollux/drivers_glue/port.h"
#include "pollux/packet/external.h"

namespace pollux {

/// Registered with DPDK and mapped for every device that has its own view of memory (VFIO with an IOMMU) while it lives.
/// Control thread only; made after the ports were opened, released while they are stopped or nothing is sent from it.
class RegisteredMemory {
 public:
  /// `region` begins and ends with a page (of 4 KiB at least, of its own size where it lies on huge pages) and stays where
  /// it is. Throws std::runtime_error.
  RegisteredMemory(std::span<std::uint8_t> region, std::span<const std::unique_ptr<Port>> ports);
  ~RegisteredMemory();
  RegisteredMemory(const RegisteredMemory&) = delete;
  RegisteredMemory& operator=(const RegisteredMemory&) = delete;

  const ExternalMemory& memory() const noexcept { return *memory_; }

 private:
  struct Mapping {
    rte_device* device;
    std::size_t offset;
    rte_iova_t iova;
    std::size_t length;
  };
  void map(std::span<const std::unique_ptr<Port>> ports);
  Mapping run_at(rte_device* device, std::size_t offset) const noexcept;
  void release() noexcept;

  std::span<std::uint8_t> region_;
  std::vector<rte_iova_t> pages_;
  std::vector<Mapping> mappings_;
  std::unique_ptr<ExternalMemory> memory_;
};

}  // namespace pollux
