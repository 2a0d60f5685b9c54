#define ALLOW_EXPERIMENTAL_API  // rte_dev_dma_map: the same since DPDK 19.05
#include "pollux/drivers_glue/registered_memory.h"

#include <fmt/core.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_memory.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>

namespace pollux {
namespace {

std::string text_of(std::span<const std::uint8_t> region) {
  return fmt::format("{} octets of memory at {}", region.size(), static_cast<const void*>(region.data()));
}

/// Where devices find each page.
std::vector<rte_iova_t> io_addresses(std::span<std::uint8_t> region, std::size_t page) {
  std::vector<rte_iova_t> pages;
  for (std::size_t offset = 0; offset < region.size(); offset += page) {
    const auto virtual_address = reinterpret_cast<rte_iova_t>(region.data() + offset);
    const bool physical = rte_eal_iova_mode() == RTE_IOVA_PA;
    pages.push_back(physical ? rte_mem_virt2iova(region.data() + offset) : virtual_address);
    if (pages.back() == RTE_BAD_IOVA)
      throw std::runtime_error(fmt::format("{}: no physical address is known for the page at offset {}; run as root, or "
                                           "with an IOMMU (--iova-mode=va)", text_of(region), offset));
  }
  return pages;
}

}  // namespace

RegisteredMemory::RegisteredMemory(std::span<std::uint8_t> region, std::span<const std::unique_ptr<Port>> ports)
    : region_(region) {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  if (region.empty() || reinterpret_cast<std::uintptr_t>(region.data()) % page != 0 || region.size() % page != 0)
    throw std::runtime_error(fmt::format("{}: expected whole pages of {} octets", text_of(region), page));
  // A device finds it where it is now: pages may not be swapped out or moved.
  if (mlock(region.data(), region.size()) != 0)
    throw std::runtime_error(fmt::format("{} cannot be locked: {}; see `ulimit -l`", text_of(region), rte_strerror(errno)));
  pages_ = io_addresses(region, page);
  if (rte_extmem_register(region.data(), region.size(), pages_.data(), static_cast<unsigned>(pages_.size()), page) != 0) {
    munlock(region.data(), region.size());
    throw std::runtime_error(fmt::format("{} cannot be registered: {}", text_of(region), rte_strerror(rte_errno)));
  }
  try {
    map(ports);
  } catch (...) {
    release();
    throw;
  }
  memory_ = std::make_unique<ExternalMemory>(region, page, pages_);
}

RegisteredMemory::~RegisteredMemory() { release(); }

// One mapping for every run of pages that follow each other for the device too.
void RegisteredMemory::map(std::span<const std::unique_ptr<Port>> ports) {
  for (const auto& port : ports) {
    rte_eth_dev_info info;
    if (rte_eth_dev_info_get(port->id(), &info) != 0 || info.device == nullptr) continue;
    for (std::size_t at = 0; at < region_.size();) {
      const Mapping next = run_at(info.device, at);
      if (rte_dev_dma_map(next.device, region_.data() + at, next.iova, next.length) != 0) {
        if (rte_errno == ENOTSUP) break;  // a device without an IOMMU, or one that the CPU plays
        throw std::runtime_error(fmt::format("port {}: {} cannot be mapped for the device: {}", port->name(),
                                             text_of(region_), rte_strerror(rte_errno)));
      }
      mappings_.push_back(next);
      at += next.length;
    }
  }
}

RegisteredMemory::Mapping RegisteredMemory::run_at(rte_device* device, std::size_t offset) const noexcept {
  const std::size_t page_size = region_.size() / pages_.size();
  const std::size_t first = offset / page_size;
  std::size_t last = first;
  while (last + 1 < pages_.size() && pages_[last] + page_size == pages_[last + 1]) ++last;
  return {device, offset, pages_[first], (last + 1 - first) * page_size};
}

void RegisteredMemory::release() noexcept {
  for (const Mapping& m : mappings_) rte_dev_dma_unmap(m.device, region_.data() + m.offset, m.iova, m.length);
  rte_extmem_unregister(region_.data(), region_.size());
  munlock(region_.data(), region_.size());
}

}  // namespace pollux
