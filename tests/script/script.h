// A packet script: option lines, then steps over virtual time. README.md describes the language.
#pragma once

#include <functional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "pollux/base/time.h"
#include "pollux/tcp/options.h"
#include "support/test_peer.h"

namespace pollux::test {

class Runner;

/// A mistake in a script; what() is "file:line: expected ..., found ...".
class ScriptError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// When a step happens, counted from the moment of the step before it. An expected segment may come from
/// `from` to `to`; every other step waits for `from`, and nothing may come meanwhile.
struct StepTime {
  bool given = false;
  Duration from;
  Duration to;
};

struct Step {
  int line = 0;
  std::string text;  ///< the line, for failures
  std::function<void(Runner&, const Where&)> act;
};

struct Script {
  std::string path;
  TcpOptions tcp;
  std::uint16_t mtu = 1500;
  std::vector<Step> steps;
};

/// The words of one line, taken one by one. Every taker throws ScriptError when it does not find what it
/// expects.
class Words {
 public:
  Words(std::string path, int line, std::string_view text);
  bool done() const noexcept { return next_ == words_.size(); }
  const std::string& peek() const;
  std::string take(const char* expected);
  std::int64_t number(const char* expected, std::int64_t min, std::int64_t max);
  Duration duration(const char* expected);
  /// The present word (or the end of the line) is not what was expected.
  [[noreturn]] void fail(const std::string& expected) const;
  [[noreturn]] void fail(const std::string& expected, const std::string& found) const;
  const std::string& path() const noexcept { return path_; }
  int line() const noexcept { return line_; }

 private:
  std::string path_;
  int line_;
  std::vector<std::string> words_;
  std::size_t next_ = 0;
};

/// Whole decimal number between `min` and `max`, or nothing.
std::optional<std::int64_t> whole_number(std::string_view text, std::int64_t min, std::int64_t max);
/// Text in double quotes, without them; nothing when it is not quoted.
std::optional<std::string> unquoted(std::string_view word);

/// A segment as a script writes it, with what TestPeer's Seg leaves to the conversation.
struct ScriptSegment {
  std::uint8_t flags = 0;
  Seg seg;
  std::uint32_t times = 1;                    ///< "x3": one after the other
  bool timestamp = false;                     ///< "ts"
  std::optional<std::int64_t> ts_value = {};  ///< relative to the sender's first one
  std::optional<std::int64_t> ts_echo = {};   ///< relative to the receiver's first one
};

/// "S. seq=0 ack=1 mss=1460": what follows "<" (expected) or ">" (sent).
ScriptSegment parse_segment(Words& words, bool expected);
/// The fields without the flags, as "accept" takes them.
void parse_fields(Words& words, bool expected, ScriptSegment& segment);

/// A command's step from the words behind its name; nullptr when there is no such command.
using CommandParser = std::function<void(Runner&, const Where&)> (*)(Words& words);
CommandParser find_command(std::string_view name);
/// For error texts.
std::string command_names();

Script parse_script(const std::string& path, const std::string& text);
Script load_script(const std::string& path);

}  // namespace pollux::test
