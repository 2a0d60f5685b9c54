#define ALLOW_EXPERIMENTAL_API  // rte_bpf_convert
#include "pollux/filter/socket_filter.h"

#include <pcap/pcap.h>
#include <rte_bpf.h>
#include <rte_errno.h>
#include <rte_malloc.h>

#include <bit>

namespace pollux {
namespace {

static_assert(sizeof(BpfInstruction) == sizeof(bpf_insn));

// DPDK 22.11 translates "load at X + k" without naming the register that holds X, which then reads as register 0,
// the accumulator; no right translation adds that one.
void name_index_register(rte_bpf_prm& program) noexcept {
  constexpr std::uint8_t x_register = EBPF_REG_7;
  auto* const instructions = const_cast<ebpf_insn*>(program.ins);  // in rte_bpf_convert's own allocation
  for (std::uint32_t i = 0; i < program.nb_ins; ++i) {
    ebpf_insn& instruction = instructions[i];
    if (BPF_CLASS(instruction.code) == BPF_LD && BPF_MODE(instruction.code) == BPF_IND && instruction.src_reg == 0)
      instruction.src_reg = x_register;
  }
}

Result<rte_bpf*> translate(bpf_program& program) {
  if (program.bf_len == 0 || program.bf_len > SocketFilter::instructions_max ||
      bpf_validate(program.bf_insns, static_cast<int>(program.bf_len)) == 0)
    return failure(ErrorCode::invalid_argument,
                   "socket filter of " + std::to_string(program.bf_len) + " instructions: expected 1 to " +
                       std::to_string(SocketFilter::instructions_max) + ", all known, that end by returning");
  rte_bpf_prm* const parameters = rte_bpf_convert(&program);
  if (parameters == nullptr)
    return failure(rte_errno == ENOMEM ? ErrorCode::no_memory : ErrorCode::invalid_argument,
                   std::string("socket filter: cannot be translated: ") + rte_strerror(rte_errno));
  name_index_register(*parameters);
  rte_bpf* const loaded = rte_bpf_load(parameters);
  rte_free(parameters);
  if (loaded == nullptr)
    return failure(ErrorCode::invalid_argument,
                   std::string("socket filter: cannot be loaded: ") + rte_strerror(rte_errno));
  return loaded;
}

}  // namespace

SocketFilter::SocketFilter(rte_bpf* program) noexcept : program_(program) {
  rte_bpf_jit jit{};
  if (rte_bpf_get_jit(program, &jit) == 0) compiled_ = jit.func;
}

void SocketFilter::Destroy::operator()(rte_bpf* program) const noexcept {
  rte_bpf_destroy(program);
}

Result<SocketFilter> SocketFilter::from_expression(const std::string& expression) {
  constexpr int whole_packet = 65535;
  const std::unique_ptr<pcap_t, decltype(&pcap_close)> handle(pcap_open_dead(DLT_RAW, whole_packet), &pcap_close);
  if (handle == nullptr) return failure(ErrorCode::no_memory, "socket filter: no memory");
  bpf_program program{};
  if (pcap_compile(handle.get(), &program, expression.c_str(), 1, PCAP_NETMASK_UNKNOWN) != 0)
    return failure(ErrorCode::invalid_argument,
                   "socket filter \"" + expression + "\": " + pcap_geterr(handle.get()));
  auto loaded = translate(program);
  pcap_freecode(&program);
  if (!loaded) return tl::unexpected(loaded.error());
  return SocketFilter(*loaded);
}

Result<SocketFilter> SocketFilter::from_program(std::span<const BpfInstruction> program) {
  // libpcap and DPDK read the instructions only, though they ask for a pointer to change them.
  bpf_program copy{.bf_len = static_cast<unsigned>(program.size()),
                   .bf_insns = std::bit_cast<bpf_insn*>(program.data())};
  auto loaded = translate(copy);
  if (!loaded) return tl::unexpected(loaded.error());
  return SocketFilter(*loaded);
}

// Clang's sanitizer compares the type that lies in front of every function it calls by pointer. In front of what DPDK has compiled
// there is none, and where its page is the first of a mapping there is no memory either.
#if defined(__clang__)
[[clang::no_sanitize("function")]]
#endif
bool SocketFilter::accepts(rte_mbuf& packet) const noexcept {
  if (compiled_ != nullptr) return compiled_(&packet) != 0;
  return rte_bpf_exec(program_.get(), &packet) != 0;
}

}  // namespace pollux
