// Checksums over mbuf chains, and who computes them: the NIC where the port offers it, software otherwise.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>

#include "pollux/packet/packet.h"
#include "pollux/wire/checksum.h"

namespace pollux {

/// What the port can do for transmitted packets; the stack does the rest in software.
struct TxOffloads {
  bool ipv4_checksum = false;
  bool tcp_checksum = false;
  bool udp_checksum = false;
  /// TCP packets of up to 64 KiB with RTE_MBUF_F_TX_TCP_SEG, which the port cuts into segments of tso_segsz octets
  /// (TSO). Needs the checksums and multi_segment too.
  bool tcp_segmentation = false;
  std::uint16_t mbufs_max = RTE_MBUF_MAX_NB_SEGS;  ///< of one packet that the port cuts
  bool multi_segment = true;  ///< false: chains are copied into one mbuf before they reach the port
  bool vlan_insert = false;  ///< the port writes the 802.1Q tag that RTE_MBUF_F_TX_VLAN asks for
  bool operator==(const TxOffloads&) const noexcept = default;
};

namespace internal {
ChecksumSum sum_segments(const rte_mbuf* head, std::uint32_t offset, std::uint32_t length) noexcept;
}

/// Sum of octets [offset, offset + length) of the chain, which must be within; handles odd-length segments.
inline ChecksumSum sum_chain(const rte_mbuf* head, std::uint32_t offset, std::uint32_t length) noexcept {
  if (offset + length > head->data_len) [[unlikely]]
    return internal::sum_segments(head, offset, length);
  ChecksumSum sum;
  sum.add({rte_pktmbuf_mtod_offset(head, const std::uint8_t*, offset), length});
  return sum;
}

/// True when the NIC says the IPv4 header / L4 checksum of this received packet was verified and is good.
inline bool rx_ip_checksum_good(const rte_mbuf* m) noexcept {
  return (m->ol_flags & RTE_MBUF_F_RX_IP_CKSUM_MASK) == RTE_MBUF_F_RX_IP_CKSUM_GOOD;
}
inline bool rx_l4_checksum_good(const rte_mbuf* m) noexcept {
  return (m->ol_flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_GOOD;
}

}  // namespace pollux
