// The last packets of a run, printed like tcpdump when a test fails, and a digest of all of them: two runs of
// one seed must have equal digests.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "pollux/base/time.h"
#include "support/frame.h"

namespace pollux::test {

class PacketTrace {
 public:
  /// Keeps and prints the last 60 lines, or as many as the environment's POLLUX_TRACE says.
  PacketTrace();

  /// `where`: host name; `event`: "out", "in", "lost", ... A string literal each.
  void add(TimePoint now, const std::string& where, const char* event, FrameView frame);
  /// A line of the test's own between the packets.
  void note(TimePoint now, std::string text);

  std::uint64_t digest() const noexcept { return digest_; }
  std::uint64_t count() const noexcept { return count_; }
  std::string text() const;

 private:
  struct Entry {
    TimePoint at;
    std::string where;
    const char* event = "";
    Frame frame;
  };
  void keep(Entry entry);

  std::size_t kept_max_;
  std::deque<Entry> entries_;
  std::uint64_t digest_ = 0xcbf29ce484222325u;
  std::uint64_t count_ = 0;
};

}  // namespace pollux::test
