// Which packets a socket gets: a classic BPF program, as tcpdump and SO_ATTACH_FILTER have it, translated for this
// CPU once and run on every packet.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "pollux/base/result.h"

struct rte_bpf;

namespace pollux {

/// One instruction, laid out as the kernel's struct sock_filter and libpcap's struct bpf_insn.
struct BpfInstruction {
  std::uint16_t code = 0;
  std::uint8_t jump_true = 0;
  std::uint8_t jump_false = 0;
  std::uint32_t operand = 0;
};

/// Immutable. Made at start-up (it allocates, by EAL's memory, which must be there); run on any core. Movable.
class SocketFilter {
 public:
  static constexpr std::size_t instructions_max = 4096;  ///< as the kernel's BPF_MAXINSNS

  /// From an expression of pcap-filter(7), like "src net 10.0.0.0/8 and udp[8] = 0x2a". Error: what libpcap says.
  static Result<SocketFilter> from_expression(const std::string& expression);
  /// From instructions that see the packet from its IP header on (libpcap: DLT_RAW). Errors: none, too many, one that
  /// jumps out of the program or may not be, one that cannot be translated.
  static Result<SocketFilter> from_program(std::span<const BpfInstruction> program);

  /// Whether the program returns anything but 0 for `packet`, whose data begins at the IP header. As in the kernel, a
  /// program that reads beyond the packet refuses it.
  bool accepts(rte_mbuf& packet) const noexcept;
  /// Translated to machine code; otherwise DPDK interprets it.
  bool is_compiled() const noexcept { return compiled_ != nullptr; }

 private:
  struct Destroy {
    void operator()(rte_bpf* program) const noexcept;
  };
  explicit SocketFilter(rte_bpf* program) noexcept;

  std::unique_ptr<rte_bpf, Destroy> program_;
  std::uint64_t (*compiled_)(void*) = nullptr;
};

}  // namespace pollux
