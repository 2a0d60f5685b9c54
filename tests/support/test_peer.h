// A peer that is played by hand: it says raw segments to one stack and states what it expects to hear, with
// sequence numbers relative to the initial ones, over the virtual clock.
//
//   peer.sends(SYN, {.seq = 0, .mss = 1460});
//   peer.expects(SYN | ACK, {.seq = 0, .ack = 1, .mss = 1460});
//   peer.sends(ACK, {.data = "hello"});
//   peer.expects_after(40_ms, ACK, {.ack = 6});
#pragma once

#include <deque>
#include <map>
#include <optional>
#include <source_location>
#include <string>
#include <utility>
#include <vector>

#include "support/frame.h"
#include "support/sim_host.h"
#include "support/world.h"

namespace pollux::test {

/// What a segment says, or must say. In sends() an absent field takes the obvious value: the next sequence
/// number, an acknowledgment of everything seen, the negotiated timestamp. In expects() an absent field is
/// not looked at.
struct Seg {
  std::optional<std::int64_t> seq = {};          ///< relative to its sender's ISN
  std::optional<std::int64_t> ack = {};          ///< relative to its receiver's ISN
  std::optional<std::uint32_t> window = {};      ///< the field, unscaled
  std::optional<std::uint32_t> window_min = {};  ///< expects: the field is at least this ...
  std::optional<std::uint32_t> window_max = {};  ///< ... and at most this
  std::optional<std::uint32_t> len = {};         ///< payload octets (sent: a position-dependent pattern)
  std::optional<std::string> data = {};          ///< the payload itself
  std::vector<std::uint8_t> raw_options = {};    ///< sends: in front of the other options
  std::optional<std::uint16_t> mss = {};
  std::optional<std::uint8_t> wscale = {};
  std::optional<std::uint32_t> ts_value = {};
  std::optional<std::uint32_t> ts_echo = {};
  std::optional<bool> sack_permitted = {};
  /// Blocks (left, right) in their order, relative to the ISN of the data's sender; expects: {} means none.
  std::optional<std::vector<std::pair<std::int64_t, std::int64_t>>> sacks = {};
  std::optional<bool> has_mss = {};  ///< expects: the option is there, or is not
  std::optional<bool> has_wscale = {};
  std::optional<bool> has_ts = {};  ///< sends: false leaves a negotiated timestamp out
  std::optional<bool> push = {};    ///< expects: PSH (otherwise not looked at)
  std::optional<std::uint16_t> urgent = {};
  std::optional<std::uint8_t> data_offset = {};
  bool bad_checksum = false;
  std::optional<std::uint8_t> tos = {};  ///< IP's Diffserv octet: 1, 2 ECT, 3 CE
  Ipv4Header ip = {};
};

/// The line of a test that a failure is reported at.
struct Where {
  Where(const std::source_location& here) : file(here.file_name()), line(static_cast<int>(here.line())) {}
  Where(const char* in_file, int at_line, std::string says)
      : file(in_file), line(at_line), text(std::move(says)) {}
  const char* file;
  int line;
  std::string text = {};  ///< what the line says, where the reader would have to look it up
};

class TestPeer {
 public:
  struct Arrival {
    TimePoint at;
    Decoded segment;
    Frame frame;
  };

  /// `host` must be a bare host of `world`. The peer has the next address of its subnet and answers every ARP
  /// request.
  TestPeer(World& world, SimHost& host);

  // --- Who talks -------------------------------------------------------------------------------------------
  /// Continues (or begins) the conversation between this port of the peer and `stack_port`.
  void use_ports(std::uint16_t peer_port, std::uint16_t stack_port);
  /// Forgets both ISNs: the next SYN of the stack begins a new connection. The peer's ISN is `isn`.
  void forget(std::uint32_t isn = 1'000'000);
  void use_address(IpAddress address) { address_ = address; }
  IpAddress address() const { return address_; }
  std::uint16_t peer_port() const { return flow_key_.first; }
  std::uint16_t stack_port() const { return flow_key_.second; }

  // --- Saying ----------------------------------------------------------------------------------------------
  void sends(std::uint8_t flags, const Seg& seg = {});
  void sends_frame(Frame frame);
  /// Everything that `segments` sends reaches the stack in one burst.
  void together(const std::function<void()>& segments);
  /// Addresses for hand-made frames from the peer to the stack.
  LinkIds ids() const;
  /// The segment as a frame, not sent.
  Frame make(std::uint8_t flags, const Seg& seg = {});
  /// An ICMP error that quotes the stack's segment at relative `seq` of this conversation. `rest`: octets 4
  /// to 7.
  void sends_icmp_error(std::uint8_t type, std::uint8_t code, std::int64_t quoted_seq,
                        std::uint32_t rest = 0);

