// Watches what one stack sends and receives, and says when a segment it sends breaks a rule that holds for
// every connection at every moment (RFC 9293 sequence and window invariants). Runs in every simulation and
// every conversation, so a test need not ask for it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "support/frame.h"

namespace pollux::test {

/// Stretches of a sequence space that have come, in order and apart from each other.
class Stretches {
 public:
  void begin(std::uint32_t seq) {
    base_ = seq;
    stretches_.assign(1, {0, 0});
  }
  void add(std::uint32_t seq, std::uint32_t length);
  bool has(std::uint32_t from, std::uint32_t to) const;
  bool known() const { return !stretches_.empty(); }
  void forget() { stretches_.clear(); }

 private:
  std::uint32_t base_ = 0;
  std::vector<std::pair<std::int64_t, std::int64_t>> stretches_;  // relative to base_
};

class TcpMonitor {
 public:
  /// `ecn_plus_plus`: the stack was told that more than data may be ECN-capable.
  TcpMonitor(std::uint16_t mtu, bool ecn_plus_plus) : mtu_(mtu), ecn_plus_plus_(ecn_plus_plus) {}

  /// A frame the stack was given.
  void received(const Decoded& frame);
  /// A frame the stack sent. Empty, or the rule it breaks. `lost_some`: the stack has had to drop packets of
  /// its own on their way out (and counted them), so a gap in sequence numbers proves nothing.
  std::string sent(const Decoded& frame, bool lost_some);

 private:
  using FlowKey = std::tuple<IpAddress, std::uint16_t, IpAddress, std::uint16_t>;  // local, remote

  struct Flow {
    bool sent_syn = false;
    std::uint32_t isn = 0;
    std::uint32_t sent_end = 0;  ///< one past the highest sequence number sent
    bool sent_fin = false;
    std::uint32_t fin_end = 0;
    bool offered = false;
    std::uint32_t offered_edge = 0;  ///< the furthest right edge the peer ever offered
    std::uint16_t peer_mss = 536;    ///< RFC 9293 MUST-15
    std::optional<std::uint8_t> peer_scale;
    std::optional<std::uint8_t> own_scale;
    bool peer_timestamps = false;
    bool own_timestamps = false;
    bool sent_ack = false;
    std::uint32_t last_ack = 0;
    bool peer_ecn = false;       ///< its SYN asked for or agreed to ECN
    std::uint32_t peer_isn = 0;
    bool peer_acked = false;     ///< it has sent more than SYNs since
    bool own_ecn = false;
    bool own_ect_syn = false;    ///< its SYN was ECN-capable: DCTCP, where all packets are (RFC 8257 3.6)
    std::uint32_t own_edge = 0;  ///< the furthest right edge offered to the peer
    Stretches came;              ///< of the peer's sequence space ...
    bool uncertain = false;      ///< ... unless SYNs of two connections came

    bool scaled() const { return peer_scale && own_scale; }
  };

  static std::string check_options(const Decoded& frame, const Flow& flow);
  static std::string check_sequence(const Decoded& frame, Flow& flow, bool lost_some);
  std::string check_ecn(const Decoded& frame, const Flow& flow) const;
  static std::string check_ack(const Decoded& frame, Flow& flow);
  static std::string check_sacks(const Decoded& frame, const Flow& flow);

  std::uint16_t mtu_;
  bool ecn_plus_plus_;
  std::map<FlowKey, Flow> flows_;
};

}  // namespace pollux::test
