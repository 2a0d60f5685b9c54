#include "support/packet_trace.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace pollux::test {
namespace {

std::uint64_t mix(std::uint64_t digest, std::uint64_t word) {
  digest = (digest ^ word) * 0x9e3779b97f4a7c15u;
  return digest ^ (digest >> 29);
}

std::uint64_t mix_bytes(std::uint64_t digest, FrameView bytes) {
  while (!bytes.empty()) {
    std::uint64_t word = 0;
    const std::size_t n = bytes.size() < sizeof word ? bytes.size() : sizeof word;
    std::memcpy(&word, bytes.data(), n);
    digest = mix(digest, word);
    bytes = bytes.subspan(n);
  }
  return digest;
}

}  // namespace

PacketTrace::PacketTrace() {
  const char* lines = std::getenv("POLLUX_TRACE");
  kept_max_ = lines != nullptr ? std::strtoull(lines, nullptr, 10) : 60;
}

void PacketTrace::add(TimePoint now, const std::string& where, const char* event, FrameView frame) {
  digest_ = mix(digest_, static_cast<std::uint64_t>(now.ns()));
  digest_ = mix(digest_, where.size() + static_cast<unsigned char>(event[0]) * 256u);
  digest_ = mix_bytes(digest_, frame);
  ++count_;
  keep({now, where, event, Frame(frame.begin(), frame.end())});
}

void PacketTrace::note(TimePoint now, std::string text) {
  keep({now, std::move(text), "", {}});
}

void PacketTrace::keep(Entry entry) {
  entries_.push_back(std::move(entry));
  if (entries_.size() > kept_max_) entries_.pop_front();
}

std::string PacketTrace::text() const {
  std::string out;
  for (const Entry& entry : entries_) {
    char head[96];
    std::snprintf(head, sizeof head, "%12.6f %-6s %-5s ", static_cast<double>(entry.at.ns()) * 1e-9,
                  entry.frame.empty() ? "--" : entry.where.c_str(), entry.event);
    out += head;
    out += entry.frame.empty() ? entry.where : describe(entry.frame);
    out += '\n';
  }
  return out;
}

}  // namespace pollux::test