  // --- Hearing ---------------------------------------------------------------------------------------------
  /// The next packet must be this segment; it is returned for a closer look.
  Decoded expects(std::uint8_t flags, const Seg& seg = {}, Where where = std::source_location::current());
  /// Nothing before `delay` from now, and the segment within a timer tick of it. The time afterwards is its
  /// time.
  Decoded expects_after(Duration delay, std::uint8_t flags, const Seg& seg = {},
                        Where where = std::source_location::current());
  /// The same with a margin of the test's own.
  Decoded expects_between(Duration from, Duration to, std::uint8_t flags, const Seg& seg = {},
                          Where where = std::source_location::current());
  /// Nothing has come that was not expected yet.
  void expects_nothing(Where where = std::source_location::current());
  /// Nothing comes for this long.
  void expects_silence(Duration time, Where where = std::source_location::current());
  /// What has come and was not looked at yet.
  const std::deque<Arrival>& inbox() const { return inbox_; }
  /// Takes what has come, unchecked.
  std::vector<Arrival> take();
  /// The next packet, which need not be TCP; a failure when there is none.
  Decoded expects_any(Where where = std::source_location::current());

  // --- Handshakes ------------------------------------------------------------------------------------------
  /// Opens a connection to the stack: SYN with these options, SYN+ACK, ACK.
  void connects(const Seg& syn = {.mss = 1460}, Where where = std::source_location::current());
  /// Answers the stack's SYN, which must be the next packet, and hears its ACK.
  void accepts(const Seg& syn_ack = {.mss = 1460}, Where where = std::source_location::current());

  // --- Time and numbers ------------------------------------------------------------------------------------
  void waits(Duration time);
  /// Relative numbers: what the peer sends next, and what it has heard in order.
  std::int64_t snd_nxt() const { return flow().snd_nxt; }
  std::int64_t rcv_nxt() const { return flow().rcv_nxt; }
  std::uint32_t stack_isn() const { return flow().stack_isn.value_or(0); }
  std::uint32_t isn() const { return flow().isn; }
  /// A segment as failures print it, numbers relative.
  std::string relative(const Decoded& segment, bool from_stack) const;
  /// Reports a failure with the conversation so far.
  void fails(const Where& where, const std::string& what);
  bool failed() const { return failed_; }
  /// Takes note that the peer's next octet is at `seq` (after sends at explicit numbers).
  void set_snd_nxt(std::int64_t seq) { flow().snd_nxt = seq; }
  void set_window(std::uint32_t window) { flow().window = window; }
  bool answers_arp = true;

 private:
  using PortPair = std::pair<std::uint16_t, std::uint16_t>;  // peer, stack
  struct Flow {
    std::uint32_t isn = 1'000'000;
    std::optional<std::uint32_t> stack_isn;
    std::int64_t snd_nxt = 0;
    std::int64_t rcv_nxt = 0;
    std::uint32_t window = 65535;
    bool offered_timestamps = false;
    bool timestamps = false;
    std::uint32_t ts_heard = 0;
    std::uint32_t ts_base = 1'000'000;  ///< the peer's timestamp clock, in ms, at ts_base_at
    TimePoint ts_base_at;
  };

  Flow& flow() { return flows_[flow_key_]; }
  const Flow& flow() const { return flows_.at(flow_key_); }
  void hears(Frame frame);
  void learns(const Decoded& segment);
  void runs_now();
  std::uint32_t timestamp(std::uint8_t flags, const Seg& seg);
  std::vector<std::uint8_t> options_for(std::uint8_t flags, const Seg& seg);
  void note(std::string line);
  Decoded pops(std::uint8_t flags, const Seg& seg, const Where& where);
  std::string differences(const Decoded& got, std::uint8_t flags, const Seg& want) const;

  World& world_;
  SimHost& host_;
  IpAddress address_;
  MacAddress mac_{{0x02, 0, 0, 0, 0, 0xfe}};
  PortPair flow_key_{40000, 7};
  std::map<PortPair, Flow> flows_;
  std::deque<Arrival> inbox_;
  std::vector<std::string> conversation_;
  bool holding_ = false;
  bool failed_ = false;
};

/// The octets that a peer's or a test's stream has at a relative sequence number.
std::string pattern(std::int64_t seq, std::size_t length);

}  // namespace pollux::test
