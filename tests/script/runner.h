// Plays a Script: one stack, one application, one peer, a virtual clock.
#pragma once

#include <array>
#include <map>
#include <set>
#include <string>

#include "script.h"
#include "support/conversation.h"

namespace pollux::test {

/// What an application is told besides data.
enum class AppEvent : std::uint8_t { connected, writable, peer_closed, soft_error, closed };
inline constexpr std::size_t app_event_count = 5;

class Runner {
 public:
  /// A timer fires within a tick of the timer wheel of its deadline, never early.
  static constexpr Duration tolerance = Duration::from_ns(1 << 16);

  explicit Runner(const Script& script);
  /// Plays the steps until one fails. The test has failed then, with the line, what was expected, what came
  /// and the trace.
  void run();

  // --- Segments
  void sends(const ScriptSegment& segment, const Where& where);
  void expects(const ScriptSegment& segment, const StepTime& time, const Where& where);
  /// The segments reach the stack in one turn.
  void burst(const std::vector<Step>& segments, const Where& where);
  /// Time passes; nothing that was not expected has come before and nothing comes meanwhile.
  void waits(const StepTime& time, const Where& where);
  /// Time passes, whatever comes.
  void passes(const StepTime& time);
  /// After `rtt` the peer answers everything that has come, segment by segment, as a receiver does that keeps
  /// what lies above a gap: an ACK for every `every` segments in order and the last one, one for each segment
  /// out of order, with SACK blocks if negotiated. The segments that `lost` counts (the first is 1) do not
  /// arrive.
  void round_trip(Duration rtt, std::uint32_t every, const std::set<std::int64_t>& lost, const Where& where);
  /// The peer opens a connection to port 7, with `rtt` between SYN-ACK and ACK.
  void accepts(const ScriptSegment& syn, Duration rtt, const Where& where);
  /// Octets that were sent and are not acknowledged by the peer.
  std::int64_t flight() const;

  // --- The application
  void app_sends(const std::string& data, std::int64_t accepted, const Where& where);
  void app_sends_pattern(std::int64_t length, std::int64_t accepted, const Where& where);
  /// What was delivered since the last time is this.
  void app_has_read(const std::string& data, const Where& where);
  void app_has_read_pattern(std::int64_t length, const Where& where);
  /// How often `event` happened since the last time.
  std::uint64_t news(AppEvent event);
  TcpState state();

  void check(bool good, const std::string& what, const Where& where) {
    if (!good) c.peer.fails(where, what);
  }

  Conversation c;

 private:
  Seg with_timestamps(const ScriptSegment& segment, bool from_stack);
  void note_arrivals();
  struct Range {
    std::int64_t start, end;
  };
  Seg arrives(Range segment);
  void check_payload(const Decoded& got, const Where& where);

  const Script& script_;
  std::string sent_data_;                            // what the application has sent since the ISN
  std::size_t read_ = 0;                             // of app.received, what was looked at
  std::int64_t heard_end_ = 0;                       // one past the highest number the stack has sent
  std::int64_t acknowledged_ = 0;                    // the highest number the peer has acknowledged
  std::map<std::int64_t, std::int64_t> above_gaps_;  // first number to end: what the peer keeps meanwhile
  bool peer_sack_ = false;                           // offered by the peer, and by the stack
  bool stack_sack_ = false;
  std::optional<std::uint32_t> stack_ts_base_;
  std::array<std::uint64_t, app_event_count> seen_{};
};

}  // namespace pollux::test
